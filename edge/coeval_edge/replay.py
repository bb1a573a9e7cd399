"""Replay of one node of a recording: its samples in true order, in real time or faster.

The node's clock may be given an error; the stamps go through it and the pace does not, as with
a real clock that is wrong. Out: readings, each a sample with the node's clock at that moment.
"""

import heapq
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from coeval.errors import BadRecording
from coeval.hops import HOP_NS
from coeval.manifest import StreamSpec
from coeval.samples import AudioBlock, Frame, MetadataBlock, Sample, TextLine
from coeval.time import NS_PER_S, ClockLine, NodeNs, RefNs
from coeval_edge.recording import Recording
from coeval_edge.recording_samples import read_samples

PIECE_NS = NS_PER_S // 4
"""Readings handed over together span at most this long, as a live source would deliver them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A sample as it becomes available on the node."""

    stream: StreamSpec
    """Where it comes from."""
    sample: Sample
    """The sample, stamped with the node's clock."""
    now_node_ns: NodeNs
    """The node's clock at this moment."""


def end_ns(sample: Sample) -> int:
    """When a sample is complete, in its own stamps."""
    match sample:
        case AudioBlock():
            return sample.t_node_ns + round(len(sample.pcm) * NS_PER_S / sample.rate_hz)
        case MetadataBlock():
            return int(sample.t_node_ns[-1])
        case Frame() | TextLine():
            return sample.t_node_ns


def start_ns(sample: Sample) -> int:
    """The first stamp of a sample."""
    return int(sample.t_node_ns[0]) if isinstance(sample, MetadataBlock) else sample.t_node_ns


def pieces(sample: Sample) -> Iterator[Sample]:
    """A sample, cut where it spans longer than PIECE_NS and can be cut."""
    if not isinstance(sample, MetadataBlock):
        yield sample
        return
    t_ns = sample.t_node_ns
    piece = (t_ns - t_ns[0]) // PIECE_NS
    for part in np.split(np.arange(len(t_ns)), np.flatnonzero(np.diff(piece)) + 1):
        yield MetadataBlock(t_node_ns=t_ns[part], values=sample.values[part])


def restamp(sample: Sample, clock: ClockLine, *, shift_ns: int = 0) -> Sample:
    """A sample as a wrong clock would have stamped it.

    Args:
        sample: stamped with the recording's clock, which counts as the reference.
        clock: the error; positive offset and skew: the node is fast.
        shift_ns: added to the recording's time first.
    """

    def stamp(t_ns: int) -> NodeNs:
        return clock.to_node(RefNs(t_ns + shift_ns))

    match sample:
        case AudioBlock():
            rate_hz = sample.rate_hz / (1.0 + clock.skew_ppb * 1e-9)
            return replace(sample, t_node_ns=stamp(sample.t_node_ns), rate_hz=rate_hz)
        case Frame():
            return replace(sample, t_node_ns=stamp(sample.t_node_ns))
        case TextLine():
            end = sample.t_end_node_ns
            return replace(
                sample,
                t_node_ns=stamp(sample.t_node_ns),
                t_end_node_ns=None if end is None else stamp(end),
            )
        case MetadataBlock():
            t_ref_ns = sample.t_node_ns + shift_ns
            offset_ns = clock.offset_ns + clock.skew_ppb * 1e-9 * (t_ref_ns - clock.t0_ref_ns)
            return replace(sample, t_node_ns=t_ref_ns + np.round(offset_ns).astype(np.int64))


def recording_start_ns(recording: Recording) -> int:
    """The earliest stamp over all streams: the instant at which injected offsets hold."""
    firsts = [next(read_samples(recording, spec), None) for spec in recording.manifest.streams]
    return min((start_ns(first) for first in firsts if first is not None), default=0)


def recording_end_ns(recording: Recording) -> int:
    """The latest stamp over all streams; reads the whole recording."""
    return max(
        (
            end_ns(sample)
            for spec in recording.manifest.streams
            for sample in read_samples(recording, spec)
        ),
        default=0,
    )


class Pace:
    """Waits until a recording's time has come."""

    def __init__(
        self,
        *,
        speed: float,
        stop: threading.Event,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Set the pace.

        Args:
            speed: seconds of the recording a second; infinity: no waiting.
            stop: ends every wait when set.
            monotonic_s: the clock to wait by, in seconds.
        """
        self._speed, self._stop, self._monotonic_s = speed, stop, monotonic_s
        self._began: tuple[float, int] | None = None

    def wait_for(self, t_ns: int) -> bool:
        """Wait for an instant of the recording; False where the wait was ended."""
        if self._began is None:
            self._began = (self._monotonic_s(), t_ns)
        if math.isfinite(self._speed):
            due_s = self._began[0] + (t_ns - self._began[1]) / NS_PER_S / self._speed
            delay_s = due_s - self._monotonic_s()
            if delay_s > 0:
                self._stop.wait(delay_s)
        return not self._stop.is_set()


class ReplaySource:
    """Reads the streams of one node of a recording as if they happened now."""

    def __init__(
        self,
        recording: Recording,
        node: str,
        *,
        streams: tuple[str, ...] = (),
        offset_s: float = 0.0,
        skew_ppm: float = 0.0,
        loop: bool = False,
    ) -> None:
        """Choose what to replay.

        Args:
            recording: an open recording.
            node: one of its nodes.
            streams: which of the node's streams; none: all.
            offset_s: error of the clock at the recording's start; positive: the node is fast.
            skew_ppm: rate error of the clock; positive: the node is fast.
            loop: begin again at the end, for ever, on one timeline.

        Raises:
            BadRecording: no such node or stream, or the recording is unreadable.
        """
        self.recording = recording
        own = recording.manifest.streams_of(node)
        for stream in streams:
            if stream not in {spec.id for spec in own}:
                raise BadRecording(
                    f"recording {recording.manifest.name!r} has no stream {stream!r} on node "
                    f"{node!r}; its streams there are {', '.join(spec.id for spec in own)}"
                )
        self.streams = tuple(spec for spec in own if not streams or spec.id in streams)
        # Other nodes' files need not be readable where nothing depends on them.
        start = recording_start_ns(recording) if offset_s or skew_ppm or loop else 0
        self.clock = ClockLine(
            t0_ref_ns=RefNs(start),
            offset_ns=offset_s * NS_PER_S,
            skew_ppb=skew_ppm * 1e3,
        )
        self.period_ns: int | None = None
        """Length of a round where it loops."""
        if loop:
            length_ns = recording_end_ns(recording) - start
            self.period_ns = (length_ns // HOP_NS + 2) * HOP_NS

    def readings(self, pace: Pace) -> Iterator[Reading]:
        """The readings in true order, each when its time has come.

        Raises:
            BadRecording: a file turns out unreadable on the way.
        """
        shift_ns = 0
        while True:
            merged = heapq.merge(*map(self._stream, self.streams), key=lambda item: item[0])
            for t_ns, spec, sample in merged:
                if not pace.wait_for(t_ns + shift_ns):
                    return
                yield Reading(
                    stream=spec,
                    sample=restamp(sample, self.clock, shift_ns=shift_ns),
                    now_node_ns=self.clock.to_node(RefNs(t_ns + shift_ns)),
                )
            if self.period_ns is None:
                return
            shift_ns += self.period_ns

    def _stream(self, spec: StreamSpec) -> Iterator[tuple[int, StreamSpec, Sample]]:
        for sample in read_samples(self.recording, spec):
            for piece in pieces(sample):
                yield end_ns(piece), spec, piece
