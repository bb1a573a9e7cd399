"""Scores of two nodes' content at all lags: everything that their streams have in common.

In: the streams of two nodes. Out: the scores of every stream pair on one grid of lags, and the
best line through them. Sign: lag = second − first; positive: the second clock is fast.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.hops import HOP_NS
from coeval.instants import instants_surface
from coeval.lag import STEPS_PER_HOP, DenseStream, densify, window_scores
from coeval.line import LagGrid, LineFit, LineSearch, Surface, fit_peak, search_lines, spread_of
from coeval.shown import shown_by
from coeval.signals import signal_surface
from coeval.speech import is_ceaseless, speech_surface
from coeval.stills import believed_share, stills_surface
from coeval.time import NS_PER_S
from coeval.tracks import StreamTrack, node_span
from coeval.waveform import share_nothing, sound_surface

LAG_STEP_NS = HOP_NS // STEPS_PER_HOP
SHORTEST_WINDOW_HOPS = 200
MOST_WINDOWS = 64
LEAST_OVERLAP_S = 2
"""Lags that leave less common material are not looked at."""
LEAST_OVERLAP = 0.3
"""… nor those that leave less than this share of the shorter node's material."""
LOCK_ODDS_NATS = 2.5
"""A believed line's score exceeds the logarithm of the number of lags tried by this much."""
LOCK_Z = 6.5
"""Least score in standard deviations of the scores at wrong lags."""
LOCK_MARGIN = 2.0
"""Least distance to the best line elsewhere, in the same unit."""
LATENCY_NS = 5.5e6
"""Content is stamped when it happens, give or take this (1 σ): two streams agree to 8 ms …"""
STILLS_LATENCY_NS = 50e6
"""… stills, which come a second apart, less well …"""
STILLS_DELAY_NS = 100e6
"""… above all against what is not seen: scenes 930 000 to 930 023, 2026-11-25 …"""
SPOKEN_LATENCY_NS = 50e6
"""… nor do lines of text made by hand for speech …"""
SAMPLING_LATENCY = {"metadata": 0.25, "video": 0.2}
"""… and numeric streams and videos also to this share of their sampling interval: between two
readings or frames nothing is known of when a change began …"""
METER_LATENCY = 0.5
METER_LATENCY_NS = 8e6
"""… and numeric streams to how long a meter takes to answer, half of that but no more than this.
Fitted, with COARSE_SIGMA, on scenes 931 000 to 931 199, 2026-11-25."""
MOST_REACH_NS = 100e6
"""A line is believed if its side lobes leave one case of 200 in which it is further off …"""
LOOSE_REACH_NS = 300e6
"""… with stills or by speech, whose peaks are broad, one of 20 in which it is further than this."""
UNKNOWN_INTERVAL_NS = {"metadata": 100e6, "video": 40e6}
"""Sampling interval of streams of which only embeddings are known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairWork:
    """A pair of nodes while the estimate is being made."""

    first: str
    second: str
    grid: LagGrid
    surfaces: list[Surface]
    """Scores of embeddings and sounds."""
    raw_surfaces: list[Surface]
    """Scores of raw signals, in long blocks, and of stills, in one."""
    latencies_ns: tuple[float, float]
    """Spread (1 σ) of how late the first and the second node's content is stamped."""
    delay_ns: float
    """Spread (1 σ) of a delay between the two that is this pair's own."""
    streams: tuple[str, ...]
    """Stream pairs that were compared."""
    start_ns: float
    """Begin of the first node's material on its clock."""
    stop_ns: float
    """Its end."""
    second_span_ns: tuple[float, float]
    """Begin and end of the second node's material on its clock."""
    search: LineSearch
    """Scores of all lines."""
    fit: LineFit | None
    """The best of them."""
    is_loose: bool = False
    """Whether the two say only loosely when something happened: stills, and speech in lines."""
    has_nothing_shared: bool = False
    """Whether the sounds of the two are evidence that they are not of one scene."""
    is_unproven: bool = False
    """Whether nobody knows how often what was compared misleads: the fit is the best guess that
    there is, but nothing is claimed by it."""

    def span_of(self, name: str) -> tuple[float, float]:
        """Begin and end of a node's material on its clock."""
        return (self.start_ns, self.stop_ns) if name == self.first else self.second_span_ns


def compare_all(
    by_segment: Mapping[str, Sequence[StreamTrack]],
    pairs: Sequence[tuple[str, str]],
    *,
    max_offset_s: float,
    progress: Callable[[float], None] | None = None,
) -> dict[tuple[str, str], PairWork]:
    """Scores of every pair that has something to compare."""
    names = dict.fromkeys(itertools.chain.from_iterable(pairs))
    dense = {
        id(track): densify(list(track.embeddings)) for name in names for track in by_segment[name]
    }
    works: dict[tuple[str, str], PairWork] = {}
    for k, (first, second) in enumerate(pairs):
        work = compare_nodes(
            by_segment[first], by_segment[second], dense, max_offset_s=max_offset_s
        )
        if work is not None:
            works[first, second] = work
        if progress is not None:
            progress((k + 1) / (len(pairs) + 1))
    return works


def is_sure(fit: LineFit | None, *, is_loose: bool = False) -> bool:
    """Whether a line stands out of all others far enough to be believed."""
    return (
        fit is not None
        and fit.peak >= math.log(fit.lags_tried) + LOCK_ODDS_NATS
        and fit.z >= LOCK_Z
        and fit.margin >= LOCK_MARGIN
        and (fit.reach_ns <= LOOSE_REACH_NS if is_loose else fit.utmost_ns <= MOST_REACH_NS)
    )


def is_of_stills(node: Sequence[StreamTrack]) -> bool:
    """Whether a node has nothing but stills."""
    return {track.modality for track in node} == {"image"}


def compare_nodes(
    first: Sequence[StreamTrack],
    second: Sequence[StreamTrack],
    dense: Mapping[int, DenseStream],
    *,
    max_offset_s: float,
) -> PairWork | None:
    """Scores of all stream pairs of two nodes, on one lag grid; None where nothing can be said."""
    if not first or not second:
        return None
    (start_a, end_a), (start_b, end_b) = spans = node_span(first), node_span(second)
    grid = lags_between(*spans, reach_ns=round(max_offset_s * NS_PER_S))
    window_hops = max(SHORTEST_WINDOW_HOPS, -(-((end_a - start_a) // HOP_NS) // MOST_WINDOWS))
    usable = overlapping(grid, *spans)
    surfaces: list[Surface] = []
    raw_surfaces: list[Surface] = []
    unproven: list[tuple[DenseStream, DenseStream]] = []
    compared: list[str] = []
    for a, b in itertools.product(first, second):
        both = dense[id(a)], dense[id(b)]
        if is_sound_and_ceaseless(a, b) or is_sound_and_ceaseless(b, a):
            unproven.append(both)
            continue
        surface = embedding_surface(*both, grid, usable, window_hops=window_hops)
        seen = still_scores(a, b, grid)
        if surface is not None:
            # Embeddings of stills say little against other streams: no more than chance lets them.
            surfaces.append(surface if seen is None else within_chance(surface, grid))
            compared.append(f"{a.stream}-{b.stream}")
        for raw in (signal_scores(a, b, grid), seen, instant_scores(a, b, grid)):
            if raw is not None:
                raw_surfaces.append(raw.weighted(usable))
                compared.append(f"{a.stream}~{b.stream}")
    is_unproven = not surfaces and not raw_surfaces
    if is_unproven:  # only where nothing better is there
        guesses = (
            embedding_surface(*both, grid, usable, window_hops=window_hops) for both in unproven
        )
        surfaces = [guess for guess in guesses if guess is not None]
    if not surfaces and not raw_surfaces:
        return None
    middle, span_s = 0.5 * (start_a + end_a), (end_a - start_a) / NS_PER_S
    search = search_lines([*surfaces, *raw_surfaces], grid, t_mid_ns=middle, span_s=span_s)
    has_nothing_shared, spoken = False, list[Surface]()
    if not is_unproven and not is_sure(fit_peak(search, grid)):
        sounds = sound_surfaces(first, second, grid, usable)
        has_nothing_shared = bool(sounds) and all(map(share_nothing, sounds))
        if sounds:
            surfaces += sounds
        spoken = speech_surfaces(first, second, grid, usable)
        raw_surfaces += spoken
        if sounds or spoken:
            search = search_lines([*surfaces, *raw_surfaces], grid, t_mid_ns=middle, span_s=span_s)
    return PairWork(
        first=first[0].node,
        second=second[0].node,
        grid=grid,
        surfaces=surfaces,
        raw_surfaces=raw_surfaces,
        latencies_ns=(
            node_latency(first, is_spoken=bool(spoken)),
            node_latency(second, is_spoken=bool(spoken)),
        ),
        delay_ns=delay_between(first, second),
        streams=tuple(dict.fromkeys(compared)),
        start_ns=float(start_a),
        stop_ns=float(end_a),
        second_span_ns=(float(start_b), float(end_b)),
        search=search,
        fit=fit_peak(search, grid),
        is_loose=bool(spoken) or is_of_stills(first) or is_of_stills(second),
        has_nothing_shared=has_nothing_shared,
        is_unproven=is_unproven,
    )


def node_latency(tracks: Sequence[StreamTrack], *, is_spoken: bool) -> float:
    """Spread (1 σ, ns) of how late a node's content is stamped, as `latency_of`."""
    if is_spoken and any(track.spans is not None for track in tracks):
        return SPOKEN_LATENCY_NS
    return min(map(latency_of, tracks))


def latency_of(track: StreamTrack) -> float:
    """Spread (1 σ, ns) of the time between what happens and what a stream shows of it.

    It is the stream's own: no number of other streams to compare it with averages it away.
    """
    if track.modality == "image":
        return STILLS_LATENCY_NS
    if track.modality not in UNKNOWN_INTERVAL_NS:
        return LATENCY_NS
    signals = track.signals
    interval_ns = UNKNOWN_INTERVAL_NS[track.modality]
    if signals is not None:
        interval_ns = NS_PER_S / signals.rate_hz
    is_meter = track.modality == "metadata"
    meter_ns = min(METER_LATENCY * interval_ns, METER_LATENCY_NS) if is_meter else 0.0
    return math.hypot(LATENCY_NS, meter_ns, SAMPLING_LATENCY[track.modality] * interval_ns)


def lags_between(first: tuple[int, int], second: tuple[int, int], *, reach_ns: int) -> LagGrid:
    """The lags at which two nodes are compared.

    Args:
        first: begin and end of the first node's material on its clock.
        second: those of the second node's on its own.
        reach_ns: how far on both sides of equal stamps; of equal starts, where stamps are too far
            apart to meet within that.
    """
    do_meet = second[0] - reach_ns < first[1] and first[0] - reach_ns < second[1]
    nominal_ns = 0 if do_meet else second[0] - first[0]
    lowest_hop = (nominal_ns - reach_ns) // HOP_NS
    highest_hop = (nominal_ns + reach_ns) // HOP_NS
    return LagGrid(
        lowest_ns=lowest_hop * HOP_NS,
        step_ns=LAG_STEP_NS,
        num_lags=STEPS_PER_HOP * (highest_hop - lowest_hop) + 1,
    )


def embedding_surface(
    a: DenseStream,
    b: DenseStream,
    grid: LagGrid,
    usable: NDArray[np.float32],
    *,
    window_hops: int,
) -> Surface | None:
    """Scores of two streams' embeddings, window by window; None where they say nothing."""
    lowest_hop = grid.lowest_ns // HOP_NS
    scores = window_scores(
        a,
        b,
        window_hops=window_hops,
        lowest_lag=lowest_hop,
        highest_lag=lowest_hop + (grid.num_lags - 1) // STEPS_PER_HOP,
    )
    mids_ns = (a.first_hop + (np.arange(len(scores)) + 0.5) * window_hops) * HOP_NS
    return tempered(
        Surface(mids_ns=mids_ns, length_ns=window_hops * HOP_NS, scores=scores * usable)
    )


def signal_scores(a: StreamTrack, b: StreamTrack, grid: LagGrid) -> Surface | None:
    """Scores of raw signals; None where either has none."""
    if a.signals is None or b.signals is None:
        return None
    return signal_surface(a.signals, b.signals, grid=grid)


def still_scores(a: StreamTrack, b: StreamTrack, grid: LagGrid) -> Surface | None:
    """Scores of stills against what the other stream shows; None where neither is of stills."""
    stills, other = (a.stills, b) if a.stills is not None else (b.stills, a)
    if stills is None:
        return None
    shown = shown_by(other.modality, other.rows, other.signals)
    if shown is None:
        return None
    return stills_surface(stills, shown, grid, stills_first=a.stills is not None)


def instant_scores(a: StreamTrack, b: StreamTrack, grid: LagGrid) -> Surface | None:
    """Scores of when two slow streams were sampled; None where either is not slow."""
    if a.instants is None or b.instants is None:
        return None
    return instants_surface(a.instants, b.instants, grid)


def delay_between(first: Sequence[StreamTrack], second: Sequence[StreamTrack]) -> float:
    """Spread (1 σ, ns) of how much later one node shows what it shares with the other.

    Of stills and another sensor it is only known that the one follows from the other: a door is
    seen before it is heard to shut. Two streams of pictures, or others than stills, show the same.
    """
    kinds = [{track.modality for track in node} for node in (first, second)]
    for stills, other in (kinds, kinds[::-1]):
        if stills == {"image"} and not other & {"image", "video"}:
            return STILLS_DELAY_NS
    return 0.0


def sound_surfaces(
    first: Sequence[StreamTrack],
    second: Sequence[StreamTrack],
    grid: LagGrid,
    usable: NDArray[np.float32],
) -> list[Surface]:
    """Scores of the sounds themselves: dear, so only where embeddings did not decide."""
    found = [
        sound_surface(a.waveform, b.waveform, grid=grid)
        for a, b in itertools.product(first, second)
        if a.waveform and b.waveform
    ]
    return [surface.weighted(usable) for surface in found if surface]


def speech_surfaces(
    first: Sequence[StreamTrack],
    second: Sequence[StreamTrack],
    grid: LagGrid,
    usable: NDArray[np.float32],
) -> list[Surface]:
    """Scores of speech against lines of text, where embeddings did not decide.

    Verses repeat: what is sung agrees with the lines of another verse as well as with its own.
    """
    found = []
    for a, b in itertools.product(first, second):
        if a.speech is not None and b.spans is not None:
            found.append(speech_surface(a.speech, b.spans, grid=grid, is_text_first=False))
        if a.spans is not None and b.speech is not None:
            found.append(speech_surface(b.speech, a.spans, grid=grid, is_text_first=True))
    return [within_chance(surface.weighted(usable), grid) for surface in found if surface]


def is_sound_and_ceaseless(sound: StreamTrack, text: StreamTrack) -> bool:
    """Whether a sound meets lines that leave no pause: see `is_ceaseless`."""
    return sound.modality == "audio" and text.spans is not None and is_ceaseless(text.spans)


def usable_lags(work: PairWork) -> NDArray[np.float32]:
    """1 at the lags of a pair that leave enough common material, else 0, shape (L,)."""
    first, second = (work.start_ns, work.stop_ns), work.second_span_ns
    return overlapping(work.grid, first, second)


def overlapping(
    grid: LagGrid, first: tuple[float, float], second: tuple[float, float]
) -> NDArray[np.float32]:
    """1 at lags that leave enough common material, else 0, shape (L,)."""
    lags = grid.lowest_ns + np.arange(grid.num_lags) * grid.step_ns
    common = np.minimum(first[1], second[1] - lags) - np.maximum(first[0], second[0] - lags)
    shorter = min(first[1] - first[0], second[1] - second[0])
    least_ns = max(LEAST_OVERLAP_S * NS_PER_S, LEAST_OVERLAP * shorter)
    usable: NDArray[np.float32] = (common >= least_ns).astype(np.float32)
    return usable


def within_chance(surface: Surface, grid: LagGrid) -> Surface:
    """Scores scaled down until no wrong lag reaches higher than chance lets it."""
    return surface.weighted(np.float32(believed_share(surface.scores.sum(axis=0), grid)))


def tempered(surface: Surface) -> Surface | None:
    """Scores no more confident than their own spread at wrong lags allows.

    The scores are trained as nats. Off the training distribution they may be too large; a peak of
    z standard deviations is worth at most z² nats, so larger scores are scaled down.
    """
    total = surface.scores.sum(axis=0)
    spread = spread_of(total)
    if spread <= 0:
        return None
    z = float(total.max()) / spread
    scale = min(1.0, z / spread)
    return surface.weighted(np.float32(scale))
