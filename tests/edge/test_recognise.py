"""`coeval recognise`: files by their bytes, live sources by their first lines, names never."""

import gzip
import io
import json
import os
import random
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from coeval_edge.recognise import recognise_bytes, recognise_file
from coeval_edge.recognise_command import recognise, recognise_port, recognise_topic
from coeval_edge.sources.errors import SourceAbsent

RNG = np.random.default_rng(2)
APP = typer.Typer()
APP.command()(recognise)


def voice(seconds: float = 1.0) -> np.ndarray:
    t_s = np.arange(round(16_000 * seconds)) / 16_000
    loud = 0.3 * np.abs(np.sin(5 * t_s))
    return (loud * np.sin(2 * np.pi * 180 * t_s) + 0.01 * RNG.standard_normal(len(t_s))).astype(
        np.float32
    )


def hidden(path: Path) -> Path:
    """The file under a name that says nothing."""
    return path.rename(path.with_name("unknown"))


def test_media_are_known_without_their_suffix(maker) -> None:
    film = hidden(maker.root / maker.video("film.mp4", [20, 90, 160, 220], rate_hz=10))
    assert [one.modality for one in recognise_file(film)] == ["video"]
    picture = hidden(maker.root / maker.picture("a.png", 90))
    assert [one.modality for one in recognise_file(picture)] == ["image"]
    sound = hidden(maker.root / maker.sound("a.wav", voice(), rate_hz=16_000))
    assert [one.modality for one in recognise_file(sound)] == ["audio"]


def test_a_folder_of_pictures_is_stills(maker) -> None:
    for k in range(3):
        maker.picture(f"stills/{k}.png", 40 * k)
    assert recognise_file(maker.root / "stills")[0].modality == "image"


@pytest.mark.parametrize("kind", ["<i2", ">i2", "<f4"])
def test_samples_without_a_header_are_sound(kind: str) -> None:
    pcm = voice()
    data = pcm.astype(kind) if kind == "<f4" else (pcm * 32767).astype(kind)
    (found,) = recognise_bytes(data.tobytes())
    assert found.modality == "audio"
    assert ("big" in found.format) == (kind == ">i2")


@pytest.mark.parametrize(
    "data",
    [
        random.Random(1).randbytes(50_000),
        gzip.compress(random.Random(1).randbytes(50_000)),
        b"\xb5\x62" + bytes(range(256)) * 20,
        b"",
        b"\x00\x01\x02",
        (RNG.integers(0, 3000, (4000, 6)) + 4000 * np.arange(6)).astype("<i2").tobytes(),
    ],
    ids=["random", "gzip", "ubx", "empty", "short", "records"],
)
def test_bytes_that_nobody_can_know_are_unsure(data: bytes) -> None:
    assert [one.modality for one in recognise_bytes(data)] == [None]


def test_a_text_in_another_code_and_one_cut_in_a_letter_are_text() -> None:
    lines = "21,5 °C draußen\nnaïve café\n" * 30
    for data in (lines.encode("latin-1"), lines.encode()[: -len(" café\n".encode()) + 5]):
        (found,) = recognise_bytes(data)
        assert found.modality == "text"
    assert recognise_bytes("door opened\n".encode("utf-16"))[0].modality == "text"


def run(*arguments: str, stdin: bytes = b"") -> tuple[int, str]:
    result = CliRunner().invoke(APP, list(arguments), input=stdin)
    return result.exit_code, result.stdout


def test_the_command_tells_people_and_programs(tmp_path: Path) -> None:
    path = tmp_path / "unknown"
    path.write_text("".join(f"{k / 50},0.{k % 7},9.8{k % 9},0.1{k % 5}\n" for k in range(200)))
    code, out = run(str(path))
    assert code == 0
    assert "metadata (99%), table, comma, no header" in out
    assert "accelerometer" in out
    code, out = run("--json", "-", stdin=b"door opened\nlamp on\n")
    assert code == 0
    assert json.loads(out)["-"][0]["modality"] == "text"


def test_what_is_unsure_ends_with_code_1(tmp_path: Path) -> None:
    path = tmp_path / "unknown.mp4"
    path.write_bytes(random.Random(4).randbytes(9000))
    code, out = run(str(path))
    assert code == 1
    assert "unsure" in out


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    device, port = os.openpty()
    os.set_blocking(device, False)  # nobody reads for ever
    yield device, os.ttyname(port)
    for end in (device, port):
        os.close(end)


def test_a_port_is_recognised_by_what_it_prints(pty: tuple[int, str]) -> None:
    device, name = pty
    heard = threading.Event()

    def talk() -> None:
        while not heard.is_set():  # opening a port throws away what came before
            with suppress(BlockingIOError):
                os.write(device, b"0.12 9.81 3\n" * 20)
            heard.wait(0.01)

    writer = threading.Thread(target=talk)
    writer.start()
    found = recognise_port(name, baud=9600, seconds=2.0)
    heard.set()
    writer.join()
    assert found.modality == "metadata"


def test_a_broker_that_is_not_there_is_named() -> None:
    with pytest.raises(
        SourceAbsent, match=r"no broker at mqtt://127\.0\.0\.1:1 within 0\.1 s.*--broker"
    ):
        recognise_topic("a/b", broker="mqtt://127.0.0.1:1", seconds=0.1)


def test_a_silent_port_is_unsure(pty: tuple[int, str]) -> None:
    _, name = pty
    assert recognise_port(name, baud=None, seconds=0.1).why == "no line"


@pytest.mark.shared
def test_the_unlabelled_streams_of_real_recordings(shared: Path) -> None:
    known = {
        "gopro_karma/accl.csv": "metadata",
        "ami_trn07/audio.flac": "audio",
        "donkeycar_tub/video.mp4": "video",
        "neon_multipart_2025/log.csv": "text",
    }
    for name, modality in known.items():
        data = (shared / "recordings" / name).read_bytes()
        lines = data.split(b"\n", 1)[1] if name.endswith(".csv") else data
        assert io.BytesIO(lines).getbuffer().nbytes
        assert recognise_bytes(lines, is_whole=False)[0].modality == modality


@pytest.mark.parametrize(
    ("name", "kept", "format"),
    [("film.mp4", 40, "MP4 or MOV"), ("a.wav", 30, "WAV or AVI"), ("a.png", 20, "PNG")],
)
def test_a_file_that_was_cut_short_is_called_so(maker, name: str, kept: int, format: str) -> None:
    maker.video("film.mp4", [20, 90], rate_hz=10)
    maker.sound("a.wav", voice(), rate_hz=16_000)
    maker.picture("a.png", 90)
    (found,) = recognise_bytes((maker.root / name).read_bytes()[:kept])
    assert (found.modality, found.format) == (None, format)
    assert "cut short" in found.why


def test_of_a_folder_that_is_none_of_pictures_each_file_is_told(maker) -> None:
    maker.picture("all/inner/0.png", 40)
    maker.sound("all/mic.wav", voice(), rate_hz=16_000)
    (maker.root / "all" / "b.csv").write_text("t,x\n")
    (maker.root / "all" / ".hidden").write_text("")
    result = CliRunner().invoke(APP, [str(maker.root / "all"), "--json"])
    told = json.loads(result.stdout)
    assert {Path(name).name: one[0]["modality"] for name, one in told.items()} == {
        "b.csv": None,
        "inner": "image",
        "mic.wav": "audio",
    }
    assert result.exit_code == 1


def test_one_path_that_is_not_there_does_not_keep_the_others_back(maker) -> None:
    sound = str(maker.root / maker.sound("a.wav", voice(), rate_hz=16_000))
    result = CliRunner().invoke(APP, [sound, "nowhere", "--json"])
    told = json.loads(result.stdout)
    assert told[sound][0]["modality"] == "audio"
    assert told["nowhere"][0]["why"] == "no such file"


def test_hundreds_of_unknown_columns_are_told_in_one_line(tmp_path: Path) -> None:
    names = ",".join(f"v{k}" for k in range(60))
    rows = (",".join([f"{k / 10}", *(str(k * j % 17) for j in range(60))]) for k in range(40))
    (tmp_path / "a.csv").write_text("\n".join([f"t,{names}", *rows]) + "\n")
    said = CliRunner().invoke(APP, [str(tmp_path / "a.csv")]).stdout
    assert "v59 (" in said
    assert len(said.splitlines()) < 20
