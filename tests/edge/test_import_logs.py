"""PX4 ULog and MCAP logs become streams stamped by their recorder's clock."""

import base64
import json
import struct

import numpy as np
import pytest
from mcap.writer import Writer

from coeval.errors import BadRecording
from coeval_edge.importers import import_recording
from coeval_edge.recording_samples import read_metadata, read_samples


def ulog_message(kind, body):
    return struct.pack("<HB", len(body), ord(kind)) + body


@pytest.fixture
def flight(tmp_path):
    """A flight log: a gyro topic of two instances, one of them alone in time, two messages."""
    parts = [
        b"ULog\x01\x12\x35\x01" + struct.pack("<Q", 1_000_000),
        ulog_message("F", b"sensor_gyro:uint64_t timestamp;float[3] rad;uint8_t clips;"),
        ulog_message("A", struct.pack("<BH", 0, 0) + b"sensor_gyro"),
        ulog_message("A", struct.pack("<BH", 1, 1) + b"sensor_gyro"),
    ]
    for k in range(5):
        for instance in (0, 1):
            reading = struct.pack("<HQ3fB", instance, 2_000_000 + 4000 * k, k, -k, 0.5, 1)
            parts.append(ulog_message("D", reading))
    parts.append(ulog_message("L", b"6" + struct.pack("<Q", 2_500_000) + b"Takeoff detected"))
    path = tmp_path / "flight.ulg"
    path.write_bytes(b"".join(parts))
    return path


def test_a_flight_log_gives_topics_and_messages_of_one_node(flight, tmp_path):
    recording, notes = import_recording([flight], tmp_path / "out")
    assert notes == []
    first, second, log = recording.manifest.streams
    assert (first.id, second.id, log.id) == ("sensor_gyro", "sensor_gyro_1", "log")
    assert set(recording.manifest.nodes) == {"flight"}
    t_ns, values, columns = read_metadata(recording, first)
    assert t_ns.tolist() == [2_000_000_000 + 4_000_000 * k for k in range(5)]
    assert columns == ("rad[0]", "rad[1]", "rad[2]", "clips")
    np.testing.assert_allclose(values[3], [3, -3, 0.5, 1])
    (line,) = read_samples(recording, log)
    assert (line.t_node_ns, line.text) == (2_500_000_000, "INFO: Takeoff detected")


def test_a_file_that_is_no_ulog_is_refused(tmp_path):
    path = tmp_path / "a.ulg"
    path.write_bytes(b"garbage" * 10)
    with pytest.raises(BadRecording, match=r"a\.ulg: cannot be read as ULog"):
        import_recording([path], tmp_path / "out")


@pytest.fixture
def mcap_file(tmp_path):
    """Write an MCAP of (topic, message, time) with JSON messages, and one topic of another kind."""

    def write(*messages):
        path = tmp_path / "robot.mcap"
        with path.open("wb") as file:
            writer = Writer(file)
            writer.start()
            schema = writer.register_schema(name="any", encoding="jsonschema", data=b"{}")
            channels = {}
            for topic, message, t_ns in messages:
                encoding = "json" if not isinstance(message, bytes) else "protobuf"
                if topic not in channels:
                    channels[topic] = writer.register_channel(
                        topic=topic, message_encoding=encoding, schema_id=schema
                    )
                data = message if isinstance(message, bytes) else json.dumps(message).encode()
                writer.add_message(channels[topic], log_time=t_ns + 7, publish_time=t_ns, data=data)
            writer.finish()
        return path

    return write


def test_numbers_in_json_messages_become_columns(mcap_file, tmp_path):
    t_ns = 1_700_000_000_123_456_789
    path = mcap_file(
        ("/imu", {"rate": {"x": 1, "y": 2.5}, "ok": True}, t_ns),
        ("/imu", {"rate": {"x": 3, "y": 4.5}, "cov": [9, 8]}, t_ns + 5),
    )
    recording, notes = import_recording([path], tmp_path / "out")
    assert notes == []
    (imu,) = recording.manifest.streams
    assert (imu.id, imu.node) == ("imu", "robot")
    times, values, columns = read_metadata(recording, imu)
    assert times.tolist() == [t_ns, t_ns + 5]
    assert columns == ("rate.x", "rate.y", "ok", "cov[0]", "cov[1]")
    np.testing.assert_array_equal(values, [[1, 2.5, 1, np.nan, np.nan], [3, 4.5, np.nan, 9, 8]])


@pytest.mark.parametrize(
    "stamp",
    [
        {"timestamp": {"sec": 5, "nsec": 25}},
        {"header": {"stamp": {"sec": 5, "nanosec": 25}, "frame_id": "map"}},
    ],
)
def test_a_stamp_inside_the_message_is_the_samples_own(mcap_file, tmp_path, stamp):
    path = mcap_file(("/x", {"value": 1} | stamp, 9_000_000_000))
    recording, _ = import_recording([path], tmp_path / "out")
    times, values, columns = read_metadata(recording, recording.manifest.streams[0])
    assert times.tolist() == [5_000_000_025]
    assert columns == ("value",)
    assert values.tolist() == [[1.0]]


def test_text_stills_and_what_is_left_out(mcap_file, maker, tmp_path):
    maker.picture("p.png", 120)
    picture = base64.b64encode((maker.root / "p.png").read_bytes()).decode()
    path = mcap_file(
        ("/rosout", {"level": 2, "msg": "started"}, 10),
        ("/cam", {"format": "png", "data": picture}, 20),
        ("/scan", b"\x01\x02", 30),
        ("/odd", [1, 2], 40),
    )
    recording, notes = import_recording([path], tmp_path / "out")
    text, stills = recording.manifest.streams
    assert [line.text for line in read_samples(recording, text)] == ["started"]
    assert [int(still.grey.mean()) for still in read_samples(recording, stills)] == [120]
    assert "/scan: left out, its messages are protobuf" in notes
    assert "odd: 1 messages could not be flattened; left out" in notes


def test_a_file_that_is_no_mcap_is_refused(tmp_path):
    path = tmp_path / "a.mcap"
    path.write_bytes(b"garbage" * 10)
    with pytest.raises(BadRecording, match=r"a\.mcap: cannot be read as MCAP"):
        import_recording([path], tmp_path / "out")
