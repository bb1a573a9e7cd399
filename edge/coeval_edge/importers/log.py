"""Logs, a line an event, each with its time in front: of programs, of the kernel, of syslog.

In: a file of text. Out: its lines without their stamps. Lines without one (the rest of a long
message) belong to the line before.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from coeval.errors import BadRecording
from coeval.samples import TextLine
from coeval.time import NodeNs
from coeval_edge.importers.foreign_text import read_text
from coeval_edge.importers.time_column import date_to_ns, epoch_to_ns, seconds_of_day
from coeval_edge.recording_writer import RecordingWriter
from coeval_edge.stamps import to_ns

CLOCK = r"\d{1,2}:\d{2}:\d{2}(?:[.,]\d{1,9})?"
DATE = r"\d{4}[-/]\d{2}[-/]\d{2}|\d{2}\.\d{2}\.\d{4}"
MONTHS = "Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
YEAR = 2000
"""Of stamps that tell none; it has all days."""
LEAST_SHARE = 0.5
"""A log has a stamp in front of so many of its lines."""


def dates_ns(texts: Sequence[str]) -> list[int]:
    """Dates with a time of day."""
    return [date_to_ns(text) for text in texts]


def clocks_ns(texts: Sequence[str]) -> list[int]:
    """Times of day, from the first midnight on."""
    return [to_ns(text) for text in seconds_of_day(texts)]


def months_ns(texts: Sequence[str]) -> list[int]:
    """Days of a year that is not told: `Nov 24 10:00:00`."""
    names = MONTHS.split("|")
    found: list[int] = []
    for text in texts:
        month, day, clock = text.split()
        number = names.index(month.capitalize()) + 1
        found.append(date_to_ns(f"{YEAR}-{number:02d}-{int(day):02d} {clock}"))
    return found


def seconds_ns(texts: Sequence[str]) -> list[int]:
    """Seconds."""
    return [to_ns(text) for text in texts]


def epochs_ns(texts: Sequence[str]) -> list[int]:
    """Whole numbers since 1970."""
    return [epoch_to_ns(text) for text in texts]


STAMPS: tuple[tuple[re.Pattern[str], Callable[[Sequence[str]], list[int]], str], ...] = (
    (
        re.compile(rf"\s*[\[(<]?((?:{DATE})[T ]\s?{CLOCK}(?:\s?(?:Z|[+-]\d\d:?\d\d))?)"),
        dates_ns,
        "",
    ),
    (
        re.compile(rf"\s*(?:<\d+>)?((?:{MONTHS})\s+\d{{1,2}}\s+{CLOCK})", re.IGNORECASE),
        months_ns,
        f"no year in its stamps; taken for {YEAR}",
    ),
    (re.compile(r"\s*[\[(<]?\s*(\d{1,10}\.\d{1,9})(?=[\])>\s:,;])"), seconds_ns, ""),
    (re.compile(r"\s*[\[(<]?(1\d{9}|1\d{12}|1\d{15}|1\d{18})(?=[\])>\s:,;])"), epochs_ns, ""),
    (
        re.compile(rf"\s*[\[(<]?({CLOCK})(?=[\])>\s,;])"),
        clocks_ns,
        "no date in its stamps; taken for seconds of one day on",
    ),
)
"""How stamps look in front of a line, what they mean, and what had to be taken for granted."""


def import_file(path: Path, writer: RecordingWriter) -> None:
    """Add a log as a stream of text.

    Raises:
        BadRecording: it is no text, or hardly any line says when it was written.
    """
    lines = [
        line
        for line in read_text(path, kind="a log", notes=writer.notes).splitlines()
        if line.strip()
    ]
    if not lines:
        raise BadRecording(f"{path}: the file is empty; expected lines with their times")
    pattern, to_times, note = max(
        STAMPS, key=lambda kind: sum(kind[0].match(line) is not None for line in lines)
    )
    stamps: list[str] = []
    texts: list[str] = []
    num_before = 0
    for line in lines:
        found = pattern.match(line)
        if found is not None:
            stamps.append(found[1])
            texts.append(line[found.end() :].lstrip("])> \t:,;-|").strip())
        elif texts:
            texts[-1] = f"{texts[-1]} {line.strip()}"
        else:
            num_before += 1
    if len(stamps) < LEAST_SHARE * len(lines):
        raise BadRecording(
            f"{path}: {len(stamps)} of {len(lines)} lines say when they were written; expected a "
            "time in front of each, as 2025-11-24 10:00:00.123, seconds or [12.345]"
        )
    try:
        times = to_times(stamps)
    except ValueError as exc:
        raise BadRecording(f"{path}: a time cannot be read: {exc}") from exc
    if note:
        writer.notes.append(f"{path.name}: {note}")
    if num_before:
        writer.notes.append(f"{path.name}: {num_before} lines before the first time left out")
    said = [
        TextLine(t_node_ns=NodeNs(t_ns), t_end_node_ns=None, text=text)
        for t_ns, text in zip(times, texts, strict=True)
        if text
    ]
    writer.add_text(writer.add_node(path.stem), path.stem, said)
