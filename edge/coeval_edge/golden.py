"""Golden vectors: what an encoder must answer, told by its own file, for every device to check.

The rows that go in are made of SHAKE-256's bytes: the same in every language and library. The
exporter writes down what came out there; whoever loads the file compares what comes out here.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
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
MOST_ROUNDING = 0.03
"""Of an int8 network, whose golden vectors are those of the fp32 one: RMS of what rounding changes,
relative to the RMS of the answers, where it was exported. Five generations of our encoders: 0.005
to 0.020 (docs/decisions/0052)."""
ROUNDING_ROOM = 3.0
"""How many times that may be the difference on another processor, which rounds other numbers up:
120 roundings of each encoder lay within 1.3 times their mean, and a network of which a layer is
gone beyond 9 times."""
FULL_PRECISION = ("CPUExecutionProvider", "XnnpackExecutionProvider")

Run = Callable[[FloatArray], FloatArray]
"""Rows (B, window, F) → embeddings (B, new hops, E)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """What an encoder must answer."""

    embeddings: FloatArray
    """Of each golden window's GOLDEN_HOPS, shape (2, 8, E)."""
    rounding: float | None
    """RMS by which the encoder's own answers differed where it was exported, relative to theirs;
    None: they are its own, to the last bits."""


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


def golden_text(run: Run, *, window_hops: int, dim: int, exact: Run | None = None) -> str:
    """What goes into the file: an encoder's answers, of the device that exports it.

    Args:
        run: the encoder.
        window_hops: rows of a window.
        dim: columns of a row.
        exact: the fp32 encoder that this one computes roughly; its answers are told, and how far
            those of `run` are from them. None: this one is exact.
    """
    rows = golden_rows(window_hops, dim)
    answers = (exact or run)(rows)[:, GOLDEN_HOPS]
    told: dict[str, Any] = {
        "version": VERSION,
        "rows_sha256": hashlib.sha256(rows.astype("<f4").tobytes()).hexdigest(),
        "hops": list(GOLDEN_HOPS),
        "shape": list(answers.shape),
        "embeddings_f32": base64.b64encode(answers.astype("<f4").tobytes()).decode(),
    }
    if exact is not None:
        told["rounding"] = rms_difference(run(rows)[:, GOLDEN_HOPS], answers)
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
    golden = read_golden(text)
    expected = golden.embeddings
    answers = run(golden_rows(window_hops, dim))[:, GOLDEN_HOPS]
    if answers.shape != expected.shape:
        raise GoldenMissed(
            f"its golden vectors are of shape {expected.shape}, its answers of {answers.shape}; "
            "run `coeval export-encoders` again"
        )
    if golden.rounding is None:
        allowed = CLOSE if provider in FULL_PRECISION else CLOSE_REDUCED
        difference, of = largest_difference(answers, expected), "largest"
    else:
        allowed = ROUNDING_ROOM * golden.rounding
        difference, of = rms_difference(answers, expected), "RMS"
    if not difference <= allowed:  # NaN is not close either
        raise GoldenMissed(
            f"its answers on {provider} differ from its golden vectors by {difference:.1e} of the "
            f"{of}, allowed {allowed:.0e}; the file is damaged, or this device computes wrongly"
        )


def largest_difference(answers: FloatArray, expected: FloatArray) -> float:
    """The largest difference, relative to the largest that is expected."""
    return float(np.abs(answers - expected).max() / np.abs(expected).max())


def rms_difference(answers: FloatArray, expected: FloatArray) -> float:
    """RMS of the difference, relative to that of what is expected."""
    return float(np.sqrt(((answers - expected) ** 2).mean() / (expected**2).mean()))


def read_golden(text: str | None) -> Golden:
    """What a file tells of its golden vectors; `text` None: nothing.

    Raises:
        GoldenMissed: it tells none that can be read, or none that would notice anything.
    """
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
        rounding = None if "rounding" not in told else float(told["rounding"])
    except (ValueError, KeyError, TypeError, RecursionError, binascii.Error) as exc:
        raise GoldenMissed(
            "its golden vectors cannot be read; run this version's `coeval export-encoders`"
        ) from exc
    if expected.ndim != 3 or not np.isfinite(expected).all() or not expected.any():
        raise GoldenMissed(
            "its golden vectors are no embeddings; run `coeval export-encoders` again"
        )
    if rounding is not None and not 0 < rounding <= MOST_ROUNDING:
        raise GoldenMissed(
            f"it is rounded by {rounding:.1e} of the RMS, allowed {MOST_ROUNDING}; "
            "export it again with --precision fp16"
        )
    return Golden(embeddings=expected.astype(np.float32), rounding=rounding)
