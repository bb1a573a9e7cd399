"""When the samples of a recording were taken, by its files: frames, sound, the first of a stream.

Times are ns of each stream's own node.
"""

from dataclasses import dataclass

import numpy as np

from coeval.errors import BadRecording
from coeval.manifest import StreamSpec
from coeval.samples import IntArray
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.media import read_sound, sound_pieces, video_frames
from coeval_edge.recording import Recording, stamps_table, stream_table
from coeval_edge.sound_clock import SoundClock, SoundPiece, clock_from_anchors, clock_from_blocks
from coeval_edge.stamps import seconds_to_ns
from coeval_edge.tables import OrderCheck

MAX_RATE_ERROR = 0.05
"""A stated audio rate further from the file's is a mistake, not a clock: ten times the worst
clock we know of (2 000 ppm, cheap heart-rate belts), and then some."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameClock:
    """The node time of every frame: as stamped; else counted; else what the container says."""

    stamps_ns: IntArray | None
    """A time a frame, shape (n,)."""
    t0_ns: int
    """Time of the file's start."""
    rate_hz: float | None
    """Frames a second of the node's clock."""
    where: str
    """The stream, for messages."""

    def t_ns(self, index: int, pts_ns: int | None) -> int:
        """Time of a frame.

        Args:
            index: number of the frame, from 0.
            pts_ns: its time after the file's start by the container, None where it says none.

        Raises:
            BadRecording: more frames than stamps, or nothing says when the frame was.
        """
        if self.stamps_ns is not None:
            if index >= len(self.stamps_ns):
                raise BadRecording(
                    f"{self.where} has more frames than timestamps ({len(self.stamps_ns)}); "
                    "expected one a frame"
                )
            return int(self.stamps_ns[index])
        if self.rate_hz is not None:
            return self.t0_ns + round(index / self.rate_hz * NS_PER_S)
        if pts_ns is None:
            raise BadRecording(
                f"{self.where}: frame {index} has no time in the file; give 'rate_hz' or "
                "'timestamps'"
            )
        return self.t0_ns + pts_ns

    def check_count(self, num_frames: int) -> None:
        """See that a video that was read to its end had a frame for every stamp.

        Raises:
            BadRecording: it had none at all, or fewer than stamps.
        """
        if num_frames == 0:
            raise BadRecording(f"{self.where} holds no frame")
        if self.stamps_ns is not None and num_frames < len(self.stamps_ns):
            raise BadRecording(
                f"{self.where} has {num_frames} frames and {len(self.stamps_ns)} timestamps; "
                "expected one a frame"
            )


def frame_clock(recording: Recording, stream: StreamSpec) -> FrameClock:
    """What gives a video's frames their times."""
    return FrameClock(
        stamps_ns=frame_times(recording, stream),
        t0_ns=seconds_to_ns(stream.t0_s or 0.0),
        rate_hz=stream.rate_hz,
        where=f"{recording.path(stream.file)} (stream {stream.id!r})",
    )


def frame_times(recording: Recording, stream: StreamSpec) -> IntArray | None:
    """The node times that a video's `timestamps` state, shape (n,); None where it has none."""
    if stream.timestamps is None:
        return None
    table = stamps_table(recording, stream)
    order = OrderCheck(where=table.where, equal_allowed=False)
    parts = []
    for rows in table.filled_blocks():
        t_ns = rows.stamps("t")
        order.check(t_ns, rows.lines)
        parts.append(t_ns)
    return np.concatenate(parts)


def sound_clock(recording: Recording, stream: StreamSpec) -> tuple[int, SoundClock]:
    """The native rate of an audio stream and the node times of its samples.

    Raises:
        BadRecording: no sound, a stated rate that is not the file's, or wrong timestamps.
    """
    path = recording.path(stream.file)
    sound = read_sound(path, where=str(path))
    rate_hz = stream.rate_hz or float(sound.rate_hz)
    _check_rate(rate_hz, native_hz=sound.rate_hz, where=f"stream {stream.id!r} of {path}")
    if stream.timestamps is None:
        t0_ns = seconds_to_ns(stream.t0_s or 0.0) + sound.lead_ns
        return sound.rate_hz, (SoundPiece(first_sample=0, t0_ns=t0_ns, rate_hz=rate_hz),)
    table = stamps_table(recording, stream)
    t_ns = frame_times(recording, stream)
    assert t_ns is not None
    if "sample" not in table.names:
        sizes = np.array([len(piece) for piece in sound_pieces(path, where=str(path))])
        if len(sizes) != len(t_ns):
            raise BadRecording(
                f"{table.where}: {len(t_ns)} timestamps for {len(sizes)} blocks of sound; expected "
                "one a block, or a column 'sample' that says which sample each belongs to"
            )
        firsts = np.cumsum(sizes) - sizes
        return sound.rate_hz, clock_from_blocks(t_ns, first_samples=firsts, rate_hz=rate_hz)
    lines: list[int] = []
    samples: list[int] = []
    rates_hz: list[float] = []
    for rows in table.blocks():
        lines += rows.lines
        samples += [int(value) for value in np.nan_to_num(rows.numbers("sample"), nan=-1)]
        if "rate_hz" in table.names:
            rates_hz += [float(value) for value in rows.numbers("rate_hz")]
    rates_hz = [rate_hz if np.isnan(rate) else rate for rate in rates_hz or [rate_hz] * len(lines)]
    for rate, line in zip(rates_hz, lines, strict=True):
        _check_rate(rate, native_hz=sound.rate_hz, where=f"{table.where}, line {line}")
    return sound.rate_hz, clock_from_anchors(
        samples, t_ns, rates_hz=rates_hz, lines=lines, where=table.where
    )


def _check_rate(rate_hz: float, *, native_hz: int, where: str) -> None:
    if abs(rate_hz / native_hz - 1) > MAX_RATE_ERROR:
        raise BadRecording(
            f"{where}: 'rate_hz' is {rate_hz:g}, the file has {native_hz} samples a second; "
            "give the file's rate on the node's clock, or leave it out"
        )


def first_stamp(recording: Recording, stream: StreamSpec) -> NodeNs:
    """Node time of a stream's first sample, without reading further than that.

    Raises:
        BadRecording: the stream is empty, or its first sample wrong.
    """
    if stream.modality == "audio":
        return NodeNs(sound_clock(recording, stream)[1][0].t0_ns)
    if stream.modality == "video":
        path = recording.path(stream.file)
        clock = frame_clock(recording, stream)
        for pts_ns, _ in video_frames(path, where=str(path)):
            return NodeNs(clock.t_ns(0, pts_ns))
        raise BadRecording(f"{path}: holds no frame")
    rows = next(stream_table(recording, stream).filled_blocks())
    return NodeNs(int(rows.stamps("t")[0]))


def recording_start_ns(recording: Recording) -> int:
    """The earliest stamp over all streams, whichever clock it is of."""
    return min(first_stamp(recording, stream) for stream in recording.manifest.streams)
