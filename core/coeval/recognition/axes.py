"""Sensors of three or four axes, known by their length: rotations, accelerations, fields, rates."""

from collections.abc import Sequence

import numpy as np

from coeval.recognition.columns import LEAST_ROWS, Array, Columns

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
MOST_TRIED = 24
CHANCE_SPREAD = 0.1
"""The same where more than so many threes of columns without a name are tried: of a hundred, one
has about that length by chance."""
FIELDS = ((22.0, 70.0, "uT"), (220.0, 700.0, "mG"), (0.22, 0.7, "G"))
FIELD_SPREAD = 0.12
UNIT_NORM = 2e-3
LEAST_JITTER = 0.12
"""Changes from reading to reading against the readings (standard deviations) of rates alone."""
LEAST_CROSSINGS_HZ = 5.0
"""Rates of turn cross their middle at least so often: what turned one way turns back."""


def rotations(found: Columns) -> None:
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


def directions(found: Columns) -> None:
    """Three numbers of length 1: a direction; no accelerometer is that exact."""
    for run in found.free(3, kinds=()):
        rows = found.read(run)
        if len(rows) < LEAST_ROWS or any(map(found.is_taken, run)):
            continue
        if _is_unit(rows) and np.count_nonzero(rows.std(axis=0)) >= 2:
            found.take(run, "direction", "unit vector", 0.9, "three numbers of length 1")


def accelerometers(found: Columns) -> None:
    """Three numbers whose length is gravity, whatever way they lie."""
    candidates: list[tuple[float, tuple[int, ...], str, str]] = []
    runs = list(found.free(3, kinds=("accelerometer",)))
    for run in runs:
        most = CHANCE_SPREAD if len(runs) > MOST_TRIED and not found.named(run) else GRAVITY_SPREAD
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
            if abs(middle / gravity - 1) <= GRAVITY_RANGE and spread <= most:
                why = f"its length is gravity: {middle:.4g} {units}"
                candidates.append((spread, run, units, why))
    _take_steadiest(found, candidates, kind="accelerometer", confidence=0.9)


def _take_steadiest(
    found: Columns,
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


def magnetometers(found: Columns) -> None:
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


def spread_of(values: Array) -> float:
    """Distance of the quartiles."""
    low, high = np.percentile(values, (25, 75))
    return float(high - low)


def gyroscopes(found: Columns) -> None:
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


def _turns_with(found: Columns, run: Sequence[int]) -> bool:
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
    found: Columns, run: Sequence[int], accelerometers: list[list[int]]
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
