"""Training material: rows of features of every stream of many scenes, kept on disk.

A scene's streams get clocks of random phase (a fraction of a hop), so that no lag is ever a
whole number of hops; the phase is part of the truth.
"""

import dataclasses
import hashlib
import os
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from coeval.features import DIMS, feature_spec, make_extractor
from coeval.hops import HOP_NS, Hops, join
from coeval.lag import WARM_UP_HOPS
from coeval.preprocessing import DEFAULT_STEPS, STEPS, Preprocessing
from coeval.samples import AudioBlock, FloatArray, Frame, MetadataBlock, Modality, Sample, TextLine
from coeval.time import NodeNs
from coeval_training.disturb import KIND_OF, disturb
from coeval_training.imu_view import AXES, ImuView, as_seen
from coeval_training.scenes import Scene, generate_scene

SLOTS: dict[str, Modality] = {
    "video": "video",
    "imu": "metadata",
    "audio": "audio",
    "machine": "metadata",
    "text": "text",
    "stills": "image",
}
"""The streams of a scene, and which encoder each takes."""

FIRST_WATCHED_SEED = 900_000
"""Progress of a training run is watched on scenes of these seeds."""
FIRST_HELD_OUT_SEED = 1_000_000
"""Seeds from here on are neither trained on nor watched: benchmarks and tests use them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRows:
    """Rows of one stream of a scene."""

    start_hops: float
    """True time of the first row, in hops since the scene's start."""
    rows: FloatArray
    """Features, shape (T, F)."""


def restamp(sample: Sample, by_ns: int) -> Sample:
    """The sample as a clock that is `by_ns` ahead would stamp it."""
    if isinstance(sample, MetadataBlock):
        return dataclasses.replace(sample, t_node_ns=sample.t_node_ns + by_ns)
    if isinstance(sample, TextLine):
        end = sample.t_end_node_ns
        return dataclasses.replace(
            sample,
            t_node_ns=NodeNs(sample.t_node_ns + by_ns),
            t_end_node_ns=None if end is None else NodeNs(end + by_ns),
        )
    assert isinstance(sample, AudioBlock | Frame)
    return dataclasses.replace(sample, t_node_ns=NodeNs(sample.t_node_ns + by_ns))


def longest(parts: list[Hops]) -> Hops:
    """The longest run of rows; a scene's streams have one, but for long silences."""
    return max(join(parts), key=lambda part: len(part.rows))


SWITCHED_OFF = 0.15
"""How often a stream of a scene goes without a step, of those that are not preprocessed as is
usual: one set of weights serves every setting, …"""
AS_USUAL = 0.5
"""… and most streams come as is usual."""
DISTURBED = 0.3
"""How often a stream of a scene is disturbed."""


def some_steps(modality: Modality, rng: np.random.Generator) -> Preprocessing:
    """Preprocessing of a stream: as is usual, or each step now and then off."""
    if rng.random() < AS_USUAL:
        return DEFAULT_STEPS
    steps = {name: bool(rng.random() >= SWITCHED_OFF) for name in STEPS[modality]}
    return Preprocessing(**steps)


def scene_rows(scene: Scene, seed: int, *, varied: bool = True) -> dict[str, StreamRows]:
    """Features of all streams of a scene, each stamped by a clock of its own phase.

    Args:
        scene: the scene.
        seed: of phases, axes and what is varied.
        varied: whether some streams are disturbed, some steps of preprocessing off, and inertial
            sensors told in several ways.
    """
    rng = np.random.default_rng([seed, 7])
    phases = rng.integers(0, HOP_NS, len(SLOTS))
    axes = AXES[rng.integers(len(AXES))]
    rows: dict[str, StreamRows] = {}
    for (slot, modality), phase in zip(SLOTS.items(), phases, strict=True):
        of_stream = np.random.default_rng([seed, 13, list(SLOTS).index(slot)])
        extractor = make_extractor(
            modality, some_steps(modality, of_stream) if varied else DEFAULT_STEPS
        )
        samples: Iterable[Sample] = scene.render(slot)
        if varied and of_stream.random() < DISTURBED:
            samples = disturb(samples, KIND_OF[modality], of_stream)
        if slot == "imu":
            samples = as_seen(
                samples, ImuView.drawn(of_stream) if varied else ImuView(axes=axes), of_stream
            )
        parts: list[Hops] = []
        for sample in samples:
            parts += extractor.push(restamp(sample, int(phase)))
        parts += extractor.flush()
        if not parts:
            continue
        run = longest(parts)
        rows[slot] = StreamRows(start_hops=(run.t0_node_ns - int(phase)) / HOP_NS, rows=run.rows)
    return rows


def scene_file(folder: Path, seed: int, duration_s: float) -> Path:
    """Where a scene's rows are kept; rows of other features or another length lie elsewhere."""
    specs = "".join(feature_spec(modality).to_json() for modality in SLOTS.values())
    features = hashlib.sha256(specs.encode()).hexdigest()[:8]
    return folder / f"scene-{seed:07d}-{duration_s:g}s-{features}.npz"


def make_scene_file(folder: Path, seed: int, duration_s: float) -> Path:
    """Render one scene and keep its rows; a file that is there is left alone.

    Scenes to train on are varied, those to watch progress on are as they come.
    """
    path = scene_file(folder, seed, duration_s)
    if not path.exists():
        scene = generate_scene(seed, duration_s=duration_s)
        rows = scene_rows(scene, seed, varied=seed < FIRST_WATCHED_SEED)
        arrays = {f"{slot}.rows": stream.rows.astype(np.float16) for slot, stream in rows.items()}
        starts = {f"{slot}.start": np.array(stream.start_hops) for slot, stream in rows.items()}
        partial = path.with_name(f".{path.stem}-{os.getpid()}.npz")
        np.savez(partial, **arrays, **starts)  # type: ignore[arg-type]
        partial.rename(path)
    return path


def read_scene_file(path: Path) -> dict[str, StreamRows]:
    """Rows of one scene's streams."""
    with np.load(path) as arrays:
        return {
            slot: StreamRows(
                start_hops=float(arrays[f"{slot}.start"]),
                rows=arrays[f"{slot}.rows"].astype(np.float32),
            )
            for slot in SLOTS
            if f"{slot}.rows" in arrays
        }


def make_scenes(
    folder: Path,
    seeds: range,
    *,
    duration_s: float,
    workers: int,
    progress: Callable[[float], None] = lambda _: None,
) -> list[dict[str, StreamRows]]:
    """Rows of many scenes, rendered where they are not kept yet; `progress` is told the share."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [scene_file(folder, seed, duration_s) for seed in seeds]
    absent = [seed for seed, path in zip(seeds, paths, strict=True) if not path.exists()]
    if absent:
        progress(1.0 - len(absent) / len(paths))
        # Fresh processes: the caller has threads, which a fork does not survive.
        pool = ProcessPoolExecutor(
            workers,
            mp_context=get_context("spawn"),
            initializer=signal.signal,  # Ctrl-C reaches them too: they end at once, in silence
            initargs=(signal.SIGINT, signal.SIG_DFL),
        )
        try:
            jobs = [pool.submit(make_scene_file, folder, seed, duration_s) for seed in absent]
            for num_made, job in enumerate(as_completed(jobs), start=1):
                job.result()  # raises what a worker raised
                progress(1.0 - (len(absent) - num_made) / len(paths))
        finally:
            pool.shutdown(cancel_futures=True)
    return [read_scene_file(path) for path in paths]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Crops of several scenes, every stream at a time of its own."""

    rows: dict[str, FloatArray]
    """By slot: shape (B, context + T, F); zeros where the scene lacks the stream."""
    start_hops: dict[str, FloatArray]
    """By slot: true time of the first row after the context, in hops, shape (B,)."""
    present: dict[str, np.ndarray]
    """By slot: whether the scene has the stream, shape (B,)."""


def draw_batch(
    chosen: list[dict[str, StreamRows]],
    rng: np.random.Generator,
    *,
    crop_hops: int,
    context_hops: int,
    longest_shift_hops: int,
) -> Batch:
    """Crops at random times: the streams of one scene start up to the longest shift apart.

    The beginning of a scene is left out where there is enough without it: all streams begin
    together, which would be learnt in place of what they show.
    """
    num_scenes = len(chosen)
    shape = (num_scenes, context_hops + crop_hops)
    rows = {slot: np.zeros((*shape, DIMS[kind]), np.float32) for slot, kind in SLOTS.items()}
    starts = {slot: np.zeros(num_scenes, np.float32) for slot in SLOTS}
    present = {slot: np.zeros(num_scenes, np.bool_) for slot in SLOTS}
    for b, scene in enumerate(chosen):
        length = max(len(stream.rows) for stream in scene.values())
        latest = max(length - crop_hops - longest_shift_hops, 0)
        base = int(rng.integers(min(context_hops + WARM_UP_HOPS, latest), latest + 1))
        for slot, stream in scene.items():
            start = base + int(rng.integers(0, longest_shift_hops + 1))
            low, high = start - context_hops, start + crop_hops
            take = stream.rows[max(low, 0) : max(high, 0)]
            at = max(-low, 0)
            rows[slot][b, at : at + len(take)] = take
            starts[slot][b] = stream.start_hops + start
            present[slot][b] = len(take) > crop_hops // 4
    return Batch(rows=rows, start_hops=starts, present=present)
