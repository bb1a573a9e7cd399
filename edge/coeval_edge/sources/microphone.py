"""A microphone as a stream of sound: every sample at its time by the sample clock.

card → samples and a stamp → node clock → line through the stamps → 16 kHz → blocks. What is handed
out is one unbroken timeline, bent by no more than MOST_BENT towards the line as the line gets
better; where samples were lost, it begins anew.
"""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from coeval.errors import BadConfig
from coeval.features.audio import RATE_HZ
from coeval.hops import HOP_NS
from coeval.samples import AudioBlock, FloatArray, Sample
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.kernel_clocks import KernelClock, StampConverter, read_node_clock
from coeval_edge.sources.alsa_pcm import AlsaPcm, PcmBlock
from coeval_edge.sources.errors import SourceSilent
from coeval_edge.sources.sample_clock import SampleClock
from coeval_edge.sources.timing import Timing

logger = logging.getLogger(__name__)

LATENCY_NS, LATENCY_SIGMA_NS = 1_000_000.0, 700_000.0
"""From the air to the card's counter: the converter's filter, some 0.5 ms, and up to 1 ms until USB
has carried a sample. Not measured here; `latency_s` takes what you measured."""
STATED_SIGMA_NS = 20_000.0
"""Of a latency that the configuration states."""
SETTLED_NS = 500_000.0
"""Sound is handed out once its line is known so well …"""
HELD_NS = 5 * NS_PER_S
"""… or has held for so long, where stamps are too wild for that."""
START_S = 0.2
"""Stamps of the first sound are not used: a shared card's are of before it was opened."""
BLOCK_S = 0.1
MOST_BENT = 0.01
"""By what share a block may be stretched: 1 ms in 0.1 s, which no feature sees."""
LONGEST_BENT_S = 0.5
"""Sound held for longer than this over a break of the line is let go, and not bent."""
LEAP_NS = HOP_NS // 4
"""The features begin anew where the time leaps by more, and look past a smaller leap."""
SILENT_NS = 5 * NS_PER_S
RECENT_NS = 2 * NS_PER_S
"""A stamp older than this, or ahead of now, is of another clock than it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MicrophoneConfig:
    """A microphone."""

    device: str
    """As ALSA knows it, as `plughw:CARD=Device`; `coeval doctor` lists them. `default`, where
    programs share a card, loses samples without saying so when the machine is busy."""
    rate_hz: int = 48_000
    """Sample rate asked for; the card takes the nearest it has."""
    latency_s: float | None = None
    """From the air to the card's counter, where you measured it."""

    def __post_init__(self) -> None:
        if not self.device or "\0" in self.device:
            raise BadConfig(f"device must be a name that ALSA knows, got {self.device!r}")
        if not 8_000 <= self.rate_hz <= 384_000:
            raise BadConfig(f"rate_hz must lie within 8000…384000, got {self.rate_hz}")
        if self.latency_s is not None and not -1.0 <= self.latency_s <= 1.0:
            raise BadConfig(f"latency_s must lie within -1…1, got {self.latency_s}")


class Pcm(Protocol):
    """What is used of `AlsaPcm`; tests bring their own."""

    rate_hz: int
    """Nominal sample rate."""
    clock: KernelClock
    """The clock of its stamps."""

    def read(self, timeout_s: float) -> PcmBlock | None:
        """The next samples; None where none came in time."""

    def close(self) -> None:
        """Give it back."""


class Resample(Protocol):
    """What is used of `coeval_edge.media.Resampler`."""

    def push(self, pcm: FloatArray, /) -> FloatArray:
        """Add samples; take those that are ready."""


class Microphone:
    """Reads one microphone."""

    def __init__(
        self,
        config: MicrophoneConfig,
        pcm: Pcm,
        *,
        make_resampler: Callable[[int], Resample],
        clock_ns: Callable[[], NodeNs] = read_node_clock,
        converter: StampConverter | None = None,
    ) -> None:
        """Put the parts together; `open_microphone` does from a configuration.

        Args:
            config: the microphone's configuration.
            pcm: what gives the samples; closed with the source.
            make_resampler: a fresh resampler from a rate to the features' rate.
            clock_ns: the node's clock.
            converter: puts stamps of the PCM's clock on the node's.
        """
        stated = config.latency_s
        self.timing = Timing(
            origin="driver",
            latency_ns=LATENCY_NS if stated is None else stated * NS_PER_S,
            sigma_ns=LATENCY_SIGMA_NS if stated is None else STATED_SIGMA_NS,
            how="the card's sample counter, fitted to the kernel's stamps of it; the latency is "
            + ("typical of a USB microphone" if stated is None else "as configured"),
        )
        self.counts: Counter[str] = Counter()
        """What became of blocks: used, lost (overruns before them), unplaced (stamps that are of
        another clock), broken (samples were lost before them without a word), leaps (of the
        timeline)."""
        self.clock = SampleClock(pcm.rate_hz)
        """When each sample was."""
        self._config, self._pcm, self._clock_ns = config, pcm, clock_ns
        self._make_resampler = make_resampler
        self._converter = converter or StampConverter(pcm.clock)
        self._held: list[FloatArray] = []
        self._held_from = 0
        """Number of the first sample held."""
        self._line_from = 0
        """Number of the first sample of the line as it is now."""
        self._piece: _Piece | None = None
        self._heard_ns = clock_ns()

    def read(self, timeout_s: float) -> list[Sample]:
        """The sound that is complete, waiting up to `timeout_s` for more.

        Raises:
            SourceLost: the card is gone.
            SourceSilent: it gives nothing any more.
        """
        block = self._pcm.read(timeout_s)
        now_ns = self._clock_ns()
        if block is None:
            self._converter.watch()
            if now_ns - self._heard_ns > SILENT_NS:
                raise SourceSilent(
                    f"microphone {self._config.device}: no sample in {SILENT_NS / NS_PER_S:g} s; "
                    "is it plugged in and not in use? `arecord -L` lists what there is"
                )
            return []
        self._heard_ns = now_ns
        sound: list[Sample] = []
        if block.follows_loss:
            self.counts["lost"] += 1
            logger.warning(
                "sound lost device=%s total=%d", self._config.device, self.counts["lost"]
            )
            sound = self._hand_out(everything=True)
            self._held, self._piece = [], None
            self.clock.restart()
        if not self._held:
            self._held_from = block.first_sample
        self._held.append(block.pcm)
        self.counts["used"] += 1
        t_node_ns = self._place(block, now_ns)
        if t_node_ns is not None and block.stamp_sample >= START_S * self._pcm.rate_hz:
            self._follow(block, t_node_ns)
        return sound + self._hand_out(everything=False)

    def close(self) -> None:
        """Give the microphone back."""
        self._pcm.close()

    def _follow(self, block: PcmBlock, t_node_ns: NodeNs) -> None:
        """Add a stamp to the line; where it breaks, sound held for long is of no known time."""
        is_first = self.clock.sigma_ns == np.inf
        if not self.clock.push(block.stamp_sample, t_node_ns):
            return
        self._line_from = block.first_sample
        if is_first:
            return
        self.counts["broken"] += 1
        num_held = sum(map(len, self._held))
        if self._piece is None or num_held > LONGEST_BENT_S * self._pcm.rate_hz:
            self._held, self._held_from, self._piece = [block.pcm], block.first_sample, None

    def _place(self, block: PcmBlock, now_ns: NodeNs) -> NodeNs | None:
        """A block's stamp on the node's clock; None where it is of another clock."""
        stamp = self._converter.to_node(block.stamp_ns)
        if stamp is not None and 0 <= now_ns - stamp.t_node_ns + stamp.error_ns <= RECENT_NS:
            return stamp.t_node_ns
        self.counts["unplaced"] += 1
        return None

    def _hand_out(self, *, everything: bool) -> list[Sample]:
        """The sound held, once there is a block of it and its line is known."""
        num = sum(map(len, self._held))
        length_ns = num / self._pcm.rate_hz * NS_PER_S
        if self.clock.sigma_ns == np.inf:
            if length_ns >= HELD_NS:
                raise SourceSilent(
                    f"microphone {self._config.device}: none of its stamps is of the clock that "
                    "it names; name another device (`arecord -L`)"
                )
            return []
        line_ns = (self._held_from + num - self._line_from) / self._pcm.rate_hz * NS_PER_S
        is_ready = self.clock.sigma_ns <= SETTLED_NS or line_ns >= HELD_NS
        if not num or not is_ready or (length_ns < BLOCK_S * NS_PER_S and not everything):
            return []
        pcm, self._held = np.concatenate(self._held), []
        if self._piece is not None and self._piece.is_off(self._time_of):
            self.counts["leaps"] += 1
            self._piece = None
        if self._piece is None:
            self._piece = _Piece(
                first_sample=self._held_from,
                rate_hz=self._pcm.rate_hz,
                starts_ns=self._time_of(self._held_from),
                resampler=self._make_resampler(self._pcm.rate_hz),
            )
        block = self._piece.push(pcm, self._time_of)
        return [] if block is None else [block]

    def _time_of(self, sample: float) -> float:
        """When a sample was heard, by the line as it is now."""
        whole = int(sample)
        part_ns = (sample - whole) / self._pcm.rate_hz * NS_PER_S
        return self.clock.t_ns(whole) + part_ns - self.timing.latency_ns


class _Piece:
    """Sound without a loss in it, resampled, on one unbroken timeline."""

    def __init__(
        self, *, first_sample: int, rate_hz: int, starts_ns: float, resampler: Resample
    ) -> None:
        self._first_sample, self._rate_hz = first_sample, rate_hz
        self._resampler = resampler
        self._num_out = 0
        self._next_ns = starts_ns

    @property
    def _next_sample(self) -> float:
        """Number, in the card's count, of what is handed out next."""
        return self._first_sample + self._num_out * self._rate_hz / RATE_HZ

    def is_off(self, time_of: Callable[[float], float]) -> bool:
        """Whether the line has left the timeline by more than the features look past."""
        return abs(time_of(self._next_sample) - self._next_ns) > LEAP_NS

    def push(self, pcm: FloatArray, time_of: Callable[[float], float]) -> AudioBlock | None:
        """Add samples; the block of what is ready, ending as near the line as it may."""
        ready = self._resampler.push(pcm)
        if not len(ready):
            return None
        t_ns = self._next_ns
        self._num_out += len(ready)
        length_ns = len(ready) / RATE_HZ * NS_PER_S
        wanted_ns = time_of(self._next_sample) - t_ns
        bent_ns = min(max(wanted_ns, length_ns * (1 - MOST_BENT)), length_ns * (1 + MOST_BENT))
        self._next_ns = t_ns + bent_ns
        rate_hz = len(ready) / bent_ns * NS_PER_S
        return AudioBlock(t_node_ns=NodeNs(round(t_ns)), rate_hz=rate_hz, pcm=ready)


def open_microphone(config: MicrophoneConfig) -> Microphone:
    """Open the microphone of a configuration.

    Raises:
        SourceUnusable: one of its kinds, with what to do.
    """
    from coeval_edge.media import Resampler

    return Microphone(
        config,
        AlsaPcm(config.device, rate_hz=config.rate_hz),
        make_resampler=lambda rate_hz: Resampler(from_hz=rate_hz, to_hz=RATE_HZ),
    )
