"""The encoders that ship, as PyTorch's again: where fine-tuning and adaptation begin."""

import base64
import binascii
import json
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from coeval.errors import EncoderMismatch
from coeval.features import DIMS
from coeval.samples import MODALITIES, Modality
from coeval_edge.encoder import INT8, WINDOW_HOPS, shipped_model
from coeval_edge.encoder import Encoder as NodeEncoder
from coeval_edge.golden import golden_rows
from coeval_training.export import Shipped
from coeval_training.precision import KEPT
from coeval_training.train import Encoders

MOST_DIFFERENCE = 1e-4
"""Of PyTorch against the file, relative to the largest embedding; weights kept as fp16 differ from
nothing else."""
PREFIX = "encoder."
"""Before the names of weights in the file, as `export.Shipped` puts it."""


def read_encoders(folder: Path | None = None) -> Encoders:
    """Every modality's encoder from its ONNX file, weights and decoder.

    Args:
        folder: holds `<modality>.onnx`; None: the files that ship.

    Raises:
        EncoderMismatch: a file cannot be used, or is not of this version's network.
    """
    encoders = Encoders().eval()
    for modality in MODALITIES:
        path = shipped_model(modality) if folder is None else folder / f"{modality}.onnx"
        if NodeEncoder.load(modality, path).precision == INT8:
            raise EncoderMismatch(
                f"encoder {path}: its weights are kept as int8, too coarse to begin from; begin "
                "from the fp32 encoders that it was made from"
            )
        weights = read_weights(path)
        try:
            encoders.of[modality].load_state_dict(weights)
        except RuntimeError as exc:
            raise EncoderMismatch(
                f"encoder {path}: its weights are not those of this version's network; "
                "train from scratch (`--from scratch`) or from a checkpoint"
            ) from exc
        _check_parity(encoders, modality, path)
    return encoders


def read_weights(path: Path) -> dict[str, Tensor]:
    """The weights in an encoder's file by PyTorch's names, the decoder's among them.

    Raises:
        EncoderMismatch: it holds none.
    """
    model = onnx.load(str(path))
    arrays = {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}
    for node in model.graph.node:  # equal weights are kept once and named twice; fp16 are widened
        if node.op_type in ("Identity", "Cast") and node.input[0] in arrays:
            arrays[node.output[0]] = arrays[node.input[0]]
    weights = {
        name.removeprefix(PREFIX): torch.from_numpy(array.astype(np.float32))
        for name, array in arrays.items()
        if name.startswith(PREFIX) and not name.endswith(KEPT)
    }
    told = {entry.key: entry.value for entry in model.metadata_props}
    try:
        decoder = json.loads(told["decoder"])
        for name, kept in decoder.items():
            raw = np.frombuffer(base64.b64decode(kept["f16"], validate=True), "<f2")
            values = raw.reshape(kept["shape"]).astype(np.float32)
            weights[f"decoder.{name}"] = torch.from_numpy(values)
    except (KeyError, ValueError, TypeError, AttributeError, binascii.Error) as exc:
        raise EncoderMismatch(
            f"encoder {path}: it does not hold its decoder; make it with this version's "
            "`coeval export-encoders`"
        ) from exc
    return weights


def _check_parity(encoders: Encoders, modality: Modality, path: Path) -> None:
    rows = golden_rows(WINDOW_HOPS, DIMS[modality])
    with torch.no_grad():
        ours = Shipped(encoders.of[modality])(torch.from_numpy(rows)).numpy()
    theirs = NodeEncoder.load(modality, path, provider="cpu").answer(rows)
    difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    if not difference <= MOST_DIFFERENCE:
        raise EncoderMismatch(
            f"encoder {path}: read back, it differs by {difference:.1e} of the largest embedding "
            f"from the file, allowed {MOST_DIFFERENCE:.0e}; train from a checkpoint instead"
        )
