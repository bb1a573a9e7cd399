"""Which real recordings are trained on, which are held out, and why they may be used.

The split is by recording, never by window. Shipped weights see only recordings whose licence
allows it (MIT, BSD, Apache, CC BY); the model card names them.
"""

from pathlib import Path

import numpy as np

from coeval.features import make_extractor
from coeval.hops import HOP_NS, Hops
from coeval_edge.recording import open_recording
from coeval_edge.recording_samples import read_samples
from coeval_training.data import SLOTS, StreamRows, longest, restamp

TRAINED_ON = {
    "ami_dev00": "CC BY 4.0 (AMI Meeting Corpus)",
    "ami_trn01": "CC BY 4.0 (AMI Meeting Corpus)",
    "ami_trn05": "CC BY 4.0 (AMI Meeting Corpus)",
    "comma2k19_example": "MIT",
    "neon_demo_2025": "MIT",
    "px4_appended": "BSD-3-Clause",
}
"""Recordings that train the shipped encoders, and their licences; all others are held out."""

Material = dict[str, list[StreamRows]]
"""Rows of a recording's streams, listed under each slot that could take them."""


def recording_rows(folder: Path, *, seed: int) -> Material:
    """Features of every stream of a recording, each stamped by a clock of its own phase.

    Raises:
        BadRecording: the folder is no recording.
    """
    recording = open_recording(folder)
    rng = np.random.default_rng([seed, 11])
    material: Material = {slot: [] for slot in SLOTS}
    for stream in recording.manifest.streams:
        phase = int(rng.integers(0, HOP_NS))
        extractor = make_extractor(stream.modality)
        parts: list[Hops] = []
        for sample in read_samples(recording, stream):
            parts += extractor.push(restamp(sample, phase))
        parts += extractor.flush()
        if not parts:
            continue
        run = longest(parts)
        rows = StreamRows(start_hops=(run.t0_node_ns - phase) / HOP_NS, rows=run.rows)
        for slot, modality in SLOTS.items():
            if modality == stream.modality:
                material[slot].append(rows)
    return {slot: streams for slot, streams in material.items() if streams}


def present_recordings(folder: Path | None) -> list[str]:
    """Names of the recordings to train on that the folder holds."""
    if folder is None:
        return []
    return [name for name in TRAINED_ON if (folder / name / "recording.json").exists()]


def read_recordings(folder: Path | None, *, seed: int) -> list[Material]:
    """Rows of the recordings to train on that are there.

    Raises:
        BadRecording: one of them cannot be read.
    """
    if folder is None:
        return []
    return [
        recording_rows(folder / name, seed=seed + k)
        for k, name in enumerate(present_recordings(folder))
    ]


def draw_scene(material: Material, rng: np.random.Generator) -> dict[str, StreamRows]:
    """One scene of a recording: a different stream for every slot that it can fill."""
    scene: dict[str, StreamRows] = {}
    for slot in rng.permutation(list(material)):
        taken = list(scene.values())
        free = [rows for rows in material[slot] if not any(rows is other for other in taken)]
        if free:
            scene[str(slot)] = free[rng.integers(len(free))]
    return scene
