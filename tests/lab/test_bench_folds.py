"""Recordings left out of a training: which lines there are, and whose."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import coeval_edge
from coeval_lab.bench import encoders_folds
from coeval_lab.bench.encoders_folds import fold_rows
from coeval_lab.bench.encoders_plan import EMBEDDINGS, QUICK
from coeval_lab.bench.encoders_variants import NEVER_SAW
from coeval_training.material import TRAINED_ON

MODELS = Path(coeval_edge.__file__).parent / "models"
RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"


def test_every_recording_that_is_trained_on_has_a_pair() -> None:
    assert {name for _, name, _, _ in encoders_folds.PAIRS} == set(TRAINED_ON)


def test_without_folds_there_is_no_line(tmp_path: Path) -> None:
    assert not list(fold_rows(replace(QUICK, baselines=tmp_path)))


@pytest.mark.shared
def test_a_fold_is_of_its_own_recording_and_held_out(tmp_path: Path) -> None:
    if not (RECORDINGS / "px4_appended").is_dir():
        pytest.skip("needs ../shared/recordings/px4_appended, which is not here")
    shutil.copytree(MODELS, tmp_path / "without-px4_appended")
    rows = list(fold_rows(replace(QUICK, recordings=RECORDINGS, baselines=tmp_path)))
    assert {row["source"].split()[0] for row in rows} == {"px4_appended"}
    own = {row["method"]: row for row in rows if "attitude" in row["source"]}
    assert {name: row["held_out"] for name, row in own.items()} == {
        EMBEDDINGS: False,
        NEVER_SAW: True,
    }
    assert own[EMBEDDINGS]["median_ms"] == own[NEVER_SAW]["median_ms"]  # a copy of what ships
