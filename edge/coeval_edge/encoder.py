"""An ONNX encoder as the node runs it: rows of features in, embeddings out.

The file says which features it was trained on and what it must answer; one of another version, or
one that answers something else here, is refused by name.
"""

import hashlib
import json
import logging
from importlib.resources import files
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime

from coeval.adapted import Adapted
from coeval.errors import EncoderMismatch
from coeval.features import feature_spec
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.samples import FloatArray, Modality
from coeval.time import NodeNs
from coeval_edge.golden import KEY as GOLDEN_KEY
from coeval_edge.golden import GoldenMissed, check_golden, golden_rows
from coeval_edge.providers import (
    CPU,
    OPTIONS,
    PROVIDERS,
    CannotRun,
    Chosen,
    ProviderName,
    choose_provider,
)

logger = logging.getLogger(__name__)

CONTEXT_HOPS = 64
"""Rows before the wanted ones that the encoder must see; its reach is shorter."""
NEW_HOPS = 64
"""Rows answered for in one run of the network."""
WINDOW_HOPS = CONTEXT_HOPS + NEW_HOPS
ADAPTED_BY = "adapted_by"
"""Of an adapted encoder's metadata: which file it was made from, and by which matrix."""
FP32, FP16, INT8 = "fp32", "fp16", "int8"
PRECISION, REDUCED_FROM = "precision", "reduced_from"
"""Of the metadata of an encoder whose weights are kept smaller: how, and the hash of the fp32 file
that it was made from."""
WINDOWS_AT_ONCE = 16
"""Windows in one run of the network: bounds the memory that a long stream takes."""


def shipped_model(modality: Modality) -> Path:
    """Path of the encoder that ships with this package."""
    return Path(str(files("coeval_edge").joinpath("models", f"{modality}.onnx")))


class Encoder:
    """A modality's encoder; keeps the last rows of one stream as context.

    One instance serves one stream when `push` is used; `encode` keeps nothing.
    """

    def __init__(
        self,
        chosen: Chosen[onnxruntime.InferenceSession],
        *,
        modality: Modality,
        sha256: str,
        encoder_set: str,
        adapted: Adapted | None = None,
        precision: str = FP32,
        reduced_from: str | None = None,
    ):
        self.modality = modality
        self.sha256 = sha256
        self.encoder_set = encoder_set
        """Names the encoders that were trained together: only theirs can be compared."""
        self.adapted = adapted
        """What it was made from by adapting it to a session; None: it was not."""
        self.precision = precision
        """How its weights are kept: fp32, fp16 or int8."""
        self.reduced_from = reduced_from
        """Hash of the fp32 file whose weights it keeps smaller; None: they are as trained."""
        self.provider = chosen.provider
        """What runs it, by onnxruntime's name."""
        self.passed_over = chosen.passed_over
        """What does not run it, and why."""
        self._session = chosen.session
        self._context: FloatArray | None = None
        self._next_ns = 0

    @classmethod
    def load(
        cls, modality: Modality, path: Path | None = None, *, provider: ProviderName = "auto"
    ) -> Self:
        """Open an encoder file, on the provider that is asked for.

        Raises:
            EncoderMismatch: the file is no encoder, was trained on other features, or answers
                something else than it says.
        """
        path = path or shipped_model(modality)
        try:
            model = path.read_bytes()
        except OSError as exc:
            raise EncoderMismatch(
                f"encoder {path}: cannot be read: {exc.strerror}; a folder of encoders, as "
                "`coeval export-encoders` makes it, holds one file of each modality"
            ) from exc
        return cls.of(model, modality, where=str(path), provider=provider)

    @classmethod
    def of(
        cls, model: bytes, modality: Modality, *, where: str, provider: ProviderName = "auto"
    ) -> Self:
        """Open an encoder from its file's bytes; `where` names it in messages.

        Raises:
            EncoderMismatch: as `load`.
        """
        told: dict[str, str] = {}

        def open_on(name: str) -> onnxruntime.InferenceSession:
            session = _open_session(model, name, where=where)
            described = session.get_modelmeta().custom_metadata_map
            _check_described(session, described, modality, where=where)
            told.update(described)
            _check_golden(session, described, modality, provider=name)
            return session

        try:
            chosen = choose_provider(
                provider,
                onnxruntime.get_available_providers(),
                open_on=open_on,
                run_once=lambda session: _run(session, golden_window(modality)),
            )
        except CannotRun as exc:
            raise EncoderMismatch(f"encoder {where}: {exc}") from exc
        sha256 = hashlib.sha256(model).hexdigest()
        is_as_asked = provider == "auto" or PROVIDERS[provider] == chosen.provider
        logger.log(
            logging.INFO if is_as_asked else logging.WARNING,
            "encoder opened modality=%s encoder=%s provider=%s why=%s passed_over=%s",
            modality,
            sha256[:12],
            chosen.provider,
            chosen.why,
            "; ".join(chosen.passed_over) or "none",
        )
        encoder_set = told.get("encoder_set", "")
        adapted = Adapted.from_json(json.loads(told.get(ADAPTED_BY, "null")))
        return cls(
            chosen,
            modality=modality,
            sha256=sha256,
            encoder_set=encoder_set,
            adapted=adapted,
            precision=told.get(PRECISION, FP32),
            reduced_from=told.get(REDUCED_FROM),
        )

    @property
    def original_sha256(self) -> str:
        """Hash of the file that keeps the weights as trained: rounding makes no other encoder."""
        return self.reduced_from or self.sha256

    def continue_from(self, other: "Encoder") -> None:
        """Go on where another encoder of the stream stopped: features are the same for all."""
        self._context, self._next_ns = other._context, other._next_ns

    def push(self, hops: Hops) -> list[Hops]:
        """Embeddings of the stream's next rows, as many as rows; a gap clears the context."""
        if self._context is None or hops.t0_node_ns != self._next_ns:
            self._context = np.zeros((CONTEXT_HOPS, hops.rows.shape[1]), np.float32)
        rows = np.concatenate([self._context, hops.rows])
        embeddings = self._run(rows)
        self._context = rows[-CONTEXT_HOPS:]
        self._next_ns = hops.t0_node_ns + len(hops.rows) * HOP_NS
        return [Hops(t0_node_ns=NodeNs(hops.t0_node_ns), rows=embeddings)]

    def encode(self, rows: FloatArray) -> FloatArray:
        """Embeddings of a whole stream.

        Args:
            rows: features from the stream's start, shape (T, F).

        Returns:
            Embeddings, shape (T, 16).
        """
        context = np.zeros((CONTEXT_HOPS, rows.shape[1]), np.float32)
        return self._run(np.concatenate([context, rows]))

    def answer(self, windows: FloatArray) -> FloatArray:
        """The network itself: rows (B, WINDOW_HOPS, F) → embeddings (B, NEW_HOPS, 16)."""
        return _run(self._session, windows)

    def _run(self, rows: FloatArray) -> FloatArray:
        """Embeddings of the rows after the first CONTEXT_HOPS."""
        num_new = len(rows) - CONTEXT_HOPS
        runs = -(-num_new // NEW_HOPS)
        padded = np.zeros((CONTEXT_HOPS + runs * NEW_HOPS, rows.shape[1]), np.float32)
        padded[: len(rows)] = rows
        out = np.empty((runs * NEW_HOPS, EMBEDDING_DIM), np.float32)
        for first in range(0, runs, WINDOWS_AT_ONCE):
            last = min(first + WINDOWS_AT_ONCE, runs)
            windows = np.stack(
                [padded[k * NEW_HOPS : k * NEW_HOPS + WINDOW_HOPS] for k in range(first, last)]
            )
            embeddings = self.answer(windows)
            out[first * NEW_HOPS : last * NEW_HOPS] = embeddings.reshape(-1, EMBEDDING_DIM)
        return out[:num_new]


def golden_window(modality: Modality) -> FloatArray:
    """One window of rows, as a node runs it."""
    return golden_rows(WINDOW_HOPS, feature_spec(modality).dim)[:1]


def _run(session: onnxruntime.InferenceSession, windows: FloatArray) -> FloatArray:
    (embeddings,) = session.run(None, {"rows": windows})
    answered: FloatArray = embeddings
    return answered


def _open_session(model: bytes, provider: str, *, where: str) -> onnxruntime.InferenceSession:
    """A session on a provider, and on no other.

    Raises:
        EncoderMismatch: not even the CPU opens it.
        CannotRun: this provider does not.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    named = [(provider, OPTIONS.get(provider, {}))]
    if provider != CPU:
        named.append((CPU, {}))  # for what the provider has no kernel of
    try:
        session = onnxruntime.InferenceSession(model, options, providers=named)
    except Exception as exc:  # onnxruntime raises its own kinds for every malformed file
        if provider != CPU:
            raise CannotRun(" ".join(str(exc).split())[:200]) from exc
        raise EncoderMismatch(f"encoder {where}: not an ONNX file that can be run") from exc
    if session.get_providers()[0] != provider:
        raise CannotRun("onnxruntime does not start it; are its libraries there?")
    return session


def _check_described(
    session: onnxruntime.InferenceSession,
    described: dict[str, str],
    modality: Modality,
    *,
    where: str,
) -> None:
    """Check what a file says of its features, and its shapes.

    Raises:
        EncoderMismatch: it was made for other features, or is no encoder.
    """
    expected = feature_spec(modality)
    if described.get("feature_sha256") != expected.sha256:
        got = " ".join(described.get("feature_spec", "none stated").split())[:200]
        raise EncoderMismatch(
            f"encoder {where}: expected features {expected.to_json()}, got {got}; "
            "use the encoder that ships with this version or run `coeval export-encoders` again"
        )
    shapes = {put.name: put.shape[1:] for put in session.get_inputs() + session.get_outputs()}
    wanted = {"rows": [WINDOW_HOPS, expected.dim], "embeddings": [NEW_HOPS, EMBEDDING_DIM]}
    if shapes != wanted:
        raise EncoderMismatch(
            f"encoder {where}: expected a network of {wanted}, got {shapes}; "
            "run `coeval export-encoders` again"
        )


def _check_golden(
    session: onnxruntime.InferenceSession,
    described: dict[str, str],
    modality: Modality,
    *,
    provider: str,
) -> None:
    """Check what it answers.

    Raises:
        CannotRun: it answers something else than its file says, or fails.
    """
    try:
        check_golden(
            lambda rows: _run(session, rows),
            described.get(GOLDEN_KEY),
            provider=provider,
            window_hops=WINDOW_HOPS,
            dim=feature_spec(modality).dim,
        )
    except GoldenMissed as exc:
        raise CannotRun(str(exc)) from exc
    except Exception as exc:  # onnxruntime's own kinds
        raise CannotRun(f"it fails on {provider}: {' '.join(str(exc).split())[:200]}") from exc
