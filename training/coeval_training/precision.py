"""Smaller numbers for an encoder's weights: fp16 (fewer bytes) and int8 (fewer still, and faster).

fp16 is how weights are *kept*: onnxruntime widens them as it opens the file and computes in fp32,
so that neither time nor arithmetic changes (docs/decisions/0021). int8 multiplies in int8, scaled
as numbers come (docs/decisions/0052); with scales fixed by calibration it is measured only.
"""

import hashlib
import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from coeval.samples import FloatArray
from coeval_edge.encoder import FP16, FP32, INT8, PRECISION, REDUCED_FROM
from coeval_training.seal import sealed

Precision = Literal["fp32", "fp16", "int8"]
"""What `coeval export-encoders` offers."""
MEASURED = (FP32, FP16, INT8, "int8 static")
"""What `coeval bench encoders` measures."""

LEAST_VALUES = 256
"""Smaller weights stay as they are: they weigh nothing."""
KEPT = ".f16"
EXACT = ("/encoder/stem/", "/encoder/head/")
"""Layers that int8 leaves as they are: a sixteenth of the bytes, half of the error (0052)."""


class AlreadyReduced(Exception):
    """Why a file cannot be made smaller, in words that follow "encoder X: "."""


def reduced(model: bytes, how: str, *, calibration: Sequence[FloatArray] = ()) -> bytes:
    """An encoder's file with other numbers in it.

    Args:
        model: the fp32 file.
        how: one of MEASURED.
        calibration: for `int8 static`: windows of real rows, shape (B, window, F) each.

    Raises:
        AlreadyReduced: the file's weights were made smaller before.
        GoldenMissed: int8 rounds too much.
    """
    if how not in MEASURED:
        raise ValueError(f"precision must be one of {', '.join(MEASURED)}, got {how!r}")
    parsed = onnx.load_from_string(model)
    told = {entry.key: entry.value for entry in parsed.metadata_props}
    if how == FP32:
        return model
    if PRECISION in told:
        raise AlreadyReduced(
            f"its weights are kept as {told[PRECISION]} already; begin from the fp32 encoders"
        )
    told |= {PRECISION: how.split()[0], REDUCED_FROM: hashlib.sha256(model).hexdigest()}
    if how == FP16:
        return sealed(with_half_weights(parsed), told)
    del told["decoder"]  # only training needs it, which begins from better weights
    if how == INT8:
        return sealed(quantised(parsed, calibration=None), told, exact=parsed)
    return sealed(quantised(parsed, calibration=calibration), told)


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


def kept_exact(model: onnx.ModelProto) -> list[str]:
    """The products that stay fp32 beside int8 ones, by name: those of the first and last layer."""
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "MatMul" and node.name.startswith(EXACT)
    ]


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
    """An int8 network; activations are scaled by calibration, or without it as they come.

    Weights have 7 bits: two products of a weight and an activation (8 bits) then fit into 16 bits,
    which some processors add them up in, and every processor comes to the same sums.
    """
    import onnxruntime
    from onnxruntime import quantization  # slow to import, and seldom wanted

    how: dict[str, Any] = {
        "per_channel": True,
        "weight_type": quantization.QuantType.QInt8,
        "reduce_range": True,
    }
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
        quiet = logging.root.manager.disable
        logging.disable(logging.WARNING)  # it asks for a step that was just taken
        try:
            if calibration is None:
                kept = kept_exact(onnx.load(str(before)))
                quantization.quantize_dynamic(before, after, nodes_to_exclude=kept, **how)
            else:
                quantization.quantize_static(before, after, Windows(calibration), **how)
        finally:
            logging.disable(quiet)
        return onnx.load(str(after))
