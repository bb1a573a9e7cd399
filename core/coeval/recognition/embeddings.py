"""Which modality's encoder made embeddings that nobody labelled: from how they vary in time.

Each encoder has its own way: how large each of its numbers is, how fast each changes. A window of
some ten seconds becomes a vector of such statistics; it belongs to the modality whose windows lie
nearest, measured by how all of them scatter (linear discriminant analysis), and to none where it
lies far from every one or between two.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.samples import MODALITIES, FloatArray, Modality

LEAST_HOPS = 200
"""Ten seconds: fewer say too little of how slow numbers vary."""
LAGS_HOPS = (1, 3, 8, 24)
LARGEST_DISTANCE = 1.5
"""In radii of the generated windows: real streams lie further out than those, and nothing else lies
there (white noise: 2.4; windows of the recordings trained on: up to 1.04; 2026-11-26)."""
SURE_PROBABILITY = 0.99
"""Below this the nearest modality is not said."""

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbeddingKind:
    """What embeddings were found to be."""

    modality: Modality | None
    """The modality whose encoder makes such embeddings; None: unsure."""
    probability: float
    """Of the nearest modality, if it is one of the known ones."""
    distance: float
    """From its middle, 1: as far as 99.5 % of its own windows lie at most."""


def statistics(rows: FloatArray) -> Array:
    """How embeddings vary: shape (T, 16) → (F,).

    Of each number its mean, its spread, how much of it is the same some hops later, and how heavy
    its tails are; of all the length's mean and spread.
    """
    values = rows.astype(np.float64)
    mean = values.mean(axis=0)
    centred = values - mean
    spread = centred.std(axis=0) + 1e-6
    echoes = [(centred[lag:] * centred[:-lag]).mean(axis=0) / spread**2 for lag in LAGS_HOPS]
    tails = np.log(np.mean((centred / spread) ** 4, axis=0) + 1e-3)
    lengths = np.linalg.norm(values, axis=1)
    overall = [np.log(lengths.mean() + 1e-3), np.log(lengths.std() + 1e-3)]
    return np.concatenate([np.arcsinh(mean), np.log(spread), *echoes, tails, overall])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddingClassifier:
    """Linear discriminants of the modalities' statistics."""

    middles: Array
    """Mean statistics of each modality, as MODALITIES, shape (5, F)."""
    whitening: Array
    """Makes the scatter around them round, shape (F, F)."""
    radii: Array
    """Distance within which nearly all windows of each modality lie, shape (5,)."""
    encoders: tuple[str, ...]
    """SHA-256 of the encoders that made the windows, as trained, in the order of MODALITIES."""

    @classmethod
    def fit(
        cls, windows: Mapping[Modality, Array], *, encoders: Mapping[Modality, str]
    ) -> "EmbeddingClassifier":
        """Learn from windows' statistics, shape (n, F) a modality.

        Args:
            windows: statistics by modality, all of MODALITIES.
            encoders: SHA-256 of the encoder by modality.
        """
        middles = np.stack([windows[modality].mean(axis=0) for modality in MODALITIES])
        within = [windows[m] - middles[k] for k, m in enumerate(MODALITIES)]
        scatter = np.mean([part.T @ part / len(part) for part in within], axis=0)
        scatter += np.diag(0.05 * np.diag(scatter) + 1e-6)
        values, vectors = np.linalg.eigh(scatter)
        whitening = vectors / np.sqrt(values)
        distances = [np.linalg.norm(part @ whitening, axis=1) for part in within]
        radii = np.array([np.percentile(each, 99.5) for each in distances])
        return cls(
            middles=middles,
            whitening=whitening,
            radii=radii,
            encoders=tuple(encoders[modality] for modality in MODALITIES),
        )

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> "EmbeddingClassifier":
        """What `arrays` gave."""
        return cls(
            middles=arrays["middles"].astype(np.float64),
            whitening=arrays["whitening"].astype(np.float64),
            radii=arrays["radii"].astype(np.float64),
            encoders=tuple(map(str, arrays["encoders"])),
        )

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Everything, to be kept in a file."""
        return {
            "middles": self.middles.astype(np.float32),
            "whitening": self.whitening.astype(np.float32),
            "radii": self.radii.astype(np.float32),
            "encoders": np.array(self.encoders),
        }

    def classify(self, rows: FloatArray) -> EmbeddingKind:
        """What consecutive embeddings are, shape (T, 16); too few, or like none: unsure."""
        if len(rows) < LEAST_HOPS or float(rows.std()) < 1e-6:
            return EmbeddingKind(modality=None, probability=0.0, distance=np.inf)
        offsets = (statistics(rows) - self.middles) @ self.whitening
        distances = np.linalg.norm(offsets, axis=1)
        scores = -0.5 * distances**2
        shares = np.exp(scores - scores.max())
        shares /= shares.sum()
        best = int(np.argmax(shares))
        distance = float(distances[best] / self.radii[best])
        is_sure = shares[best] >= SURE_PROBABILITY and distance <= LARGEST_DISTANCE
        return EmbeddingKind(
            modality=MODALITIES[best] if is_sure else None,
            probability=float(shares[best]),
            distance=distance,
        )
