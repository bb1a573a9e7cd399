from pathlib import Path

import pytest

from coeval.errors import BadConfig
from coeval.folders import make_folder


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b", name="--out")
    make_folder(tmp_path / "a" / "b", name="--out")
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("below", ["", "a/b"])
def test_the_file_that_is_in_the_way_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    said = f"--out .*: cannot be made: {tmp_path}/file is a file; choose another folder"
    with pytest.raises(BadConfig, match=said):
        make_folder(tmp_path / "file" / below, name="--out")


def test_a_folder_without_the_right_to_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everywhere
    with pytest.raises(BadConfig, match=r"model_folder .*: cannot be written; choose another"):
        make_folder(tmp_path, name="model_folder")
