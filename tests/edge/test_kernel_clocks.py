"""The kernel's clocks against the node's: invented clocks, and this machine's own."""

import time

import pytest

from coeval.time import NS_PER_S
from coeval_edge.kernel_clocks import (
    KernelClock,
    StampConverter,
    measure_difference,
    read_node_clock,
)
from coeval_edge.kernel_utc import read_utc_error_ns


class InventedClocks:
    """A node's clock that advances by reading it, and a realtime clock `ahead_ns` of it."""

    def __init__(self, *, ahead_ns: int, reading_ns: int = 50) -> None:
        self.now_ns = 1_000 * NS_PER_S
        self.ahead_ns = ahead_ns
        self.reading_ns = reading_ns
        self.interrupts_ns: list[int] = []

    def read(self, clock: int) -> int:
        self.now_ns += self.reading_ns
        if clock == KernelClock.RAW:
            return self.now_ns
        if self.interrupts_ns:
            self.now_ns += self.interrupts_ns.pop()
        return self.now_ns + self.ahead_ns

    def pass_s(self, seconds: float) -> None:
        self.now_ns += round(seconds * NS_PER_S)


def test_a_difference_is_right_within_its_stated_error() -> None:
    clocks = InventedClocks(ahead_ns=123_456_789)
    found = measure_difference(KernelClock.REALTIME, read=clocks.read)
    assert abs(found.difference_ns - 123_456_789) <= found.error_ns
    assert found.error_ns == 50


def test_a_reading_that_an_interrupt_fell_into_does_not_count() -> None:
    clocks = InventedClocks(ahead_ns=-5_000)
    clocks.interrupts_ns = [0, 90_000, 0, 40_000, 80_000]
    found = measure_difference(KernelClock.REALTIME, read=clocks.read)
    assert found.error_ns == 50
    assert abs(found.difference_ns + 5_000) <= 50


def test_a_stamp_lands_on_the_node_s_clock_within_its_stated_error() -> None:
    clocks = InventedClocks(ahead_ns=77 * NS_PER_S)
    converter = StampConverter(KernelClock.REALTIME, read=clocks.read)
    clocks.pass_s(1.0)
    true_ns = clocks.now_ns
    stamp_ns = true_ns + clocks.ahead_ns
    clocks.pass_s(0.002)
    stamp = converter.to_node(stamp_ns)
    assert stamp is not None
    assert abs(stamp.t_node_ns - true_ns) <= stamp.error_ns
    assert stamp.error_ns < 1_200


def test_a_clock_that_is_steered_at_500_ppm_still_gives_stamps_within_their_error() -> None:
    clocks = InventedClocks(ahead_ns=0)
    converter = StampConverter(KernelClock.MONOTONIC, read=clocks.read)
    for _ in range(20):
        clocks.pass_s(0.5)
        clocks.ahead_ns += 250_000
        true_ns, stamp_ns = clocks.now_ns, clocks.now_ns + clocks.ahead_ns
        clocks.pass_s(0.1)
        clocks.ahead_ns += 50_000
        stamp = converter.to_node(stamp_ns)
        assert stamp is not None
        assert abs(stamp.t_node_ns - true_ns) <= stamp.error_ns
    assert converter.num_refused == 0


@pytest.mark.parametrize("step_s", [-3.0, -0.01, 0.01, 3.0, 86_400.0])
def test_a_stamp_that_the_clock_was_stepped_after_is_refused_and_counted(step_s: float) -> None:
    clocks = InventedClocks(ahead_ns=1_750_000_000 * NS_PER_S)
    converter = StampConverter(KernelClock.REALTIME, read=clocks.read)
    clocks.pass_s(1.0)
    stamp_ns = clocks.now_ns + clocks.ahead_ns
    clocks.ahead_ns += round(step_s * NS_PER_S)
    clocks.pass_s(0.001)
    assert converter.to_node(stamp_ns) is None
    assert converter.num_refused == 1


def test_after_a_step_the_next_stamp_is_placed_again() -> None:
    clocks = InventedClocks(ahead_ns=0)
    converter = StampConverter(KernelClock.REALTIME, read=clocks.read)
    clocks.pass_s(1.0)
    clocks.ahead_ns += 37 * NS_PER_S
    converter.watch()
    clocks.pass_s(1.0)
    true_ns = clocks.now_ns
    stamp = converter.to_node(true_ns + clocks.ahead_ns)
    assert stamp is not None
    assert abs(stamp.t_node_ns - true_ns) <= stamp.error_ns


def test_a_stamp_of_the_future_is_refused() -> None:
    clocks = InventedClocks(ahead_ns=0)
    converter = StampConverter(KernelClock.REALTIME, read=clocks.read)
    assert converter.to_node(clocks.now_ns + NS_PER_S) is None


def test_this_machine_s_monotonic_clock_is_placed_on_its_raw_one() -> None:
    converter = StampConverter(KernelClock.MONOTONIC)
    before_ns = read_node_clock()
    stamp_ns = time.monotonic_ns()
    after_ns = read_node_clock()
    stamp = converter.to_node(stamp_ns)
    assert stamp is not None
    assert before_ns - stamp.error_ns <= stamp.t_node_ns <= after_ns + stamp.error_ns


def test_the_kernel_states_its_utc_error_or_that_it_has_none() -> None:
    try:
        error_ns = read_utc_error_ns()
    except PermissionError:
        pytest.skip("this container may not ask the kernel (adjtimex)")
    assert error_ns is None or 0 <= error_ns <= 16_000_000_000
