"""Learns to tell which modality's encoder made embeddings, from scenes that trained the encoders.

The encoders run over the scenes; windows of 10 to 40 s become statistics, and those a linear
discriminant each modality. It is closed form: seconds.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from coeval.recognition.embeddings import LEAST_HOPS, EmbeddingClassifier, statistics
from coeval.samples import MODALITIES, FloatArray, Modality
from coeval_aggregator.recognise import SHIPPED as SHIPPED
from coeval_edge.encoder import Encoder
from coeval_training.data import (
    FIRST_WATCHED_SEED,
    SLOTS,
    StreamRows,
    read_scene_file,
    scene_file,
)

MOST_SCENES = 400
LONGEST_HOPS = 800
WINDOWS_A_STREAM = 3


def windows(
    rows: FloatArray, encoder: Encoder, rng: np.random.Generator, *, num: int
) -> Iterator[FloatArray]:
    """Pieces of a stream's embeddings, at random places and of random lengths."""
    embeddings = encoder.encode(rows)
    for _ in range(num):
        length = int(rng.integers(LEAST_HOPS, LONGEST_HOPS + 1))
        if len(embeddings) < LEAST_HOPS:
            return
        length = min(length, len(embeddings))
        start = int(rng.integers(0, len(embeddings) - length + 1))
        yield embeddings[start : start + length]


def fit(
    scenes: Sequence[dict[str, StreamRows]], *, folder: Path | None = None, seed: int = 1
) -> EmbeddingClassifier:
    """Learn from scenes' rows.

    Args:
        scenes: rows by slot.
        folder: holds the encoders, `<modality>.onnx`; None: those that ship.
        seed: of the windows.
    """
    rng = np.random.default_rng([seed, 61])
    encoders = {
        modality: Encoder.load(modality, None if folder is None else folder / f"{modality}.onnx")
        for modality in MODALITIES
    }
    found: dict[Modality, list[np.ndarray]] = {modality: [] for modality in MODALITIES}
    for scene in scenes:
        for slot, stream in scene.items():
            modality = SLOTS[slot]
            pieces = windows(stream.rows, encoders[modality], rng, num=WINDOWS_A_STREAM)
            found[modality] += [statistics(piece) for piece in pieces if piece.std() > 1e-6]
    return EmbeddingClassifier.fit(
        {modality: np.stack(each) for modality, each in found.items()},
        encoders={modality: encoder.original_sha256 for modality, encoder in encoders.items()},
    )


def fit_kept_scenes(folder: Path, *, encoders: Path | None = None) -> EmbeddingClassifier | None:
    """Learn from the scenes that training keeps on disk; None where none has these features.

    Args:
        folder: scenes of `coeval train`.
        encoders: their folder; None: those that ship.
    """
    pattern = scene_file(folder, 0, 1.0).name.split("-")[-1]
    paths = sorted(folder.glob(f"scene-0*-{pattern}"))
    trained = [path for path in paths if int(path.name.split("-")[1]) < FIRST_WATCHED_SEED]
    if not trained:
        return None
    return fit([read_scene_file(path) for path in trained[:MOST_SCENES]], folder=encoders)


def write(classifier: EmbeddingClassifier, path: Path = SHIPPED) -> Path:
    """Keep it where the aggregator looks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez_compressed(file, **classifier.arrays())  # type: ignore[arg-type]
    return path
