"""Edges of a GPIO line. No machine that runs these tests has a chip, so its request is invented.

What a real kernel hands out is tested in `tests/kernel`; here: the way from its events to the
node's clock, bounces, overruns, and each error by its name.
"""

import errno
import os
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

import pytest

from coeval.errors import BadConfig
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.kernel_clocks import KernelClock
from coeval_edge.sources.debounce import Debouncer, RawEdge
from coeval_edge.sources.errors import SourceAbsent, SourceLost, SourceUnfit
from coeval_edge.sources.gpio import GpioConfig, GpioSource, LineEdge, open_gpio

BOOT_NS = 1_000 * NS_PER_S
STEERED_NS = 3_456_789
"""CLOCK_MONOTONIC is ahead of the node's by this."""
UTC_NS = 1_750_000_000 * NS_PER_S


class Type(Enum):
    """As `gpiod.EdgeEvent.Type`."""

    RISING_EDGE = 1
    FALLING_EDGE = 2


@dataclass
class Event:
    """As `gpiod.EdgeEvent`, as far as it is read."""

    timestamp_ns: int
    line_seqno: int
    event_type: Type


@dataclass
class InventedRequest:
    """A line in virtual time: events are there once their time has come and someone waits."""

    ahead_ns: int = STEERED_NS
    waking_ns: int = 80_000
    now_ns: int = BOOT_NS
    events: list[Event] = field(default_factory=list)
    failure: int | None = None
    is_released: bool = False

    def edges(self, *times_ms: float, first_seqno: int = 1, rising: bool | None = None) -> None:
        """Add edges at milliseconds after the boot, rising and falling in turn."""
        for number, time_ms in enumerate(times_ms, start=first_seqno):
            is_rising = number % 2 == 1 if rising is None else rising
            stamp = BOOT_NS + round(time_ms * 1e6) + self.ahead_ns
            kind = Type.RISING_EDGE if is_rising else Type.FALLING_EDGE
            self.events.append(Event(stamp, number, kind))

    def read_clock(self, clock: int) -> int:
        return self.now_ns if clock == KernelClock.RAW else self.now_ns + self.ahead_ns

    def wait_edge_events(self, timeout: float) -> bool:
        if self.failure is not None:
            raise OSError(self.failure, os.strerror(self.failure))
        end_ns = self.now_ns + round(timeout * 1e9)
        if self.events and self.events[0].timestamp_ns - self.ahead_ns <= end_ns:
            due_ns = self.events[0].timestamp_ns - self.ahead_ns
            self.now_ns = max(self.now_ns, due_ns) + self.waking_ns
            return True
        self.now_ns = end_ns
        return False

    def read_edge_events(self) -> list[Event]:
        there = [e for e in self.events if e.timestamp_ns - self.ahead_ns <= self.now_ns]
        del self.events[: len(there)]
        return there

    def release(self) -> None:
        self.is_released = True


def line(request: InventedRequest, **keys: object) -> GpioSource:
    config = GpioConfig(**({"name": "strobe", "line": "17"} | keys))  # type: ignore[arg-type]
    return GpioSource(config, request, read_clock=request.read_clock)


def read_until(source: GpioSource, request: InventedRequest, stop_ms: float) -> list[LineEdge]:
    edges: list[LineEdge] = []
    while request.now_ns < BOOT_NS + round(stop_ms * 1e6):
        edges += source.read(1.0)
    return edges


def times_ms(edges: list[LineEdge]) -> list[float]:
    return [round((edge.t_node_ns - BOOT_NS) / 1e6, 3) for edge in edges]


def test_edges_are_on_the_node_s_clock_within_their_sigma() -> None:
    request = InventedRequest()
    request.edges(10, 200, 3000, rising=True)
    source = line(request)
    edges = read_until(source, request, 5000)
    assert times_ms(edges) == [10, 200, 3000]
    assert all(edge.is_rising and edge.line == "strobe" for edge in edges)
    assert all(14_000 <= edge.sigma_ns < 15_000 for edge in edges)
    assert source.num_edges == 3


def test_an_edge_s_sample_is_what_the_aggregator_pairs_with_another_node_s() -> None:
    request = InventedRequest()
    request.edges(10, rising=True)
    (edge,) = line(request).read(1.0)
    assert edge.sample.line == "strobe"
    assert edge.sample.t_node_ns == edge.t_node_ns
    assert edge.sample.sigma_ns == edge.sigma_ns


def test_a_realtime_event_clock_gives_the_same_node_times() -> None:
    request = InventedRequest(ahead_ns=UTC_NS - BOOT_NS)
    request.edges(10, 200, rising=True)
    assert times_ms(read_until(line(request, clock="realtime"), request, 1500)) == [10, 200]


def test_a_step_of_the_event_clock_loses_the_edges_around_it_and_says_so() -> None:
    request = InventedRequest(ahead_ns=UTC_NS - BOOT_NS)
    source = line(request, clock="realtime")
    request.edges(10, rising=True)
    stepped = request.events[0].timestamp_ns
    request.ahead_ns += 5 * NS_PER_S
    request.events[0].timestamp_ns = stepped
    assert read_until(source, request, 500) == []
    assert source.num_unplaced == 1
    assert "1 around steps of the clock" in str(source)


def test_edges_the_kernel_dropped_are_counted_by_the_line_s_sequence() -> None:
    request = InventedRequest()
    request.edges(1, 2, 3, rising=True)
    request.edges(50, 51, first_seqno=44, rising=True)
    source = line(request)
    assert len(read_until(source, request, 100)) == 5
    assert source.num_overrun == 40
    assert "40 lost because they were read too late" in str(source)


def test_only_the_wanted_edges_are_handed_out() -> None:
    for edge, expected in (("rising", [1, 3]), ("falling", [2, 4]), ("both", [1, 2, 3, 4])):
        request = InventedRequest()
        request.edges(1, 2, 3, 4)
        assert times_ms(read_until(line(request, edge=edge), request, 10)) == expected


def test_a_bouncing_contact_is_one_edge_at_the_time_of_its_first_touch() -> None:
    request = InventedRequest()
    request.edges(10, 10.2, 10.3, 10.8, 11, 500, 500.1, 500.4)
    source = line(request, debounce_us=5000, edge="both")
    edges = read_until(source, request, 1000)
    assert [(edge.is_rising, ms) for edge, ms in zip(edges, times_ms(edges), strict=True)] == [
        (True, 10.0),
        (False, 500.0),
    ]
    assert source.num_bounces == 6


def test_a_glitch_shorter_than_the_debounce_is_no_edge() -> None:
    request = InventedRequest()
    request.edges(10, 10.4, 300, 600)
    source = line(request, debounce_us=2000)
    assert times_ms(read_until(source, request, 1000)) == [300]
    assert source.num_bounces == 2


def test_a_debounced_edge_is_handed_out_once_it_is_settled() -> None:
    request = InventedRequest()
    request.edges(10)
    source = line(request, debounce_us=20_000)
    assert source.read(1.0) == []
    assert len(source.read(1.0)) == 1
    assert request.now_ns == pytest.approx(BOOT_NS + 30_000_000, abs=1000)


def test_a_debouncer_with_no_period_holds_nothing_back() -> None:
    debouncer = Debouncer(0)
    edge = RawEdge(t_node_ns=NodeNs(5), is_rising=True, error_ns=1.0)
    assert debouncer.push(edge) == [edge]
    assert debouncer.settles_at_ns is None


def test_a_hardware_engine_s_edges_keep_their_exact_spacing() -> None:
    """Its clock cannot be read, so the least delay of arrival is taken for the difference."""
    request = InventedRequest(ahead_ns=-987 * NS_PER_S)
    request.edges(10, 110, 210, rising=True)
    source = line(request, clock="hte")
    request.waking_ns = 40_000
    edges = read_until(source, request, 1000)
    assert times_ms(edges) == pytest.approx([10.04, 110.04, 210.04])
    assert all(edge.sigma_ns == pytest.approx(1000) for edge in edges)
    assert source.bias_sigma_ns == 100_000


def test_a_chip_that_is_unplugged_is_named_as_lost() -> None:
    request = InventedRequest(failure=errno.ENODEV)
    with pytest.raises(SourceLost, match=r"cannot read line 17 of /dev/gpiochip0: .*open the line"):
        line(request).read(1.0)


def test_closing_gives_the_line_back() -> None:
    request = InventedRequest()
    with line(request):
        pass
    assert request.is_released


def test_a_chip_that_is_not_there_says_how_to_find_one(tmp_path: Path) -> None:
    pytest.importorskip("gpiod")
    with pytest.raises(SourceAbsent, match="gpiodetect"):
        open_gpio(GpioConfig(name="strobe", line="17", chip=tmp_path / "gpiochip9"))


def test_another_kind_of_device_is_refused() -> None:
    pytest.importorskip("gpiod")
    with pytest.raises(SourceUnfit, match="cannot watch line 17 of /dev/null"):
        open_gpio(GpioConfig(name="strobe", line="17", chip=Path("/dev/null")))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"edge": "up"}, "edge must be one of rising, falling, both"),
        ({"clock": "boottime"}, "clock must be one of monotonic, realtime, hte"),
        ({"pull": "strong"}, "pull must be one of"),
        ({"debounce_us": -1}, "debounce_us must be 0…1000000"),
        ({"line": ""}, "line must be a number or a name"),
        ({"name": "a/b"}, "name must be"),
    ],
)
def test_a_wrong_key_is_refused_with_what_it_may_be(keys: dict[str, object], message: str) -> None:
    with pytest.raises(BadConfig, match=message):
        GpioConfig(**({"name": "strobe", "line": "17"} | keys))  # type: ignore[arg-type]
