"""Stamps of other programs: in any unit, as dates, as a date and a time apart, as times of day.

In: columns of text. Out: nanoseconds. What no name says is guessed by the values, and noted.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from coeval.errors import BadRecording
from coeval.recognition.table import column_of
from coeval.recognition.times import find_time
from coeval.samples import IntArray
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.stamps import to_ns

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
END_NAMES = ("t_end", "end", "end_time")
NS_PER_UNIT = {"s": NS_PER_S, "sec": NS_PER_S, "seconds": NS_PER_S} | {
    "ms": 1_000_000,
    "us": 1000,
    "µs": 1000,
    "ns": 1,
}
CLOCK = re.compile(r"\s*(\d{1,2}):(\d{2}):(\d{2}(?:[.,]\d+)?)\s*")
DAY = re.compile(r"\s*(?:\d{4}[-/]\d{2}[-/]\d{2}|\d{2}\.\d{2}\.\d{4})\s*")
DAY_FIRST = re.compile(r"^(\d{2})\.(\d{2})\.(\d{4})")
DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamps:
    """How a file tells time."""

    used: frozenset[str]
    """The columns that tell it."""
    texts: Sequence[str]
    """What they say, a text a row."""
    unit_ns: int | None
    """Nanoseconds in a unit; None: dates, or times of day."""


def find_stamps(columns: Mapping[str, Sequence[str]], *, path: Path, notes: list[str]) -> Stamps:
    """The column of time and its unit, by its name or values; a date apart from it is joined.

    Raises:
        BadRecording: there is none, or its unit is unclear.
    """
    names = list(columns)
    name = time_column(names)
    clock = next((n for n in names if n not in END_NAMES and is_all(CLOCK, columns[n])), None)
    day = next((n for n in names if is_all(DAY, columns[n])), None)
    if clock is not None and name in (None, clock, day):
        if day is not None:
            joined = [
                f"{d.strip()} {c.strip()}"
                for d, c in zip(columns[day], columns[clock], strict=True)
            ]
            notes.append(f"{path.name}: columns {day!r} and {clock!r} taken for the time")
            return Stamps(used=frozenset((day, clock)), texts=joined, unit_ns=None)
        notes.append(f"{path.name}: column {clock!r} has no date; taken for seconds of one day on")
        return Stamps(
            used=frozenset((clock,)), texts=seconds_of_day(columns[clock]), unit_ns=NS_PER_S
        )
    if name is not None:
        unit_ns = unit_of(name, columns[name], path=path)
        return Stamps(used=frozenset((name,)), texts=columns[name], unit_ns=unit_ns)
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
    return Stamps(
        used=frozenset((guessed.column,)),
        texts=columns[guessed.column],
        unit_ns=NS_PER_UNIT.get(guessed.unit),
    )


def is_all(pattern: re.Pattern[str], texts: Sequence[str]) -> bool:
    """Whether all fields are such."""
    return all(map(pattern.fullmatch, texts))


def seconds_of_day(texts: Sequence[str]) -> list[str]:
    """Times of day as seconds since the first midnight; they go on after the next."""
    days, before, seconds = 0, 0, []
    for text in texts:
        found = CLOCK.fullmatch(text)
        assert found is not None, "checked by the caller"
        whole, _, part = found[3].replace(",", ".").partition(".")
        second = int(found[1]) * 3600 + int(found[2]) * 60 + int(whole)
        days += second < before - DAY_S // 2
        before = second
        seconds.append(f"{days * DAY_S + second}" + (f".{part}" if part else ""))
    return seconds


def time_column(names: Sequence[str]) -> str | None:
    """The column that most surely holds the time; None where none is called like it."""
    candidates = [name for name in names if name.lower() not in END_NAMES]
    for pattern in TIME_NAMES:
        for name in candidates:
            if pattern.fullmatch(name):
                return name
    return None


def unit_of(name: str, texts: Sequence[str], *, path: Path) -> int | None:
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


def stamps(texts: Sequence[str], *, lines: list[int], unit_ns: int | None, where: str) -> IntArray:
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
            raise BadRecording(
                f"{where}, line {lines[row]}: time {text!r} cannot be read; expected "
                + ("a date as 2025-11-24T10:00:00.123" if unit_ns is None else "a number")
            ) from exc
    return t_ns


def stated_stamps(
    texts: Sequence[str], *, lines: list[int], unit_ns: int | None, where: str
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


def epoch_to_ns(text: str) -> int:
    """A whole number since 1970 to ns; in s, ms, µs or ns by its 10, 13, 16 or 19 digits."""
    return int(text.ljust(19, "0"))


def date_to_ns(text: str) -> int:
    """A date (ISO 8601, 2025/11/24 or 24.11.2025) to ns since 1970; UTC where it names no zone.

    Raises:
        ValueError: it is no such date.
    """
    plain = DAY_FIRST.sub(r"\3-\2-\1", text.strip()).replace("/", "-").replace(",", ".")
    date = datetime.fromisoformat(plain)
    since = (date if date.tzinfo else date.replace(tzinfo=UTC)) - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * NS_PER_S + since.microseconds * 1000
