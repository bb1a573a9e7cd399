"""Text of other programs, in whichever of the usual encodings it is."""

import re
from pathlib import Path

from coeval.errors import BadRecording
from coeval_edge.unreadable import UTF_16_MARKS, why_unreadable

CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f]")
"""What no text has: bytes of another kind of file read as letters."""


def read_text(path: Path, *, kind: str, notes: list[str]) -> str:
    """A file's text: UTF-8 or UTF-16 by its mark, else Windows-1252, which is noted.

    Args:
        path: the file.
        kind: what it is read as, for the error.
        notes: takes a line where the encoding is a guess.

    Raises:
        BadRecording: it cannot be read, or is no text.
    """
    try:
        data = path.read_bytes()
        if data[:1] and data[0] in UTF_16_MARKS and data[1:2] and data[1] in UTF_16_MARKS:
            return data.decode("utf-16")
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("cp1252")
            if CONTROL.search(text):
                raise
    except (OSError, UnicodeDecodeError) as exc:
        why = why_unreadable(path, exc)
        raise BadRecording(f"{path}: cannot be read as {kind}: {why}") from exc
    notes.append(f"{path.name}: is no UTF-8; read as Windows-1252")
    return text
