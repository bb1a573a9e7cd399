"""Nodes and their steps: a clock that stepped is cut into segments, each a clock of its own."""

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from coeval.compare import LAG_STEP_NS, PairWork, compare_all, is_sure, usable_lags
from coeval.jumps import JumpFit, find_jump, lag_at
from coeval.lag import DenseStream, densify
from coeval.line import RIVAL_DISTANCE_S, LagGrid, Surface
from coeval.placing import PairLine
from coeval.rough_places import Place, best_place, place_nodes, tied_by
from coeval.segments import clock_of, cut_tracks, segment_name
from coeval.signals import FINE_BLOCK_S, signal_surface
from coeval.steps import Partner, sharpen_instant, witness_of
from coeval.time import NS_PER_S
from coeval.tracks import StreamTrack, node_span

MOST_STEPS = 8
"""Steps of clocks looked for in one session."""
MOST_PARTNERS = 5
"""Each clock is searched for steps against this many others: those it fits best."""
PLAUSIBLE_SKEW_PPM = 200.0
"""A larger skew of a pair may be a step that a line tries to follow."""


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
    compared = {frozenset(map(clock_of, pair)) for pair in session.works}
    pairs = [
        (first, second)
        for first, second in itertools.combinations(by_segment, 2)
        if not {first, second}.isdisjoint({cut.before, cut.after})
        and {clock_of(first), clock_of(second)} in compared
    ]
    works = {pair: work for pair, work in session.works.items() if cut.before not in pair}
    works |= compare_all(by_segment, pairs, max_offset_s=max_offset_s)
    return replace(session, by_segment=by_segment, works=works, cuts=[*session.cuts, cut])


def next_cut(session: PlacedSession, known: Collection[str], *, reference: str) -> Cut | None:
    """The step that explains most, of whichever clock; None where none shows.

    Of two clocks that have only each other it is the one that is not the reference.

    Args:
        session: the segments as they are placed now.
        known: clocks that do not step unseen.
        reference: the clock that is the timeline.
    """
    best: tuple[float, bool] | None = None
    found: tuple[str, JumpFit, list[Partner]] | None = None
    seen = SeenContent(session)
    for name in session.by_segment:
        if clock_of(name) in known:
            continue
        place = session.placed.get(name) or best_place(session.works, session.placed, name)
        if place is None:
            continue
        partners = partners_of(name, session, seen, reference)
        jump = step_of(name, place, partners, session)
        if jump is None or (name in session.placed and not has_side_at(jump, name, place, session)):
            continue
        rank = (round(jump.gain, 3), clock_of(name) != reference)
        is_told = is_sure(jump.before) and is_sure(jump.after)
        if (is_told or name in session.placed) and (best is None or rank > best):
            best, found = rank, (name, jump, partners)
    return None if found is None else cut_at_step(*found, session, seen)


class SeenContent:
    """What segments and pairs show, made once for all clocks that are searched with them."""

    def __init__(self, session: PlacedSession) -> None:
        self._session = session
        self._streams: dict[str, list[DenseStream]] = {}
        self._surfaces: dict[tuple[str, str], list[Surface]] = {}

    def streams(self, name: str) -> list[DenseStream]:
        """A segment's embeddings."""
        if name not in self._streams:
            tracks = self._session.by_segment[name]
            self._streams[name] = [densify(list(track.embeddings)) for track in tracks]
        return self._streams[name]

    def surfaces(self, pair: tuple[str, str]) -> list[Surface]:
        """A pair's scores in windows short enough to show a step."""
        if pair not in self._surfaces:
            work = self._session.works[pair]
            self._surfaces[pair] = step_surfaces(work, self._session.by_segment)
        return self._surfaces[pair]


def partners_of(
    name: str, session: PlacedSession, seen: SeenContent, reference: str
) -> list[Partner]:
    """The placed segments of other clocks that fit a segment best."""
    fits: list[tuple[float, tuple[str, str]]] = [
        (work.fit.z, pair)
        for pair, work in session.works.items()
        if name in pair
        and not work.is_unproven
        and work.fit is not None
        and all(other in session.placed for other in pair if other != name)
    ]
    partners = []
    for _, pair in sorted(fits, reverse=True)[:MOST_PARTNERS]:
        work = session.works[pair]
        other = pair[0] if pair[1] == name else pair[1]
        partners.append(
            Partner(
                surfaces=seen.surfaces(pair),
                grid=work.grid,
                is_first=other == pair[0],
                place_ns=session.placed[other].lag_ns,
                skew_ppm=skew_against(reference, other, session.works),
                span_ns=work.span_of(other),
                streams=seen.streams(other),
            )
        )
    return partners


def skew_against(reference: str, name: str, works: Mapping[tuple[str, str], PairWork]) -> float:
    """A segment's skew against the reference by their own pair, in ppm; 0 where it is not known."""
    for pair, sign in (((reference, name), 1.0), ((name, reference), -1.0)):
        work = works.get(pair)
        if work is not None and not work.is_unproven and is_sure(work.fit):
            assert work.fit is not None
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
                    surfaces.append(raw.weighted(usable))
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


def has_side_at(jump: JumpFit, name: str, place: Place, session: PlacedSession) -> bool:
    """Whether a step leaves one of its sides where the segment as a whole was surely placed.

    Of a clock that stepped, one line fits best what lies on the longer side. Two lines far from it
    are two of many that fit short pieces by chance, as lines of text do that say the same again.
    """
    middle_ns = 0.5 * sum(map(float, node_span(session.by_segment[name]))) - place.lag_ns
    misses_ns = [abs(lag_at(side, middle_ns) - place.lag_ns) for side in (jump.before, jump.after)]
    return min(misses_ns) <= RIVAL_DISTANCE_S * NS_PER_S


def cut_at_step(
    segment: str,
    jump: JumpFit,
    partners: Sequence[Partner],
    session: PlacedSession,
    seen: SeenContent,
) -> Cut:
    """The step as a cut of the segment."""
    clock = clock_of(segment)
    around_ns = max(surface.length_ns for each in partners for surface in each.surfaces)
    before, after = (
        Place(lag_ns=lag_at(line, jump.t_ns), fit=line) for line in (jump.before, jump.after)
    )
    return Cut(
        clock=clock,
        before=segment,
        after=segment_name(clock, 1 + len(session.steps_of(clock))),
        t_node_ns=sharpen_instant(jump, seen.streams(segment), partners, around_ns=around_ns),
        sides=(before, after),
    )


def hinted(cut: Cut, placed: Mapping[str, Place]) -> dict[str, Place]:
    """Where the sides of a step belong by what showed it, should they be too weak on their own."""
    if cut.sides is None:
        return {}
    before, after = cut.sides
    if cut.before in placed:  # always so for the reference, which is where it is
        moved_ns = placed[cut.before].lag_ns - before.lag_ns
        return {cut.after: replace(after, lag_ns=after.lag_ns + moved_ns)}
    return {cut.before: before, cut.after: after}
