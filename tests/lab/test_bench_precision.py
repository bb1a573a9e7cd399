"""The rows about precision: every encoder, every precision, the same pairs."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from coeval.features import DIMS
from coeval.samples import MODALITIES
from coeval_edge.encoder import Encoder
from coeval_lab.bench import precision
from coeval_lab.bench.precision import MIXED, Answer, accuracy_row, how_of, precision_rows
from coeval_training.data import SLOTS, StreamRows
from coeval_training.precision import MEASURED


def still_scene(_scene: object, seed: int) -> dict[str, StreamRows]:
    """Rows of a scene at no cost; nothing in it can be aligned."""
    rng = np.random.default_rng(seed)
    return {
        slot: StreamRows(start_hops=0.25, rows=rng.normal(size=(300, DIMS[m])).astype(np.float32))
        for slot, m in SLOTS.items()
    }


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    monkeypatch.setattr(precision, "scene_rows", still_scene)
    monkeypatch.setattr(precision, "generate_scene", lambda *_, **__: None)
    monkeypatch.setattr(precision, "NUM_SCENES_QUICK", 1)
    monkeypatch.setattr(precision, "NUM_CALIBRATION", 1)
    monkeypatch.setattr(precision, "NUM_TIMED_QUICK", 1)
    return list(precision_rows(is_quick=True, seed=1))


def test_every_encoder_is_measured_in_every_precision(rows: list[dict[str, Any]]) -> None:
    cost = {(r["pair"], r["method"]): r for r in rows if "bytes" in r}
    assert set(cost) == {
        (f"precision: {m}", how) for m, how in itertools.product(MODALITIES, MEASURED)
    }
    for modality in MODALITIES:
        of = {how: cost[f"precision: {modality}", how] for how in MEASURED}
        assert of["fp32"]["rms_error"] == 0
        assert 0 < of["fp16"]["rms_error"] < of["int8"]["rms_error"]
        assert of["fp16"]["bytes"] < of["fp32"]["bytes"]
        assert all(row["us_a_window"] > 0 for row in of.values())
    accuracy = [r for r in rows if "trials" in r]
    expected = [(how, 10) for how in (*MEASURED, MIXED)]
    assert [(r["method"], r["trials"]) for r in accuracy] == expected


def test_where_precisions_are_mixed_neighbours_differ_and_every_stream_takes_its_turn() -> None:
    assert [how_of(MIXED, turn) for turn in (0, 1, 2)] == ["fp32", "int8", "fp32"]
    assert how_of("fp16", 1) == "fp16"


def test_an_offset_is_judged_against_the_clocks_that_were_drawn() -> None:
    """Two encoders of one stream: the error is what is left of the drawn clocks."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(1200, DIMS["metadata"])).astype(np.float32)
    rows[:, -1] = 1.0
    streams = {
        "imu": StreamRows(start_hops=3.25, rows=rows[:-60]),
        "machine": StreamRows(start_hops=63.25, rows=rows[60:]),
    }
    encoders = dict.fromkeys(streams, Encoder.load("metadata"))
    answers = precision.scene_answers(streams, encoders, np.random.default_rng(5))
    (answer,) = answers
    assert answer.error_ms is not None
    assert answer.error_ms < 10
    assert answer.offset_ms is not None
    assert abs(answer.offset_ms) > 100


def test_shares_are_of_all_pairs_and_moves_of_those_that_both_lock() -> None:
    exact = [Answer(offset_ms=x, error_ms=1.0) for x in (0.0, 5.0, 9.0)]
    answers = [
        Answer(offset_ms=2.0, error_ms=30.0),
        Answer(offset_ms=None, error_ms=None),
        Answer(offset_ms=9.0, error_ms=90.0),
    ]
    row = accuracy_row(answers, exact)
    assert (row["locked"], row["within_40ms"], row["within_100ms"]) == (66.7, 33.3, 66.7)
    assert math.isclose(row["moved_p95_ms"], 1.9)
    assert accuracy_row([answers[1]], [exact[1]])["median_ms"] is None
