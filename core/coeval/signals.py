"""Where two streams' raw signals agree: whitened multichannel correlation.

For streams whose physical signals are related by an unknown linear map (a camera's motion and a
gyroscope, a speed and its integral), this is sharper than any learned activity: it keeps the
sign. In: channels at their own times. Out: scores on the lags of `coeval.lag`.

Every channel is taken with its derivative, band-limited, whitened, and correlated with every
channel of the other stream; the score is the Gaussian log-likelihood ratio of what they share
(sum of squared correlations, as in Wilks' test). A derivative relation only adds side lobes that
lie symmetrically about the true lag, so it does not bias it.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coeval.lag import good_fft_size
from coeval.line import LagGrid, LineFit, Surface, fit_peak, search_lines, spread_of
from coeval.samples import IntArray
from coeval.time import NS_PER_S

LOWEST_HZ = 0.15
HIGHEST_HZ = 12.0
WHITENING = 0.7
"""Exponent of the spectral whitening: 1 makes every frequency equal, noise included."""
MOST_CHANNELS = 6
EVEN_OUT_S = 2.0
QUIET_POWER = 0.03
"""Stretches below this share of the mean power are not lifted further: they are noise."""
INDEPENDENT_SHARE = 0.35
"""Share of the readings that are independent in practice: real motion comes in repeated strokes.
Fitted on scenes 940 000 to 940 029: unrelated pairs believed 0.4% (1: 1.1%), 2026-11-23."""
ROWS_PER_CHANNEL = 8
"""Independent readings that each channel must have, lest chance correlates some pair of them."""
RIVAL_DISTANCE_S = 1.0
"""A second peak nearer than this is a side lobe of the first."""
LEAST_OVERLAP = 0.4
"""Lags that leave less than this share of the shorter stretch are not scored."""
BLOCK_S = 60.0
SMOOTH_HZ = 0.3
GAP_S = 0.5
GAP_INTERVALS = 10
"""Readings further apart than both are a gap: recorders that pause together would otherwise be
matched on the lines drawn between the readings before and after …"""
GAP_EDGE_S = 0.5
"""… and on what filters make of its edges, this far."""

FINE_STEP_NS = 5_000_000
FINE_REACH_NS = 150_000_000
FINE_BLOCK_S = 15.0
LEAST_FINE_NATS = 4.0
FINE_NATS_PER_S = 1.6
"""Signals that share less than this say when no better than embeddings do: a meter that answers
a motion late or by its integral moves the peak. Errors of lines with less: 20 ms RMS, of the
embeddings' own 15 ms; with more: 5 and 5 ms (scenes 931 000 to 931 199, 2026-11-25)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalTrack:
    """Readings of numeric channels of one stream."""

    t_node_ns: IntArray
    """Times on the node's clock, shape (n,), increasing."""
    values: NDArray[np.float64]
    """Readings, shape (n, channels), finite."""

    @property
    def rate_hz(self) -> float:
        """Typical sample rate."""
        return NS_PER_S / float(np.median(np.diff(self.t_node_ns)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A stretch of one stream on a regular grid, whitened."""

    first: int
    """Index of the first row: node time / step."""
    rows: NDArray[np.float64]
    """Unit-variance channels and derivatives, shape (n, 2·channels)."""
    bandwidth: float
    """Independent readings per row, 0…1."""
    present: NDArray[np.bool_]
    """Rows that were measured, shape (n,); the others are zero."""


def to_grid(
    track: SignalTrack, *, start_ns: int, stop_ns: int, step_ns: int
) -> tuple[int, NDArray[np.float64]] | None:
    """Channels at multiples of the step within the span, linear between readings.

    Returns:
        Index of the first row (node time / step) and rows, or None if under 3 s of signal.
    """
    low = max(start_ns, int(track.t_node_ns[0]))
    high = min(stop_ns, int(track.t_node_ns[-1]))
    first, last = -(-low // step_ns), high // step_ns
    if (last - first) * step_ns < 3 * NS_PER_S:
        return None
    times = np.arange(first, last + 1) * step_ns
    where = (track.t_node_ns - int(times[0])).astype(np.float64)
    at = (times - int(times[0])).astype(np.float64)
    # A mean over the step keeps faster readings from folding into the band.
    smoothing = max(round(step_ns * track.rate_hz / NS_PER_S), 1)
    values = track.values
    if smoothing > 1:
        kernel = np.ones(smoothing) / smoothing
        values = np.stack(
            [
                np.convolve(np.pad(v, smoothing, mode="edge"), kernel, "same")[smoothing:-smoothing]
                for v in values.T
            ],
            axis=1,
        )
        if smoothing % 2 == 0:  # an even kernel is centred half a reading late
            where = where - 0.5 * NS_PER_S / track.rate_hz
    return first, np.stack([np.interp(at, where, channel) for channel in values.T], axis=1)


def measured(track: SignalTrack, first: int, num: int, *, step_ns: int) -> NDArray[np.bool_]:
    """Which of the grid's rows first…first + num lie in no gap of the readings, shape (num,)."""
    present = np.ones(num, np.bool_)
    intervals = np.diff(track.t_node_ns)
    longest = max(GAP_S * NS_PER_S, GAP_INTERVALS * NS_PER_S / track.rate_hz)
    edge = GAP_EDGE_S * NS_PER_S
    for k in np.flatnonzero(intervals > longest):
        low = int((track.t_node_ns[k] - edge) // step_ns) - first
        high = int((track.t_node_ns[k + 1] + edge) // step_ns) - first
        present[max(low, 0) : max(high, 0)] = False
    return present


def whiten(
    rows: NDArray[np.float64], *, step_ns: int, highest_hz: float, present: NDArray[np.bool_]
) -> Block | None:
    """Band-limit, flatten and decorrelate channels and their derivatives.

    Args:
        rows: channels on a regular grid, shape (n, channels).
        step_ns: distance of rows.
        highest_hz: upper end of the band.
        present: rows that were measured, shape (n,).

    Returns:
        A block whose `first` is 0, or None where nothing moves.
    """
    n = len(rows)
    rows = rows - rows.mean(axis=0)
    moving = rows.std(axis=0) > 1e-9 * (np.abs(rows).max(axis=0) + 1e-12)
    rows = rows[:, moving]
    if not rows.shape[1]:
        return None
    size = good_fft_size(n + n // 4)
    taper = np.minimum(1.0, np.minimum(np.arange(n) + 1, n - np.arange(n)) / (0.05 * n + 1))
    spectrum = np.fft.rfft(rows * taper[:, None], size, axis=0)
    hz = np.fft.rfftfreq(size, step_ns / NS_PER_S)
    rise = np.clip(hz / LOWEST_HZ - 0.5, 0, 1)
    fall = np.clip((highest_hz * 1.1 - hz) / (0.2 * highest_hz), 0, 1)
    band = rise * fall
    width = max(int(SMOOTH_HZ / (hz[1] - hz[0])), 1) | 1
    derived = spectrum * (2j * np.pi * hz[:, None])
    channels: list[NDArray[np.float64]] = []
    for channel in (*spectrum.T, *derived.T):
        power = np.abs(channel) ** 2
        smooth = np.convolve(
            np.pad(power, width // 2, mode="reflect"), np.ones(width) / width, "valid"
        )
        flat = channel * band / (smooth + 1e-4 * (smooth * band).max() + 1e-30) ** (WHITENING / 2)
        signal = np.fft.irfft(flat, size)[:n]
        spread = signal.std()
        if spread > 0:
            channels.append(signal / spread)
    if not channels:
        return None
    if not present.any():
        return None
    table = even_out(np.stack(channels, axis=1) * present[:, None], step_ns=step_ns)
    flatness = [effective_share(np.abs(np.fft.rfft(channel)) ** 2) for channel in table.T]
    bandwidth = float(np.mean(flatness))
    most = min(MOST_CHANNELS, int(present.sum() * bandwidth / ROWS_PER_CHANNEL))
    if most < 1:
        return None
    return Block(first=0, rows=decorrelate(table, most=most), bandwidth=bandwidth, present=present)


def even_out(table: NDArray[np.float64], *, step_ns: int) -> NDArray[np.float64]:
    """Channels with bursts and quiet stretches at a like level.

    Two bursts always correlate, whatever they are, and would count as many independent readings.
    """
    width = round(EVEN_OUT_S * NS_PER_S / step_ns) | 1
    kernel = np.ones(width) / width
    power = np.pad((table**2).mean(axis=1), width // 2, mode="reflect")
    local = np.convolve(power, kernel, "valid")
    evened: NDArray[np.float64] = table / np.sqrt(local + QUIET_POWER)[:, None]
    evened /= evened.std(axis=0)
    return evened


def effective_share(power: NDArray[np.floating]) -> float:
    """Share of places that carry the power: (Σ power)² / (n · Σ power²)."""
    return float(power.sum() ** 2 / (len(power) * (power**2).sum() + 1e-30))


def decorrelate(table: NDArray[np.float64], *, most: int) -> NDArray[np.float64]:
    """Principal components of unit variance: the strongest `most` of those above 1%."""
    covariance = table.T @ table / len(table)
    power, axes = np.linalg.eigh(covariance)
    keep = np.flatnonzero(power > 0.01 * power.max())[::-1][:most]
    components: NDArray[np.float64] = table @ (axes[:, keep] / np.sqrt(power[keep]))
    return components


def block_scores(
    a: Block, b: Block, *, lowest: int, num_lags: int
) -> tuple[NDArray[np.float64], float]:
    """Log-likelihood ratio that block `b` shows block `a`'s content at each lag.

    Args:
        a: the first stream's block.
        b: the second stream's, reaching `num_lags` further where there is signal.
        lowest: lowest lag in steps, b's index − a's.
        num_lags: number of lags.

    Returns:
        Scores in nats, shape (num_lags,), mean under no relation subtracted; and the standard
        deviation they have under no relation.
    """
    size = good_fft_size(len(a.rows) + len(b.rows) + num_lags)
    spectrum_a = np.fft.rfft(a.rows, size, axis=0).conj()
    spectrum_b = np.fft.rfft(b.rows, size, axis=0)
    shift = np.arange(num_lags) + lowest - (b.first - a.first)
    # Rows of each stream that overlap at every lag: a's low…high are b's low+shift…high+shift.
    low = np.clip(-shift, 0, len(a.rows))
    high = np.clip(len(b.rows) - shift, low, len(a.rows))
    if a.present.all() and b.present.all():
        common: NDArray[np.integer] = high - low
        energy_a = energy_between(a.rows, low, high)
        energy_b = energy_between(b.rows, low + shift, high + shift)
    else:
        there_a, there_b = a.present[:, None], b.present[:, None]
        common = np.rint(sum_of_products(there_a, there_b, shift)[:, 0]).astype(np.int64)
        energy_a = at_least(sum_of_products(a.rows**2, there_b, shift), (a.rows**2).sum(axis=0))
        energy_b = at_least(sum_of_products(there_a, b.rows**2, shift), (b.rows**2).sum(axis=0))
    effective = common * min(a.bandwidth, b.bandwidth)
    total = np.zeros(num_lags)
    for i in range(spectrum_a.shape[1]):
        product = np.fft.irfft(spectrum_a[:, i : i + 1] * spectrum_b, size, axis=0)[shift % size]
        total += (product**2 / (energy_a[:, i : i + 1] * energy_b)).sum(axis=1)
    pairs = a.rows.shape[1] * b.rows.shape[1]
    scores = 0.5 * (effective * total - pairs)
    least = max(LEAST_OVERLAP * min(a.present.sum(), b.present.sum()), 1)
    return np.where(common >= least, scores, 0.0), float(np.sqrt(0.5 * pairs))


def sum_of_products(
    a: NDArray[np.generic], b: NDArray[np.generic], shift: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum over rows of a[n] · b[n + shift], a column for each of a's or b's, shape (len(shift), c).

    Shifts are such that no row wraps around: below the sum of both lengths.
    """
    size = good_fft_size(len(a) + len(b) + int(np.abs(shift).max()))
    spectrum = np.fft.rfft(a, size, axis=0).conj() * np.fft.rfft(b, size, axis=0)
    found: NDArray[np.float64] = np.fft.irfft(spectrum, size, axis=0)[shift % size]
    return found


def at_least(energy: NDArray[np.float64], total: NDArray[np.float64]) -> NDArray[np.float64]:
    """Energies, none so small that dividing by it would invent a correlation."""
    return np.maximum(energy, 1e-3 * total + 1e-12)


def energy_between(
    rows: NDArray[np.float64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum of squares of each channel over rows low…high, shape (len(low), channels)."""
    total = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows**2, axis=0)])
    low, high = np.clip(low, 0, len(rows)), np.clip(high, 0, len(rows))
    return at_least(total[high] - total[low], total[-1])


def refine_by_signals(
    a: SignalTrack, b: SignalTrack, line: LineFit, *, span_s: float
) -> LineFit | None:
    """Sharpen a line by raw signals: short blocks on a fine grid of lags around it.

    Args:
        a: the first node's channels.
        b: the second node's.
        line: lag of the second clock against the first, good to some 100 ms.
        span_s: length of the material.

    Returns:
        The sharper line, or None where the signals do not say.
    """
    drift_ns = 0.5 * span_s * NS_PER_S * abs(line.skew_ppm) * 1e-6
    reach = round((FINE_REACH_NS + drift_ns) / FINE_STEP_NS)
    lowest = round(line.lag_ns / FINE_STEP_NS) - reach
    grid = LagGrid(lowest_ns=lowest * FINE_STEP_NS, step_ns=FINE_STEP_NS, num_lags=2 * reach + 1)
    surface = signal_surface(a, b, grid=grid, block_s=FINE_BLOCK_S)
    if surface is None:
        return None
    search = search_lines([surface], grid, t_mid_ns=line.t_mid_ns, span_s=span_s)
    fit = fit_peak(search, grid)
    least = max(math.log(grid.num_lags) + LEAST_FINE_NATS, FINE_NATS_PER_S * span_s)
    return fit if fit is not None and fit.peak >= least else None


def signal_surface(
    a: SignalTrack, b: SignalTrack, *, grid: LagGrid, block_s: float = BLOCK_S
) -> Surface | None:
    """Scores of two streams' raw signals over blocks of `a` and the lags of the grid.

    Returns:
        A surface, or None where the streams are too slow, too short or do not move.
    """
    highest_hz = min(HIGHEST_HZ, 0.45 * a.rate_hz, 0.45 * b.rate_hz)
    if highest_hz < 4 * LOWEST_HZ:
        return None
    start, stop = int(a.t_node_ns[0]), int(a.t_node_ns[-1])
    num_blocks = max(round((stop - start) / NS_PER_S / block_s), 1)
    edges = np.linspace(start, stop, num_blocks + 1).astype(np.int64)
    lowest = grid.lowest_ns // grid.step_ns
    scores = np.zeros((num_blocks, grid.num_lags), np.float32)
    for k in range(num_blocks):
        one = block_of(a, int(edges[k]), int(edges[k + 1]), grid.step_ns, highest_hz)
        other = block_of(
            b,
            int(edges[k]) + grid.lowest_ns,
            int(edges[k + 1]) + grid.lowest_ns + grid.num_lags * grid.step_ns,
            grid.step_ns,
            highest_hz,
        )
        if one is None or other is None:
            continue
        raw, expected = block_scores(one, other, lowest=lowest, num_lags=grid.num_lags)
        # Few lags around a known line have no wrong lags to learn trust from.
        is_search = grid.num_lags * grid.step_ns > 10 * RIVAL_DISTANCE_S * NS_PER_S
        share = trust(raw, expected, step_ns=grid.step_ns) if is_search else 1.0
        scores[k] = INDEPENDENT_SHARE * share * raw
    if not scores.any():
        return None
    length_ns = float(edges[1] - edges[0])
    return Surface(mids_ns=0.5 * (edges[1:] + edges[:-1]), length_ns=length_ns, scores=scores)


def trust(raw: NDArray[np.float64], expected: float, *, step_ns: int) -> float:
    """How far scores may be believed, 0…1: as far as wrong lags behave as chance would have it.

    Coloured, sparse or periodic signals reach high scores at wrong lags too; what stands out of
    those only by as much as they stand out of chance is no evidence.

    Args:
        raw: scores, shape (L,).
        expected: standard deviation of scores at wrong lags by chance.
        step_ns: distance of lags.
    """
    spread = spread_of(raw)
    if spread <= 0:
        return 0.0
    best = int(raw.argmax())
    near = round(RIVAL_DISTANCE_S * NS_PER_S / step_ns)
    elsewhere = np.concatenate([raw[: max(best - near, 0)], raw[best + near :]])
    rival = float(elsewhere.max()) if len(elsewhere) else 0.0
    by_chance = expected * math.sqrt(2.0 * math.log(len(raw)))
    return min(1.0, expected / spread, by_chance / max(rival, by_chance))


def block_of(
    track: SignalTrack, start_ns: int, stop_ns: int, step_ns: int, highest_hz: float
) -> Block | None:
    """A whitened stretch of a stream, or None where it has none."""
    gridded = to_grid(track, start_ns=start_ns, stop_ns=stop_ns, step_ns=step_ns)
    if gridded is None:
        return None
    first, rows = gridded
    present = measured(track, first, len(rows), step_ns=step_ns)
    block = whiten(rows, step_ns=step_ns, highest_hz=highest_hz, present=present)
    return None if block is None else replace(block, first=first)
