"""Sensors known by the size of their readings and how these change: places, clocks, air, hearts."""

import numpy as np

from coeval.recognition.columns import LEAST_ROWS, Array, Columns


def places(found: Columns) -> None:
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


def clocks(found: Columns) -> None:
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


def pressures(found: Columns) -> None:
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


def servos(found: Columns) -> None:
    """Pulse widths of servos and motors: 800 to 2200 µs, several channels."""
    for width in (8, 6, 4, 3):
        for run in found.free(width, kinds=()):
            rows = found.read(run)
            if len(rows) < LEAST_ROWS or any(map(found.is_taken, run)):
                continue
            in_range = bool(((rows >= 800) & (rows <= 2200)).all())
            if in_range and (rows == np.round(rows)).all() and len(np.unique(rows)) > 2:
                found.take(run, "servo outputs", "us", 0.75, "whole numbers of 800 to 2200")


def wheels(found: Columns) -> None:
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


def hearts(found: Columns) -> None:
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


def states(found: Columns) -> None:
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
