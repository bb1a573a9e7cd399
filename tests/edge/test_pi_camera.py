"""A Raspberry Pi's camera: the arithmetic on what picamera2 hands over, as its manual states it.

There is no Pi here: the library is absent, and is stood in for where it is opened.
"""

import sys
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from coeval.errors import BadConfig
from coeval.samples import Frame
from coeval_edge.kernel_clocks import KernelClock, measure_difference, read_node_clock
from coeval_edge.sources.errors import SourceAbsent, SourceBusy, SourceUnfit
from coeval_edge.sources.pi_camera import (
    PiCameraConfig,
    PiDevice,
    first_row_ns,
    open_pi_camera,
    readout_lateness,
)

MS = 1_000_000

METADATA = {
    "SensorTimestamp": 19_846_241_000,
    "ExposureTime": 9_977,
    "FrameDuration": 33_327,
    "AnalogueGain": 1.0,
    "ScalerCrop": (0, 0, 4608, 2592),
    "SensorTemperature": 31.0,
}
"""Of one picture, with the keys and units of the Picamera2 manual, appendix C."""


class Request:
    """A picture as picamera2 hands it over: grey, with rows longer than the picture."""

    def __init__(self, **changed: object) -> None:
        self.metadata = METADATA | changed

    def get_metadata(self) -> dict[str, Any]:
        return {key: value for key, value in self.metadata.items() if value is not None}

    def make_array(self, name: str) -> NDArray[np.uint8]:
        assert name == "main"
        return np.full((72, 128), 126, np.uint8)


def test_the_first_row_s_data_come_when_its_exposure_ends() -> None:
    assert first_row_ns(METADATA) == 19_846_241_000 - 4_988_500


def test_a_picture_without_a_stamp_has_none() -> None:
    assert first_row_ns({"ExposureTime": 9_977}) == 0


def test_the_middle_of_a_rolling_shutter_is_half_the_readout_later() -> None:
    """In a mode of at most 120 frames a second, rows take at most 8.3 ms to read."""
    late = readout_lateness(PiCameraConfig(), (8_333, 1_000_000, 33_333))
    assert late.latency_ns == pytest.approx(-8.333 * MS * 0.95 / 2)
    assert 0.1 * MS < late.sigma_ns < 0.3 * MS


def test_a_global_shutter_has_no_readout_and_a_stated_one_is_taken() -> None:
    assert readout_lateness(PiCameraConfig(readout_s=0.0), (8_333,)).latency_ns == 0.0
    stated = readout_lateness(PiCameraConfig(readout_s=0.02), (8_333,))
    assert stated.latency_ns == pytest.approx(-10 * MS)


def test_pictures_that_never_came_show_in_the_numbers() -> None:
    device = PiDevice()
    periods = (0, 1, 2, 5)
    for k in periods:
        device.take(Request(SensorTimestamp=METADATA["SensorTimestamp"] + k * 33_327_000))
    frames = [device.read(0.1) for _ in periods]
    assert [frame.sequence for frame in frames if frame] == list(periods)
    assert device.read(0.0) is None


def test_pictures_that_nobody_reads_are_dropped_the_oldest_first() -> None:
    device = PiDevice()
    for k in range(10):
        device.take(Request(SensorTimestamp=METADATA["SensorTimestamp"] + k * 33_327_000))
    frame = device.read(0.1)
    assert frame is not None
    assert frame.sequence == 6


class Picamera2:
    """As much of picamera2's class as is used; it says so itself."""

    cameras: ClassVar[list[dict[str, object]]] = [{"Model": "imx708", "Num": 0}]
    is_busy = False

    @classmethod
    def global_camera_info(cls) -> list[dict[str, object]]:
        return cls.cameras

    def __init__(self, number: int) -> None:
        if self.is_busy:
            raise RuntimeError("Camera __init__ sequence did not complete.")
        self.number = number
        self.camera_controls = {"FrameDurationLimits": (8_333, 1_000_000, 33_333)}
        self.pre_callback: Any = None
        self.is_open = True

    def create_video_configuration(self, **asked: Any) -> dict[str, Any]:
        return asked

    def configure(self, asked: dict[str, Any]) -> None:
        self.main = asked["main"] | {"stride": 128}

    def camera_configuration(self) -> dict[str, Any]:
        return {"main": self.main}

    def start(self) -> None:
        boottime_ns = read_node_clock() + measure_difference(KernelClock.BOOTTIME).difference_ns
        self.pre_callback(Request(SensorTimestamp=boottime_ns - 50 * MS))

    def stop(self) -> None:
        self.pre_callback = None

    def close(self) -> None:
        self.is_open = False


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> type[Picamera2]:
    class Fresh(Picamera2):
        pass

    monkeypatch.setitem(sys.modules, "picamera2", SimpleNamespace(Picamera2=Fresh))
    return Fresh


@pytest.mark.usefixtures("library")
def test_a_picture_is_at_the_middle_of_its_exposure_on_the_node_s_clock() -> None:
    before_ns = read_node_clock()
    camera = open_pi_camera(PiCameraConfig(width=64, height=48))
    (picture,) = camera.read(1.0)
    after_ns = read_node_clock()
    assert isinstance(picture, Frame)
    middle_ns = -50 * MS - 9_977_000 / 2 + 8.333 * MS * 0.95 / 2
    assert before_ns + middle_ns - MS < picture.t_node_ns < after_ns + middle_ns + MS
    assert picture.grey.shape == (48, 64)
    assert (picture.grey == 128).all()  # 126 of 16…235
    assert camera.timing.origin == "hardware"
    camera.close()


def test_a_system_without_picamera2_is_told_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "picamera2", None)
    with pytest.raises(SourceUnfit, match="sudo apt install python3-picamera2"):
        open_pi_camera(PiCameraConfig())


def test_a_camera_that_is_not_there_or_in_use_is_named(library: type[Picamera2]) -> None:
    with pytest.raises(SourceAbsent, match="camera 1: not there"):
        open_pi_camera(PiCameraConfig(camera=1))
    library.is_busy = True
    with pytest.raises(SourceBusy, match="another program"):
        open_pi_camera(PiCameraConfig())


@pytest.mark.parametrize(("key", "value"), [("camera", -1), ("readout_s", -0.1), ("width", 1)])
def test_a_wrong_value_is_refused_by_its_key(key: str, value: object) -> None:
    with pytest.raises(BadConfig, match=key):
        PiCameraConfig(**{key: value})  # type: ignore[arg-type]
