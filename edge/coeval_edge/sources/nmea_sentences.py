"""What the sentences of a GNSS receiver say, as pynmea2 reads them: fixes with their own second.

In: a line of NMEA 0183. Out: a fix (RMC), an altitude (GGA), or the name of what is wrong with it.
"""

import datetime
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from coeval.time import NS_PER_S
from coeval_edge.sources.errors import SourceUnfit

KNOT_MPS = 1852.0 / 3600.0
SECONDS_OF_WEEK = 7 * 86_400
ROLLOVER_WEEKS = 1024
"""A receiver counts weeks of GPS in ten bits; one that has forgotten how often they ran over tells
a date that is so many weeks ago (or twice that)."""
EARLIEST = datetime.date(2026, 1, 1)
"""This program was not there before: an earlier date is a wrong one."""
LATEST = datetime.date(2066, 1, 1)

Problem = Literal["checksum", "garbage", "unused", "broken", "leap_second"]
"""checksum: it does not fit. garbage: no sentence. unused: a sentence of another kind. broken: a
field is no number. leap_second: it names second 60, which UTC in ns has no place for."""

TIME = re.compile(r"(\d\d)(\d\d)(\d\d)(?:\.(\d{1,9}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fix:
    """A sentence RMC: where the receiver was, and when."""

    t_utc_ns: int
    """Its own instant of UTC, by the date it tells."""
    has_fix: bool
    """Whether the receiver computed it from satellites (status A, not estimated)."""
    has_date: bool
    """Whether the date can be, after rollovers were added."""
    latitude_deg: float
    longitude_deg: float
    speed_mps: float
    course_deg: float
    """Clockwise from north; NaN where it stands still and knows none."""

    @property
    def whole_second_ns(self) -> int | None:
        """The second of UTC that it can name a pulse with; None where it cannot be believed, or
        its instant is not a whole second."""
        can_name = self.has_fix and self.has_date and self.t_utc_ns % NS_PER_S == 0
        return self.t_utc_ns if can_name else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Altitude:
    """A sentence GGA."""

    altitude_m: float
    """Above mean sea level; NaN where it knows none."""


def parse_sentence(line: str, *, rollovers: int = 0) -> Fix | Altitude | Problem | None:
    """One line; None where the receiver has nothing to tell (no time yet).

    Args:
        line: without its end.
        rollovers: how many times 1024 weeks to add to its dates.

    Raises:
        SourceUnfit: pynmea2 is not installed.
    """
    try:
        import pynmea2
    except ImportError as exc:
        raise SourceUnfit(
            "GNSS receivers need pynmea2; install it with: pip install 'coeval[nmea]'"
        ) from exc
    start = line.rfind("$")  # a line that was cut by another's beginning
    try:
        said = pynmea2.parse(line[start:] if start >= 0 else line, check=True)
    except pynmea2.ChecksumError:
        return "checksum"
    except pynmea2.SentenceTypeError:
        return "unused"
    except (pynmea2.ParseError, ValueError):
        return "garbage"
    try:
        match said.sentence_type if isinstance(said, pynmea2.TalkerSentence) else None:
            case "RMC":
                return read_fix(said, rollovers=rollovers)
            case "GGA":
                return Altitude(altitude_m=number(said.altitude))
            case _:
                return "unused"
    except (ValueError, TypeError, ArithmeticError, AttributeError, IndexError):
        return "broken"


def read_fix(said: Any, *, rollovers: int) -> Fix | Problem | None:
    """A sentence RMC.

    Raises:
        ValueError: a field is no number, no time or no date.
    """
    time_text, date_text = said.data[0], said.data[8]
    if not time_text or not date_text:
        return None
    clock = TIME.fullmatch(time_text)
    if clock is None:
        raise ValueError(f"no time: {time_text!r}")
    hour, minute, second = (int(part) for part in clock.groups()[:3])
    if (minute, second) == (59, 60):
        return "leap_second"
    part_ns = int((clock[4] or "").ljust(9, "0"))
    date = datetime.datetime.strptime(date_text, "%d%m%y").date()
    day = datetime.datetime.combine(date, datetime.time(hour, minute, second), datetime.UTC)
    seconds = int(day.timestamp()) + rollovers * ROLLOVER_WEEKS * SECONDS_OF_WEEK
    date = datetime.datetime.fromtimestamp(seconds, datetime.UTC).date()
    mode = said.data[11] if len(said.data) > 11 else "A"
    has_fix = said.status == "A" and mode not in ("N", "E", "S", "M")
    return Fix(
        t_utc_ns=seconds * NS_PER_S + part_ns,
        has_fix=has_fix,
        has_date=EARLIEST <= date < LATEST,
        latitude_deg=said.latitude if has_fix else math.nan,
        longitude_deg=said.longitude if has_fix else math.nan,
        speed_mps=number(said.spd_over_grnd) * KNOT_MPS,
        course_deg=number(said.true_course),
    )


def number(value: float | str | None) -> float:
    """A field; NaN where it is empty.

    Raises:
        ValueError: it is no finite number.
    """
    if value is None or value == "":
        return math.nan
    found = float(value)
    if not math.isfinite(found):
        raise ValueError(f"no number: {value!r}")
    return found
