"""An encoder that was adapted to a session: which one it was made from, and how to go back.

Adapting multiplies embeddings with a matrix (docs/decisions/0023). What was trained on those of the
original, the fusion network, sees them again through the matrix's inverse.
"""

import base64
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from coeval.hops import EMBEDDING_DIM
from coeval.samples import FloatArray

WORST_CONDITION = 100.0
"""A matrix that squeezes more than that loses what float16 left of the embeddings."""
LONGEST_HASH = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Adapted:
    """Where an adapted encoder comes from."""

    from_sha256: str
    """Hash of the original encoder's file."""
    matrix: NDArray[np.float64]
    """What the original's embeddings were multiplied with, shape (E, E): e' = M·e."""

    def __post_init__(self) -> None:
        if self.matrix.shape != (EMBEDDING_DIM, EMBEDDING_DIM):
            raise ValueError(f"expected a matrix of {EMBEDDING_DIM}², got {self.matrix.shape}")
        if not np.isfinite(self.matrix).all() or np.linalg.cond(self.matrix) > WORST_CONDITION:
            raise ValueError("the matrix cannot be undone")

    def then(self, matrix: NDArray[np.float64]) -> "Adapted":
        """Adapted once more."""
        return Adapted(from_sha256=self.from_sha256, matrix=matrix @ self.matrix)

    def undone(self, rows: FloatArray) -> FloatArray:
        """The original's embeddings, shape (…, E)."""
        found: FloatArray = (rows @ np.linalg.inv(self.matrix).T).astype(np.float32)
        return found

    def to_json(self) -> dict[str, str]:
        """As plain values."""
        data = self.matrix.astype("<f4").tobytes()
        return {
            "from_sha256": self.from_sha256,
            "matrix": base64.b64encode(data).decode("ascii"),
        }

    @classmethod
    def from_json(cls, value: Any) -> Self | None:
        """From what `to_json` gave; None: it is nothing that can be undone."""
        try:
            from_sha256 = str(value["from_sha256"])
            data = base64.b64decode(value["matrix"], validate=True)
            matrix = np.frombuffer(data, "<f4").reshape(EMBEDDING_DIM, EMBEDDING_DIM)
            if not 0 < len(from_sha256) <= LONGEST_HASH:
                return None
            return cls(from_sha256=from_sha256, matrix=matrix.astype(np.float64))
        except (KeyError, TypeError, ValueError):
            return None
