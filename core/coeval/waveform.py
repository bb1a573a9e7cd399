"""Sample-accurate lag of two sounds, once embeddings have said where to look.

Generalised cross-correlation with phase transform (GCC-PHAT; Knapp and Carter 1976) of
windows, each taken along the line found so far; the windows' correlations are summed along all
lines near it (as `line` does with embeddings), first at 4 kHz, then at 16 kHz.
Sign: lag of the second sound's clock against the first; positive: the second is fast.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.jumps import lag_at
from coeval.lag import good_fft_size
from coeval.line import LagGrid, LineFit, Surface, fit_peak, search_lines
from coeval.samples import AudioBlock, FloatArray
from coeval.time import NS_PER_S

FLOOR_NS = 5e2
"""No lag is claimed to better than 0.5 µs (1 σ)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One pass of the refinement."""

    rate_hz: float
    """Rate at which windows are compared."""
    window_s: float
    """Length of a window; shorter where the material is, so that there are LEAST_SPLIT of them."""
    reach_s: float
    """Lags searched on both sides of the line."""
    skew_sigmas: float
    """Skews searched, in standard deviations of the line's skew."""
    oversampling: int
    """Lags per sample."""
    least_skew_ppm: float
    """Skews searched at least, however sure the line is of its own."""
    least_z: float
    """How far the summed correlation must stand out of its own noise to be believed."""


LOWEST_HZ = 80.0
SILENCE = 1e-5
"""Below −100 dB of full scale there is nothing to compare."""

SEARCH_RATE_HZ = 4_000
SEARCH_WINDOW_S = 5
SEARCH_WINDOWS = 8
CHANCE_Z = 5.5
"""Half a million lags of noise reach about 5.2 standard deviations."""
CERTAIN_Z = 30.0
"""More than this is as good as certain: no single window outvotes all others."""
SCORED = 1e-4
"""Marks lags that were looked at: a score of exactly 0 means that there was nothing to compare."""
AROUND = 41
"""Lags on the coarse grid that tell how far chance reaches: one second."""

HEARD_WINDOWS = 4
"""Fewer windows with sound in them are no evidence that two sounds share nothing."""
NOTHING_SHARED_NATS = 6.0
"""Two sounds of one scene, both with reverberation and 0 dB of noise, reached 15 or more, sounds of
different scenes 4.3 at most (training recordings, 2026-11-25)."""

STAGES = (
    Stage(
        rate_hz=4_000,
        window_s=2.0,
        reach_s=0.12,
        skew_sigmas=3.0,
        oversampling=1,
        least_skew_ppm=300.0,
        least_z=8.0,
    ),
    Stage(
        rate_hz=16_000,
        window_s=4.0,
        reach_s=0.003,
        skew_sigmas=4.0,
        oversampling=4,
        least_skew_ppm=2.0,
        least_z=6.0,
    ),
)
MOST_WINDOWS = 48
PEAK_REACH_STEPS = 16
"""A window's own peak is looked for this near the line: 0.25 ms in the last stage."""
LEAST_WINDOW_Z = 5.0
"""A window whose peak stands out less says nothing of its own."""
LEAST_SPLIT = 6
"""Windows that short material is cut into: their scatter says how far they can be believed …"""
SHORTEST_SHARE = 0.25
"""… but none is shorter than this share of a stage's window."""
LEAST_WINDOWS = 3
FEW_WINDOWS_STEPS = 4.0
"""Fewer windows show no scatter: the line is then good to a sample or so (1 σ) and no more."""
STUDENT = (6.48, 2.20, 1.62, 1.42, 1.31, 1.25, 1.21, 1.18)
"""95% point of Student's distribution over the normal one's, by degrees of freedom from 1; then
about 1 + 1.4 / degrees."""


def refine_by_waveform(
    a: Sequence[AudioBlock],
    b: Sequence[AudioBlock],
    line: LineFit,
    *,
    start_ns: float,
    stop_ns: float,
) -> LineFit | None:
    """Sharpen a line by the sounds themselves.

    Args:
        a: the first node's sound, pieces in time order.
        b: the second node's.
        line: lag of the second clock against the first, good to some 50 ms.
        start_ns: begin of the span, on the first clock.
        stop_ns: end of the span.

    Returns:
        The sharper line, as sharp as the stages that found it; None where the two sounds do not
        share a waveform.
    """
    start = max(start_ns, float(a[0].t_node_ns), b[0].t_node_ns - line.lag_ns)
    stop = min(stop_ns, end_ns(a[-1]), end_ns(b[-1]) - line.lag_ns)
    found: LineFit | None = None
    for stage in STAGES:
        sharper = refine_once(a, b, found or line, stage, start_ns=start, stop_ns=stop)
        if sharper is None:
            break
        found = sharper
    return found


def sound_surface(
    a: Sequence[AudioBlock], b: Sequence[AudioBlock], *, grid: LagGrid
) -> Surface | None:
    """Scores of two sounds themselves on a coarse lag grid, where embeddings do not decide.

    Returns:
        Nats for a few windows spread over the first sound; None where they would all be silent.
    """
    window_ns = SEARCH_WINDOW_S * NS_PER_S
    start, stop = float(a[0].t_node_ns), end_ns(a[-1])
    num_windows = min(int((stop - start) // window_ns), SEARCH_WINDOWS)
    if num_windows < 1:
        return None
    starts = np.linspace(start, stop - window_ns, num_windows)
    num = round(SEARCH_WINDOW_S * SEARCH_RATE_HZ)
    step = round(grid.step_ns * SEARCH_RATE_HZ / NS_PER_S)
    reach = step * grid.num_lags
    times = np.arange(num + reach) * (NS_PER_S / SEARCH_RATE_HZ)
    taper = np.hanning(num)  # the edge of a window would match the end of the other sound
    scores = np.zeros((num_windows, grid.num_lags), np.float32)
    for k, begin in enumerate(starts):
        sound_a = sound_at(a, begin + times[:num], rate_hz=SEARCH_RATE_HZ)
        before_ns = begin + grid.lowest_ns - 0.5 * grid.step_ns
        sound_b = sound_at(b, before_ns + times, rate_hz=SEARCH_RATE_HZ)
        correlation = flat_correlation(
            sound_a * taper, sound_b, rate_hz=SEARCH_RATE_HZ, oversampling=1
        )
        if correlation is None:
            continue
        around = correlation[:reach].reshape(grid.num_lags, step)
        # Where the other sound is loud chance reaches farther: each lag against those around it.
        power = np.convolve((around**2).mean(axis=1), np.full(AROUND, 1.0 / AROUND), mode="same")
        standing = np.abs(around).max(axis=1) / np.sqrt(np.maximum(power, 0.25))
        # Noise alone reaches CHANCE_Z somewhere; what stands out more is evidence.
        scores[k] = 0.5 * np.clip(standing - CHANCE_Z, 0.0, CERTAIN_Z) ** 2 + SCORED * standing
    if not scores.any():
        return None
    return Surface(mids_ns=starts + 0.5 * window_ns, length_ns=window_ns, scores=scores)


def share_nothing(surface: Surface) -> bool:
    """Whether `sound_surface` is evidence against the two sounds being of one scene.

    Enough windows held sound, and nowhere within the lags searched did any of them stand out.
    """
    is_heard = surface.scores.any(axis=1)
    return int(is_heard.sum()) >= HEARD_WINDOWS and bool(
        surface.scores.sum(axis=0).max() < NOTHING_SHARED_NATS
    )


def refine_once(
    a: Sequence[AudioBlock],
    b: Sequence[AudioBlock],
    line: LineFit,
    stage: Stage,
    *,
    start_ns: float,
    stop_ns: float,
) -> LineFit | None:
    """One pass at one rate; None where no lag stands out."""
    room = stop_ns - start_ns
    window_s = min(
        stage.window_s, max(room / NS_PER_S / LEAST_SPLIT, SHORTEST_SHARE * stage.window_s)
    )
    window_ns = window_s * NS_PER_S
    num_windows = min(int(room / window_ns * (1 + 1e-9)), MOST_WINDOWS)
    if num_windows < 1:
        return None
    spacing = (room - window_ns) / num_windows
    starts = start_ns + spacing * (np.arange(num_windows) + 0.5)
    reach = round(stage.reach_s * stage.rate_hz) * stage.oversampling
    curves = [phat(a, b, line, stage, start, reach, window_s=window_s) for start in starts]
    usable = [k for k, curve in enumerate(curves) if curve is not None]
    if not usable:
        return None
    mids = starts[usable] + 0.5 * window_ns
    step_ns = round(NS_PER_S / stage.rate_hz / stage.oversampling)
    grid = LagGrid(lowest_ns=-reach * step_ns, step_ns=step_ns, num_lags=2 * reach + 1)
    scores = np.stack([curve for curve in curves if curve is not None])
    span_s = max((mids[-1] - mids[0]) * 1e-9, window_s)
    half_range = stage.skew_sigmas * float(np.sqrt(line.covariance[1, 1])) + stage.least_skew_ppm
    middle = float(0.5 * (start_ns + stop_ns))
    surface = Surface(mids_ns=mids, length_ns=window_ns, scores=scores)
    search = search_lines(
        [surface], grid, t_mid_ns=middle, span_s=span_s, largest_skew_ppm=min(half_range, 1000.0)
    )
    fit = fit_peak(search, grid)
    if fit is None or fit.z < stage.least_z:
        return None
    offset_ns, skew_ppm, covariance = regress_windows(surface, grid, fit, before=line)
    return LineFit(
        t_mid_ns=middle,
        lag_ns=lag_at(line, middle) + offset_ns,
        skew_ppm=line.skew_ppm + skew_ppm,
        covariance=covariance,
        peak=fit.peak,
        z=fit.z,
        margin=fit.margin,
        lags_tried=fit.lags_tried,
    )


def regress_windows(
    surface: Surface, grid: LagGrid, fit: LineFit, *, before: LineFit
) -> tuple[float, float, NDArray[np.float64]]:
    """Line through the windows' own peaks near a line, weighted by their height.

    The scatter of the peaks gives the covariance: it is what the sounds really allow.

    Args:
        surface: scores of the windows.
        grid: their lags.
        fit: the line near which peaks are sought.
        before: what was known of the lag and skew that the surface's lags are counted from.

    Returns:
        Lag at the fit's instant (ns), skew (ppm), covariance of the two.
    """
    since_mid_s = (surface.mids_ns - fit.t_mid_ns) * 1e-9
    expected = (fit.lag_ns + fit.skew_ppm * 1e3 * since_mid_s - grid.lowest_ns) / grid.step_ns
    peaks, heights, times = [], [], []
    for curve, at, t in zip(surface.scores, expected, since_mid_s, strict=True):
        low = max(round(at) - PEAK_REACH_STEPS, 1)
        near = curve[low : round(at) + PEAK_REACH_STEPS + 1]
        if len(near) < 3:
            continue
        k = low + int(near.argmax())
        if k + 1 >= len(curve):
            continue
        left, top, right = (float(value) for value in curve[k - 1 : k + 2])
        bend = 2 * top - left - right
        if bend <= 0 or top < LEAST_WINDOW_Z:
            continue
        peaks.append(grid.at(k + np.clip(0.5 * (right - left) / bend, -0.5, 0.5)))
        heights.append(top)
        times.append(t)
    if len(peaks) < LEAST_WINDOWS:
        good_to_ns = FEW_WINDOWS_STEPS * grid.step_ns
        return fit.lag_ns, 0.0, np.diag([good_to_ns**2, before.covariance[1, 1]])
    y, t, weights = np.array(peaks), np.array(times), np.array(heights) ** 2
    design = np.stack([np.ones(len(t)), t * 1e3], axis=1)
    robust = np.ones(len(y))
    solution = np.array([fit.lag_ns, fit.skew_ppm])
    residual = np.zeros(len(y))
    for _ in range(8):
        w = weights * robust
        solution = np.linalg.solve((design.T * w) @ design, (design.T * w) @ y)
        residual = np.abs(y - design @ solution)
        scatter = 1.4826 * float(np.median(residual)) + 1.0
        robust = np.minimum(1.0, 2.0 * scatter / np.maximum(residual, 1e-9))
    w = robust * weights / weights.mean()
    free = max(float(robust.sum()) - 2.0, 1.0)
    variance = float((w * residual**2).sum()) / free * student(free) ** 2
    span_s = max(float(t[-1] - t[0]), 1.0)
    floor = np.diag([FLOOR_NS**2, (FLOOR_NS * 1e-3 * np.sqrt(12) / span_s) ** 2])
    covariance = np.linalg.inv((design.T * w) @ design) * variance + floor
    return float(solution[0]), float(solution[1]), covariance


def student(degrees: float) -> float:
    """How much wider than a normal interval one must be whose spread few residuals told."""
    return STUDENT[int(degrees) - 1] if degrees <= len(STUDENT) else 1.0 + 1.4 / degrees


def end_ns(block: AudioBlock) -> float:
    """Node time of the end of a block."""
    return block.t_node_ns + len(block.pcm) / block.rate_hz * NS_PER_S


def phat(
    a: Sequence[AudioBlock],
    b: Sequence[AudioBlock],
    line: LineFit,
    stage: Stage,
    start_ns: float,
    reach: int,
    *,
    window_s: float,
) -> NDArray[np.float32] | None:
    """Correlation of one window at lags −reach…reach around the line, in units of its noise."""
    num = round(window_s * stage.rate_hz)
    many = stage.oversampling
    times = start_ns + np.arange(num) * (NS_PER_S / stage.rate_hz)
    sound_a = sound_at(a, times, rate_hz=stage.rate_hz)
    sound_b = sound_at(
        b,
        times + line.lag_ns + line.skew_ppm * 1e-6 * (times - line.t_mid_ns),
        rate_hz=stage.rate_hz,
    )
    correlation = flat_correlation(
        sound_a * np.hanning(num),
        sound_b * np.hanning(num),
        rate_hz=stage.rate_hz,
        oversampling=many,
        room=2 * reach // many,
    )
    if correlation is None:
        return None
    return np.concatenate([correlation[-reach:], correlation[: reach + 1]]).astype(np.float32)


def flat_correlation(
    a: NDArray[np.floating],
    b: NDArray[np.floating],
    *,
    rate_hz: float,
    oversampling: int,
    room: int = 0,
) -> NDArray[np.floating] | None:
    """GCC-PHAT of two sounds in units of its own noise; index: lag of b, negative ones wrapped.

    Returns:
        Shape (oversampling · FFT size,), or None where a sound is silent.
    """
    if a.std() < SILENCE or b.std() < SILENCE:
        return None
    size = good_fft_size(max(len(a), len(b)) + room)
    cross = np.fft.rfft(a, size).conj() * np.fft.rfft(b, size)
    hz = np.fft.rfftfreq(size, 1 / rate_hz)
    band = (hz > LOWEST_HZ) & (hz < 0.45 * rate_hz)
    magnitude = np.abs(cross)
    flat = np.where(band, cross / (magnitude + 1e-3 * magnitude.max() + 1e-30), 0.0)
    correlation = np.fft.irfft(flat, size * oversampling)
    # Where most of a sound is silent the median is almost nothing; the mean square is not.
    spread = max(1.4826 * float(np.median(np.abs(correlation))), float(correlation.std()) / 2.0)
    return correlation / (spread + 1e-12)


def sound_at(
    blocks: Sequence[AudioBlock], times_ns: NDArray[np.floating], *, rate_hz: float
) -> FloatArray:
    """Sound at given node times, low-passed to the rate, cubic between samples; 0 where none."""
    out = np.zeros(len(times_ns), np.float32)
    for block in blocks:
        place = (times_ns - block.t_node_ns) * (block.rate_hz / NS_PER_S)
        inside = (place >= 1) & (place < len(block.pcm) - 2)
        if not inside.any():
            continue
        low = max(int(place[inside][0]) - 64, 0)
        high = min(int(place[inside][-1]) + 66, len(block.pcm))
        pcm = low_pass(block.pcm[low:high], block.rate_hz, below_hz=0.47 * rate_hz)
        at = place[inside] - low
        k = np.clip(at.astype(np.int64), 1, len(pcm) - 3)
        x = (at - k).astype(np.float32)
        p0, p1, p2, p3 = pcm[k - 1], pcm[k], pcm[k + 1], pcm[k + 2]
        # Catmull-Rom spline.
        out[inside] = p1 + 0.5 * x * (
            p2 - p0 + x * (2 * p0 - 5 * p1 + 4 * p2 - p3 + x * (3 * (p1 - p2) + p3 - p0))
        )
    return out


def low_pass(pcm: FloatArray, rate_hz: float, *, below_hz: float) -> FloatArray:
    """Remove what a lower rate cannot carry; the sound as it is where there is nothing to do."""
    if below_hz >= 0.5 * rate_hz:
        return pcm
    size = good_fft_size(len(pcm))
    spectrum = np.fft.rfft(pcm, size)
    spectrum[round(below_hz / rate_hz * size) :] = 0
    return np.fft.irfft(spectrum, size)[: len(pcm)].astype(np.float32)
