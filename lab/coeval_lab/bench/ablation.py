"""What each step of preprocessing is worth: the same trials with it and without it.

Generated scenes that nobody was trained on, as they are and disturbed (one of a pair's two streams
is, by `disturb`). A step is switched as a user would, at run time, with the weights that ship.
Every trial counts: the best lag is taken, whether the product believes it or not.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from coeval.preprocessing import DEFAULT_STEPS, STEPS, Preprocessing
from coeval.samples import MetadataBlock, Sample
from coeval.time import NS_PER_S
from coeval.tracks import StreamTrack
from coeval_lab.bench.encoders_learned import best_lag, compared
from coeval_lab.bench.material import Clock, Stream, track_of
from coeval_lab.bench.metrics import percent, rounded
from coeval_lab.bench.scene_cells import SCENE_SKEWS_PPM, between
from coeval_training.data import FIRST_HELD_OUT_SEED, SLOTS
from coeval_training.disturb import KIND_OF, disturb
from coeval_training.scenes import generate_scene

FIRST_SEED = FIRST_HELD_OUT_SEED + 700_000
SCENE_S = 60.0
SCENES_OF_PLAN = 3
"""A step's effect is seen in pairs of trials: one scene of so many of a plan's is enough."""
MATERIALS = ("clean", "disturbed")
WIDE = "wide imu"
"""The IMU among channels that copy it, stand still or wander."""
NUM_COPIES, NUM_CONSTANT, NUM_WANDERING = 18, 18, 18
LIMITS_MS = (40, 100, 300)
ALL_PAIRS = "all pairs"


class AblationPlan(Protocol):
    """How much is measured."""

    @property
    def seed(self) -> int:
        """Seeds every draw."""

    @property
    def num_scenes(self) -> int:
        """Generated scenes of the whole benchmark."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One pair of streams, of one scene, with a step on or off."""

    step: str
    """The step."""
    state: str
    """"on" or "off"."""
    source: str
    """Clean or disturbed."""
    pair: str
    """The stream whose step it is, and the other one."""
    error_ms: float
    """Size of the best lag's error; infinite where nothing peaks."""


def ablation_rows(plan: AblationPlan, *, first_seed: int = FIRST_SEED) -> Iterator[dict[str, Any]]:
    """Lines of the ablation: every step, on and off, on every pair it concerns and on all of them.

    Args:
        plan: how much is measured.
        first_seed: of the scenes; held-out ones unless something is being tuned.
    """
    num_scenes = max(plan.num_scenes // SCENES_OF_PLAN, 1)
    trials: list[Trial] = []
    for seed in range(first_seed, first_seed + num_scenes):
        trials += scene_trials(seed, np.random.default_rng([plan.seed, seed]))
    groups: dict[tuple[str, str, str, str], list[float]] = {}
    for trial in trials:
        for pair in (ALL_PAIRS, trial.pair):
            key = (trial.step, pair, trial.source, trial.state)
            groups.setdefault(key, []).append(trial.error_ms)
    for step, pair, source, state in sorted(groups, key=order_of):
        errors = np.array(groups[step, pair, source, state])
        median = float(np.median(errors))
        yield {
            "step": step,
            "state": state,
            "pair": pair,
            "method": f"{step} {state}",
            "source": f"{source} scenes, {SCENE_S:.0f} s",
            "held_out": first_seed >= FIRST_HELD_OUT_SEED,
            "trials": len(errors),
            "median_ms": rounded(median) if math.isfinite(median) else None,
        } | {
            f"within_{limit}ms": percent(int((errors <= limit).sum()), len(errors))
            for limit in LIMITS_MS
        }


def order_of(key: tuple[str, str, str, str]) -> tuple[str, bool, str, str, bool]:
    """Steps together, all pairs before each, on before off."""
    step, pair, source, state = key
    return step, pair != ALL_PAIRS, pair, source, state == "off"


def scene_trials(seed: int, rng: np.random.Generator) -> Iterator[Trial]:
    """All trials of one scene."""
    scene = generate_scene(seed, duration_s=SCENE_S)
    samples = {slot: list(scene.render(slot)) for slot in SLOTS}
    clocks = {slot: drawn_clock(rng) for slot in (*SLOTS, WIDE)}
    plain = {
        slot: seen(slot, of_slot, clocks[slot], DEFAULT_STEPS)
        for slot, of_slot in samples.items()
        if of_slot
    }
    if samples["imu"]:
        samples[WIDE] = list(widened(samples["imu"], rng))
    for slot, of_slot in samples.items():
        if not of_slot:
            continue
        kind = KIND_OF[modality_of(slot)]
        disturbed = list(disturb(of_slot, kind, np.random.default_rng([seed, len(slot)])))
        for source, material in zip(MATERIALS, (of_slot, disturbed), strict=True):
            yield from slot_trials(slot, material, clocks, plain, source=source)


def slot_trials(
    slot: str,
    samples: list[Sample],
    clocks: Mapping[str, Clock],
    plain: Mapping[str, StreamTrack],
    *,
    source: str,
) -> Iterator[Trial]:
    """One stream with each of its steps on and off, against all other streams of its scene."""
    steps = [step for step in STEPS[modality_of(slot)] if (step == "wide") == (slot == WIDE)]
    as_usual = seen(slot, samples, clocks[slot], DEFAULT_STEPS)
    turned = {
        step: seen(
            slot,
            samples,
            clocks[slot],
            replace(DEFAULT_STEPS, **{step: not getattr(DEFAULT_STEPS, step)}),
        )
        for step in steps
    }
    for other, track in plain.items():
        if other == slot or (slot == WIDE and other == "imu"):
            continue
        usual_ms = error_ms(track, as_usual, clocks[other], clocks[slot])
        for step in steps:
            turned_ms = error_ms(track, turned[step], clocks[other], clocks[slot])
            is_usual = getattr(DEFAULT_STEPS, step)
            for state, is_on in (("on", True), ("off", False)):
                yield Trial(
                    step=step,
                    state=state,
                    source=source,
                    pair=f"{slot}-{other}",
                    error_ms=usual_ms if is_on == is_usual else turned_ms,
                )


def modality_of(slot: str) -> Any:
    """Modality of a scene's stream."""
    return "metadata" if slot == WIDE else SLOTS[slot]


def drawn_clock(rng: np.random.Generator) -> Clock:
    """A clock that is wrong on purpose."""
    offset_ns = float(rng.uniform(-15, 15)) * NS_PER_S
    return Clock(offset_ns=offset_ns, skew_ppm=float(rng.choice(SCENE_SKEWS_PPM)))


def seen(
    slot: str, samples: list[Sample], clock: Clock, preprocessing: Preprocessing
) -> StreamTrack:
    """A stream as the product sees it."""
    return track_of(
        Stream(name=slot, modality=modality_of(slot), samples=samples),
        clock,
        node=slot,
        start_ns=0,
        stop_ns=round(SCENE_S * NS_PER_S),
        with_speech=True,
        preprocessing=preprocessing,
    )


def error_ms(a: StreamTrack, b: StreamTrack, clock_a: Clock, clock_b: Clock) -> float:
    """Size of the error of the second stream's best lag against the first."""
    lag = best_lag(compared(a, b), {a.node: [a], b.node: [b]})
    if lag is None:
        return math.inf
    return abs(lag.lag_ns - between(clock_a, clock_b, round(lag.t_first_ns))[0]) * 1e-6


def widened(samples: list[Sample], rng: np.random.Generator) -> Iterator[Sample]:
    """Readings among many more channels: noisy mixtures of them, constants, slow wanderers."""
    mixing: np.ndarray | None = None
    at = np.zeros(NUM_WANDERING)
    for sample in samples:
        assert isinstance(sample, MetadataBlock)
        num, channels = sample.values.shape
        if mixing is None:
            mixing = rng.standard_normal((channels, NUM_COPIES)) * 10.0 ** rng.uniform(
                -3, 3, NUM_COPIES
            )
        steps = rng.standard_normal((num, NUM_WANDERING))
        wandering = at + np.cumsum(steps, axis=0)
        at = wandering[-1] if num else at
        copies = np.nan_to_num(sample.values) @ mixing
        constant = np.full((num, NUM_CONSTANT), 7.0)
        yield replace(
            sample, values=np.concatenate([sample.values, copies, constant, wandering], axis=1)
        )
