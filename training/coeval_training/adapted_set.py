"""From matrices to files: what was learnt for a session becomes part of the last layers."""

import hashlib
import json
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from coeval.adapted import Adapted
from coeval.errors import EncoderMismatch
from coeval.features import DIMS
from coeval.hops import EMBEDDING_DIM
from coeval.samples import FloatArray, Modality
from coeval_edge.encoder import ADAPTED_BY, PRECISION, REDUCED_FROM, WINDOW_HOPS, Encoder
from coeval_edge.golden import golden_rows
from coeval_training.adapt import Adaptation
from coeval_training.export import LARGEST_DIFFERENCE, SET_DIGITS, LostParity
from coeval_training.precision import KEPT
from coeval_training.seal import sealed

HEAD = "encoder.head"
"""The last layer, as `export` names it."""


def adapted_set(
    adaptation: Adaptation, models: Mapping[Modality, bytes], *, history: str
) -> dict[Modality, bytes]:
    """A new set of encoders: those of the session's modalities changed, the others as they were.

    Args:
        adaptation: what was learnt.
        models: the five files that the history was embedded with.
        history: of what it was learnt, for people.

    Raises:
        EncoderMismatch: a file's last layer is not as this version exports it.
        LostParity: a changed file computes something else than the old one and the matrix.
    """
    matrices = {m: w.numpy().astype(np.float64) for m, w in adaptation.matrices.items()}
    before = Encoder.of(next(iter(models.values())), next(iter(models)), where="before").encoder_set
    digest = hashlib.sha256(before.encode())
    for modality in sorted(matrices):
        digest.update(modality.encode() + matrices[modality].tobytes())
    told = {
        "encoder_set": digest.hexdigest()[:SET_DIGITS],
        "adapted": json.dumps(
            {
                "from_set": before,
                "history": history,
                "windows": adaptation.num_windows,
                "gain_nats": round(adaptation.gain_nats, 4),
                "gain_sigmas": round(adaptation.gain_sigmas, 2),
                "within_100ms": [round(share, 1) for share in adaptation.within_100ms],
                "null_growth": round(adaptation.null_growth, 3),
            },
            sort_keys=True,
        ),
    }
    return {
        modality: changed(model, modality, matrices.get(modality), told)
        for modality, model in models.items()
    }


def changed(
    model: bytes, modality: Modality, matrix: np.ndarray | None, told: Mapping[str, str]
) -> bytes:
    """One encoder's file, a matrix multiplied into its last layer, with new golden vectors.

    Raises:
        EncoderMismatch: its last layer is not as this version exports it.
        LostParity: it computes something else than the old one and the matrix.
    """
    parsed = onnx.load_from_string(model)
    said = {entry.key: entry.value for entry in parsed.metadata_props}
    if matrix is not None:
        for name in (f"{HEAD}.weight", f"{HEAD}.bias"):
            multiply(parsed, name, matrix, where=modality)
    by = np.eye(EMBEDDING_DIM) if matrix is None else matrix
    original = said.pop(REDUCED_FROM, None) or hashlib.sha256(model).hexdigest()
    known = Adapted.from_json(json.loads(said.get(ADAPTED_BY, "null")))
    known = Adapted(from_sha256=original, matrix=by) if known is None else known.then(by)
    undo = {ADAPTED_BY: json.dumps(known.to_json(), sort_keys=True)}
    after = sealed(parsed, {**said, **told, **undo})
    if matrix is not None:
        check_parity(model, after, modality, matrix, is_half=PRECISION in said)
    return after


def multiply(model: onnx.ModelProto, name: str, matrix: np.ndarray, *, where: str) -> None:
    """Multiply a weight, kept in fp32 or fp16, from the left."""
    for entry in model.graph.initializer:
        if entry.name in (name, name + KEPT):
            values = numpy_helper.to_array(entry)
            product = (matrix @ values.astype(np.float64)).astype(values.dtype)
            entry.CopyFrom(numpy_helper.from_array(product, entry.name))
            return
    raise EncoderMismatch(
        f"encoder {where}: no weight named {name!r}; export it with this version's "
        "`coeval export-encoders`"
    )


def check_parity(
    before: bytes, after: bytes, modality: Modality, matrix: np.ndarray, *, is_half: bool
) -> None:
    """Compare a changed encoder with the old one and the matrix.

    Raises:
        LostParity: they differ.
    """
    rows = golden_rows(WINDOW_HOPS, DIMS[modality])
    old, new = (Encoder.of(m, modality, where=modality, provider="cpu") for m in (before, after))
    expected: FloatArray = old.answer(rows) @ matrix.T.astype(np.float32)
    difference = float(np.abs(new.answer(rows) - expected).max() / np.abs(expected).max())
    allowed = 1e-2 if is_half else LARGEST_DIFFERENCE
    if not difference <= allowed:
        raise LostParity(
            f"encoder {modality}: adapted, it differs by {difference:.1e} of the largest embedding "
            f"from what was learnt, allowed {allowed:.0e}; nothing was written"
        )
