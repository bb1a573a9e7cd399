"""Judges the pulses of a PPS line: a grid of one second on the node's clock.

In: the pulses' stamps on the node's clock, one by one. Out: a verdict on each, the pulses that did
not come before it, and how far the stamps scatter. Only a `good` pulse is evidence; what is
rejected is counted by name. Which second a pulse marks is another's to say (`name_second`).
"""

import itertools
import statistics
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from coeval.time import NS_PER_S, NodeNs

Verdict = Literal["good", "late", "spurious", "doubled", "equal", "backwards", "searching"]
"""good: on the grid. late: near it, but outside the line's own scatter (an interrupt that waited).
spurious: off the grid. doubled: its second already has its pulse. equal, backwards: the stamp is
not after the one before. searching: the grid is not found yet."""

State = Literal["searching", "locked", "wrong_rate", "silent"]
"""What the line does: `wrong_rate` is a regular pulse of another rate, `silent` is none."""

ACQUIRE_PULSES = 4
"""So many pulses whole seconds apart make a grid; it is up to them to be 3 in 4 of all."""
LARGEST_SKEW_PPM = 500.0
"""Farther off than this no node's oscillator is: crystals are within 100 ppm."""
NEAR_NS = 2_000_000
"""On the grid at all: interrupts of a loaded machine come late by less than this."""
LEAST_GATE_NS = 20_000.0
GATE_SCATTERS = 5.0
"""A pulse farther from the grid than this many standard deviations is late."""
LEAST_SIGMA_NS = 200.0
"""No interrupt's stamp is better than this."""
KEPT = 16
"""Pulses that the grid and its scatter are taken from: long enough for the scatter, short enough
for an oscillator that wanders."""
JUDGED = 12
"""The last pulses that tell a 1 Hz line from another."""
RATE_TOLERANCE = 0.02
SILENT_NS = 5 * NS_PER_S
"""A line without a pulse for so long is silent."""
FORGET_NS = 64 * NS_PER_S
"""After a gap this long the grid is found anew: its skew may carry no further."""
MAD_TO_SIGMA = 1.4826


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One pulse, judged."""

    t_node_ns: NodeNs
    """The pulse's stamp."""
    verdict: Verdict
    """What it is."""
    num_missed: int = 0
    """Seconds without a pulse right before it."""
    residual_ns: int | None = None
    """Stamp − grid; positive: later than expected. None without a grid."""
    sigma_ns: float | None = None
    """Standard deviation of the line's stamps; None unless the pulse is good."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PpsHealth:
    """What a PPS line did so far."""

    state: State
    """What it does now."""
    rate_hz: float | None
    """The rate of a regular line; None where it has none."""
    counts: dict[str, int]
    """Pulses by verdict, and `missed` and `regridded`."""

    def __str__(self) -> str:
        """One line for a person: what it does, and what that means."""
        match self.state:
            case "locked":
                said = "1 Hz"
            case "wrong_rate":
                said = f"{self.rate_hz:.3g} Hz instead of 1 Hz: set the receiver's pulse to 1 Hz"
            case "silent":
                said = "no pulses: look at the wiring, the pin and the receiver's fix"
            case "searching":
                said = "no regular pulse yet"
        counted = ", ".join(f"{count} {name}" for name, count in self.counts.items() if count)
        return f"{said} ({counted})" if counted else said


@dataclass(frozen=True, slots=True, kw_only=True)
class _Grid:
    """Pulses of whole seconds: number of the second, and stamp, of the last good ones."""

    seconds: tuple[int, ...]
    stamps_ns: tuple[int, ...]
    residuals_ns: tuple[int, ...] = ()
    """Of the last pulses near the grid, the late ones too."""
    last_second: int = 0
    """The last second that had a pulse near the grid."""

    def period_ns(self) -> float:
        """Length of a second on the node's clock: the median of the slopes (Theil–Sen), since
        stamps err to one side and rarely, but far."""
        half = len(self.seconds) // 2
        slopes = [
            (self.stamps_ns[i + half] - self.stamps_ns[i])
            / (self.seconds[i + half] - self.seconds[i])
            for i in range(len(self.seconds) - half)
        ]
        return statistics.median(slopes)

    def nearest(self, t_ns: int) -> tuple[int, int]:
        """The second nearest to an instant, and the instant − that second's place."""
        period_ns = self.period_ns()
        base_ns = self.stamps_ns[-1]
        places = [
            stamp - base_ns - (second - self.seconds[-1]) * period_ns
            for second, stamp in zip(self.seconds, self.stamps_ns, strict=True)
        ]
        since_ns = t_ns - base_ns - statistics.median(places)
        steps = round(since_ns / period_ns)
        return self.seconds[-1] + steps, round(since_ns - steps * period_ns)

    def scatter_ns(self) -> float:
        """Standard deviation of the stamps near the grid, from the median of their deviations."""
        if not self.residuals_ns:
            return NEAR_NS / GATE_SCATTERS
        return MAD_TO_SIGMA * statistics.median(map(abs, self.residuals_ns))

    def extended(self, second: int, t_ns: int, residual_ns: int, *, is_good: bool) -> "_Grid":
        """With one more pulse; only a good one bears the grid, but all tell the scatter."""
        return replace(
            self,
            seconds=(*self.seconds, second)[-KEPT:] if is_good else self.seconds,
            stamps_ns=(*self.stamps_ns, t_ns)[-KEPT:] if is_good else self.stamps_ns,
            residuals_ns=(*self.residuals_ns, residual_ns)[-KEPT:],
            last_second=second,
        )

    def gate_ns(self) -> float:
        """How far from the grid a good pulse may be."""
        if len(self.residuals_ns) < ACQUIRE_PULSES:
            return NEAR_NS
        return min(max(LEAST_GATE_NS, GATE_SCATTERS * self.scatter_ns()), NEAR_NS)


class PpsJudge:
    """Judges the pulses of one line in the order they come."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._recent: deque[int] = deque(maxlen=JUDGED)
        self._off_grid: deque[bool] = deque(maxlen=JUDGED)
        self._grid: _Grid | None = None
        self._rate_hz: float | None = None
        self._num_backwards = 0
        self._silent_since_ns: int | None = None
        self._is_silent = False

    def push(self, t_node_ns: NodeNs, *, num_unread: int = 0) -> Judged:
        """Judge a pulse.

        Args:
            t_node_ns: its stamp.
            num_unread: pulses right before it that came, but that nobody read: not missed ones.
        """
        judged = self._judge(t_node_ns)
        if num_unread:
            judged = replace(judged, num_missed=max(judged.num_missed - num_unread, 0))
        self._counts[judged.verdict] += 1
        self._counts["missed"] += judged.num_missed
        return judged

    def pass_time(self, now_node_ns: NodeNs) -> None:
        """Say that no pulse came until now."""
        if self._silent_since_ns is None:
            self._silent_since_ns = now_node_ns
        self._is_silent = now_node_ns - self._silent_since_ns >= SILENT_NS

    @property
    def health(self) -> PpsHealth:
        """What the line did so far."""
        state: State = "searching"
        if self._is_silent:
            state = "silent"
        elif self._rate_hz is not None:
            state = "wrong_rate"
        elif self._grid is not None:
            state = "locked"
        rate_hz = 1.0 if state == "locked" else self._rate_hz if state == "wrong_rate" else None
        return PpsHealth(state=state, rate_hz=rate_hz, counts=dict(self._counts))

    def _judge(self, t_ns: NodeNs) -> Judged:
        if self._recent and t_ns <= self._recent[-1]:
            self._num_backwards += 1
            if self._num_backwards < ACQUIRE_PULSES:
                verdict: Verdict = "equal" if t_ns == self._recent[-1] else "backwards"
                return Judged(t_node_ns=t_ns, verdict=verdict)
            self._forget()  # the one stamp from the future was wrong, not all since
        self._num_backwards = 0
        self._is_silent, self._silent_since_ns = False, t_ns
        if self._grid is not None and t_ns - self._grid.stamps_ns[-1] > FORGET_NS:
            self._forget()
        self._recent.append(t_ns)
        self._rate_hz = other_rate_hz(tuple(self._recent))
        if self._rate_hz is not None:
            self._grid = None
        elif self._grid is None:
            self._grid = find_grid(tuple(self._recent))
        if self._grid is None:
            return Judged(t_node_ns=t_ns, verdict="searching")
        return self._place(self._grid, t_ns)

    def _place(self, grid: _Grid, t_ns: NodeNs) -> Judged:
        second, residual_ns = grid.nearest(t_ns)
        self._off_grid.append(abs(residual_ns) > NEAR_NS)
        if self._off_grid[-1]:
            moved = self._find_moved_grid()
            if moved is not None:
                return self._place(moved, t_ns)
            return Judged(t_node_ns=t_ns, verdict="spurious", residual_ns=residual_ns)
        is_good = abs(residual_ns) <= grid.gate_ns()
        # A pulse right before or after the good one of its second: contacts that bounce.
        if second <= grid.seconds[-1] or (second <= grid.last_second and not is_good):
            return Judged(t_node_ns=t_ns, verdict="doubled", residual_ns=residual_ns)
        num_missed = max(second - grid.last_second - 1, 0)
        self._grid = grid = grid.extended(second, t_ns, residual_ns, is_good=is_good)
        return Judged(
            t_node_ns=t_ns,
            verdict="good" if is_good else "late",
            num_missed=num_missed,
            residual_ns=residual_ns,
            sigma_ns=max(grid.scatter_ns(), LEAST_SIGMA_NS) if is_good else None,
        )

    def _find_moved_grid(self) -> _Grid | None:
        """The grid of the last pulses, where none of them is on the old one."""
        last = tuple(self._off_grid)[-ACQUIRE_PULSES:]
        if len(last) < ACQUIRE_PULSES or not all(last):
            return None
        moved = find_grid(tuple(self._recent)[-ACQUIRE_PULSES:])
        if moved is not None:
            self._off_grid.clear()
            self._counts["regridded"] += 1
        return moved

    def _forget(self) -> None:
        """Begin the search anew."""
        self._grid = None
        self._off_grid.clear()
        self._recent.clear()


def find_grid(recent_ns: Sequence[int]) -> _Grid | None:
    """The 1 Hz grid that ends with the last pulse; None while there is none.

    Pulses off the grid may be 1 in 4: every grid of a 2 Hz line would have as many.
    """
    last_ns = recent_ns[-1]
    seconds: list[int] = []
    stamps_ns: list[int] = []
    num_off = 0
    for t_ns in recent_ns:
        second = round((t_ns - last_ns) / NS_PER_S)
        residual_ns = abs(t_ns - last_ns - second * NS_PER_S)
        if residual_ns > NEAR_NS + LARGEST_SKEW_PPM * 1e-6 * (last_ns - t_ns):
            num_off += 1
        elif not seconds or second > seconds[-1]:  # else one that bounced
            seconds.append(second)
            stamps_ns.append(t_ns)
    if len(seconds) < ACQUIRE_PULSES or num_off * 3 > len(seconds):
        return None
    return _Grid(
        seconds=tuple(seconds[:-1]), stamps_ns=tuple(stamps_ns[:-1]), last_second=seconds[-2]
    )


def other_rate_hz(recent_ns: Sequence[int]) -> float | None:
    """The rate of a line that pulses regularly, but not on whole seconds; else None."""
    if len(recent_ns) < JUDGED:
        return None
    intervals_ns = [b - a for a, b in itertools.pairwise(recent_ns)]
    middle_ns = statistics.median(intervals_ns)
    num_regular = sum(abs(each - middle_ns) <= RATE_TOLERANCE * middle_ns for each in intervals_ns)
    whole_ns = max(round(middle_ns / NS_PER_S), 1) * NS_PER_S
    is_on_seconds = abs(middle_ns - whole_ns) <= NEAR_NS + LARGEST_SKEW_PPM * 1e-6 * whole_ns
    if is_on_seconds or num_regular < len(intervals_ns) - 2:
        return None
    return NS_PER_S / middle_ns


def name_second(t_utc_ns: int, *, error_ns: int) -> int | None:
    """The second of UTC that a pulse marks.

    Args:
        t_utc_ns: what a clock that is roughly UTC read at the pulse.
        error_ns: how far that may be wrong.

    Returns:
        The second's beginning in ns; None where two seconds are possible.
    """
    second_ns = (t_utc_ns + NS_PER_S // 2) // NS_PER_S * NS_PER_S
    if abs(t_utc_ns - second_ns) + error_ns >= NS_PER_S // 2:
        return None
    return second_ns
