"""A copy of a recording in which the clocks of some nodes read otherwise.

Media files are copied as they are: their `t0_s`, `rate_hz` or `timestamps` express the clock.
Columns of stamps in CSV files are rewritten, everything else in them is kept as text. The copy
appears under its name when it is complete, or not at all.
"""

import csv
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from coeval.errors import BadRecording
from coeval.folders import why_not_made
from coeval.manifest import Manifest, NodeSpec, StreamSpec, manifest_to_json
from coeval.samples import IntArray
from coeval.time import NS_PER_S
from coeval_edge.media import read_sound, video_frames
from coeval_edge.recording import MANIFEST_FILE, Recording, open_recording, stream_table
from coeval_edge.recording_times import frame_clock, frame_times, sound_clock
from coeval_edge.sound_clock import SoundClock, SoundPiece
from coeval_edge.stamps import to_text
from coeval_edge.tables import Table
from coeval_edge.time_map import Forwards, TimeMap

EVIDENCE_STAMPS = ("t", "t_node", "t1", "t4")
"""Columns of evidence files that the node's own clock stamped (of a two-way exchange, t2 and t3
are the other side's)."""


@contextmanager
def new_recording(out: Path) -> Iterator[Path]:
    """A folder to write a recording to, which gets its name when all went well.

    Raises:
        BadRecording: `out` is there already and not an empty folder, or cannot be made.
    """
    out = out.absolute()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadRecording(f"{out}: is there already; give a new or empty folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        partial.chmod(0o755)
    except OSError as exc:
        raise BadRecording(f"{out}: cannot be made: {why_not_made(out, exc)}") from exc
    try:
        yield partial
        partial.replace(out)
    except OSError as exc:
        raise BadRecording(f"{out}: cannot be written: {exc}") from exc
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `recording.json` into a folder."""
    text = json.dumps(manifest_to_json(manifest), indent=1, ensure_ascii=False, allow_nan=False)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def rewrite(
    recording: Recording,
    out: Path,
    *,
    maps: Mapping[str, TimeMap],
    edit: Callable[[Manifest], Manifest],
) -> tuple[Recording, dict[str, int]]:
    """Write a copy in which the clocks of some nodes are mapped.

    Args:
        recording: what to copy.
        out: folder of the copy; must not exist, or be empty.
        maps: old node time to new node time, by node; the other nodes are copied as they are.
        edit: last changes to the copy's manifest.

    Returns:
        The copy, and by stream how many stamps had to be held so that time goes forwards.

    Raises:
        BadRecording: something in the recording is wrong, or `out` cannot be written.
    """
    with new_recording(out) as folder:
        writer = _Writer(recording, folder, maps=maps)
        streams = tuple(writer.stream(stream) for stream in recording.manifest.streams)
        nodes = {node.id: writer.node(node) for node in recording.manifest.nodes.values()}
        write_manifest(edit(replace(recording.manifest, streams=streams, nodes=nodes)), folder)
    return open_recording(out), writer.num_held


class _Writer:
    """Writes the files of one copy."""

    def __init__(self, recording: Recording, folder: Path, *, maps: Mapping[str, TimeMap]) -> None:
        self._recording, self._folder, self._maps = recording, folder, maps
        self._owners: dict[str, str | None] = {}
        self.num_held: dict[str, int] = {}

    def stream(self, stream: StreamSpec) -> StreamSpec:
        """Write one stream's files; its specification in the copy."""
        time_map = self._maps.get(stream.node)
        if stream.modality == "image":
            self._copy_stills(stream)
        if time_map is None:
            if stream.timestamps is not None:
                self._copy(stream.timestamps)
            return replace(stream, file=self._copy(stream.file))
        match stream.modality:
            case "video":
                return self._video(replace(stream, file=self._copy(stream.file)), time_map)
            case "audio":
                return self._audio(replace(stream, file=self._copy(stream.file)), time_map)
        file = self._place(stream.file, owner=stream.node)
        table = stream_table(self._recording, stream)
        held = Forwards(equal_allowed=stream.modality == "text")
        self._table(table, file, time_map, held=held, columns=("t",), free=("t_end",))
        self._count(stream, held)
        return replace(stream, file=file)

    def node(self, node: NodeSpec) -> NodeSpec:
        """Write one node's evidence; its specification in the copy."""
        time_map = self._maps.get(node.id)
        if time_map is None:
            return replace(
                node, evidence={kind: self._copy(file) for kind, file in node.evidence.items()}
            )
        placed = {}
        for kind, file in node.evidence.items():
            placed[kind] = self._place(file, owner=node.id)
            path = self._recording.path(file)
            table = Table(path, where=str(path), required=())
            held = Forwards(equal_allowed=True)
            self._table(table, placed[kind], time_map, held=held, free=EVIDENCE_STAMPS)
        return replace(node, evidence=placed)

    def _place(self, file: str, *, owner: str | None) -> str:
        """Where a file goes in the copy; one that two clocks share gets a name for each."""
        if self._owners.setdefault(file, owner) != owner:
            path = PurePosixPath(file)
            file = str(path.with_name(f"{path.stem}.{owner or 'other'}{path.suffix}"))
            self._owners[file] = owner
        (self._folder / file).parent.mkdir(parents=True, exist_ok=True)
        return file

    def _copy(self, file: str) -> str:
        """Copy a file as it is."""
        placed = self._place(file, owner=None)
        target = self._folder / placed
        if not target.exists():
            shutil.copyfile(self._recording.path(file), target)
        return placed

    def _copy_stills(self, stream: StreamSpec) -> None:
        for rows in stream_table(self._recording, stream).blocks():
            for file in rows.columns["file"]:
                self._copy(file)

    def _table(
        self,
        table: Table,
        file: str,
        time_map: TimeMap,
        *,
        held: Forwards,
        columns: tuple[str, ...] = (),
        free: tuple[str, ...] = (),
    ) -> None:
        """Copy a CSV with some columns mapped: `columns` held in order, `free` as they come."""
        with (self._folder / file).open("w", encoding="utf-8", newline="") as target:
            writer = csv.writer(target, lineterminator="\n")
            writer.writerow(table.names)
            for rows in table.blocks():
                for name in (*columns, *free):
                    if name not in rows.columns:
                        continue
                    stated = [row for row, text in enumerate(rows.columns[name]) if text.strip()]
                    if name in columns:
                        stated = list(range(len(rows.lines)))
                    mapped = time_map.apply(rows.only(stated).stamps(name))
                    if name in columns:
                        mapped = held.hold(mapped)
                    texts = list(rows.columns[name])
                    for row, t_ns in zip(stated, mapped.tolist(), strict=True):
                        texts[row] = to_text(t_ns)
                    rows.columns[name] = tuple(texts)
                writer.writerows(zip(*(rows.columns[name] for name in table.names), strict=True))

    def _count(self, stream: StreamSpec, held: Forwards) -> None:
        if held.num_held:
            self.num_held[stream.id] = held.num_held

    def _stamps(self, stream: StreamSpec) -> str:
        """Name of a stream's own timestamps CSV in the copy."""
        file = stream.timestamps or f"{stream.id}.timestamps.csv"
        return self._place(file, owner=f"{stream.node}.{stream.id}")

    def _video(self, stream: StreamSpec, time_map: TimeMap) -> StreamSpec:
        clock = frame_clock(self._recording, stream)
        piece = time_map.pieces[0]
        one_piece = len(time_map.pieces) == 1
        if stream.timestamps is None and one_piece and (stream.rate_hz or not piece.rate_error):
            rate_hz = stream.rate_hz and stream.rate_hz / (1.0 + piece.rate_error)
            return replace(stream, t0_s=_seconds(time_map.apply_one(clock.t0_ns)), rate_hz=rate_hz)
        times = frame_times(self._recording, stream)
        if times is None:
            path = self._recording.path(stream.file)
            frames = enumerate(video_frames(path, where=str(path)))
            times = np.array([clock.t_ns(k, pts_ns) for k, (pts_ns, _) in frames], dtype=np.int64)
        held = Forwards(equal_allowed=False)
        file = self._stamps(stream)
        self._write_columns(file, {"t": [to_text(t) for t in held.hold(time_map.apply(times))]})
        self._count(stream, held)
        return replace(stream, timestamps=file, t0_s=None)

    def _audio(self, stream: StreamSpec, time_map: TimeMap) -> StreamSpec:
        native_hz, clock = sound_clock(self._recording, stream)
        mapped = map_sound(clock, time_map)
        if len(mapped) == 1 and stream.timestamps is None:
            path = self._recording.path(stream.file)
            t0_ns = mapped[0].t0_ns - read_sound(path, where=str(path)).lead_ns
            stated = stream.rate_hz is not None or mapped[0].rate_hz != native_hz
            rate_hz = mapped[0].rate_hz if stated else None
            return replace(stream, t0_s=_seconds(t0_ns), rate_hz=rate_hz)
        file = self._stamps(stream)
        columns = {
            "t": [to_text(piece.t0_ns) for piece in mapped],
            "sample": [str(piece.first_sample) for piece in mapped],
            "rate_hz": [repr(piece.rate_hz) for piece in mapped],
        }
        self._write_columns(file, columns)
        return replace(stream, timestamps=file, t0_s=None, rate_hz=None)

    def _write_columns(self, file: str, columns: Mapping[str, list[str]]) -> None:
        with (self._folder / file).open("w", encoding="utf-8", newline="") as target:
            writer = csv.writer(target, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(zip(*columns.values(), strict=True))


def map_sound(clock: SoundClock, time_map: TimeMap) -> SoundClock:
    """The clock of a sound file seen through a map: its pieces, cut where the map is."""
    mapped: list[SoundPiece] = []
    for piece, after in zip(clock, (*clock[1:], None), strict=True):
        for number, straight in enumerate(time_map.pieces):
            first = piece.first_sample
            if number:
                since_ns = straight.from_ns - piece.t0_ns
                first = max(first, first + -(-int(since_ns * piece.rate_hz) // NS_PER_S))
            if after is not None and first >= after.first_sample:
                break
            at: IntArray = np.array([piece.t_ns(first)], dtype=np.int64)
            rate_hz = piece.rate_hz / (1.0 + straight.rate_error)
            new = SoundPiece(first_sample=first, t0_ns=int(straight.apply(at)[0]), rate_hz=rate_hz)
            if mapped and mapped[-1].first_sample == first:
                mapped.pop()  # the map's earlier piece ends before this sample
            mapped.append(new)
    return tuple(mapped)


def _seconds(t_ns: int) -> float:
    """Seconds as a float for the manifest, exact for all but epoch times."""
    return float(to_text(t_ns))
