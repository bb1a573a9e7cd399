"""Canonical correlation between modalities: the linear method that the encoders must beat.

For every pair of modalities two linear maps are learnt from generated training scenes: of the
features of some neighbouring hops, onto components that correlate most (Hotelling 1936; regularised
as Vinod 1976). The components then take the place of embeddings in the product's own chain, so that
nothing but the maps differs.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coeval.hops import EMBEDDING_DIM, Hops
from coeval.lag import highpass
from coeval.samples import FloatArray, Modality
from coeval.tracks import StreamTrack
from coeval_lab.bench.encoders_baselines import embeddings_lag
from coeval_lab.bench.encoders_learned import Lag
from coeval_training.data import SLOTS, StreamRows

DELAYS_HOPS = (-8, -4, -2, -1, 0, 1, 2, 4, 8)
"""Hops around each that are stacked."""
RIDGE = 0.03
"""Added to the covariances' diagonals, in units of their mean."""
GAIN = 4.0
"""Large enough that the chain scales scores down to what their spread allows, as it does nats."""

Pair = tuple[Modality, Modality]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearMap:
    """From rows of features to components."""

    mean: FloatArray
    """Of the columns, shape (F,)."""
    spread: FloatArray
    """Of the columns, shape (F,)."""
    weights: NDArray[np.float64]
    """Shape (len(DELAYS_HOPS)·F, EMBEDDING_DIM)."""

    def components(self, rows: FloatArray) -> FloatArray:
        """Components of rows, shape (T, F) → (T, EMBEDDING_DIM)."""
        found: FloatArray = (stacked((rows - self.mean) / self.spread) @ self.weights).astype(
            np.float32
        )
        return found


Cca = Mapping[Pair, tuple[LinearMap, LinearMap]]
"""The maps of the first and the second modality of each pair learnt."""


def stacked(rows: FloatArray) -> FloatArray:
    """Rows without their slow course, each with its neighbours, shape (T, len(DELAYS_HOPS)·F)."""
    reach = max(map(abs, DELAYS_HOPS))
    padded = np.pad(highpass(rows), ((reach, reach), (0, 0)), mode="edge")
    return np.concatenate(
        [padded[reach + delay : reach + delay + len(rows)] for delay in DELAYS_HOPS], axis=1
    )


def learn_cca(
    scenes: Sequence[Mapping[str, StreamRows]],
) -> dict[Pair, tuple[LinearMap, LinearMap]]:
    """The maps of every pair of modalities that training scenes show together.

    Args:
        scenes: rows of the streams of scenes on the true clock.
    """
    columns = column_statistics(scenes)
    sums: dict[Pair, list[NDArray[np.float64]]] = {}
    counts: dict[Pair, int] = {}
    for scene in scenes:
        for a, b in itertools.combinations(scene, 2):
            pair, views = (SLOTS[a], SLOTS[b]), together(scene[a], scene[b])
            tables = [
                stacked((view - columns[slot][0]) / columns[slot][1])
                for slot, view in zip(pair, views, strict=True)
            ]
            orders = [(pair, tables)]
            if pair[0] == pair[1]:  # neither of the two comes first
                orders.append((pair, tables[::-1]))
            for key, (x, y) in orders:
                products = [x.T @ x, y.T @ y, x.T @ y]
                if key not in sums:
                    sums[key] = [product.astype(np.float64) for product in products]
                else:
                    for total, product in zip(sums[key], products, strict=True):
                        total += product
                counts[key] = counts.get(key, 0) + len(x)
    maps: dict[Pair, tuple[LinearMap, LinearMap]] = {}
    for pair, (xx, yy, xy) in sums.items():
        weights = canonical(xx / counts[pair], yy / counts[pair], xy / counts[pair])
        first, second = (
            LinearMap(mean=columns[m][0], spread=columns[m][1], weights=w)
            for m, w in zip(pair, weights, strict=True)
        )
        maps[pair] = first, second
    return maps


def column_statistics(
    scenes: Sequence[Mapping[str, StreamRows]],
) -> dict[Modality, tuple[FloatArray, FloatArray]]:
    """Mean and spread of every modality's columns; a column that never moves has spread 1."""
    tables: dict[Modality, list[FloatArray]] = {}
    for scene in scenes:
        for slot, stream in scene.items():
            tables.setdefault(SLOTS[slot], []).append(stream.rows)
    found: dict[Modality, tuple[FloatArray, FloatArray]] = {}
    for modality, parts in tables.items():
        rows = np.concatenate(parts)
        spread = rows.std(axis=0)
        found[modality] = rows.mean(axis=0), np.where(spread > 1e-6, spread, 1.0).astype(np.float32)
    return found


def together(a: StreamRows, b: StreamRows) -> tuple[FloatArray, FloatArray]:
    """Rows of two streams of a scene at the same times, to the nearest hop."""
    late = round(b.start_hops - a.start_hops)
    first, second = max(late, 0), max(-late, 0)
    num = max(min(len(a.rows) - first, len(b.rows) - second), 0)
    return a.rows[first : first + num], b.rows[second : second + num]


def canonical(
    xx: NDArray[np.float64], yy: NDArray[np.float64], xy: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights of both sides, each component by the root of its correlation.

    Args:
        xx: covariance of the first side, shape (P, P).
        yy: of the second side, shape (Q, Q).
        xy: between the two, shape (P, Q).
    """
    roots = []
    for covariance in (xx, yy):
        ridge = RIDGE * np.trace(covariance) / len(covariance)
        roots.append(
            np.linalg.inv(np.linalg.cholesky(covariance + ridge * np.eye(len(covariance))))
        )
    u, correlations, vt = np.linalg.svd(roots[0] @ xy @ roots[1].T, full_matrices=False)
    share = GAIN * np.sqrt(correlations[:EMBEDDING_DIM])
    sides = []
    for root, axes in zip(roots, (u[:, :EMBEDDING_DIM], vt[:EMBEDDING_DIM].T), strict=True):
        weights = root.T @ (axes * share)
        missing = EMBEDDING_DIM - weights.shape[1]
        sides.append(np.pad(weights, ((0, 0), (0, missing))))
    return sides[0], sides[1]


def maps_of(cca: Cca, pair: Pair) -> tuple[LinearMap, LinearMap] | None:
    """The maps of a pair of modalities, in its order; None where scenes show no such pair."""
    if pair in cca:
        return cca[pair]
    if pair[::-1] in cca:
        return cca[pair[::-1]][::-1]
    return None


def cca_lag(cca: Cca, first: StreamTrack, second: StreamTrack) -> Lag | None:
    """The best lag of two streams by canonical components in place of embeddings."""
    maps = maps_of(cca, (first.modality, second.modality))
    if maps is None:
        return None
    tracks = [
        replace(
            track,
            embeddings=[
                Hops(t0_node_ns=run.t0_node_ns, rows=linear.components(run.rows))
                for run in track.rows
            ],
        )
        for track, linear in zip((first, second), maps, strict=True)
    ]
    return embeddings_lag(*tracks)
