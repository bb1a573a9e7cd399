"""CSV files of other programs: finds the column of time and its unit, the channels, the text.

What a file's names do not say is guessed from what is in its columns, where that is sure, and every
guess is noted.
"""

import csv
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coeval.errors import BadRecording
from coeval.recognition import SURE, recognise_channels
from coeval.recognition.table import as_number, column_of
from coeval.recognition.times import find_time
from coeval.samples import IntArray, TextLine
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.recording_writer import RecordingWriter
from coeval_edge.stamps import to_ns
from coeval_edge.tables import MISSING
from coeval_edge.unreadable import why_unreadable

UNIT = r"(?:[_ \[(]*(?P<unit>s|sec|seconds|ms|us|µs|ns)[\])]?)?"
TIME_NAMES = (
    re.compile(r"t" + UNIT, re.IGNORECASE),
    re.compile(
        r"(?:ts|time|time_?stamps?|date_?time|date|seconds|epoch|unix(?:_?time)?)" + UNIT,
        re.IGNORECASE,
    ),
    re.compile(r"(?:.*[_ ])?(?:start|time|time_?stamp)" + UNIT, re.IGNORECASE),
)
"""Names of a column of time, the surest first."""

NS_PER_UNIT = {"s": NS_PER_S, "sec": NS_PER_S, "seconds": NS_PER_S} | {
    "ms": 1_000_000,
    "us": 1000,
    "µs": 1000,
    "ns": 1,
}
TEXT_NAMES = ("text", "message", "msg", "event", "label", "line", "transcript", "subtitle")
END_NAMES = ("t_end", "end", "end_time")


def import_file(path: Path, writer: RecordingWriter) -> None:
    """Add a CSV or TSV file: its numeric columns, and its text where it has a column of that.

    Raises:
        BadRecording: no column of time in it, or a stamp that is none.
    """
    names, columns, lines = read_columns(path)
    if not lines:
        raise BadRecording(f"{path}: no rows, only a header")
    time_name, unit_ns = time_and_unit(names, columns, path=path, notes=writer.notes)
    t_ns = stamps(columns[time_name], lines=lines, unit_ns=unit_ns, where=f"{path}")
    node = writer.add_node(path.stem)
    text_name = next((name for name in names if name.lower() in TEXT_NAMES), None)
    end_name = None
    if text_name is not None:
        end_name = next((name for name in names if name.lower() in END_NAMES), None)
    others = [name for name in names if name not in (time_name, text_name, end_name)]
    channels = channels_of(others, columns, path=path, notes=writer.notes)
    if text_name is not None:
        ends = [""] * len(lines) if end_name is None else columns[end_name]
        ends_ns = stated_stamps(ends, lines=lines, unit_ns=unit_ns, where=f"{path}")
        said = [
            TextLine(t_node_ns=NodeNs(int(t)), t_end_node_ns=t_end, text=text)
            for t, t_end, text in zip(t_ns, ends_ns, columns[text_name], strict=True)
        ]
        writer.add_text(node, f"{path.stem}_text" if channels else path.stem, said)
    if channels:
        values = np.stack(list(channels.values()), axis=1)
        units = guessed_units(values, list(channels), t_ns=t_ns, path=path, notes=writer.notes)
        writer.add_metadata(
            node, path.stem, t_ns=t_ns, values=values, columns=list(channels), units=units
        )


def time_and_unit(
    names: list[str], columns: dict[str, list[str]], *, path: Path, notes: list[str]
) -> tuple[str, int | None]:
    """The column of time and nanoseconds in one unit of it (None: dates), by its name or values.

    Raises:
        BadRecording: there is none, or its unit is unclear.
    """
    name = time_column(names)
    if name is not None:
        return name, unit_of(name, columns[name], path=path)
    guessed = find_time([column_of(name, tuple(columns[name])) for name in names])
    if guessed is None or guessed.unit is None:
        raise BadRecording(
            f"{path}: no column of time among {', '.join(names)}; name it 't' (seconds)"
        )
    notes.append(
        f"{path.name}: column {guessed.column!r} taken for the time"
        + ("" if guessed.unit == "date" else f" in {guessed.unit}")
        + ", by its values"
    )
    return guessed.column, NS_PER_UNIT.get(guessed.unit)


def channels_of(
    names: list[str], columns: dict[str, list[str]], *, path: Path, notes: list[str]
) -> dict[str, NDArray[np.float64]]:
    """The columns that hold numbers; the others are noted in `notes`."""
    channels: dict[str, NDArray[np.float64]] = {}
    for name in names:
        values = numbers(columns[name])
        if values is None:
            notes.append(f"{path.name}: column {name!r} left out, it is not numeric")
        else:
            channels[name] = values
    return channels


def guessed_units(
    values: NDArray[np.float64], names: list[str], *, t_ns: IntArray, path: Path, notes: list[str]
) -> dict[str, str]:
    """Units of the channels by column, where names or physics tell; noted in `notes`."""
    steps_ns = np.diff(t_ns)
    going = steps_ns[steps_ns > 0]
    rate_hz = NS_PER_S / float(np.median(going)) if len(going) else None
    units: dict[str, str] = {}
    for channel in recognise_channels(values, names=names, rate_hz=rate_hz):
        if channel.kind is None or channel.confidence < SURE:
            continue
        what = channel.kind if channel.units is None else f"{channel.kind} in {channel.units}"
        notes.append(f"{path.name}: {', '.join(channel.columns)} taken for {what}: {channel.why}")
        if channel.units is not None:
            units |= dict.fromkeys(channel.columns, channel.units)
    return units


def time_column(names: list[str]) -> str | None:
    """The column that most surely holds the time; None where none is called like it."""
    candidates = [name for name in names if name.lower() not in END_NAMES]
    for pattern in TIME_NAMES:
        for name in candidates:
            if pattern.fullmatch(name):
                return name
    return None


def read_columns(path: Path) -> tuple[list[str], dict[str, list[str]], list[int]]:
    """Names, fields by name, and the line of each row, of a file with commas, tabs or semicolons.

    Raises:
        BadRecording: unreadable, empty, or a row that does not fit the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            delimiter = max(",\t;", key=head.count)
            file.seek(0)
            reader = csv.reader(file, delimiter=delimiter)
            names = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, row) for row in reader if row]
            if any(as_number(name) is not None for name in names):  # no name is a number
                rows.insert(0, (1, names))
                names = [f"c{number}" for number in range(len(names))]
    except (OSError, UnicodeDecodeError, csv.Error) as exc:
        raise BadRecording(f"{path}: cannot be read as CSV: {why_unreadable(path, exc)}") from exc
    if not any(names):
        raise BadRecording(f"{path}: the file is empty; expected a header row")
    for line, row in rows:
        if len(row) != len(names):
            raise BadRecording(
                f"{path}, line {line}: {len(row)} fields, the header has {len(names)}"
            )
    columns = {name: [row[number] for _, row in rows] for number, name in enumerate(names)}
    return names, columns, [line for line, _ in rows]


def unit_of(name: str, texts: list[str], *, path: Path) -> int | None:
    """Nanoseconds in one unit of a time column; None where it holds dates.

    The name says the unit, or, for epoch stamps, the size does: no recording was made before 2001
    in one unit and is still plausible in another.
    """
    named = next(filter(None, (pattern.fullmatch(name) for pattern in TIME_NAMES)), None)
    if named is not None and named["unit"]:
        return NS_PER_UNIT[named["unit"].lower()]
    try:
        first = abs(float(texts[0]))
    except ValueError:
        return None
    for least, unit_ns in ((1e18, 1), (1e15, 1000), (1e12, 1_000_000)):
        if first >= least:
            return unit_ns
    if first >= 1e11:
        raise BadRecording(f"{path}: the unit of column {name!r} is unclear; name it e.g. 't_ms'")
    return NS_PER_S


def stamps(texts: list[str], *, lines: list[int], unit_ns: int | None, where: str) -> IntArray:
    """A column of time in ns, shape (n,).

    Args:
        texts: numbers in one unit, or ISO 8601 dates.
        lines: the line of the file each stands on.
        unit_ns: nanoseconds in a unit; None: dates.
        where: name of the file.

    Raises:
        BadRecording: one is neither; names its line.
    """
    t_ns = np.empty(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        try:
            if unit_ns is None:
                t_ns[row] = date_to_ns(text)
            elif unit_ns == NS_PER_S:
                t_ns[row] = to_ns(text)
            else:
                t_ns[row] = to_ns(f"{text.strip()}e-{len(str(NS_PER_S // unit_ns)) - 1}")
        except ValueError as exc:
            raise BadRecording(f"{where}, line {lines[row]}: time {text!r} cannot be read") from exc
    return t_ns


def stated_stamps(
    texts: list[str], *, lines: list[int], unit_ns: int | None, where: str
) -> list[NodeNs | None]:
    """As `stamps`, of a column whose empty fields say nothing."""
    t_ns: list[NodeNs | None] = [None] * len(texts)
    rows = [row for row, text in enumerate(texts) if text.strip()]
    stated = stamps(
        [texts[row] for row in rows],
        lines=[lines[row] for row in rows],
        unit_ns=unit_ns,
        where=where,
    )
    for row, t in zip(rows, stated, strict=True):
        t_ns[row] = NodeNs(int(t))
    return t_ns


def date_to_ns(text: str) -> int:
    """An ISO 8601 date to ns since 1970; UTC where it names no zone.

    Raises:
        ValueError: it is no such date.
    """
    date = datetime.fromisoformat(text.strip())
    since = (date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1000


def numbers(texts: list[str]) -> NDArray[np.float64] | None:
    """A column as numbers, missing ones NaN, true/false 1/0; None where it holds text."""
    known = {missing: np.nan for missing in MISSING} | {"true": 1.0, "false": 0.0}
    values = np.empty(len(texts))
    for row, text in enumerate(texts):
        try:
            values[row] = float(text)
        except ValueError:
            value = known.get(text.strip().lower())
            if value is None:
                return None
            values[row] = value
    return None if np.isnan(values).all() else values
