"""Cameras: what a stamp marks, how late it is, which frames are used; the kernel's own part is
tested in tests/kernel."""

import errno
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from coeval.errors import BadConfig
from coeval.samples import Frame
from coeval.time import NodeNs
from coeval_edge.kernel_clocks import KernelClock, StampConverter
from coeval_edge.live import ClockLinks, SourcesConfig
from coeval_edge.media import Greyer
from coeval_edge.sources import v4l2_abi as abi
from coeval_edge.sources.camera import CameraSource, StampRule
from coeval_edge.sources.errors import SourceSilent, SourceUnfit
from coeval_edge.sources.exposure import Lateness, StampPoint, lateness
from coeval_edge.sources.raw_picture import BrokenPicture, PictureReader, reduced_by
from coeval_edge.sources.v4l2_camera import CameraConfig, stamp_rule
from coeval_edge.sources.v4l2_device import KernelFrame, PictureFormat, StampKind, V4l2Device

MS = 1e6
PERIOD_NS = 33_333_333


# How late a stamp is


@pytest.mark.parametrize(
    ("point", "late_ms"),
    [("start_of_exposure", -13.0), ("first_data", -3.0), ("end_of_frame", 13.0)],
)
def test_a_stamp_is_moved_to_the_middle_of_the_picture_s_exposure(
    point: StampPoint, late_ms: float
) -> None:
    """Rows are exposed for 10 ms, the last one 16 ms after the first: the middle is at 13 ms."""
    late = lateness(point, period_ns=33 * MS, exposure_ns=10 * MS, readout_ns=16 * MS)
    assert late.latency_ns == pytest.approx(late_ms * MS)
    assert late.sigma_ns == pytest.approx(0.1 * MS)


def test_what_is_not_known_widens_sigma_to_what_it_may_be() -> None:
    """Checked against drawing exposure, readout and what the camera holds back at random."""
    rng = np.random.default_rng(5)
    exposure, readout, held = rng.uniform(0, 40 * MS, (3, 200_000))
    drawn = exposure + held - (exposure + readout) / 2
    late = lateness(
        "first_data", period_ns=40 * MS, exposure_ns=None, readout_ns=None, is_buffered=True
    )
    assert late.latency_ns == pytest.approx(drawn.mean(), rel=0.01)
    assert late.sigma_ns == pytest.approx(drawn.std(), rel=0.01)


def test_arrival_is_later_and_less_sure_than_any_stamp() -> None:
    known = {"period_ns": 40 * MS, "exposure_ns": 10 * MS, "readout_ns": 20 * MS}
    arrival, end = lateness("arrival", **known), lateness("end_of_frame", **known)
    assert arrival.latency_ns > end.latency_ns
    assert arrival.sigma_ns > 20 * MS > end.sigma_ns


# What a driver's stamps are


MONOTONIC_START = StampKind(is_monotonic=True, is_start_of_exposure=True)


def parameters(root: Path, **values: str) -> None:
    folder = root / "sys/module/uvcvideo/parameters"
    folder.mkdir(parents=True)
    for name, value in values.items():
        (folder / name).write_text(f"{value}\n")


def test_a_usb_camera_s_start_of_exposure_is_not_believed(tmp_path: Path) -> None:
    parameters(tmp_path, hwtimestamps="N", clock="CLOCK_MONOTONIC")
    rule = stamp_rule("uvcvideo", MONOTONIC_START, root=tmp_path)
    assert (rule.point, rule.origin, rule.clock) == ("first_data", "driver", KernelClock.MONOTONIC)
    assert rule.is_buffered


def test_a_usb_camera_s_own_stamps_are_used_where_the_driver_is_told_to(tmp_path: Path) -> None:
    parameters(tmp_path, hwtimestamps="Y", clock="CLOCK_REALTIME")
    rule = stamp_rule("uvcvideo", MONOTONIC_START, root=tmp_path)
    assert (rule.point, rule.origin) == ("start_of_exposure", "hardware")
    assert rule.clock is KernelClock.REALTIME


@pytest.mark.parametrize("is_start", [True, False])
def test_another_driver_s_flags_are_believed(is_start: bool) -> None:
    rule = stamp_rule("unicam", StampKind(is_monotonic=True, is_start_of_exposure=is_start))
    assert rule.point == ("start_of_exposure" if is_start else "end_of_frame")
    assert rule.origin == "driver"


def test_stamps_of_no_known_clock_are_not_used_and_arrival_is_named() -> None:
    rule = stamp_rule("stk1160", StampKind(is_monotonic=False, is_start_of_exposure=False))
    assert (rule.point, rule.origin) == ("arrival", "arrival")


# Which frames are used


class Camera:
    """A device that gives what a test says, and the clocks it is stamped by."""

    def __init__(self, frames: list[KernelFrame | None]) -> None:
        self.frames = frames
        self.node_ns = 10_000_000_000
        self.ahead_ns = 5_000_000_000
        """MONOTONIC over the node's clock."""

    def read(self, timeout_s: float) -> KernelFrame | None:
        self.node_ns += PERIOD_NS if self.frames[0] else round(timeout_s * 1e9)
        return self.frames.pop(0)

    def close(self) -> None:
        self.frames = []

    def grey(self, data: bytes) -> NDArray[np.uint8]:
        if data == b"broken":
            raise BrokenPicture("as the test says")
        return np.full((48, 64), data[0], np.uint8)

    def read_clock(self, clock: int) -> int:
        return self.node_ns + (self.ahead_ns if clock == KernelClock.MONOTONIC else 0)

    def clock_ns(self) -> NodeNs:
        return NodeNs(self.node_ns)


def frame(sequence: int, *, data: bytes = b"\x07", is_broken: bool = False) -> KernelFrame:
    """A frame stamped 20 ms before it is read, where all are read in order."""
    stamp_ns = 15_000_000_000 + (sequence + 1) * PERIOD_NS - 20_000_000
    return KernelFrame(sequence=sequence, stamp_ns=stamp_ns, is_broken=is_broken, data=data)


def source(
    frames: list[KernelFrame | None],
    *,
    point: StampPoint = "end_of_frame",
    every_s: float | None = None,
) -> tuple[CameraSource, Camera]:
    camera = Camera(frames)
    rule = StampRule(
        point=point, origin="driver", clock=KernelClock.MONOTONIC, is_buffered=False, how="told"
    )
    made = CameraSource(
        "the test's camera",
        camera,
        every_s=every_s,
        rule=rule,
        late=Lateness(latency_ns=3_000_000.0, sigma_ns=1.0),
        reader=camera,
        clock_ns=camera.clock_ns,
        converter=StampConverter(KernelClock.MONOTONIC, read=camera.read_clock),
    )
    return made, camera


def times(made: CameraSource, num_reads: int) -> list[int]:
    found = [sample for _ in range(num_reads) for sample in made.read(0.1)]
    assert all(isinstance(sample, Frame) for sample in found)
    return [sample.t_node_ns for sample in found if isinstance(sample, Frame)]


def test_a_picture_is_where_its_stamp_is_on_the_node_s_clock_less_the_latency() -> None:
    made, camera = source([frame(0)])
    (t_node_ns,) = times(made, 1)
    assert t_node_ns == camera.node_ns - 23_000_000


def test_a_picture_without_a_usable_stamp_is_where_it_arrived_less_the_latency() -> None:
    made, camera = source([frame(0)], point="arrival")
    (t_node_ns,) = times(made, 1)
    assert t_node_ns == camera.node_ns - 3_000_000


def test_frames_that_the_driver_dropped_are_counted_over_the_counter_s_end() -> None:
    numbers = (2**32 - 2, 1, 2, 5)
    made, _ = source([replace(frame(k), sequence=number) for k, number in enumerate(numbers)])
    times(made, 4)
    assert made.counts == {"used": 4, "dropped": 4}


def test_broken_repeated_and_misplaced_frames_are_counted_and_not_used() -> None:
    made, camera = source(
        [frame(0), frame(1, is_broken=True), frame(2, data=b"broken"), frame(3), frame(3), frame(9)]
    )
    times(made, 5)
    camera.ahead_ns -= 2_000_000_000  # as if the stamp's clock had been set back
    assert times(made, 1) == []
    camera.frames = [replace(frame(10), stamp_ns=0)]
    assert times(made, 1) == []
    assert made.counts["used"] == 2
    assert made.counts["broken"] == 2
    assert made.counts["backwards"] == 1
    assert made.counts["unplaced"] == 2


def test_stills_are_the_frames_so_far_apart() -> None:
    made, _ = source([frame(k) for k in range(31)], every_s=0.3)
    gaps_ns = np.diff(times(made, 31))
    assert len(gaps_ns) == 3
    assert (gaps_ns >= 0.3e9).all()
    assert (gaps_ns < 0.3e9 + PERIOD_NS).all()


def test_a_camera_that_gives_nothing_or_nothing_usable_is_silent() -> None:
    made, _ = source([None] * 60)
    with pytest.raises(SourceSilent, match=r"no picture to use for 5 s \(so far none\)"):
        times(made, 60)
    made, _ = source([frame(k, is_broken=True) for k in range(200)])
    with pytest.raises(SourceSilent, match=r"so far 15\d broken"):
        times(made, 200)


# Formats


SHAPES: dict[str, tuple[str, tuple[int, ...]]] = {
    "YUYV": ("yuyv422", (240, 320, 2)),
    "NV12": ("nv12", (360, 320)),
    "YU12": ("yuv420p", (360, 320)),
}


@pytest.mark.parametrize("fourcc", SHAPES)
def test_a_live_picture_is_the_one_that_a_recording_of_it_would_give(fourcc: str) -> None:
    """The way of a recording: the frame as decoded, scaled by swscale. No skew between the two."""
    name, shape = SHAPES[fourcc]
    rng = np.random.default_rng(2)
    raw = rng.integers(16, 236, shape).astype(np.uint8)
    recorded = Greyer(width=64, height=48).grey(VideoFrame.from_ndarray(raw, format=name))
    line = 640 if fourcc == "YUYV" else 320
    live = PictureReader(
        PictureFormat(fourcc=fourcc, width=320, height=240, line_bytes=line, is_full_range=False)
    ).grey(raw.tobytes())
    assert np.abs(live.astype(int) - recorded).max() <= 1


def test_rows_longer_than_the_picture_and_colours_between_are_left_out() -> None:
    raw = np.full((48, 160), 99, np.uint8)
    raw[:, 1:128:2] = np.arange(64)
    uyvy = PictureFormat(fourcc="UYVY", width=64, height=48, line_bytes=160, is_full_range=True)
    assert (PictureReader(uyvy).grey(raw.tobytes()) == np.arange(64)).all()


def jpeg(width: int, height: int) -> bytes:
    """A picture that gets brighter to the right."""
    encoder = CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuvj422p"
    encoder.time_base = 1  # type: ignore[assignment]
    ramp = np.tile((np.arange(width) * 255 // width).astype(np.uint8), (height, 1))
    picture = VideoFrame.from_ndarray(ramp, format="gray").reformat(format="yuvj422p")
    picture.pts = 0
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])


@pytest.mark.parametrize(("size", "halved"), [((1280, 720), 2), ((640, 480), 2), ((160, 120), 0)])
def test_a_coded_picture_is_decoded_at_a_part_of_its_size(
    size: tuple[int, int], halved: int
) -> None:
    width, height = size
    coded = PictureFormat(
        fourcc="MJPG", width=width, height=height, line_bytes=0, is_full_range=True
    )
    assert reduced_by(coded) == halved
    grey = PictureReader(coded).grey(jpeg(width, height))
    assert grey.shape == (48, 64)
    assert grey.mean(axis=0) == pytest.approx((np.arange(64) + 0.5) * 4 - 0.5, abs=3)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8nonsense", b"\0" * 50])
def test_what_is_no_picture_is_named_and_the_next_one_is_read(data: bytes) -> None:
    coded = PictureFormat(fourcc="MJPG", width=160, height=120, line_bytes=0, is_full_range=True)
    grey = PictureFormat(fourcc="GREY", width=64, height=48, line_bytes=64, is_full_range=True)
    reader = PictureReader(coded)
    for each in (reader, PictureReader(grey)):
        with pytest.raises(BrokenPicture, match=f"{len(data)}"):
            each.grey(data)
    assert reader.grey(jpeg(160, 120)).shape == (48, 64)


# The device: what vivid cannot do (tests/kernel does the rest)


def usb_camera(path: Path, periods: dict[str, tuple[int, int]]) -> V4l2Device:
    """A camera whose formats have frame periods of their own, as on USB."""
    state = {"format": ""}

    def ioctl(_fd: int, request: int, data: bytearray) -> int:
        if request == abi.QUERY_CAPABILITY:
            can = abi.CAP_VIDEO_CAPTURE | abi.CAP_STREAMING
            abi.CAPABILITY.pack_into(data, 0, b"uvcvideo", b"Cam", b"usb", 0, can, can)
        elif request == abi.ENUM_FORMAT:
            index = struct.unpack_from("@I", data)[0]
            if index >= len(periods):
                raise OSError(errno.EINVAL, "no more")
            number = abi.fourcc(list(periods)[index])
            abi.FORMAT_DESCRIPTION.pack_into(data, 0, index, 1, 0, b"", number)
        elif request == abi.SET_FORMAT:
            state["format"] = abi.letters(abi.FORMAT.unpack(data)[3])
        elif request == abi.SET_STREAM:
            abi.STREAM.pack_into(data, 0, 1, 0, 0, *periods[state["format"]])
        else:
            raise OSError(errno.EBUSY, "in use")
        return 0

    path.touch()
    return V4l2Device(path, ioctl=ioctl)


@pytest.mark.parametrize(
    ("periods", "taken"),
    [
        ({"MJPG": (1, 30), "YUYV": (1, 30)}, "YUYV"),
        ({"MJPG": (1, 30), "YUYV": (1, 5)}, "MJPG"),
        ({"MJPG": (1, 5), "YUYV": (1, 10)}, "YUYV"),
    ],
)
def test_the_cheapest_format_that_is_fast_enough_is_taken_else_the_fastest(
    tmp_path: Path, periods: dict[str, tuple[int, int]], taken: str
) -> None:
    device = usb_camera(tmp_path / "video0", periods)
    picture, period_ns = device.negotiate(width=640, height=480, rate_hz=30, pixel_format="")
    device.close()
    numerator, denominator = periods[taken]
    assert (picture.fourcc, period_ns) == (taken, 10**9 * numerator // denominator)


def test_a_camera_with_unknown_formats_says_which_it_has(tmp_path: Path) -> None:
    device = usb_camera(tmp_path / "video0", {"H264": (1, 30), "RG10": (1, 30)})
    with pytest.raises(SourceUnfit, match=r"expected GREY, .*, got H264, RG10"):
        device.negotiate(width=640, height=480, rate_hz=30, pixel_format="")
    device.close()


@pytest.mark.parametrize(
    ("how", "length", "exposure_ns"), [(1, 50, 5_000_000), (3, 50, None), (None, 50, 5_000_000)]
)
def test_an_exposure_that_the_camera_chooses_is_not_known(
    tmp_path: Path, how: int | None, length: int, exposure_ns: int | None
) -> None:
    controls = {abi.EXPOSURE_AUTO: how, abi.EXPOSURE_ABSOLUTE: length}
    device = usb_camera(tmp_path / "video0", {})
    ask: Callable[[int], int | None] = controls.__getitem__
    device.control = ask  # type: ignore[method-assign]
    assert device.exposure_ns() == exposure_ns
    device.close()


def test_a_camera_that_may_slow_down_in_the_dark_is_forbidden_to(tmp_path: Path) -> None:
    controls = {abi.EXPOSURE_OVER_RATE: 1}

    def ioctl(_fd: int, request: int, data: bytearray) -> int:
        if request == abi.QUERY_CAPABILITY:
            can = abi.CAP_VIDEO_CAPTURE | abi.CAP_STREAMING
            abi.CAPABILITY.pack_into(data, 0, b"uvcvideo", b"Cam", b"usb", 0, can, can)
            return 0
        number, value = abi.CONTROL.unpack(data)
        if request == abi.SET_CONTROL:
            controls[number] = value
        abi.CONTROL.pack_into(data, 0, number, controls[number])
        return 0

    (tmp_path / "video0").touch()
    device = V4l2Device(tmp_path / "video0", ioctl=ioctl)
    assert device.hold_rate()
    assert controls == {abi.EXPOSURE_OVER_RATE: 0}
    assert not device.hold_rate()
    device.close()


# Configuration


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("every_s", 0.0),
        ("width", 10),
        ("rate_hz", float("nan")),
        ("exposure_s", 2.0),
        ("modality", "audio"),
        ("pixel_format", "H264"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(key: str, value: object) -> None:
    with pytest.raises(BadConfig, match=key):
        CameraConfig(**{key: value})  # type: ignore[arg-type]


def test_a_camera_is_a_stream_of_the_node() -> None:
    config = SourcesConfig(camera={"stills": CameraConfig(modality="image")})
    found = [(name, modality) for name, modality, _ in config.openers(ClockLinks())]
    assert found == [("stills", "image")]
