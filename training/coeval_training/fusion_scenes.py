"""Scenes for the fusion network: rows of every stream, and of the same stream with a dead sensor.

Seeds of their own, so that the fusion network learns from scenes that the encoders never saw. A
dead sensor goes on sending: a camera its last picture, numeric channels their last readings, a
microphone silence. (A log that falls silent is no fault.)
"""

import copy
import dataclasses
import hashlib
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from coeval.features import Extractor, feature_spec, make_extractor
from coeval.hops import HOP_NS, Hops, join
from coeval.samples import AudioBlock, FloatArray, Frame, MetadataBlock, Modality, Sample
from coeval.time import NS_PER_S
from coeval_training.data import SLOTS, longest, restamp
from coeval_training.imu_view import AXES, ImuView, as_seen
from coeval_training.scenes import generate_scene

FIRST_FUSION_SEED = 800_000
"""Scenes that train the fusion network."""
HELD_S = 16.0
"""How long a dead sensor is followed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionRows:
    """Rows of one stream, and what a dead sensor makes of them."""

    modality: Modality
    """Which encoder they take."""
    start_hops: float
    """True time of the first row, in hops since the scene's start."""
    rows: FloatArray
    """Features, shape (T, F)."""
    held_from: int
    """Index of the first row of `held` among `rows`."""
    held: FloatArray
    """Rows from there on had the sensor died; none: shape (0, F)."""


def dead(sample: Sample, last: Sample) -> Sample:
    """What the sensor sends in place of a sample once it died after the last one."""
    match sample, last:
        case Frame(), Frame():
            return dataclasses.replace(sample, grey=last.grey)
        case MetadataBlock(), MetadataBlock():
            values = np.broadcast_to(last.values[-1:], sample.values.shape).copy()
            return dataclasses.replace(sample, values=values)
        case AudioBlock(), _:
            return dataclasses.replace(sample, pcm=np.zeros_like(sample.pcm))
    return sample


def time_of(sample: Sample) -> int:
    """Stamp of a sample's beginning."""
    return int(sample.t_node_ns[0] if isinstance(sample, MetadataBlock) else sample.t_node_ns)


def in_small_blocks(sample: Sample) -> Iterator[Sample]:
    """Numeric readings in blocks of a few, so that a sensor may die between them."""
    if not isinstance(sample, MetadataBlock):
        yield sample
        return
    for k in range(0, len(sample.t_node_ns), 16):
        yield MetadataBlock(
            t_node_ns=sample.t_node_ns[k : k + 16], values=sample.values[k : k + 16]
        )


def stream_rows(
    samples: Iterator[Sample], modality: Modality, *, phase_ns: int, dies_ns: int | None
) -> FusionRows | None:
    """Features of a stream; None: it has none.

    Args:
        samples: in time order.
        modality: which features.
        phase_ns: stamps are moved by it.
        dies_ns: when the sensor dies in the second version; None: it lives.
    """
    extractor = make_extractor(modality)
    parts: list[Hops] = []
    held: list[Hops] = []
    dying: Extractor | None = None
    last: Sample | None = None
    for each in samples:
        for sample in in_small_blocks(restamp(each, phase_ns)):
            t_ns = time_of(sample) - phase_ns
            if dies_ns is not None and dying is None and last is not None and t_ns >= dies_ns:
                dying = copy.deepcopy(extractor)
            parts += extractor.push(sample)
            if dying is None:
                last = sample
            elif dies_ns is not None and t_ns < dies_ns + HELD_S * NS_PER_S:
                assert last is not None
                held += dying.push(dead(sample, last))
    parts += extractor.flush()
    if not parts:
        return None
    run = longest(parts)
    runs = join(held)
    is_inside = bool(runs) and runs[0].t0_node_ns >= run.t0_node_ns
    first = (runs[0].t0_node_ns - run.t0_node_ns) // HOP_NS if is_inside else 0
    return FusionRows(
        modality=modality,
        start_hops=(run.t0_node_ns - phase_ns) / HOP_NS,
        rows=run.rows,
        held_from=int(first),
        held=runs[0].rows if is_inside else run.rows[:0],
    )


def fusion_rows(seed: int, duration_s: float) -> dict[str, FusionRows]:
    """Rows of all streams of a scene, by slot, each stamped by a clock of its own phase."""
    rng = np.random.default_rng([seed, 13])
    scene = generate_scene(seed, duration_s=duration_s)
    view = ImuView(axes=AXES[rng.integers(len(AXES))])
    found: dict[str, FusionRows] = {}
    for slot, modality in SLOTS.items():
        samples = scene.render(slot)
        if slot == "imu":
            samples = as_seen(samples, view, rng)
        phase = int(rng.integers(0, HOP_NS))
        dies_ns = int(rng.uniform(0.4, 0.8) * duration_s * NS_PER_S)
        rows = stream_rows(
            samples,
            modality,
            phase_ns=phase,
            dies_ns=None if modality == "text" else dies_ns,
        )
        if rows is not None:
            found[slot] = rows
    return found


def fusion_file(folder: Path, seed: int, duration_s: float) -> Path:
    """Where a scene's rows are kept; rows of other features or another length lie elsewhere."""
    specs = "".join(feature_spec(modality).to_json() for modality in SLOTS.values())
    features = hashlib.sha256(specs.encode()).hexdigest()[:8]
    return folder / f"fusion-{seed:07d}-{duration_s:g}s-{features}.npz"


def make_fusion_file(folder: Path, seed: int, duration_s: float) -> None:
    """Render one scene and keep its rows; a file that is there is left alone."""
    path = fusion_file(folder, seed, duration_s)
    if path.exists():
        return
    arrays: dict[str, np.ndarray] = {}
    for slot, stream in fusion_rows(seed, duration_s).items():
        arrays[f"{slot}.rows"] = stream.rows.astype(np.float16)
        arrays[f"{slot}.held"] = stream.held.astype(np.float16)
        arrays[f"{slot}.at"] = np.array([stream.start_hops, stream.held_from])
    partial = path.with_name(f".{path.stem}-{os.getpid()}.npz")
    np.savez(partial, **arrays)  # type: ignore[arg-type]
    partial.rename(path)


def read_fusion_file(path: Path) -> dict[str, FusionRows]:
    """Rows of one scene's streams."""
    with np.load(path) as arrays:
        return {
            slot: FusionRows(
                modality=modality,
                start_hops=float(arrays[f"{slot}.at"][0]),
                held_from=int(arrays[f"{slot}.at"][1]),
                rows=arrays[f"{slot}.rows"].astype(np.float32),
                held=arrays[f"{slot}.held"].astype(np.float32),
            )
            for slot, modality in SLOTS.items()
            if f"{slot}.rows" in arrays
        }


def make_fusion_files(folder: Path, seeds: range, *, duration_s: float, workers: int) -> list[Path]:
    """Files of many scenes, rendered where they are not kept yet."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [fusion_file(folder, seed, duration_s) for seed in seeds]
    absent = [seed for seed, path in zip(seeds, paths, strict=True) if not path.exists()]
    if absent:
        # Fresh processes: the caller has threads, which a fork does not survive.
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            n = len(absent)
            made = pool.map(
                make_fusion_file,
                [folder] * n,
                absent,
                [duration_s] * n,
                chunksize=2,
            )
            for _ in made:  # raises what a worker raised
                pass
    return paths
