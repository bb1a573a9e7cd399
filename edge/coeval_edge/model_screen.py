"""What a file from the network may be, before onnxruntime is let near it.

An ONNX file can name other files as its weights, bring operators of its own and loop for ever. An
encoder needs none of that: its bytes are walked as protobuf, and anything but plain operators on
weights inside the file is refused. Numbers of fields: onnx.proto3 of ONNX 1.17.
"""

from collections.abc import Iterator

PLAIN = frozenset(
    {
        "Abs",
        "Add",
        "AveragePool",
        "Cast",
        "Clip",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Conv",
        "Cos",
        "CumSum",
        "Div",
        "DynamicQuantizeLinear",
        "Equal",
        "Erf",
        "Exp",
        "Expand",
        "Flatten",
        "Gather",
        "Gelu",
        "Gemm",
        "Identity",
        "LayerNormalization",
        "LeakyRelu",
        "Log",
        "MatMul",
        "MatMulInteger",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Pad",
        "Pow",
        "Reciprocal",
        "ReduceMax",
        "ReduceMean",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Shape",
        "Sigmoid",
        "Sign",
        "Sin",
        "Slice",
        "Softmax",
        "Softplus",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Tanh",
        "Transpose",
        "Unsqueeze",
        "Where",
    }
)
"""Operators without a graph inside, state or chance."""
DOMAINS = (b"", b"ai.onnx")
MOST_NODES = 5000

MODEL_GRAPH, MODEL_TRAINING, MODEL_FUNCTIONS = 7, 20, 25
GRAPH_NODE, GRAPH_INITIALIZER, GRAPH_SPARSE = 1, 5, 15
NODE_OP, NODE_ATTRIBUTE, NODE_DOMAIN = 4, 5, 7
ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS = 5, 10
ATTRIBUTE_GRAPHS = (6, 11, 22, 23)
"""Graphs and sparse tensors."""
TENSOR_EXTERNAL = (13, 14)
"""Where the data lies, and that it lies elsewhere."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


class NotPlain(Exception):
    """Why a file is refused, in words that follow its name."""


def screen(model: bytes) -> None:
    """Refuse what is no plain network with all its weights inside.

    Raises:
        NotPlain: it is another file, or holds what an encoder needs not.
    """
    num_nodes = 0
    for number, value in _fields(model):
        if number in (MODEL_TRAINING, MODEL_FUNCTIONS):
            raise NotPlain("it brings functions of its own")
        if number != MODEL_GRAPH:
            continue
        for part, inner in _fields(_bytes(value)):
            if part == GRAPH_SPARSE:
                raise NotPlain("it holds sparse weights")
            if part == GRAPH_INITIALIZER:
                _screen_tensor(_bytes(inner))
            elif part == GRAPH_NODE:
                num_nodes += 1
                _screen_node(_bytes(inner))
    if not 0 < num_nodes <= MOST_NODES:
        raise NotPlain(f"expected 1…{MOST_NODES} operators, it has {num_nodes}")


def _screen_node(node: bytes) -> None:
    for number, value in _fields(node):
        if number == NODE_OP and _bytes(value).decode("ascii", "replace") not in PLAIN:
            raise NotPlain(f"its operator {_bytes(value)[:40]!r} is none that encoders are made of")
        if number == NODE_DOMAIN and value not in DOMAINS:
            raise NotPlain(f"its operators are of the domain {_bytes(value)[:40]!r}")
        if number == NODE_ATTRIBUTE:
            for part, inner in _fields(_bytes(value)):
                if part in ATTRIBUTE_GRAPHS:
                    raise NotPlain("an operator holds a graph of its own")
                if part in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
                    _screen_tensor(_bytes(inner))


def _screen_tensor(tensor: bytes) -> None:
    for number, value in _fields(tensor):
        if number in TENSOR_EXTERNAL and value:
            raise NotPlain("its weights lie in another file")


def _bytes(value: bytes | int) -> bytes:
    if not isinstance(value, bytes):
        raise NotPlain("not an ONNX file")
    return value


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Number and value of each field of a protobuf message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == BYTES:
            length, at = _varint(message, at)
        elif kind in (FIXED64, FIXED32):
            length = 8 if kind == FIXED64 else 4
        else:
            raise NotPlain("not an ONNX file")
        if at + length > len(message):
            raise NotPlain("not an ONNX file, or cut short")
        yield number, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        value |= (message[at] & 0x7F) << shift
        at += 1
        if not message[at - 1] & 0x80:
            return value, at
    raise NotPlain("not an ONNX file, or cut short")
