"""Lines as a table: which delimiter, whether there is a header, what each column holds."""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

MISSING = frozenset({"", "nan", "na", "null", "none"})
DELIMITERS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar", " ": "blanks"}
DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
MOST_BEFORE = 30
"""Lines before a header that happen to have as many fields."""
FULL_SHARE = 0.95
"""A column is of a kind where so many of its fields are; a table where so many rows fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table."""

    name: str
    """From the header, or `c0`, `c1` …"""
    texts: tuple[str, ...]
    """Its fields."""
    numbers: NDArray[np.float64] | None
    """Its fields as numbers, NaN where missing; None: they are none."""
    is_date: bool
    """Whether its fields are dates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundTable:
    """Lines that are rows."""

    delimiter: str
    """What lies between fields."""
    has_header: bool
    """Whether the first line names the columns."""
    columns: tuple[Column, ...]
    """The columns."""
    share: float
    """Share of lines that have as many fields as most."""

    @property
    def num_rows(self) -> int:
        """Rows of data."""
        return len(self.columns[0].texts)

    @property
    def format(self) -> str:
        """What it is, for people."""
        header = "with" if self.has_header else "no"
        return f"table, {DELIMITERS[self.delimiter]}, {header} header"


def find_table(lines: Sequence[str]) -> FoundTable | None:
    """The table that lines are, by the delimiter that leaves the most numbers; None: they are none.

    Blanks delimit numbers only: sentences of one length are no table.
    """
    best: tuple[float, FoundTable] | None = None
    for delimiter in DELIMITERS:
        table = split(lines, delimiter)
        if table is None:
            continue
        num_numeric = sum(column.numbers is not None or column.is_date for column in table.columns)
        if delimiter == " " and num_numeric < len(table.columns):
            continue
        score = table.share + num_numeric / len(table.columns) + 0.01 * min(len(table.columns), 9)
        if best is None or score > best[0]:
            best = (score, table)
    return None if best is None else best[1]


def split(lines: Sequence[str], delimiter: str) -> FoundTable | None:
    """The table by one delimiter; None where the lines are of too different widths."""
    if delimiter == " ":
        rows = [line.split() for line in lines]
    else:
        try:
            rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
        except csv.Error:
            return None
    if not rows:
        return None
    width, num = Counter(map(len, rows)).most_common(1)[0]
    share = num / len(rows)
    if width < 1 or share < FULL_SHARE:
        return None
    kept = [[field.strip() for field in row] for row in rows if len(row) == width]
    if delimiter in ";\t" and any(DECIMAL_COMMA.fullmatch(field) for field in kept[-1]):
        kept = [
            [f.replace(",", ".") if DECIMAL_COMMA.fullmatch(f) else f for f in row] for row in kept
        ]
    kept = kept[first_row(kept) :]
    has_header = is_header(kept)
    names = unique([name or f"c{k}" for k, name in enumerate(kept[0])]) if has_header else []
    names = names or [f"c{k}" for k in range(width)]
    body = kept[1:] if has_header else kept
    if not body:
        return None
    columns = [column_of(name, tuple(row[k] for row in body)) for k, name in enumerate(names)]
    if width == 1 and columns[0].numbers is None:
        return None
    return FoundTable(
        delimiter=delimiter, has_header=has_header, columns=tuple(columns), share=share
    )


def unique(header: Sequence[str]) -> list[str]:
    """Names, none twice: a later one of the same name gets a number."""
    names: list[str] = []
    for wanted in header:
        name, count = wanted, 2
        while name in names:
            name, count = f"{wanted}_{count}", count + 1
        names.append(name)
    return names


def first_row(rows: Sequence[Sequence[str]]) -> int:
    """Where a table begins: at its header, if what stands before that is no row of readings."""
    for k in range(min(len(rows), MOST_BEFORE)):
        if is_header(rows[k:]):
            return k
        if all(as_number(field) is not None for field in rows[k]):
            return 0
    return 0


def is_header(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names columns: all words, where a later row has numbers."""
    if len(rows) < 2 or any(as_number(field) is not None for field in rows[0]):
        return False
    below = rows[1 : 1 + 20]
    for k, field in enumerate(rows[0]):
        # A column may be without a name: that of row numbers, or an empty one behind the last mark.
        if is_date(field) or (not field and 0 < k < len(rows[0]) - 1):
            return False
    named = [field.lower() for field in rows[0] if field]
    if not named or (
        len(set(named)) < len(named) and not all(as_number(field) is not None for field in rows[1])
    ):
        return False
    numeric = [
        sum(as_number(row[k]) is not None or is_date(row[k]) for row in below)
        for k in range(len(rows[0]))
    ]
    return max(numeric) >= FULL_SHARE * len(below)


def column_of(name: str, texts: tuple[str, ...]) -> Column:
    """A column, and what it holds."""
    found = [as_number(text) for text in texts]
    num = sum(number is not None for number in found)
    num_missing = sum(text.lower() in MISSING for text in texts)
    numbers = None
    if num and num + num_missing >= FULL_SHARE * len(texts):
        numbers = np.array([np.nan if number is None else number for number in found])
    dates = numbers is None and sum(map(is_date, texts)) >= FULL_SHARE * len(texts)
    return Column(name=name, texts=texts, numbers=numbers, is_date=dates)


def as_number(text: str) -> float | None:
    """A field as a number; None where it is none."""
    if text.lower() in MISSING:
        return None
    if text.lower() in ("true", "false"):
        return float(text.lower() == "true")
    try:
        return float(text)
    except ValueError:
        return None


def is_date(text: str) -> bool:
    """Whether a field is an ISO 8601 date with a time."""
    if len(text) < 10 or not text[:4].isdigit():
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
