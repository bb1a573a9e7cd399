"""All methods on the same pairs of streams: of held-out generated scenes, and of recordings."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from coeval.estimates import NodeEstimate
from coeval.time import NS_PER_S
from coeval.tracks import StreamTrack, node_span
from coeval_lab.bench import align_plan
from coeval_lab.bench.align_plan import Cell, RealPair
from coeval_lab.bench.cells import Draw, tracks_of_trial
from coeval_lab.bench.encoders_baselines import (
    Activity,
    activity_lag,
    activity_of,
    embeddings_lag,
    encoded_by,
    has_raw,
    raw_lag,
    syncwise_lag,
)
from coeval_lab.bench.encoders_cca import Cca, cca_lag, maps_of
from coeval_lab.bench.encoders_learned import (
    Lag,
    Nodes,
    Works,
    believed,
    best_lag,
    compared,
    joint_offsets,
    surest,
)
from coeval_lab.bench.encoders_plan import (
    ACTIVITY,
    CCA,
    EMBEDDINGS,
    JOINT,
    LEARNED,
    RAW,
    SYNCWISE,
    VARIANTS,
    Plan,
)
from coeval_lab.bench.encoders_rows import Answer, error_of, has_stills
from coeval_lab.bench.encoders_variants import is_made
from coeval_lab.bench.material import Clock, Stream, cropped, stamped, track_of
from coeval_lab.bench.scene_cells import SCENE_SKEWS_PPM, between
from coeval_training.data import FIRST_HELD_OUT_SEED, SLOTS, StreamRows, scene_rows
from coeval_training.scenes import generate_scene

SCENES_SOURCE = "held-out scenes, 60 s"
LONG_SOURCE = "held-out scenes, 600 s"
STRANGERS = "unrelated: two scenes"
SCENE_S, LONG_SCENE_S = 60.0, 600.0
FIRST_SEED = FIRST_HELD_OUT_SEED + 500_000
FIRST_LONG_SEED = FIRST_HELD_OUT_SEED + 600_000
LARGEST_OFFSET_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One stream as the methods are given it, stamped by a clock that is wrong on purpose."""

    track: StreamTrack
    """What the product sees."""
    activity: Activity | None
    """What is made of it by hand."""
    clock: Clock
    """The clock, which no method sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Methods:
    """What the methods are made of, beside what ships."""

    cca: Cca
    """Canonical maps."""
    variants: Mapping[str, Path]
    """Folders of encoders trained by other losses, by the name of their lines."""


def methods_of(plan: Plan, cca: Cca) -> Methods:
    """The methods that a plan has."""
    folders = {} if plan.baselines is None else {n: plan.baselines / n for n in VARIANTS}
    there = {VARIANTS[name]: folder for name, folder in folders.items() if is_made(folder)}
    return Methods(cca=cca, variants=there)


def lags_of(first: View, second: View, methods: Methods) -> Iterator[tuple[str, Lag | None]]:
    """What every method but the product's own chain says of a pair; no line where it has none."""
    a, b = first.track, second.track
    yield EMBEDDINGS, embeddings_lag(a, b)
    yield ACTIVITY, activity_lag(first.activity, second.activity)
    if maps_of(methods.cca, (a.modality, b.modality)) is not None:
        yield CCA, cca_lag(methods.cca, a, b)
    if has_raw(a, b):
        yield RAW, raw_lag(a, b)
    if (a.modality, b.modality) == ("video", "metadata"):
        yield SYNCWISE, syncwise_lag(a, b)
    for name, folder in methods.variants.items():
        yield name, embeddings_lag(encoded_by(folder, a), encoded_by(folder, b))


def statement_error(node: NodeEstimate, first: Clock, second: Clock) -> float | None:
    """Error (ms) of the offset that the product states; None where it states none."""
    if node.line is None:
        return None
    t_ns = int(node.line.t0_ref_ns)
    return (node.line.offset_ns - between(first, second, t_ns)[0]) * 1e-6


def scene_views(seed: int, seconds: float, rng: np.random.Generator) -> dict[str, View]:
    """The streams of a generated scene, each on a node of its own with a false clock."""
    scene = generate_scene(seed, duration_s=seconds)
    views: dict[str, View] = {}
    for slot, modality in SLOTS.items():
        samples = list(scene.render(slot))
        if not samples:
            continue
        clock = Clock(
            offset_ns=float(rng.uniform(-LARGEST_OFFSET_S, LARGEST_OFFSET_S)) * NS_PER_S,
            skew_ppm=float(rng.choice(SCENE_SKEWS_PPM)),
        )
        stream = Stream(name=slot, modality=modality, samples=samples)
        track = track_of(
            stream,
            clock,
            node=slot,
            start_ns=0,
            stop_ns=round(seconds * NS_PER_S),
            with_speech=True,
        )
        if track.embeddings:
            activity = activity_of([stamped(sample, clock) for sample in samples])
            views[slot] = View(track=track, activity=activity, clock=clock)
    return views


def scene_answers(
    seeds: Sequence[int], seconds: float, plan: Plan, methods: Methods
) -> list[Answer]:
    """All methods on all pairs of some scenes' streams; of long scenes on those with stills."""
    is_long = seconds > SCENE_S
    source = LONG_SOURCE if is_long else SCENES_SOURCE
    answers: list[Answer] = []
    before: dict[str, View] = {}
    for seed in seeds:
        views = scene_views(seed, seconds, np.random.default_rng([plan.seed, seed, 12]))
        nodes: Nodes = {slot: [view.track] for slot, view in views.items()}
        works: Works = {
            (a, b): work
            for a, b in itertools.combinations(views, 2)
            if (work := compared(views[a].track, views[b].track)) is not None
        }
        pairs = [
            (a, b)
            for a, b in itertools.combinations(views, 2)
            if not is_long or has_stills(f"{a}-{b}")
        ]
        for a, b in pairs:
            pair, both = f"{a}-{b}", {name: nodes[name] for name in (a, b)}
            clocks = views[a].clock, views[b].clock
            own = {key: work for key, work in works.items() if key == (a, b)}
            stated = believed(own, both, reference=a)[b]
            answers.append(
                Answer(
                    pair=pair,
                    method=LEARNED,
                    source=source,
                    error_ms=error_of(best_lag(own.get((a, b)), both), *clocks),
                    locked_error_ms=statement_error(stated, *clocks),
                    was_asked=True,
                )
            )
            answers += [
                Answer(pair=pair, method=name, source=source, error_ms=error_of(lag, *clocks))
                for name, lag in lags_of(views[a], views[b], methods)
            ]
        answers += joint_answers(views, works, pairs, source=source)
        if not is_long:
            answers += strangers(before, views)
        before = views
    return answers


def joint_answers(
    views: Mapping[str, View], works: Works, pairs: Sequence[tuple[str, str]], *, source: str
) -> list[Answer]:
    """The joint step over all streams of a scene, pair by pair."""
    reference = surest(works) or next(iter(views))
    nodes: Nodes = {slot: [view.track] for slot, view in views.items()}
    middle_ns = 0.5 * sum(map(float, node_span(nodes[reference])))
    clock = views[reference].clock
    offsets = joint_offsets(works, nodes, reference=reference, t_ns=middle_ns)
    off: dict[str, float] = {reference: 0.0}
    for slot, offset_ns in offsets.items():
        lag = Lag(t_first_ns=middle_ns, lag_ns=offset_ns)
        off[slot] = error_of(lag, clock, views[slot].clock)
    stated = believed(works, nodes, reference=reference)
    locked: dict[str, float | None] = {reference: 0.0}
    for slot, node in stated.items():
        locked[slot] = statement_error(node, clock, views[slot].clock)
    answers = []
    for a, b in pairs:
        both = locked[a], locked[b]
        answers.append(
            Answer(
                pair=f"{a}-{b}",
                method=JOINT,
                source=source,
                error_ms=off[b] - off[a] if a in off and b in off else float("inf"),
                locked_error_ms=None if both[0] is None or both[1] is None else both[1] - both[0],
                was_asked=True,
            )
        )
    return answers


def strangers(before: Mapping[str, View], views: Mapping[str, View]) -> list[Answer]:
    """What the product states of streams of two different scenes: nothing is right."""
    answers = []
    for a, b in itertools.combinations(views, 2):
        if b not in before:
            continue
        other = replace(before[b].track, node="stranger")
        work = compared(views[a].track, other)
        nodes: Nodes = {a: [views[a].track], "stranger": [other]}
        stated = believed({} if work is None else {(a, "stranger"): work}, nodes, reference=a)
        answers.append(
            Answer(
                pair=STRANGERS,
                method=LEARNED,
                source=SCENES_SOURCE,
                error_ms=float("inf"),
                locked_error_ms=statement_error(stated["stranger"], Clock(), Clock()),
                was_asked=True,
                related=False,
            )
        )
    return answers


def training_rows(seeds: Sequence[int]) -> list[dict[str, StreamRows]]:
    """Rows of the streams of generated training scenes, on the true clock."""
    return [scene_rows(generate_scene(seed, duration_s=SCENE_S), seed) for seed in seeds]


def real_materials(plan: Plan) -> list[RealPair]:
    """The pairs of streams of recordings that are there."""
    return [
        material
        for material in align_plan.listed_pairs()
        if (plan.recordings / material.recording / "recording.json").exists()
    ]


def real_answers(material: RealPair, plan: Plan, methods: Methods) -> list[Answer]:
    """All methods on a recording's trials, drawn as `coeval bench align` draws its own."""
    own = replace(
        align_plan.FULL,
        recordings=plan.recordings,
        seed=plan.seed,
        trials=plan.trials,
        windows_s=plan.windows_s,
    )
    return [
        answer
        for cell in align_plan.cells_of(own, material.pair, only=material)
        for draw in cell.draws
        for answer in trial_answers(cell, draw, methods)
    ]


def trial_answers(cell: Cell, draw: Draw, methods: Methods) -> list[Answer]:
    """All methods on one trial of a recording."""
    tracks = tracks_of_trial(cell.first, cell.second, draw)
    if not all(track.embeddings for track in tracks):
        return []
    late = int(0.05 * (draw.stop_ns - draw.start_ns))
    views = [
        View(
            track=track,
            activity=activity_of(
                [
                    stamped(sample, clock)
                    for sample in cropped(
                        stream.samples, draw.start_ns + delay, draw.stop_ns + delay
                    )
                ]
            ),
            clock=clock,
        )
        for track, stream, clock, delay in (
            (tracks[0], cell.first, Clock(), 0),
            (tracks[1], cell.second, draw.clock, late),
        )
    ]
    nodes: Nodes = {track.node: [track] for track in tracks}
    work = compared(*tracks)
    works: Works = {} if work is None else {("a", "b"): work}
    clocks = views[0].clock, views[1].clock
    about = partial(
        Answer,
        pair=cell.material.pair,
        source=f"{cell.material.name}, {cell.window}",
        truth_sigma_ms=1e3 * max(cell.first.sigma_s, cell.second.sigma_s),
        held_out=cell.material.held_out,
    )
    stated = believed(works, nodes, reference="a")["b"]
    learned = about(
        method=LEARNED,
        error_ms=error_of(best_lag(work, nodes), *clocks),
        locked_error_ms=statement_error(stated, *clocks),
        was_asked=True,
    )
    return [learned] + [
        about(method=name, error_ms=error_of(lag, *clocks))
        for name, lag in lags_of(views[0], views[1], methods)
    ]
