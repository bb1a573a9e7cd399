"""Golden vectors of int8 encoders: other processors meet them, other networks do not.

Another processor is played by numpy: the same network, products added up in pairs that end at 16
bits, as processors without 8-bit dot products do it, and everything else in another order.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from coeval.features import DIMS
from coeval.samples import MODALITIES, FloatArray, Modality
from coeval_edge.encoder import WINDOW_HOPS, shipped_model
from coeval_edge.golden import (
    GOLDEN_HOPS,
    KEY,
    ROUNDING_ROOM,
    Golden,
    golden_rows,
    read_golden,
    rms_difference,
)
from coeval_training.precision import reduced
from coeval_training.seal import running

LARGEST_SUM = 2**15 - 1


@functools.cache
def network(modality: Modality) -> onnx.ModelProto:
    return onnx.load_from_string(reduced(shipped_model(modality).read_bytes(), "int8"))


def golden(modality: Modality) -> Golden:
    told = {entry.key: entry.value for entry in network(modality).metadata_props}
    return read_golden(told[KEY])


def share_of_room(answers: FloatArray, modality: Modality) -> float:
    """How far answers are from the golden vectors, in units of what a node allows."""
    told = golden(modality)
    assert told.rounding is not None
    missed = rms_difference(answers[:, GOLDEN_HOPS], told.embeddings)
    return missed / (ROUNDING_ROOM * told.rounding)


def rows_of(modality: Modality) -> FloatArray:
    return golden_rows(WINDOW_HOPS, DIMS[modality])


class MatMulInteger(OpRun):  # type: ignore[misc]
    """As x86 without VNNI computes it (vpmaddubsw): sums of two products end at 16 bits."""

    op_domain = ""
    largest = 0

    def _run(self, a: Any, b: Any, a_zero: Any = None, b_zero: Any = None) -> tuple[Any]:
        assert b_zero is None or not np.any(b_zero)
        wide_a, wide_b = a.astype(np.int32), b.astype(np.int32)
        assert wide_a.shape[-1] % 2 == 0
        pairs = wide_a[..., 0::2, None] * wide_b[0::2] + wide_a[..., 1::2, None] * wide_b[1::2]
        MatMulInteger.largest = max(MatMulInteger.largest, int(np.abs(pairs).max()))
        total = np.clip(pairs, -LARGEST_SUM - 1, LARGEST_SUM).sum(axis=-2)
        return ((total - int(np.ravel(a_zero)[0]) * wide_b.sum(axis=0)).astype(np.int32),)


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_processor_that_ends_sums_at_16_bits_meets_the_golden_vectors(
    modality: Modality,
) -> None:
    MatMulInteger.largest = 0
    other = ReferenceEvaluator(network(modality), new_ops=[MatMulInteger])
    (answers,) = other.run(None, {"rows": rows_of(modality)})
    assert share_of_room(np.asarray(answers), modality) < 0.6
    assert 0 < MatMulInteger.largest <= LARGEST_SUM


@pytest.mark.parametrize("modality", MODALITIES)
def test_weights_leave_a_bit_so_that_no_sum_of_two_products_ends(modality: Modality) -> None:
    weights = [numpy_helper.to_array(each) for each in quantised_weights(network(modality))]
    assert len(weights) >= 10
    assert max(int(np.abs(each.astype(int)).max()) for each in weights) == 64
    assert LARGEST_SUM >= 2 * 255 * 64


def quantised_weights(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    return [
        entry
        for entry in model.graph.initializer
        if entry.data_type == onnx.TensorProto.INT8 and len(entry.dims) == 2
    ]


def answer_of(modality: Modality, changed: dict[str, np.ndarray]) -> FloatArray:
    """What a network with other weights answers."""
    model = onnx.ModelProto()
    model.CopyFrom(network(modality))
    for entry in model.graph.initializer:
        if entry.name in changed:
            entry.CopyFrom(numpy_helper.from_array(changed[entry.name], entry.name))
    return running(model)(rows_of(modality))


@pytest.mark.parametrize("modality", MODALITIES)
def test_an_encoder_without_one_of_its_layers_misses_them(modality: Modality) -> None:
    for entry in quantised_weights(network(modality)):
        gone = {entry.name: np.zeros(list(entry.dims), np.int8)}
        assert share_of_room(answer_of(modality, gone), modality) > 1.5, entry.name


def swaps(modality: Modality) -> Iterator[dict[str, np.ndarray]]:
    """Weights of two layers in each other's place."""
    pairs = itertools.combinations(quantised_weights(network(modality)), 2)
    for one, other in (pair for pair in pairs if pair[0].dims == pair[1].dims):
        a, b = numpy_helper.to_array(one), numpy_helper.to_array(other)
        yield {one.name: b, other.name: a}


@pytest.mark.parametrize("modality", MODALITIES)
def test_an_encoder_two_of_whose_layers_are_swapped_misses_them(modality: Modality) -> None:
    shares = [share_of_room(answer_of(modality, each), modality) for each in swaps(modality)]
    assert len(shares) >= 6
    assert min(shares) > 1.5


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_weights_of_another_modality_miss_them(modality: Modality) -> None:
    (other,) = (m for m in MODALITIES if m == ("audio" if modality != "audio" else "video"))
    theirs = {e.name: numpy_helper.to_array(e) for e in network(other).graph.initializer}
    own = {e.name: tuple(e.dims) for e in network(modality).graph.initializer}
    fitting = {name: w for name, w in theirs.items() if own.get(name) == w.shape}
    assert len(fitting) > 50
    assert share_of_room(answer_of(modality, fitting), modality) > 5
