"""An ONNX encoder as the node runs it: rows of features in, embeddings out.

The file says which features it was trained on; another version's are refused by name.
"""

import hashlib
from importlib.resources import files
from pathlib import Path
from typing import Self

import numpy as np
import onnxruntime

from coeval.errors import EncoderMismatch
from coeval.features import feature_spec
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.samples import FloatArray, Modality
from coeval.time import NodeNs

CONTEXT_HOPS = 64
"""Rows before the wanted ones that the encoder must see; its reach is shorter."""
NEW_HOPS = 64
"""Rows answered for in one run of the network."""
WINDOW_HOPS = CONTEXT_HOPS + NEW_HOPS
WINDOWS_AT_ONCE = 16
"""Windows in one run of the network: bounds the memory that a long stream takes."""


def shipped_model(modality: Modality) -> Path:
    """Path of the encoder that ships with this package."""
    return Path(str(files("coeval_edge").joinpath("models", f"{modality}.onnx")))


class Encoder:
    """A modality's encoder; keeps the last rows of one stream as context.

    One instance serves one stream when `push` is used; `encode` keeps nothing.
    """

    def __init__(self, session: onnxruntime.InferenceSession, *, modality: Modality, sha256: str):
        self.modality = modality
        self.sha256 = sha256
        self._session = session
        self._context: FloatArray | None = None
        self._next_ns = 0

    @classmethod
    def load(cls, modality: Modality, path: Path | None = None) -> Self:
        """Open an encoder file.

        Raises:
            EncoderMismatch: the file is no encoder, or was trained on other features.
        """
        path = path or shipped_model(modality)
        try:
            model = path.read_bytes()
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            options.log_severity_level = 3
            session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"]
            )
        except OSError as exc:
            raise EncoderMismatch(f"encoder {path}: cannot be read: {exc.strerror}") from exc
        except Exception as exc:  # onnxruntime raises its own kinds for every malformed file
            raise EncoderMismatch(f"encoder {path}: not an ONNX file that can be run") from exc
        described = session.get_modelmeta().custom_metadata_map
        expected = feature_spec(modality)
        if described.get("feature_sha256") != expected.sha256:
            got = " ".join(described.get("feature_spec", "none stated").split())[:200]
            raise EncoderMismatch(
                f"encoder {path}: expected features {expected.to_json()}, got {got}; "
                "use the encoder that ships with this version or run `coeval export-encoders` again"
            )
        shapes = {put.name: put.shape[1:] for put in session.get_inputs() + session.get_outputs()}
        wanted = {"rows": [WINDOW_HOPS, expected.dim], "embeddings": [NEW_HOPS, EMBEDDING_DIM]}
        if shapes != wanted:
            raise EncoderMismatch(
                f"encoder {path}: expected a network of {wanted}, got {shapes}; "
                "run `coeval export-encoders` again"
            )
        return cls(session, modality=modality, sha256=hashlib.sha256(model).hexdigest())

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
            (embeddings,) = self._session.run(None, {"rows": windows})
            out[first * NEW_HOPS : last * NEW_HOPS] = embeddings.reshape(-1, EMBEDDING_DIM)
        return out[:num_new]
