"""Films, sound files and GoPro telemetry become streams on the file's own clock."""

import struct

import numpy as np
import pytest

from coeval.errors import BadRecording
from coeval_edge.importers import import_recording
from coeval_edge.importers.gpmf import gather, read_payload
from coeval_edge.recording import open_recording
from coeval_edge.recording_samples import read_metadata, read_samples, read_waveform


def item(key, kind, size, num, data):
    padding = b"\0" * (-len(data) % 4)
    return struct.pack(">4scBH", key, kind, size, num) + data + padding


def nested(key, *items):
    content = b"".join(items)
    return struct.pack(">4scBH", key, b"\0", 1, len(content)) + content


def gyro(*readings):
    data = b"".join(struct.pack(">3h", *reading) for reading in readings)
    return nested(
        b"STRM",
        item(b"SIUN", b"c", 5, 1, b"rad/s"),
        item(b"SCAL", b"s", 2, 1, struct.pack(">h", 100)),
        item(b"GYRO", b"s", 6, len(readings), data),
    )


def payload(*streams, t_ns=0, length_ns=1_000_000_000):
    data = nested(b"DEVC", item(b"DVNM", b"c", 6, 1, b"Camera"), *streams)
    return read_payload(data, t_ns=t_ns, length_ns=length_ns, where="a.mp4")


def test_telemetry_is_scaled_and_spread_over_its_payload():
    first = payload(gyro((100, 200, -300), (1, 2, 3)))
    second = payload(gyro((5, 5, 5)), t_ns=1_000_000_000)
    (telemetry,) = gather([first, second])
    assert telemetry.name == "gyro"
    assert telemetry.t_ns.tolist() == [0, 500_000_000, 1_000_000_000]
    np.testing.assert_allclose(
        telemetry.values, [[1, 2, -3], [0.01, 0.02, 0.03], [0.05, 0.05, 0.05]]
    )
    assert telemetry.units == {"c0": "rad/s", "c1": "rad/s", "c2": "rad/s"}


def test_a_structure_is_read_by_its_layout():
    attitude = nested(
        b"STRM",
        item(b"UNIT", b"c", 3, 3, b"s\0\0radrad"),
        item(b"TYPE", b"c", 1, 5, b"Lf[2]"),
        item(b"SCAL", b"l", 4, 3, struct.pack(">3i", 1000, 1, 1)),
        item(b"ATTD", b"?", 12, 1, struct.pack(">Iff", 1500, 0.5, -0.5)),
    )
    (telemetry,) = gather([payload(attitude)])
    np.testing.assert_allclose(telemetry.values, [[1.5, 0.5, -0.5]])
    assert telemetry.units == {"c0": "s", "c1": "rad", "c2": "rad"}


@pytest.mark.parametrize(
    "stream",
    [
        nested(b"STRM", item(b"GPSU", b"U", 16, 1, b"190506181507.395")),
        nested(b"STRM", item(b"GYRO", b"s", 6, 0, b"")),
        nested(b"STRM", item(b"SCEN", b"?", 8, 1, b"SNOW\0\0\0\0")),
        nested(b"STRM"),
    ],
)
def test_what_is_no_reading_is_passed_over(stream):
    assert payload(stream).sensors == ()


def test_damaged_telemetry_is_refused():
    whole = nested(b"DEVC", gyro((1, 2, 3)))
    with pytest.raises(BadRecording, match=r"a\.mp4: GPMF item .*damaged"):
        read_payload(whole[:-4], t_ns=0, length_ns=1, where="a.mp4")
    bomb = item(b"GYRO", b"s", 6, 0, b"")
    for _ in range(20):
        bomb = nested(b"DEVC", bomb)
    with pytest.raises(BadRecording, match="nested deeper"):
        read_payload(bomb, t_ns=0, length_ns=1, where="a.mp4")


def test_a_film_and_a_sound_file_are_two_nodes(maker, tmp_path):
    maker.video("walk.mkv", [10, 90, 170], rate_hz=10)
    maker.sound("mic.wav", np.zeros(800, np.float32), rate_hz=8000)
    files = [maker.root / "walk.mkv", maker.root / "mic.wav"]
    recording, notes = import_recording(files, tmp_path / "out")
    assert notes == []
    assert [(s.id, s.node, s.modality) for s in recording.manifest.streams] == [
        ("video", "walk", "video"),
        ("mic_audio", "mic", "audio"),
    ]
    video, sound = recording.manifest.streams
    times = [frame.t_node_ns for frame in read_samples(recording, video)]
    assert times == [0, 100_000_000, 200_000_000]
    assert len(read_waveform(recording, sound).pcm) == 800


def test_a_film_that_is_none_is_refused(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"no film" * 100)
    with pytest.raises(BadRecording, match=r"a\.mp4: cannot be decoded"):
        import_recording([path], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "streams"),
    [
        ("gopro_karma", ("gyro", "accl", "exposure")),
        ("gopro_hero7", ("gyro", "accl", "exposure", "iso", "gps")),
    ],
)
def test_a_gopro_file_gives_what_the_shared_recording_holds(shared, tmp_path, name, streams):
    reference = open_recording(shared / "recordings" / name)
    made, _ = import_recording([shared / "media" / f"{name}.mp4"], tmp_path / "out")
    for stream_id in streams:
        t_ns, values, _ = read_metadata(made, made.manifest.stream(stream_id))
        expected_ns, expected, _ = read_metadata(reference, reference.manifest.stream(stream_id))
        np.testing.assert_allclose(values, expected, atol=1e-6)
        np.testing.assert_allclose(t_ns, expected_ns, atol=0.5e6)
    times = [f.t_node_ns for f in read_samples(made, made.manifest.stream("video"))]
    expected_times = [f.t_node_ns for f in read_samples(reference, reference.manifest.streams[0])]
    np.testing.assert_allclose(times, expected_times, atol=1e3)
