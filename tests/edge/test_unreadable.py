"""Why a file cannot be read: what is wrong with it, and what to do."""

from pathlib import Path

import pytest

from coeval.errors import BadRecording
from coeval_edge.importers import import_recording
from coeval_edge.unreadable import why_unreadable


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.srt", b"\0\0\xe9t\xe9\n", "iconv -f WINDOWS-1252"),
        ("a.mp4", b"", "the file is empty; copy it anew"),
        ("a.mp4", b"\0\0\0\x18ftypmp42", "cut short or damaged"),
    ],
)
def test_a_file_that_cannot_be_read_says_what_to_do(
    name: str, content: bytes, says: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadRecording) as refused:
        import_recording([tmp_path / name], tmp_path / "out")
    assert f"{name}: cannot be" in str(refused.value)
    assert says in str(refused.value)


def test_a_file_that_may_not_be_read_says_who_can_allow_it() -> None:
    why = why_unreadable(Path("x/a.csv"), PermissionError(13, "Permission denied", "x/a.csv"))
    assert why == "permission denied; as its owner: chmod u+r a.csv"


def test_a_recording_is_not_imported_again(tmp_path: Path) -> None:
    (tmp_path / "recording.json").touch()
    with pytest.raises(BadRecording, match="is a recording already"):
        import_recording([tmp_path], tmp_path / "out")


def test_a_folder_of_other_files_says_what_could_be_imported(tmp_path: Path) -> None:
    (tmp_path / "notes.doc").touch()
    with pytest.raises(BadRecording, match=r"notes\.doc: left out: .*--format \(.*media.*csv"):
        import_recording([tmp_path], tmp_path / "out")
