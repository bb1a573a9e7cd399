"""The encoder as the node runs it: any chunks, one answer; any other file, one clear line."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from coeval.errors import EncoderMismatch
from coeval.features import DIMS, feature_spec
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.samples import MODALITIES, FloatArray, Modality
from coeval.time import NodeNs
from coeval_edge.encoder import CONTEXT_HOPS, NEW_HOPS, WINDOW_HOPS, Encoder, shipped_model

MOST_BYTES = 8_000_000
"""All encoders together."""


def some_rows(modality: Modality, count: int, *, seed: int = 0) -> FloatArray:
    rows = np.random.default_rng(seed).normal(size=(count, DIMS[modality])).astype(np.float32)
    rows[:, -1] = 1.0
    return rows


def hops_at(first: int, rows: FloatArray) -> Hops:
    return Hops(t0_node_ns=NodeNs(first * HOP_NS), rows=rows)


def push_in_chunks(encoder: Encoder, rows: FloatArray, sizes: Callable[[], int]) -> FloatArray:
    """Embeddings of all rows, pushed as chunks of the sizes that come."""
    answers, first = [], 0
    while first < len(rows):
        chunk = rows[first : first + sizes()]
        answers += encoder.push(hops_at(first, chunk))
        first += len(chunk)
    starts = [answer.t0_node_ns // HOP_NS for answer in answers]
    assert starts == [0, *np.cumsum([len(answer.rows) for answer in answers])[:-1]]
    return np.concatenate([answer.rows for answer in answers])


def edited(path: Path, **properties: str) -> Path:
    """A copy of the shipped audio encoder that says other things about itself."""
    model = onnx.load(str(shipped_model("audio")))
    said = {entry.key: entry.value for entry in model.metadata_props} | properties
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, said)
    onnx.save(model, str(path))
    return path


def foreign(path: Path, shape: list[int | str], **properties: str) -> Path:
    """A network of somebody else: it answers what it is asked."""
    put = onnx.helper.make_tensor_value_info("rows", onnx.TensorProto.FLOAT, shape)
    out = onnx.helper.make_tensor_value_info("embeddings", onnx.TensorProto.FLOAT, shape)
    node = onnx.helper.make_node("Identity", ["rows"], ["embeddings"])
    graph = onnx.helper.make_graph([node], "echo", [put], [out])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, str(path))
    return path


def refusal(path: Path, modality: Modality = "audio") -> str:
    """What is said of a file that is refused; always one line that names the file."""
    with pytest.raises(EncoderMismatch) as caught:
        Encoder.load(modality, path)
    message = str(caught.value)
    assert message.startswith(f"encoder {path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_shipped_encoder_answers_every_row_with_one_finite_embedding(modality: Modality) -> None:
    embeddings = Encoder.load(modality).encode(some_rows(modality, 150))
    assert embeddings.shape == (150, EMBEDDING_DIM)
    assert embeddings.dtype == np.float32
    assert np.isfinite(embeddings).all()
    assert embeddings.std(axis=0).min() > 0


def test_the_shipped_encoders_together_stay_under_8_mb() -> None:
    assert sum(shipped_model(modality).stat().st_size for modality in MODALITIES) < MOST_BYTES


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_shipped_file_says_what_it_was_made_of(modality: Modality) -> None:
    session = onnxruntime.InferenceSession(shipped_model(modality))
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["feature_spec"]) == {
        "modality": modality,
        "version": feature_spec(modality).version,
        "dim": DIMS[modality],
        "hop_ns": HOP_NS,
    }
    assert said["feature_sha256"] == feature_spec(modality).sha256
    assert re.fullmatch("[0-9a-f]{40}", said["commit"])
    assert json.loads(said["config"])["steps"] > 0
    assert {"median_ms", "within_100ms"} <= set(json.loads(said["results"])["video-imu"])
    (put,), (out,) = session.get_inputs(), session.get_outputs()
    assert (put.name, put.shape[1:]) == ("rows", [WINDOW_HOPS, DIMS[modality]])
    assert (out.name, out.shape[1:]) == ("embeddings", [NEW_HOPS, EMBEDDING_DIM])


@pytest.mark.parametrize("size", [1, 10, NEW_HOPS - 1, NEW_HOPS, NEW_HOPS + 1, 700])
def test_chunks_of_any_size_give_what_the_whole_stream_gives(size: int) -> None:
    rows = some_rows("metadata", 1100)
    encoder = Encoder.load("metadata")
    pushed = push_in_chunks(encoder, rows, lambda: size)
    np.testing.assert_allclose(pushed, encoder.encode(rows), rtol=0, atol=1e-5)


@pytest.mark.parametrize("modality", MODALITIES)
def test_chunks_of_changing_size_give_what_the_whole_stream_gives(modality: Modality) -> None:
    rng = np.random.default_rng(5)
    rows = some_rows(modality, 400)
    encoder = Encoder.load(modality)
    pushed = push_in_chunks(encoder, rows, lambda: int(rng.integers(1, 90)))
    np.testing.assert_allclose(pushed, encoder.encode(rows), rtol=0, atol=1e-5)


def test_an_embedding_never_depends_on_what_comes_after_it() -> None:
    rows = some_rows("video", 300)
    other = np.concatenate([rows[:170], some_rows("video", 130, seed=9)])
    encoder = Encoder.load("video")
    before, after = encoder.encode(rows), encoder.encode(other)
    np.testing.assert_allclose(before[:170], after[:170], rtol=0, atol=1e-6)
    assert np.abs(before[170] - after[170]).max() > 1e-3


@pytest.mark.parametrize("first_after", [130, 60, 0])
def test_a_gap_or_a_step_back_clears_the_context(first_after: int) -> None:
    before, after = some_rows("metadata", 100), some_rows("metadata", 80, seed=1)
    encoder = Encoder.load("metadata")
    encoder.push(hops_at(0, before))
    (answer,) = encoder.push(hops_at(first_after, after))
    (fresh,) = Encoder.load("metadata").push(hops_at(first_after, after))
    np.testing.assert_array_equal(answer.rows, fresh.rows)
    assert answer.t0_node_ns == first_after * HOP_NS


def test_without_a_gap_the_rows_before_are_remembered() -> None:
    before, after = some_rows("metadata", 100), some_rows("metadata", 80, seed=1)
    encoder = Encoder.load("metadata")
    encoder.push(hops_at(0, before))
    (answer,) = encoder.push(hops_at(100, after))
    apart = np.abs(answer.rows - encoder.encode(after)).max(axis=1)
    assert apart[0] > 1e-3
    assert apart[CONTEXT_HOPS:].max() < 1e-5


def test_encoding_a_whole_stream_leaves_the_context_alone() -> None:
    rows = some_rows("audio", 90)
    one, two = Encoder.load("audio"), Encoder.load("audio")
    for encoder in (one, two):
        encoder.push(hops_at(0, rows[:50]))
    one.encode(some_rows("audio", 200, seed=4))
    (first,), (second,) = one.push(hops_at(50, rows[50:])), two.push(hops_at(50, rows[50:]))
    np.testing.assert_array_equal(first.rows, second.rows)


def test_no_rows_give_no_embeddings_and_leave_no_gap() -> None:
    rows = some_rows("text", 60)
    encoder = Encoder.load("text")
    (head,) = encoder.push(hops_at(0, rows[:30]))
    (nothing,) = encoder.push(hops_at(30, rows[:0]))
    (tail,) = encoder.push(hops_at(30, rows[30:]))
    assert nothing.rows.shape == (0, EMBEDDING_DIM)
    together = np.concatenate([head.rows, tail.rows])
    np.testing.assert_allclose(together, encoder.encode(rows), rtol=0, atol=1e-5)


def test_the_hash_of_an_encoder_is_that_of_its_file(tmp_path: Path) -> None:
    copy = tmp_path / "audio.onnx"
    copy.write_bytes(shipped_model("audio").read_bytes())
    assert Encoder.load("audio", copy).sha256 == Encoder.load("audio").sha256
    assert Encoder.load("audio", edited(copy, commit="another")).sha256 != (
        Encoder.load("audio").sha256
    )


def test_an_encoder_of_older_features_is_refused_with_both_specifications(tmp_path: Path) -> None:
    older = '{"dim": 54, "hop_ns": 50000000, "modality": "audio", "version": 0}'
    path = edited(tmp_path / "audio.onnx", feature_spec=older, feature_sha256="0" * 64)
    message = refusal(path)
    assert f"expected features {feature_spec('audio').to_json()}, got {older}" in message
    assert "coeval export-encoders" in message


def test_an_encoder_of_another_modality_is_refused() -> None:
    assert '"modality": "video"' in refusal(shipped_model("video"), "audio")


@pytest.mark.parametrize("said", ["not json {", '"a\\nb"', "line\nbreak", "", "x" * 9999])
def test_a_specification_that_is_none_is_still_refused_in_one_line(
    tmp_path: Path, said: str
) -> None:
    path = edited(tmp_path / "audio.onnx", feature_spec=said, feature_sha256="1")
    assert len(refusal(path)) < 1000


def test_a_network_that_says_nothing_of_its_features_is_refused(tmp_path: Path) -> None:
    assert "got none stated" in refusal(foreign(tmp_path / "echo.onnx", ["batch", 3]))


def test_a_network_of_other_shapes_is_refused_though_its_features_agree(tmp_path: Path) -> None:
    path = foreign(
        tmp_path / "echo.onnx", ["batch", 100, 54], feature_sha256=feature_spec("audio").sha256
    )
    message = refusal(path)
    assert "'rows': [128, 54]" in message
    assert "'rows': [100, 54]" in message


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    whole = shipped_model("audio").read_bytes()
    path = tmp_path / "audio.onnx"
    path.write_bytes(whole[: int(share * len(whole))])
    refusal(path)


def test_garbage_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "audio.onnx"
    path.write_bytes(np.random.default_rng(1).bytes(5000))
    assert "not an ONNX file that can be run" in refusal(path)


def test_a_file_that_is_absent_or_a_folder_is_refused_with_the_reason(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.onnx")
    assert "Is a directory" in refusal(tmp_path)
