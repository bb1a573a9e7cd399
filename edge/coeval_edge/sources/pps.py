"""PPS as a clock source: the pulses of a kernel device, on the node's clock, judged and named.

In: `/dev/ppsN`. Out: readings; a good one with a named second is evidence of the node's clock
against UTC. Sign: offset = node − reference; positive: the node is fast.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coeval.errors import BadConfig
from coeval.evidence_wire import PpsSample
from coeval.pps import Judged, PpsHealth, PpsJudge, name_second
from coeval.pulse_names import PulseNames
from coeval.time import NodeNs
from coeval_edge.kernel_clocks import KernelClock, ReadClock, StampConverter, read_node_clock
from coeval_edge.kernel_utc import read_utc_error_ns
from coeval_edge.sources.errors import SourceSilent
from coeval_edge.sources.pps_device import CAPTURE, PpsDevice, PpsEdge

STAMP_BIAS_SIGMA_NS = 5_000.0
"""What all stamps of a line share: the way from the pin to the kernel's clock, some microseconds on
the boards we know of; not measured here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PpsConfig:
    """A PPS line of the node."""

    device: Path = Path("/dev/pps0")
    """The kernel's device."""
    edge: str = "assert"
    """The edge that marks the second: `assert` or `clear`."""
    nmea: str | None = None
    """The stream in `[node.sources.nmea]` whose receiver makes these pulses: its sentences name
    their seconds. None: the system's clock does, where something steers it."""

    def __post_init__(self) -> None:
        if self.edge not in CAPTURE:
            raise BadConfig(f"edge must be 'assert' or 'clear', got {self.edge!r}")

    @property
    def pps_edge(self) -> PpsEdge:
        """The edge, as the device names it."""
        return "clear" if self.edge == "clear" else "assert"


@dataclass(frozen=True, slots=True, kw_only=True)
class PpsReading:
    """One pulse on the node's clock."""

    judged: Judged
    """Its stamp on the node's clock, and what it is."""
    t_utc_ns: int | None
    """The second it marks; None where nothing says which, or the pulse is not good."""
    sigma_ns: float | None
    """Standard deviation of the stamp on the node's clock; None unless the pulse is good."""
    num_overwritten: int
    """Pulses before it that the kernel saw and the node was too late to read."""

    @property
    def sample(self) -> PpsSample | None:
        """The pulse as evidence; None where it is none."""
        if self.t_utc_ns is None or self.sigma_ns is None:
            return None
        return PpsSample(
            t_node_ns=self.judged.t_node_ns, t_utc_ns=self.t_utc_ns, sigma_ns=self.sigma_ns
        )


class PulseNamer:
    """Says which second a pulse marks: by a receiver's sentences, by the system's clock, or by
    both, which then must agree."""

    def __init__(
        self,
        *,
        names: PulseNames | None = None,
        utc_error_ns: Callable[[], int | None] = read_utc_error_ns,
    ) -> None:
        self.num_contradicted = 0
        """Pulses that the two named differently."""
        self._names, self._utc_error_ns = names, utc_error_ns

    def second(self, t_node_ns: NodeNs, t_realtime_ns: int) -> int | None:
        """The second of a good pulse, ns of UTC; None where nothing names it, or two differ.

        Args:
            t_node_ns: when it was on the node's clock.
            t_realtime_ns: the same instant on the system's.
        """
        told_ns = None if self._names is None else self._names.pulse(t_node_ns)
        utc_error_ns = self._utc_error_ns()
        if utc_error_ns is None:
            return told_ns
        system_ns = name_second(t_realtime_ns, error_ns=utc_error_ns)
        if told_ns is not None and system_ns is not None and told_ns != system_ns:
            self.num_contradicted += 1
            return None
        return system_ns if told_ns is None else told_ns


class PpsSource:
    """Reads one line; blocks, so it lives in a thread of its own."""

    def __init__(
        self,
        device: PpsDevice,
        *,
        read_clock: ReadClock = time.clock_gettime_ns,
        utc_error_ns: Callable[[], int | None] = read_utc_error_ns,
        names: PulseNames | None = None,
    ) -> None:
        self.device = device
        """What it reads; whoever opened it closes it."""
        self.num_overwritten = 0
        """Pulses that the kernel saw and the node was too late to read."""
        self._judge = PpsJudge()
        self._read_clock = read_clock
        self._namer = PulseNamer(names=names, utc_error_ns=utc_error_ns)
        self._is_named = False
        self._converter = StampConverter(KernelClock.REALTIME, read=read_clock)

    def read(self, timeout_s: float) -> PpsReading | None:
        """The next pulse; None for one that the system's clock was stepped around (counted).

        Args:
            timeout_s: a few seconds at most, so that steps of the system's clock are noticed.

        Raises:
            SourceSilent: no pulse in time; `health` then says for how long.
            SourceLost: the device was unplugged or unbound.
        """
        try:
            pulse = self.device.wait(timeout_s)
        except SourceSilent:
            self._converter.watch()
            self._judge.pass_time(read_node_clock(self._read_clock))
            raise
        self.num_overwritten += pulse.num_overwritten
        stamp = self._converter.to_node(pulse.t_realtime_ns)
        if stamp is None:
            return None
        judged = self._judge.push(stamp.t_node_ns, num_unread=pulse.num_overwritten)
        second_ns = sigma_ns = None
        if judged.sigma_ns is not None:
            sigma_ns = math.hypot(judged.sigma_ns, stamp.error_ns)
            second_ns = self._namer.second(judged.t_node_ns, pulse.t_realtime_ns)
            self._is_named = second_ns is not None
        return PpsReading(
            judged=judged,
            t_utc_ns=second_ns,
            sigma_ns=sigma_ns,
            num_overwritten=pulse.num_overwritten,
        )

    @property
    def state(self) -> str:
        """What the line does, and whether its seconds have names: few words, that change seldom."""
        if self.health.state != "locked":
            return self.health.state
        return "locked, seconds named" if self._is_named else "locked, but nothing names the second"

    @property
    def num_contradicted(self) -> int:
        """Pulses not used: the receiver and the system's clock name them differently."""
        return self._namer.num_contradicted

    @property
    def num_unplaced(self) -> int:
        """Pulses not used because the system's clock was stepped around them."""
        return self._converter.num_refused

    @property
    def health(self) -> PpsHealth:
        """What the line did so far."""
        return self._judge.health

    def __str__(self) -> str:
        """The line and what it does, for a person."""
        late = f"; {self.num_overwritten} read too late" if self.num_overwritten else ""
        stepped = (
            f"; {self.num_unplaced} around steps of the clock not used" if self.num_unplaced else ""
        )
        named = (
            f"; {self.num_contradicted} named differently by the receiver and the system's clock"
            if self.num_contradicted
            else ""
        )
        return f"{self.device.path} ({self.device.edge}): {self.health}{late}{stepped}{named}"


def open_pps(config: PpsConfig, *, names: PulseNames | None = None) -> PpsSource:
    """Open the line of a configuration; `names` are what its receiver's sentences tell.

    Raises:
        SourceUnusable: one of its kinds, with what to do.
    """
    return PpsSource(PpsDevice(config.device, edge=config.pps_edge), names=names)
