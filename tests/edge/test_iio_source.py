"""IIO frames and files on a stand-in: folders like sysfs, a pipe for the buffer's device.

The kernel's own drivers, buffer and clock are in `tests/kernel/test_iio.py`; here are the layouts,
clocks and failures that its one sensor does not have.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coeval.errors import BadConfig
from coeval.samples import MetadataBlock
from coeval_edge.kernel_clocks import KernelClock
from coeval_edge.live import SourcesConfig
from coeval_edge.sources.errors import SourceAbsent, SourceLost, SourceUnfit
from coeval_edge.sources.iio import IioSource, open_iio
from coeval_edge.sources.iio_device import IioConfig, find_device
from coeval_edge.sources.iio_polled import PolledIio
from coeval_edge.sources.iio_scan import Channel, FrameLayout, ScanType, attribute, parse_type

STAMP = "le:s64/64>>0"
NOW_NS = 5_000_000_000_000
REALTIME_AHEAD_NS = 1_700_000_000_000_000_000


def read_clock(clock: int) -> int:
    """Clocks that stand still: node, realtime ahead of it."""
    return NOW_NS + (REALTIME_AHEAD_NS if clock == KernelClock.REALTIME else 0)


def channel(name: str, index: int, kind: str, **keys: float) -> Channel:
    return Channel(name=name, index=index, scan=parse_type(kind, where="here"), **keys)


# Frames


def test_channels_are_aligned_as_the_kernel_does_and_scaled() -> None:
    layout = FrameLayout(
        [
            channel("timestamp", 3, STAMP),
            channel("temp", 1, "be:u12/16>>4", offset=-100.0, scale=0.5),
            channel("accel_x", 0, "le:s16/32>>0", scale=0.01),
        ]
    )
    assert layout.size == 16
    assert layout.values == ["accel_x", "temp"]
    frame = struct.pack("<i", -300 & 0xFFFF) + struct.pack(">H", 0x1234) + b"\xaa\xaa"
    stamps, values = layout.decode(frame + struct.pack("<q", 123_456_789))
    assert stamps.tolist() == [123_456_789]
    assert values.tolist() == [[-3.0, pytest.approx((0x123 - 100) * 0.5)]]


def test_a_channel_that_repeats_is_as_many_values() -> None:
    layout = FrameLayout(
        [channel("rot_quaternion", 0, "le:s16/16X4>>0", scale=0.5), channel("timestamp", 1, STAMP)]
    )
    _, values = layout.decode(struct.pack("<hhhhq", 2, -4, 6, 8, 1))
    assert layout.values == [f"rot_quaternion_{k}" for k in range(4)]
    assert values.tolist() == [[1.0, -2.0, 3.0, 4.0]]


@given(
    bits=st.integers(1, 32),
    shift=st.integers(0, 31),
    is_signed=st.booleans(),
    is_big=st.booleans(),
    data=st.data(),
)
def test_a_value_is_read_whatever_lies_beside_its_bits(
    bits: int, shift: int, is_signed: bool, is_big: bool, data: st.DataObject
) -> None:
    shift = min(shift, 32 - bits)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
    value = data.draw(st.integers(low, high))
    mask = (1 << bits) - 1
    stored = data.draw(st.integers(0, 2**32 - 1)) & ~(mask << shift) | (value & mask) << shift
    kind = f"{'be' if is_big else 'le'}:{'s' if is_signed else 'u'}{bits}/32>>{shift}"
    layout = FrameLayout([channel("voltage0", 0, kind), channel("timestamp", 1, STAMP)])
    frame = struct.pack(">I" if is_big else "<I", stored) + bytes(4) + struct.pack("<q", 0)
    assert layout.decode(frame)[1].tolist() == [[float(value)]]


@pytest.mark.parametrize(
    "text", ["", "le:s16", "xe:s16/16", "le:s24/24>>0", "le:s17/16>>0", "le:s16/16>>1", "le:s0/8"]
)
def test_a_type_that_cannot_be_is_named_with_its_file(text: str) -> None:
    with pytest.raises(SourceUnfit, match="in_x_type: expected a type such as"):
        parse_type(text, where="in_x_type")


def test_a_type_without_a_shift_has_none() -> None:
    expected = ScanType(is_big=False, is_signed=True, num_bits=16, num_bytes=2, repeat=1, shift=0)
    assert parse_type("le:s16/16\n", where="here") == expected


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("in_accel_x_scale", "accel_x"),
        ("in_accel_scale", "accel_x"),
        ("in_voltage0_scale", "voltage0"),
        ("in_voltage_scale", "voltage0"),
        ("in_voltage-voltage_scale", "voltage0-voltage1"),
        ("in_rot_scale", "rot_quaternion"),
        ("scale", "temp"),
    ],
)
def test_a_scale_is_the_channel_s_own_or_one_it_shares(
    file: str, name: str, tmp_path: Path
) -> None:
    (tmp_path / file).write_text("0.25\n")
    assert attribute(tmp_path, name, "scale") == 0.25
    assert attribute(tmp_path, name, "offset") is None
    (tmp_path / file).write_text("broken\n")
    with pytest.raises(SourceUnfit, match=f"{file}: expected a number"):
        attribute(tmp_path, name, "scale")


# A device


class StandIn:
    """Folders like sysfs with one IMU, and its buffer as a pipe."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.device = root / "sys/bus/iio/devices/iio:device0"
        self.write("name", "imu6\n")
        self.write("in_accel_scale", "0.5\n")
        for index, (name, kind) in enumerate(
            (("accel_x", "le:s16/16>>0"), ("accel_y", "le:s16/16>>0"), ("timestamp", STAMP))
        ):
            self.write(f"scan_elements/in_{name}_type", kind)
            self.write(f"scan_elements/in_{name}_index", str(index))
            self.write(f"scan_elements/in_{name}_en", "0")
        self.write("buffer/enable", "0")
        self.write("buffer/length", "2")
        self.write("trigger/current_trigger", "imu6-dev0\n")
        self.write("in_accel_sampling_frequency", "100\n")
        (root / "dev").mkdir()
        os.mkfifo(root / "dev/iio:device0")
        self.pipe = os.open(root / "dev/iio:device0", os.O_RDWR)

    def write(self, file: str, text: str) -> None:
        path = self.device / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def read(self, file: str) -> str:
        return (self.device / file).read_text()

    def open(self, **keys: object) -> IioSource:
        config = IioConfig(device="imu6", **keys)  # type: ignore[arg-type]
        return open_iio(config, root=self.root, read_clock=read_clock)

    def send(self, *frames: tuple[int, int, int]) -> None:
        """Frames of x, y and stamp."""
        os.write(self.pipe, b"".join(struct.pack("<hh4xq", *frame) for frame in frames))


@pytest.fixture
def imu(tmp_path: Path) -> Iterator[StandIn]:
    stand_in = StandIn(tmp_path)
    yield stand_in
    os.close(stand_in.pipe)


def rows(source: IioSource) -> list[tuple[int, list[float]]]:
    return [
        (t_ns, row)
        for block in source.read(0.0)
        if isinstance(block, MetadataBlock)
        for t_ns, row in zip(block.t_node_ns.tolist(), block.values.tolist(), strict=True)
    ]


def test_a_device_is_set_up_read_and_stopped(imu: StandIn) -> None:
    imu.write("current_timestamp_clock", "realtime\n")
    source = imu.open()
    assert imu.read("current_timestamp_clock") == "monotonic_raw"
    assert imu.read("buffer/enable") == "1"
    assert [imu.read(f"scan_elements/in_{n}_en") for n in ("accel_x", "timestamp")] == ["1", "1"]
    imu.send((10, -20, NOW_NS - 30_000_000), (12, -22, NOW_NS - 20_000_000))
    half_ns = 5_000_000
    assert rows(source) == [
        (NOW_NS - 30_000_000 - half_ns, [5.0, -10.0]),
        (NOW_NS - 20_000_000 - half_ns, [6.0, -11.0]),
    ]
    source.close()
    assert imu.read("buffer/enable") == "0"


def test_an_old_kernel_s_realtime_stamps_are_put_on_the_node_s_clock(imu: StandIn) -> None:
    source = imu.open(conversion_s=0.002)
    assert "by realtime" in source.timing.how
    imu.send((1, 1, REALTIME_AHEAD_NS + NOW_NS - 7_000_000))
    assert [t_ns for t_ns, _ in rows(source)] == [NOW_NS - 8_000_000]
    source.close()


def test_frames_that_cannot_be_placed_are_counted(imu: StandIn) -> None:
    imu.write("current_timestamp_clock", "monotonic_raw\n")
    source = imu.open()
    imu.send((1, 1, NOW_NS - 100), (2, 2, NOW_NS - 100), (3, 3, NOW_NS + 10_000_000), (4, 4, 0))
    assert len(rows(source)) == 1
    assert source.counts == {"used": 1, "backwards": 2, "unplaced": 1}
    source.close()


def test_a_frame_that_comes_in_two_pieces_is_one(imu: StandIn) -> None:
    imu.write("current_timestamp_clock", "monotonic_raw\n")
    source = imu.open()
    frame = struct.pack("<hh4xq", 2, 4, NOW_NS - 100)
    os.write(imu.pipe, frame[:9])
    assert rows(source) == []
    os.write(imu.pipe, frame[9:])
    assert [row for _, row in rows(source)] == [[1.0, 2.0]]
    source.close()


def test_a_clock_that_cannot_be_used_nor_set_is_named(
    imu: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = imu.device / "current_timestamp_clock"
    file.write_text("tai\n")
    write = Path.write_text

    def refuse(path: Path, text: str) -> int:
        if path == file:
            raise PermissionError(13, "Permission denied")
        return write(path, text)

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(SourceUnfit, match="is 'tai' and cannot be set: echo monotonic_raw"):
        imu.open()


def test_a_device_that_vanishes_is_lost(imu: StandIn) -> None:
    source = imu.open()
    imu.device.rename(imu.device.with_name("gone"))
    with pytest.raises(SourceLost, match="was it unplugged"):
        source.read(0.0)
    source.close()


def test_a_timer_needs_its_module(imu: StandIn) -> None:
    with pytest.raises(SourceUnfit, match="modprobe iio-trig-hrtimer"):
        imu.open(trigger="hrtimer", rate_hz=50.0)


def test_a_device_is_found_by_name_or_number_and_two_of_a_name_are_told_apart(
    imu: StandIn,
) -> None:
    assert find_device("iio:device0", imu.root) == find_device("imu6", imu.root)
    with pytest.raises(SourceAbsent, match=r"no IIO sensor 'bmp'; there are: imu6 \(iio:device0\)"):
        find_device("bmp", imu.root)
    other = imu.device.with_name("iio:device1")
    other.mkdir()
    (other / "name").write_text("imu6\n")
    with pytest.raises(SourceUnfit, match="2 IIO sensors are called 'imu6': name one of"):
        find_device("imu6", imu.root)


# Polling


@pytest.fixture
def adc(tmp_path: Path) -> Path:
    device = tmp_path / "sys/bus/iio/devices/iio:device0"
    device.mkdir(parents=True)
    for file, text in (
        ("name", "ads1015"),
        ("in_voltage0_raw", "100"),
        ("in_voltage0_scale", "2.0"),
        ("in_voltage0_offset", "-10"),
        ("in_temp_input", "21500"),
    ):
        (device / file).write_text(text + "\n")
    return device


def poll(adc: Path, **keys: object) -> tuple[PolledIio, list[float]]:
    """A source whose clock goes on by what it sleeps."""
    slept: list[float] = []

    def read_moving_clock(clock: int) -> int:
        return read_clock(clock) + round(sum(slept) * 1e9)

    config = IioConfig(device="ads1015", **keys)  # type: ignore[arg-type]
    return PolledIio(config, adc, read_clock=read_moving_clock, sleep=slept.append), slept


def test_what_has_no_stamped_buffer_is_polled(adc: Path, tmp_path: Path) -> None:
    assert not (adc / "buffer").exists()
    source = open_iio(IioConfig(device="ads1015"), root=tmp_path, read_clock=read_clock)
    assert isinstance(source, PolledIio)
    told = source.timing.describe()
    assert (told["origin"], told["latency_s"]) == ("arrival", 0.005)
    assert source.units == {"voltage0": "mV", "temp": "m°C"}
    assert rows(source) == [(NOW_NS - 5_000_000, [180.0, 21500.0])]


def test_readings_are_made_at_the_rate_and_stamped_half_a_conversion_earlier(adc: Path) -> None:
    source, slept = poll(adc, rate_hz=10.0, channels=("voltage0",), conversion_s=0.008)
    times = []
    for _ in range(4):
        times += [t_ns for block in source.read(0.5) for t_ns in block.t_node_ns.tolist()]
    assert np.diff(times).tolist() == [100_000_000] * 3
    assert times[0] == NOW_NS - 4_000_000
    assert source.read(0.05) == []
    assert slept[-1] == 0.05


def test_a_reader_that_was_held_up_skips_readings_and_counts_them(adc: Path) -> None:
    source, slept = poll(adc, rate_hz=10.0)
    source.read(0.5)
    slept.append(0.35)
    source.read(0.5)
    assert source.counts == {"used": 2, "skipped": 2}


def test_readings_that_fail_are_counted_and_ten_in_a_row_are_a_loss(adc: Path) -> None:
    source, _ = poll(adc)
    (adc / "in_temp_input").write_text("")
    for _ in range(9):
        assert source.read(0.5) == []
    with pytest.raises(SourceLost, match="was it unplugged"):
        source.read(0.5)
    assert source.counts["failed"] == 10


def test_a_file_that_is_gone_is_a_loss_at_once(adc: Path) -> None:
    source, _ = poll(adc)
    (adc / "in_temp_input").unlink()
    with pytest.raises(SourceLost):
        source.read(0.5)


def test_a_device_without_anything_to_read_is_named(adc: Path) -> None:
    for file in adc.glob("in_*"):
        file.unlink()
    with pytest.raises(SourceUnfit, match=r"nothing to read: no in_\*_raw"):
        poll(adc)


# Configuration


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"device": "/dev/iio:device0"}, "device must be a name"),
        ({"device": "a", "rate_hz": 0.0}, "rate_hz must lie within"),
        ({"device": "a", "conversion_s": -1.0}, "conversion_s must lie within"),
        ({"device": "a", "trigger": "hrtimer"}, "trigger = 'hrtimer' needs rate_hz"),
    ],
)
def test_a_wrong_value_names_its_key(keys: dict[str, object], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        SourcesConfig(iio={"imu": IioConfig(**keys)})  # type: ignore[arg-type]
