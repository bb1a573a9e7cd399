"""From a checkpoint to the ONNX files that ship: parity checked, provenance and golden vectors in.

Opset 17 by torch's older exporter: its newer one makes files a quarter larger that are no faster
(docs/decisions/0020-what-an-encoder-file-holds.md). Weights keep their names, so that fine-tuning
can begin from the file.
"""

import base64
import hashlib
import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from coeval.errors import CoevalError, EncoderMismatch
from coeval.features import feature_spec
from coeval.folders import make_folder
from coeval.samples import MODALITIES, Modality
from coeval_edge.encoder import CONTEXT_HOPS, NEW_HOPS, WINDOW_HOPS, Encoder
from coeval_edge.golden import GoldenMissed, largest_difference
from coeval_training.checkpoint import read_checkpoint
from coeval_training.precision import AlreadyReduced, Precision, reduced
from coeval_training.seal import running, sealed
from coeval_training.train import Encoders

LARGEST_DIFFERENCE = 1e-4
"""Of the exported network against PyTorch, relative to the largest embedding."""

SET_DIGITS = 16


class LostParity(CoevalError):
    """The exported network computes something else than the trained one."""


class Shipped(nn.Module):
    """What the node runs: a window of rows in, embeddings of its new hops out."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (B, WINDOW_HOPS, F) → embeddings (B, NEW_HOPS, E)."""
        embeddings: Tensor = self.encoder(rows)[:, CONTEXT_HOPS:]
        return embeddings


def set_of(weights: Mapping[str, Tensor]) -> str:
    """The name of encoders that were trained together: only their embeddings can be compared."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        if ".decoder." not in name:
            digest.update(name.encode() + weights[name].cpu().numpy().astype("<f4").tobytes())
    return digest.hexdigest()[:SET_DIGITS]


def export_all(
    checkpoint: Path, folder: Path, *, precision: Precision = "fp32"
) -> dict[Modality, Path]:
    """Write every modality's encoder as ONNX: all of them, or none.

    Args:
        checkpoint: made by `coeval train`.
        folder: where the files go, `<modality>.onnx`.
        precision: how the weights are kept; parity with PyTorch is checked at fp32.

    Raises:
        BadCheckpoint: the checkpoint is none, or of another network.
        BadConfig: the folder cannot be made or written.
        LostParity: an exported network differs from the trained one, or as int8 from itself.
    """
    state = read_checkpoint(checkpoint)
    encoders = Encoders()
    encoders.restore(state["encoders"], checkpoint=checkpoint)
    encoders.eval()
    make_folder(folder, name="--out")
    provenance = {
        "commit": state.get("commit", "unknown"),
        "config": json.dumps(state["config"], sort_keys=True),
        "results": json.dumps(state["results"], sort_keys=True),
        "encoder_set": set_of(encoders.state_dict()),
    }
    models: dict[Modality, bytes] = {}
    with tempfile.TemporaryDirectory(prefix="coeval-export-") as name:
        for modality in MODALITIES:
            path = Path(name) / f"{modality}.onnx"
            export_one(encoders.of[modality], modality, path, provenance)
            models[modality] = path.read_bytes()
    return write_reduced(models, folder, precision=precision)


def reduce_all(source: Path, folder: Path, *, precision: Precision) -> dict[Modality, Path]:
    """Write the encoders of a folder anew with their weights kept smaller: all of them, or none.

    Args:
        source: holds `<modality>.onnx` in fp32.
        folder: where the files go.
        precision: how the weights are kept.

    Raises:
        BadConfig: the folder cannot be made or written.
        EncoderMismatch: a file cannot be used, or is kept smaller already.
        LostParity: an int8 encoder answers too differently.
    """
    models: dict[Modality, bytes] = {}
    for modality in MODALITIES:
        path = source / f"{modality}.onnx"
        Encoder.load(modality, path, provider="cpu")
        models[modality] = path.read_bytes()
    make_folder(folder, name="--out")
    return write_reduced(models, folder, precision=precision)


def write_reduced(
    models: Mapping[Modality, bytes], folder: Path, *, precision: Precision
) -> dict[Modality, Path]:
    """Write encoders, their weights kept as asked for: all of them, or none.

    Raises:
        EncoderMismatch: a file is kept smaller already.
        LostParity: an int8 encoder answers too differently.
    """
    paths = {modality: folder / f"{modality}.onnx" for modality in MODALITIES}
    partials = {modality: path.with_suffix(".part") for modality, path in paths.items()}
    try:
        for modality, partial in partials.items():
            try:
                partial.write_bytes(reduced(models[modality], precision))
            except AlreadyReduced as exc:
                raise EncoderMismatch(f"encoder {modality}: {exc}") from exc
            except GoldenMissed as exc:
                raise LostParity(f"encoder {modality}: {exc}; nothing was exported") from exc
        for modality, partial in partials.items():
            partial.rename(paths[modality])
    finally:
        for partial in partials.values():
            partial.unlink(missing_ok=True)
    return paths


def export_one(
    encoder: nn.Module, modality: Modality, path: Path, provenance: Mapping[str, str]
) -> None:
    """Write one encoder and compare it with PyTorch on random rows.

    Raises:
        LostParity: it differs from the trained one.
    """
    spec = feature_spec(modality)
    shipped = Shipped(encoder).eval()
    rows = torch.randn((2, WINDOW_HOPS, spec.dim), generator=torch.Generator().manual_seed(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own deprecations
        torch.onnx.export(
            shipped,
            (rows,),
            str(path),
            dynamo=False,
            opset_version=17,
            input_names=["rows"],
            output_names=["embeddings"],
            dynamic_axes={"rows": {0: "batch"}, "embeddings": {0: "batch"}},
            do_constant_folding=False,  # folded weights lose their names; onnxruntime folds them
        )
    told = {
        "feature_spec": spec.to_json(),
        "feature_sha256": spec.sha256,
        "decoder": decoder_text(encoder),
        **provenance,
    }
    path.write_bytes(sealed(onnx.load(str(path)), told))
    more = torch.randn((3, WINDOW_HOPS, spec.dim), generator=torch.Generator().manual_seed(1))
    answered = running(onnx.load(str(path)))(more.numpy())
    with torch.no_grad():
        expected = shipped(more).numpy()
    assert answered.shape[1] == NEW_HOPS
    difference = largest_difference(answered, expected)
    if not difference <= LARGEST_DIFFERENCE:
        raise LostParity(
            f"encoder {modality}: exported network differs by {difference:.1e} of the largest "
            f"embedding, allowed {LARGEST_DIFFERENCE:.0e}; nothing was exported"
        )


def decoder_text(encoder: nn.Module) -> str:
    """The decoder's weights, which only training needs, as text beside the network: fp16 do."""
    return json.dumps(
        {
            name.removeprefix("decoder."): {
                "shape": list(weight.shape),
                "f16": base64.b64encode(weight.cpu().numpy().astype("<f2").tobytes()).decode(),
            }
            for name, weight in encoder.state_dict().items()
            if name.startswith("decoder.")
        },
        sort_keys=True,
    )
