"""A probe's line: bytes in, records with their times on the node's clock out, for its streams.

Whichever stream asks first reads the port for all of them. A record's tick is put on the node's
clock by a line through the arrivals of the status records, which a probe sends as soon as it makes
them; so a delay in the node moves no stamp of an edge.
"""

import logging
import math
import os
import select
import threading
from collections import Counter, deque
from collections.abc import Callable

from coeval.time import NS_PER_S, NodeNs
from coeval_edge.kernel_clocks import read_node_clock
from coeval_edge.sources.errors import SourceLost, SourceUnfit
from coeval_edge.sources.probe_wire import (
    HEAD,
    STATUS,
    Edge,
    Hello,
    Motion,
    ProbeStream,
    ProbeVersion,
    Pulse,
    Record,
    Status,
    Verdict,
)
from coeval_edge.sources.pulse_stamps import PulseLine, PulseStamps
from coeval_edge.sources.sample_clock import SampleClock
from coeval_edge.sources.serial_port import ADAPTER_NS, BITS_PER_BYTE, open_port

logger = logging.getLogger(__name__)

BAUD = 921_600
STATUS_BYTES = HEAD.size + STATUS.size + 4
"""Length of a status frame on the wire: its tick is when its making began."""
MOST_QUEUED = 20_000
"""Records that wait for a stream that does not ask; then the oldest are dropped, and counted."""
STRANGE_BYTES = 2_000
"""So many bytes without a record are no probe's, or come at another speed."""
SILENT_NS = 5 * NS_PER_S
"""A probe speaks four times a second; one that is silent for so long has stopped."""
PLACED_STAMPS = 4
"""Arrivals before which the line says nothing."""
LINE_BIAS_NS = ADAPTER_NS / math.sqrt(12.0)
"""Standard deviation of the mean delay of arrivals, which no number of them shows: a USB frame, or
an adapter's timer, of 1 ms."""


class TickLine:
    """The probe's counter on the node's clock."""

    def __init__(self, tick_hz: int) -> None:
        self._clock = SampleClock(tick_hz)
        self._last_tick = -1
        self._num_stamps = 0

    def push(self, tick: int, t_node_ns: NodeNs) -> bool:
        """Add an arrival; False, and nothing is added, where the counter ran backwards: the probe
        began anew."""
        if tick <= self._last_tick:
            return False
        self._last_tick = tick
        self._num_stamps += 1
        self._clock.push(tick, t_node_ns)
        return True

    @property
    def is_placed(self) -> bool:
        """Whether it can place a tick."""
        return self._num_stamps >= PLACED_STAMPS

    @property
    def sigma_ns(self) -> float:
        """Standard deviation of a placed tick, beside the shared `LINE_BIAS_NS`."""
        return self._clock.sigma_ns

    @property
    def skew_ppm(self) -> float:
        """Rate error of the counter against the node's clock; positive: the counter is fast."""
        return self._clock.skew_ppm

    def t_ns(self, tick: int) -> NodeNs:
        """When the counter was at a tick."""
        return self._clock.t_ns(tick)


def device_of(port: str) -> str:
    """The device that a port's name leads to: names under `/dev/serial/by-id` are links."""
    return os.path.realpath(port)


def is_usb(port: str) -> bool:
    """Whether a port is the probe's own USB: its bytes come in frames of 1 ms, at no speed of a
    wire."""
    return "ttyACM" in device_of(port)


class ProbePort:
    """An open port; raises what its users may act on."""

    def __init__(
        self, port: str, *, baud: int, clock_ns: Callable[[], NodeNs] = read_node_clock
    ) -> None:
        """Open the port.

        Raises:
            SourceUnusable: one of its kinds, with what to do.
        """
        try:
            import cobs  # noqa: F401  said at once, not at the first frame
            import serial  # noqa: F401
        except ImportError as exc:
            raise SourceUnfit(
                "a probe needs pyserial and cobs; install them with: pip install 'coeval[probe]'"
            ) from exc
        self.stream = ProbeStream()
        """Counts what became of the bytes."""
        self.hello: Hello | None = None
        """Who it is, once it said so."""
        self._byte_ns = 0.0 if is_usb(port) else BITS_PER_BYTE * NS_PER_S / baud
        self._name, self._clock_ns = port, clock_ns
        self._num_strange = 0
        self._heard_ns = clock_ns()
        self._serial = open_port(port, baud)

    def read(self, timeout_s: float) -> list[tuple[Record, NodeNs]]:
        """Records that arrive within `timeout_s`, with when their last byte did, as soon as there
        is any.

        Raises:
            SourceLost: the device was unplugged, or fell silent.
            SourceUnfit: it is no probe, or speaks another version.
        """
        now_ns = self._clock_ns()
        try:
            data = b""
            if select.select([self._serial.fd], [], [], timeout_s)[0]:
                data = self._serial.read(max(self._serial.in_waiting, 1))
                now_ns = self._clock_ns()
                if not data:
                    raise OSError("end of file")
        except (OSError, TypeError, ValueError) as exc:  # a closed port has no descriptor
            raise SourceLost(f"probe at {self._name}: lost ({exc}); is it plugged in?") from exc
        try:
            found = [
                (record, NodeNs(now_ns - round(num_after * self._byte_ns)))
                for record, num_after in self.stream.push(data)
            ]
        except ProbeVersion as exc:
            raise SourceUnfit(f"probe at {self._name}: {exc}") from exc
        self._watch(found, num_bytes=len(data), now_ns=now_ns)
        return found

    def wire_ns(self, num_bytes: int) -> int:
        """How long so many bytes take on the wire."""
        return round(num_bytes * self._byte_ns)

    def close(self) -> None:
        """Give the port back."""
        self._serial.close()

    def _watch(self, found: list[tuple[Record, NodeNs]], *, num_bytes: int, now_ns: NodeNs) -> None:
        """Notice who speaks, and whether it is a probe that does."""
        for record, _ in found:
            if isinstance(record, Hello):
                self.hello = record
        self._num_strange = 0 if found else self._num_strange + num_bytes
        if num_bytes:
            self._heard_ns = now_ns
        if self._num_strange > STRANGE_BYTES:
            raise SourceUnfit(
                f"{self._name}: {self._num_strange} bytes without a record of a probe: another "
                "device, or set baud to the probe's (`coeval probe list` finds probes)"
            )
        if now_ns - self._heard_ns > SILENT_NS:
            raise SourceLost(
                f"probe at {self._name}: silent for {SILENT_NS // NS_PER_S} s; is it powered, is "
                "its TX wired to this port's RX, is it flashed (`coeval probe flash`)?"
            )


class ProbeLink:
    """One probe, shared by its streams; opened when the first of them is, closed with the last."""

    def __init__(
        self,
        port: str,
        *,
        baud: int = BAUD,
        on_pulse: Callable[[Pulse, NodeNs, float], None] | None = None,
        stamps: PulseStamps | None = None,
        clock_ns: Callable[[], NodeNs] = read_node_clock,
    ) -> None:
        """Prepare; the port is opened by `join`.

        Args:
            port: the device.
            baud: its speed.
            on_pulse: takes each pulse with its time on the node's clock and that time's sigma.
            stamps: the kernel's stamps of the same pulses; None: no line of the node has them.
            clock_ns: the node's clock.
        """
        self.counts: Counter[str] = Counter()
        """What happened beyond the wire's own counts: restarted (the probe began anew), unplaced
        (records before the line was), by_pulses and by_arrivals (what placed the others), overflow
        (a stream that did not ask)."""
        self._stamps = stamps
        self._pulse_line: PulseLine | None = None
        self._name, self._baud, self._clock_ns, self._on_pulse = port, baud, clock_ns, on_pulse
        self._lock = threading.RLock()
        self._port: ProbePort | None = None
        self._line: TickLine | None = None
        self._boxes: list[deque[tuple[Record, NodeNs]]] = []
        self._said = ""
        self._num_lost = 0

    @property
    def hello(self) -> Hello | None:
        """Who the probe is, once it said so."""
        return None if self._port is None else self._port.hello

    @property
    def line(self) -> TickLine | None:
        """Its counter on the node's clock, once it said who it is."""
        return self._line

    @property
    def wire_counts(self) -> Counter[str]:
        """What became of the bytes since the port was opened."""
        return Counter() if self._port is None else self._port.stream.counts

    def join(self) -> deque[tuple[Record, NodeNs]]:
        """Open the port if nobody has, and have a queue of one's own.

        Raises:
            SourceUnusable: one of its kinds, with what to do.
        """
        with self._lock:
            if self._port is None:
                self._port = ProbePort(self._name, baud=self._baud, clock_ns=self._clock_ns)
                self._line = self._pulse_line = None
            box: deque[tuple[Record, NodeNs]] = deque(maxlen=MOST_QUEUED)
            self._boxes.append(box)
            return box

    def leave(self, box: deque[tuple[Record, NodeNs]]) -> None:
        """Want no more; the last one to leave closes the port."""
        with self._lock:
            self._boxes = [each for each in self._boxes if each is not box]
            if not self._boxes:
                self._close()

    def read(
        self, box: deque[tuple[Record, NodeNs]], timeout_s: float
    ) -> list[tuple[Record, NodeNs]]:
        """What came for a queue's owner: edges and samples, each with its time on the node's clock.

        Raises:
            SourceLost: the device was unplugged, or fell silent.
            SourceUnfit: it is no probe, or speaks another version.
        """
        with self._lock:
            if not box:
                self._read_port(timeout_s)
            found = list(box)
            box.clear()
            return found

    def _read_port(self, timeout_s: float) -> None:
        if self._port is None:
            raise SourceLost(f"probe at {self._name}: lost; another stream of it noticed first")
        try:
            found = self._port.read(timeout_s)
        except Exception:
            self._close()
            raise
        self._tell_lost(self._port.stream.counts["lost"])
        for record, arrived_ns in found:
            match record:
                case Hello():
                    self._tell(record)
                    if self._line is None:
                        self._line = TickLine(record.tick_hz)
                case Status():
                    self._stamp(record, arrived_ns)
                case Pulse() | Edge() | Motion():
                    self._place(record)

    def _stamp(self, status: Status, arrived_ns: NodeNs) -> None:
        """A status's arrival: a point of the line."""
        if self._line is None or self._port is None:
            return
        late_ns = self._port.wire_ns(STATUS_BYTES) + round(ADAPTER_NS / 2)
        t_node_ns = NodeNs(arrived_ns - late_ns)
        if not self._line.push(status.tick, t_node_ns) and self._port.hello is not None:
            self.counts["restarted"] += 1
            self._line = TickLine(self._port.hello.tick_hz)
            self._line.push(status.tick, t_node_ns)
            self._pulse_line = None

    def _place(self, record: Pulse | Edge | Motion) -> None:
        if self._line is None or not self._line.is_placed:
            self.counts["unplaced"] += 1
            return
        tick = record.tick if isinstance(record, Pulse) else record.at.tick
        t_node_ns, sigma_ns = self._line.t_ns(tick), self._line.sigma_ns
        if isinstance(record, Pulse):
            self._pair(record, t_node_ns)
            if self._on_pulse is not None:
                self._on_pulse(record, t_node_ns, sigma_ns)
            return
        if self._pulse_line is not None and self._pulse_line.covers(tick):
            t_node_ns = self._pulse_line.t_ns(tick)
            self.counts["by_pulses"] += 1
        else:
            self.counts["by_arrivals"] += 1
        for box in self._boxes:
            self.counts["overflow"] += len(box) == MOST_QUEUED
            box.append((record, t_node_ns))

    def _pair(self, pulse: Pulse, t_node_ns: NodeNs) -> None:
        """A pulse that the kernel stamped, too, ties the two clocks."""
        if self._stamps is None or self._port is None or self._port.hello is None:
            return
        stamp = self._stamps.near(t_node_ns) if pulse.verdict is Verdict.GOOD else None
        if stamp is not None:
            if self._pulse_line is None:
                self._pulse_line = PulseLine(self._port.hello.tick_hz)
            self._pulse_line.push(pulse.tick, stamp)

    def _tell(self, hello: Hello) -> None:
        """Log who the probe is, when that changes."""
        version = ".".join(map(str, hello.version))
        said = f"board={hello.board_id} firmware={version} source={hello.source_id}"
        said += f" sensor={hello.imu:#x} reset={hello.reset_reason}"
        if said != self._said:
            self._said = said
            logger.info("probe port=%s %s", self._name, said)

    def _tell_lost(self, num_lost: int) -> None:
        """Log records that the sequence shows to be lost."""
        if num_lost > self._num_lost:
            logger.warning("probe port=%s lost=%d", self._name, num_lost - self._num_lost)
        self._num_lost = num_lost

    def _close(self) -> None:
        if self._port is not None:
            self._port.close()
        self._port = None
