"""Decoding of pictures and sound by PyAV: grey pictures and mono float32, streaming.

What comes out knows only the file's own time; `coeval_edge.recording` puts a node's clock to it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from coeval.errors import BadRecording
from coeval.samples import FloatArray
from coeval.time import NS_PER_S
from coeval_edge.unreadable import why_undecodable

GreyPicture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sound:
    """What an audio file says of itself."""

    rate_hz: int
    """Native sample rate."""
    lead_ns: int
    """Time from the file's start to the first sample, by the container."""


@contextmanager
def open_media(path: Path, *, where: str) -> Iterator[InputContainer]:
    """An open container; whatever the decoder says inside becomes a `BadRecording`.

    Only local files are opened: a playlist that points to the network gets nowhere.
    """
    try:
        with av.open(str(path), options={"protocol_whitelist": "file"}) as container:
            yield container
    except (FFmpegError, OSError, UnicodeDecodeError) as exc:
        raise BadRecording(f"{where}: cannot be decoded: {why_undecodable(path, exc)}") from exc


def _start_ns(container: InputContainer) -> int:
    """When the container says it starts; its times are in microseconds."""
    return (container.start_time or 0) * 1000


def _frame_ns(frame: AudioFrame | VideoFrame, container: InputContainer) -> int | None:
    """A frame's time after the container's start; None where it has none."""
    if frame.pts is None or frame.time_base is None:
        return None
    return round(frame.pts * frame.time_base * NS_PER_S) - _start_ns(container)


def video_frames(path: Path, *, where: str) -> Iterator[tuple[int | None, VideoFrame]]:
    """Decoded frames in order, each with its ns after the container's start (None: no stamp).

    Raises:
        BadRecording: no such file, no video in it, or a frame that does not decode.
    """
    with open_media(path, where=where) as container:
        if not container.streams.video:
            raise BadRecording(f"{where}: the file holds no video")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            yield _frame_ns(frame, container), frame


class Greyer:
    """Turns frames to grey pictures of one size, by area averaging (the shape is not kept)."""

    def __init__(self, *, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._reformatter = VideoReformatter()

    def grey(self, frame: VideoFrame) -> GreyPicture:
        """Brightness 0…255 (full range), shape (height, width)."""
        small = self._reformatter.reformat(
            frame,
            width=self._width,
            height=self._height,
            format="gray",
            interpolation=Interpolation.AREA,
        )
        picture: GreyPicture = small.to_ndarray().astype(np.uint8, copy=False)
        return picture


def read_picture(path: Path, *, width: int, height: int, where: str) -> GreyPicture:
    """A still image as a grey picture, shape (height, width).

    Raises:
        BadRecording: no such file, or no picture in it.
    """
    for _, frame in video_frames(path, where=where):
        return Greyer(width=width, height=height).grey(frame)
    raise BadRecording(f"{where}: the file holds no picture")


def read_sound(path: Path, *, where: str) -> Sound:
    """What an audio file says of itself, from its first decoded frame.

    Raises:
        BadRecording: no such file, or no sound in it.
    """
    with open_media(path, where=where) as container:
        if not container.streams.audio:
            raise BadRecording(f"{where}: the file holds no sound")
        for frame in container.decode(container.streams.audio[0]):
            if frame.samples:
                lead_ns = _frame_ns(frame, container) or 0
                return Sound(rate_hz=frame.sample_rate, lead_ns=lead_ns)
    raise BadRecording(f"{where}: the sound is empty")


def sound_pieces(path: Path, *, where: str) -> Iterator[FloatArray]:
    """Mono samples at the native rate, one decoded frame at a time, shape (n,), −1…1.

    Channels are averaged.

    Raises:
        BadRecording: no such file, no sound in it, a frame that does not decode, or a sample
            that is no finite number.
    """
    with open_media(path, where=where) as container:
        if not container.streams.audio:
            raise BadRecording(f"{where}: the file holds no sound")
        to_float = AudioResampler(format="fltp")
        for frame in container.decode(container.streams.audio[0]):
            for converted in to_float.resample(frame):
                yield _mono(converted, where=where)
        for converted in to_float.resample(None):
            yield _mono(converted, where=where)


def _mono(frame: AudioFrame, *, where: str) -> FloatArray:
    channels: FloatArray = frame.to_ndarray().astype(np.float32, copy=False)
    mono: FloatArray = channels[0] if len(channels) == 1 else channels.mean(axis=0)
    if not np.isfinite(mono).all():
        raise BadRecording(f"{where}: a sample is NaN or infinite; expected −1…1")
    return mono


class Resampler:
    """Mono float32 from one rate to another; the first sample out is at the first one in."""

    def __init__(self, *, from_hz: int, to_hz: int) -> None:
        self._from_hz = from_hz
        self._resampler = AudioResampler(format="flt", layout="mono", rate=to_hz)

    def push(self, pcm: FloatArray) -> FloatArray:
        """Add samples, shape (n,); take those that are ready."""
        frame = AudioFrame.from_ndarray(
            np.ascontiguousarray(pcm[None]), format="flt", layout="mono"
        )
        frame.sample_rate = self._from_hz
        return self._joined(self._resampler.resample(frame))

    def flush(self) -> FloatArray:
        """Take the rest."""
        return self._joined(self._resampler.resample(None))

    @staticmethod
    def _joined(frames: list[AudioFrame]) -> FloatArray:
        return np.concatenate([np.zeros(0, np.float32)] + [f.to_ndarray()[0] for f in frames])
