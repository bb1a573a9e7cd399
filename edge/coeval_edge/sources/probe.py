"""A probe's streams, edges and motion stamped by its own counter, and its pulses as evidence.

The probe (firmware/) stamps in hardware, to 16 ns of its counter and of the pulses on its PPS
input. Where a PPS line of the node sees the same pulses, they put that counter on the node's clock
to some microseconds. Else arrivals do, to some 0.3 ms; but its edges, samples and pulses share
that error, so they fit each other far better.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from coeval.errors import BadConfig
from coeval.evidence_wire import PpsSample, TimeSample
from coeval.pulse_names import PulseNames
from coeval.samples import MetadataBlock, Modality, Sample, TextLine
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.kernel_clocks import KernelClock, ReadClock, measure_difference, read_node_clock
from coeval_edge.kernel_utc import read_utc_error_ns
from coeval_edge.sources.pps import STAMP_BIAS_SIGMA_NS, PulseNamer
from coeval_edge.sources.probe_link import BAUD, LINE_BIAS_NS, ProbeLink
from coeval_edge.sources.probe_wire import Edge, Motion, PpsState, Pulse, Verdict
from coeval_edge.sources.pulse_stamps import PulseStamps
from coeval_edge.sources.serial_port import ADAPTER_NS
from coeval_edge.sources.timing import Timing

logger = logging.getLogger(__name__)

G_MPS2, RAD_PER_DEG = 9.80665, math.pi / 180.0
ACCEL_PER_G, GYRO_PER_DPS = 8192.0, 65.5
"""Of ±4 g and ±500 °/s, which the firmware sets."""
MPU_6050 = 0x68
"""What it answers to `who are you`; an ICM-20948 says 0xEA."""
FILTER_S, FILTER_SIGMA_S = 0.0049, 0.0005
"""Delay of the sensor's low-pass filter as the firmware sets it: 4.8 ms (gyroscope), 4.9 ms
(accelerometer) in the MPU-6050's register map, DLPF_CFG 3; others are alike, not stated, hence the
sigma."""
REGISTER_S = 0.0005
"""Mean age of what is read: the sensor renews it every millisecond."""

MOTION_UNITS = {
    **{f"accel_{axis}": "m/s^2" for axis in "xyz"},
    **{f"gyro_{axis}": "rad/s" for axis in "xyz"},
    "temperature": "degC",
}
EVIDENCE_BY = "probe"

What = Literal["edges", "motion"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeConfig:
    """A stream of a probe."""

    port: str
    """The device, as `/dev/ttyACM0` or `/dev/ttyAMA0`; several streams may name the
    same, by its own name or by a link that leads to it."""
    baud: int = BAUD
    """Bits a second, where it is on a UART."""
    what: What = "edges"
    """`edges` of an input, or `motion` of the sensor on its I²C."""
    input: int = 1
    """The input, for edges."""
    modality: Literal["text", "metadata"] = "text"
    """Of edges; `text`: every edge is an event; `metadata`: how many come a second."""
    text: str = "edge"
    """What an event says."""
    pps: str | None = None
    """The line in `[node.time.pps]` that sees the same pulses; None: the node has none."""
    nmea: str | None = None
    """The stream in `[node.sources.nmea]` whose receiver makes its pulses: its sentences name their
    seconds. None: the system's clock does, where something steers it."""

    def __post_init__(self) -> None:
        if not self.port:
            raise BadConfig("port must name the probe's device, got ''")
        if not 9600 <= self.baud <= 20_000_000:
            raise BadConfig(f"baud must lie within 9600…20000000, got {self.baud}")
        if self.what not in ("edges", "motion"):
            raise BadConfig(f"what must be edges or motion, got {self.what!r}")
        if self.modality not in ("text", "metadata"):
            raise BadConfig(f"modality must be text or metadata, got {self.modality!r}")
        if not 1 <= self.input <= 8:
            raise BadConfig(f"input must be 1…8, got {self.input}")
        if not self.text:
            raise BadConfig("text must say something, got ''")
        if self.pps is not None and self.nmea is not None:
            raise BadConfig(
                "nmea belongs to the table of the line that pps names; leave it out here"
            )

    @property
    def stream_modality(self) -> Modality:
        """Of the stream."""
        return "metadata" if self.what == "motion" else self.modality


class ProbePulses:
    """A probe's pulses as evidence of the node's clock."""

    def __init__(
        self,
        port: str,
        *,
        names: PulseNames | None,
        hand: Callable[[Sequence[TimeSample]], None] | None,
        utc_error_ns: Callable[[], int | None] = read_utc_error_ns,
        read_clock: ReadClock = time.clock_gettime_ns,
    ) -> None:
        """Prepare.

        Args:
            port: the probe's, for the log.
            names: what a receiver's sentences tell of the pulses; None: there is none.
            hand: takes the evidence; None: nobody asks.
            utc_error_ns: bound of the system's clock's error; None where nothing steers it.
            read_clock: the kernel's clocks.
        """
        self._port, self._hand, self._read_clock = port, hand, read_clock
        self._namer = PulseNamer(names=names, utc_error_ns=utc_error_ns)
        self._said = ""

    def take(self, pulse: Pulse, t_node_ns: NodeNs, sigma_ns: float) -> None:
        """Judge, name and hand on a pulse.

        Args:
            pulse: as the probe judged it.
            t_node_ns: when it was on the node's clock.
            sigma_ns: standard deviation of that.
        """
        second_ns = None
        if pulse.verdict is Verdict.GOOD:
            behind = measure_difference(KernelClock.REALTIME, read=self._read_clock)
            second_ns = self._namer.second(t_node_ns, t_node_ns + behind.difference_ns)
        self._say(pulse.state, is_named=second_ns is not None)
        if second_ns is not None and self._hand is not None:
            self._hand(
                [
                    PpsSample(
                        t_node_ns=t_node_ns,
                        t_utc_ns=second_ns,
                        sigma_ns=math.hypot(sigma_ns, pulse.sigma_ns or 0),
                        bias_sigma_ns=LINE_BIAS_NS,
                        by=EVIDENCE_BY,
                    )
                ]
            )

    def _say(self, state: PpsState, *, is_named: bool) -> None:
        """Log what the pulses do, when that changes."""
        told = state.name.lower()
        if state is PpsState.LOCKED:
            told += ", seconds named" if is_named else ", but nothing names the second"
        if told != self._said:
            self._said = told
            logger.info("probe port=%s pps=%s", self._port, told)


class ProbeSource:
    """Reads one stream of a probe."""

    def __init__(self, config: ProbeConfig, link: ProbeLink) -> None:
        """Open the probe, or share it with another stream.

        Raises:
            SourceUnusable: one of its kinds, with what to do.
        """
        self.units = MOTION_UNITS if config.what == "motion" else {"rate": "Hz"}
        """Of the channels, in order."""
        self.timing = timing_of(config)
        self._config, self._link = config, link
        self._latency_ns = round((FILTER_S + REGISTER_S) * NS_PER_S)
        self._last_ns: int | None = None
        self._box = link.join()

    def read(self, timeout_s: float) -> list[Sample]:
        """What was stamped and arrives within `timeout_s`, as soon as there is any.

        Raises:
            SourceLost: the device was unplugged, or fell silent.
            SourceUnfit: it is no probe, or speaks another version.
        """
        found = self._link.read(self._box, timeout_s)
        samples = []
        for record, t_node_ns in found:
            sample: Sample | None = None
            if isinstance(record, Motion) and self._config.what == "motion":
                sample = self._motion(record, t_node_ns)
            elif isinstance(record, Edge) and self._is_mine(record):
                sample = self._edge(t_node_ns)
            if sample is not None:
                samples.append(sample)
        return samples

    def close(self) -> None:
        """Leave the probe to its other streams."""
        self._link.leave(self._box)

    def _is_mine(self, edge: Edge) -> bool:
        return self._config.what == "edges" and edge.input == self._config.input

    def _edge(self, t_node_ns: NodeNs) -> Sample | None:
        if self._config.modality == "text":
            return TextLine(t_node_ns=t_node_ns, t_end_node_ns=None, text=self._config.text)
        before_ns, self._last_ns = self._last_ns, t_node_ns
        if before_ns is None or t_node_ns <= before_ns:
            return None
        # A rate is that of the time between two edges: its middle.
        middle_ns = before_ns + (t_node_ns - before_ns) // 2
        return block(middle_ns, (NS_PER_S / (t_node_ns - before_ns),))

    def _motion(self, motion: Motion, t_node_ns: NodeNs) -> Sample | None:
        t_ns = t_node_ns - self._latency_ns
        if self._last_ns is not None and t_ns <= self._last_ns:
            return None
        self._last_ns = t_ns
        return block(t_ns, motion_values(motion))


def block(t_node_ns: int, values: Sequence[float]) -> MetadataBlock:
    """One row."""
    return MetadataBlock(
        t_node_ns=np.array([t_node_ns], np.int64), values=np.array([values], np.float64)
    )


def motion_values(motion: Motion) -> tuple[float, ...]:
    """A sample in units, in the order of `MOTION_UNITS`."""
    return (
        *(raw / ACCEL_PER_G * G_MPS2 for raw in motion.accel),
        *(raw / GYRO_PER_DPS * RAD_PER_DEG for raw in motion.gyro),
        celsius(motion),
    )


def celsius(motion: Motion) -> float:
    """Temperature by the data sheet: the MPU-6050's, else the ICM-20948's and MPU-6500's scale."""
    if motion.sensor == MPU_6050:
        return motion.temperature / 340.0 + 36.53
    return motion.temperature / 333.87 + 21.0


def timing_of(config: ProbeConfig) -> Timing:
    """Where the stamps of a stream come from."""
    shared = (
        "by the probe's counter, put on the node's clock by the arrivals of its status records "
        f"less {ADAPTER_NS / 2e6:g} ms; the probe's streams and pulses share that error"
    )
    line_ns, line_late_ns = LINE_BIAS_NS, ADAPTER_NS / 2
    if config.pps is not None:
        shared = (
            "by the probe's counter, put on the node's clock by the pulses that the line "
            f"{config.pps} stamps, too; while they fail, by arrivals (0.3 ms)"
        )
        line_ns, line_late_ns = STAMP_BIAS_SIGMA_NS, 0.0
    if config.what == "edges":
        return Timing(
            origin="hardware",
            latency_ns=line_late_ns,
            sigma_ns=line_ns,
            how=f"captured within 16 ns {shared}",
        )
    filtered = f"less {(FILTER_S + REGISTER_S) * 1e3:g} ms of the sensor's filter and registers"
    return Timing(
        origin="hardware",
        latency_ns=line_late_ns + (FILTER_S + REGISTER_S) * NS_PER_S,
        sigma_ns=math.hypot(line_ns, FILTER_SIGMA_S * NS_PER_S, REGISTER_S * NS_PER_S / 1.7),
        how=f"when the reading began {shared}; {filtered}",
    )


def open_link(
    config: ProbeConfig,
    *,
    names: PulseNames | None = None,
    hand: Callable[[Sequence[TimeSample]], None] | None = None,
    stamps: PulseStamps | None = None,
    clock_ns: Callable[[], NodeNs] = read_node_clock,
) -> ProbeLink:
    """The link that all streams of one port share; the port itself opens with the first of them.

    Args:
        config: of any of the streams.
        names: what a receiver's sentences tell of the pulses.
        hand: takes the pulses as evidence; not asked where a line of the node has them, too.
        stamps: the kernel's stamps of the pulses, where `config.pps` names a line.
        clock_ns: the node's clock.
    """
    pulses = ProbePulses(config.port, names=names, hand=None if config.pps is not None else hand)
    return ProbeLink(
        config.port, baud=config.baud, on_pulse=pulses.take, stamps=stamps, clock_ns=clock_ns
    )
