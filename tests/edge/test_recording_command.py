"""`coeval recording` on the command line: what it prints, and one line when it fails."""

import json
from functools import partial

import pytest


@pytest.fixture
def recording(coeval):
    """Run `coeval recording`; its exit code, stdout, stderr."""
    return partial(coeval, "recording")


@pytest.fixture
def walk(maker):
    maker.text("imu.csv", "t,gx,gy\n0.5,1,2\n0.6,1,2\n0.7,3,4\n")
    maker.text("log.csv", "t,text\n0.25,[start]\n")
    return maker.manifest(
        {"id": "imu", "modality": "metadata", "file": "imu.csv", "units": "rad/s"},
        {"id": "log", "node": "cam", "modality": "text", "file": "log.csv"},
        licence="CC-BY-4.0",
        truth={"nodes": {"cam": {"offset_s": 0, "skew_ppm": 0}}, "sigma_s": 0.005, "how": "[one]"},
    )


def test_info_shows_streams_licence_and_truth(recording, walk):
    code, out, err = recording("info", walk)
    assert code == 0, err
    for word in ("imu", "metadata", "rad/s", "CC-BY-4.0", "±5 ms (1σ): [one]", "cam: offset"):
        assert word in out


def test_info_shows_times_since_1970_whole(recording, maker, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    maker.text("a.csv", "t,x\n1763978400.250,1\n1763978401.250,2\n")
    walk = maker.manifest(
        {"id": "a_stream_with_a_long_name", "modality": "metadata", "file": "a.csv"}
    )
    code, out, err = recording("info", walk)
    assert code == 0, err
    assert "…" not in out


def test_info_as_json_is_for_programs(recording, walk):
    code, out, _ = recording("info", walk, "--json")
    described = json.loads(out)
    assert code == 0
    imu = described["streams"][0]
    assert (imu["samples"], imu["t_first_s"], imu["t_last_s"]) == (3, 0.5, 0.7)
    assert imu["rate_hz"] == pytest.approx(10.0)
    assert described["streams"][1]["rate_hz"] is None
    assert described["truth"]["sigma_s"] == 0.005


def test_skew_writes_a_copy_and_says_its_truth(recording, walk, tmp_path):
    out_path = tmp_path / "wrong"
    code, out, err = recording(
        *("skew", walk, out_path, "--node", "cam", "--offset", "3.217", "--skew-ppm", "41"),
        *("--jump-at", "40", "--jump", "0.25", "--json"),
    )
    assert code == 0, err
    cam = json.loads(out)["truth"]["nodes"]["cam"]
    assert cam == {
        "offset_s": 3.217,
        "skew_ppm": 41.0,
        "jumps": [{"at_s": 40.0, "by_s": 0.25}],
    }
    assert (out_path / "log.csv").read_text() == "t,text\n3.467,[start]\n"


def test_a_negative_offset_is_an_ordinary_value(recording, walk, tmp_path):
    code, _, err = recording("skew", walk, tmp_path / "x", "--node", "cam", "--offset", "-2")
    assert code == 0, err
    assert "offset -2.000000 s" in err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (("skew", "REC", "OUT", "--node", "hat"), 1, "no node 'hat'"),
        (("skew", "REC", "OUT", "--node", "cam", "--jump", "1"), 2, "go together"),
        (("skew", "REC", "OUT", "--node", "cam", "--skew-ppm", "1e6"), 2, "skew must be within"),
        (("skew", "REC", "REC", "--node", "cam"), 1, "is there already"),
        (("skew", "REC", "OUT"), 2, "--node"),
        (("info", "OUT"), 1, "no such folder"),
        (("import", "OUT", "OUT"), 1, "no such file"),
        (("import", "REC/imu.csv", "OUT", "--format", "wav"), 2, "unknown format 'wav'"),
    ],
)
def test_what_goes_wrong_is_one_line_without_a_traceback(
    recording, walk, tmp_path, arguments, code, says
):
    places = {"REC": str(walk), "OUT": str(tmp_path / "out"), "REC/imu.csv": walk / "imu.csv"}
    got, out, err = recording(*(places.get(argument, argument) for argument in arguments))
    assert got == code
    assert says in err
    assert "Traceback" not in err
    assert out == ""
    assert not (tmp_path / "out").exists()


def test_import_turns_files_into_a_recording(recording, walk, tmp_path):
    code, out, err = recording(
        "import", walk / "imu.csv", walk / "log.csv", tmp_path / "out", "--json"
    )
    assert code == 0, err
    streams = json.loads(out)["streams"]
    assert [(s["id"], s["node"], s["modality"]) for s in streams] == [
        ("imu", "imu", "metadata"),
        ("log", "log", "text"),
    ]
