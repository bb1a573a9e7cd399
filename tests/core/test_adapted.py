"""Adapted encoders: what comes back, and what cannot."""

import numpy as np
import pytest

from coeval.adapted import Adapted
from coeval.hops import EMBEDDING_DIM

RNG = np.random.default_rng(1)
MATRIX = np.eye(EMBEDDING_DIM) + 0.1 * RNG.normal(size=(EMBEDDING_DIM, EMBEDDING_DIM))


def test_rows_come_back_through_json() -> None:
    rows = RNG.normal(size=(50, EMBEDDING_DIM)).astype(np.float32)
    told = Adapted.from_json(Adapted(from_sha256="ab", matrix=MATRIX).to_json())
    assert told is not None
    assert told.from_sha256 == "ab"
    np.testing.assert_allclose(told.undone((rows @ MATRIX.T).astype(np.float32)), rows, atol=1e-4)


def test_adapting_twice_is_undone_at_once() -> None:
    rows = RNG.normal(size=(50, EMBEDDING_DIM)).astype(np.float32)
    twice = Adapted(from_sha256="ab", matrix=MATRIX).then(MATRIX.T)
    changed = (rows @ MATRIX.T @ MATRIX).astype(np.float32)
    np.testing.assert_allclose(twice.undone(changed), rows, atol=1e-4)


def test_a_matrix_that_loses_something_is_refused() -> None:
    flat = np.diag([1.0] * 15 + [1e-6])
    with pytest.raises(ValueError, match="cannot be undone"):
        Adapted(from_sha256="ab", matrix=flat)


@pytest.mark.parametrize(
    "value",
    [
        None,
        3,
        {},
        {"from_sha256": "ab", "matrix": "!"},
        {"from_sha256": "ab", "matrix": "AAAA"},
        {"from_sha256": "", "matrix": Adapted(from_sha256="a", matrix=MATRIX).to_json()["matrix"]},
    ],
)
def test_what_cannot_be_undone_is_taken_for_not_adapted(value: object) -> None:
    assert Adapted.from_json(value) is None
