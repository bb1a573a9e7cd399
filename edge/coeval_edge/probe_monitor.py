"""What `coeval probe monitor` shows of a probe: state, pulses, edges, rates, losses."""

from collections import Counter, deque
from collections.abc import Iterator

from rich.table import Table

from coeval_edge.sources.probe import celsius
from coeval_edge.sources.probe_wire import Edge, Hello, Motion, PpsState, Pulse, Record, Status

RATE_S = 5.0
"""Rates are of the last seconds."""


def version_of(hello: Hello) -> str:
    """The firmware's version."""
    return ".".join(map(str, hello.version))


class Monitor:
    """What was heard of a probe, for people."""

    def __init__(self, port: str) -> None:
        self._port = port
        self._hello: Hello | None = None
        self._status: Status | None = None
        self._pulse: Pulse | None = None
        self._motion: Motion | None = None
        self._edges: dict[int, Edge] = {}
        self._heard: deque[tuple[float, str]] = deque()
        self.wire: Counter[str] = Counter()
        """What became of the bytes."""
        self.problem = ""
        """What is wrong just now."""

    def take(self, record: Record, *, now_s: float) -> None:
        """One record more."""
        name = type(record).__name__.lower()
        match record:
            case Hello():
                self._hello = record
            case Status():
                self._status = record
            case Pulse():
                self._pulse = record
            case Motion():
                self._motion = record
            case Edge():
                self._edges[record.input] = record
                name = f"edges {record.input}"
        self._heard.append((now_s, name))
        self.forget(now_s=now_s)

    def forget(self, *, now_s: float) -> None:
        """Time passes: rates are of the last seconds, also where nothing comes."""
        while self._heard and now_s - self._heard[0][0] > RATE_S:
            self._heard.popleft()

    def rates(self) -> dict[str, float]:
        """Records a second, by kind."""
        counts = Counter(name for _, name in self._heard)
        return {name: count / RATE_S for name, count in sorted(counts.items())}

    def table(self) -> Table:
        """All of it."""
        table = Table(title=f"probe at {self._port}", show_header=False, min_width=72)
        table.add_column(style="dim")
        table.add_column(overflow="fold")
        for name, value in self._lines():
            table.add_row(name, value)
        return table

    def _lines(self) -> Iterator[tuple[str, str]]:
        if self.problem:
            yield "problem", self.problem
        if self._hello is not None:
            hello = self._hello
            sensor = f"sensor {hello.imu:#x}" if hello.imu else "no motion sensor"
            restarted = ", restarted by its watchdog" if hello.reset_reason else ""
            yield "board", f"{hello.board_id}, firmware {version_of(hello)}, {sensor}{restarted}"
        if self._status is not None:
            yield "state", state_line(self._status)
            yield "pulses", pulse_line(self._status)
        if self._pulse is not None:
            yield "last pulse", last_pulse_line(self._pulse)
        for number, edge in sorted(self._edges.items()):
            yield f"input {number}", edge_line(edge)
        if self._motion is not None:
            yield "motion", motion_line(self._motion)
        rates = ", ".join(f"{name} {rate:.1f}/s" for name, rate in self.rates().items())
        yield "rates", rates or "nothing yet"
        lost = {name: num for name, num in sorted(self.wire.items()) if name != "records" and num}
        yield "losses", ", ".join(f"{name} {num}" for name, num in lost.items()) or "none"


def state_line(status: Status) -> str:
    """State of the clock, how good it is, the crystal, temperature, and what was lost inside."""
    parts = [status.state.name.lower()]
    if status.state in (PpsState.LOCKED, PpsState.HOLDOVER):
        parts.append("±65 µs or more" if status.sigma_ns is None else f"±{status.sigma_ns} ns")
    if status.rate_ppb is not None:
        parts.append(f"crystal {status.rate_ppb / 1e3:+.3f} ppm")
    if status.celsius is not None:
        parts.append(f"{status.celsius:.1f} °C")
    parts.append(f"queue {status.most_queued} B")
    for count, what in (
        (status.num_dropped, "records dropped"),
        (status.num_overrun, "edges overrun"),
        (status.num_imu_failed, "sensor readings failed"),
    ):
        if count:
            parts.append(f"{count} {what}")
    return ", ".join(parts)


def pulse_line(status: Status) -> str:
    """Counts of pulses."""
    names = ("good", "missed", "spurious", "doubled", "searching", "regridded")
    return "  ".join(f"{name} {getattr(status, name)}" for name in names)


def last_pulse_line(pulse: Pulse) -> str:
    """The last pulse."""
    residual = "" if pulse.residual_ns is None else f", {pulse.residual_ns:+d} ns off its place"
    second = "" if pulse.second is None else f", second {pulse.second}"
    return f"{pulse.verdict.name.lower()}{second}{residual}"


def edge_line(edge: Edge) -> str:
    """An edge's time."""
    if edge.at.second is None or edge.at.ns is None:
        return f"tick {edge.at.tick}, no time: no pulses"
    sigma = "65 µs or more" if edge.at.sigma_ns is None else f"{edge.at.sigma_ns} ns"
    return f"second {edge.at.second} + {edge.at.ns:,} ns ± {sigma}"


def motion_line(motion: Motion) -> str:
    """A sample."""
    accel = ", ".join(f"{raw / 8192:+.2f}" for raw in motion.accel)
    gyro = ", ".join(f"{raw / 65.5:+.1f}" for raw in motion.gyro)
    return f"{accel} g; {gyro} °/s; {celsius(motion):.1f} °C"
