"""Rows of `coeval bench encoders`: how well injected faults are found, and how often none is.

Every fault is one stream's from some moment to the end. A tick of it counts as positive from
GRACE_S after that moment (what the promise allows), the same session's calm ticks as negative.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coeval.fusion_input import TICK_HOPS, SessionInputs
from coeval.samples import FloatArray, Modality
from coeval_aggregator.fusion import ALARMS_PER_DAY, MODES, WARM_HOPS, Fusion, Mode
from coeval_aggregator.own_usual import OwnPast
from coeval_lab.bench.fault_material import (
    FaultySession,
    Track,
    recording_sessions,
    scene_session,
)
from coeval_lab.bench.faults import FAULTS, Fault
from coeval_lab.bench.modalities import COMBINATIONS
from coeval_training.data import FIRST_HELD_OUT_SEED
from coeval_training.ranks import auroc

Row = dict[str, Any]

FIRST_SEED = FIRST_HELD_OUT_SEED + 500_000
ALL_STREAMS = "all streams"
TICKS_PER_S = 4
GRACE_S = 2.0
NOT_JUDGED = -11.5
"""Score of a stream that is not there, or not long enough."""
HOURLY = 24.0
RATES = (ALARMS_PER_DAY, HOURLY)
"""False alarms a day and session that are accepted."""
WARM_TICKS = 48
"""Ticks at a session's start that are not counted (12 s)."""
TRAINED_ON = ("frozen camera", "stuck sensor", "dead microphone", "desync", "swapped")
"""Faults whose like the network saw in training, made in another way and on other scenes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyPlan:
    """How much is measured."""

    num_scenes: int = 24
    """Generated held-out scenes."""
    recordings: Path | None = None
    """Folder of real recordings; None: none."""
    seed: int = 1
    """Seeds the draws of recordings' faults."""


@dataclass(slots=True)
class Found:
    """What was found of one kind of fault."""

    positive: list[FloatArray] = field(default_factory=list)
    """Session scores of faulty ticks, a run each."""
    negative: list[FloatArray] = field(default_factory=list)
    """Of calm ticks of the same sessions."""
    own_positive: list[FloatArray] = field(default_factory=list)
    """The faulty stream's own scores."""
    own_negative: list[FloatArray] = field(default_factory=list)
    """The same stream's, calm."""
    knowable: list[NDArray[np.bool_]] = field(default_factory=list)
    """Of each faulty tick: whether anything that came by then differs from what would have come."""
    delays_s: dict[float, list[float]] = field(default_factory=lambda: {rate: [] for rate in RATES})
    """From onset to alarm, by accepted false alarms a day; infinite: none."""
    blamed: list[bool] = field(default_factory=list)
    """Whether the alarm named the stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Scores of a session's ticks, by mode."""

    session: dict[Mode, FloatArray]
    """log10 of days between such false alarms, shape (N,); NaN where nothing can be judged."""
    streams: dict[Mode, FloatArray]
    """Of each stream alone, shape (N, S)."""
    vectors: dict[Mode, FloatArray]
    """Fused vectors, shape (N, 64)."""


class KnownSession:
    """What is known of a session's streams by some moment."""

    def __init__(self, modality: Sequence[Modality]) -> None:
        """Begin with nothing known.

        Args:
            modality: of each stream.
        """
        self.inputs = SessionInputs(modality)
        self.past: dict[Mode, list[OwnPast]] = {
            mode: [OwnPast() for _ in modality] for mode in MODES
        }

    def judged_by(
        self, mode: Mode, s: int, scores: FloatArray, usable: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What a stream's next ticks are judged by, as `OwnPast` tells, where they are usable."""
        own = self.past[mode][s]
        told = [
            own.push(float(x)) if ok else (x, np.nan) for x, ok in zip(scores, usable, strict=True)
        ]
        lasted, usual = np.array(told, np.float64).reshape(-1, 2).T
        return lasted, usual


def judge(
    fusion: Fusion,
    tracks: Sequence[Track],
    *,
    known: KnownSession | None = None,
    from_hop: int = 0,
    to_hop: int | None = None,
) -> Judged:
    """All modes' answers for a session.

    Args:
        fusion: the network.
        tracks: all streams.
        known: what is known of the hops before `from_hop`; goes on to `to_hop`. None: nothing.
        from_hop: first hop to be pushed, a multiple of TICK_HOPS.
        to_hop: the end; None: all.
    """
    known = known or KnownSession([track.modality for track in tracks])
    span = slice(from_hop, to_hop)
    covered = np.stack([track.covered for track in tracks])
    given = known.inputs.push(np.stack([track.rows[span] for track in tracks]), covered[:, span])
    raw = fusion.run(given, [track.modality for track in tracks])
    ends = from_hop + np.arange(1, len(raw.vectors) + 1) * TICK_HOPS
    seen = np.cumsum(covered, axis=1)[:, ends - 1].T
    usable = (raw.present > 0) & (seen >= WARM_HOPS)
    by_stream: dict[Mode, FloatArray] = {}
    by_session: dict[Mode, FloatArray] = {}
    for m, mode in enumerate(MODES):
        per_day = np.full(usable.shape, np.inf)
        for s, track in enumerate(tracks):
            lasted, usual = known.judged_by(mode, s, raw.scores[:, m, s], usable[:, s])
            rate = fusion.per_day(
                lasted,
                track.surprise[ends - 1],
                modality=track.modality,
                mode=mode,
                usual=usual,
            )
            per_day[:, s] = np.inf if rate is None else rate
        per_day = np.where(usable, np.maximum(per_day, 1e-12), 1e12)
        by_stream[mode] = -np.log10(per_day)
        least = per_day.min(axis=1) * np.maximum(usable.sum(axis=1), 1)
        by_session[mode] = np.where(usable.any(axis=1), -np.log10(least), np.nan)
    return Judged(
        session=by_session,
        streams=by_stream,
        vectors={mode: raw.vectors[:, m] for m, mode in enumerate(MODES)},
    )


def note_session(
    found: dict[tuple[Mode, str], Found],
    fusion: Fusion,
    session: FaultySession,
    names: Sequence[str],
    *,
    calm_runs: dict[Mode, list[FloatArray]],
) -> None:
    """Judge a session of some streams, calm and with each fault of one of them."""
    tracks = [session.calm[name] for name in names]
    begin = session.onset_hop // TICK_HOPS * TICK_HOPS
    known = KnownSession([track.modality for track in tracks])
    before = judge(fusion, tracks, known=known, to_hop=begin)
    after = judge(fusion, tracks, known=copy.deepcopy(known), from_hop=begin)
    calm = {
        mode: np.concatenate([before.session[mode], after.session[mode]])[WARM_TICKS:]
        for mode in MODES
    }
    for mode in MODES:
        calm_runs[mode].append(calm[mode])
    for injected in session.injected:
        name = injected.track.name
        if name not in names:
            continue
        at = names.index(name)
        faulty = [injected.track if track.name == name else track for track in tracks]
        changed = judge(fusion, faulty, known=copy.deepcopy(known), from_hop=begin)
        knowable = told_apart(session.calm[name], injected.track)[begin:][
            TICK_HOPS - 1 :: TICK_HOPS
        ]
        for mode in MODES:
            own = np.concatenate([before.streams[mode][:, at], after.streams[mode][:, at]])
            note_fault(
                found.setdefault((mode, injected.fault.name), Found()),
                injected.fault,
                calm=calm[mode],
                changed=changed.session[mode],
                calm_own=own[WARM_TICKS:],
                changed_streams=changed.streams[mode],
                knowable=knowable,
                at=at,
            )


def told_apart(calm: Track, faulty: Track) -> NDArray[np.bool_]:
    """Whether, up to each hop, anything came that would not have come without the fault.

    A log that is late tells nothing of it before a line is due, one way or the other: no judge
    could know.
    """
    differs = (calm.rows != faulty.rows).any(axis=1)
    differs |= (calm.covered != faulty.covered) | (calm.surprise != faulty.surprise)
    found: NDArray[np.bool_] = np.logical_or.accumulate(differs)
    return found


def note_fault(
    found: Found,
    fault: Fault,
    *,
    calm: FloatArray,
    changed: FloatArray,
    calm_own: FloatArray,
    changed_streams: FloatArray,
    knowable: NDArray[np.bool_],
    at: int,
) -> None:
    """Add one trial; what changed begins with the tick in which the fault begins."""
    late = round(GRACE_S * TICKS_PER_S)
    found.negative.append(finite(calm))
    is_known = np.isfinite(changed[late:])
    found.positive.append(changed[late:][is_known])
    found.knowable.append(knowable[late:][is_known])
    if fault.alarms:
        found.own_negative.append(calm_own[calm_own > NOT_JUDGED])
        own = changed_streams[late:, at]
        found.own_positive.append(own[own > NOT_JUDGED])
    for rate in RATES:
        alarms = np.flatnonzero(changed >= -np.log10(rate))
        found.delays_s[rate].append((alarms[0] + 1) / TICKS_PER_S if len(alarms) else np.inf)
    alarms = np.flatnonzero(changed >= -np.log10(ALARMS_PER_DAY))
    if len(alarms):
        found.blamed.append(int(changed_streams[alarms[0]].argmax()) == at)


def finite(scores: FloatArray) -> FloatArray:
    """Those that are known."""
    return scores[np.isfinite(scores)]


def rows_of(
    found: Mapping[tuple[Mode, str], Found],
    calm_runs: Mapping[Mode, Sequence[FloatArray]],
    *,
    source: str,
    combination: str,
) -> Iterator[Row]:
    """A line for each mode and fault."""
    for (mode, name), trials in sorted(found.items()):
        fault = next(f for f in FAULTS if f.name == name)
        calm = np.concatenate([finite(run) for run in calm_runs[mode]])
        positive, knowable = np.concatenate(trials.positive), np.concatenate(trials.knowable)
        negative = np.concatenate(trials.negative)
        score = auroc(positive, negative)
        known = auroc(positive[knowable], negative)
        own = (
            auroc(np.concatenate(trials.own_positive), np.concatenate(trials.own_negative))
            if trials.own_positive
            else None
        )
        yield {
            "kind": "anomaly",
            "pair": combination,
            "fault": name,
            "method": mode,
            "source": source,
            "in_bar": fault.in_bar,
            "unseen_fault": not name.startswith(TRAINED_ON),
            "trials": len(trials.positive),
            "auroc": None if score is None else round(score, 4),
            "auroc_stream": None if own is None else round(own, 4),
            "auroc_knowable": None if known is None else round(known, 4),
            "not_knowable": round(100 * float(np.mean(~knowable)), 1) if len(knowable) else None,
            "never_knowable": sum(not each.any() for each in trials.knowable),
            **delays_of(trials.delays_s[ALARMS_PER_DAY], ""),
            "blamed": round(100 * float(np.mean(trials.blamed)), 1) if trials.blamed else None,
            **delays_of(trials.delays_s[HOURLY], "_hourly"),
            "calm_hours": round(len(calm) / TICKS_PER_S / 3600, 2),
            "calm_alarms": sum(spells(run) for run in calm_runs[mode]),
        }


def delays_of(delays_s: Sequence[float], suffix: str) -> Row:
    """How many are found, how soon, of those found at all: median and nine of ten."""
    delays = np.array(delays_s)
    caught = delays[np.isfinite(delays)]
    found = len(caught) > 0
    return {
        f"within_2s{suffix}": round(100 * float(np.mean(delays <= GRACE_S)), 1),
        f"detected{suffix}": round(100 * len(caught) / len(delays), 1),
        f"median_delay{suffix}_s": round(float(np.median(caught)), 2) if found else None,
        f"p90_delay{suffix}_s": round(float(np.quantile(caught, 0.9)), 2) if found else None,
    }


def spells(run: FloatArray) -> int:
    """Alarms of a calm run; those less than 10 s apart are one."""
    above = np.flatnonzero(run >= -np.log10(ALARMS_PER_DAY))
    return 0 if not len(above) else 1 + int((np.diff(above) > 10 * TICKS_PER_S).sum())


def combinations_of(session: FaultySession, *, is_scene: bool) -> dict[str, tuple[str, ...]]:
    """Which streams are looked at together."""
    every = {ALL_STREAMS: tuple(session.calm)}
    if not is_scene:
        return every
    table = {
        name: slots for name, slots in COMBINATIONS.items() if all(s in session.calm for s in slots)
    }
    return every | table


def measured(
    fusion: Fusion, sessions: Sequence[FaultySession], *, source: str, is_scene: bool
) -> list[Row]:
    """Lines of all combinations of modalities."""
    found: dict[str, dict[tuple[Mode, str], Found]] = {}
    calm: dict[str, dict[Mode, list[FloatArray]]] = {}
    for session in sessions:
        for name, slots in combinations_of(session, is_scene=is_scene).items():
            note_session(
                found.setdefault(name, {}),
                fusion,
                session,
                slots,
                calm_runs=calm.setdefault(name, {mode: [] for mode in MODES}),
            )
    return [
        row
        for name, trials in found.items()
        for row in rows_of(trials, calm[name], source=source, combination=name)
    ]


def anomaly_rows(plan: AnomalyPlan, *, fusion: Fusion | None = None) -> Iterator[Row]:
    """Injected faults on generated scenes and on real recordings that nothing was trained on."""
    fusion = fusion or Fusion.load()
    scenes = [scene_session(FIRST_SEED + k) for k in range(plan.num_scenes)]
    yield from measured(fusion, scenes, source="held-out scenes", is_scene=True)
    if plan.recordings is not None:
        real = list(recording_sessions(plan.recordings, seed=plan.seed))
        yield from measured(fusion, real, source="held-out recordings", is_scene=False)
        for session in real:
            yield from measured(fusion, [session], source=session.source, is_scene=False)
