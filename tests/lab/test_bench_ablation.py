"""The ablation of preprocessing: each step on and off, on the same trials, none left out."""

import math
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from coeval.preprocessing import STEPS
from coeval.samples import MetadataBlock
from coeval_lab.bench import ablation
from coeval_lab.bench.ablation import ALL_PAIRS, WIDE, Trial, ablation_rows, slot_trials, widened
from coeval_lab.bench.material import Clock
from coeval_training.scenes import generate_scene

PLAN = SimpleNamespace(seed=1, num_scenes=6)


def two_trials(seed: int, rng: np.random.Generator) -> Iterator[Trial]:
    """Without the step one answer is off and the other is none."""
    del rng
    for other, off_ms in (("imu", 90.0), ("audio", math.inf)):
        pair = f"text-{other}"
        for state, error_ms in (("off", off_ms), ("on", 10.0 + seed % 2)):
            yield Trial(step="cleanup", state=state, source="clean", pair=pair, error_ms=error_ms)


def test_every_trial_counts_in_its_pair_and_in_all_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ablation, "scene_trials", two_trials)
    rows = list(ablation_rows(PLAN, first_seed=930_000))
    assert [(row["pair"], row["state"], row["trials"]) for row in rows] == [
        (ALL_PAIRS, "on", 4),
        (ALL_PAIRS, "off", 4),
        ("text-audio", "on", 2),
        ("text-audio", "off", 2),
        ("text-imu", "on", 2),
        ("text-imu", "off", 2),
    ]
    assert [row["within_100ms"] for row in rows] == [100.0, 50.0, 100.0, 0.0, 100.0, 100.0]
    assert [row["median_ms"] for row in rows][2:4] == [10.5, None]
    assert not any(row["held_out"] for row in rows)


def test_each_step_of_a_stream_is_tried_both_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ablation, "SCENE_S", 20.0)
    scene = generate_scene(930_000, duration_s=20.0)
    samples = {slot: list(scene.render(slot)) for slot in ("imu", "text")}
    clocks = {"imu": Clock(), "text": Clock(offset_ns=3e9)}
    others = {
        "text": ablation.seen("text", samples["text"], clocks["text"], ablation.DEFAULT_STEPS)
    }
    trials = list(slot_trials("imu", samples["imu"], clocks, others, source="clean"))
    steps = [step for step in STEPS["metadata"] if step != "wide"]
    assert [(t.step, t.state) for t in trials] == [(s, o) for s in steps for o in ("on", "off")]
    assert {trial.pair for trial in trials} == {"imu-text"}


def test_a_widened_stream_keeps_its_times_and_its_channels() -> None:
    values = np.random.default_rng(0).standard_normal((100, 6))
    block = MetadataBlock(t_node_ns=np.arange(100) * 10_000_000, values=values)
    (wide,) = widened([block], np.random.default_rng(1))
    assert isinstance(wide, MetadataBlock)
    np.testing.assert_array_equal(wide.t_node_ns, block.t_node_ns)
    np.testing.assert_array_equal(wide.values[:, :6], values)
    assert wide.values.shape[1] > 40
    assert ablation.modality_of(WIDE) == "metadata"
