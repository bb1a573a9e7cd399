"""Each thing that can be wrong with a recording gets one line that names it."""

import json
import re

import pytest

from coeval.errors import BadRecording
from coeval_edge.recording import open_recording
from coeval_edge.recording_samples import read_samples, read_waveform

IMU = {"modality": "metadata", "file": "a.csv"}


def read_all(recording):
    for stream in recording.manifest.streams:
        for _ in read_samples(recording, stream):
            pass


def refuses(says, action):
    with pytest.raises(BadRecording) as caught:
        action()
    message = str(caught.value)
    assert re.search(says, message), message
    assert "\n" not in message


def test_a_folder_that_is_not_there(tmp_path):
    refuses("no such folder", lambda: open_recording(tmp_path / "nowhere"))


def test_a_file_where_a_recording_is_expected(maker):
    maker.text("walk.mp4", "")
    refuses("is a file.*coeval recording import", lambda: open_recording(maker.root / "walk.mp4"))


def test_a_folder_without_a_manifest(tmp_path):
    refuses(r"no recording\.json in it", lambda: open_recording(tmp_path))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", r"recording\.json: invalid JSON"),
        ("[" * 100_000, "invalid JSON"),
        ('{"nodes": {"cam": {}, "cam": {}}}', "'cam' comes twice"),
        ('{"format": "coeval-recording/9"}', "update coeval"),
    ],
)
def test_a_manifest_that_is_none(maker, text, says):
    maker.text("recording.json", text)
    refuses(says, lambda: open_recording(maker.root))


def test_a_manifest_that_is_no_text(maker):
    (maker.root / "recording.json").write_bytes(b"\xff\xfe\x00")
    refuses("cannot be read", lambda: open_recording(maker.root))


def test_a_file_that_is_missing(maker):
    refuses(r"stream 's' of .*: no file 'a\.csv'", lambda: maker.open(IMU))


@pytest.mark.parametrize("file", ["../a.csv", "x/../../a.csv", "/etc/passwd", "C:\\a.csv", "..\\a"])
def test_a_file_outside_the_folder(maker, file):
    refuses(
        "outside the recording's folder",
        lambda: maker.open({"modality": "metadata", "file": file}),
    )


def test_a_still_outside_the_folder(maker):
    maker.text("s.csv", "t,file\n1,../secret.png\n")
    recording = maker.open({"modality": "image", "file": "s.csv"})
    refuses(r"s\.csv, line 2: file .* is outside", lambda: read_all(recording))


def test_timestamps_and_evidence_that_are_missing(maker):
    maker.video("v.mkv", [1, 2], rate_hz=10)
    video = {"modality": "video", "file": "v.mkv"}
    refuses("no file 'v.csv'", lambda: maker.open(video | {"timestamps": "v.csv"}))
    nodes = {"n": {"evidence": {"pps": "pps.csv"}}}
    refuses("evidence of node 'n'.*no file 'pps.csv'", lambda: maker.open(video, nodes=nodes))


@pytest.mark.parametrize(
    ("modality", "text", "says"),
    [
        ("metadata", "time,x\n1,2\n", "no column 't'; the header has time, x"),
        ("text", "t,words\n1,2\n", "no column 'text'"),
        ("image", "t,name\n1,2\n", "no column 'file'"),
        ("metadata", "", "the file is empty"),
        ("metadata", "t,x,x\n1,2,3\n", "two columns are named 'x'"),
    ],
)
def test_a_header_without_what_the_modality_needs(maker, modality, text, says):
    maker.text("a.csv", text)
    refuses(says, lambda: maker.open({"modality": modality, "file": "a.csv"}))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("t,x\n", "no rows"),
        ("t\n1\n", "at least one channel"),
        ("t,x\n1,2\n2\n", "line 3: 1 fields, the header has 2"),
        ("t,x\n1,2\nnan,3\n", "line 3: column 't'"),
        ("t,x\n1,2\ninf,3\n", "line 3: column 't'"),
        ("t,x\n1,2\n,3\n", "line 3: column 't'"),
        ("t,x\n1700000000123,2\n", "line 2: .*milliseconds"),
        ("t,x\n1,2\n2,inf\n", "line 3: column 'x' is 'inf'; expected a finite number"),
        ("t,x\n1,2\n2,-1e308\n", "line 3: column 'x' is '-1e308'; expected a finite number"),
        ('t,x\n1,2\n2,"3\n3,4\n', "cannot be read as CSV: unexpected end of data"),
        ("t,x\n1,2\n2,two\n", "line 3: column 'x' holds 'two'"),
        ("t,x\n1,2\n2,3\n2,4\n", "line 4: time 2.0 repeats"),
        ("t,x\n1,2\n3,3\n2.5,4\n", "line 4: time 2.5 is 0.5 s before"),
    ],
)
def test_rows_that_are_wrong_are_named_by_line(maker, text, says):
    maker.text("a.csv", text)
    recording = maker.open(IMU)
    refuses(rf"a\.csv.*{says}", lambda: read_all(recording))


def test_time_that_goes_back_between_two_blocks(maker):
    rows = "".join(f"{k},0\n" for k in range(4096))
    maker.text("a.csv", f"t,x\n{rows}4095,0\n")
    recording = maker.open(IMU)
    refuses("line 4098: time 4095.0 repeats", lambda: read_all(recording))


def test_text_that_is_no_utf_8(maker):
    (maker.root / "a.csv").write_bytes(b"t,text\n1,caf\xe9\n")
    refuses("no UTF-8", lambda: read_all(maker.open({"modality": "text", "file": "a.csv"})))


def test_text_whose_time_goes_back(maker):
    maker.text("a.csv", "t,text\n2,a\n1,b\n")
    recording = maker.open({"modality": "text", "file": "a.csv"})
    refuses("line 3: time 1.0 is 1 s before", lambda: read_all(recording))


@pytest.mark.parametrize("modality", ["video", "audio"])
def test_a_media_file_that_is_none(maker, modality):
    maker.text("m.bin", "this is no film")
    recording = maker.open({"modality": modality, "file": "m.bin"})
    refuses(r"m\.bin: cannot be decoded", lambda: read_all(recording))


def test_a_file_of_the_other_kind(maker):
    maker.video("v.mkv", [1, 2], rate_hz=10)
    recording = maker.open({"modality": "audio", "file": "v.mkv"})
    refuses("holds no sound", lambda: read_all(recording))
    refuses("holds no sound", lambda: read_waveform(recording, recording.manifest.streams[0]))


def test_a_still_that_is_none(maker):
    maker.text("x.png", "no picture")
    maker.text("s.csv", "t,file\n1,x.png\n")
    recording = maker.open({"modality": "image", "file": "s.csv"})
    refuses(r"x\.png: cannot be decoded", lambda: read_all(recording))


@pytest.mark.parametrize(
    ("stamps", "says"),
    [("1\n2\n", "more frames than timestamps"), ("1\n2\n3\n4\n", "3 frames and 4 timestamps")],
)
def test_timestamps_that_are_not_one_a_frame(maker, stamps, says):
    maker.video("v.mkv", [1, 2, 3], rate_hz=10)
    maker.text("v.csv", f"t\n{stamps}")
    recording = maker.open({"modality": "video", "file": "v.mkv", "timestamps": "v.csv"})
    refuses(says, lambda: read_all(recording))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("t,sample\n1,5\n", "line 2: the first anchor must be sample 0"),
        ("t,sample\n1,0\n2,0\n", "line 3: sample 0 does not come after 0"),
        ("t,sample,rate_hz\n1,0,9000\n", "line 2: 'rate_hz' is 9000, the file has 8000"),
        ("t\n1\n", "1 timestamps for [0-9]+ blocks"),
    ],
)
def test_audio_timestamps_that_do_not_fit(maker, text, says):
    import numpy as np

    maker.sound("a.wav", np.zeros(16_000, np.float32), rate_hz=8000)
    maker.text("a.csv", text)
    recording = maker.open({"modality": "audio", "file": "a.wav", "timestamps": "a.csv"})
    refuses(says, lambda: read_all(recording))


def test_an_audio_rate_that_is_not_the_files(maker):
    import numpy as np

    maker.sound("a.wav", np.zeros(800, np.float32), rate_hz=8000)
    recording = maker.open({"modality": "audio", "file": "a.wav", "rate_hz": 16_000})
    refuses("'rate_hz' is 16000, the file has 8000", lambda: read_all(recording))


def test_sound_without_a_sample(maker):
    header = (
        b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0\x40\x1f\0\0\x80\x3e\0\0\2\0\x10\0data\0\0\0\0"
    )
    (maker.root / "a.wav").write_bytes(header)
    recording = maker.open({"modality": "audio", "file": "a.wav"})
    refuses(r"a\.wav", lambda: read_all(recording))


def test_a_truncated_video_ends_in_a_line_not_in_silence(maker):
    maker.video("v.mp4", [10 * k for k in range(20)], rate_hz=10)
    path = maker.root / "v.mp4"
    path.write_bytes(path.read_bytes()[:600])
    recording = maker.open({"modality": "video", "file": "v.mp4"})
    refuses(r"v\.mp4", lambda: read_all(recording))


def test_json_with_a_nan_in_it(maker):
    maker.text("a.csv", "t,x\n1,2\n")
    root = maker.manifest(IMU | {"t0_s": float("nan")})
    assert "NaN" in json.dumps(float("nan"))
    refuses("'t0_s' must be finite", lambda: open_recording(root))
