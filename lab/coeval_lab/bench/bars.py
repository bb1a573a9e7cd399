"""The bars that a table is held to: what was wanted, what came out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coeval_lab.bench.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One promise and how it stands."""

    name: str
    """What is promised."""
    wanted: str
    """The number promised."""
    got: str
    """The number measured."""
    met: bool
    """Whether it is kept."""


def every(
    name: str, rows: Sequence[Row], column: str, wanted: str, holds: Callable[[float], bool]
) -> Bar:
    """A bar on one column of several lines: each must hold, and no number is a miss.

    `got` tells every line that misses; where none does, the range of all.
    """
    values = [(f"{row['pair']} ({row['source']})", row.get(column)) for row in rows]
    if not values:
        return Bar(name=name, wanted=wanted, got="not measured", met=False)
    missed = [(line, v) for line, v in values if v is None or not holds(float(v))]
    if missed:
        got = "; ".join(f"{line}: {'none accepted' if v is None else v}" for line, v in missed)
        met = len(values) - len(missed)
        return Bar(name=name, wanted=wanted, got=f"{met} of {len(values)}; {got}", met=False)
    if len(values) == 1:
        return Bar(name=name, wanted=wanted, got=f"{values[0][0]}: {values[0][1]}", met=True)
    numbers = [float(v) for _, v in values if v is not None]
    got = f"{len(values)} lines, {min(numbers):g} to {max(numbers):g}"
    return Bar(name=name, wanted=wanted, got=got, met=True)
