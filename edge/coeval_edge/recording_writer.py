"""Builds a recording file by file: what importers and recorders write with."""

import csv
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coeval.errors import BadRecording
from coeval.manifest import Manifest, NodeSpec, StreamSpec, Truth
from coeval.samples import IntArray, Modality, TextLine
from coeval_edge.rewrite import write_manifest
from coeval_edge.stamps import to_text

NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_.-]+")


class RecordingWriter:
    """Adds nodes and streams to a folder, then the manifest.

    Rows come in any order and go out by time. What could not be kept as it was is said in
    `notes`, one line each, never passed over.
    """

    def __init__(self, folder: Path, *, name: str) -> None:
        """Start a recording.

        Args:
            folder: an existing, empty folder.
            name: name of the recording.
        """
        self._folder, self._name = folder, name
        self._nodes: dict[str, NodeSpec] = {}
        self._streams: dict[str, StreamSpec] = {}
        self.notes: list[str] = []

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Keep nothing of what is added within where it fails by BadRecording."""
        nodes, streams, num_notes = dict(self._nodes), dict(self._streams), len(self.notes)
        try:
            yield
        except BadRecording:
            for file in self._files() - {stream.file for stream in streams.values()}:
                (self._folder / file).unlink(missing_ok=True)
            self._nodes, self._streams = nodes, streams
            del self.notes[num_notes:]
            raise

    @property
    def num_streams(self) -> int:
        """Streams so far."""
        return len(self._streams)

    def add_node(self, name: str) -> str:
        """Add a node; its id is the name, made fit for a topic and unique."""
        node_id = _unique(_id(name), self._nodes)
        self._nodes[node_id] = NodeSpec(id=node_id)
        return node_id

    def add_metadata(
        self,
        node: str,
        name: str,
        *,
        t_ns: IntArray,
        values: NDArray[np.float64],
        columns: Sequence[str],
        units: str | Mapping[str, str] | None = None,
    ) -> None:
        """Add numeric channels.

        Args:
            node: id of the node that stamped them.
            name: name of the stream.
            t_ns: node times, shape (n,), any order; of rows with one time the first is kept.
            values: readings, shape (n, C); infinite ones become missing.
            columns: C names.
            units: of the channels, where known.
        """
        order = np.argsort(t_ns, kind="stable")
        moved = int((np.diff(t_ns) < 0).sum())
        keep = order[np.diff(t_ns[order], prepend=t_ns[order[:1]] - 1) > 0]
        infinite = int(np.isinf(values[keep]).sum())
        values = np.where(np.isinf(values), np.nan, values)[keep]
        seen = ~np.isnan(values).all(axis=0)
        if not len(keep) or not seen.any():
            self.notes.append(f"{name}: left out, it has no reading")
            return
        stream_id = _unique(_id(name), self._streams)
        if moved:
            self.notes.append(f"{stream_id}: time went back {moved} times; sorted")
        if len(keep) < len(t_ns):
            self.notes.append(f"{stream_id}: {len(t_ns) - len(keep)} rows repeat a time; left out")
        if infinite:
            self.notes.append(f"{stream_id}: {infinite} infinite readings; made missing")
        names = _column_names(columns)
        texts = [["" if v != v else repr(v) for v in column] for column in values.T.tolist()]
        rows = zip(map(to_text, t_ns[keep].tolist()), *texts, strict=True)
        file = self._write_csv(stream_id, ("t", *names), rows)
        if isinstance(units, Mapping):
            units = {
                new: units[old] for old, new in zip(columns, names, strict=True) if old in units
            }
        self._add(stream_id, node=node, modality="metadata", file=file, units=units or None)

    def add_text(self, node: str, name: str, lines: Iterable[TextLine]) -> None:
        """Add lines of text, in any order."""
        ordered = sorted(lines, key=lambda line: line.t_node_ns)
        if not ordered:
            self.notes.append(f"{name}: left out, it has no line")
            return
        stream_id = _unique(_id(name), self._streams)
        rows = (
            (
                to_text(line.t_node_ns),
                "" if line.t_end_node_ns is None else to_text(line.t_end_node_ns),
                line.text,
            )
            for line in ordered
        )
        file = self._write_csv(stream_id, ("t", "t_end", "text"), rows)
        self._add(stream_id, node=node, modality="text", file=file)

    def add_stills(self, node: str, name: str, stills: Iterable[tuple[int, bytes, str]]) -> None:
        """Add pictures: node time in ns, encoded bytes, suffix of the file (`.jpg`)."""
        stream_id = _unique(_id(name), self._streams)
        rows: dict[int, str] = {}
        for t_ns, data, suffix in stills:
            file = f"{stream_id}/{len(rows):06d}{suffix}"
            if t_ns in rows:
                self.notes.append(f"{stream_id}: two stills at {to_text(t_ns)}; left one out")
                continue
            (self._folder / stream_id).mkdir(exist_ok=True)
            (self._folder / file).write_bytes(data)
            rows[t_ns] = file
        if not rows:
            self.notes.append(f"{name}: left out, it has no still")
            return
        listed = ((to_text(t_ns), rows[t_ns]) for t_ns in sorted(rows))
        file = self._write_csv(stream_id, ("t", "file"), listed)
        self._add(stream_id, node=node, modality="image", file=file)

    def add_media(
        self, node: str, path: Path, *, names: Mapping[Modality, str], t0_s: float = 0.0
    ) -> None:
        """Add a video or audio file, copied as it is, as one stream a modality in `names`."""
        file = _unique(_id(path.stem) + path.suffix.lower(), self._files())
        shutil.copyfile(path, self._folder / file)
        for modality, name in names.items():
            stream_id = _unique(_id(name), self._streams)
            self._add(stream_id, node=node, modality=modality, file=file, t0_s=t0_s)

    def finish(
        self,
        *,
        licence: str | None = None,
        source: object = None,
        truth: Truth | None = None,
    ) -> Manifest:
        """Write the manifest.

        Raises:
            BadRecording: no stream was added.
        """
        if not self._streams:
            raise BadRecording(
                f"{self._name}: nothing in it can be imported"
                + "".join(f"; {note}" for note in self.notes[:3])
            )
        used = {stream.node for stream in self._streams.values()}
        manifest = Manifest(
            name=self._name,
            licence=licence,
            source=source,
            nodes={node_id: node for node_id, node in self._nodes.items() if node_id in used},
            streams=tuple(self._streams.values()),
            truth=truth,
        )
        write_manifest(manifest, self._folder)
        return manifest

    def _files(self) -> set[str]:
        return {stream.file for stream in self._streams.values()}

    def _add(
        self,
        stream_id: str,
        *,
        node: str,
        modality: Modality,
        file: str,
        units: str | Mapping[str, str] | None = None,
        t0_s: float | None = None,
    ) -> None:
        self._streams[stream_id] = StreamSpec(
            id=stream_id, node=node, modality=modality, file=file, units=units, t0_s=t0_s
        )

    def _write_csv(
        self, stream_id: str, header: Sequence[str], rows: Iterable[Sequence[str]]
    ) -> str:
        file = _unique(f"{stream_id}.csv", self._files())
        with (self._folder / file).open("w", encoding="utf-8", newline="") as target:
            writer = csv.writer(target, lineterminator="\n")
            writer.writerow(header)
            writer.writerows(rows)
        return file


def _id(name: str) -> str:
    """A name as an id that is also a file name."""
    return NOT_IN_A_NAME.sub("_", name).strip("._") or "unnamed"


def _unique(name: str, taken: Iterable[str]) -> str:
    """The name, or the name with a number where it is taken (case does not tell two apart)."""
    known = {other.lower() for other in taken}
    stem, dot, suffix = name.partition(".")
    number, candidate = 2, name
    while candidate.lower() in known:
        candidate = f"{stem}_{number}{dot}{suffix}"
        number += 1
    return candidate


def _column_names(columns: Sequence[str]) -> list[str]:
    """Names of columns, none empty, none twice, none `t`."""
    names: list[str] = []
    for number, column in enumerate(columns):
        name = column.strip() or f"c{number}"
        names.append(_unique("t_" if name == "t" else name, [*names, "t"]))
    return names
