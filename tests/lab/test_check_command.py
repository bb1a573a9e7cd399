"""`coeval check`: 0 where a file can be used, one line and 2 where not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from coeval.errors import BadConfig, BadRecording
from coeval_lab.check_command import check_file


def check(path: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", "from coeval.cli import main; main()", "check", str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_a_good_file_is_named_and_exits_0(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[node]\nid = "cam"\nsession = "s"\nreplay = { recording = "r" }\n')
    done = check(path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{path}: node 'cam' of session 's': ok\n"


def test_a_bad_file_is_one_line_and_exits_2(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('[aggregator]\nsesion = "s"\n')
    done = check(path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "unknown key aggregator.sesion; did you mean 'session'?" in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("no.toml", None, "no such file"),
        ("a.txt", b"", r"expected a \.toml"),
        ("a.toml", b"\xff", "cannot be read"),
        ("a.toml", b"[other]\n", r"expected a table \[node\] or \[aggregator\], got other"),
        ("a.toml", b"", "got none"),
        ("thing.onnx", b"", "must begin with its modality"),
    ],
)
def test_each_mistake_is_named(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadConfig, match=said):
        check_file(path)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("a.csv", "t,x\n0,1\n2,2\n1,3\n", r"a\.csv, line 4: time 1\.0 is 1 s before"),
        ("pps.csv", "t_node,t_ref,sigma_s\n1,2,0\n", r"pps\.csv, line 2: column 'sigma_s'"),
    ],
)
def test_a_recording_is_read_to_its_end(tmp_path: Path, file: str, text: str, said: str) -> None:
    stream = {"id": "s", "node": "n", "modality": "metadata", "file": "a.csv"}
    manifest = {
        "format": "coeval-recording/1",
        "name": "made",
        "nodes": {"n": {"evidence": {"pps": "pps.csv"}}},
        "streams": [stream],
    }
    (tmp_path / "recording.json").write_text(json.dumps(manifest))
    (tmp_path / "a.csv").write_text("t,x\n0,1\n1,2\n")
    (tmp_path / "pps.csv").write_text("t_node,t_ref,sigma_s\n1,2,1e-6\n")
    assert check_file(tmp_path) == "recording 'made', 1 streams"
    (tmp_path / file).write_text(text)
    with pytest.raises(BadRecording, match=said):
        check_file(tmp_path)


def test_a_broken_recording_and_a_broken_encoder_exit_2(tmp_path: Path) -> None:
    (tmp_path / "recording.json").write_text("{}")
    (tmp_path / "audio.onnx").write_bytes(b"no model")
    for path in (tmp_path, tmp_path / "recording.json", tmp_path / "audio.onnx"):
        done = check(path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert "Traceback" not in done.stderr
