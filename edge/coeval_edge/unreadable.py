"""Why a file cannot be read, in words that say what to do about it."""

from pathlib import Path

UTF_16_MARKS = (0xFE, 0xFF)
"""First bytes of files in UTF-16, as Windows' programs write them."""


def why_unreadable(path: Path, exc: Exception) -> str:
    """Why a file could not be read or decoded, and what to do."""
    if isinstance(exc, UnicodeDecodeError):
        return (
            "it is no UTF-8 text; where it is text, make a copy that is: "
            f"iconv -f {code_of(exc)} -t UTF-8 FILE"
        )
    if isinstance(exc, PermissionError):
        return f"permission denied; as its owner: chmod u+r {path.name}"
    return said_by(exc)


def said_by(exc: Exception) -> str:
    """An error's own words, without the number and the path that some put around them."""
    return getattr(exc, "strerror", None) or str(exc) or type(exc).__name__


def code_of(exc: UnicodeDecodeError) -> str:
    """In which code a text that is no UTF-8 most likely is."""
    is_first = exc.start == 0 and exc.object[0] in UTF_16_MARKS
    return "UTF-16" if is_first else "WINDOWS-1252"


def why_undecodable(path: Path, exc: Exception) -> str:
    """Why no picture or sound could be got out of a file, and what to do."""
    if isinstance(exc, PermissionError | FileNotFoundError):
        return why_unreadable(path, exc)
    if path.is_file() and not path.stat().st_size:
        return "the file is empty; copy it anew from where it was made"
    return (
        f"{said_by(exc)}; expected a film, a picture or sound: where it is one, the file was cut "
        "short or damaged, and a new copy from where it was made may help"
    )
