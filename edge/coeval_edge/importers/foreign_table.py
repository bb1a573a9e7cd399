"""Tables of other programs: remarks before the header, decimal commas, uneven rows.

In: a file with commas, tabs or semicolons. Out: names, fields by name, and the line of each row.
What had to be changed or left out is noted, never passed over.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from coeval.errors import BadRecording
from coeval.recognition.lines import REMARKS
from coeval.recognition.table import DECIMAL_COMMA, FULL_SHARE, as_number, unique
from coeval_edge.importers.foreign_text import read_text

DELIMITERS = ",\t;"
MOST_PREAMBLE = 30
"""Lines before a header in which a logger speaks of itself."""
LEAST_ROWS = 10
"""With fewer rows one that does not fit makes it no table."""
TEXT_NAMES = ("text", "message", "msg", "event", "label", "line", "transcript", "subtitle")
"""Names of a column of lines, which may hold commas."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignTable:
    """Rows of a file."""

    names: tuple[str, ...]
    """Of the columns, each once, none empty."""
    columns: dict[str, list[str]]
    """Fields by name."""
    lines: list[int]
    """The line of the file on which each row ends."""


def read_foreign_table(path: Path, *, notes: list[str]) -> ForeignTable:
    """Read a file's rows.

    Args:
        path: the file.
        notes: takes a line for each thing that was changed or left out.

    Raises:
        BadRecording: unreadable, empty, or rows that do not fit the header.
    """
    physical = read_text(path, kind="CSV", notes=notes).splitlines(keepends=True)
    first = header_line(physical)
    if first >= len(physical):
        raise BadRecording(f"{path}: the file is empty; expected a header row")
    delimiter = max(DELIMITERS, key=physical[first].count)
    reader = csv.reader(io.StringIO("".join(physical[first:]), newline=""), delimiter=delimiter)
    try:
        rows = [
            (first + reader.line_num, row)
            for row in reader
            if row and not row[0].lstrip().startswith(REMARKS)
        ]
    except csv.Error as exc:
        raise BadRecording(f"{path}: cannot be read as CSV: {exc}") from exc
    header = [name.strip() for name in rows[0][1]]
    if any(as_number(name) is not None for name in header):  # no name is a number
        header = [f"c{number}" for number in range(len(header))]
    else:
        rows = rows[1:]
        if first:
            notes.append(f"{path.name}: {first} lines before the header left out")
    if not any(header):
        raise BadRecording(f"{path}: the file is empty; expected a header row")
    names = unique_names(header, path=path, notes=notes)
    rows = fitting(rows, names, delimiter=delimiter, path=path, notes=notes)
    if delimiter != "," and rows and any(map(DECIMAL_COMMA.fullmatch, rows[-1][1])):
        rows = [(line, [with_point(field) for field in row]) for line, row in rows]
    return ForeignTable(
        names=tuple(names),
        columns={name: [row[number] for _, row in rows] for number, name in enumerate(names)},
        lines=[line for line, _ in rows],
    )


def header_line(physical: Sequence[str]) -> int:
    """Where a table begins: after remarks, and after lines that have no delimiter."""
    first = 0
    while first < len(physical) and (
        not physical[first].strip() or physical[first].lstrip().startswith(REMARKS)
    ):
        first += 1
    if first < len(physical) and not any(mark in physical[first] for mark in DELIMITERS):
        for place, (line, below) in enumerate(pairwise(physical[first : first + MOST_PREAMBLE])):
            if any(0 < line.count(mark) == below.count(mark) for mark in DELIMITERS):
                return first + place
    return first


def unique_names(header: Sequence[str], *, path: Path, notes: list[str]) -> list[str]:
    """Names of columns, none empty and none twice: a later one of the same name gets a number."""
    wanted = [name or f"c{number}" for number, name in enumerate(header)]
    names = unique(wanted)
    for name, plain, chosen in zip(header, wanted, names, strict=True):
        if chosen != plain:
            notes.append(f"{path.name}: another column named {name!r} is called {chosen!r}")
    return names


def fitting(
    rows: list[tuple[int, list[str]]],
    names: Sequence[str],
    *,
    delimiter: str,
    path: Path,
    notes: list[str],
) -> list[tuple[int, list[str]]]:
    """The rows that have as many fields as the header.

    Raises:
        BadRecording: too many have not.
    """
    width = len(names)
    if names[-1].lower() in TEXT_NAMES and width > 1:  # commas within the last text
        rows = [
            (line, [*row[: width - 1], delimiter.join(row[width - 1 :])])
            if len(row) > width
            else (line, row)
            for line, row in rows
        ]
    elif rows and all(len(row) == width + 1 and not row[-1].strip() for _, row in rows):
        rows = [(line, row[:-1]) for line, row in rows]  # a delimiter at the end of every row
    kept = [(line, row) for line, row in rows if len(row) == width]
    odd = [(line, row) for line, row in rows if len(row) != width]
    if not odd:
        return kept
    line, row = odd[0]
    said = f"{len(row)} fields, the header has {width}"
    is_cut_short = len(odd) == 1 and len(kept) >= LEAST_ROWS and line == rows[-1][0]
    if len(kept) < FULL_SHARE * len(rows) and not is_cut_short:
        raise BadRecording(
            f"{path}, line {line}: {said}"
            + (f", as {len(odd) - 1} more" if len(odd) > 1 else "")
            + "; put fields that hold the delimiter in quotes, or make the rows even"
        )
    notes.append(f"{path.name}: {len(odd)} rows left out, the first in line {line}: {said}")
    return kept


def with_point(field: str) -> str:
    """A number with its decimal comma made a point."""
    return field.replace(",", ".") if DECIMAL_COMMA.fullmatch(field) else field
