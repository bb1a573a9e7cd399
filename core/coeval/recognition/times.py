"""Which column says when, and in which unit."""

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from coeval.recognition.answer import TimeColumn
from coeval.recognition.names import is_time_name, unit_in_name
from coeval.recognition.table import Column, is_date

EPOCHS = ((1e18, "ns", 1e9), (1e15, "us", 1e6), (1e12, "ms", 1e3), (9e8, "s", 1.0))
"""Least stamp since 1970 in a unit, and units in a second: from 1998 to 2066 none is another's."""
LATEST = 3.1
"""Times the least: 2066."""
METER_STEPS_S = (15, 30, 60, 300, 600, 900, 1800, 3600)
"""Whole numbers that go on by one of these, always the same, may be seconds as well."""
PER_S = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
RATES_HZ = (0.02, 5000.0)
"""A sensor read more seldom or more often than this is one whose unit was taken for another."""


def find_time(columns: Sequence[Column]) -> TimeColumn | None:
    """The column of time; None where none is surely one.

    A name that says so decides; else a column that never goes back and is not a plain count, the
    leftmost first.
    """
    for column in columns:
        if is_time_name(column.name) and (column.is_date or column.numbers is not None):
            return described(column)
    for column in columns:
        if column.is_date:
            return described(column)
    for place, column in enumerate(columns[:3]):
        if column.numbers is not None and looks_like_time(column.numbers, is_first=place == 0):
            return described(column)
    return None


def looks_like_time(values: NDArray[np.float64], *, is_first: bool) -> bool:
    """Whether readings never go back, and, where they do not come first, go on by like steps."""
    if len(values) < 2 or np.isnan(values).any():
        return False
    steps = np.diff(values)
    if (steps < 0).any() or not (steps > 0).any():
        return False
    going = steps[steps > 0]
    is_count = bool((values == np.round(values)).all() and (steps == 1).all())
    if is_count or len(going) < 0.5 * len(steps):
        return False
    # A level that happens to rise has steps of all sizes.
    spread = float(np.percentile(going, 90) / max(np.percentile(going, 10), 1e-12))
    return is_first or spread < 20


def described(column: Column) -> TimeColumn:
    """A column of time with its unit and rate."""
    if column.is_date:
        rate_hz = rate_of(np.array([date_s(text) for text in column.texts if is_date(text)]))
        return TimeColumn(column=column.name, unit="date", rate_hz=rate_hz)
    assert column.numbers is not None
    unit = unit_in_name(column.name) or unit_of(column.numbers)
    rate_hz = None if unit is None else rate_of(column.numbers / PER_S[unit])
    return TimeColumn(column=column.name, unit=unit, rate_hz=rate_hz)


def rate_of(seconds: NDArray[np.float64]) -> float | None:
    """Median rate of stamps, Hz; None where they do not go on."""
    steps = np.diff(seconds)
    going = steps[steps > 0]
    return 1.0 / float(np.median(going)) if len(going) else None


def date_s(text: str) -> float:
    """A date as seconds since 1970; one without a zone counts as UTC, as for a rate is enough."""
    date = datetime.fromisoformat(text)
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def unit_of(values: NDArray[np.float64]) -> str | None:
    """The unit of stamps by their size, or by what rate they would mean; None: unclear."""
    first = abs(float(values[0]))
    for least, unit, _ in EPOCHS:
        if least <= first < LATEST * least:
            return unit
    steps = np.diff(values)
    going = steps[steps > 0]
    if not len(going):
        return None
    step = float(np.median(going))
    if (values != np.round(values)).any():
        # Fractions are seconds, unless they are far too large to be.
        return "s" if step <= 1.0 / RATES_HZ[0] else "ms" if step < 1e5 else None
    # Whole numbers: seconds, where they go on by one; else the coarsest unit of a usual rate.
    if step <= 1:
        return "s"
    if step in METER_STEPS_S and (going == step).all():
        return None  # a meter read every minute, or something every 60 ms
    for unit in ("ms", "us", "ns"):
        rate_hz = PER_S[unit] / step
        if 0.5 <= rate_hz <= RATES_HZ[1]:
            return unit
    return None


def seconds_of(column: Column, unit: str | None) -> NDArray[np.float64] | None:
    """A numeric column of time in seconds; None where it cannot be."""
    if column.numbers is None or unit not in PER_S:
        return None
    return column.numbers / PER_S[unit]
