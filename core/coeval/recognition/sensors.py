"""What senses numbers, and in which units, by physics: gravity, the Earth's field, places, norms.

Gravity is 9.81 m/s² or 1 g whatever way a sensor lies; the Earth's field is 25–65 µT; a rotation
has length 1; a place has a latitude and a longitude that move by metres. What has no such mark
stays unsure, unless its column's name says it. Every rule states what speaks for it.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from coeval.recognition.answer import Channel
from coeval.recognition.names import kind_of_name, unit_of_name

Array = NDArray[np.float64]
LEAST_ROWS = 8
"""Fewer readings have no spread to speak of."""
SLOW_HZ = 10.0
"""A vehicle may go at 9.8 m/s for some seconds; what is read more often than this shakes."""
SURE_ROWS = 50
"""Three columns of anything may have one length in a few rows."""
G = 9.80665
GRAVITIES = ((G, "m/s^2"), (1.0, "g"), (1000.0, "mg"))
GRAVITY_RANGE = 0.12
"""The median length of an acceleration is gravity's within this share: scale, bias and motion."""
GRAVITY_SPREAD = 0.5
"""Quartiles of that length lie no further apart than this share: a hand shakes, a car does not."""
FIELDS = ((22.0, 70.0, "uT"), (220.0, 700.0, "mG"), (0.22, 0.7, "G"))
FIELD_SPREAD = 0.12
UNIT_NORM = 2e-3
LEAST_JITTER = 0.12
"""Changes from reading to reading against the readings (standard deviations) of rates alone."""
LEAST_CROSSINGS_HZ = 5.0
"""Rates of turn cross their middle at least so often: what turned one way turns back."""
RAD_PER_DEG = np.pi / 180
NAMED, AGREED = 0.9, 0.97
"""Confidence in a name alone, and in one that physics agrees with."""


def recognise_channels(
    values: Array, *, names: Sequence[str], rate_hz: float | None
) -> tuple[Channel, ...]:
    """What senses each column; a column that nothing is known of is one of kind None.

    Args:
        values: readings, shape (n, C), NaN where missing.
        names: C names; `c0`, `c1` … where there are none.
        rate_hz: readings a second, where known.
    """
    found = _Columns(values, names=names, rate_hz=rate_hz)
    for rule in _RULES:
        rule(found)
    return found.channels()


class _Columns:
    """Columns that rules take away one after the other."""

    def __init__(self, values: Array, *, names: Sequence[str], rate_hz: float | None) -> None:
        self.values, self.names, self.rate_hz = values, list(names), rate_hz
        self.kinds = [None if is_placeholder(name) else kind_of_name(name) for name in names]
        self._taken: dict[int, Channel] = {}

    def free(self, width: int, *, kinds: Sequence[str | None]) -> list[tuple[int, ...]]:
        """Neighbouring columns that nobody took, and whose names say one of these, or nothing."""
        runs = [tuple(range(k, k + width)) for k in range(len(self.names) - width + 1)]
        return [
            run
            for run in runs
            if not any(k in self._taken for k in run)
            and all(self.kinds[k] in (None, *kinds) for k in run)
            # Half-named runs belong to somebody else.
            and len({self.kinds[k] for k in run}) == 1
        ]

    def read(self, run: Sequence[int]) -> Array:
        """The rows in which none of the columns is missing."""
        part = self.values[:, list(run)]
        return part[~np.isnan(part).any(axis=1)]

    def named(self, run: Sequence[int]) -> bool:
        """Whether the names say anything."""
        return self.kinds[run[0]] is not None

    def take(
        self, run: Sequence[int], kind: str, units: str | None, confidence: float, why: str
    ) -> None:
        """Say what columns are."""
        stated = {unit_of_name(self.names[k]) for k in run if not is_placeholder(self.names[k])}
        stated.discard(None)
        if self.named(run):
            confidence, why = max(confidence, AGREED), f"{why}; and its name"
        if len(stated) == 1:
            units = stated.pop()
        channel = Channel(
            columns=tuple(self.names[k] for k in run),
            kind=kind,
            units=units,
            confidence=confidence,
            why=why,
        )
        for k in run:
            self._taken[k] = channel

    def is_taken(self, column: int) -> bool:
        """Whether a column is known."""
        return column in self._taken

    def of_kind(self, kind: str) -> list[list[int]]:
        """The columns of every sensor of a kind found so far."""
        channels = {id(c): c for c in self._taken.values() if c.kind == kind}
        return [[k for k, c in self._taken.items() if c is one] for one in channels.values()]

    def channels(self) -> tuple[Channel, ...]:
        """All columns in order, neighbours of one name's kind together."""
        done: list[Channel] = []
        for k, name in enumerate(self.names):
            channel = self._taken.get(k)
            if channel is None:
                kind, units = self.kinds[k], None
                if not is_placeholder(name):
                    units = unit_of_name(name)
                channel = Channel(
                    columns=(name,),
                    kind=kind,
                    units=units,
                    confidence=0.0 if kind is None else NAMED,
                    why="nothing tells" if kind is None else "its name",
                )
            if channel not in done:
                done.append(channel)
        return tuple(done)


def is_placeholder(name: str) -> bool:
    """Whether a name says nothing: `c3`, `x`, `value` …"""
    plain = name.strip().lower()
    return plain in ("x", "y", "z", "value", "") or (plain[:1] == "c" and plain[1:].isdigit())


def spread_of(values: Array) -> float:
    """Distance of the quartiles."""
    low, high = np.percentile(values, (25, 75))
    return float(high - low)


def _rotations(found: _Columns) -> None:
    """Four numbers of length 1 that change: a quaternion."""
    for run in found.free(4, kinds=("orientation",)):
        rows = found.read(run)
        if len(rows) < LEAST_ROWS or any(map(found.is_taken, run)):
            continue
        norms = np.linalg.norm(rows, axis=1)
        is_alone = not _is_unit(rows[:, :3]) and not _is_unit(rows[:, 1:])
        moves = len(np.unique(rows, axis=0)) > 2 and np.count_nonzero(rows.std(axis=0)) >= 2
        if float(np.percentile(np.abs(norms - 1.0), 95)) < UNIT_NORM and is_alone and moves:
            found.take(run, "orientation", "quaternion", 0.95, "four numbers of length 1")


def _is_unit(rows: Array) -> bool:
    norms = np.linalg.norm(rows, axis=1)
    return float(np.percentile(np.abs(norms - 1.0), 95)) < UNIT_NORM


def _directions(found: _Columns) -> None:
    """Three numbers of length 1: a direction; no accelerometer is that exact."""
    for run in found.free(3, kinds=()):
        rows = found.read(run)
        if len(rows) < LEAST_ROWS or any(map(found.is_taken, run)):
            continue
        if _is_unit(rows) and np.count_nonzero(rows.std(axis=0)) >= 2:
            found.take(run, "direction", "unit vector", 0.9, "three numbers of length 1")


def _accelerometers(found: _Columns) -> None:
    """Three numbers whose length is gravity, whatever way they lie."""
    candidates: list[tuple[float, tuple[int, ...], str, str]] = []
    for run in found.free(3, kinds=("accelerometer",)):
        rows = found.read(run)
        is_slow = found.rate_hz is not None and found.rate_hz < SLOW_HZ and not found.named(run)
        if len(rows) < (SURE_ROWS if is_slow else LEAST_ROWS):
            continue
        lengths = np.linalg.norm(rows, axis=1)
        middle = float(np.median(lengths))
        has_noise = len(np.unique(lengths)) > len(lengths) // 4
        # Three numbers of which one alone has the length may be anything.
        is_one = float(np.median(np.abs(rows).max(axis=1))) > 0.999 * middle
        if not has_noise or (is_one and np.ptp(rows, axis=0).min() == 0):
            continue
        for gravity, units in GRAVITIES:
            spread = spread_of(lengths) / gravity
            if abs(middle / gravity - 1) <= GRAVITY_RANGE and spread <= GRAVITY_SPREAD:
                why = f"its length is gravity: {middle:.4g} {units}"
                candidates.append((spread, run, units, why))
    _take_steadiest(found, candidates, kind="accelerometer", confidence=0.9)


def _take_steadiest(
    found: _Columns,
    candidates: list[tuple[float, tuple[int, ...], str, str]],
    *,
    kind: str,
    confidence: float,
) -> None:
    """Of overlapping runs of columns take those whose length changes least: the others borrow."""
    num = len(found.names)

    def rank(candidate: tuple[float, tuple[int, ...], str, str]) -> float:
        spread, run, _, _ = candidate
        is_aligned = run[0] % 3 == 0 or (num - 1 - run[-1]) % 3 == 0
        return spread if is_aligned else 3 * spread  # axes mostly stand in threes from an end

    for _, run, units, why in sorted(candidates, key=rank):
        if not any(map(found.is_taken, run)):
            found.take(run, kind, units, confidence, why)


def _magnetometers(found: _Columns) -> None:
    """Three numbers whose length is the Earth's field while their direction changes."""
    candidates: list[tuple[float, tuple[int, ...], str, str]] = []
    for run in found.free(3, kinds=("magnetometer",)):
        rows = found.read(run)
        if len(rows) < LEAST_ROWS:
            continue
        lengths = np.linalg.norm(rows, axis=1)
        middle = float(np.median(lengths))
        moved = rows.std(axis=0) / max(middle, 1e-12)
        # All axes see the field turn, and its length hardly changes meanwhile.
        steadiness = float(lengths.std()) / max(middle, 1e-12)
        turns = bool(moved.max() > max(4 * steadiness, 0.15) and moved.min() > 0.03)
        turns = turns and len(rows) >= SURE_ROWS
        if not turns and not found.named(run):
            continue
        for low, high, units in FIELDS:
            spread = spread_of(lengths) / max(middle, 1e-12)
            is_whole = np.count_nonzero(rows.std(axis=0)) == 3
            if low <= middle <= high and spread <= FIELD_SPREAD and is_whole:
                why = f"its length is the Earth's field: {middle:.3g} {units}"
                candidates.append((spread, run, units, why))
    _take_steadiest(found, candidates, kind="magnetometer", confidence=0.8)


def _gyroscopes(found: _Columns) -> None:
    """Three numbers around 0 beside an accelerometer, or that jitter as rates of turn do."""
    accelerometers = found.of_kind("accelerometer")
    for run in found.free(3, kinds=("gyroscope",)):
        rows = found.read(run)
        if len(rows) < LEAST_ROWS or any(map(found.is_taken, run)):
            continue
        beside = any(abs(run[0] - other[0]) == 3 for other in accelerometers)
        # In a wide table three columns that look like it are found by chance.
        is_whole = len(found.free(1, kinds=("gyroscope",))) == 3
        if not (found.named(run) or beside or is_whole or _turns_with(found, run)):
            continue
        if not found.named(run) and not _turns_like(
            rows, rate_hz=found.rate_hz, is_beside=beside or _turns_with(found, run)
        ):
            continue
        units, why = _unit_of_turns(found, run, accelerometers)
        confidence = 0.85 if beside else 0.65
        found.take(run, "gyroscope", units, confidence, f"three rates around 0{why}")


def _turns_with(found: _Columns, run: Sequence[int]) -> bool:
    """Whether an orientation among the columns turns as these say."""
    return found.rate_hz is not None and any(
        _turn_ratio(found.values[:, list(run)], found.values[:, other], found.rate_hz) is not None
        for other in found.of_kind("orientation")
    )


def _turns_like(rows: Array, *, rate_hz: float | None, is_beside: bool) -> bool:
    """Whether three columns are rates of turn: around 0 all along, quick, each its own, no steps.

    `is_beside`: an accelerometer or an orientation stands beside them.
    """
    if rate_hz is None or rate_hz < 20 or len(rows) < 3 * LEAST_ROWS:
        return False
    spread = rows.std(axis=0)
    if spread.min() <= 0 or spread.max() > 50 * spread.min():
        return False
    is_around_0 = bool((np.abs(np.median(rows, axis=0)) <= 1.5 * spread + 0.05).all())
    jitters = np.diff(rows, axis=0).std(axis=0) / spread
    changes = (np.diff(rows, axis=0) != 0).mean()
    if not is_around_0 or (jitters < 0.02).any() or changes <= 0.5:
        return False
    if is_beside:
        return True
    # What drifts is a position; what only one thing moves is no set of axes.
    above = rows > np.median(rows, axis=0)
    crossings_per_s = (above[1:] != above[:-1]).mean(axis=0) * rate_hz
    alike = np.abs(np.corrcoef(rows.T) - np.eye(3)).max()
    is_quick = float(np.median(crossings_per_s)) >= LEAST_CROSSINGS_HZ
    is_quick = is_quick and float(np.median(jitters)) >= LEAST_JITTER
    return is_quick and float(crossings_per_s.min()) >= 0.4 * LEAST_CROSSINGS_HZ and alike < 0.98


def _unit_of_turns(
    found: _Columns, run: Sequence[int], accelerometers: list[list[int]]
) -> tuple[str | None, str]:
    """rad/s or deg/s: by how fast gravity's direction turns, by a quaternion, or by size."""
    rate_hz = found.rate_hz
    rates = found.values[:, list(run)]
    if rate_hz is not None:
        for rotation in found.of_kind("orientation"):
            ratio = _turn_ratio(rates, found.values[:, rotation], rate_hz)
            if ratio is not None:
                return ("rad/s" if ratio > 0.13 else "deg/s"), ", as the orientation beside it says"
    sizes = np.linalg.norm(rates[~np.isnan(rates).any(axis=1)], axis=1)
    high = float(np.percentile(sizes, 95))
    if high > 35:  # 2000 deg/s is where gyroscopes end
        return "deg/s", ", too large for rad/s"
    if rate_hz is not None:
        for gravity in accelerometers:
            ratio = _gravity_ratio(rates, found.values[:, gravity], rate_hz)
            if ratio is not None:
                return ("rad/s" if ratio > 0.13 else "deg/s"), ", as gravity's turning says"
    noise = float(np.median(np.abs(np.diff(rates, axis=0)))) if len(rates) > 1 else 0.0
    if high < 0.5 or noise < 0.004:  # deg/s of a hand, a car, or a sensor's own noise are larger
        return "rad/s", ", too small for deg/s"
    return None, ", in an unknown unit"


def _turn_ratio(rates: Array, turns: Array, rate_hz: float) -> float | None:
    """How fast a quaternion turns against the rates; about 1 in rad/s; None: it does not turn."""
    step = max(round(rate_hz / 10), 1)
    q = turns[::step]
    dots = np.abs((q[1:] * q[:-1]).sum(axis=1)).clip(0, 1)
    angles = 2 * np.arccos(dots) * rate_hz / step
    means = np.array([rates[k : k + step].mean(axis=0) for k in range(0, len(rates), step)])
    sizes = np.linalg.norm(means[: len(angles)], axis=1)
    return _ratio(angles[: len(sizes)], sizes)


def _gravity_ratio(rates: Array, felt: Array, rate_hz: float) -> float | None:
    """The same by the direction of a smoothed acceleration; motion disturbs it, a little."""
    step = max(round(rate_hz / 2), 2)
    num = len(felt) // step
    if num < 4:
        return None
    mean = felt[: num * step].reshape(num, step, 3).mean(axis=1)
    down = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    angles = np.arccos((down[1:] * down[:-1]).sum(axis=1).clip(-1, 1)) * rate_hz / step
    turned = rates[: num * step].reshape(num, step, 3).mean(axis=1)
    between = 0.5 * (turned[1:] + turned[:-1])
    middle = down[1:] + down[:-1]
    middle /= np.maximum(np.linalg.norm(middle, axis=1, keepdims=True), 1e-9)
    across = np.linalg.norm(np.cross(between, middle), axis=1)
    return _ratio(angles, across)


def _ratio(angles: Array, sizes: Array) -> float | None:
    """Slope of angles by sizes where they go together; None where nothing turns."""
    good = np.isfinite(angles) & np.isfinite(sizes)
    angles, sizes = angles[good], sizes[good]
    if len(angles) < 4 or float(np.percentile(angles, 90)) < 0.05 or sizes.std() < 1e-9:
        return None
    if angles.std() < 1e-9 or float(np.corrcoef(angles, sizes)[0, 1]) < 0.5:
        return None
    return float((angles * sizes).sum() / (sizes * sizes).sum())


def _places(found: _Columns) -> None:
    """Two numbers in the ranges of latitude and longitude that move by metres, in fine steps."""
    names = [found.kinds[k] for k in range(len(found.names))]
    for k in range(len(names) - 1):
        run = (k, k + 1)
        is_named = names[k] == "latitude" and names[k + 1] == "longitude"
        if not is_named and (names[k] or names[k + 1] or any(map(found.is_taken, run))):
            continue
        rows = found.read(run)
        if len(rows) < (1 if is_named else LEAST_ROWS):
            continue
        units, scale = "deg", 1.0
        if (rows == np.round(rows)).all() and np.abs(rows).max() > 1000:
            units, scale = "1e-7 deg", 1e-7
        degrees = rows * scale
        in_range = bool((np.abs(degrees) <= (90.0, 180.0)).all())
        if not in_range or (not is_named and not _moves_like_a_place(degrees, found.rate_hz)):
            continue
        if is_named:
            found.kinds[k] = found.kinds[k + 1] = "position"
        found.take(run, "position", units, 0.85, "latitude and longitude, moving by metres")


def _moves_like_a_place(degrees: Array, rate_hz: float | None) -> bool:
    span = np.ptp(degrees, axis=0)
    if (np.abs(np.median(degrees, axis=0)) < 0.5).any() or span.max() <= 0 or span.max() > 0.5:
        return False
    if (span > 0.02 * np.abs(np.median(degrees, axis=0))).any():
        return False
    if rate_hz is not None and rate_hz > 50:
        return False
    fine = [_step_of(degrees[:, k]) for k in (0, 1)]
    return all(step is None or step <= 1.01e-4 for step in fine)


def _step_of(values: Array) -> float | None:
    """The least difference between readings; None: they are all the same."""
    steps = np.diff(np.unique(values))
    return float(steps.min()) if len(steps) else None


def _clocks(found: _Columns) -> None:
    """Columns that count or tell time themselves."""
    for (k,) in found.free(1, kinds=()):
        values = found.read((k,))[:, 0]
        if len(values) < LEAST_ROWS:
            continue
        steps = np.diff(values)
        is_whole = bool((values == np.round(values)).all())
        first = abs(float(values[0]))
        if is_whole and (steps == 1).all():
            found.take((k,), "counter", "1", 0.9, "whole numbers, each one more than the last")
        elif (steps >= 0).all() and (steps > 0).mean() > 0.5:
            for unit, low, high in (
                ("s", 9e8, 2.9e9),
                ("ms", 9e11, 2.9e12),
                ("us", 9e14, 2.9e15),
                ("ns", 9e17, 2.9e18),
            ):
                if low <= first <= high:
                    found.take((k,), "clock", unit, 0.9, "seconds since 1970, going on")
            if not found.is_taken(k) and k and found.values[0, k - 1] in range(1000, 3000):
                weeks = found.read((k - 1,))[:, 0]
                if (weeks == weeks[0]).all() and 0 <= first < 604_800:
                    found.take((k,), "clock", "s", 0.8, "seconds of a GPS week, going on")


def _pressures(found: _Columns) -> None:
    """The air's pressure: the right size, and hardly moving."""
    for (k,) in found.free(1, kinds=("pressure",)):
        values = found.read((k,))[:, 0]
        if len(values) < LEAST_ROWS or np.ptp(values) <= 0:
            continue
        middle = float(np.median(values))
        for low, high, units in ((880.0, 1085.0, "hPa"), (88_000.0, 108_500.0, "Pa")):
            is_fine = (values != np.round(values)).any() or units == "Pa"
            if low <= middle <= high and np.ptp(values) < 0.02 * middle and is_fine:
                found.take((k,), "pressure", units, 0.6, f"about {middle:.0f} {units}, steady")


def _servos(found: _Columns) -> None:
    """Pulse widths of servos and motors: 800 to 2200 µs, several channels."""
    for width in (8, 6, 4, 3):
        for run in found.free(width, kinds=()):
            rows = found.read(run)
            if len(rows) < LEAST_ROWS or any(map(found.is_taken, run)):
                continue
            in_range = bool(((rows >= 800) & (rows <= 2200)).all())
            if in_range and (rows == np.round(rows)).all() and len(np.unique(rows)) > 2:
                found.take(run, "servo outputs", "us", 0.75, "whole numbers of 800 to 2200")


def _wheels(found: _Columns) -> None:
    """Several columns that read the same thing but for a little: a vehicle's wheels."""
    for run in found.free(4, kinds=("wheel speed",)):
        rows = found.read(run)
        if len(rows) < LEAST_ROWS or any(map(found.is_taken, run)):
            continue
        middle = np.median(rows, axis=1)
        scale = float(np.percentile(np.abs(middle), 90))
        off = float(np.percentile(np.abs(rows - middle[:, None]), 90))
        if scale > 0 and (rows >= 0).all() and 0 < off < 0.1 * scale and np.ptp(middle) > off:
            why = "four readings of nearly the same number"
            found.take(run, "wheel speeds", None, 0.6, why)


def _hearts(found: _Columns) -> None:
    """An electrocardiogram: sharp spikes that come 0.4 to 1.5 s apart."""
    rate_hz = found.rate_hz
    if rate_hz is None or not 90 <= rate_hz <= 2000:
        return
    for (k,) in found.free(1, kinds=("ECG",)):
        values = found.read((k,))[:, 0]
        if len(values) < 3 * rate_hz or values.std() <= 0:
            continue
        slope = np.diff(values) ** 2
        width = max(round(0.08 * rate_hz), 1)
        power = np.convolve(slope, np.ones(width) / width, "same")
        # The heart's spike lasts 60 to 120 ms, the pause between two at least three times as long.
        is_spiky = float((power > 0.1 * np.percentile(power, 99)).mean()) < 0.3
        centred = values - np.median(values)
        is_sharp = float((centred**4).mean() / (centred**2).mean() ** 2) > 6.0
        is_sharp = is_sharp and abs(float((centred**3).mean())) > 1.5 * float(centred.std()) ** 3
        power = power - power.mean()
        size = 1 << (2 * len(power)).bit_length()
        spectrum = np.fft.rfft(power, size)
        echo = np.fft.irfft(np.abs(spectrum) ** 2, size)[: len(power)]
        low, high = round(0.4 * rate_hz), min(round(1.5 * rate_hz), len(echo) - 1)
        if is_spiky and is_sharp and float(echo[low:high].max() / echo[0]) > 0.5:
            found.take((k,), "ECG", None, 0.7, "spikes that come back every 0.4 to 1.5 s")


def _states(found: _Columns) -> None:
    """A few whole numbers that hold for long: a state."""
    for (k,) in found.free(1, kinds=()):
        values = found.read((k,))[:, 0]
        if len(values) < 2 * LEAST_ROWS:
            continue
        distinct = np.unique(values)
        holds = float((np.diff(values) == 0).mean())
        is_whole = bool((values == np.round(values)).all()) and np.abs(values).max() < 256
        if is_whole and 2 <= len(distinct) <= 6 and holds > 0.8:
            found.take((k,), "state", "1", 0.6, f"{len(distinct)} whole numbers that hold")


_RULES: tuple[Callable[[_Columns], None], ...] = (
    _clocks,
    _places,
    _rotations,
    _directions,
    _accelerometers,
    _servos,
    _magnetometers,
    _gyroscopes,
    _wheels,
    _pressures,
    _hearts,
    _states,
)
"""The surest first: what one takes, the next ones do not see."""
