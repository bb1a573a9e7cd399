"""Golden vectors: the same rows everywhere, and nothing but the right answers passes."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from coeval.errors import EncoderMismatch
from coeval.features import DIMS
from coeval.samples import MODALITIES, FloatArray, Modality
from coeval_edge.encoder import WINDOW_HOPS, Encoder, shipped_model
from coeval_edge.golden import (
    CLOSE,
    CLOSE_REDUCED,
    GOLDEN_HOPS,
    KEY,
    GoldenMissed,
    check_golden,
    golden_rows,
    golden_text,
)
from coeval_edge.providers import CPU

CUDA = "CUDAExecutionProvider"


def echo(rows: FloatArray) -> FloatArray:
    """Stands in for a network: the first columns of the newest rows."""
    return rows[:, -64:, :16]


def check(run: Any, text: str | None, provider: str = CPU) -> None:
    check_golden(run, text, provider=provider, window_hops=128, dim=20)


TEXT = golden_text(echo, window_hops=128, dim=20)


def test_the_rows_that_go_in_are_the_same_in_every_version() -> None:
    rows = golden_rows(128, 20)
    digest = hashlib.sha256(rows.astype("<f4").tobytes()).hexdigest()
    assert digest == "c14e42c2f950196da84d5d07d0bb8d9ac01995d7e2b485a9f617a7d18bd3de88"
    assert json.loads(TEXT)["rows_sha256"] == digest
    assert (rows[..., -1] == 1).all()
    assert 0.9 < rows[0, :, :-1].std() < 1.3


def test_the_first_and_the_last_hop_are_among_those_compared() -> None:
    assert (GOLDEN_HOPS[0], GOLDEN_HOPS[-1]) == (0, 63)
    assert len(TEXT) < 2000


def test_right_answers_pass() -> None:
    check(echo, TEXT)


@pytest.mark.parametrize("provider", [CPU, CUDA])
def test_how_close_is_close_depends_on_what_computes(provider: str) -> None:
    allowed = CLOSE if provider == CPU else CLOSE_REDUCED
    check(lambda rows: echo(rows) * (1 + 0.9 * allowed), TEXT, provider)
    with pytest.raises(GoldenMissed, match=rf"on {provider} differ .* allowed {allowed:.0e}"):
        check(lambda rows: echo(rows) * (1 + 1.1 * allowed), TEXT, provider)


def rough(rows: FloatArray) -> FloatArray:
    """The echo, rounded somewhat: where it was exported, by 1 % of the RMS."""
    return echo(rows) * np.float32(1.01)


ROUGH_TEXT = golden_text(rough, window_hops=128, dim=20, exact=echo)


def test_a_rough_network_is_held_to_the_exact_one_with_room_for_other_roundings() -> None:
    check(rough, ROUGH_TEXT)
    check(echo, ROUGH_TEXT)
    check(lambda rows: echo(rows) * (1 - 0.029), ROUGH_TEXT)
    with pytest.raises(GoldenMissed, match=r"differ .* 3.1e-02 of the RMS, allowed 3e-02"):
        check(lambda rows: echo(rows) * (1 - 0.031), ROUGH_TEXT)
    with pytest.raises(GoldenMissed, match="differ"):
        check(lambda rows: echo(rows) * np.nan, ROUGH_TEXT)


@pytest.mark.parametrize("rounding", [0.0, -0.01, 0.031, 1e9, float("nan")])
def test_a_file_cannot_ask_for_more_room_than_int8_needs(rounding: float) -> None:
    text = json.dumps(json.loads(ROUGH_TEXT) | {"rounding": rounding})
    with pytest.raises(GoldenMissed, match=r"rounded by .* of the RMS, allowed 0\.03"):
        check(echo, text)


@pytest.mark.parametrize("hop", [0, 27, 63])
def test_an_answer_that_is_not_a_number_does_not_pass(hop: int) -> None:
    def broken(rows: FloatArray) -> FloatArray:
        answers = echo(rows).copy()
        answers[1, hop, 3] = np.nan
        return answers

    with pytest.raises(GoldenMissed, match="differ"):
        check(broken, TEXT)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "[" * 5000,
        json.dumps(json.loads(TEXT) | {"version": 9}),
        json.dumps(json.loads(TEXT) | {"hops": [0]}),
        json.dumps(json.loads(TEXT) | {"rounding": "a little"}),
        json.dumps(json.loads(TEXT) | {"rounding": None}),
        json.dumps(json.loads(TEXT) | {"shape": [3, 8, 16]}),
        json.dumps(json.loads(TEXT) | {"shape": [256]}),
        json.dumps(json.loads(TEXT) | {"embeddings_f32": "!!!"}),
        json.dumps(json.loads(TEXT) | {"embeddings_f32": "AAAA" * 16}),
    ],
    ids=range(13),
)
def test_vectors_that_cannot_be_read_do_not_pass(text: str | None) -> None:
    with pytest.raises(GoldenMissed):
        check(echo, text)


def test_vectors_that_are_all_zero_do_not_pass() -> None:
    text = golden_text(lambda rows: 0 * echo(rows), window_hops=128, dim=20)
    with pytest.raises(GoldenMissed, match="no embeddings"):
        check(lambda rows: 0 * echo(rows), text)


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_shipped_encoder_meets_its_own_vectors_with_room_to_spare(modality: Modality) -> None:
    encoder = Encoder.load(modality, provider="cpu")
    told = {e.key: e.value for e in onnx.load(str(shipped_model(modality))).metadata_props}
    closer = 0.1 * CLOSE

    def nearly(rows: FloatArray) -> FloatArray:
        return encoder.answer(rows) * (1 + CLOSE - closer)

    check_golden(nearly, told[KEY], provider=CPU, window_hops=WINDOW_HOPS, dim=DIMS[modality])


def test_shipped_encoders_are_one_set() -> None:
    names = {Encoder.load(modality).encoder_set for modality in MODALITIES}
    assert len(names) == 1
    assert len(names.pop()) == 16


@pytest.mark.parametrize("scale", [0.9, 1.002, -1.0, float("nan")])
def test_an_encoder_with_a_changed_weight_is_refused_by_name(tmp_path: Path, scale: float) -> None:
    model = onnx.load(str(shipped_model("audio")))
    head = next(
        entry for entry in model.graph.initializer if list(entry.dims) in ([16, 48], [48, 16])
    )
    head.CopyFrom(
        numpy_helper.from_array(numpy_helper.to_array(head) * np.float32(scale), head.name)
    )
    path = tmp_path / "audio.onnx"
    onnx.save(model, str(path))
    with pytest.raises(
        EncoderMismatch, match=rf"encoder {path}: its answers on CPUExecution.* differ"
    ):
        Encoder.load("audio", path)
