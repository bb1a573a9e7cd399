"""What fp16 and int8 save in an encoder, and cost: rows of `coeval bench encoders`.

Every precision is given the same scenes and clocks, by embeddings alone, so that the rows differ in
nothing but the numbers in the network. Tuning scenes: what is offered is decided by these rows.
"""

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from coeval.align import align_tracks
from coeval.features import DIMS
from coeval.hops import HOP_NS, Hops
from coeval.samples import MODALITIES, FloatArray, Modality
from coeval.time import NodeNs
from coeval.tracks import StreamTrack
from coeval_edge.encoder import FP32, INT8, WINDOW_HOPS, Encoder, shipped_model
from coeval_edge.golden import golden_rows
from coeval_lab.bench.metrics import percent, rounded
from coeval_training.data import SLOTS, StreamRows, scene_rows
from coeval_training.precision import MEASURED, reduced
from coeval_training.scenes import generate_scene

Row = dict[str, Any]

FIRST_SEED = 940_000
"""Tuning scenes; those after CALIBRATION_SEED calibrate int8's scales."""
CALIBRATION_SEED = 945_000
NUM_SCENES, NUM_SCENES_QUICK = 24, 2
NUM_CALIBRATION = 4
SCENE_S = 60.0
NUM_TIMED, NUM_TIMED_QUICK = 300, 20
LATEST_START_HOPS = 200
LEFT_OUT = "stills"
"""A scene of a minute is too short for them."""
LIMITS_MS = (20, 40, 100, 300)
MIXED = "fp32 beside int8"
"""Every other stream of a scene by an int8 encoder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one pair of streams came to."""

    offset_ms: float | None
    """Estimated offset; None: not locked."""
    error_ms: float | None
    """Its error."""


def precision_rows(*, is_quick: bool, seed: int) -> Iterator[Row]:
    """Bytes and time of every encoder in every precision, then the accuracy of all pairs.

    Args:
        is_quick: a small part.
        seed: draws the clocks.
    """
    calibration = calibration_windows()
    files = {
        how: {
            modality: reduced(
                shipped_model(modality).read_bytes(), how, calibration=calibration[modality]
            )
            for modality in MODALITIES
        }
        for how in MEASURED
    }
    encoders = {
        how: {m: Encoder.of(file, m, where=how, provider="cpu") for m, file in by_modality.items()}
        for how, by_modality in files.items()
    }
    for how, modality in itertools.product(MEASURED, MODALITIES):
        windows = calibration[modality]
        exact = encoders["fp32"][modality]
        num_timed = NUM_TIMED_QUICK if is_quick else NUM_TIMED
        yield {
            "pair": f"precision: {modality}",
            "method": how,
            "source": f"{NUM_CALIBRATION} tuning scenes",
            "bytes": len(files[how][modality]),
            "us_a_window": rounded(shortest_us(encoders[how][modality], windows[0], num_timed)),
            "rms_error": rounded(rms_error(encoders[how][modality], exact, windows)),
        }
    answers: dict[str, list[Answer]] = {how: [] for how in (*MEASURED, MIXED)}
    num_scenes = NUM_SCENES_QUICK if is_quick else NUM_SCENES
    for scene_seed in range(FIRST_SEED, FIRST_SEED + num_scenes):
        streams = scene_rows(generate_scene(scene_seed, duration_s=SCENE_S), scene_seed)
        for how, found in answers.items():
            rng = np.random.default_rng([seed, scene_seed])
            by_slot = {
                slot: encoders[how_of(how, k + scene_seed)][SLOTS[slot]]
                for k, slot in enumerate(streams)
            }
            found += scene_answers(streams, by_slot, rng)
    for how in answers:
        source = f"{num_scenes} tuning scenes, {SCENE_S:.0f} s, embeddings alone"
        yield accuracy_row(answers[how], answers["fp32"]) | {
            "pair": "precision: all pairs but stills",
            "method": how,
            "source": source,
        }


def how_of(how: str, turn: int) -> str:
    """The precision of one stream; of MIXED they take turns."""
    return how if how != MIXED else (FP32, INT8)[turn % 2]


def calibration_windows() -> dict[Modality, list[FloatArray]]:
    """Windows of real rows of every modality, shape (1, WINDOW_HOPS, F) each."""
    windows: dict[Modality, list[FloatArray]] = {m: [] for m in MODALITIES}
    for seed in range(CALIBRATION_SEED, CALIBRATION_SEED + NUM_CALIBRATION):
        for slot, stream in scene_rows(generate_scene(seed, duration_s=SCENE_S), seed).items():
            for first in range(0, len(stream.rows) - WINDOW_HOPS, WINDOW_HOPS):
                windows[SLOTS[slot]].append(stream.rows[None, first : first + WINDOW_HOPS])
    return {
        modality: found or [golden_rows(WINDOW_HOPS, DIMS[modality])[:1]]
        for modality, found in windows.items()
    }


def shortest_us(encoder: Encoder, window: FloatArray, num_timed: int) -> float:
    """Time of one window, µs, on one thread: what a node spends on a block."""
    shortest_s = float("inf")
    for _ in range(num_timed):
        began_s = time.perf_counter()
        encoder.answer(window)
        shortest_s = min(shortest_s, time.perf_counter() - began_s)
    return shortest_s * 1e6


def rms_error(encoder: Encoder, exact: Encoder, windows: Sequence[FloatArray]) -> float:
    """Difference from the fp32 embeddings, relative to their own size."""
    pairs = [(encoder.answer(window), exact.answer(window)) for window in windows]
    missed = sum(float(((a - b) ** 2).sum()) for a, b in pairs)
    return float(np.sqrt(missed / sum(float((b**2).sum()) for _, b in pairs)))


def scene_answers(
    streams: Mapping[str, StreamRows],
    encoders: Mapping[str, Encoder],
    rng: np.random.Generator,
) -> list[Answer]:
    """Every pair of a scene's streams, each on a clock that is wrong by a random offset.

    Args:
        streams: rows by slot.
        encoders: by slot.
        rng: draws the clocks.
    """
    tracks: dict[str, StreamTrack] = {}
    starts_ns: dict[str, float] = {}
    for slot, stream in streams.items():
        first_hop = int(rng.integers(0, LATEST_START_HOPS))
        if slot == LEFT_OUT:
            continue
        rows = encoders[slot].encode(stream.rows)
        hops = Hops(t0_node_ns=NodeNs(first_hop * HOP_NS), rows=rows)
        tracks[slot] = StreamTrack(node=slot, stream=slot, modality=SLOTS[slot], embeddings=[hops])
        starts_ns[slot] = (first_hop - stream.start_hops) * HOP_NS
    found = []
    for a, b in itertools.combinations(tracks, 2):
        line = align_tracks([tracks[a], tracks[b]], reference=a).nodes[b].line
        if line is None:
            found.append(Answer(offset_ms=None, error_ms=None))
            continue
        offset_ns = line.offset_at(line.t0_ref_ns)
        truth_ns = starts_ns[b] - starts_ns[a]
        found.append(Answer(offset_ms=offset_ns * 1e-6, error_ms=abs(offset_ns - truth_ns) * 1e-6))
    return found


def accuracy_row(answers: Sequence[Answer], exact: Sequence[Answer]) -> Row:
    """Shares of all pairs, and by how much the reduced network moves the offset."""
    errors = np.array([a.error_ms for a in answers if a.error_ms is not None])
    moved = [
        abs(a.offset_ms - b.offset_ms)
        for a, b in zip(answers, exact, strict=True)
        if a.offset_ms is not None and b.offset_ms is not None
    ]
    row: Row = {
        "trials": len(answers),
        "locked": percent(len(errors), len(answers)),
        "median_ms": rounded(float(np.median(errors))) if len(errors) else None,
        "moved_p95_ms": rounded(float(np.percentile(moved, 95))) if moved else None,
    }
    for limit in LIMITS_MS:
        row[f"within_{limit}ms"] = percent(int((errors <= limit).sum()), len(answers))
    return row
