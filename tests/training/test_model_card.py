"""The model card: what was trained on and how, as the checkpoint says it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from coeval_edge.encoder import shipped_model
from coeval_training.checkpoint import BadCheckpoint, write_checkpoint
from coeval_training.material import TRAINED_ON
from coeval_training.model_card import write_model_card
from coeval_training.train import TrainConfig

RESULT = {"median_ms": 17.4, "within_40ms": 71.6, "within_100ms": 84.4, "within_300ms": 90.0}


def card(folder: Path, **changed: Any) -> str:
    """The card of a checkpoint."""
    state: dict[str, Any] = {
        "config": asdict(TrainConfig()),
        "recordings": [],
        "step": 1,
        "encoders": {},
        "optimiser": {},
        "results": {"video-imu": RESULT},
    }
    write_checkpoint(folder / "checkpoint.pt", state | changed)
    return write_model_card(folder / "checkpoint.pt", folder).read_text()


def test_the_card_names_the_recordings_that_were_used_and_no_others(tmp_path: Path) -> None:
    text = card(tmp_path, recordings=["px4_appended", "ami_dev00"])
    named = [name for name in TRAINED_ON if name in text]
    assert sorted(named) == ["ami_dev00", "px4_appended"]
    for name in named:
        assert f"  - {name}: {TRAINED_ON[name]}\n" in text


def test_the_card_of_a_run_on_generated_scenes_says_so(tmp_path: Path) -> None:
    text = card(tmp_path)
    assert "- No real recordings.\n" in text
    assert not any(name in text for name in TRAINED_ON)


def test_the_card_gives_configuration_split_and_results(tmp_path: Path) -> None:
    text = card(tmp_path, config=asdict(TrainConfig(seed=77, steps=1234, num_scenes=55)))
    assert f"- 55 generated scenes of {TrainConfig().scene_s:.0f} s" in text
    assert "Seed 77, 1234 steps." in text
    assert "seeds 900 000 and up" in text
    assert "seeds 1 000 000 and up" in text
    assert "| video-imu | 17 | 72 | 84 | 90 |\n" in text


def test_the_card_that_ships_is_the_one_of_the_encoders_that_ship(tmp_path: Path) -> None:
    session = onnxruntime.InferenceSession(shipped_model("audio"))
    said = session.get_modelmeta().custom_metadata_map
    shipped = (shipped_model("audio").parent / "MODEL_CARD.md").read_text()
    config, results = json.loads(said["config"]), json.loads(said["results"])
    used = [name for name in TRAINED_ON if name in shipped]
    written = card(tmp_path, config=config, results=results, recordings=used)
    # An ONNX file lists its results by name, a checkpoint in the order of the pairs.
    assert sorted(written.splitlines()) == sorted(shipped.splitlines())


def test_a_checkpoint_that_is_none_gets_no_card(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"nothing")
    with pytest.raises(BadCheckpoint):
        write_model_card(tmp_path / "checkpoint.pt", tmp_path)
    assert not (tmp_path / "MODEL_CARD.md").exists()
