"""From the trained fusion network to the ONNX file that ships: parity checked, rates inside."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from coeval.alarm_rate import AlarmRate
from coeval.fusion_input import HISTORY_DIM, JOINT_DIM, RECENT_HOPS
from coeval.hops import EMBEDDING_DIM
from coeval.samples import MODALITIES
from coeval_aggregator.fusion import SPEC
from coeval_training.export import LARGEST_DIFFERENCE, LostParity
from coeval_training.fusion_model import Fusion, Streams

OUTPUTS = ("vectors", "scores", "errors")


class Shipped(nn.Module):
    """The network with its inputs one by one, as ONNX has them."""

    def __init__(self, network: Fusion) -> None:
        super().__init__()
        self.network = network

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """Inputs in the order of `Streams`; vectors, scores, errors."""
        out = self.network(Streams(*arguments))
        return out.vectors, out.scores, out.errors


def random_streams(num_ticks: int, num_streams: int, *, seed: int) -> Streams:
    """Inputs of the right shapes."""
    g = torch.Generator().manual_seed(seed)
    shape = (num_ticks, num_streams)
    rows = 0.1 * torch.randn((*shape, RECENT_HOPS, EMBEDDING_DIM), generator=g)
    history = torch.rand((*shape, HISTORY_DIM), generator=g)
    return Streams(
        recent=rows,
        covered=(torch.rand((*shape, RECENT_HOPS), generator=g) > 0.1).float(),
        stir=torch.randn((*shape, RECENT_HOPS), generator=g),
        history=history,
        joint=torch.randn((*shape, JOINT_DIM), generator=g),
        shifted=10 * torch.randn((*shape, 1), generator=g),
        modality=torch.randint(len(MODALITIES), shape, generator=g),
        present=(torch.rand(shape, generator=g) > 0.2).float(),
    )


def export_fusion(
    network: Fusion,
    path: Path,
    *,
    about: Mapping[str, Any],
    rates: Mapping[str, Mapping[Any, AlarmRate]],
) -> None:
    """Write the fusion network as ONNX and compare it with PyTorch.

    Args:
        network: trained.
        path: the file; replaced only when all is well.
        about: what it was trained on; `encoders` names the encoders' hashes.
        rates: alarms a day by mode and modality.

    Raises:
        LostParity: the exported network differs from the trained one.
    """
    shipped = Shipped(network).eval()
    partial = path.with_suffix(".part")
    dynamic: dict[str, dict[int, str]] = {
        name: {0: "ticks", 1: "streams"} for name in Streams._fields
    }
    dynamic |= {
        "vectors": {0: "ticks"},
        "scores": {0: "ticks", 2: "streams"},
        "errors": {0: "ticks", 1: "streams"},
    }
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter warns about its own deprecations
            torch.onnx.export(
                shipped,
                tuple(random_streams(2, 3, seed=0)),
                str(partial),
                dynamo=False,
                opset_version=17,
                input_names=list(Streams._fields),
                output_names=list(OUTPUTS),
                dynamic_axes=dynamic,
            )
        model = onnx.load(str(partial))
        described = {name: json.dumps(value, sort_keys=True) for name, value in about.items()}
        stated = {
            mode: {modality: rate.to_json() for modality, rate in by_modality.items()}
            for mode, by_modality in rates.items()
        }
        onnx.helper.set_model_props(
            model, {**described, "spec": SPEC, "rates": json.dumps(stated, sort_keys=True)}
        )
        onnx.save(model, str(partial))
        check_parity(shipped, partial)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def check_parity(shipped: Shipped, path: Path) -> None:
    """Compare the file with PyTorch for one stream, a few and many.

    Raises:
        LostParity: it answers something else.
    """
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    for num_ticks, num_streams in ((1, 1), (3, 4), (2, 20)):
        streams = random_streams(num_ticks, num_streams, seed=num_streams)
        fed = {name: value.numpy() for name, value in streams._asdict().items()}
        answered = session.run(list(OUTPUTS), fed)
        with torch.no_grad():
            expected = [value.numpy() for value in shipped(*streams)]
        for name, got, wanted in zip(OUTPUTS, answered, expected, strict=True):
            difference = float(np.abs(got - wanted).max() / max(np.abs(wanted).max(), 1e-6))
            if difference > LARGEST_DIFFERENCE:
                raise LostParity(
                    f"fusion network: exported {name} of {num_streams} streams differ by "
                    f"{difference:.1e} of the largest, allowed {LARGEST_DIFFERENCE:.0e}; "
                    "nothing was exported"
                )
