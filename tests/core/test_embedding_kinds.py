"""Embeddings are told by how they vary; what is like none, or too short, is unsure."""

import numpy as np

from coeval.recognition.embeddings import LEAST_HOPS, EmbeddingClassifier, statistics
from coeval.samples import MODALITIES, FloatArray, Modality

SLOWNESS = dict(zip(MODALITIES, (0.0, 0.3, 0.6, 0.8, 0.95), strict=True))


def embeddings(modality: Modality, rng: np.random.Generator, num: int = 400) -> FloatArray:
    """Numbers that change more slowly the later a modality stands in the list."""
    keep = SLOWNESS[modality]
    noise = rng.standard_normal((num, 16))
    rows = np.zeros((num, 16))
    for k in range(1, num):
        rows[k] = keep * rows[k - 1] + np.sqrt(1 - keep**2) * noise[k]
    return rows.astype(np.float32)


def learnt() -> EmbeddingClassifier:
    rng = np.random.default_rng(1)
    windows = {m: np.stack([statistics(embeddings(m, rng)) for _ in range(60)]) for m in MODALITIES}
    return EmbeddingClassifier.fit(windows, encoders={m: m for m in MODALITIES})


def test_windows_are_told_apart_also_from_what_was_kept_in_a_file() -> None:
    classifier = EmbeddingClassifier.from_arrays(learnt().arrays())
    rng = np.random.default_rng(2)
    said = {m: classifier.classify(embeddings(m, rng)).modality for m in MODALITIES}
    assert said == {m: m for m in MODALITIES}
    assert classifier.encoders == MODALITIES


def test_what_is_like_none_or_too_short_is_unsure() -> None:
    classifier = learnt()
    rng = np.random.default_rng(3)
    strange = [
        np.cumsum(rng.standard_normal((400, 16)), axis=0),
        100.0 * rng.standard_normal((400, 16)),
        np.zeros((400, 16)),
        embeddings("audio", rng, num=LEAST_HOPS - 1),
    ]
    assert {classifier.classify(rows.astype(np.float32)).modality for rows in strange} == {None}
