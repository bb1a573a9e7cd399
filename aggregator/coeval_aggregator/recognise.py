"""Which modality a stream's blocks are of, where its node said nothing, or something else.

The answer comes from the embeddings alone: how they vary tells which encoder made them.
"""

import logging
from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from coeval.hops import Hops
from coeval.recognition.embeddings import LEAST_HOPS, EmbeddingClassifier, EmbeddingKind

logger = logging.getLogger(__name__)

SHIPPED = Path(str(files("coeval_aggregator").joinpath("models", "embedding_kinds.npz")))
MOST_HOPS = 1200
"""The newest minute is looked at."""


@lru_cache(maxsize=4)
def load_classifier(path: Path = SHIPPED) -> EmbeddingClassifier | None:
    """What was learnt of the shipped encoders' embeddings; None, and logged: it is not there."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return EmbeddingClassifier.from_arrays(arrays)
    except (OSError, KeyError, ValueError) as exc:
        logger.warning("streams cannot be recognised file=%s reason=%s", path, exc)
        return None


def recognise_embeddings(
    runs: Sequence[Hops],
    *,
    encoder_sha256: str | None = None,
    classifier: EmbeddingClassifier | None = None,
) -> EmbeddingKind:
    """What a stream's embeddings are.

    Args:
        runs: in time order; the longest of the newest minute is looked at.
        encoder_sha256: the encoder that made them, where that is known: of one that is not among
            those learnt of nothing can be said.
        classifier: None: what ships.

    Returns:
        Unsure where there are less than ten seconds of them in a row, or nothing is like them.
    """
    unsure = EmbeddingKind(modality=None, probability=0.0, distance=float("inf"))
    classifier = classifier or load_classifier()
    if classifier is None:
        return unsure
    if encoder_sha256 is not None and encoder_sha256 not in classifier.encoders:
        return unsure
    longest = max(runs, key=lambda run: len(run.rows[-MOST_HOPS:]), default=None)
    if longest is None or len(longest.rows) < LEAST_HOPS:
        return unsure
    return classifier.classify(longest.rows[-MOST_HOPS:])
