"""Columns of numbers whose sensors are looked for, and which are known already."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from coeval.recognition.answer import Channel
from coeval.recognition.names import kind_of_name, unit_of_name

Array = NDArray[np.float64]
LEAST_ROWS = 8
"""Fewer readings have no spread to speak of."""
NAMED, AGREED = 0.9, 0.97
"""Confidence in a name alone, and in one that physics agrees with."""


class Columns:
    """Columns that rules take away one after the other."""

    def __init__(self, values: Array, *, names: Sequence[str], rate_hz: float | None) -> None:
        self.values, self.names, self.rate_hz = values, list(names), rate_hz
        self.kinds = [None if is_placeholder(name) else kind_of_name(name) for name in names]
        self._taken: dict[int, Channel] = {}

    def free(self, width: int, *, kinds: Sequence[str | None]) -> list[tuple[int, ...]]:
        """Neighbouring columns that nobody took, and whose names say one of these, or nothing."""
        runs = [tuple(range(k, k + width)) for k in range(len(self.names) - width + 1)]
        return [
            run
            for run in runs
            if not any(k in self._taken for k in run)
            and all(self.kinds[k] in (None, *kinds) for k in run)
            # Half-named runs belong to somebody else.
            and len({self.kinds[k] for k in run}) == 1
        ]

    def read(self, run: Sequence[int]) -> Array:
        """The rows in which none of the columns is missing."""
        part = self.values[:, list(run)]
        return part[~np.isnan(part).any(axis=1)]

    def named(self, run: Sequence[int]) -> bool:
        """Whether the names say anything."""
        return self.kinds[run[0]] is not None

    def take(
        self, run: Sequence[int], kind: str, units: str | None, confidence: float, why: str
    ) -> None:
        """Say what columns are."""
        stated = {unit_of_name(self.names[k]) for k in run if not is_placeholder(self.names[k])}
        stated.discard(None)
        if self.named(run):
            confidence, why = max(confidence, AGREED), f"{why}; and its name"
        if len(stated) == 1:
            units = stated.pop()
        channel = Channel(
            columns=tuple(self.names[k] for k in run),
            kind=kind,
            units=units,
            confidence=confidence,
            why=why,
        )
        for k in run:
            self._taken[k] = channel

    def is_taken(self, column: int) -> bool:
        """Whether a column is known."""
        return column in self._taken

    def of_kind(self, kind: str) -> list[list[int]]:
        """The columns of every sensor of a kind found so far."""
        channels = {id(c): c for c in self._taken.values() if c.kind == kind}
        return [[k for k, c in self._taken.items() if c is one] for one in channels.values()]

    def channels(self) -> tuple[Channel, ...]:
        """All columns in order, neighbours of one name's kind together."""
        done: list[Channel] = []
        for k, name in enumerate(self.names):
            channel = self._taken.get(k)
            if channel is None:
                kind, units = self.kinds[k], None
                if not is_placeholder(name):
                    units = unit_of_name(name)
                channel = Channel(
                    columns=(name,),
                    kind=kind,
                    units=units,
                    confidence=0.0 if kind is None else NAMED,
                    why="nothing tells" if kind is None else "its name",
                )
            if channel not in done:
                done.append(channel)
        return tuple(done)


def is_placeholder(name: str) -> bool:
    """Whether a name says nothing: `c3`, `x`, `value` …"""
    plain = name.strip().lower()
    return plain in ("x", "y", "z", "value", "") or (plain[:1] == "c" and plain[1:].isdigit())
