"""Golden vectors: what an encoder must answer, told by its own file, for every device to check.

The rows that go in are made of SHAKE-256's bytes: the same in every language and library. The
exporter writes down what came out there; whoever loads the file compares what comes out here.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from coeval.samples import FloatArray

KEY = "golden"
"""Under which an ONNX file's metadata holds them."""
VERSION = 1
NUM_WINDOWS = 2
SEED = b"coeval-golden/1"
GOLDEN_HOPS = tuple(range(0, 64, 9))
"""Which of a window's embeddings are compared: 8 of 64, the first and the last among them."""
LOUDNESS = (1.0, 0.1)
"""Spread of each window's rows: as normalised features have it, and nearly still."""

CLOSE = 1e-3
"""Largest difference allowed, relative to the largest embedding. Two processors add in another
order, which makes 1e-6; a network that computes something else is off by far more."""
CLOSE_REDUCED = 1e-2
"""… of a provider that may multiply with fewer bits (TF32, fp16): correlations of 1 % noise lose
nothing."""
FULL_PRECISION = ("CPUExecutionProvider", "XnnpackExecutionProvider")

Run = Callable[[FloatArray], FloatArray]
"""Rows (B, window, F) → embeddings (B, new hops, E)."""


class GoldenMissed(Exception):
    """Why an encoder is not what its file says, in words that follow "encoder X: "."""


def golden_rows(window_hops: int, dim: int) -> FloatArray:
    """The rows that go in, shape (2, window_hops, dim); the last column, coverage, is 1."""
    count = NUM_WINDOWS * window_hops * dim
    drawn = np.frombuffer(hashlib.shake_256(SEED).digest(2 * count), "<i2")
    rows: FloatArray = np.empty((NUM_WINDOWS, window_hops, dim), np.float32)
    rows[:] = drawn.reshape(rows.shape) / np.float32(2**14)
    rows *= np.array(LOUDNESS, np.float32)[:, None, None]
    rows[..., -1] = 1.0
    return rows


def golden_text(run: Run, *, window_hops: int, dim: int) -> str:
    """What goes into the file: an encoder's answers, of the device that exports it."""
    rows = golden_rows(window_hops, dim)
    answers = run(rows)[:, GOLDEN_HOPS]
    told = {
        "version": VERSION,
        "rows_sha256": hashlib.sha256(rows.astype("<f4").tobytes()).hexdigest(),
        "hops": list(GOLDEN_HOPS),
        "shape": list(answers.shape),
        "embeddings_f32": base64.b64encode(answers.astype("<f4").tobytes()).decode(),
    }
    return json.dumps(told, sort_keys=True)


def check_golden(run: Run, text: str | None, *, provider: str, window_hops: int, dim: int) -> None:
    """Compare an encoder's answers with those that its file tells.

    Args:
        run: the encoder, on the provider that is to run it.
        text: what the file says; None: nothing.
        provider: onnxruntime's name of the provider; how close is close depends on it.
        window_hops: rows of a window.
        dim: columns of a row.

    Raises:
        GoldenMissed: the file tells none that can be read, or the answers are others.
    """
    expected = _expected(text)
    answers = run(golden_rows(window_hops, dim))[:, GOLDEN_HOPS]
    if answers.shape != expected.shape:
        raise GoldenMissed(
            f"its golden vectors are of shape {expected.shape}, its answers of {answers.shape}; "
            "run `coeval export-encoders` again"
        )
    allowed = CLOSE if provider in FULL_PRECISION else CLOSE_REDUCED
    largest = float(np.abs(expected).max())
    difference = float(np.abs(answers - expected).max())
    if not difference <= allowed * largest:  # NaN is not close either
        raise GoldenMissed(
            f"its answers on {provider} differ from its golden vectors by "
            f"{difference / largest if largest else np.inf:.1e} of the largest, allowed "
            f"{allowed:.0e}; the file is damaged, or this device computes wrongly"
        )


def _expected(text: str | None) -> FloatArray:
    if text is None:
        raise GoldenMissed(
            "it holds no golden vectors; run this version's `coeval export-encoders`"
        )
    try:
        told: dict[str, Any] = json.loads(text)
        if told["version"] != VERSION or told["hops"] != list(GOLDEN_HOPS):
            raise ValueError("of another version")
        raw = base64.b64decode(told["embeddings_f32"], validate=True)
        expected = np.frombuffer(raw, "<f4").reshape(told["shape"])
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as exc:
        raise GoldenMissed(
            "its golden vectors cannot be read; run this version's `coeval export-encoders`"
        ) from exc
    if expected.ndim != 3 or not np.isfinite(expected).all() or not expected.any():
        raise GoldenMissed(
            "its golden vectors are no embeddings; run `coeval export-encoders` again"
        )
    return expected.astype(np.float32)
