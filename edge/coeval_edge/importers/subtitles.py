"""Subtitles (SRT, WebVTT, ASS) as lines of text, by pysubs2."""

from pathlib import Path

import pysubs2

from coeval.errors import BadRecording
from coeval.samples import TextLine
from coeval.time import NodeNs
from coeval_edge.importers.foreign_text import read_text
from coeval_edge.recording_writer import RecordingWriter

NS_PER_MS = 1_000_000


def import_file(path: Path, writer: RecordingWriter) -> None:
    """Add a subtitle file; its clock is that of the film it belongs to.

    Raises:
        BadRecording: it is no subtitle file, or no text.
    """
    text = read_text(path, kind="subtitles", notes=writer.notes)  # pysubs2 guesses no encoding
    try:
        subtitles = pysubs2.SSAFile.from_string(text)
    except (pysubs2.Pysubs2Error, ValueError) as exc:
        raise BadRecording(f"{path}: cannot be read as subtitles: {exc}") from exc
    lines = [
        TextLine(
            t_node_ns=NodeNs(event.start * NS_PER_MS),
            t_end_node_ns=NodeNs(event.end * NS_PER_MS),
            text=event.plaintext.replace("\n", " ").strip(),
        )
        for event in subtitles
        if not event.is_comment
    ]
    writer.add_text(
        writer.add_node(path.stem), f"{path.stem}_text" if writer.num_streams else "text", lines
    )
