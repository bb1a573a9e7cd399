"""A GNSS receiver on a serial port: where it was and how it moved, at its own seconds of UTC.

A sentence is 50 to 500 ms old when it arrives, but it says of which second it tells. Where the
receiver's pulse is wired to this node too, that second is an instant of the node's clock, to some
µs, and in return the sentence names the pulse. Where it is not, the promptest arrivals of a minute
place it, less a stated latency.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from coeval.errors import BadConfig
from coeval.evidence_wire import StatementSample, TimeSample
from coeval.pulse_names import PulseNames
from coeval.samples import MetadataBlock, Sample
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.kernel_clocks import read_node_clock
from coeval_edge.sources.errors import SourceUnfit
from coeval_edge.sources.nmea_sentences import Altitude, Fix, parse_sentence
from coeval_edge.sources.promptest import STEP_NS, Promptest
from coeval_edge.sources.serial_port import SerialLines
from coeval_edge.sources.timing import Timing

logger = logging.getLogger(__name__)

LATENCY_S, LATENCY_SIGMA_S = 0.275, 0.13
"""A fix is 50 to 500 ms old when its sentence begins, evenly for all we know: 450 ms/√12."""
PLACED_SIGMA_NS = 100_000.0
"""A fix between two pulses is carried by the node's crystal: 100 ppm of up to a second."""
STATEMENT_EVERY_NS = 16 * NS_PER_S
STEADY = 3
"""So many fixes in a row whose times fit each other, before anything is said of UTC."""
STANDING_MPS = 1.0
"""Slower than this a receiver may know no course; its velocity is then taken to be none."""
STATEMENT_SIGMA_NS = 5e6
"""How far the promptest arrivals of a minute scatter."""
UNREADABLE_BYTES = 600
"""So many bytes without a sentence in them are no NMEA, or come at another speed."""

UNITS = {
    "latitude": "deg",
    "longitude": "deg",
    "altitude": "m",
    "speed": "m/s",
    "north": "m/s",
    "east": "m/s",
}
"""The channels. The course comes as velocities, since an angle jumps where north is crossed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NmeaConfig:
    """A GNSS receiver that prints NMEA 0183."""

    port: str
    """The device, as `/dev/ttyAMA0`."""
    baud: int = 9600
    """Bits a second."""
    latency_s: float | None = None
    """How old a fix is when its sentence begins, where it was measured; None: 0.275 s, ±0.13 s."""
    week_rollovers: int = 0
    """How many times 1024 weeks the receiver's dates are behind."""

    def __post_init__(self) -> None:
        if not 50 <= self.baud <= 20_000_000:
            raise BadConfig(f"baud must lie within 50…20000000, got {self.baud}")
        if self.latency_s is not None and not 0 <= self.latency_s < 1:
            raise BadConfig(f"latency_s must lie within 0…1, got {self.latency_s}")
        if not 0 <= self.week_rollovers <= 3:
            raise BadConfig(f"week_rollovers must lie within 0…3, got {self.week_rollovers}")


class NmeaReceiver:
    """Reads one receiver; needs pyserial and pynmea2."""

    def __init__(
        self,
        config: NmeaConfig,
        *,
        names: PulseNames | None = None,
        hand: Callable[[Sequence[TimeSample]], None] | None = None,
        clock_ns: Callable[[], NodeNs] = read_node_clock,
    ) -> None:
        """Open the port.

        Args:
            config: the receiver.
            names: names its pulses; None where no pulse of it is wired to this node.
            hand: takes what it tells of UTC where it has no pulse; None: nobody asks.
            clock_ns: the node's clock.

        Raises:
            SourceUnusable: one of its kinds, with what to do.
        """
        parse_sentence("")  # says at once where pynmea2 is not installed
        self.counts: Counter[str] = Counter()
        """Sentences: used, no_time, no_fix, no_pulse (not placed yet), old_date, leap_second,
        repeated, backwards, checksum, garbage, broken, unused."""
        self.units = UNITS
        """Of the channels, in order."""
        self.timing = timing_of(config, has_pulse=names is not None)
        latency_s = LATENCY_S if config.latency_s is None else config.latency_s
        self._config, self._names, self._hand = config, names, hand
        self._lines = SerialLines(config.port, baud=config.baud, clock_ns=clock_ns)
        self._arrivals = Promptest()
        self._latency_ns = round(latency_s * NS_PER_S)
        self._is_latency_learnt = False
        self._altitude_m = math.nan
        self._last_utc_ns: int | None = None
        self._last_node_ns: int | None = None
        self._told_ns: int | None = None
        self._last_difference_ns: int | None = None
        self._num_steady = 0
        self._read_until = 0
        self._state = ""

    def read(self, timeout_s: float) -> list[Sample]:
        """The fixes that arrive within `timeout_s`, as soon as there is any byte.

        Raises:
            SourceLost: the device was unplugged.
            SourceUnfit: what comes is no NMEA at this speed.
        """
        samples: list[Sample] = []
        for line, end_ns in self._lines.read(timeout_s):
            begin_ns = NodeNs(end_ns - round((len(line) + 2) * self._lines.byte_ns))
            said = parse_sentence(line, rollovers=self._config.week_rollovers)
            if said not in ("garbage", "checksum"):
                self._read_until = self._lines.num_bytes
            if isinstance(said, Altitude):
                self._altitude_m = said.altitude_m
            elif isinstance(said, Fix):
                sample = self._take(said, begin_ns)
                samples += [] if sample is None else [sample]
            else:
                self.counts[said or "no_time"] += 1
                if said == "leap_second" and self._names is not None:
                    self._names.sentence(begin_ns, None)
                if said is None:
                    self._say("no time yet: does its antenna see the sky?")
        if self._lines.num_bytes - self._read_until > UNREADABLE_BYTES:
            raise SourceUnfit(
                f"{self._config.port}: {UNREADABLE_BYTES} bytes without a sentence of NMEA at "
                f"{self._config.baud} baud: set baud to the receiver's (4800, 9600, 38400, 115200)"
            )
        return samples

    def close(self) -> None:
        """Give the port back."""
        self._lines.close()

    def _take(self, fix: Fix, begin_ns: NodeNs) -> Sample | None:
        """One RMC: names a pulse, tells of UTC, and is a row of the stream."""
        if self._last_utc_ns is not None and fix.t_utc_ns == self._last_utc_ns:
            self.counts["repeated"] += 1
            return None
        if self._last_utc_ns is not None and fix.t_utc_ns < self._last_utc_ns:
            self.counts["backwards"] += 1
        self._last_utc_ns = fix.t_utc_ns
        if not fix.has_fix:
            self.counts["no_fix"] += 1
            self._say("no fix: does its antenna see the sky?")
        elif not fix.has_date:
            self.counts["old_date"] += 1
        if self._names is not None and fix.t_utc_ns % NS_PER_S == 0:
            self._names.sentence(begin_ns, fix.whole_second_ns)
        if not fix.has_fix:
            return None
        least_ns = self._arrivals.push(begin_ns, fix.t_utc_ns)
        self._tell(fix, begin_ns, least_ns)
        t_node_ns = self._place(fix, least_ns)
        self._say(state_of(fix, is_placed=t_node_ns is not None))
        if t_node_ns is None:
            self.counts["no_pulse"] += 1
            return None
        if self._last_node_ns is not None and t_node_ns <= self._last_node_ns:
            return None  # counted as backwards: its time was set
        self._last_node_ns = t_node_ns
        self.counts["used"] += 1
        north_mps, east_mps = velocity(fix)
        row = (
            *(fix.latitude_deg, fix.longitude_deg, self._altitude_m, fix.speed_mps),
            *(north_mps, east_mps),
        )
        return MetadataBlock(
            t_node_ns=np.array([t_node_ns], np.int64), values=np.array([row], np.float64)
        )

    def _place(self, fix: Fix, least_ns: int) -> int | None:
        """The fix on the node's clock: by a named pulse; where pulses were lost, by arrivals less
        the latency that they showed; without a pulse's line, by arrivals less the stated one."""
        if self._names is None:
            return fix.t_utc_ns + least_ns - self._latency_ns
        placed = self._names.place(fix.t_utc_ns)
        if placed is not None:
            self._latency_ns = least_ns - (placed - fix.t_utc_ns)
            self._is_latency_learnt = True
            return placed
        if not self._is_latency_learnt:
            return None
        return fix.t_utc_ns + least_ns - self._latency_ns

    def _tell(self, fix: Fix, begin_ns: NodeNs, least_ns: int) -> None:
        """Say now and then what UTC is, where no pulse says it better."""
        difference_ns = begin_ns - fix.t_utc_ns
        before_ns, self._last_difference_ns = self._last_difference_ns, difference_ns
        is_steady = before_ns is not None and abs(difference_ns - before_ns) < STEP_NS
        self._num_steady = self._num_steady + 1 if is_steady else 1
        if self._hand is None or self._names is not None or not fix.has_date:
            return
        if self._num_steady < STEADY:
            return
        t_node_ns = fix.t_utc_ns + least_ns - self._latency_ns
        if self._told_ns is not None and t_node_ns - self._told_ns < STATEMENT_EVERY_NS:
            return
        self._told_ns = t_node_ns
        self._hand(
            [
                StatementSample(
                    by="nmea",
                    t_node_ns=t_node_ns,
                    t_utc_ns=fix.t_utc_ns,
                    sigma_ns=STATEMENT_SIGMA_NS,
                    bias_sigma_ns=self.timing.sigma_ns,
                )
            ]
        )

    def _say(self, state: str) -> None:
        """Log what it does, when that changes."""
        if state != self._state:
            self._state = state
            logger.info("gnss port=%s state=%s", self._config.port, state)


def state_of(fix: Fix, *, is_placed: bool) -> str:
    """What a receiver with a fix does, for the log."""
    if not fix.has_date:
        return "its date cannot be; where its count of weeks ran over, set week_rollovers"
    if not is_placed:
        return "has a fix, but its sentences name no pulse: see its [node.time.pps] table"
    return "has a fix"


def velocity(fix: Fix) -> tuple[float, float]:
    """North and east in m/s; NaN where they are not known."""
    if math.isnan(fix.course_deg) and fix.speed_mps < STANDING_MPS:
        return 0.0, 0.0
    course_rad = math.radians(fix.course_deg)
    return fix.speed_mps * math.cos(course_rad), fix.speed_mps * math.sin(course_rad)


def timing_of(config: NmeaConfig, *, has_pulse: bool) -> Timing:
    """Where the stamps of a receiver's fixes come from."""
    if has_pulse:
        return Timing(
            origin="hardware",
            latency_ns=0.0,
            sigma_ns=PLACED_SIGMA_NS,
            how="each fix's own second, by the receiver's pulse that marks it; while pulses fail, "
            "by the promptest sentences less the latency that they had (some ms)",
        )
    is_measured = config.latency_s is not None
    latency_s = config.latency_s if config.latency_s is not None else LATENCY_S
    sigma_s = 0.02 if is_measured else LATENCY_SIGMA_S
    return Timing(
        origin="sender",
        latency_ns=latency_s * NS_PER_S,
        sigma_ns=sigma_s * NS_PER_S,
        how="each fix's own second, put on the node's clock by the promptest sentences of a "
        f"minute, less {latency_s:g} s that a fix is old by then "
        + ("as configured" if is_measured else "(not measured: 0.05 to 0.5 s)"),
    )
