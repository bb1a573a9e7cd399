"""Subtitles (SRT, WebVTT, ASS) as lines of text, by pysubs2."""

from pathlib import Path

import pysubs2

from coeval.errors import BadRecording
from coeval.samples import TextLine
from coeval.time import NodeNs
from coeval_edge.recording_writer import RecordingWriter
from coeval_edge.unreadable import why_unreadable

NS_PER_MS = 1_000_000


def import_file(path: Path, writer: RecordingWriter) -> None:
    """Add a subtitle file; its clock is that of the film it belongs to.

    Raises:
        BadRecording: it is no subtitle file, or no UTF-8 text.
    """
    try:
        # read here: pysubs2 guesses no encoding, and a BOM is no part of the first line
        subtitles = pysubs2.SSAFile.from_string(path.read_text(encoding="utf-8-sig"))
    except (pysubs2.Pysubs2Error, OSError, ValueError) as exc:
        why = why_unreadable(path, exc)
        raise BadRecording(f"{path}: cannot be read as subtitles: {why}") from exc
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
