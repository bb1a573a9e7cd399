"""What lines of text are: NMEA sentences, JSON objects, tables, readings in words, or text.

Only content is looked at. Lines that could be numbers dressed as text, or text full of numbers, are
said to be unsure.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from coeval.recognition.answer import Recognition, TimeColumn
from coeval.recognition.names import is_time_name
from coeval.recognition.sensors import recognise_channels
from coeval.recognition.table import Column, FoundTable, column_of, find_table
from coeval.recognition.times import find_time, seconds_of

MOST_LINES = 4000
"""Lines that are looked at."""
SUBTITLE = re.compile(r"(?:\d+:)?\d{1,2}:\d{2}[.,]\d{2,3} --> (?:\d+:)?\d{1,2}:\d{2}[.,]\d{2,3}")
ASS = re.compile(r"(?:\[Script Info\]|Dialogue: \d+,\d:\d\d:\d\d)")
NMEA = re.compile(r"[$!]([A-Z0-9]{4,6}[^*]*)\*([0-9A-Fa-f]{2})")
PICTURE = re.compile(r".+\.(?:jpe?g|png|tiff?|bmp|webp|heic|dng)", re.IGNORECASE)
NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
WORDS = re.compile(r"[^\W\d_]{2,}")
COLUMN_NAME = re.compile(r"[^\W\d]\w*(?:[ _]?[\[(][^\s\])]+[\])])?")
TEXT_KEYS = frozenset(("text", "message", "msg", "event", "log", "line", "transcript", "body"))
SOUND_RATE_HZ = 3500.0
"""Numbers that come faster may be sound."""
LEAST_SAMPLES = 100
REMARKS = ("#", "%", "//")
MOST_PREAMBLE = 30
"""Lines before a table in which a logger tells of itself."""
LEAST_ROWS = 5
"""Fewer rows do not show whether a word only names the number beside it."""
DIGITS_OF_READINGS, DIGITS_OF_TEXT = 0.35, 0.2
"""Share of a line's characters that belong to numbers: above the first lines of one wording are
readings, below the second they are text."""


def recognise_lines(lines: Sequence[str]) -> Recognition:
    """What lines are, by their content alone.

    Args:
        lines: without their ends, whole ones; blank ones do not count.
    """
    lines = [line.strip("\r\n\ufeff") for line in lines[:MOST_LINES] if line.strip()]
    if not lines:
        return unsure("no line", "lines")
    head = "\n".join(lines[:200])
    if SUBTITLE.search(head) or ASS.search(head):
        return Recognition(
            modality="text", confidence=0.99, format="subtitles", why="times of subtitles"
        )
    return (
        recognised_nmea(lines)
        or recognised_json(lines)
        or recognised_table(without_remarks(lines))
        or recognised_after_preamble(lines)
        or recognised_wordings(lines)
        or text_lines(lines)
    )


def unsure(why: str, format: str) -> Recognition:
    """No answer."""
    return Recognition(modality=None, confidence=0.0, format=format, why=why)


def recognised_nmea(lines: Sequence[str]) -> Recognition | None:
    """Sentences of a GNSS receiver or a ship's instruments, by their checksums."""
    num_right = 0
    talkers: Counter[str] = Counter()
    for line in lines:
        found = NMEA.search(line)
        if found is None:
            continue
        checksum = 0
        for byte in found[1].encode("ascii", "replace"):
            checksum ^= byte
        if checksum == int(found[2], 16):
            num_right += 1
            talkers[found[1].split(",")[0]] += 1
    share = num_right / len(lines)
    if share < 0.5:
        return None
    named = ", ".join(name for name, _ in talkers.most_common(4))
    return Recognition(
        modality="metadata",
        confidence=0.99,
        format="NMEA 0183",
        why=f"{share:.0%} of the lines are sentences with a right checksum: {named}; "
        "read it as a source of kind nmea",
    )


def recognised_json(lines: Sequence[str]) -> Recognition | None:
    """JSON, an object a line: its numbers are channels, a message in it makes it text."""
    objects: list[dict[str, object]] = []
    for line in lines:
        if line.lstrip()[:1] != "{":
            return None
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if isinstance(value, dict):
            objects.append(flat(value))
    if not objects:
        return None
    num_said = sum(
        any(key.lower().split(".")[-1] in TEXT_KEYS and isinstance(one[key], str) for key in one)
        for one in objects
    )
    format = "JSON, an object a line"
    if num_said >= 0.5 * len(objects):
        return Recognition(
            modality="text", confidence=0.97, format=format, why="a message in each object"
        )
    keys = Counter(key for one in objects for key in one)
    columns = [
        column_of(key, tuple(as_text(one.get(key)) for one in objects))
        for key, count in keys.items()
        if count >= 0.5 * len(objects)
    ]
    numeric = [c for c in columns if c.numbers is not None and not is_time_name(c.name)]
    if not numeric:
        words = sum(len(WORDS.findall(line)) for line in lines) / len(lines)
        if words >= 3:
            return Recognition(
                modality="text", confidence=0.7, format=format, why="objects without numbers"
            )
        return unsure("objects with neither numbers nor a message", format)
    return of_columns(columns, format=format, why="objects of numbers", confidence=0.97)


def flat(value: dict[str, object], prefix: str = "") -> dict[str, object]:
    """An object's fields, inner ones by `outer.inner`."""
    found: dict[str, object] = {}
    for key, item in value.items():
        if isinstance(item, dict) and prefix.count(".") < 3:
            found |= flat(item, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = item
    return found


def as_text(value: object) -> str:
    """A JSON value as a field."""
    return "" if value is None else str(value)


def recognised_table(lines: Sequence[str]) -> Recognition | None:
    """Rows of fields."""
    table = find_table(lines)
    if table is None:
        return None
    if is_header_alone(table):
        return unsure("one row of names: a header without rows?", table.format)
    time = find_time(table.columns)
    others = [
        column
        for column in table.columns
        if (time is None or column.name != time.column) and not column.is_date
    ]
    words = [column for column in others if column.numbers is None]
    pictures = [column for column in words if share_of(column, PICTURE) >= 0.9]
    if pictures:
        return Recognition(
            modality="image",
            confidence=0.97,
            format=table.format,
            why="a column of names of pictures",
            time=time,
        )
    spoken = [column for column in words if not is_tag(column)]
    if words and not spoken and table.num_rows < LEAST_ROWS and len(others) == len(words) + 1:
        # A word and a number: a line with its time, or a reading with its name.
        if table.columns[-1] is not words[-1]:
            return unsure("a word and a number, too few of them to tell", table.format)
        spoken = words
    numeric = [column for column in others if column.numbers is not None]
    if spoken or (words and not numeric):
        channels = [column for column in numeric if not is_end_of(column, table, time)]
        # Text with a number or two beside it is text; a wide table with a remark is readings.
        if len(channels) <= 2 * len(spoken or words):
            return Recognition(
                modality="text",
                confidence=0.97 if time is not None else 0.8,
                format=table.format,
                why="a column of text" + ("" if time is None else " beside its times"),
                time=time,
            )
    if not numeric:
        if time is None:
            return None
        return Recognition(
            modality="metadata",
            confidence=0.6,
            format=table.format,
            why="times alone: events, or the stamps of another stream",
            time=time,
        )
    confidence = 0.99 if table.num_rows >= 3 and not words else 0.9
    kept = [c for c in table.columns if c.numbers is not None or c.is_date]
    why = "columns of numbers"
    if words:
        why += f"; no numbers in {', '.join(column.name for column in words)}"
    return of_columns(kept, format=table.format, why=why, confidence=confidence)


def is_header_alone(table: FoundTable) -> bool:
    """Whether the one row there is looks like names of columns."""
    fields = [column.texts[0] for column in table.columns]
    return len(fields) > 1 and table.num_rows == 1 and all(map(COLUMN_NAME.fullmatch, fields))


def without_remarks(lines: Sequence[str]) -> Sequence[str]:
    """The lines that no mark makes a remark; all, where all are."""
    return [line for line in lines if not line.lstrip().startswith(REMARKS)] or lines


def recognised_after_preamble(lines: Sequence[str]) -> Recognition | None:
    """Columns of numbers after some lines in which a logger speaks of itself."""
    head = without_remarks(lines)[:200]
    for skipped in range(1, min(MOST_PREAMBLE, len(head) // 2) + 1):
        table = find_table(head[skipped:])
        if table is None or table.num_rows < LEAST_ROWS:
            continue
        if all(column.numbers is not None or column.is_date for column in table.columns):
            return recognised_table(without_remarks(lines)[skipped:])
    return None


def share_of(column: Column, pattern: re.Pattern[str]) -> float:
    """Share of a column's fields that match."""
    return sum(bool(pattern.fullmatch(text)) for text in column.texts) / len(column.texts)


def is_tag(column: Column) -> bool:
    """Whether words only name what stands beside them: few, short, again and again."""
    filled = [text for text in column.texts if text]
    distinct = set(filled)
    if not filled:
        return True
    is_short = all(len(text) <= 16 and " " not in text for text in distinct)
    return is_short and (len(distinct) <= 3 or len(distinct) <= 0.05 * len(filled))


def is_end_of(column: Column, table: FoundTable, time: TimeColumn | None) -> bool:
    """Whether numbers are the ends of what the column of time begins."""
    if time is None or column.numbers is None:
        return False
    begins = next((c.numbers for c in table.columns if c.name == time.column), None)
    if begins is None:
        return False
    both = ~np.isnan(column.numbers) & ~np.isnan(begins)
    later = column.numbers[both] - begins[both]
    span = float(np.ptp(begins)) + 60.0
    return bool(both.any() and (later >= 0).mean() > 0.9 and (later <= span).all())


def of_columns(
    columns: Sequence[Column], *, format: str, why: str, confidence: float
) -> Recognition:
    """Numeric columns, with what senses them."""
    time = find_time(columns)
    kept = [
        column
        for column in columns
        if column.numbers is not None and (time is None or column.name != time.column)
    ]
    rate_hz = None if time is None else time.rate_hz
    if not kept:
        return unsure("times alone", format)
    values = np.stack([column.numbers for column in kept if column.numbers is not None], axis=1)
    if time is not None and rate_hz is not None:
        column = next(c for c in columns if c.name == time.column)
        seconds = seconds_of(column, time.unit)
        is_fast = seconds is not None and len(kept) <= 2 and rate_hz >= SOUND_RATE_HZ
        if is_fast and len(values) < LEAST_SAMPLES:
            return unsure("so fast that it could be sound, and too short to tell", format)
        if is_fast and is_sound(values):
            return Recognition(
                modality="audio",
                confidence=0.9,
                format=format,
                why=f"numbers around 0, {rate_hz:.0f} a second",
                time=time,
            )
    names = [column.name for column in kept]
    channels = recognise_channels(values, names=names, rate_hz=rate_hz)
    return Recognition(
        modality="metadata",
        confidence=confidence,
        format=format,
        why=why,
        channels=channels,
        time=time,
    )


def is_sound(values: np.ndarray) -> bool:
    """Whether numbers that come that fast are sound: around 0, no gap."""
    if np.isnan(values).any():
        return False
    spread = values.std(axis=0)
    return bool((spread > 0).all() and (np.abs(values.mean(axis=0)) < spread).all())


def recognised_wordings(lines: Sequence[str]) -> Recognition | None:
    """Readings in words, as `T=21.5 H=40`: always the same but for the numbers."""
    if len(lines) < 3:
        return None
    wordings = Counter(NUMBER.sub("#", line) for line in lines)
    wording, count = wordings.most_common(1)[0]
    num_numbers = wording.count("#")
    if num_numbers == 0 or count < 0.9 * len(lines):
        return None
    chosen = [line for line in lines if NUMBER.sub("#", line) == wording]
    digits = [sum(map(len, NUMBER.findall(line))) / len(line) for line in chosen]
    share = float(np.median(digits))
    if share < DIGITS_OF_TEXT:
        return None
    format = "lines of one wording"
    is_count = num_numbers == 1 and not any("." in line for line in chosen)
    if share < DIGITS_OF_READINGS or is_count:
        return unsure("lines of one wording with some numbers: readings, or events", format)
    names = [words_before(wording, k) or f"c{k}" for k in range(num_numbers)]
    names = [name if names.count(name) == 1 else f"c{k}" for k, name in enumerate(names)]
    found = [NUMBER.findall(line) for line in chosen]
    columns = [column_of(name, tuple(row[k] for row in found)) for k, name in enumerate(names)]
    return of_columns(columns, format=format, why="numbers in a fixed wording", confidence=0.9)


def words_before(wording: str, number: int) -> str:
    """The word that a line has before one of its numbers."""
    before = wording.split("#")[number]
    words = re.findall(r"[A-Za-z_][\w.]*", before)
    return words[-1] if words else ""


def text_lines(lines: Sequence[str]) -> Recognition:
    """Text, if it has words."""
    has_words = sum(bool(WORDS.search(line)) for line in lines) / len(lines)
    digits = [sum(map(len, NUMBER.findall(line))) / len(line) for line in lines]
    odd = sum(not character.isprintable() for line in lines for character in line)
    if odd > 0.05 * sum(map(len, lines)):
        return unsure("characters that no text has: another speed, or no text", "lines")
    if has_words >= 0.5 and float(np.median(digits)) < 0.5:
        confidence = 0.97 if has_words > 0.8 else 0.8
        return Recognition(
            modality="text", confidence=confidence, format="lines of text", why="lines of words"
        )
    if has_words == 0 and float(np.median(digits)) > 0.5:
        return Recognition(
            modality="metadata",
            confidence=0.7,
            format="lines of numbers",
            why="numbers, of another count from line to line",
        )
    return unsure("words and numbers, neither of them for the most part", "lines")
