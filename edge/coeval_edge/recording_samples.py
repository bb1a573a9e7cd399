"""A recording's samples: stamped by each stream's own node, streaming or whole."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.errors import BadRecording
from coeval.features.picture import FRAME_HEIGHT, FRAME_WIDTH
from coeval.manifest import StreamSpec
from coeval.samples import (
    AudioBlock,
    FloatArray,
    Frame,
    IntArray,
    MetadataBlock,
    Sample,
    TextLine,
)
from coeval.time import NodeNs
from coeval_edge.media import Greyer, read_picture, sound_pieces, video_frames
from coeval_edge.recording import Recording, check_file, stream_table
from coeval_edge.recording_times import frame_clock, sound_clock
from coeval_edge.sound_blocks import audio_blocks
from coeval_edge.sound_clock import SoundClock, spans
from coeval_edge.tables import OrderCheck


@dataclass(frozen=True, slots=True, kw_only=True)
class Waveform:
    """A whole sound file at its own rate, for sample-accurate work."""

    pcm: FloatArray
    """Mono samples, −1…1, shape (n,)."""
    clock: SoundClock
    """Node times of the samples; one piece, unless the clock jumped."""

    @property
    def t0_node_ns(self) -> NodeNs:
        """Node time of the first sample."""
        return NodeNs(self.clock[0].t0_ns)

    @property
    def rate_hz(self) -> float:
        """Rate of the first piece on the node's clock, close to the one that the file states."""
        return self.clock[0].rate_hz

    def blocks(self) -> Iterator[AudioBlock]:
        """The samples piece by piece, each stamped at its start."""
        for piece, end in spans(self.clock, num_samples=len(self.pcm)):
            pcm = self.pcm[piece.first_sample : end]
            if len(pcm):
                yield AudioBlock(t_node_ns=NodeNs(piece.t0_ns), rate_hz=piece.rate_hz, pcm=pcm)


def read_samples(
    recording: Recording,
    stream: StreamSpec,
    *,
    width: int = FRAME_WIDTH,
    height: int = FRAME_HEIGHT,
) -> Iterator[Sample]:
    """The samples of a stream in time order, streaming.

    Args:
        recording: an open recording.
        stream: one of its streams.
        width: width of the pictures of video and image streams.
        height: height of those pictures.

    Returns:
        Video, image: grey frames, area-averaged to height × width. Audio: mono blocks of about
        half a second at 16 kHz; `rate_hz` is that of the node's clock, so 16 kHz less its skew.
        Metadata: blocks of up to 4096 rows. Text: lines.

    Raises:
        BadRecording: a file does not decode, a stamp or value is wrong, or time goes back; the
            message names file and line. Raised when the iterator gets there.
    """
    match stream.modality:
        case "video":
            return _video(recording, stream, width=width, height=height)
        case "image":
            return _stills(recording, stream, width=width, height=height)
        case "audio":
            return _audio(recording, stream)
        case "metadata":
            return _metadata(recording, stream)
        case "text":
            return _text(recording, stream)


def read_waveform(recording: Recording, stream: StreamSpec) -> Waveform:
    """A whole audio stream at its native rate.

    Raises:
        BadRecording: the file does not decode or is empty, or its timestamps are wrong.
    """
    path = recording.path(stream.file)
    _, clock = sound_clock(recording, stream)
    pieces = list(sound_pieces(path, where=str(path)))
    return Waveform(pcm=np.concatenate(pieces), clock=clock)


def read_metadata(
    recording: Recording, stream: StreamSpec
) -> tuple[IntArray, NDArray[np.float64], tuple[str, ...]]:
    """A whole metadata stream.

    Returns:
        Times in ns, shape (n,); values, shape (n, C), NaN where missing; the C column names.

    Raises:
        BadRecording: a stamp or value is wrong, or time goes back; names file and line.
    """
    blocks = list(_metadata(recording, stream))
    columns = tuple(name for name in stream_table(recording, stream).names if name != "t")
    t_node_ns = np.concatenate([block.t_node_ns for block in blocks])
    return t_node_ns, np.concatenate([block.values for block in blocks]), columns


def _video(recording: Recording, stream: StreamSpec, *, width: int, height: int) -> Iterator[Frame]:
    path = recording.path(stream.file)
    clock = frame_clock(recording, stream)
    greyer = Greyer(width=width, height=height)
    num_frames, last_ns = 0, None
    for pts_ns, frame in video_frames(path, where=str(path)):
        t_ns = clock.t_ns(num_frames, pts_ns)
        if last_ns is not None and t_ns <= last_ns:
            raise BadRecording(
                f"{clock.where}: frame {num_frames} is not after the one before it; give "
                "'rate_hz' or 'timestamps'"
            )
        yield Frame(t_node_ns=NodeNs(t_ns), grey=greyer.grey(frame))
        num_frames, last_ns = num_frames + 1, t_ns
    clock.check_count(num_frames)


def _stills(
    recording: Recording, stream: StreamSpec, *, width: int, height: int
) -> Iterator[Frame]:
    table = stream_table(recording, stream)
    order = OrderCheck(where=table.where, equal_allowed=False)
    for rows in table.filled_blocks():
        t_ns = rows.stamps("t")
        order.check(t_ns, rows.lines)
        for t, file, line in zip(t_ns, rows.columns["file"], rows.lines, strict=True):
            check_file(recording.root, file, where=f"{table.where}, line {line}")
            path = recording.path(file)
            grey = read_picture(path, width=width, height=height, where=str(path))
            yield Frame(t_node_ns=NodeNs(int(t)), grey=grey)


def _metadata(recording: Recording, stream: StreamSpec) -> Iterator[MetadataBlock]:
    table = stream_table(recording, stream)
    columns = [name for name in table.names if name != "t"]
    if not columns:
        raise BadRecording(f"{table.where}: only a column 't'; expected at least one channel")
    order = OrderCheck(where=table.where, equal_allowed=False)
    for rows in table.filled_blocks():
        t_ns = rows.stamps("t")
        order.check(t_ns, rows.lines)
        values = np.stack([rows.numbers(column) for column in columns], axis=1)
        yield MetadataBlock(t_node_ns=t_ns, values=values)


def _text(recording: Recording, stream: StreamSpec) -> Iterator[TextLine]:
    table = stream_table(recording, stream)
    order = OrderCheck(where=table.where, equal_allowed=True)
    has_end = "t_end" in table.names
    for rows in table.filled_blocks():
        t_ns = rows.stamps("t")
        order.check(t_ns, rows.lines)
        ends: list[NodeNs | None] = [None] * len(t_ns)
        if has_end:
            stated = [row for row, text in enumerate(rows.columns["t_end"]) if text.strip()]
            end_ns = rows.only(stated).stamps("t_end")
            for row, end in zip(stated, end_ns, strict=True):
                ends[row] = NodeNs(int(end))
        for t, t_end, text in zip(t_ns, ends, rows.columns["text"], strict=True):
            yield TextLine(t_node_ns=NodeNs(int(t)), t_end_node_ns=t_end, text=text)


def _audio(recording: Recording, stream: StreamSpec) -> Iterator[AudioBlock]:
    path = recording.path(stream.file)
    native_hz, clock = sound_clock(recording, stream)
    yield from audio_blocks(sound_pieces(path, where=str(path)), clock, native_hz=native_hz)
