"""Recordings on disk: a folder with `recording.json`, opened and checked.

`recording_samples` reads what is in one, `recording_times` when it was. Stamps are those of each
stream's own node; nothing here knows another clock, or the truth.
"""

import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from coeval.errors import BadRecording
from coeval.manifest import Manifest, StreamSpec, parse_manifest
from coeval.samples import Modality
from coeval_edge.tables import Table
from coeval_edge.unreadable import why_unreadable

MANIFEST_FILE = "recording.json"
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
        raise BadRecording(
            f"{root}: no {MANIFEST_FILE} in it, so it is no recording; make one of files: "
            "coeval recording import FILES… FOLDER"
        ) from None
    except (OSError, UnicodeDecodeError) as exc:
        raise BadRecording(f"{path}: cannot be read: {why_unreadable(path, exc)}") from exc

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
        raise BadRecording(f"{where}: no file {file!r} in {root}; put it there, or leave it out")


def stream_table(recording: Recording, stream: StreamSpec) -> Table:
    """The CSV of a metadata, text or image stream, header checked."""
    path = recording.path(stream.file)
    return Table(path, where=str(path), required=REQUIRED_COLUMNS[stream.modality])


def stamps_table(recording: Recording, stream: StreamSpec) -> Table:
    """The `timestamps` CSV of a video or audio stream, header checked."""
    path = recording.path(stream.timestamps or "")
    return Table(path, where=str(path), required=("t",))
