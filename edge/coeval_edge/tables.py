"""CSV files of a recording, read in blocks of rows: stamps exact, bad rows named by line.

A header row and comma-separated fields, UTF-8 (RFC 4180). Memory is bounded by the block.
"""

import csv
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from coeval.errors import BadRecording
from coeval.samples import IntArray
from coeval.time import NS_PER_S
from coeval_edge.stamps import parse_column, to_text
from coeval_edge.unreadable import why_unreadable

ROWS_PER_BLOCK = 4096
LARGEST_READING = 1e100
"""Beyond this a number is no reading, and its square fits no float."""
MISSING = frozenset({"", "nan", "na", "null", "none"})
"""Fields that say a channel has no reading, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Consecutive rows of a CSV file."""

    columns: dict[str, tuple[str, ...]]
    """Fields as text, by column, each of the same length."""
    lines: tuple[int, ...]
    """Line of the file on which each row ends."""
    where: str
    """Name of the file, for messages."""

    def stamps(self, column: str) -> IntArray:
        """A column of seconds in nanoseconds, shape (n,)."""
        texts = self.columns[column]
        return parse_column(texts, lines=self.lines, column=column, where=self.where)

    def numbers(self, column: str) -> NDArray[np.float64]:
        """A column of readings, shape (n,); a missing one (empty, NaN) is NaN.

        Raises:
            BadRecording: a field is no number, or infinite or as good as: such a reading is a
                sensor's way to say something, and only its owner knows what; make it empty.
        """
        texts = self.columns[column]
        try:
            values = np.array(list(map(float, texts)), dtype=np.float64)
        except ValueError:
            values = np.array([self._number(column, row) for row in range(len(texts))])
        infinite = np.flatnonzero(np.abs(values) > LARGEST_READING)
        if len(infinite):
            row = int(infinite[0])
            raise BadRecording(
                f"{self.where}, line {self.lines[row]}: column {column!r} is {texts[row]!r}; "
                "expected a finite number, or an empty field where there is no reading"
            )
        return values

    def only(self, rows: Sequence[int]) -> "Rows":
        """Some of the rows."""
        columns = {name: tuple(texts[row] for row in rows) for name, texts in self.columns.items()}
        return Rows(columns=columns, lines=tuple(self.lines[row] for row in rows), where=self.where)

    def _number(self, column: str, row: int) -> float:
        text = self.columns[column][row]
        if text.strip().lower() in MISSING:
            return math.nan
        try:
            return float(text)
        except ValueError:
            raise BadRecording(
                f"{self.where}, line {self.lines[row]}: column {column!r} holds {text!r}, "
                "which is no number"
            ) from None


class Table:
    """A CSV file whose header has been read and checked."""

    def __init__(self, path: Path, *, where: str, required: Sequence[str]) -> None:
        """Read the header.

        Args:
            path: the file.
            where: its name, for messages.
            required: columns that must be there.

        Raises:
            BadRecording: unreadable, no header, a column missing or named twice.
        """
        self.path, self.where = path, where
        try:
            with self._open() as file:
                header = next(csv.reader(file), [])
        except (OSError, UnicodeDecodeError, csv.Error) as exc:
            raise self._unreadable(exc) from exc
        self.names = tuple(name.strip() for name in header)
        if not any(self.names):
            raise BadRecording(f"{where}: the file is empty; expected a header row")
        for name in required:
            if name not in self.names:
                raise BadRecording(
                    f"{where}: no column {name!r}; the header has {', '.join(self.names)}"
                )
        if len(set(self.names)) < len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise BadRecording(f"{where}: two columns are named {twice!r}; rename one")

    def blocks(self, *, max_rows: int = ROWS_PER_BLOCK) -> Iterator[Rows]:
        """The rows, in blocks; blank lines are skipped.

        Raises:
            BadRecording: a row has more or fewer fields than the header, or is no UTF-8 text.
        """
        with self._open() as file:
            rows = self._rows(file)
            while True:
                try:
                    block = list(itertools.islice(rows, max_rows))
                except (UnicodeDecodeError, csv.Error) as exc:
                    raise self._unreadable(exc) from exc
                if not block:
                    return
                lines, fields = zip(*block, strict=True)
                columns = dict(zip(self.names, zip(*fields, strict=True), strict=True))
                yield Rows(columns=columns, lines=lines, where=self.where)

    def filled_blocks(self) -> Iterator[Rows]:
        """The same of a table that must have a row.

        Raises:
            BadRecording: as `blocks`, or it has none.
        """
        is_empty = True
        for rows in self.blocks():
            is_empty = False
            yield rows
        if is_empty:
            raise BadRecording(
                f"{self.where}: no rows, only a header; an empty stream says nothing"
            )

    def _rows(self, file: TextIO) -> Iterator[tuple[int, list[str]]]:
        width = len(self.names)
        reader = csv.reader(file, strict=True)  # a quote that is never closed is an error
        next(reader)
        for fields in reader:
            if len(fields) == width:
                yield reader.line_num, fields
            elif fields:
                raise BadRecording(
                    f"{self.where}, line {reader.line_num}: {len(fields)} fields, "
                    f"the header has {width}"
                )

    def _open(self) -> TextIO:
        return self.path.open(encoding="utf-8-sig", newline="")

    def _unreadable(self, exc: Exception) -> BadRecording:
        why = why_unreadable(self.path, exc)
        return BadRecording(f"{self.where}: cannot be read as CSV: {why}")


class OrderCheck:
    """Sees that stamps go forwards from block to block."""

    def __init__(self, *, where: str, equal_allowed: bool) -> None:
        self._where, self._equal_allowed = where, equal_allowed
        self._last_ns: int | None = None

    def check(self, t_ns: IntArray, lines: Sequence[int]) -> None:
        """Take the stamps of the next block.

        Raises:
            BadRecording: one goes back, or stands still where it must not; names its line.
        """
        if not len(t_ns):
            return
        first_step = 1 if self._last_ns is None else int(t_ns[0]) - self._last_ns
        steps = np.concatenate([[first_step], np.diff(t_ns)])
        wrong = np.flatnonzero(steps < (0 if self._equal_allowed else 1))
        if len(wrong):
            row = int(wrong[0])
            how = "repeats" if steps[row] == 0 else f"is {-steps[row] / NS_PER_S:g} s before"
            raise BadRecording(
                f"{self._where}, line {lines[row]}: time {to_text(int(t_ns[row]))} {how} the row "
                "before it; sort the file by 't' and keep one row a time"
            )
        self._last_ns = int(t_ns[-1])
