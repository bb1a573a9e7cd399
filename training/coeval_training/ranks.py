"""Figures of order: how often what is faulty, or of the same moment, comes first."""

import numpy as np
from numpy.typing import NDArray

from coeval.samples import FloatArray


def auroc(positive: NDArray[np.floating], negative: NDArray[np.floating]) -> float | None:
    """Share of (positive, negative) pairs in the right order; ties count half."""
    if not len(positive) or not len(negative):
        return None
    ordered = np.sort(negative)
    below = np.searchsorted(ordered, positive, side="left")
    upto = np.searchsorted(ordered, positive, side="right")
    return float((below + upto).mean() / 2 / len(negative))


def reciprocal_rank(one: FloatArray, rest: FloatArray) -> float:
    """Mean reciprocal rank of the same moment, both ways, by cosine; rows are moments."""
    a = one / (np.linalg.norm(one, axis=1, keepdims=True) + 1e-9)
    b = rest / (np.linalg.norm(rest, axis=1, keepdims=True) + 1e-9)
    scores = a @ b.T
    own = np.diag(scores)
    ranks = np.concatenate(
        [1 + (scores > own[:, None]).sum(axis=1), 1 + (own[:, None] < scores.T).sum(axis=1)]
    )
    return float((1.0 / ranks).mean())
