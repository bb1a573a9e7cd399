"""Rows of `coeval bench encoders`: early, late and hybrid fusion at the same tasks.

What a fused vector must serve, the same for all three modes, each combination of the seed study's
table and all six streams with each modality dropped:

- `anomaly`: AUROC of the promised faults, session by session;
- `event`: a linear probe, did something happen within the last second (AUROC);
- `activity`: a linear probe of how much is going on (correlation);
- `moment`: the vector of one stream finds the vector of the others at the same moment, among the
  moments of the scene 2 s apart (mean reciprocal rank).

Probes are fitted on half of the scenes and scored on the other half, then the other way round.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coeval.fusion_input import TICK_HOPS, SessionInputs, TickInputs
from coeval.hops import HOP_NS
from coeval.samples import FloatArray
from coeval.time import NS_PER_S
from coeval_aggregator.fusion import MODES, Fusion, Mode
from coeval_lab.bench.anomaly import (
    ALL_STREAMS,
    FIRST_SEED,
    WARM_TICKS,
    Found,
    auroc,
    note_session,
)
from coeval_lab.bench.fault_material import SCENE_S, FaultySession, scene_session
from coeval_lab.bench.faults import FAULTS
from coeval_lab.bench.modalities import COMBINATIONS
from coeval_training.data import SLOTS
from coeval_training.scenes import generate_scene

Row = dict[str, Any]
Tasks = dict[str, float | None]
TASKS = ("anomaly", "event", "activity", "moment")
EVENT_S = 1.0
MOMENTS_APART_TICKS = 8
RIDGE = 10.0
LEAST_MOMENTS = 10
"""A stream that is there at fewer moments of a scene is not searched for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionPlan:
    """How much is measured."""

    num_scenes: int = 16
    """Generated held-out scenes."""


def combinations() -> dict[str, tuple[str, ...]]:
    """The table's, all six streams, and those with a modality dropped."""
    found = dict(COMBINATIONS) | {ALL_STREAMS: tuple(SLOTS)}
    for modality in dict.fromkeys(SLOTS.values()):
        rest = tuple(slot for slot, kind in SLOTS.items() if kind != modality)
        found[f"{ALL_STREAMS} but {modality}"] = rest
    return found


def truth_of(seed: int, num_ticks: int) -> tuple[NDArray[np.bool_], FloatArray]:
    """Whether something happened within the last second of each tick, and the activity."""
    latent = generate_scene(seed, duration_s=SCENE_S).latent
    t_s = np.arange(1, num_ticks + 1) * TICK_HOPS * HOP_NS / NS_PER_S
    events = np.array([event.t_s for event in latent.events])
    since = np.searchsorted(events, t_s) - np.searchsorted(events, t_s - EVENT_S)
    return since > 0, np.asarray(latent.at("activity", t_s), np.float32)


def probe(
    vectors: Sequence[FloatArray], wanted: Sequence[NDArray[Any]]
) -> list[NDArray[np.float64]]:
    """Ridge regression fitted on every other scene, answered for the rest, and again."""
    answers: list[NDArray[np.float64]] = [np.zeros(0)] * len(vectors)
    for part in (0, 1):
        fitted = [k for k in range(len(vectors)) if k % 2 != part]
        x = np.concatenate([vectors[k] for k in fitted]).astype(np.float64)
        y = np.concatenate([wanted[k] for k in fitted]).astype(np.float64)
        centre, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
        z = (x - centre) / spread
        weights = np.linalg.solve(z.T @ z + RIDGE * np.eye(z.shape[1]), z.T @ (y - y.mean()))
        for k in range(part, len(vectors), 2):
            answers[k] = (vectors[k] - centre) / spread @ weights
    return answers


def reciprocal_rank(one: FloatArray, rest: FloatArray) -> float:
    """Mean reciprocal rank of the same moment, both ways, by cosine; rows are moments."""
    a = one / (np.linalg.norm(one, axis=1, keepdims=True) + 1e-9)
    b = rest / (np.linalg.norm(rest, axis=1, keepdims=True) + 1e-9)
    scores = a @ b.T
    own = np.diag(scores)
    ranks = np.concatenate(
        [1 + (scores > own[:, None]).sum(axis=1), 1 + (own[:, None] < scores.T).sum(axis=1)]
    )
    return float((1.0 / ranks).mean())


def inputs_of(session: FaultySession) -> TickInputs:
    """What the network sees of a calm session's streams, all of them, in their order."""
    tracks = list(session.calm.values())
    return SessionInputs(len(tracks)).push(
        np.stack([track.rows for track in tracks]), np.stack([track.covered for track in tracks])
    )


def vectors_of(
    fusion: Fusion,
    session: FaultySession,
    names: Sequence[str],
    known: TickInputs,
    *,
    ticks: NDArray[np.intp] | slice = slice(None),
) -> dict[Mode, FloatArray]:
    """Fused vectors of some streams at some ticks; agreement plays no part in a vector."""
    at = [list(session.calm).index(name) for name in names]
    raw = fusion.run(known.take(ticks, at), [session.calm[name].modality for name in names])
    return {mode: raw.vectors[:, m] for m, mode in enumerate(MODES)}


def tasks_of(
    fusion: Fusion,
    sessions: Sequence[FaultySession],
    known: Mapping[int, TickInputs],
    slots: tuple[str, ...],
) -> dict[Mode, Tasks]:
    """Every task's figure for sessions of some streams, by mode."""
    found: dict[tuple[Mode, str], Found] = {}
    vectors: dict[Mode, list[FloatArray]] = {mode: [] for mode in MODES}
    ranks: dict[Mode, list[float]] = {mode: [] for mode in MODES}
    happened, activity = [], []
    for session in sessions:
        names = [slot for slot in slots if slot in session.calm]
        if len(names) < 2:
            continue
        note_session(found, fusion, session, names, calm_runs={mode: [] for mode in MODES})
        whole = vectors_of(fusion, session, names, known[id(session)])
        event, active = truth_of(session.seed, len(whole["hybrid"]))
        happened.append(event[WARM_TICKS:])
        activity.append(active[WARM_TICKS:])
        for mode in MODES:
            vectors[mode].append(whole[mode][WARM_TICKS:])
        for name in names:
            others = [other for other in names if other != name]
            there = np.flatnonzero(session.calm[name].covered[TICK_HOPS - 1 :: TICK_HOPS] > 0)
            there = there[there >= WARM_TICKS][::MOMENTS_APART_TICKS]
            if len(there) < LEAST_MOMENTS:
                continue
            alone = vectors_of(fusion, session, [name], known[id(session)], ticks=there)
            rest = vectors_of(fusion, session, others, known[id(session)], ticks=there)
            for mode in MODES:
                ranks[mode].append(reciprocal_rank(alone[mode], rest[mode]))
    return {
        mode: {
            "anomaly": promised(found, mode),
            "event": scored(probe(vectors[mode], happened), happened),
            "activity": correlation(probe(vectors[mode], activity), activity),
            "moment": float(np.mean(ranks[mode])) if ranks[mode] else None,
        }
        for mode in MODES
    }


def promised(found: Mapping[tuple[Mode, str], Found], mode: Mode) -> float | None:
    """Mean AUROC of the promised faults."""
    scores = [
        auroc(np.concatenate(trials.positive), np.concatenate(trials.negative))
        for (of_mode, name), trials in found.items()
        if of_mode == mode and any(f.name == name and f.in_bar for f in FAULTS)
    ]
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if known else None


def scored(
    answers: Sequence[NDArray[np.float64]], truth: Sequence[NDArray[np.bool_]]
) -> float | None:
    """AUROC of a probe over all scenes."""
    said, true = np.concatenate(answers), np.concatenate(truth)
    return auroc(said[true], said[~true])


def correlation(answers: Sequence[NDArray[np.float64]], truth: Sequence[FloatArray]) -> float:
    """Correlation of a probe with the truth over all scenes."""
    return float(np.corrcoef(np.concatenate(answers), np.concatenate(truth))[0, 1])


def fusion_rows(plan: FusionPlan, *, fusion: Fusion | None = None) -> Iterator[Row]:
    """Early, late and hybrid at every task, combination by combination."""
    fusion = fusion or Fusion.load()
    promised_faults = [fault for fault in FAULTS if fault.in_bar]
    sessions = [
        scene_session(FIRST_SEED + k, faults=promised_faults) for k in range(plan.num_scenes)
    ]
    yield from compared(fusion, sessions)


def compared(fusion: Fusion, sessions: Sequence[FaultySession]) -> Iterator[Row]:
    """A line for each combination and mode; hybrid's says where it is not the best."""
    known = {id(session): inputs_of(session) for session in sessions}
    for name, slots in combinations().items():
        tasks = tasks_of(fusion, sessions, known, slots)
        for mode in MODES:
            row: Row = {"kind": "fusion", "pair": name, "method": mode}
            row |= {task: rounded(tasks[mode][task]) for task in TASKS}
            told = [value for value in tasks[mode].values() if value is not None]
            row["mean"] = rounded(float(np.mean(told))) if told else None
            if mode == "hybrid":
                row["behind"] = ", ".join(behind(tasks))
            yield row


def behind(tasks: Mapping[Mode, Tasks]) -> list[str]:
    """Tasks at which hybrid is below early or late, with the other's lead."""
    found = []
    others: tuple[Mode, ...] = ("early", "late")
    for task, other in itertools.product(TASKS, others):
        ours, theirs = tasks["hybrid"][task], tasks[other][task]
        if ours is not None and theirs is not None and theirs - ours > 5e-4:
            found.append(f"{task}: {other} by {theirs - ours:.3f}")
    return found


def rounded(value: float | None) -> float | None:
    """To three digits after the point."""
    return None if value is None else round(value, 3)
