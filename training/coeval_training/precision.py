"""Smaller numbers for an encoder's weights: fp16 (fewer bytes) and int8 (measured, not offered).

fp16 is how weights are *kept*: onnxruntime widens them as it opens the file and computes in fp32,
so that neither time nor arithmetic changes. int8 computes in int8; what it costs is in
docs/decisions/0021-fp16-keeps-int8-costs.md.
"""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from coeval.samples import FloatArray
from coeval_training.seal import sealed

Precision = Literal["fp32", "fp16"]
"""What `coeval export-encoders` offers."""
MEASURED = ("fp32", "fp16", "int8 dynamic", "int8 static")
"""What `coeval bench encoders` measures."""

LEAST_VALUES = 256
"""Smaller weights stay as they are: they weigh nothing."""
KEPT = ".f16"


def reduced(model: bytes, how: str, *, calibration: Sequence[FloatArray] = ()) -> bytes:
    """An encoder's file with other numbers in it, and golden vectors of its own.

    Args:
        model: the fp32 file.
        how: one of MEASURED.
        calibration: for `int8 static`: windows of real rows, shape (B, window, F) each.
    """
    parsed = onnx.load_from_string(model)
    told = {entry.key: entry.value for entry in parsed.metadata_props}
    match how:
        case "fp32":
            return model
        case "fp16":
            smaller = with_half_weights(parsed)
        case "int8 dynamic":
            smaller = quantised(parsed, calibration=None)
        case "int8 static":
            smaller = quantised(parsed, calibration=calibration)
        case _:
            raise ValueError(f"precision must be one of {', '.join(MEASURED)}, got {how!r}")
    return sealed(smaller, told | {"precision": how})


def with_half_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Large weights kept as fp16, each widened by a Cast that onnxruntime folds on opening."""
    halved = onnx.ModelProto()
    halved.CopyFrom(model)
    kept, casts = [], []
    for entry in halved.graph.initializer:
        values = numpy_helper.to_array(entry)
        if values.dtype != np.float32 or values.size < LEAST_VALUES:
            kept.append(entry)
            continue
        kept.append(numpy_helper.from_array(values.astype(np.float16), entry.name + KEPT))
        casts.append(
            onnx.helper.make_node("Cast", [entry.name + KEPT], [entry.name], to=TensorProto.FLOAT)
        )
    nodes = [*casts, *halved.graph.node]
    del halved.graph.initializer[:], halved.graph.node[:]
    halved.graph.initializer.extend(kept)
    halved.graph.node.extend(nodes)
    return halved


class Windows:
    """Calibration data as onnxruntime's quantiser asks for it."""

    def __init__(self, windows: Sequence[FloatArray]) -> None:
        self._left: Iterator[dict[str, FloatArray]] = iter([{"rows": rows} for rows in windows])

    def get_next(self) -> dict[str, FloatArray] | None:
        """The next input, or None."""
        return next(self._left, None)


def quantised(
    model: onnx.ModelProto, *, calibration: Sequence[FloatArray] | None
) -> onnx.ModelProto:
    """An int8 network; activations are scaled by calibration, or without it as they come."""
    import onnxruntime
    from onnxruntime import quantization  # slow to import, and seldom wanted

    how: dict[str, Any] = {"per_channel": True, "weight_type": quantization.QuantType.QInt8}
    with tempfile.TemporaryDirectory(prefix="coeval-int8-") as folder:
        before, after = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        # The quantiser takes only weights that stand in the graph as they are multiplied: the file
        # keeps them as PyTorch does, transposed.
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(before)
        onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        if calibration is None:
            quantization.quantize_dynamic(before, after, **how)
        else:
            quantization.quantize_static(before, after, Windows(calibration), **how)
        return onnx.load(str(after))
