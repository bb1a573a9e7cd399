"""Seconds as decimal text to integer nanoseconds and back, without passing through a float.

A float holds an epoch stamp (1.7e9 s) to 238 ns only; text keeps every nanosecond.
"""

import re
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation

import numpy as np

from coeval.errors import BadRecording
from coeval.samples import IntArray
from coeval.time import NS_PER_S

PLAIN_DECIMAL = re.compile(r"(-?)([0-9]+)(?:\.([0-9]{0,9}))?")
LONGEST_NS = 2**62
"""Stamps beyond ±146 years are refused: sums of two must fit 64 bits."""


def to_ns(text: str) -> int:
    """Seconds as text to nanoseconds; digits after the ninth are rounded half to even.

    Raises:
        ValueError: not a number, not finite, or beyond ±146 years.
    """
    plain = PLAIN_DECIMAL.fullmatch(text)
    if plain:
        sign, whole, part = plain.groups()
        t_ns = int(whole) * NS_PER_S
        if part:
            t_ns += int(part.ljust(9, "0"))
        if sign:
            t_ns = -t_ns
    else:
        try:
            seconds = Decimal(text.strip())
        except InvalidOperation:
            raise ValueError(f"{text!r} is no number of seconds") from None
        if not seconds.is_finite() or seconds.adjusted() > 10:
            raise ValueError(f"{text!r} is no usable time")
        t_ns = int((seconds * NS_PER_S).to_integral_value(ROUND_HALF_EVEN))
    if abs(t_ns) >= LONGEST_NS:
        raise ValueError(f"{text!r} is beyond ±146 years; are these milliseconds or nanoseconds?")
    return t_ns


def to_text(t_ns: int) -> str:
    """Nanoseconds to seconds as text, exactly, with the digits it takes (at least one)."""
    whole, part = divmod(abs(t_ns), NS_PER_S)
    digits = f"{part:09d}".rstrip("0") or "0"
    return f"{'-' if t_ns < 0 else ''}{whole}.{digits}"


def seconds_to_ns(seconds: float) -> int:
    """A float of seconds, taken for the decimal text that it prints as, to nanoseconds."""
    return to_ns(repr(float(seconds)))


def parse_column(
    texts: Iterable[str], *, lines: Sequence[int], column: str, where: str
) -> IntArray:
    """A column of stamps to nanoseconds, shape (n,).

    Args:
        texts: seconds as text.
        lines: the line of the file that each stamp stands on, for messages.
        column: its name, for messages.
        where: the file's name, for messages.

    Raises:
        BadRecording: a stamp is no finite number; the message names its line.
    """
    stamps: list[int] = []
    for text in texts:
        try:
            stamps.append(to_ns(text))
        except ValueError as exc:
            line = lines[len(stamps)]
            raise BadRecording(f"{where}, line {line}: column {column!r}: {exc}") from exc
    return np.array(stamps, dtype=np.int64)
