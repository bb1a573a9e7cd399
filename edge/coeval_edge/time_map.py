"""A map from one time to another in straight pieces: a clock's error, or its correction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coeval.samples import IntArray
from coeval.time import ClockLine, NodeNs


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePiece:
    """A straight piece: out = out_ns + (t − in_ns)·(1 + rate_error)."""

    from_ns: int
    """First instant of the piece; that of a map's first piece is not looked at."""
    in_ns: int
    """An instant."""
    out_ns: int
    """What it maps to."""
    rate_error: float
    """Rate of the outcome against the input, minus one."""

    def apply(self, t_ns: IntArray) -> IntArray:
        """Map instants, shape (n,), to the nearest ns."""
        since_in = t_ns - self.in_ns
        drift = np.rint(since_in * self.rate_error).astype(np.int64)
        mapped: IntArray = self.out_ns + since_in + drift
        return mapped


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeMap:
    """Pieces in time order, at least one."""

    pieces: tuple[TimePiece, ...]
    """The pieces; each holds until the next one's `from_ns`."""

    def apply(self, t_ns: IntArray) -> IntArray:
        """Map instants, shape (n,), to the nearest ns. Where a piece starts below the end of
        the one before it, the outcome goes back, as the clock did."""
        starts = np.array([piece.from_ns for piece in self.pieces[1:]], dtype=np.int64)
        which = np.searchsorted(starts, t_ns, side="right")
        mapped = np.empty(len(t_ns), dtype=np.int64)
        for number, piece in enumerate(self.pieces):
            inside = which == number
            mapped[inside] = piece.apply(t_ns[inside])
        return mapped

    def apply_one(self, t_ns: int) -> int:
        """Map one instant."""
        return int(self.apply(np.array([t_ns], dtype=np.int64))[0])


def correction(segments: Sequence[tuple[int, ClockLine]]) -> TimeMap:
    """The map from a node's time to the reference timeline.

    Args:
        segments: node time in ns from which each line holds (the first one's is not looked at),
            in time order; offsets are node − reference.
    """
    pieces = []
    for from_ns, line in segments:
        # round-about by the line's own anchor keeps whole ns however far t0 is from zero
        in_ns = line.to_node(line.t0_ref_ns)
        rate_error = 1.0 / (1.0 + line.skew_ppb * 1e-9) - 1.0
        out_ns = int(line.to_ref(NodeNs(in_ns)))
        piece = TimePiece(from_ns=from_ns, in_ns=in_ns, out_ns=out_ns, rate_error=rate_error)
        pieces.append(piece)
    return TimeMap(pieces=tuple(pieces))


class Forwards:
    """Keeps mapped stamps going forwards from block to block, and counts what it had to hold.

    Needed where an estimated jump lies a little off the true one: the samples between the two
    would go back. They are held at the latest time so far (plus 1 ns a row where a repeat is
    not allowed); none is dropped.
    """

    def __init__(self, *, equal_allowed: bool) -> None:
        self._step = 0 if equal_allowed else 1
        self._last_ns: int | None = None
        self.num_held = 0
        """Stamps that were moved."""

    def hold(self, t_ns: IntArray) -> IntArray:
        """The next stamps, shape (n,), none before its predecessor."""
        ramp = np.arange(len(t_ns), dtype=np.int64) * self._step
        level = t_ns - ramp
        if self._last_ns is not None and len(level):
            level[0] = max(int(level[0]), self._last_ns + self._step)
        held: IntArray = np.maximum.accumulate(level) + ramp
        self.num_held += int((held != t_ns).sum())
        if len(held):
            self._last_ns = int(held[-1])
        return held
