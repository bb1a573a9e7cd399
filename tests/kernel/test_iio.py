"""The node's IIO code on the kernel's own industrial I/O: buffer, trigger, clock, files of sysfs.

The sensor is a program behind /dev/uhid (`guest/hid_sensor.py`); the drivers that make an IIO
device of it are the kernel's, Debian's stock ones. Semantics are tested so, accuracy is not.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from .machine import GuestError, Machine

pytestmark = pytest.mark.kernel

DEVICE = "/sys/bus/iio/devices/iio:device0"
G = 9.80665


def plug(machine: Machine) -> None:
    """Plug the sensor in, and wait for its drivers."""
    machine.call("hid_create", name="hub")
    machine.call("await_path", path=f"{DEVICE}/current_timestamp_clock")


@pytest.fixture
def sensor(machine: Machine) -> Iterator[Machine]:
    plug(machine)
    yield machine
    if machine.call("listing", pattern=DEVICE):
        machine.call("hid_unplug", name="hub")


def read_back(machine: Machine, rows: list[list[int]], **keys: Any) -> tuple[Any, Any, list[int]]:
    """Open, report, read, close: what opening and reading told, when each row was sent, and now."""
    opened = machine.call("iio_open", name="imu", device="accel_3d", **keys)
    sent_ns = machine.call("hid_report", name="hub", rows=rows, gap_s=0.05)
    sent_ns.append(machine.settle())
    told = machine.call("iio_read", name="imu", count=len(rows))
    machine.call("iio_close", name="imu")
    return opened, told, sent_ns


def test_readings_have_the_kernel_s_stamps_on_the_node_s_own_clock(sensor: Machine) -> None:
    rows = [[100, 0, -100], [1, 2, 3], [-32768, 32767, 50]]
    opened, told, sent_ns = read_back(sensor, rows)
    assert opened["timing"]["origin"] == "kernel"
    assert opened["timing"]["latency_s"] == pytest.approx(0.01)  # half of 50 Hz
    assert "(accel_3d-dev0) by monotonic_raw" in opened["timing"]["how"]
    assert opened["units"] == dict.fromkeys(("accel_x", "accel_y", "accel_z"), "m/s^2")
    for row, read in zip(rows, told["rows"], strict=True):
        assert read == pytest.approx([value / 100 * G for value in row], rel=1e-6)
    for (sent_at_ns, next_ns), t_node_ns in zip(
        itertools.pairwise(sent_ns), told["t_node_ns"], strict=True
    ):
        assert sent_at_ns <= t_node_ns + 10_000_000 <= next_ns
    assert told["counts"] == {"used": 3}


def test_chosen_channels_alone_are_read(sensor: Machine) -> None:
    opened, told, _ = read_back(sensor, [[100, 0, -100]], channels=["accel_z"])
    assert list(opened["units"]) == ["accel_z"]
    assert told["rows"] == [[pytest.approx(-G, rel=1e-6)]]


def test_the_rate_that_is_asked_for_is_set(sensor: Machine) -> None:
    opened, _, _ = read_back(sensor, [[0, 0, 0]], rate_hz=20.0)
    assert opened["timing"]["latency_s"] == pytest.approx(0.025)
    assert float(sensor.call("read", path=f"{DEVICE}/in_accel_sampling_frequency")) == 20.0


def test_a_device_without_a_buffer_s_stamps_is_polled_and_says_so(sensor: Machine) -> None:
    sensor.call("hid_report", name="hub", rows=[[100, 200, -100]])
    before_ns = sensor.call("clocks")["node_ns"]
    opened = sensor.call("iio_open", name="imu", device="accel_3d", is_polled=True, rate_hz=5.0)
    told = sensor.call("iio_read", name="imu", count=3)
    sensor.call("iio_close", name="imu")
    assert opened["timing"]["origin"] == "arrival"
    assert told["rows"] == [pytest.approx([G, 2 * G, -G], rel=1e-6)] * 3
    assert before_ns - 10_000_000 <= told["t_node_ns"][0] < sensor.call("clocks")["node_ns"]


def test_a_timer_of_the_kernel_s_is_made_and_taken_away(sensor: Machine) -> None:
    timers = "/sys/kernel/config/iio/triggers/hrtimer/*"
    opened = sensor.call("iio_open", name="imu", device="accel_3d", trigger="hrtimer", rate_hz=25.0)
    assert sensor.call("listing", pattern=timers) == [timers.replace("*", "coeval-device0")]
    assert "(coeval-device0) by monotonic_raw" in opened["timing"]["how"]
    assert opened["timing"]["latency_s"] == pytest.approx(0.02)
    sensor.call("iio_close", name="imu")
    assert sensor.call("listing", pattern=timers) == []


def test_a_trigger_or_a_channel_that_is_not_there_is_named(sensor: Machine) -> None:
    with pytest.raises(
        GuestError, match=r"SourceUnfit: no IIO trigger 'clockwork'; there are: accel_3d-dev0"
    ):
        sensor.call("iio_open", name="imu", device="accel_3d", trigger="clockwork")
    with pytest.raises(GuestError, match=r"no channel 'gyro'; it has: accel_x, accel_y, accel_z"):
        sensor.call("iio_open", name="imu", device="accel_3d", channels=["gyro"])
    with pytest.raises(GuestError, match=r"no IIO sensor 'bmp280'; there are: accel_3d \(iio:dev"):
        sensor.call("iio_open", name="imu", device="bmp280")


def test_a_sensor_that_another_program_reads_is_busy(sensor: Machine) -> None:
    sensor.call("iio_open", name="imu", device="accel_3d")
    with pytest.raises(GuestError, match=r"SourceBusy: .*another program reads it"):
        sensor.call("iio_open", name="same", device="accel_3d")
    sensor.call("iio_close", name="imu")


def test_a_user_without_the_right_is_told_the_group_and_the_rule(sensor: Machine) -> None:
    told = sensor.call("as_nobody", what="iio_open", name="imu", device="accel_3d")
    assert told["error"] == "SourceForbidden"
    assert "usermod -aG iio" in told["says"]


def test_a_sensor_that_is_unplugged_is_lost_and_comes_back(sensor: Machine) -> None:
    sensor.call("iio_open", name="imu", device="accel_3d")
    sensor.call("hid_unplug", name="hub")
    with pytest.raises(GuestError, match="SourceLost"):
        sensor.call("iio_read", name="imu", count=1, timeout_s=5.0)
    sensor.call("iio_close", name="imu")
    plug(sensor)
    _, told, _ = read_back(sensor, [[100, 0, 0]])
    assert len(told["rows"]) == 1
