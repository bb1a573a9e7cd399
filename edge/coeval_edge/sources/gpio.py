"""Edges of a GPIO line, stamped by the kernel: evidence between all nodes that the line reaches.

In: a line of a GPIO chip, through the character device (`gpiod` 2). Out: edges on the node's clock,
under the name that the line has in the whole session.
"""

import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from coeval.errors import BadConfig
from coeval.evidence_wire import EdgeSample
from coeval.time import NS_PER_S, NodeNs
from coeval.topics import check_id
from coeval_edge.kernel_clocks import KernelClock, ReadClock, StampConverter, read_node_clock
from coeval_edge.sources.debounce import Debouncer, RawEdge
from coeval_edge.sources.errors import (
    SourceAbsent,
    SourceBusy,
    SourceForbidden,
    SourceUnfit,
    SourceUnusable,
    named,
)
from coeval_edge.sources.hte_clock import WAKE_BIAS_NS, HteClock

if TYPE_CHECKING:
    import gpiod

KERNEL_CLOCKS: dict[str, KernelClock] = {
    "monotonic": KernelClock.MONOTONIC,
    "realtime": KernelClock.REALTIME,
}
EVENT_CLOCKS = (*KERNEL_CLOCKS, "hte")
EDGES = ("rising", "falling", "both")
PULLS = ("as-is", "up", "down", "off")

STAMP_SIGMA_NS = 14_000.0
"""Of one edge's stamp: interrupt latency, some 10 µs and more under load. Two of them make
`coeval.hardware.SHARED_EDGE_SIGMA_NS`."""
HTE_SIGMA_NS = 1_000.0
"""Of one edge's stamp by a hardware engine: its counter's tick and the clocks' conversion."""
BUFFER_EVENTS = 256
"""Edges that the kernel keeps while nobody reads; it drops the oldest then, which the line's
sequence numbers show."""
LONGEST_DEBOUNCE_US = 1_000_000

OPEN_ADVICE: dict[type[SourceUnusable], str] = {
    SourceAbsent: "`gpiodetect` and `gpioinfo` list the chips and lines that are there",
    SourceForbidden: "add the node's user to the group that owns the chip (`ls -l /dev/gpiochip*`; "
    "on a Pi: gpio)",
    SourceBusy: "another program or driver holds the line (`gpioinfo` names it); a line that is a "
    "kernel PPS source is read as one",
    SourceUnfit: "the chip refuses it: a line without interrupts, or a clock or a pull that it "
    "does not have",
    SourceUnusable: "look at `dmesg | grep gpio`",
}
LOST_ADVICE: dict[type[SourceUnusable], str] = {
    SourceUnusable: "the chip was unplugged or its driver unbound; open the line anew"
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GpioConfig:
    """A line of the node."""

    name: str
    """The line's name in the session: nodes that share the wire share the name."""
    line: str
    """The line on its chip: a number, or the name it has there (`GPIO17`)."""
    chip: Path = Path("/dev/gpiochip0")
    """The chip's device."""
    edge: str = "rising"
    """Which edges count: `rising`, `falling` or `both`; rising is to the active level."""
    is_active_low: bool = False
    """Whether the line is active at the low level."""
    pull: str = "as-is"
    """Pull resistor: `as-is`, `up`, `down` or `off`."""
    clock: str = "monotonic"
    """What stamps the edges: `monotonic`, `realtime`, or `hte` where the hardware has it."""
    debounce_us: int = 0
    """How long the line must be still for an edge to count; its time stays that of the first
    contact."""

    def __post_init__(self) -> None:
        check_id(self.name, what="name")
        for key, value, known in (
            ("edge", self.edge, EDGES),
            ("pull", self.pull, PULLS),
            ("clock", self.clock, EVENT_CLOCKS),
        ):
            if value not in known:
                raise BadConfig(f"{key} must be one of {', '.join(known)}, got {value!r}")
        if not self.line:
            raise BadConfig("line must be a number or a name, got ''")
        if not 0 <= self.debounce_us <= LONGEST_DEBOUNCE_US:
            raise BadConfig(f"debounce_us must be 0…{LONGEST_DEBOUNCE_US}, got {self.debounce_us}")

    @property
    def where(self) -> str:
        """The line, for messages."""
        return f"line {self.line} of {self.chip}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LineEdge:
    """One edge of a line on the node's clock."""

    line: str
    """The line's name in the session."""
    t_node_ns: NodeNs
    """When."""
    is_rising: bool
    """To the active level."""
    sigma_ns: float
    """Standard deviation of the stamp."""

    @property
    def sample(self) -> EdgeSample:
        """The edge as evidence."""
        return EdgeSample(line=self.line, t_node_ns=self.t_node_ns, sigma_ns=self.sigma_ns)


class KernelEdge(Protocol):
    """What is read of `gpiod.EdgeEvent`."""

    @property
    def timestamp_ns(self) -> int:
        """Stamp on the event clock."""

    @property
    def line_seqno(self) -> int:
        """The kernel's count of the line's edges, from 1."""

    @property
    def event_type(self) -> object:
        """`EdgeEvent.Type`."""


class LineRequest(Protocol):
    """What is used of `gpiod.LineRequest`; tests without a chip bring their own."""

    def wait_edge_events(self, timeout: float) -> bool:
        """Whether there are edges to read, after waiting for them."""

    def read_edge_events(self) -> Sequence[KernelEdge]:
        """The edges there are."""

    def release(self) -> None:
        """Give the line back."""


class GpioSource:
    """Reads one line; blocks, so it lives in a thread of its own."""

    def __init__(
        self,
        config: GpioConfig,
        request: LineRequest,
        *,
        read_clock: ReadClock = time.clock_gettime_ns,
    ) -> None:
        self.config = config
        """The line."""
        self.num_edges = 0
        """Edges handed out."""
        self.num_overrun = 0
        """Edges that the kernel dropped because nobody read them in time."""
        self._request, self._read_clock = request, read_clock
        self._debouncer = Debouncer(config.debounce_us * 1000)
        self._sequence = 0
        self._hte = HteClock()
        self._converter: StampConverter | None = None
        if config.clock in KERNEL_CLOCKS:
            self._converter = StampConverter(KERNEL_CLOCKS[config.clock], read=read_clock)

    def read(self, timeout_s: float) -> list[LineEdge]:
        """The edges since the last call, waiting for one if there are none; empty if none came.

        Args:
            timeout_s: a few seconds at most, so that steps of the event clock are noticed.

        Raises:
            SourceLost: the chip was unplugged or unbound.
        """
        events = self._wait(timeout_s)
        if not events and self._converter is not None:
            self._converter.watch()
        placed = [edge for event in events if (edge := self._place(event)) is not None]
        settled = [self._debouncer.push(edge) for edge in placed]
        if not events:  # so every edge up to now was pushed
            settled.append(self._debouncer.settle(read_node_clock(self._read_clock)))
        edges = [self._finish(edge) for edge in itertools.chain(*settled) if self._is_wanted(edge)]
        self.num_edges += len(edges)
        return edges

    @property
    def num_bounces(self) -> int:
        """Edges that were bounces of another."""
        return self._debouncer.num_bounces

    @property
    def num_unplaced(self) -> int:
        """Edges not used because the event clock was stepped around them."""
        return 0 if self._converter is None else self._converter.num_refused

    @property
    def bias_sigma_ns(self) -> float:
        """Standard deviation of the error that all edges share."""
        return WAKE_BIAS_NS if self.config.clock == "hte" else STAMP_SIGMA_NS / 2

    def close(self) -> None:
        """Give the line back."""
        self._request.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __str__(self) -> str:
        """The line and what came, for a person."""
        counted = ", ".join(
            f"{count} {what}"
            for count, what in (
                (self.num_edges, "edges"),
                (self.num_overrun, "lost because they were read too late"),
                (self.num_bounces, "bounces"),
                (self.num_unplaced, "around steps of the clock"),
            )
            if count or what == "edges"
        )
        return f"{self.config.name}: {self.config.where}, {self.config.clock} clock ({counted})"

    def _wait(self, timeout_s: float) -> Sequence[KernelEdge]:
        """The edges there are, after waiting for one, or for the one that is held to settle."""
        settles_at_ns = self._debouncer.settles_at_ns
        if settles_at_ns is not None:
            left_ns = settles_at_ns - read_node_clock(self._read_clock)
            timeout_s = min(timeout_s, max(left_ns, 0) / NS_PER_S)
        try:
            if self._request.wait_edge_events(timeout_s):
                return self._request.read_edge_events()
        except OSError as exc:
            raise named(exc, doing=f"read {self.config.where}", advice=LOST_ADVICE) from exc
        return ()

    def _place(self, event: KernelEdge) -> RawEdge | None:
        """An edge on the node's clock; None where the event clock was stepped around it."""
        self.num_overrun += max(event.line_seqno - self._sequence - 1, 0)
        self._sequence = event.line_seqno
        is_rising = getattr(event.event_type, "name", "") == "RISING_EDGE"
        if self._converter is None:
            arrival_ns = read_node_clock(self._read_clock)
            t_node_ns = self._hte.to_node(event.timestamp_ns, arrival_node_ns=arrival_ns)
            return RawEdge(t_node_ns=t_node_ns, is_rising=is_rising, error_ns=0.0)
        stamp = self._converter.to_node(event.timestamp_ns)
        if stamp is None:
            return None
        return RawEdge(t_node_ns=stamp.t_node_ns, is_rising=is_rising, error_ns=stamp.error_ns)

    def _is_wanted(self, edge: RawEdge) -> bool:
        return self.config.edge == "both" or edge.is_rising == (self.config.edge == "rising")

    def _finish(self, edge: RawEdge) -> LineEdge:
        own_ns = HTE_SIGMA_NS if self.config.clock == "hte" else STAMP_SIGMA_NS
        return LineEdge(
            line=self.config.name,
            t_node_ns=edge.t_node_ns,
            is_rising=edge.is_rising,
            sigma_ns=math.hypot(own_ns, edge.error_ns),
        )


def open_gpio(config: GpioConfig, *, buffer_events: int = BUFFER_EVENTS) -> GpioSource:
    """Open the line of a configuration.

    Raises:
        SourceUnusable: one of its kinds, with what to do.
    """
    try:
        import gpiod
    except ImportError as exc:
        raise SourceUnfit(
            "GPIO lines need gpiod; install it with: pip install 'coeval[gpio]'"
        ) from exc
    doing = f"watch {config.where}"
    try:
        with gpiod.Chip(str(config.chip)) as chip:
            request = chip.request_lines(
                {chip.line_offset_from_id(config.line): line_settings(config)},
                consumer="coeval",
                event_buffer_size=buffer_events,
            )
    except NotImplementedError as exc:  # what gpiod makes of EOPNOTSUPP
        raise SourceUnfit(f"cannot {doing}: no clock {config.clock!r} here; use monotonic") from exc
    except ValueError as exc:
        raise SourceAbsent(f"cannot {doing}: {exc}; {OPEN_ADVICE[SourceAbsent]}") from exc
    except OSError as exc:
        raise named(exc, doing=doing, advice=OPEN_ADVICE, is_opening=True) from exc
    return GpioSource(config, request)


def line_settings(config: GpioConfig) -> "gpiod.LineSettings":
    """What is asked of the kernel: raw edges, both of them where they are debounced here."""
    from gpiod import LineSettings
    from gpiod.line import Bias, Clock, Direction, Edge

    edges = {"rising": Edge.RISING, "falling": Edge.FALLING, "both": Edge.BOTH}
    pulls = {
        "as-is": Bias.AS_IS,
        "up": Bias.PULL_UP,
        "down": Bias.PULL_DOWN,
        "off": Bias.DISABLED,
    }
    clocks = {"monotonic": Clock.MONOTONIC, "realtime": Clock.REALTIME, "hte": Clock.HTE}
    return LineSettings(
        direction=Direction.INPUT,
        edge_detection=Edge.BOTH if config.debounce_us else edges[config.edge],
        bias=pulls[config.pull],
        active_low=config.is_active_low,
        event_clock=clocks[config.clock],
    )
