"""Sets of encoders for tests: those that ship under other names, whole or spoilt."""

import functools
from collections.abc import Callable, Mapping

import onnx
from onnx import TensorProto, numpy_helper

from coeval.model_wire import SetNotice, file_of
from coeval.samples import MODALITIES, Modality
from coeval_edge.encoder import shipped_model
from coeval_edge.ship import EncoderSet
from coeval_training.seal import sealed


@functools.cache
def renamed(modality: Modality, name: str) -> bytes:
    """A shipped encoder that is said to be of another set."""
    model = onnx.load(str(shipped_model(modality)))
    told = {entry.key: entry.value for entry in model.metadata_props}
    return sealed(model, told | {"encoder_set": name})


def spoilt(model: bytes) -> bytes:
    """An encoder whose last bias was changed after its golden vectors were made."""
    parsed = onnx.load_from_string(model)
    bias = next(e for e in parsed.graph.initializer if e.name == "encoder.head.bias")
    bias.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(bias) + 1.0, bias.name))
    whole: bytes = parsed.SerializeToString()
    return whole


def spoilt_int8(model: bytes) -> bytes:
    """An int8 encoder one of whose layers is gone: no weight of it is left."""
    parsed = onnx.load_from_string(model)
    weights = [e for e in parsed.graph.initializer if e.data_type == TensorProto.INT8]
    layer = max(weights, key=lambda entry: len(entry.raw_data))
    layer.CopyFrom(numpy_helper.from_array(0 * numpy_helper.to_array(layer), layer.name))
    whole: bytes = parsed.SerializeToString()
    return whole


def made_set(
    name: str,
    *,
    change: Callable[[bytes], bytes] = lambda model: model,
    only: Modality | None = None,
) -> EncoderSet:
    """A set of that name; `change` is made to the encoder of one modality, or to all."""
    models: Mapping[Modality, bytes] = {
        m: change(renamed(m, name)) if only in (None, m) else renamed(m, name) for m in MODALITIES
    }
    files = {modality: file_of(model) for modality, model in models.items()}
    return EncoderSet(notice=SetNotice(encoder_set=name, files=files, made="a test"), models=models)
