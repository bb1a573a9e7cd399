"""The node's camera code on the kernel's video interface: `vivid`, Debian's virtual camera.

Its pictures, numbers and stamps are the kernel's own; when they are due it says itself, so evenness
is tested here, accuracy is not. The emulated machine is slow: 10 frames a second are asked for.
"""

import base64
import itertools

import numpy as np
import pytest

from coeval_edge.sources.raw_picture import PictureReader
from coeval_edge.sources.v4l2_device import PictureFormat

from .machine import GuestError, Machine, on_a_calm_machine

pytestmark = pytest.mark.kernel

CAMERA = "/dev/video0"
PERIOD_NS = 100_000_000
DRIVER = "/sys/bus/platform/drivers/vivid"


@pytest.fixture(autouse=True)
def start_of_exposure(machine: Machine) -> None:
    """At the end of a frame vivid stamps ahead of time, which no camera does."""
    machine.call("set_control", path=CAMERA, control="Timestamp Source", value=1)
    machine.call("set_control", path=CAMERA, control="Percentage of Dropped Buffers", value=0)


@on_a_calm_machine
def test_stamps_are_the_driver_s_on_the_node_s_clock_a_frame_period_apart(machine: Machine) -> None:
    opened = machine.call("camera_open", name="cam", rate_hz=10, exposure_s=0.01, readout_s=0.02)
    assert (opened["driver"], opened["period_ns"]) == ("vivid", PERIOD_NS)
    assert opened["timing"]["origin"] == "driver"
    assert opened["timing"]["latency_s"] == pytest.approx(-0.015)
    before_ns = machine.call("clocks")["node_ns"]
    told = machine.call("camera_read", name="cam", count=15)
    machine.call("camera_close", name="cam")
    frames = told["frames"]
    times = [frame["t_node_ns"] for frame in frames]
    # A slow machine drops frames and is late with others: the numbers say how many, and on the
    # whole they come at the rate that was agreed on.
    num_periods = len(times) - 1 + told["counts"]["dropped"]
    assert (times[-1] - times[0]) / num_periods == pytest.approx(PERIOD_NS, rel=0.1)
    assert all(b > a for a, b in itertools.pairwise(times))
    for frame in frames:
        assert before_ns - 4 * PERIOD_NS < frame["t_node_ns"]
        assert frame["t_node_ns"] - 15_000_000 <= frame["read_node_ns"]


@pytest.mark.parametrize(("soe", "point"), [(1, "start_of_exposure"), (0, "end_of_frame")])
def test_what_a_stamp_marks_is_read_from_the_driver(machine: Machine, soe: int, point: str) -> None:
    machine.call("set_control", path=CAMERA, control="Timestamp Source", value=soe)
    opened = machine.call("camera_open", name="cam")
    machine.call("camera_close", name="cam")
    assert opened["point"] == point
    assert (opened["timing"]["latency_s"] < 0) == bool(soe)


@on_a_calm_machine
def test_stamps_ahead_of_time_are_counted_and_not_used(machine: Machine) -> None:
    machine.call("set_control", path=CAMERA, control="Timestamp Source", value=0)
    machine.call("camera_open", name="cam", rate_hz=2)
    counts = machine.call("camera_read", name="cam", count=2, timeout_s=3)["counts"]
    machine.call("camera_close", name="cam")
    assert counts["unplaced"] >= 1


@pytest.mark.parametrize(
    ("asked", "got", "line_bytes"),
    [("", "GREY", 320), ("GREY", "GREY", 320), ("YUYV", "YUYV", 640), ("NV12", "NV12", 320)],
)
@on_a_calm_machine
def test_formats_are_agreed_on_and_brightness_is_found_in_them(
    machine: Machine, asked: str, got: str, line_bytes: int
) -> None:
    opened = machine.call("camera_open", name="cam", pixel_format=asked, rate_hz=10)
    told = machine.call("camera_frame", name="cam")
    machine.call("camera_close", name="cam")
    width, height, line = opened["size"]
    assert (opened["fourcc"], line) == (got, line_bytes)
    # vivid shows bars of colour that get darker from left to right
    bars = np.reshape(told["columns"], (8, -1)).mean(axis=1)
    assert bars[0] > bars[4] > bars[7]
    # and the same bytes through the node's scaling, which is not in the guest
    picture = PictureFormat(
        fourcc=got,
        width=width,
        height=height,
        line_bytes=line,
        is_full_range=opened["is_full_range"],
    )
    small = PictureReader(picture).grey(base64.b64decode(told["data"]))
    assert small.shape == (48, 64)
    scaled = small.mean(axis=0).reshape(8, -1).mean(axis=1)
    if not opened["is_full_range"]:
        bars = (bars - 16) * 255 / 219
    assert scaled == pytest.approx(bars, abs=2)


@on_a_calm_machine
def test_frames_that_the_driver_drops_are_counted(machine: Machine) -> None:
    drop = {"path": CAMERA, "control": "Percentage of Dropped Buffers"}
    machine.call("set_control", **drop, value=50)
    machine.call("camera_open", name="cam", rate_hz=10)
    # each of the 39 that follow has none before it by a chance of 1 in 2: fewer than 3 in all, 2e-9
    counts = machine.call("camera_read", name="cam", count=40)["counts"]
    machine.call("camera_close", name="cam")
    assert counts["used"] == 40
    assert counts["dropped"] >= 3


@on_a_calm_machine
def test_stills_are_taken_as_far_apart_as_wanted(machine: Machine) -> None:
    machine.call("camera_open", name="cam", rate_hz=10, modality="image", every_s=0.5)
    frames = machine.call("camera_read", name="cam", count=4)["frames"]
    machine.call("camera_close", name="cam")
    times = [frame["t_node_ns"] for frame in frames]
    gaps_ns = [b - a for a, b in itertools.pairwise(times)]
    assert all(gap_ns >= 500_000_000 for gap_ns in gaps_ns)
    assert min(gaps_ns) < 900_000_000


def test_the_doctor_says_what_the_stamps_are_and_leaves_the_camera_as_it_was(
    machine: Machine,
) -> None:
    machine.call("camera_open", name="cam", rate_hz=10)
    found = {each["topic"]: each for each in machine.call("doctor")}
    assert "fuser" in found["camera"]["advice"]
    machine.call("camera_read", name="cam", count=2)
    machine.call("camera_close", name="cam")
    found = {each["topic"]: each for each in machine.call("doctor")}
    assert found["camera"]["found"].startswith("/dev/video0 (vivid")
    assert "vivid's stamp of the start of exposure" in found["camera"]["accuracy"]
    assert found["microphone"]["state"] == "good"
    assert "plughw:CARD=Loopback" in found["microphone"]["advice"]


def test_a_camera_in_use_is_busy(machine: Machine) -> None:
    machine.call("camera_open", name="cam", rate_hz=10)
    with pytest.raises(GuestError, match=r"SourceBusy: .*/dev/video0.*fuser"):
        machine.call("camera_open", name="other")
    machine.call("camera_close", name="cam")
    machine.call("camera_open", name="other", rate_hz=10)
    machine.call("camera_close", name="other")


def test_a_camera_that_is_refused_or_absent_or_none_is_named(machine: Machine) -> None:
    told = machine.call("as_nobody", what="camera_open", name="cam")
    assert told["error"] == "SourceForbidden"
    assert "usermod -aG video" in told["says"]
    with pytest.raises(GuestError, match=r"SourceAbsent: .*coeval doctor"):
        machine.call("camera_open", name="cam", path="/dev/video9")
    with pytest.raises(GuestError, match=r"SourceUnfit: .*it is no camera"):
        machine.call("camera_open", name="cam", path="/dev/gpiochip0")
    with pytest.raises(GuestError, match=r"SourceUnfit: .*expected MJPG, got YUYV"):
        machine.call("camera_open", name="cam", pixel_format="MJPG")


def test_a_camera_that_is_unplugged_is_lost_and_comes_back_anew(machine: Machine) -> None:
    machine.call("camera_open", name="cam", rate_hz=10)
    machine.call("camera_read", name="cam", count=2)
    machine.call("write", path=f"{DRIVER}/unbind", text="vivid.0")
    with pytest.raises(GuestError, match=r"SourceLost: .*/dev/video0.*open it anew"):
        machine.call("camera_read", name="cam", count=10)
    machine.call("camera_close", name="cam")
    with pytest.raises(GuestError, match="SourceAbsent"):
        machine.call("camera_open", name="cam")
    machine.call("write", path=f"{DRIVER}/bind", text="vivid.0")
    machine.call("set_control", path=CAMERA, control="Timestamp Source", value=1)
    machine.call("camera_open", name="cam", rate_hz=10)
    assert len(machine.call("camera_read", name="cam", count=2)["frames"]) == 2
    machine.call("camera_close", name="cam")
