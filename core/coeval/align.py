"""From streams of several nodes, and other evidence of their clocks, to every node's clock.

Pairs of nodes are compared at all lags (`compare`), the nodes are placed one after the other
(`rough_places`), clocks that stepped are cut into segments (`stepped`), and the lines of all pairs
are solved together (`placing`). Sign: offset = node − reference; positive: the node is fast.
"""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from coeval.compare import PairWork, compare_all, is_sure
from coeval.errors import NotEnoughEvidence
from coeval.estimates import UNRELATED, UNSURE, Jump, NodeEstimate, PairEstimate, SessionEstimate
from coeval.interval import NORMAL_95
from coeval.line import LineFit, fit_peak
from coeval.placing import Contradiction, PairLine, Solution, solve_lines
from coeval.rough_places import Place
from coeval.segments import clock_of
from coeval.signal_line import regress_signals
from coeval.signals import refine_by_signals
from coeval.stepped import Cut, PlacedSession, place_with_steps
from coeval.time import NS_PER_S, ClockLine, RefNs
from coeval.tracks import StreamTrack, node_span
from coeval.waveform import refine_by_waveform

NEAR_STEPS = 6
"""A pair's own peak this near the place of its nodes (150 ms) refines it."""
LEAST_PAIR_Z = 4.0
"""A pair must stand out this far to refine its nodes."""
ANY_OFFSET_NS = 1e15
"""A step may be of any size …"""
SAME_SKEW_PPM = 0.05
"""… but the crystal stays what it is."""
COARSE_SIGMA = 0.85
"""Real over stated spread of lines from embeddings, side lobes apart."""
MAIN_LOBE_NS = 75e6
"""Side lobes further off than this widen a line's interval …"""
NO_STEPS: Mapping[str, Sequence[int]] = {}


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
                accepted=not work.is_unproven and is_sure(work.fit, is_loose=work.is_loose),
            )
            for work in works.values()
        ),
        contradictions=contradictions,
    )


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
            ci95_ns=NORMAL_95 * float(np.sqrt(covariance[0, 0])),
            skew_ci95_ppb=NORMAL_95 * 1e3 * float(np.sqrt(covariance[1, 1])),
            jumps=tuple(sorted(jumps, key=lambda jump: jump.t_ref_ns)),
            evidence=tuple(sorted(kinds.get(name, ()))),
            cov_offset_skew=1e3 * float(covariance[0, 1]),
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
    before, states = clock, solved.states
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
    """A pair's line near where its nodes were placed, sharpened by what both have raw.

    None where nothing stands out there, or where nothing may be claimed by it.
    """
    if work.is_unproven:
        return None
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
        covariance[0, 0] = max(covariance[0, 0], (reach_ns / NORMAL_95) ** 2)
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
