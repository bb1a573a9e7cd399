"""`coeval bench align`: offsets and skews from content, on real recordings and held-out scenes."""

import itertools
import multiprocessing
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from coeval.align import StreamTrack, align_tracks
from coeval.time import NS_PER_S
from coeval_lab.bench.bars import Bar, every
from coeval_lab.bench.cells import Draw, draw_trial, judge, our_trial
from coeval_lab.bench.material import Clock, Stream, degraded, recorded, silent, track_of
from coeval_lab.bench.metrics import Trial, row_of
from coeval_lab.bench.peer_cells import peer_rows
from coeval_lab.bench.report import Page, plot_pairs
from coeval_training.data import FIRST_HELD_OUT_SEED, SLOTS
from coeval_training.material import TRAINED_ON
from coeval_training.scenes import generate_scene

Row = dict[str, Any]

WORKERS = 2
SCENE_SKEWS_PPM = (0.0, 20.0, -20.0, 150.0, -150.0)

SOUNDS = (
    "able_frenchsong",
    "phone_call_sample",
    "mfa_acoustic_corpus",
    "ami_trn07",
    "ami_tst00",
    "gopro_hero7",
)
SPEECH = (
    ("able_frenchsong", "text"),
    ("phone_call_sample", "text"),
    ("mfa_acoustic_corpus", "text"),
    ("ami_trn07", "speaker_turns"),
    ("mdn_friday_film", "text"),
)
REAL_PAIRS = (
    ("video-metadata", "gopro_karma", "video", "gyro"),
    ("video-metadata", "gopro_karma", "video", "accl"),
    ("video-metadata", "donkeycar_tub", "video", "control"),
    ("audio-video", "gopro_karma", "audio", "video"),
    ("audio-video", "grid_bbaf2n", "audio", "video"),
    ("audio-video", "grid_lrwp9a", "audio", "video"),
    ("metadata-metadata", "comma2k19_example", "can_speed", "can_wheels"),
    ("metadata-metadata", "comma2k19_example", "accel", "frame_velocity"),
    ("metadata-metadata", "comma2k19_example", "gyro", "frame_orientation"),
    ("metadata-metadata", "px4_cubeorange", "imu", "attitude"),
    ("metadata-metadata", "px4_appended", "imu", "attitude"),
    ("metadata-metadata", "neon_multipart_2025", "imu", "gaze"),
    ("metadata-metadata", "twistnsync_two_gyros", "mcu_gyro", "smartphone_gyro"),
    ("metadata-metadata", "gopro_hero7", "gyro", "accl"),
    ("text-metadata", "neon_multipart_2025", "log", "imu"),
    ("audio-text", "heart_pcg_ecg_1", "audio", "ecg_events"),
    ("image-metadata", "drone_brighton", "images", "telemetry"),
    ("image-metadata", "cuav_flight_2018", "images", "attitude"),
    ("video-video", "caliscope_4cam", "cam_0", "cam_1"),
)
ABSTAIN = (
    ("video-metadata, stabilised", "gopro_hero7", "video", "gyro"),
    ("audio-text, near-continuous speech", "ami_tst00", "audio", "speaker_turns"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    recordings: Path
    """Folder of real recordings; cells whose recording is absent are left out and named."""
    seed: int
    """Seeds every draw."""
    repeats: int
    """Trials per recording and window."""
    num_scenes: int
    """Generated held-out scenes of 60 s."""
    num_long_scenes: int
    """Generated held-out scenes of 10 minutes (stills)."""
    num_skew_trials: int
    """Trials of the long skew cells."""
    windows_s: tuple[float | None, ...]
    """Lengths of pieces; None: the whole recording."""
    with_peers: bool
    """Whether the peers run."""


FULL = Plan(
    recordings=Path("../shared/recordings"),
    seed=1,
    repeats=24,
    num_scenes=200,
    num_long_scenes=14,
    num_skew_trials=24,
    windows_s=(10.0, 30.0, 60.0, None),
    with_peers=True,
)
QUICK = replace(
    FULL,
    repeats=2,
    num_scenes=4,
    num_long_scenes=0,
    num_skew_trials=2,
    windows_s=(None,),
    with_peers=False,
)

Say = Callable[[str], None]

PAGE = Page(
    title="share within a tolerance: % of accepted; locked, wrong: % of trials",
    columns=(
        "pair",
        "method",
        "source",
        "trials",
        "locked",
        "median_ms",
        "p95_ms",
        "within_20ms",
        "within_40ms",
        "within_100ms",
        "within_300ms",
        "wrong",
        "coverage95",
        "skew_err_ppm",
        "cpu_s_per_min",
        "held_out",
        "note",
    ),
    names=("pair", "method", "source"),
    explanation=(
        "`locked` and `wrong` are % of trials, `within` are % of accepted trials, `coverage95` is "
        "the share of accepted trials whose error lies in the stated 95% interval widened by the "
        "truth's own spread. `held_out`: the encoders never saw the recording or scene."
    ),
    plot=plot_pairs,
    caption="median error by pair",
)


def plan_of(
    *, quick: bool, seed: int, recordings: Path | None = None, with_peers: bool = True
) -> Plan:
    """What to measure."""
    plan = replace(QUICK if quick else FULL, seed=seed)
    if not with_peers:
        plan = replace(plan, with_peers=False)
    if recordings is not None:
        plan = replace(plan, recordings=recordings)
    return plan


def run(plan: Plan, *, say: Say) -> tuple[list[Row], list[Bar]]:
    """Every cell, and how the bars stand.

    Args:
        plan: how much to measure.
        say: called with the name of each cell that is done.
    """
    cells: Sequence[tuple[str, Callable[[Plan], Iterator[Row]]]] = (
        ("audio-audio", sounds),
        ("audio-text", speech),
        ("other real pairs", real_pairs),
        ("pairs that must abstain", abstaining),
        ("unrelated and silent pairs", unrelated),
        ("generated scenes", scenes),
        ("generated scenes of 10 minutes", long_scenes),
        ("skew", skews),
        ("speed", speed),
        ("peers", peers),
    )
    if not plan.recordings.is_dir():
        say(f"no real recordings at {plan.recordings}: generated scenes only")
    rows: list[Row] = []
    # Fresh processes: what one cell holds decoded does not count as another's memory.
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=spawned, max_tasks_per_child=1) as pool:
        running = [(name, pool.submit(rows_of_cell, cell, plan)) for name, cell in cells]
        for name, done in running:
            rows += done.result()
            say(f"done: {name}")
    return rows, bars_of(rows)


def rows_of_cell(cell: Callable[[Plan], Iterator[Row]], plan: Plan) -> list[Row]:
    """A cell's lines, in a process of its own."""
    return list(cell(plan))


def peers(plan: Plan) -> Iterator[Row]:
    """What installs from the registries, on the same trials."""
    if plan.with_peers:
        yield from peer_rows(
            plan.recordings, seed=plan.seed, repeats=plan.repeats, sounds=SOUNDS, speech=SPEECH
        )


def is_there(plan: Plan, name: str) -> bool:
    """Whether a recording is there to be measured."""
    return (plan.recordings / name / "recording.json").exists()


def stream_of(plan: Plan, name: str, stream: str) -> Stream:
    """A decoded stream of a recording."""
    return recorded(plan.recordings / name, stream, held_out=name not in TRAINED_ON)


def window_name(window_s: float | None) -> str:
    """How the table names a window."""
    return "whole" if window_s is None else f"{window_s:.0f} s"


def windows_for(plan: Plan, a: Stream, b: Stream) -> list[float | None]:
    """Windows shorter than the material, and the whole."""
    seconds = (min(a.stop_ns, b.stop_ns) - max(a.start_ns, b.start_ns)) / NS_PER_S
    return [w for w in plan.windows_s if w is None or w < 0.8 * seconds]


def sounds(plan: Plan) -> Iterator[Row]:
    """Two copies of a sound, clean, and with reverberation and noise on one."""
    for noisy in (False, True):
        by_window: dict[float | None, list[Trial]] = {}
        for k, name in enumerate(name for name in SOUNDS if is_there(plan, name)):
            a = stream_of(plan, name, "audio")
            b = degraded(a, seed=plan.seed + k) if noisy else a
            for window in windows_for(plan, a, b):
                rng = np.random.default_rng([plan.seed, k, 1, noisy])
                by_window.setdefault(window, []).extend(
                    our_trial(a, replace(b, sigma_s=0.0), draw_trial(a, b, rng, window_s=window))
                    for _ in range(plan.repeats)
                )
        pair = "audio-audio, reverb + 0 dB noise" if noisy else "audio-audio, clean"
        for window, trials in by_window.items():
            exact = [replace(trial, truth_sigma_ms=0.0) for trial in trials]
            yield row_of(
                exact, pair=pair, method="coeval", source=window_name(window), held_out=True
            )


def speech(plan: Plan) -> Iterator[Row]:
    """Speech and its subtitles or speaker turns, each recording whole."""
    everything: list[Trial] = []
    for k, (name, text) in enumerate(SPEECH):
        if not is_there(plan, name):
            continue
        a, b = stream_of(plan, name, "audio"), stream_of(plan, name, text)
        rng = np.random.default_rng([plan.seed, k, 2])
        trials = [
            our_trial(a, b, draw_trial(a, b, rng, window_s=None)) for _ in range(plan.repeats)
        ]
        everything += trials
        yield row_of(trials, pair="audio-text", method="coeval", source=name, held_out=a.held_out)
    if everything:
        yield row_of(everything, pair="audio-text", method="coeval", source="all", held_out=True)


def real_pairs(plan: Plan) -> Iterator[Row]:
    """Everything else the real recordings hold, by recording, whole and in windows."""
    for k, (pair, name, first, second) in enumerate(REAL_PAIRS):
        if not is_there(plan, name):
            continue
        a, b = stream_of(plan, name, first), stream_of(plan, name, second)
        for window in windows_for(plan, a, b):
            rng = np.random.default_rng([plan.seed, k, 3])
            repeats = max(plan.repeats // 3, 2)
            trials = [
                our_trial(a, b, draw_trial(a, b, rng, window_s=window)) for _ in range(repeats)
            ]
            source = f"{name} {first}-{second}, {window_name(window)}"
            yield row_of(trials, pair=pair, method="coeval", source=source, held_out=a.held_out)


def abstaining(plan: Plan) -> Iterator[Row]:
    """Pairs whose content does not tell: no answer is the right one."""
    for k, (pair, name, first, second) in enumerate(ABSTAIN):
        if not is_there(plan, name):
            continue
        a, b = stream_of(plan, name, first), stream_of(plan, name, second)
        rng = np.random.default_rng([plan.seed, k, 4])
        trials = [
            our_trial(a, b, draw_trial(a, b, rng, window_s=None))
            for _ in range(max(plan.repeats // 3, 2))
        ]
        yield row_of(
            trials,
            pair=pair,
            method="coeval",
            source=name,
            held_out=True,
            note="locked should be 0",
        )


def unrelated(plan: Plan) -> Iterator[Row]:
    """Streams of different recordings, and streams with nothing in them."""
    named = [("able_frenchsong", "audio"), *((name, b) for _, name, _, b in REAL_PAIRS)]
    named += [(name, text) for name, text in SPEECH]
    there = [(name, stream) for name, stream in dict.fromkeys(named) if is_there(plan, name)]
    pairs = [
        (x, y)
        for x, y in itertools.combinations(there, 2)
        if x[0].rsplit("_", 1)[0] != y[0].rsplit("_", 1)[0]
    ]
    rng = np.random.default_rng([plan.seed, 5])
    chosen = [pairs[k] for k in rng.permutation(len(pairs))[: 6 * plan.repeats]]
    trials = []
    for x, y in chosen:
        a, b = stream_of(plan, *x), stream_of(plan, *y)
        trials.append(our_trial(a, b, unrelated_draw(a, b, rng), related=False))
    if trials:
        yield row_of(
            trials,
            pair="unrelated",
            method="coeval",
            source="real recordings",
            held_out=True,
            note="locked should be ≤ 1",
        )
    quiet = []
    for name, stream in there[: plan.repeats]:
        a = stream_of(plan, name, stream)
        b = silent(a)
        draw = Draw(clock=Clock(offset_ns=2e9), start_ns=a.start_ns, stop_ns=a.stop_ns)
        quiet.append(our_trial(a, b, draw, related=False))
    if quiet:
        yield row_of(
            quiet,
            pair="silent",
            method="coeval",
            source="real recordings",
            held_out=True,
            note="locked should be ≤ 1",
        )


def unrelated_draw(a: Stream, b: Stream, rng: np.random.Generator) -> Draw:
    """The whole of both streams, the second shifted to begin with the first and then off."""
    offset_ns = a.start_ns - b.start_ns + float(rng.uniform(-30, 30)) * NS_PER_S
    start, stop = min(a.start_ns, b.start_ns), max(a.stop_ns, b.stop_ns)
    return Draw(clock=Clock(offset_ns=offset_ns, t0_ns=start), start_ns=start, stop_ns=stop)


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
        tracks[slot] = track_of(stream, clocks[slot], node=slot, start_ns=0, stop_ns=span)
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
    plan: Plan, seeds: range, seconds: float, *, only: Callable[[str, str], bool], salt: int
) -> Iterator[Row]:
    """All pairs of slots of generated scenes, pair by pair and all nodes together."""
    by_pair: dict[str, list[Trial]] = {}
    strangers: list[Trial] = []
    before: dict[str, StreamTrack] = {}
    for seed in seeds:
        rng = np.random.default_rng([plan.seed, seed, salt])
        tracks, clocks = scene_tracks(seed, seconds, rng)
        for a, b in itertools.combinations(tracks, 2):
            if only(a, b):
                pair = [tracks[a], tracks[b]]
                by_pair.setdefault(f"{a}-{b}", []).append(
                    scene_trial(pair, a, b, clocks, seconds=seconds)
                )
                if before and salt == 6:
                    stranger = replace(before[b], node="stranger") if b in before else None
                    if stranger is not None:
                        found = align_tracks([tracks[a], stranger], reference=a)
                        strangers.append(
                            judge(
                                found,
                                "stranger",
                                Clock(),
                                cpu_s=0.0,
                                material_s=seconds,
                                truth_sigma_s=0.0,
                                related=False,
                            )
                        )
        if salt == 6:
            began = time.process_time()
            whole = align_tracks(list(tracks.values()), reference="imu")
            cpu_s = time.process_time() - began
            for slot in tracks:
                if slot != "imu":
                    t0_ns = tracks["imu"].embeddings[0].t0_node_ns
                    by_pair.setdefault(f"joint: {slot} in six streams", []).append(
                        judge(
                            whole,
                            slot,
                            relative(clocks["imu"], clocks[slot], t0_ns),
                            cpu_s=cpu_s / len(tracks),
                            material_s=seconds,
                            truth_sigma_s=0.0,
                        )
                    )
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
    yield from scene_rows(plan, seeds, 60.0, only=lambda a, b: "stills" not in (a, b), salt=6)


def long_scenes(plan: Plan) -> Iterator[Row]:
    """Generated held-out scenes of 10 minutes, pairs with stills."""
    first = FIRST_HELD_OUT_SEED + 100_000
    seeds = range(first, first + plan.num_long_scenes)
    yield from scene_rows(plan, seeds, 600.0, only=lambda a, b: "stills" in (a, b), salt=7)


def skews(plan: Plan) -> Iterator[Row]:
    """Skew on three minutes of sound, and on two minutes of a moving camera with its IMU."""
    if is_there(plan, "able_frenchsong"):
        a = stream_of(plan, "able_frenchsong", "audio")
        for b, name in ((a, "clean"), (degraded(a, seed=plan.seed), "reverb + 0 dB noise")):
            rng = np.random.default_rng([plan.seed, 8])
            trials = [
                replace(our_trial(a, b, draw_trial(a, b, rng, window_s=None)), truth_sigma_ms=0.0)
                for _ in range(plan.num_skew_trials)
            ]
            yield row_of(
                trials,
                pair=f"skew: audio-audio, {name}",
                method="coeval",
                source="able_frenchsong, 183 s",
                held_out=True,
            )
    trials = []
    for k in range(plan.num_skew_trials):
        seed = FIRST_HELD_OUT_SEED + 200_000 + k
        rng = np.random.default_rng([plan.seed, seed])
        scene = generate_scene(seed, duration_s=150.0, kind="rig")
        a, b = (
            Stream(name=slot, modality=SLOTS[slot], samples=list(scene.render(slot)))
            for slot in ("video", "imu")
        )
        trials.append(our_trial(a, b, draw_trial(a, b, rng, window_s=None)))
    if trials:
        yield row_of(
            trials,
            pair="skew: video-imu",
            method="coeval",
            source="held-out rig scenes, 150 s",
            held_out=True,
        )


def speed(plan: Plan) -> Iterator[Row]:
    """CPU time and memory of three streams against the length, without decoding."""
    lengths = (300.0,) if plan.num_skew_trials < 10 else (300.0, 600.0, 1200.0)
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


def bars_of(rows: Sequence[Row]) -> list[Bar]:
    """How the promises of the first release stand."""

    def where(start: str, **equal: object) -> list[Row]:
        return [
            row
            for row in rows
            if str(row["pair"]).startswith(start)
            and row["method"] == "coeval"
            and all(row.get(key) == value for key, value in equal.items())
        ]

    scene = [
        r
        for r in rows
        if r["source"] == "held-out scenes, 60 s"
        and r["method"] == "coeval"
        and not str(r["pair"]).startswith(("unrelated", "joint"))
    ]
    stills = [r for r in rows if r["source"] == "held-out scenes, 600 s"]
    covered = [
        r
        for r in rows
        if r["method"] == "coeval"
        and r.get("coverage95") is not None
        and r["trials"] * (r["locked"] or 0) / 100 >= 30
    ]
    fast = where("speed", source="300 s")
    bars = [
        every(
            "audio–audio clean, median",
            where("audio-audio, clean", source="whole"),
            "median_ms",
            "≤ 0.1 ms",
            lambda v: v <= 0.1,
        ),
        every(
            "audio–audio reverb + 0 dB noise, median",
            where("audio-audio, reverb", source="whole"),
            "median_ms",
            "≤ 1 ms",
            lambda v: v <= 1,
        ),
        every(
            "video–IMU with motion, median",
            where("skew: video-imu"),
            "median_ms",
            "≤ 10 ms",
            lambda v: v <= 10,
        ),
        every(
            "video–IMU with motion, accepted within 40 ms",
            where("skew: video-imu"),
            "within_40ms",
            "≥ 95%",
            lambda v: v >= 95,
        ),
        every(
            "speech audio–text, median",
            where("audio-text", source="all"),
            "median_ms",
            "≤ 50 ms",
            lambda v: v <= 50,
        ),
        every(
            "generated scenes 60 s, accepted within 100 ms",
            scene,
            "within_100ms",
            "≥ 95%",
            lambda v: v >= 95,
        ),
        every(
            "generated scenes 10 min with stills, accepted within 300 ms",
            stills,
            "within_300ms",
            "≥ 90%",
            lambda v: v >= 90,
        ),
        every(
            "gopro_karma video–gyro locked",
            [r for r in where("video-metadata") if "gyro, whole" in str(r["source"])],
            "p95_ms",
            "≤ 60 ms",
            lambda v: v <= 60,
        ),
        every(
            "stabilised video, near-continuous speech: accepted",
            [r for r in rows if r["note"] == "locked should be 0"],
            "locked",
            "0%",
            lambda v: v == 0,
        ),
        every(
            "unrelated or silent: accepted",
            where("unrelated") + where("silent"),
            "locked",
            "≤ 1%",
            lambda v: v <= 1,
        ),
        every(
            "skew of 3 min audio",
            where("skew: audio-audio"),
            "skew_err_ppm",
            "≤ 5 ppm",
            lambda v: v <= 5,
        ),
        every(
            "skew of 2 min video–IMU",
            where("skew: video-imu"),
            "skew_err_ppm",
            "≤ 20 ppm",
            lambda v: v <= 20,
        ),
        every("95% interval covers", covered, "coverage95", "90–99%", lambda v: 90 <= v <= 99),
        every("3 streams × 5 min, CPU", fast, "cpu_s", "< 10 s", lambda v: v < 10),
        every("peak memory", fast, "peak_mb", "< 500 MB", lambda v: v < 500),
    ]
    for peer in ("audalign", "syncstart"):
        bars += [
            against(rows, peer, pair)
            for pair in ("audio-audio, clean", "audio-audio, reverb + 0 dB noise")
        ]
    return [*bars, against(rows, "ffsubsync", "audio-text")]


def against(rows: Sequence[Row], peer: str, pair: str) -> Bar:
    """Our median on whole recordings against a peer's on the same trials."""
    source = "all" if pair == "audio-text" else "whole"
    ours = next(
        (
            r["median_ms"]
            for r in rows
            if r["pair"] == pair and r["source"] == source and r["method"] == "coeval"
        ),
        None,
    )
    theirs = next(
        (
            r["median_ms"]
            for r in rows
            if r["pair"] == pair and r["source"] == source and r["method"] == peer
        ),
        None,
    )
    met = ours is not None and theirs is not None and ours <= theirs
    return Bar(
        name=f"{pair}: median no worse than {peer}",
        wanted=f"≤ {theirs} ms",
        got=f"{ours} ms" if theirs is not None else "peer not measured",
        met=met,
    )
