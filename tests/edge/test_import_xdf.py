"""XDF streams go onto the recorder's clock only where the file says how far they were from it."""

import struct

import numpy as np
import pytest

from coeval.errors import BadRecording
from coeval_edge.importers import import_recording
from coeval_edge.recording_samples import read_metadata, read_samples


def chunk(tag, content):
    body = struct.pack("<H", tag) + content
    return struct.pack("<BI", 4, len(body)) + body


def stream_bytes(number, *, name, format_, samples, offsets, channels=1, desc=""):
    """One stream as XDF chunks: header, samples [(t, values)], clock offsets [(t, offset)]."""
    header = (
        f'<?xml version="1.0"?><info><name>{name}</name><type>X</type>'
        f"<channel_count>{channels}</channel_count><nominal_srate>0</nominal_srate>"
        f"<channel_format>{format_}</channel_format><hostname>box</hostname>{desc}</info>"
    )
    stream = struct.pack("<I", number)
    parts = [chunk(2, stream + header.encode())]
    body = struct.pack("<BI", 4, len(samples))
    for t_s, values in samples:
        body += struct.pack("<Bd", 8, t_s)
        for value in values:
            if format_ == "string":
                body += struct.pack("<BB", 1, len(value)) + value.encode()
            else:
                body += struct.pack("<d", value)
    if samples:
        parts.append(chunk(3, stream + body))
    parts += [chunk(4, stream + struct.pack("<dd", t_s, offset)) for t_s, offset in offsets]
    footer = (
        f"<info><first_timestamp>0</first_timestamp><last_timestamp>0</last_timestamp>"
        f"<sample_count>{len(samples)}</sample_count></info>"
    )
    parts.append(chunk(6, stream + footer.encode()))
    return b"".join(parts)


def written(tmp_path, *streams):
    path = tmp_path / "lsl.xdf"
    header = chunk(1, b'<?xml version="1.0"?><info><version>1.0</version></info>')
    path.write_bytes(b"XDF:" + header + b"".join(streams))
    return path


def ramp(start_s, num):
    return [(start_s + k / 100, [float(k)]) for k in range(num)]


def test_good_offsets_put_a_stream_on_the_recorders_clock(tmp_path):
    line = [(1000.0 + 5 * k, -990.0 - 50e-6 * 5 * k) for k in range(20)]
    line[7] = (line[7][0], -985.0)  # one late reply
    desc = (
        "<desc><channels><channel><label>gx</label><unit>rad/s</unit></channel></channels></desc>"
    )
    stream = stream_bytes(
        1, name="imu", format_="double64", samples=ramp(1000.0, 500), offsets=line, desc=desc
    )
    recording, notes = import_recording([written(tmp_path, stream)], tmp_path / "out")
    assert notes == []
    (imu,) = recording.manifest.streams
    assert imu.node == "recorder"
    assert imu.units == {"gx": "rad/s"}
    t_ns, values, columns = read_metadata(recording, imu)
    expected_s = np.arange(500) / 100 * (1 - 50e-6) + 10.0
    np.testing.assert_allclose(t_ns / 1e9, expected_s, atol=1e-5)
    assert columns == ("gx",)
    assert values[:, 0].tolist() == list(range(500))


@pytest.mark.parametrize(
    "offsets",
    [
        [],
        [(1000.0, -990.0)],
        [(1000.0 + k, -990.0 + (k % 2)) for k in range(20)],
        [(1000.0 + k, -990.0) for k in (0, 1, 2, -500, -499)],
    ],
    ids=["none", "one", "no line", "host restarted"],
)
def test_a_stream_whose_fit_would_fail_keeps_its_own_clock_and_says_so(tmp_path, offsets):
    stream = stream_bytes(
        1, name="imu", format_="double64", samples=ramp(1000.0, 50), offsets=offsets
    )
    recording, notes = import_recording([written(tmp_path, stream)], tmp_path / "out")
    (imu,) = recording.manifest.streams
    assert imu.node == "box_imu"
    assert list(recording.manifest.nodes) == ["box_imu"]
    assert read_metadata(recording, imu)[0][0] == 1000_000_000_000
    assert notes == ["imu: the file has no usable clock offsets; it is a node of its own, box_imu"]


def test_markers_become_text_and_empty_streams_are_noted(tmp_path):
    markers = stream_bytes(
        1, name="markers", format_="string", samples=[(2.0, ["go"]), (1.0, ["set"])], offsets=[]
    )
    silent = stream_bytes(2, name="silent", format_="double64", samples=[], offsets=[])
    recording, notes = import_recording([written(tmp_path, markers, silent)], tmp_path / "out")
    (stream,) = recording.manifest.streams
    assert [line.text for line in read_samples(recording, stream)] == ["set", "go"]
    assert "silent: left out, it has no sample" in notes


def test_a_file_that_is_no_xdf_is_refused(tmp_path):
    path = tmp_path / "a.xdf"
    path.write_bytes(b"not XDF at all")
    with pytest.raises(BadRecording, match=r"a\.xdf: cannot be read as XDF"):
        import_recording([path], tmp_path / "out")
