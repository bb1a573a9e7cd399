"""Where speech is heard against where text says that somebody speaks.

For sound with subtitles, captions, lyrics or speaker turns: the hand-made edges of lines stray by
a tenth of a second, so what counts is the pattern of speech and pauses, correlated over tens of
seconds. In: how speech-like the sound is, and the spans of the lines. Out: scores on a pair's
lags. Sign: a positive lag means that the second stream's clock is fast.

Both patterns are band-limited; the score is the Gaussian log-likelihood ratio of what they share,
−n/2 · log(1 − r²), n counting independent readings only (Bartlett 1946: two slow patterns agree
by chance). A negative correlation counts against a lag.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.lag import good_fft_size
from coeval.line import LagGrid, Surface
from coeval.samples import FloatArray, IntArray
from coeval.time import NS_PER_S

STEP_NS = 25_000_000
LOWEST_HZ = 0.15
"""Slower changes are the recording's course, e.g. an introduction without words."""
HIGHEST_HZ = 2.0
"""Faster ones are syllables, which lines do not tell."""
SLOPE = 0.7
"""Exponent of the rise up to LOWEST_HZ."""
LONGEST_BLOCK_S = 90.0
"""A skew of 500 ppm moves the middle of a block's half by 23 ms in this time."""
CORRELATED_S = 10.0
"""Readings this far apart are independent."""
LEAST_POWER = 0.1
"""Stretches below this share of the mean power are not lifted further: they say nothing."""
LEAST_OVERLAP = 0.5
"""Lags that leave less than this share of a block or of the text are not scored."""
HIGHEST_R = 0.98
PARTS = 6
"""A block is cut into so many parts, of which the best is left out."""
TRUST = 0.9
"""Share of the likelihood that is believed: spans are no Gaussian noise."""
LEAST_SPANS = 5
LEAST_PAUSES = 0.01
"""Lines that leave less than this share of their time without a line tell nothing of speech."""
SHORTEST_TURN_NS = NS_PER_S // 2
"""Typical lines shorter than this are no turns of speech, but labels of something that changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeechActivity:
    """How speech-like a sound is."""

    first: int
    """Index of the first value: node time / STEP_NS."""
    values: FloatArray
    """About 0 for silence, 1 and more for speech, shape (n,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSpans:
    """When lines of text begin and end."""

    begins_ns: IntArray
    """On the node's clock, shape (n,)."""
    ends_ns: IntArray
    """The same; guessed where a line has no end."""
    are_guessed: bool = False
    """Whether any of the ends is guessed."""


def speech_surface(
    sound: SpeechActivity, text: TextSpans, *, grid: LagGrid, is_text_first: bool
) -> Surface | None:
    """Scores over blocks of the first stream and the lags of the grid.

    Args:
        sound: the sound's activity.
        text: the lines' spans.
        grid: lags of the second stream's clock against the first one's, of step STEP_NS.
        is_text_first: whether the text is the first stream of the pair.

    Returns:
        A surface, or None where sound or text do not change or the lines are too few.
    """
    if grid.step_ns != STEP_NS:
        raise ValueError(f"lags {grid.step_ns} ns apart; speech is compared at {STEP_NS} ns")
    if len(text.begins_ns) < LEAST_SPANS:
        return None
    patterns = [band_limited(sound.values), band_limited(covered(text)[1])]
    firsts = [sound.first, covered(text)[0]]
    if is_text_first:
        patterns, firsts = patterns[::-1], firsts[::-1]
    if any(pattern is None for pattern in patterns):
        return None
    a, b = (pattern for pattern in patterns if pattern is not None)
    readings = independent_steps(a, b)
    num_blocks = max(math.ceil(len(a) * STEP_NS / NS_PER_S / LONGEST_BLOCK_S), 1)
    edges = np.linspace(0, len(a), num_blocks + 1).astype(np.int64)
    lowest = grid.lowest_ns // STEP_NS
    scores = np.zeros((num_blocks, grid.num_lags), np.float32)
    for k, (low, high) in enumerate(itertools.pairwise(edges)):
        shift = np.arange(grid.num_lags) + lowest - (firsts[1] - firsts[0]) + low
        scores[k] = TRUST * block_scores(a[low:high], b, shift, independent_steps=readings)
    if not scores.any():
        return None
    mids_ns = (firsts[0] + 0.5 * (edges[1:] + edges[:-1])) * STEP_NS
    return Surface(mids_ns=mids_ns, length_ns=float(edges[1] * STEP_NS), scores=scores)


def block_scores(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    shift: NDArray[np.int64],
    *,
    independent_steps: float,
) -> NDArray[np.float64]:
    """Log-likelihood ratio in nats that a[i] and b[i + shift] share a pattern, one a shift.

    The part that speaks most for a shift is left out: one long pause in each stream agrees
    somewhere in any pair, and is not as many readings as the mean pause suggests.
    """
    edges = np.linspace(0, len(a), PARTS + 1).astype(np.int64)
    products, energies_a, energies_b, commons = (np.zeros((PARTS, len(shift))) for _ in range(4))
    for k, (begin, end) in enumerate(itertools.pairwise(edges)):
        part, at = a[begin:end], shift + begin
        size = good_fft_size(len(part) + len(b))
        product = np.fft.irfft(np.fft.rfft(part, size).conj() * np.fft.rfft(b, size), size)
        low = np.clip(-at, 0, len(part))
        high = np.clip(len(b) - at, low, len(part))
        products[k] = np.where(high > low, product[np.where(high > low, at, 0) % size], 0.0)
        energies_a[k] = energy_between(part, low, high)
        energies_b[k] = energy_between(b, low + at, high + at)
        commons[k] = high - low
    usable = commons.sum(axis=0) >= LEAST_OVERLAP * min(len(a), len(b))
    best = products.argmax(axis=0)[None]
    product, energy_a, energy_b, common = (
        table.sum(axis=0) - np.take_along_axis(table, best, axis=0)[0]
        for table in (products, energies_a, energies_b, commons)
    )
    energy_a = np.maximum(energy_a, LEAST_POWER * common * float((a**2).mean()))
    energy_b = np.maximum(energy_b, LEAST_POWER * common * float((b**2).mean()))
    r = np.clip(product / np.sqrt(energy_a * energy_b + 1e-12), -HIGHEST_R, HIGHEST_R)
    scores: NDArray[np.float64] = -0.5 * common / independent_steps * np.log1p(-(r**2)) * np.sign(r)
    return np.where(usable, scores, 0.0)


def energy_between(
    pattern: NDArray[np.float64], low: NDArray[np.int64], high: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum of squares over low…high."""
    total = np.concatenate([[0.0], np.cumsum(pattern**2)])
    low, high = np.clip(low, 0, len(pattern)), np.clip(high, 0, len(pattern))
    energy: NDArray[np.float64] = total[high] - total[low]
    return energy


def covered(text: TextSpans) -> tuple[int, NDArray[np.float64]]:
    """Share of each step in which some line is up; index of the first step (node time / STEP_NS).

    Lines that overlap, as turns of two speakers do, count once.
    """
    first = int(text.begins_ns.min()) // STEP_NS
    last = -(-int(text.ends_ns.max()) // STEP_NS)
    share = np.zeros(last - first)
    for begin_ns, end_ns in zip(text.begins_ns, text.ends_ns, strict=True):
        begin, end = begin_ns / STEP_NS - first, end_ns / STEP_NS - first
        steps = np.arange(int(begin), min(math.ceil(end), len(share)))
        part = np.minimum(steps + 1, end) - np.maximum(steps, begin)
        share[steps] = np.maximum(share[steps], part)
    return first, share


def is_ceaseless(text: TextSpans) -> bool:
    """Whether lines say that somebody speaks all the time: no pause of theirs can be heard.

    Then only the turns of speakers are left to tell when something was said. How often those
    mislead is not known, too little such material being there to count it: nothing is claimed.
    """
    are_turns = float(np.median(text.ends_ns - text.begins_ns)) >= SHORTEST_TURN_NS
    has_pauses = float(covered(text)[1].mean()) <= 1.0 - LEAST_PAUSES
    return are_turns and not text.are_guessed and not has_pauses


def band_limited(values: NDArray[np.floating]) -> NDArray[np.float64] | None:
    """The pattern without its slow course and its fast details; None where it does not change."""
    pattern = values.astype(np.float64) - float(values.mean())
    if len(pattern) * STEP_NS < CORRELATED_S / 2 * NS_PER_S or pattern.std() < 1e-3:
        return None
    size = good_fft_size(2 * len(pattern))
    hz = np.fft.rfftfreq(size, STEP_NS / NS_PER_S)
    rise = (hz / LOWEST_HZ) ** SLOPE / (1 + (hz / LOWEST_HZ) ** 2) ** (SLOPE / 2)
    fall = 1 / np.sqrt(1 + (hz / HIGHEST_HZ) ** 4)
    limited: NDArray[np.float64] = np.fft.irfft(np.fft.rfft(pattern, size) * rise * fall, size)
    return limited[: len(pattern)]


def independent_steps(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Steps per independent reading: the sum of the product of both autocorrelations."""
    reach = min(len(a), len(b), round(CORRELATED_S * NS_PER_S / STEP_NS))
    both = np.ones(reach)
    for pattern in (a, b):
        size = good_fft_size(2 * len(pattern))
        power = np.abs(np.fft.rfft(pattern, size)) ** 2
        correlation = np.fft.irfft(power, size)[:reach]
        both *= correlation / correlation[0]
    return max(float(2 * both.sum() - 1), 1.0)
