"""The last step of making an encoder's file: what is told of it, and the golden vectors inside."""

from collections.abc import Mapping

import onnx
import onnxruntime

from coeval.samples import FloatArray
from coeval_edge.encoder import WINDOW_HOPS
from coeval_edge.golden import KEY as GOLDEN_KEY
from coeval_edge.golden import Run, golden_text, read_golden


def sealed(
    model: onnx.ModelProto, told: Mapping[str, str], *, exact: onnx.ModelProto | None = None
) -> bytes:
    """A network's file: what is told of it, and golden vectors.

    Args:
        model: the network.
        told: its metadata.
        exact: the fp32 network that it computes roughly; None: it is exact.

    Raises:
        GoldenMissed: it computes it too roughly, or answers nothing.
    """
    dim = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    golden = golden_text(
        running(model), window_hops=WINDOW_HOPS, dim=dim, exact=exact and running(exact)
    )
    read_golden(golden)
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**told, GOLDEN_KEY: golden})
    whole: bytes = model.SerializeToString()
    return whole


def running(model: onnx.ModelProto) -> Run:
    """A network, opened on this processor."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )

    def run(rows: FloatArray) -> FloatArray:
        (answered,) = session.run(None, {"rows": rows})
        found: FloatArray = answered
        return found

    return run
