"""Other formats as recordings: each importer reads one kind of file into a `RecordingWriter`.

One source file is one node, since one device and one clock wrote it; a format that tells its
clocks apart (XDF) gets a node for each.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path

from coeval.errors import BadConfig, BadRecording, CoevalError
from coeval_edge.importers.pictures import SUFFIXES, import_pictures
from coeval_edge.recording import MANIFEST_FILE, Recording, open_recording
from coeval_edge.recording_writer import RecordingWriter
from coeval_edge.rewrite import new_recording

Importer = Callable[[Path, RecordingWriter], None]

VIDEO_SUFFIXES = (
    *(".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"),
    *(".mts", ".ts", ".mpg", ".360", ".lrv"),
)
AUDIO_SUFFIXES = (
    *(".wav", ".flac", ".mp3", ".m4a", ".aac"),
    *(".ogg", ".opus", ".oga", ".aiff", ".wma"),
)
FORMATS: dict[str, tuple[str, ...]] = {
    "gopro": (),
    "media": VIDEO_SUFFIXES + AUDIO_SUFFIXES,
    "xdf": (".xdf", ".xdfz"),
    "ulog": (".ulg",),
    "mcap": (".mcap",),
    "csv": (".csv", ".tsv"),
    "subtitles": (".srt", ".vtt", ".ass", ".ssa"),
    "log": (".log", ".txt"),
}
"""Formats by name, with the suffixes that `auto` knows them by."""


def import_recording(
    sources: Sequence[Path],
    out: Path,
    *,
    format: str = "auto",
) -> tuple[Recording, list[str]]:
    """Import files as one recording.

    What cannot be imported of a folder is left out and noted; of a file that is named itself it is
    an error.

    Args:
        sources: files, or folders whose files are taken, hidden ones apart.
        out: folder of the recording; must not exist, or be empty.
        format: one of FORMATS, or `auto`: by suffix.

    Returns:
        The recording, and a line for each thing that was left out or changed.

    Raises:
        BadRecording: a file is missing or not of its format, or nothing in it can be imported.
        BadConfig: unknown format.
        CoevalError: the format's library is not installed.
    """
    if format != "auto" and format not in FORMATS:
        raise BadConfig(f"unknown format {format!r}; expected auto, {', '.join(FORMATS)}")
    named, inside = _files(sources)
    pictures = [file for file in inside if format == "auto" and suffix_of_picture(file)]
    inside = [file for file in inside if file not in pictures]
    files = [*named, *inside]
    name = files[0].stem if len(files) == 1 and not pictures else out.name
    with new_recording(out) as folder:
        writer = RecordingWriter(folder, name=name)
        for file in files:
            try:
                with writer.all_or_nothing():
                    if file.is_dir():
                        raise BadRecording(f"{file}: a folder in a folder; name it by itself")
                    _importer(file, format=format)(file, writer)
            except BadRecording as exc:
                if file in named:
                    raise
                writer.notes.append(f"{file.name}: left out: {_without_path(exc, file)}")
        for source in dict.fromkeys(file.parent for file in pictures):
            taken = [file for file in pictures if file.parent == source]
            try:
                import_pictures(taken, writer, folder=source)
            except BadRecording as exc:
                if not files:
                    raise
                writer.notes.append(f"{len(taken)} pictures left out: {exc}")
        all_names = [file.name for file in (*files, *dict.fromkeys(p.parent for p in pictures))]
        writer.finish(source=all_names if len(all_names) > 1 else all_names[0])
    return open_recording(out), writer.notes


def _without_path(exc: BadRecording, file: Path) -> str:
    """What went wrong, without the path that the message begins with."""
    return str(exc).removeprefix(f"{file}").lstrip(":, ")


def _files(sources: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """The files that are named themselves, and what lies in folders that are."""
    named: list[Path] = []
    found: list[Path] = []
    for source in sources:
        if source.is_dir():
            if (source / MANIFEST_FILE).is_file():
                raise BadRecording(
                    f"{source}: is a recording already, with a {MANIFEST_FILE}; use it as it is, "
                    "or name the files in it"
                )
            inside = sorted(path for path in source.iterdir() if not path.name.startswith("."))
            if not any(path.is_file() for path in inside):
                raise BadRecording(f"{source}: no file in it; name a folder of files, or files")
            found += inside
        elif source.is_file():
            named.append(source)
        else:
            raise BadRecording(f"{source}: no such file or folder")
    return named, found


def format_by_content(path: Path) -> str:
    """The format of a file whose suffix nobody knows; empty where nothing is sure."""
    from coeval_edge.recognise import recognise_file  # its decoders: only where they are wanted

    found = recognise_file(path)[0]
    if found.modality in ("video", "audio") and not found.format.startswith(("table", "samples")):
        return "media"
    if found.format.startswith("table") and found.time is not None:
        return "csv"
    if found.format == "lines of text":
        return "log"
    return "subtitles" if found.format == "subtitles" else ""


def suffix_of_picture(path: Path) -> bool:
    """Whether a file is called like a picture."""
    return path.suffix.lower() in SUFFIXES


def _importer(path: Path, *, format: str) -> Importer:
    """The importer of a file; its library is loaded only now."""
    if format == "auto":
        suffix = path.suffix.lower()
        format = next((name for name, known in FORMATS.items() if suffix in known), "")
        format = format or format_by_content(path)
    if not format and suffix_of_picture(path):
        raise BadRecording(f"{path}: is one picture; name the folder that its fellows are in")
    if not format:
        raise BadRecording(
            f"{path}: suffix {path.suffix!r} is of no format that can be imported; "
            f"name it with --format ({', '.join(FORMATS)}), or see what `coeval recognise` says"
        )
    module = "media" if format == "gopro" else format
    try:
        importer: Importer = import_module(f"coeval_edge.importers.{module}").import_file
    except ModuleNotFoundError as exc:
        if (exc.name or "").startswith("coeval"):
            raise  # our own defect, not a missing extra
        raise CoevalError(
            f"importing {format} needs the package {exc.name!r}, which is not installed; "
            "add it with: pip install 'coeval[import]'"
        ) from exc
    return importer
