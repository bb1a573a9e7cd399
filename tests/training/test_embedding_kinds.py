"""What the aggregator knows of embeddings is learnt from the encoders that ship."""

import hashlib
from pathlib import Path

import numpy as np

from coeval.features import DIMS
from coeval.samples import MODALITIES
from coeval_aggregator.recognise import load_classifier
from coeval_edge.encoder import shipped_model
from coeval_training.data import SLOTS, StreamRows
from coeval_training.embedding_kinds import fit, fit_kept_scenes, write


def scene(seed: int) -> dict[str, StreamRows]:
    rng = np.random.default_rng(seed)
    return {
        slot: StreamRows(
            start_hops=0.0,
            rows=rng.normal(size=(400, DIMS[modality])).astype(np.float32),
        )
        for slot, modality in SLOTS.items()
    }


def test_what_ships_was_learnt_from_the_encoders_that_ship() -> None:
    classifier = load_classifier()
    assert classifier is not None
    hashes = [hashlib.sha256(shipped_model(m).read_bytes()).hexdigest() for m in MODALITIES]
    assert list(classifier.encoders) == hashes, "run `coeval export-encoders` again"


def test_what_is_learnt_tells_the_encoders_apart_and_is_kept(tmp_path: Path) -> None:
    classifier = fit([scene(seed) for seed in range(4)])
    path = write(classifier, tmp_path / "kinds.npz")
    kept = load_classifier(path)
    assert kept is not None
    np.testing.assert_allclose(kept.middles, classifier.middles, rtol=1e-4, atol=1e-4)


def test_without_kept_scenes_nothing_is_learnt(tmp_path: Path) -> None:
    assert fit_kept_scenes(tmp_path) is None
