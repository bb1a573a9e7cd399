"""The last step of making an encoder's file: what is told of it, and the golden vectors inside."""

from collections.abc import Mapping

import onnx
import onnxruntime

from coeval_edge.encoder import WINDOW_HOPS
from coeval_edge.golden import KEY as GOLDEN_KEY
from coeval_edge.golden import golden_text


def sealed(model: onnx.ModelProto, told: Mapping[str, str]) -> bytes:
    """A network's file: what is told of it, and the golden vectors that it answers."""
    dim = model.graph.input[0].type.tensor_type.shape.dim[2].dim_value
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    golden = golden_text(
        lambda rows: session.run(None, {"rows": rows})[0], window_hops=WINDOW_HOPS, dim=dim
    )
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {**told, GOLDEN_KEY: golden})
    whole: bytes = model.SerializeToString()
    return whole
