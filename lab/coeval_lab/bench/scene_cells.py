"""Cells of generated scenes that the encoders never saw: pairs, all together, skew, cost."""

import itertools
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from coeval.align import align_tracks
from coeval.time import NS_PER_S
from coeval.tracks import StreamTrack
from coeval_lab.bench.align_plan import Plan
from coeval_lab.bench.cells import draw_trials, estimated, judge, tracks_of_trial
from coeval_lab.bench.material import Clock, Stream, track_of
from coeval_lab.bench.metrics import Trial, row_of
from coeval_lab.bench.rows import Row
from coeval_lab.bench.syncwise import METHOD, syncwise_trial
from coeval_training.data import FIRST_HELD_OUT_SEED, SLOTS
from coeval_training.scenes import generate_scene

SCENE_SKEWS_PPM = (0.0, 20.0, -20.0, 150.0, -150.0)
RIG_PAIR = "skew: video-imu"


def scene_tracks(
    seed: int, seconds: float, rng: np.random.Generator, *, slots: Sequence[str] = tuple(SLOTS)
) -> tuple[dict[str, StreamTrack], dict[str, Clock]]:
    """Streams of a generated scene, each on a node of its own with a false clock."""
    scene = generate_scene(seed, duration_s=seconds)
    tracks: dict[str, StreamTrack] = {}
    clocks: dict[str, Clock] = {}
    for slot in slots:
        samples = list(scene.render(slot))
        if not samples:
            continue
        stream = Stream(name=slot, modality=SLOTS[slot], samples=samples)
        clocks[slot] = Clock(
            offset_ns=float(rng.uniform(-15, 15)) * NS_PER_S,
            skew_ppm=float(rng.choice(SCENE_SKEWS_PPM)),
        )
        span = round(seconds * NS_PER_S)
        tracks[slot] = track_of(
            stream, clocks[slot], node=slot, start_ns=0, stop_ns=span, with_speech=True
        )
    return tracks, clocks


def between(first: Clock, second: Clock, t_first_ns: int) -> tuple[float, float]:
    """Offset (ns) and skew (ppm) of the second clock when the first one reads `t_first_ns`."""
    t_ns = (t_first_ns - first.offset_ns) / (1 + first.skew_ppm * 1e-6)
    offset_ns = t_ns + second.offset_ns + second.skew_ppm * 1e-6 * t_ns - t_first_ns
    return offset_ns, (1 + second.skew_ppm * 1e-6) / (1 + first.skew_ppm * 1e-6) * 1e6 - 1e6


def relative(first: Clock, second: Clock, t0_ns: int) -> Clock:
    """The second clock as one that is wrong against the first, from a reading of the first on."""
    offset_ns, skew_ppm = between(first, second, t0_ns)
    return Clock(offset_ns=offset_ns, skew_ppm=skew_ppm, t0_ns=t0_ns)


def scene_rows(
    plan: Plan,
    seeds: range,
    seconds: float,
    *,
    only: Callable[[str, str], bool],
    salt: int,
    is_whole: bool,
) -> Iterator[Row]:
    """All pairs of slots of generated scenes, pair by pair.

    Args:
        plan: says from which seed clocks are drawn.
        seeds: of the scenes.
        seconds: length of a scene.
        only: which pairs of slots to look at.
        salt: tells the clocks of one set of scenes from another's.
        is_whole: also all nodes of a scene together, and pairs of streams of two scenes.
    """
    by_pair: dict[str, list[Trial]] = {}
    strangers: list[Trial] = []
    before: dict[str, StreamTrack] = {}
    for seed in seeds:
        rng = np.random.default_rng([plan.seed, seed, salt])
        tracks, clocks = scene_tracks(seed, seconds, rng)
        pairs = [pair for pair in itertools.combinations(tracks, 2) if only(*pair)]
        for a, b in pairs:
            trial = scene_trial([tracks[a], tracks[b]], a, b, clocks, seconds=seconds)
            by_pair.setdefault(f"{a}-{b}", []).append(trial)
            if is_whole and b in before:
                strangers.append(stranger_trial(tracks[a], before[b], seconds=seconds))
        if is_whole:
            for slot, trial in joint_trials(tracks, clocks, seconds=seconds):
                by_pair.setdefault(f"joint: {slot} in six streams", []).append(trial)
        before = tracks
    source = f"held-out scenes, {seconds:.0f} s"
    for pair_name, trials in by_pair.items():
        yield row_of(trials, pair=pair_name, method="coeval", source=source, held_out=True)
    if strangers:
        yield row_of(
            strangers,
            pair="unrelated",
            method="coeval",
            source=source,
            held_out=True,
            note="locked should be ≤ 1",
        )


def stranger_trial(track: StreamTrack, other: StreamTrack, *, seconds: float) -> Trial:
    """Streams of two scenes: no answer is the right one."""
    found = align_tracks([track, replace(other, node="stranger")], reference=track.node)
    return judge(
        found,
        "stranger",
        Clock(),
        cpu_s=0.0,
        material_s=seconds,
        truth_sigma_s=0.0,
        related=False,
    )


def joint_trials(
    tracks: dict[str, StreamTrack], clocks: dict[str, Clock], *, seconds: float
) -> Iterator[tuple[str, Trial]]:
    """All streams of a scene in one estimate: each slot but the IMU's, which is the reference."""
    began = time.process_time()
    whole = align_tracks(list(tracks.values()), reference="imu")
    cpu_s = time.process_time() - began
    t0_ns = tracks["imu"].embeddings[0].t0_node_ns
    for slot in tracks:
        if slot != "imu":
            yield (
                slot,
                judge(
                    whole,
                    slot,
                    relative(clocks["imu"], clocks[slot], t0_ns),
                    cpu_s=cpu_s / len(tracks),
                    material_s=seconds,
                    truth_sigma_s=0.0,
                ),
            )


def scene_trial(
    pair: Sequence[StreamTrack], a: str, b: str, clocks: dict[str, Clock], *, seconds: float
) -> Trial:
    """One pair of a scene's streams."""
    began = time.process_time()
    estimate = align_tracks(pair, reference=a)
    cpu_s = time.process_time() - began
    clock = relative(clocks[a], clocks[b], pair[0].embeddings[0].t0_node_ns)
    return judge(estimate, b, clock, cpu_s=cpu_s, material_s=seconds, truth_sigma_s=0.0)


def scenes(plan: Plan) -> Iterator[Row]:
    """Generated held-out scenes of 60 s, every pair but those with stills."""
    seeds = range(FIRST_HELD_OUT_SEED, FIRST_HELD_OUT_SEED + plan.num_scenes)
    yield from scene_rows(
        plan, seeds, 60.0, only=lambda a, b: "stills" not in (a, b), salt=6, is_whole=True
    )


def long_scenes(plan: Plan) -> Iterator[Row]:
    """Generated held-out scenes of 10 minutes, pairs with stills."""
    first = FIRST_HELD_OUT_SEED + 100_000
    seeds = range(first, first + plan.num_long_scenes)
    yield from scene_rows(
        plan, seeds, 600.0, only=lambda a, b: "stills" in (a, b), salt=7, is_whole=False
    )


def skews(plan: Plan) -> Iterator[Row]:
    """Skew on two and a half minutes of a moving camera with its IMU, SyncWISE beside it."""
    ours, theirs = [], []
    for k in range(plan.num_skew_trials):
        seed = FIRST_HELD_OUT_SEED + 200_000 + k
        rng = np.random.default_rng([plan.seed, seed])
        scene = generate_scene(seed, duration_s=150.0, kind="rig")
        a, b = (
            Stream(name=slot, modality=SLOTS[slot], samples=list(scene.render(slot)))
            for slot in ("video", "imu")
        )
        draw = draw_trials(a, b, rng, window_s=None, count=k + 1)[k]
        began_s = time.process_time()
        tracks = tracks_of_trial(a, b, draw)
        shared_s = time.process_time() - began_s
        ours.append(estimated(tracks, a, b, draw, began_s=began_s))
        theirs.append(syncwise_trial(tracks, draw, shared_cpu_s=shared_s))
    for method, trials in (("coeval", ours), (METHOD, theirs)):
        if trials:
            yield row_of(
                trials,
                pair=RIG_PAIR,
                method=method,
                source="held-out rig scenes, 150 s",
                held_out=True,
            )


def speed(plan: Plan) -> Iterator[Row]:
    """CPU time and memory of three streams against the length, without decoding."""
    lengths = (300.0,) if plan.num_scenes < 10 else (300.0, 600.0, 1200.0)
    for seconds in lengths:
        scene = generate_scene(FIRST_HELD_OUT_SEED + 300_000, duration_s=seconds, kind="rig")
        streams = [
            Stream(name=slot, modality=SLOTS[slot], samples=list(scene.render(slot)))
            for slot in ("video", "imu", "audio")
        ]
        clocks = [Clock(), Clock(offset_ns=2.5e9), Clock(offset_ns=-4.2e9, skew_ppm=20.0)]
        began = time.process_time()
        tracks = [
            track_of(s, c, node=s.name, start_ns=0, stop_ns=round(seconds * NS_PER_S))
            for s, c in zip(streams, clocks, strict=True)
        ]
        align_tracks(tracks, reference="video")
        cpu_s = time.process_time() - began
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        row = row_of(
            [],
            pair="speed: video, imu, audio",
            method="coeval",
            source=f"{seconds:.0f} s",
            note=f"{cpu_s:.2f} CPU s in all",
        )
        yield row | {
            "cpu_s": round(cpu_s, 2),
            "cpu_s_per_min": round(cpu_s / seconds * 60, 3),
            "peak_mb": round(peak_mb),
        }
