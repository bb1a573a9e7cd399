"""Rows of `coeval bench encoders`: early, late and hybrid fusion at the same tasks.

What a fused vector must serve, the same for all three modes, each combination of the seed study's
table and all six streams with each modality dropped:

- `anomaly`: AUROC of the promised faults, session by session;
- `event`: a linear probe, did something happen within the last second (AUROC);
- `activity`: a linear probe of how much is going on (correlation);
- `moment`: the vector of one stream finds the vector of the others at the same moment, among the
  moments of the scene 2 s apart (mean reciprocal rank).

Probes are fitted on half of the scenes and scored on the other half, then the other way round. How
much a probe is held back (ridge) is chosen for each vector by leaving out single scenes of the half
that it is fitted on: neighbouring ticks say the same, so that what holds back a vector of 32
numbers well enough lets one of 64 learn scenes by heart.
"""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    note_session,
)
from coeval_lab.bench.fault_material import SCENE_S, FaultySession, scene_session
from coeval_lab.bench.faults import FAULTS
from coeval_lab.bench.modalities import COMBINATIONS
from coeval_training.data import SLOTS
from coeval_training.ranks import auroc, reciprocal_rank
from coeval_training.scenes import generate_scene

Row = dict[str, Any]
TASKS = ("anomaly", "event", "activity", "moment")
EVENT_S = 1.0
MOMENTS_APART_TICKS = 8
RIDGES = (10.0, 100.0, 1e3, 1e4)
"""Of probes, in squares of a column's spread."""
LEAST_LEAD = 5e-4
"""Less is no lead."""
DRAWS = 200
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
    """Ridge regression fitted on every other scene, answered for the rest, and again.

    Args:
        vectors: of at least four scenes, each of shape (ticks, V).
        wanted: the truth of each, shape (ticks,).
    """
    answers: list[NDArray[np.float64]] = [np.zeros(0)] * len(vectors)
    for part in (0, 1):
        fitted = [k for k in range(len(vectors)) if k % 2 != part]
        x = [np.asarray(vectors[k], np.float64) for k in fitted]
        y = [np.asarray(wanted[k], np.float64) for k in fitted]
        best = min(RIDGES, key=lambda ridge: missed(x, y, ridge=ridge))
        answer = fit(x, y, ridge=best)
        for k in range(part, len(vectors), 2):
            answers[k] = answer(np.asarray(vectors[k], np.float64))
    return answers


Answer = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def fit(
    x: Sequence[NDArray[np.float64]], y: Sequence[NDArray[np.float64]], *, ridge: float
) -> Answer:
    """The ridge regression of some scenes, which answers for others."""
    seen, wanted = np.concatenate(x), np.concatenate(y)
    centre, spread, level = seen.mean(axis=0), seen.std(axis=0) + 1e-6, wanted.mean()
    z = (seen - centre) / spread
    weights = np.linalg.solve(z.T @ z + ridge * np.eye(z.shape[1]), z.T @ (wanted - level))
    return lambda other: (other - centre) / spread @ weights + level


def missed(
    x: Sequence[NDArray[np.float64]], y: Sequence[NDArray[np.float64]], *, ridge: float
) -> float:
    """Squared error at scenes that were left out of the fit, one at a time."""
    error = 0.0
    for k in range(len(x)):
        answer = fit([*x[:k], *x[k + 1 :]], [*y[:k], *y[k + 1 :]], ridge=ridge)
        error += float(((answer(x[k]) - y[k]) ** 2).sum())
    return error


def inputs_of(session: FaultySession) -> TickInputs:
    """What the network sees of a calm session's streams, all of them, in their order."""
    tracks = list(session.calm.values())
    return SessionInputs([track.modality for track in tracks]).push(
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


@dataclass(slots=True)
class Trials:
    """What was measured of some streams, by session, so that sessions can be drawn again."""

    found: list[dict[tuple[Mode, str], Found]]
    """Faults injected into each session."""
    events: dict[Mode, list[NDArray[np.float64]]]
    """Answers of the probe for events."""
    happened: list[NDArray[np.bool_]]
    """The truth of them."""
    activities: dict[Mode, list[NDArray[np.float64]]]
    """Answers of the probe for activity."""
    activity: list[FloatArray]
    """The truth of it."""
    ranks: dict[Mode, list[list[float]]]
    """Reciprocal ranks of the same moment."""

    def value(self, task: str, mode: Mode, sessions: Sequence[int]) -> float | None:
        """A mode's figure at a task over some of the sessions, each as often as it is named."""
        if task == "anomaly":
            return promised([self.found[k] for k in sessions], mode)
        if task == "event":
            return scored(*drawn(self.events[mode], self.happened, sessions))
        if task == "activity":
            return correlation(*drawn(self.activities[mode], self.activity, sessions))
        ranks = [rank for k in sessions for rank in self.ranks[mode][k]]
        return float(np.mean(ranks)) if ranks else None


def drawn(answers: Sequence[Any], truth: Sequence[Any], sessions: Sequence[int]) -> tuple[Any, Any]:
    """Answers and truth of some sessions."""
    return [answers[k] for k in sessions], [truth[k] for k in sessions]


def trials_of(
    fusion: Fusion,
    sessions: Sequence[FaultySession],
    known: Mapping[int, TickInputs],
    slots: tuple[str, ...],
) -> Trials:
    """Every task, for sessions of some streams."""
    found: list[dict[tuple[Mode, str], Found]] = []
    vectors: dict[Mode, list[FloatArray]] = {mode: [] for mode in MODES}
    ranks: dict[Mode, list[list[float]]] = {mode: [] for mode in MODES}
    happened, activity = [], []
    for session in sessions:
        names = [slot for slot in slots if slot in session.calm]
        if len(names) < 2:
            continue
        found.append({})
        note_session(found[-1], fusion, session, names, calm_runs={mode: [] for mode in MODES})
        whole = vectors_of(fusion, session, names, known[id(session)])
        event, active = truth_of(session.seed, len(whole["hybrid"]))
        happened.append(event[WARM_TICKS:])
        activity.append(active[WARM_TICKS:])
        for mode in MODES:
            vectors[mode].append(whole[mode][WARM_TICKS:])
            ranks[mode].append([])
        for name in names:
            others = [other for other in names if other != name]
            there = np.flatnonzero(session.calm[name].covered[TICK_HOPS - 1 :: TICK_HOPS] > 0)
            there = there[there >= WARM_TICKS][::MOMENTS_APART_TICKS]
            if len(there) < LEAST_MOMENTS:
                continue
            alone = vectors_of(fusion, session, [name], known[id(session)], ticks=there)
            rest = vectors_of(fusion, session, others, known[id(session)], ticks=there)
            for mode in MODES:
                ranks[mode][-1].append(reciprocal_rank(alone[mode], rest[mode]))
    return Trials(
        found=found,
        events={mode: probe(vectors[mode], happened) for mode in MODES},
        happened=happened,
        activities={mode: probe(vectors[mode], activity) for mode in MODES},
        activity=activity,
        ranks=ranks,
    )


def promised(found: Sequence[Mapping[tuple[Mode, str], Found]], mode: Mode) -> float | None:
    """Mean AUROC of the promised faults."""
    scores = []
    for name in (fault.name for fault in FAULTS if fault.in_bar):
        trials = [each[mode, name] for each in found if (mode, name) in each]
        if trials:
            scores.append(
                auroc(
                    np.concatenate([run for each in trials for run in each.positive]),
                    np.concatenate([run for each in trials for run in each.negative]),
                )
            )
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
        trials = trials_of(fusion, sessions, known, slots)
        every = range(len(trials.found))
        for mode in MODES:
            row: Row = {"kind": "fusion", "pair": name, "method": mode}
            tasks = {task: trials.value(task, mode, every) for task in TASKS}
            row |= {task: rounded(value) for task, value in tasks.items()}
            told = [value for value in tasks.values() if value is not None]
            row["mean"] = rounded(float(np.mean(told))) if told else None
            if mode == "hybrid":
                leads = behind(trials)
                row["behind"] = ", ".join(lead.text for lead in leads if lead.is_certain)
                row["behind_by_chance"] = ", ".join(x.text for x in leads if not x.is_certain)
            yield row


@dataclass(frozen=True, slots=True, kw_only=True)
class Lead:
    """A task at which another mode is ahead of hybrid."""

    text: str
    """Task, mode, by how much, and the 95 % interval of that over other draws of sessions."""
    is_certain: bool
    """Whether the interval is all above zero."""


def behind(trials: Trials) -> list[Lead]:
    """Tasks at which hybrid is below early or late; sessions are drawn anew (bootstrap)."""
    found = []
    num = len(trials.found)
    others: tuple[Mode, ...] = ("early", "late")
    for task, other in itertools.product(TASKS, others):
        lead = lead_of(trials, task, other, range(num))
        if lead is None or lead <= LEAST_LEAD:
            continue
        rng = np.random.default_rng(num)
        drawn_anew = rng.integers(0, num, (DRAWS, num)).tolist()
        draws = [lead_of(trials, task, other, sessions) for sessions in drawn_anew]
        low, high = np.quantile([draw for draw in draws if draw is not None], [0.025, 0.975])
        found.append(
            Lead(
                text=f"{task}: {other} by {lead:.3f} ({low:.3f} to {high:.3f})",
                is_certain=bool(low > 0.0),
            )
        )
    return found


def lead_of(trials: Trials, task: str, other: Mode, sessions: Sequence[int]) -> float | None:
    """By how much another mode is ahead of hybrid; None: not measured."""
    ours, theirs = (trials.value(task, mode, sessions) for mode in ("hybrid", other))
    if ours is None or theirs is None or not np.isfinite(theirs - ours):
        return None
    return theirs - ours


def rounded(value: float | None) -> float | None:
    """To three digits after the point."""
    return None if value is None else round(value, 3)
