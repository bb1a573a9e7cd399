"""Other clocks of the kernel against the node's own, CLOCK_MONOTONIC_RAW.

The kernel stamps an event with the clock of its interface: PPS with CLOCK_REALTIME, GPIO edges
with CLOCK_MONOTONIC, cameras with MONOTONIC or BOOTTIME. In: such a stamp. Out: node time, and how
far it may be wrong. Difference = other clock − node clock; positive: the other one is ahead.

MONOTONIC differs from RAW by the kernel's steering of the rate, REALTIME by steps besides, so the
difference is measured anew at every stamp, as soon after it as the program wakes.
"""

import enum
import time
from collections.abc import Callable
from dataclasses import dataclass

from coeval.time import NodeNs

ReadClock = Callable[[int], int]
"""Reads a clock by its id, in ns; `time.clock_gettime_ns`, or an invented one in tests."""

NUM_TRIES = 5
"""Bracketed readings of which the narrowest counts: an interrupt may fall into some."""
LARGEST_SLEW_PPM = 1000.0
"""Twice what the kernel steers a clock by (500 ppm, adjtimex(2)). More is a step, or a clock that
is being pulled in fast, as by chrony at its start; stamps of the interval cannot be placed."""


class KernelClock(enum.IntEnum):
    """A clock that stamps come from."""

    RAW = time.CLOCK_MONOTONIC_RAW
    MONOTONIC = time.CLOCK_MONOTONIC
    REALTIME = time.CLOCK_REALTIME
    BOOTTIME = time.CLOCK_BOOTTIME


def read_node_clock(read: ReadClock = time.clock_gettime_ns) -> NodeNs:
    """The node's clock now."""
    return NodeNs(read(KernelClock.RAW))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockDifference:
    """One measurement of another clock against the node's."""

    t_node_ns: NodeNs
    """When, on the node's clock."""
    difference_ns: int
    """Other − node; positive: the other clock is ahead."""
    error_ns: int
    """Bound of the error: half the bracket of node readings around the other one."""


def measure_difference(clock: int, *, read: ReadClock = time.clock_gettime_ns) -> ClockDifference:
    """Read the clock between two readings of the node's, several times; the narrowest counts."""
    width_ns, before_ns, other_ns = min(_bracket(clock, read) for _ in range(NUM_TRIES))
    middle_ns = before_ns + width_ns // 2
    return ClockDifference(
        t_node_ns=NodeNs(middle_ns),
        difference_ns=other_ns - middle_ns,
        error_ns=(width_ns + 1) // 2,
    )


def _bracket(clock: int, read: ReadClock) -> tuple[int, int, int]:
    """Width, node's reading before, and the clock's own reading."""
    before_ns = read(KernelClock.RAW)
    other_ns = read(clock)
    return read(KernelClock.RAW) - before_ns, before_ns, other_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStamp:
    """A kernel stamp on the node's clock."""

    t_node_ns: NodeNs
    """The instant."""
    error_ns: int
    """Bound of the conversion's error; the stamp's own (interrupt latency) comes on top."""


class StampConverter:
    """Puts the stamps of one clock on the node's.

    A stamp around which the clock was stepped is refused, not guessed. Call `watch` at least every
    few seconds, so that a step falls into a short interval and a slow one is not overlooked.
    """

    def __init__(self, clock: KernelClock, *, read: ReadClock = time.clock_gettime_ns) -> None:
        self.clock = clock
        """The clock whose stamps it takes."""
        self.num_refused = 0
        """Stamps not placed, because the clock was stepped or pulled around them."""
        self._read = read
        self._last = measure_difference(clock, read=read)
        self._stepped_at_ns: int | None = None

    def watch(self) -> ClockDifference:
        """Measure now, and note a step since the last time."""
        now = measure_difference(self.clock, read=self._read)
        moved_ns = abs(now.difference_ns - self._last.difference_ns)
        elapsed_ns = now.t_node_ns - self._last.t_node_ns
        allowed_ns = LARGEST_SLEW_PPM * 1e-6 * elapsed_ns + now.error_ns + self._last.error_ns
        if moved_ns > allowed_ns:
            self._stepped_at_ns = now.t_node_ns
        self._last = now
        return now

    def to_node(self, stamp_ns: int) -> NodeStamp | None:
        """The stamp on the node's clock; None, and counted, where the clock was stepped since.

        The error grows with the stamp's age by the largest steering the kernel does: read a
        millisecond late it is good to a microsecond, read a second late it is not.
        """
        now = self.watch()
        t_node_ns = stamp_ns - now.difference_ns
        age_ns = now.t_node_ns - t_node_ns
        is_of_the_future = age_ns < -now.error_ns
        if is_of_the_future or (
            self._stepped_at_ns is not None and t_node_ns <= self._stepped_at_ns
        ):
            self.num_refused += 1
            return None
        slewed_ns = round(LARGEST_SLEW_PPM / 2 * 1e-6 * max(age_ns, 0))
        return NodeStamp(t_node_ns=NodeNs(t_node_ns), error_ns=now.error_ns + slewed_ns)
