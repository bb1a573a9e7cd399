"""From streams of several nodes to every node's clock: content evidence only.

For every pair of nodes, scores of all stream pairs are summed over windows and lags (`lag`,
`signals`), the best line is found (`line`), and the nodes are placed one after the other by the
evidence of all nodes placed before: pairs too weak to decide alone still count. Sign:
offset = node − reference; positive: the node is fast.
"""

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from coeval.errors import NotEnoughEvidence
from coeval.hops import HOP_NS, Hops
from coeval.jumps import JumpFit, find_jump, lag_at
from coeval.lag import STEPS_PER_HOP, DenseStream, densify, window_scores
from coeval.line import LagGrid, LineFit, LineSearch, Surface, fit_peak, search_lines, spread_of
from coeval.placing import Contradiction, PairLine, Solution, solve_lines
from coeval.samples import AudioBlock, Modality
from coeval.segments import (
    clock_of,
    cut_hops,
    cut_signals,
    cut_sound,
    cut_spans,
    cut_speech,
    segment_name,
)
from coeval.shown import shown_by
from coeval.signal_line import regress_signals
from coeval.signals import FINE_BLOCK_S, SignalTrack, refine_by_signals, signal_surface
from coeval.speech import SpeechActivity, TextSpans, speech_surface
from coeval.steps import Partner, sharpen_instant, witness_of
from coeval.still_track import StillTrack
from coeval.stills import believed_share, stills_surface
from coeval.time import NS_PER_S, ClockLine, RefNs
from coeval.waveform import refine_by_waveform, share_nothing, sound_surface

Status = Literal["locked", "unsure", "unrelated"]

LAG_STEP_NS = HOP_NS // STEPS_PER_HOP
SHORTEST_WINDOW_HOPS = 200
MOST_WINDOWS = 64
LEAST_OVERLAP_S = 2
"""Lags that leave less common material are not looked at."""
LEAST_OVERLAP = 0.3
"""… nor those that leave less than this share of the shorter node's material."""
NEAR_STEPS = 6
"""A pair's own peak this near the place of its nodes (150 ms) refines it."""
LEAST_PAIR_Z = 4.0
"""A pair must stand out this far to refine its nodes."""
LOCK_ODDS_NATS = 2.5
"""A believed line's score exceeds the logarithm of the number of lags tried by this much."""
LOCK_Z = 6.5
"""Least score in standard deviations of the scores at wrong lags."""
LOCK_MARGIN = 2.0
"""Least distance to the best line elsewhere, in the same unit."""
MOST_STEPS = 8
"""Steps of clocks looked for in one session."""
ANY_OFFSET_NS = 1e15
SAME_SKEW_PPM = 0.05
MOST_PARTNERS = 5
"""Each clock is searched for steps against this many others: those it fits best."""
PLAUSIBLE_SKEW_PPM = 200.0
"""A larger skew of a pair may be a step that a line tries to follow."""
LATENCY_NS = 5.5e6
"""Content is stamped when it happens, give or take this (1 σ): two streams agree to 8 ms …"""
STILLS_LATENCY_NS = 50e6
"""… stills, which come a second apart, less well …"""
STILLS_DELAY_NS = 100e6
"""… above all against what is not seen: scenes 930 000 to 930 023, 2026-11-25 …"""
SPOKEN_LATENCY_NS = 50e6
"""… nor do lines of text made by hand for speech …"""
SAMPLING_LATENCY = 0.2
"""… and numeric streams and videos also to this share of their sampling interval: between two
readings or frames nothing is known of when a change began …"""
METER_LATENCY = 0.5
METER_LATENCY_NS = 8e6
"""… and numeric streams to how long a meter takes to answer, half of that but no more than this.
Fitted, with COARSE_SIGMA, on scenes 931 000 to 931 199, 2026-11-25."""
COARSE_SIGMA = 0.85
"""Real over stated spread of lines from embeddings, side lobes apart."""
MAIN_LOBE_NS = 75e6
"""Side lobes further off than this widen a line's interval …"""
MOST_REACH_NS = 100e6
"""… and a line that they make less sure than this is not believed …"""
STILLS_REACH_NS = 300e6
"""… nor one with stills than this."""
UNKNOWN_INTERVAL_NS = {"metadata": 100e6, "video": 40e6}
"""Sampling interval of streams of which only embeddings are known."""


NO_STEPS: Mapping[str, Sequence[int]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTrack:
    """What is known of one stream's content."""

    node: str
    """The node whose clock stamped it."""
    stream: str
    """The stream's id."""
    modality: Modality
    """Its modality."""
    embeddings: Sequence[Hops]
    """Runs of embeddings, in time order."""
    signals: SignalTrack | None = None
    """Raw channels, where the caller has them."""
    waveform: Sequence[AudioBlock] = ()
    """Raw sound at its own rate, pieces in time order, where the caller has it."""
    stills: StillTrack | None = None
    """What stills show, where the caller has them."""
    rows: Sequence[Hops] = ()
    """Runs of feature rows, where the caller has them and there are stills to compare them with."""
    speech: SpeechActivity | None = None
    """How speech-like a sound is, where the caller has it."""
    spans: TextSpans | None = None
    """When lines of text begin and end, where the caller has them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Jump:
    """A step of a node's clock."""

    t_ref_ns: RefNs
    """When, on the timeline."""
    delta_ns: float
    """Change of the offset (node − reference)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEstimate:
    """What is known of one node's clock."""

    status: Status
    """locked: believe it; unsure: not enough evidence; unrelated: evidence against a relation."""
    line: ClockLine | None
    """Offset (node − reference) and skew; None unless locked. Holds before the first jump."""
    ci95_ns: float | None
    """Half-width of the 95% interval of the offset at `line.t0_ref_ns`."""
    skew_ci95_ppb: float | None
    """Half-width of the 95% interval of the skew."""
    jumps: tuple[Jump, ...]
    """Steps of the clock, in time order."""
    evidence: tuple[str, ...]
    """Kinds of evidence used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairEstimate:
    """What two nodes' content says about each other."""

    first: str
    """The node that serves as reference of the pair."""
    second: str
    """The other node."""
    fit: LineFit | None
    """Best line: lag of the second clock against the first; None without evidence."""
    streams: tuple[str, ...]
    """Stream pairs that were compared."""
    accepted: bool
    """Whether the pair alone would be believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEstimate:
    """Every node's clock against the reference node."""

    reference: str
    """The reference node."""
    nodes: Mapping[str, NodeEstimate]
    """By node, the reference itself left out."""
    pairs: tuple[PairEstimate, ...]
    """What each pair said."""
    contradictions: tuple[Contradiction, ...] = ()
    """Pairs that do not fit what all others say, the worst first."""


UNSURE = NodeEstimate(
    status="unsure", line=None, ci95_ns=None, skew_ci95_ppb=None, jumps=(), evidence=()
)

UNRELATED = replace(UNSURE, status="unrelated")


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
    has_nothing_shared: bool = False
    """Whether the sounds of the two are evidence that they are not of one scene."""

    def span_of(self, name: str) -> tuple[float, float]:
        """Begin and end of a node's material on its clock."""
        return (self.start_ns, self.stop_ns) if name == self.first else self.second_span_ns


def align_tracks(
    tracks: Sequence[StreamTrack],
    *,
    reference: str,
    evidence: Sequence[PairLine] = (),
    steps: Mapping[str, Sequence[int]] = NO_STEPS,
    content: bool = True,
    max_offset_s: float = 60.0,
    pairs: Collection[tuple[str, str]] | None = None,
    t0_ref_ns: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> SessionEstimate:
    """Estimate every node's offset and skew from what the streams show, and other evidence.

    Args:
        tracks: the streams; those of one node share its clock.
        reference: the node whose clock is the timeline.
        evidence: lines between clocks from hardware and network evidence; those of a clock after
            its k-th step are named by `segment_name`.
        steps: when clocks stepped by that evidence, on the clock before the step, ns, in order.
        content: whether the streams' content is evidence.
        max_offset_s: offsets up to this far from equal stamps are searched; where two nodes'
            stamps do not even overlap (other epochs), from equal starts.
        pairs: the pairs of nodes to compare, in either order; None: all.
        t0_ref_ns: instant of the reference at which offsets are stated; None: its first.
        progress: called with the share done, 0…1.

    Returns:
        An estimate for every node but the reference; a node without evidence is `unsure`, one
        whose sound shares nothing with the reference's is `unrelated`, and neither has an offset.

    Raises:
        NotEnoughEvidence: the reference has no stream.
    """
    by_node: dict[str, list[StreamTrack]] = {}
    for track in tracks:
        by_node.setdefault(track.node, [])
        if sum(len(part.rows) for part in track.embeddings):
            by_node[track.node].append(track)
    if reference not in by_node:
        raise NotEnoughEvidence(
            f"reference node {reference!r} has no stream; nodes with streams: {sorted(by_node)}"
        )
    if not content:
        pairs = ()
    wanted = [
        (first, second)
        for first, second in itertools.combinations(by_node, 2)
        if pairs is None or (first, second) in pairs or (second, first) in pairs
    ]
    works = compare_all(by_node, wanted, max_offset_s=max_offset_s, progress=progress)
    start_ns = node_span(by_node[reference])[0] if by_node[reference] else 0
    if t0_ref_ns is not None:
        start_ns = t0_ref_ns
    session = place_with_steps(
        by_node,
        works,
        evidence,
        steps,
        reference=reference,
        start_ns=start_ns,
        max_offset_s=max_offset_s,
    )
    nodes, contradictions = estimate_nodes(
        session, by_node, evidence, reference=reference, start_ns=float(start_ns)
    )
    if progress is not None:
        progress(1.0)
    return SessionEstimate(
        reference=reference,
        nodes=nodes,
        pairs=tuple(
            PairEstimate(
                first=work.first,
                second=work.second,
                fit=work.fit,
                streams=work.streams,
                accepted=is_sure(work.fit, most_reach_ns=most_reach(work.latencies_ns)),
            )
            for work in works.values()
        ),
        contradictions=contradictions,
    )


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


def tied_by(evidence: Sequence[PairLine], reference: str, start_ns: int) -> dict[str, "Place"]:
    """The reference, and the nodes that hardware or network evidence already ties to it."""
    solved = solve_lines(evidence, reference=reference, t0_ns=float(start_ns))
    places = {name: Place(lag_ns=state[0], fit=None) for name, state in solved.states.items()}
    return places | {reference: Place(lag_ns=0.0, fit=None)}


def is_sure(fit: LineFit | None, *, most_reach_ns: float = MOST_REACH_NS) -> bool:
    """Whether a line stands out of all others far enough to be believed."""
    return (
        fit is not None
        and fit.peak >= math.log(fit.lags_tried) + LOCK_ODDS_NATS
        and fit.z >= LOCK_Z
        and fit.margin >= LOCK_MARGIN
        and fit.reach_ns <= most_reach_ns
    )


def most_reach(latencies_ns: tuple[float, float]) -> float:
    """How unsure side lobes may make a line of streams of such latencies."""
    return STILLS_REACH_NS if max(latencies_ns) >= STILLS_LATENCY_NS else MOST_REACH_NS


def node_span(tracks: Sequence[StreamTrack]) -> tuple[int, int]:
    """First and last instant of a node's embeddings on its clock."""
    return (
        min(track.embeddings[0].t0_node_ns for track in tracks),
        max(track.embeddings[-1].end_node_ns for track in tracks),
    )


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
    (start_a, end_a), (start_b, end_b) = node_span(first), node_span(second)
    reach = round(max_offset_s * NS_PER_S)
    overlaps = start_b - reach < end_a and start_a - reach < end_b
    nominal = 0 if overlaps else start_b - start_a
    lowest_hop = (nominal - reach) // HOP_NS
    highest_hop = (nominal + reach) // HOP_NS
    grid = LagGrid(
        lowest_ns=lowest_hop * HOP_NS,
        step_ns=LAG_STEP_NS,
        num_lags=STEPS_PER_HOP * (highest_hop - lowest_hop) + 1,
    )
    window_hops = max(SHORTEST_WINDOW_HOPS, -(-((end_a - start_a) // HOP_NS) // MOST_WINDOWS))
    usable = overlapping(
        grid, (start_a, end_a), (start_b, end_b), least_ns=LEAST_OVERLAP_S * NS_PER_S
    )
    surfaces: list[Surface] = []
    raw_surfaces: list[Surface] = []
    compared: list[str] = []
    for a, b in itertools.product(first, second):
        scores = window_scores(
            dense[id(a)],
            dense[id(b)],
            window_hops=window_hops,
            lowest_lag=lowest_hop,
            highest_lag=highest_hop,
        )
        mids = (dense[id(a)].first_hop + (np.arange(len(scores)) + 0.5) * window_hops) * HOP_NS
        surface = tempered(
            Surface(mids_ns=mids, length_ns=window_hops * HOP_NS, scores=scores * usable)
        )
        seen = still_scores(a, b, grid)
        if surface is not None:
            # Embeddings of stills say little against other streams: no more than chance lets them.
            share = 1.0 if seen is None else believed_share(surface.scores.sum(axis=0), grid)
            surfaces.append(replace(surface, scores=surface.scores * np.float32(share)))
            compared.append(f"{a.stream}-{b.stream}")
        if a.signals is not None and b.signals is not None:
            raw = signal_surface(a.signals, b.signals, grid=grid)
            if raw is not None:
                raw_surfaces.append(replace(raw, scores=raw.scores * usable))
                compared.append(f"{a.stream}~{b.stream}")
        if seen is not None:
            raw_surfaces.append(replace(seen, scores=seen.scores * usable))
            compared.append(f"{a.stream}~{b.stream}")
    if not surfaces and not raw_surfaces:
        return None
    middle, span_s = 0.5 * (start_a + end_a), (end_a - start_a) / NS_PER_S
    search = search_lines([*surfaces, *raw_surfaces], grid, t_mid_ns=middle, span_s=span_s)
    has_nothing_shared, spoken = False, list[Surface]()
    if not is_sure(fit_peak(search, grid)):
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
        streams=tuple(compared),
        start_ns=float(start_a),
        stop_ns=float(end_a),
        second_span_ns=(float(start_b), float(end_b)),
        search=search,
        fit=fit_peak(search, grid),
        has_nothing_shared=has_nothing_shared,
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
    return math.hypot(LATENCY_NS, meter_ns, SAMPLING_LATENCY * interval_ns)


def still_scores(a: StreamTrack, b: StreamTrack, grid: LagGrid) -> Surface | None:
    """Scores of stills against what the other stream shows; None where neither is of stills."""
    stills, other = (a.stills, b) if a.stills is not None else (b.stills, a)
    if stills is None:
        return None
    shown = shown_by(other.modality, other.rows, other.signals)
    if shown is None:
        return None
    return stills_surface(stills, shown, grid, stills_first=a.stills is not None)


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
    return [replace(surface, scores=surface.scores * usable) for surface in found if surface]


def speech_surfaces(
    first: Sequence[StreamTrack],
    second: Sequence[StreamTrack],
    grid: LagGrid,
    usable: NDArray[np.float32],
) -> list[Surface]:
    """Scores of speech against lines of text, where embeddings did not decide."""
    found = []
    for a, b in itertools.product(first, second):
        if a.speech is not None and b.spans is not None:
            found.append(speech_surface(a.speech, b.spans, grid=grid, is_text_first=False))
        if a.spans is not None and b.speech is not None:
            found.append(speech_surface(b.speech, a.spans, grid=grid, is_text_first=True))
    return [replace(surface, scores=surface.scores * usable) for surface in found if surface]


def usable_lags(work: PairWork) -> NDArray[np.float32]:
    """1 at the lags of a pair that leave enough common material, else 0, shape (L,)."""
    first, second = (work.start_ns, work.stop_ns), work.second_span_ns
    return overlapping(work.grid, first, second, least_ns=LEAST_OVERLAP_S * NS_PER_S)


def overlapping(
    grid: LagGrid, first: tuple[float, float], second: tuple[float, float], *, least_ns: float
) -> NDArray[np.float32]:
    """1 at lags that leave enough common material, else 0, shape (L,)."""
    lags = grid.lowest_ns + np.arange(grid.num_lags) * grid.step_ns
    common = np.minimum(first[1], second[1] - lags) - np.maximum(first[0], second[0] - lags)
    shorter = min(first[1] - first[0], second[1] - second[0])
    usable: NDArray[np.float32] = (common >= max(least_ns, LEAST_OVERLAP * shorter)).astype(
        np.float32
    )
    return usable


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
    return replace(surface, scores=surface.scores * np.float32(scale))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a node was put: its offset, and how sure that is."""

    lag_ns: float
    """Offset against the reference around the middle of the material."""
    fit: LineFit | None
    """What said so; None for the reference."""
    most_reach_ns: float = MOST_REACH_NS
    """How unsure its side lobes may make it."""

    @property
    def margin(self) -> float:
        """How far the place stands out of all others."""
        return np.inf if self.fit is None else self.fit.margin

    @property
    def reach_ns(self) -> float:
        """How far off the place may be; 0 for the reference."""
        return 0.0 if self.fit is None else self.fit.reach_ns


def place_nodes(
    works: Mapping[tuple[str, str], PairWork],
    names: Sequence[str],
    tied: Mapping[str, Place],
) -> dict[str, Place]:
    """Place nodes one after the other, the surest next, by all nodes placed before.

    Args:
        works: content of the pairs.
        names: the nodes.
        tied: places of the reference and of what is known already.

    Returns:
        The places of the nodes that could be placed surely, those of `tied` included.
    """
    placed = dict(tied)
    while True:
        candidates = {
            name: place
            for name in names
            if name not in placed and (place := best_place(works, placed, name)) is not None
        }
        sure = {
            name: place
            for name, place in candidates.items()
            if is_sure(place.fit, most_reach_ns=place.most_reach_ns)
        }
        if not sure:
            return placed
        name = max(sure, key=lambda key: sure[key].margin)
        placed[name] = sure[name]


def best_place(
    works: Mapping[tuple[str, str], PairWork], placed: Mapping[str, Place], name: str
) -> Place | None:
    """The offset that the pairs with all placed nodes agree on most; None without any pair."""
    curves: list[tuple[float, NDArray[np.float32]]] = []
    reaches: list[float] = []
    for other, place in placed.items():
        if (other, name) in works:
            work = works[other, name]
            reaches.append(most_reach(work.latencies_ns))
            curves.append((place.lag_ns + work.grid.lowest_ns, work.search.curve))
        elif (name, other) in works:
            work = works[name, other]
            reaches.append(most_reach(work.latencies_ns))
            highest_ns = work.grid.at(work.grid.num_lags - 1)
            curves.append((place.lag_ns - highest_ns, work.search.curve[::-1]))
    if not curves:
        return None
    lowest = min(low for low, _ in curves)
    highest = max(low + len(curve) * LAG_STEP_NS for low, curve in curves)
    axis = np.arange(lowest, highest, LAG_STEP_NS)
    total = np.zeros(len(axis))
    for low, curve in curves:
        total += np.interp(axis, low + np.arange(len(curve)) * LAG_STEP_NS, curve, left=0, right=0)
    search = LineSearch(t_mid_ns=0.0, skews_ppm=np.zeros(1), sums=total[None, :].astype(np.float32))
    grid = LagGrid(lowest_ns=round(lowest), step_ns=LAG_STEP_NS, num_lags=len(axis))
    fit = fit_peak(search, grid)
    if fit is None:
        return None
    return Place(lag_ns=fit.lag_ns, fit=fit, most_reach_ns=min(reaches))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """A step of a clock, where its streams were cut."""

    clock: str
    """The node whose clock stepped."""
    before: str
    """The segment that was cut; it keeps what was before the step."""
    after: str
    """The segment that begins with the step."""
    t_node_ns: float
    """When, on the clock before the step."""
    sides: tuple[Place, Place] | None
    """Where content that showed the step puts the two segments; None: other evidence showed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedSession:
    """Every clock's segments and where they were put."""

    by_segment: Mapping[str, Sequence[StreamTrack]]
    """The streams of each segment."""
    works: Mapping[tuple[str, str], PairWork]
    """Pairs of segments of different clocks."""
    placed: Mapping[str, Place]
    """The segments that could be placed."""
    cuts: Sequence[Cut]
    """The steps, in the order found."""

    def steps_of(self, clock: str) -> list[Cut]:
        """A clock's steps in time order."""
        return sorted((cut for cut in self.cuts if cut.clock == clock), key=lambda c: c.t_node_ns)


def place_with_steps(
    by_node: Mapping[str, Sequence[StreamTrack]],
    works: Mapping[tuple[str, str], PairWork],
    evidence: Sequence[PairLine],
    steps: Mapping[str, Sequence[int]],
    *,
    reference: str,
    start_ns: int,
    max_offset_s: float,
) -> PlacedSession:
    """Place the nodes; a clock that stepped is cut into segments that are placed on their own.

    Clocks that hardware or network evidence speaks of are not cut: that would show the step.
    """
    ties = tied_by(evidence, reference, start_ns)
    known = {clock_of(name) for line in evidence for name in (line.first, line.second)}
    session = PlacedSession(by_segment=by_node, works=works, placed={}, cuts=())
    for clock in by_node:
        before = clock
        for k, t_node_ns in enumerate(steps.get(clock, ()), 1):
            after = segment_name(clock, k)
            cut = Cut(clock=clock, before=before, after=after, t_node_ns=t_node_ns, sides=None)
            session, before = with_cut(session, cut, max_offset_s=max_offset_s), after
    while True:
        placed = place_nodes(session.works, list(session.by_segment), ties)
        hints = {
            name: place
            for cut in session.cuts
            for name, place in hinted(cut, placed).items()
            if name not in placed
        }
        if hints:
            placed = place_nodes(session.works, list(session.by_segment), ties | hints)
        session = replace(session, placed=placed)
        found = None
        if len(session.cuts) < MOST_STEPS:
            found = next_cut(session, known, reference=reference)
        if found is None:
            return session
        session = with_cut(session, found, max_offset_s=max_offset_s)


def with_cut(session: PlacedSession, cut: Cut, *, max_offset_s: float) -> PlacedSession:
    """The session with one segment cut in two, compared with all others anew."""
    before, after = cut_tracks(
        session.by_segment[cut.before], round(cut.t_node_ns), after=cut.after
    )
    by_segment = {**session.by_segment, cut.before: before, cut.after: after}
    pairs = [
        (first, second)
        for first, second in itertools.combinations(by_segment, 2)
        if not {first, second}.isdisjoint({cut.before, cut.after})
        and clock_of(first) != clock_of(second)
        and is_wanted(first, second, session.works)
    ]
    works = {pair: work for pair, work in session.works.items() if cut.before not in pair}
    works |= compare_all(by_segment, pairs, max_offset_s=max_offset_s)
    return replace(session, by_segment=by_segment, works=works, cuts=[*session.cuts, cut])


def is_wanted(first: str, second: str, works: Mapping[tuple[str, str], PairWork]) -> bool:
    """Whether the two segments' clocks are compared with each other."""
    return any({clock_of(a), clock_of(b)} == {clock_of(first), clock_of(second)} for a, b in works)


def next_cut(session: PlacedSession, known: Collection[str], *, reference: str) -> Cut | None:
    """The step that explains most, of whichever clock; None where none shows.

    Of two clocks that have only each other it is the one that is not the reference.

    Args:
        session: the segments as they are placed now.
        known: clocks that do not step unseen.
        reference: the clock that is the timeline.
    """
    found: list[tuple[float, bool, Cut]] = []
    for name in session.by_segment:
        if clock_of(name) in known:
            continue
        place = session.placed.get(name) or best_place(session.works, session.placed, name)
        if place is None:
            continue
        partners = partners_of(name, session, reference)
        jump = step_of(name, place, partners, session)
        is_told = jump is not None and is_sure(jump.before) and is_sure(jump.after)
        if jump is not None and (is_told or name in session.placed):
            cut = cut_at_step(name, jump, partners, session)
            found.append((round(jump.gain, 3), clock_of(name) != reference, cut))
    return max(found, key=lambda each: each[:2])[2] if found else None


def partners_of(name: str, session: PlacedSession, reference: str) -> list[Partner]:
    """The placed segments of other clocks that fit a segment best."""
    fits: list[tuple[float, tuple[str, str]]] = [
        (work.fit.z, pair)
        for pair, work in session.works.items()
        if name in pair
        and work.fit is not None
        and all(other in session.placed for other in pair if other != name)
    ]
    partners = []
    for _, pair in sorted(fits, reverse=True)[:MOST_PARTNERS]:
        work = session.works[pair]
        other = pair[0] if pair[1] == name else pair[1]
        partners.append(
            Partner(
                surfaces=step_surfaces(work, session.by_segment),
                grid=work.grid,
                is_first=other == pair[0],
                place_ns=session.placed[other].lag_ns,
                skew_ppm=skew_against(reference, other, session.works),
                span_ns=work.span_of(other),
                streams=[densify(list(t.embeddings)) for t in session.by_segment[other]],
            )
        )
    return partners


def skew_against(reference: str, name: str, works: Mapping[tuple[str, str], PairWork]) -> float:
    """A segment's skew against the reference by their own pair, in ppm; 0 where it is not known."""
    for pair, sign in (((reference, name), 1.0), ((name, reference), -1.0)):
        work = works.get(pair)
        if work is not None and work.fit is not None and is_sure(work.fit):
            skew_ppm = sign * work.fit.skew_ppm
            return skew_ppm if abs(skew_ppm) <= PLAUSIBLE_SKEW_PPM else 0.0
    return 0.0


def step_surfaces(work: PairWork, by_segment: Mapping[str, Sequence[StreamTrack]]) -> list[Surface]:
    """A pair's scores in windows short enough to show a step: raw signals are scored anew."""
    surfaces = list(work.surfaces)
    if work.raw_surfaces:
        usable = usable_lags(work)
        for a, b in itertools.product(by_segment[work.first], by_segment[work.second]):
            if a.signals is not None and b.signals is not None:
                raw = signal_surface(a.signals, b.signals, grid=work.grid, block_s=FINE_BLOCK_S)
                if raw is not None:
                    surfaces.append(replace(raw, scores=raw.scores * usable))
    return surfaces


def step_of(
    name: str, place: Place, partners: Sequence[Partner], session: PlacedSession
) -> JumpFit | None:
    """A step of a segment's clock against the timeline, by all its partners together."""
    if not any(partner.surfaces for partner in partners):
        return None
    span_ns = node_span(session.by_segment[name])
    num_lags = max(partner.grid.num_lags for partner in partners)
    grid = LagGrid(
        lowest_ns=round(place.lag_ns / LAG_STEP_NS - num_lags // 2) * LAG_STEP_NS,
        step_ns=LAG_STEP_NS,
        num_lags=num_lags,
    )
    start_ns, stop_ns = (t_ns - place.lag_ns for t_ns in span_ns)
    witnesses = [
        witness_of(
            partner,
            surface,
            grid,
            place_ns=place.lag_ns,
            span_ns=span_ns,
            middle_ns=0.5 * (start_ns + stop_ns),
        )
        for partner in partners
        for surface in partner.surfaces
    ]
    return find_jump(witnesses, grid, span_ns=(start_ns, stop_ns))


def cut_at_step(
    segment: str, jump: JumpFit, partners: Sequence[Partner], session: PlacedSession
) -> Cut:
    """The step as a cut of the segment."""
    clock = clock_of(segment)
    streams = [densify(list(track.embeddings)) for track in session.by_segment[segment]]
    around_ns = max(surface.length_ns for each in partners for surface in each.surfaces)
    before, after = (
        Place(lag_ns=lag_at(line, jump.t_ns), fit=line) for line in (jump.before, jump.after)
    )
    return Cut(
        clock=clock,
        before=segment,
        after=segment_name(clock, 1 + len(session.steps_of(clock))),
        t_node_ns=sharpen_instant(jump, streams, partners, around_ns=around_ns),
        sides=(before, after),
    )


def cut_tracks(
    tracks: Sequence[StreamTrack], t_node_ns: int, *, after: str
) -> tuple[list[StreamTrack], list[StreamTrack]]:
    """Streams of one clock before and after an instant of it, the latter as the segment `after`."""
    sides: tuple[list[StreamTrack], list[StreamTrack]] = ([], [])
    for track in tracks:
        runs = [cut_hops(run, t_node_ns) for run in track.embeddings]
        sounds = [cut_sound(block, t_node_ns) for block in track.waveform]
        for k, name in enumerate((track.node, after)):
            signals = None if track.signals is None else cut_signals(track.signals, t_node_ns)[k]
            speech = None if track.speech is None else cut_speech(track.speech, t_node_ns)[k]
            spans = None if track.spans is None else cut_spans(track.spans, t_node_ns)[k]
            part = replace(
                track,
                node=name,
                embeddings=[run for pair in runs if (run := pair[k]) is not None],
                signals=signals,
                speech=speech,
                spans=spans,
                waveform=[block for pair in sounds if (block := pair[k]) is not None],
                stills=None,  # half a recording's stills say too little
                rows=(),
            )
            if part.embeddings:
                sides[k].append(part)
    return sides


def hinted(cut: Cut, placed: Mapping[str, Place]) -> dict[str, Place]:
    """Where the sides of a step belong by what showed it, should they be too weak on their own."""
    if cut.sides is None:
        return {}
    before, after = cut.sides
    if cut.before in placed:  # always so for the reference, which is where it is
        moved_ns = placed[cut.before].lag_ns - before.lag_ns
        return {cut.after: replace(after, lag_ns=after.lag_ns + moved_ns)}
    return {cut.before: before, cut.after: after}


def estimate_nodes(
    session: PlacedSession,
    by_node: Mapping[str, Sequence[StreamTrack]],
    evidence: Sequence[PairLine],
    *,
    reference: str,
    start_ns: float,
) -> tuple[dict[str, NodeEstimate], tuple[Contradiction, ...]]:
    """Offsets, skews, intervals and steps of the placed nodes; `unsure` for the others.

    `unrelated` where the sounds of a node and of the reference share nothing.
    """
    placed = session.placed
    lines = list(evidence)
    for (first, second), work in session.works.items():
        if first in placed and second in placed:
            line = line_near(work, placed[first], placed[second], session.by_segment)
            if line is not None:
                lines.append(line)
    told = {name for line in lines for name in (line.first, line.second)} | {reference}
    links = [same_crystal(cut) for cut in session.cuts if {cut.before, cut.after} <= told]
    solved = solve_lines([*lines, *links], reference=reference, t0_ns=start_ns)
    kinds = kinds_of(lines)
    own_steps = jumps_of(reference, session, solved, start_ns)
    estimates: dict[str, NodeEstimate] = {}
    for name in by_node:
        if name == reference:
            continue
        if name not in solved.states:
            is_stranger = any(
                work.has_nothing_shared and name in pair and reference in pair
                for pair, work in session.works.items()
            )
            estimates[name] = UNRELATED if is_stranger else UNSURE
            continue
        offset_ns, skew_ppm, covariance = solved.states[name]
        # A step of the reference is a step of every other clock, the other way.
        mirrored = [replace(jump, delta_ns=-jump.delta_ns) for jump in own_steps]
        jumps = [*jumps_of(name, session, solved, start_ns), *mirrored]
        estimates[name] = NodeEstimate(
            status="locked",
            line=ClockLine(
                t0_ref_ns=RefNs(round(start_ns)), offset_ns=offset_ns, skew_ppb=skew_ppm * 1e3
            ),
            ci95_ns=1.96 * float(np.sqrt(covariance[0, 0])),
            skew_ci95_ppb=1.96e3 * float(np.sqrt(covariance[1, 1])),
            jumps=tuple(sorted(jumps, key=lambda jump: jump.t_ref_ns)),
            evidence=tuple(sorted(kinds.get(name, ()))),
        )
    contradictions = (
        replace(each, first=clock_of(each.first), second=clock_of(each.second))
        for each in solved.contradictions
    )
    return estimates, tuple(each for each in contradictions if each.first != each.second)


def same_crystal(cut: Cut) -> PairLine:
    """A step moves a clock, not its crystal: both sides have one skew, and any offset."""
    return PairLine(
        first=cut.before,
        second=cut.after,
        kind="content",
        t_second_ns=cut.t_node_ns,
        lag_ns=0.0 if cut.sides is None else cut.sides[1].lag_ns - cut.sides[0].lag_ns,
        skew_ppm=0.0,
        covariance=np.diag([ANY_OFFSET_NS**2, SAME_SKEW_PPM**2]),
    )


def jumps_of(clock: str, session: PlacedSession, solved: Solution, start_ns: float) -> list[Jump]:
    """The steps of a clock whose both sides are known, in time order."""
    jumps = []
    before = clock
    states = {**solved.states}
    for cut in session.steps_of(clock):
        if cut.after not in states:
            continue
        offset_ns, skew_ppm = states[before][:2] if before in states else (0.0, 0.0)
        t_ref_ns = start_ns + (cut.t_node_ns - start_ns - offset_ns) / (1.0 + skew_ppm * 1e-6)
        later_ns, later_ppm = states[cut.after][:2]
        drift_ns = (later_ppm - skew_ppm) * 1e-6 * (t_ref_ns - start_ns)
        jumps.append(
            Jump(t_ref_ns=RefNs(round(t_ref_ns)), delta_ns=later_ns - offset_ns + drift_ns)
        )
        before = cut.after
    return jumps


def kinds_of(lines: Sequence[PairLine]) -> dict[str, set[str]]:
    """The kinds of evidence that speak of each clock."""
    kinds: dict[str, set[str]] = {}
    for line in lines:
        for name in (line.first, line.second):
            kinds.setdefault(clock_of(name), set()).add(line.kind)
    return kinds


def line_near(
    work: PairWork, first: Place, second: Place, by_node: Mapping[str, Sequence[StreamTrack]]
) -> PairLine | None:
    """A pair's line near where its nodes were placed, sharpened by what both have raw."""
    expected_ns = second.lag_ns - first.lag_ns
    index = round((expected_ns - work.grid.lowest_ns) / work.grid.step_ns)
    fit = fit_peak(work.search, work.grid, near=(index - NEAR_STEPS, index + NEAR_STEPS + 1))
    if fit is None or fit.z < LEAST_PAIR_Z:
        return None
    sharpest: LineFit | None = None
    for a, b in itertools.product(by_node[work.first], by_node[work.second]):
        if a.waveform and b.waveform:
            sharper = refine_by_waveform(
                a.waveform, b.waveform, fit, start_ns=work.start_ns, stop_ns=work.stop_ns
            )
            if sharper is not None:
                return pair_line(work, sharper, latencies_ns=(0.0, 0.0))
        if a.signals is not None and b.signals is not None:
            span_s = (work.stop_ns - work.start_ns) / NS_PER_S
            sharper = refine_by_signals(a.signals, b.signals, fit, span_s=span_s)
            least = (sharpest or fit).covariance[0, 0]
            if sharper is not None and sharper.covariance[0, 0] < least:
                span = {"start_ns": work.start_ns, "stop_ns": work.stop_ns}
                sharpest = regress_signals(a.signals, b.signals, sharper, **span) or sharper
    if sharpest is None:
        sharpest = as_sure_as(fit, reach_ns=max(first.reach_ns, second.reach_ns))
    return pair_line(work, sharpest, latencies_ns=work.latencies_ns)


def as_sure_as(fit: LineFit, *, reach_ns: float) -> LineFit:
    """A line from embeddings, as wide as its peak and the side lobes of its place make it."""
    covariance = COARSE_SIGMA**2 * fit.covariance
    if reach_ns > MAIN_LOBE_NS:
        covariance[0, 0] = max(covariance[0, 0], (reach_ns / 1.96) ** 2)
    return replace(fit, covariance=covariance)


def pair_line(work: PairWork, fit: LineFit, *, latencies_ns: tuple[float, float]) -> PairLine:
    """A fit as the solver takes it."""
    return PairLine(
        first=work.first,
        second=work.second,
        kind="content",
        t_second_ns=fit.t_mid_ns + fit.lag_ns,
        lag_ns=fit.lag_ns,
        skew_ppm=fit.skew_ppm,
        covariance=fit.covariance + np.diag([work.delay_ns**2, 0.0]),
        latencies_ns=latencies_ns,
    )
