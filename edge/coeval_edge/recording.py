"""Recordings on disk: a folder with `recording.json` in, stamped samples out.

Stamps are those of each stream's own node; nothing here knows another clock, or the truth.
Everything streams: memory does not grow with the length of a recording.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from coeval.errors import BadRecording
from coeval.features.picture import FRAME_HEIGHT, FRAME_WIDTH
from coeval.manifest import Manifest, StreamSpec, parse_manifest
from coeval.samples import (
    AudioBlock,
    FloatArray,
    Frame,
    IntArray,
    MetadataBlock,
    Modality,
    Sample,
    TextLine,
)
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.media import (
    Greyer,
    Resampler,
    read_picture,
    read_sound,
    sound_pieces,
    video_frames,
)
from coeval_edge.sound_clock import (
    SoundClock,
    SoundPiece,
    clock_from_anchors,
    clock_from_blocks,
    spans,
)
from coeval_edge.stamps import seconds_to_ns
from coeval_edge.tables import OrderCheck, Rows, Table

MANIFEST_FILE = "recording.json"

AUDIO_RATE_HZ = 16_000
"""Rate of the audio that `read_samples` gives, before the node clock's own error."""

BLOCK_S = 0.5
"""Length of an audio block."""

MAX_RATE_ERROR = 0.05
"""A stated audio rate further from the file's is a mistake, not a clock: ten times the worst
clock we know of (2 000 ppm, cheap heart-rate belts), and then some."""

REQUIRED_COLUMNS: dict[Modality, tuple[str, ...]] = {
    "metadata": ("t",),
    "text": ("t", "text"),
    "image": ("t", "file"),
}
"""Columns that the CSV of a stream must have; other modalities are no CSV."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """An open recording: its folder and what its manifest says."""

    root: Path
    """The folder."""
    manifest: Manifest
    """Its checked contents."""

    def path(self, file: str) -> Path:
        """Where a file of the recording lies."""
        return self.root / file


@dataclass(frozen=True, slots=True, kw_only=True)
class Waveform:
    """A whole sound file at its own rate, for sample-accurate work."""

    pcm: FloatArray
    """Mono samples, −1…1, shape (n,)."""
    clock: SoundClock
    """Node times of the samples; one piece, unless the clock jumped."""
    native_rate_hz: int
    """The rate the file states."""

    @property
    def t0_node_ns(self) -> NodeNs:
        """Node time of the first sample."""
        return NodeNs(self.clock[0].t0_ns)

    @property
    def rate_hz(self) -> float:
        """Rate of the first piece on the node's clock, close to the native one."""
        return self.clock[0].rate_hz

    def blocks(self) -> Iterator[AudioBlock]:
        """The samples piece by piece, each stamped at its start."""
        for piece, end in spans(self.clock, num_samples=len(self.pcm)):
            pcm = self.pcm[piece.first_sample : end]
            if len(pcm):
                yield AudioBlock(t_node_ns=NodeNs(piece.t0_ns), rate_hz=piece.rate_hz, pcm=pcm)


def open_recording(path: Path | str) -> Recording:
    """Open a recording and check all that can be checked without reading samples.

    Args:
        path: the folder, or the `recording.json` in it.

    Raises:
        BadRecording: no such folder, no or invalid `recording.json`, a file missing or outside
            the folder, or a CSV without the columns its modality needs.
    """
    root = Path(path)
    if root.name == MANIFEST_FILE and root.is_file():
        root = root.parent
    if root.is_file():
        raise BadRecording(
            f"{root}: is a file, no recording; make one: coeval recording import FILE FOLDER"
        )
    if not root.is_dir():
        raise BadRecording(f"{root}: no such folder; expected a folder with {MANIFEST_FILE}")
    recording = Recording(root=root, manifest=_read_manifest(root))
    for stream in recording.manifest.streams:
        where = f"stream {stream.id!r} of {root}"
        check_file(root, stream.file, where=where)
        if stream.modality in REQUIRED_COLUMNS:
            stream_table(recording, stream)
        if stream.timestamps is not None:
            check_file(root, stream.timestamps, where=where)
            stamps_table(recording, stream)
    for node in recording.manifest.nodes.values():
        for file in node.evidence.values():
            check_file(root, file, where=f"evidence of node {node.id!r} of {root}")
    return recording


def _read_manifest(root: Path) -> Manifest:
    path = root / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise BadRecording(f"{root}: no {MANIFEST_FILE} in it, so it is no recording") from None
    except (OSError, UnicodeDecodeError) as exc:
        raise BadRecording(f"{path}: cannot be read: {exc}") from exc

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        obj = dict(pairs)
        if len(obj) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise BadRecording(f"{path}: {twice!r} comes twice in one object; rename one")
        return obj

    try:
        obj = json.loads(text, object_pairs_hook=unique)
    except (ValueError, RecursionError) as exc:
        raise BadRecording(f"{path}: invalid JSON: {exc}") from exc
    return parse_manifest(obj, where=str(path))


def check_file(root: Path, file: str, *, where: str) -> None:
    """See that a file named by a recording lies in its folder and exists.

    Raises:
        BadRecording: it is elsewhere, or missing.
    """
    parts = PurePosixPath(file).parts + PureWindowsPath(file).parts
    absolute = PurePosixPath(file).is_absolute() or PureWindowsPath(file).drive
    if absolute or ".." in parts or "\0" in file:
        raise BadRecording(
            f"{where}: file {file!r} is outside the recording's folder; "
            "name it relative to the folder, without '..'"
        )
    try:
        found = (root / file).is_file()
    except OSError as exc:
        raise BadRecording(f"{where}: file {file!r}: {exc.strerror}") from exc
    if not found:
        raise BadRecording(f"{where}: no file {file!r} in {root}")


def stream_table(recording: Recording, stream: StreamSpec) -> Table:
    """The CSV of a metadata, text or image stream, header checked."""
    path = recording.path(stream.file)
    return Table(path, where=str(path), required=REQUIRED_COLUMNS[stream.modality])


def stamps_table(recording: Recording, stream: StreamSpec) -> Table:
    """The `timestamps` CSV of a video or audio stream, header checked."""
    path = recording.path(stream.timestamps or "")
    return Table(path, where=str(path), required=("t",))


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
    native_hz, clock = sound_clock(recording, stream)
    pieces = list(sound_pieces(path, where=str(path)))
    return Waveform(pcm=np.concatenate(pieces), clock=clock, native_rate_hz=native_hz)


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


def frame_times(recording: Recording, stream: StreamSpec) -> IntArray | None:
    """The node times that a video's `timestamps` state, shape (n,); None where it has none."""
    if stream.timestamps is None:
        return None
    table = stamps_table(recording, stream)
    order = OrderCheck(where=table.where, equal_allowed=False)
    parts = []
    for rows in _not_empty(table):
        t_ns = rows.stamps("t")
        order.check(t_ns, rows.lines)
        parts.append(t_ns)
    return np.concatenate(parts)


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
    rows = next(_not_empty(stream_table(recording, stream)))
    return NodeNs(int(rows.stamps("t")[0]))


def recording_start_ns(recording: Recording) -> int:
    """The earliest stamp over all streams, whichever clock it is of."""
    return min(first_stamp(recording, stream) for stream in recording.manifest.streams)


def frame_clock(recording: Recording, stream: StreamSpec) -> "FrameClock":
    """What gives a video's frames their times."""
    return FrameClock(
        stamps_ns=frame_times(recording, stream),
        t0_ns=seconds_to_ns(stream.t0_s or 0.0),
        rate_hz=stream.rate_hz,
        where=f"{recording.path(stream.file)} (stream {stream.id!r})",
    )


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


def _not_empty(table: Table) -> Iterator[Rows]:
    """The blocks of a table that must have a row."""
    empty = True
    for rows in table.blocks():
        empty = False
        yield rows
    if empty:
        raise BadRecording(f"{table.where}: no rows, only a header; an empty stream says nothing")


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
    for rows in _not_empty(table):
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
    for rows in _not_empty(table):
        t_ns = rows.stamps("t")
        order.check(t_ns, rows.lines)
        values = np.stack([rows.numbers(column) for column in columns], axis=1)
        yield MetadataBlock(t_node_ns=t_ns, values=values)


def _text(recording: Recording, stream: StreamSpec) -> Iterator[TextLine]:
    table = stream_table(recording, stream)
    order = OrderCheck(where=table.where, equal_allowed=True)
    has_end = "t_end" in table.names
    for rows in _not_empty(table):
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
    sound = _Cutter(sound_pieces(path, where=str(path)), at_most=round(BLOCK_S * native_hz))
    for piece, end in spans(clock, num_samples=None):
        sound.skip_to(piece.first_sample)
        yield from _piece_of_audio(sound, piece, end=end, native_hz=native_hz)


def _piece_of_audio(
    sound: "_Cutter", piece: SoundPiece, *, end: int | None, native_hz: int
) -> Iterator[AudioBlock]:
    """The blocks of one piece, resampled on its own: nothing rings across a jump."""
    rate_hz = AUDIO_RATE_HZ * piece.rate_hz / native_hz
    resampler = Resampler(from_hz=native_hz, to_hz=AUDIO_RATE_HZ)
    done = 0
    for pcm, is_last in sound.until(end):
        ready = pcm
        if native_hz != AUDIO_RATE_HZ:
            ready = resampler.push(pcm)
            if is_last:
                ready = np.concatenate([ready, resampler.flush()])
        if len(ready):
            t_ns = piece.t0_ns + round(done / rate_hz * NS_PER_S)
            yield AudioBlock(t_node_ns=NodeNs(t_ns), rate_hz=rate_hz, pcm=ready)
            done += len(ready)


class _Cutter:
    """Cuts pieces of sound of any length into blocks of about one length, by sample number."""

    def __init__(self, pieces: Iterator[FloatArray], *, at_most: int) -> None:
        self._pieces, self._at_most = pieces, max(at_most, 1)
        self._held = np.zeros(0, np.float32)
        self._position = 0

    def skip_to(self, sample: int) -> None:
        """Leave out the samples before a number."""
        for _ in self.until(sample):
            pass

    def until(self, end: int | None) -> Iterator[tuple[FloatArray, bool]]:
        """Blocks up to a sample number (None: to the end), and whether each is the last one."""
        while end is None or self._position < end:
            wanted = self._at_most if end is None else min(self._at_most, end - self._position)
            self._fill(wanted + 1)
            block, self._held = self._held[:wanted], self._held[wanted:]
            self._position += len(block)
            over = not len(self._held) or self._position == end
            if len(block):
                yield block, over
            if not len(self._held):
                return

    def _fill(self, num_samples: int) -> None:
        parts, length = [self._held], len(self._held)
        while length < num_samples:
            piece = next(self._pieces, None)
            if piece is None:
                break
            parts.append(piece)
            length += len(piece)
        if len(parts) > 1:
            self._held = np.concatenate(parts)
