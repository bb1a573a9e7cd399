"""The bars that a table is held to: what was wanted, what came out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]


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
    """A bar on one column of several lines: the worst line decides; no number is a miss."""
    values = [(row["pair"], row["source"], row.get(column)) for row in rows]
    missed = [v for v in values if v[2] is None or not holds(float(v[2]))]
    if not values:
        return Bar(name=name, wanted=wanted, got="not measured", met=False)
    shown = missed or values
    got = "; ".join(f"{pair} ({source}): {value}" for pair, source, value in shown[:6])
    return Bar(name=name, wanted=wanted, got=got, met=not missed)
