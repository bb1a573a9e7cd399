"""A Raspberry Pi's own camera, through picamera2: every picture at the middle of its exposure.

Written from the documentation and the sources of picamera2 0.3 and libcamera, and tested on what
they hand over; never run on a Pi. `SensorTimestamp` is when the first row's data begin to arrive,
which is when that row's exposure ends: libcamera's documentation says "the time when the first row
of the image sensor active array is exposed", and those who wrote the driver say the rest
(raspberrypi/picamera2 issue 821). The exposure is each picture's own, since the camera changes it.
"""

import math
import queue
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from coeval.errors import BadConfig
from coeval.time import NS_PER_S
from coeval_edge.kernel_clocks import KernelClock
from coeval_edge.sources.camera import CameraModality, CameraSource, StampRule, check_wanted
from coeval_edge.sources.errors import SourceAbsent, SourceBusy, SourceUnfit
from coeval_edge.sources.exposure import INTERRUPT_SIGMA_NS, Lateness
from coeval_edge.sources.raw_picture import PictureReader
from coeval_edge.sources.v4l2_device import KernelFrame, PictureFormat

QUEUE_LENGTH = 4
"""Pictures kept while nobody reads; the oldest is dropped then, which the numbers show."""
BLANKING = 0.05
"""Share of the shortest frame period that is no readout, standard deviation."""
INSTALL = (
    "Raspberry Pi cameras need picamera2: sudo apt install python3-picamera2, and a virtual "
    "environment made with --system-site-packages"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PiCameraConfig:
    """A camera on a Raspberry Pi's own connector."""

    camera: int = 0
    """Its number, as `rpicam-hello --list-cameras` says."""
    modality: CameraModality = "video"
    """`video`: every frame; `image`: a still every `every_s`."""
    every_s: float = 1.0
    """Time between stills."""
    width: int = 320
    """Columns; the features need 64."""
    height: int = 240
    """Rows; the features need 48."""
    rate_hz: float = 30.0
    """Frames a second."""
    readout_s: float | None = None
    """Time from the first row's data to the last one's (0: global shutter); None: the shortest
    frame period that the sensor's mode allows."""

    def __post_init__(self) -> None:
        check_wanted(
            self.modality,
            every_s=self.every_s,
            width=self.width,
            height=self.height,
            rate_hz=self.rate_hz,
            readout_s=self.readout_s,
        )
        if not 0 <= self.camera <= 15:
            raise BadConfig(f"camera must be 0…15, got {self.camera}")


class Request(Protocol):
    """What is used of picamera2's `CompletedRequest`."""

    def get_metadata(self) -> Mapping[str, Any]:
        """What libcamera says of the picture."""

    def make_array(self, name: str, /) -> NDArray[np.uint8]:
        """A copy of a stream's picture."""


class PiDevice:
    """Takes pictures from picamera2's thread and hands them on."""

    def __init__(self, camera: Any = None) -> None:
        """Begin with nothing.

        Args:
            camera: the `Picamera2` to close at the end.
        """
        self._camera = camera
        self._frames: queue.Queue[KernelFrame] = queue.Queue(QUEUE_LENGTH)
        self._last: tuple[int, int] | None = None
        """Number and SensorTimestamp of the last picture."""

    def take(self, request: Request) -> None:
        """Keep a picture; called by picamera2 with every one of them."""
        told = request.get_metadata()
        frame = KernelFrame(
            sequence=self._number(told),
            stamp_ns=first_row_ns(told),
            is_broken=False,
            data=request.make_array("main").tobytes(),
        )
        while True:
            try:
                self._frames.put_nowait(frame)
            except queue.Full:
                self._drop_oldest()
                continue
            return

    def read(self, timeout_s: float) -> KernelFrame | None:
        """The next picture, its stamp at the middle of the first row's exposure."""
        try:
            return self._frames.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Give the camera back."""
        if self._camera is not None:
            self._camera.stop()
            self._camera.close()
            self._camera = None

    def _drop_oldest(self) -> None:
        try:
            self._frames.get_nowait()
        except queue.Empty:
            return

    def _number(self, told: Mapping[str, Any]) -> int:
        """Number of a picture: libcamera counts none, so by the frame periods that passed."""
        stamp_ns = int(told.get("SensorTimestamp", 0))
        number = 0
        if self._last is not None:
            period_ns = int(told.get("FrameDuration", 0)) * 1000
            passed_ns = stamp_ns - self._last[1]
            passed = round(passed_ns / period_ns) if period_ns > 0 else 1
            number = self._last[0] + max(passed, 1)
        self._last = number, stamp_ns
        return number


def first_row_ns(told: Mapping[str, Any]) -> int:
    """Middle of the first row's exposure on CLOCK_BOOTTIME; 0, which no clock shows, where
    libcamera stamped nothing.

    Args:
        told: a picture's metadata; SensorTimestamp in ns, ExposureTime in µs.
    """
    if "SensorTimestamp" not in told:
        return 0
    return int(told["SensorTimestamp"]) - int(told.get("ExposureTime", 0)) * 1000 // 2


def readout_lateness(config: PiCameraConfig, limits_us: tuple[float, ...]) -> Lateness:
    """How late the first row is against the picture's middle: it is half the readout early.

    Args:
        config: the camera's configuration.
        limits_us: `FrameDurationLimits` of the camera's mode, the shortest first.
    """
    if config.readout_s is not None:
        readout_ns, sigma_ns = config.readout_s * NS_PER_S, 0.0
    else:
        readout_ns = limits_us[0] * 1000.0 * (1 - BLANKING)
        sigma_ns = limits_us[0] * 1000.0 * BLANKING / 2
    return Lateness(latency_ns=-readout_ns / 2, sigma_ns=math.hypot(sigma_ns, INTERRUPT_SIGMA_NS))


def open_pi_camera(config: PiCameraConfig) -> CameraSource:
    """Open the camera of a configuration and let it run.

    Raises:
        SourceUnusable: one of its kinds, with what to do.
    """
    try:
        from picamera2 import Picamera2
    except ImportError as exc:
        raise SourceUnfit(INSTALL) from exc
    where = f"camera {config.camera}"
    if config.camera >= len(Picamera2.global_camera_info()):
        raise SourceAbsent(
            f"{where}: not there; `rpicam-hello --list-cameras` lists those there are: look at "
            "the ribbon cable and its two ends"
        )
    period_us = round(1e6 / config.rate_hz)
    try:
        camera = Picamera2(config.camera)
        camera.configure(
            camera.create_video_configuration(
                main={"size": (config.width, config.height), "format": "YUV420"},
                controls={"FrameDurationLimits": (period_us, period_us)},
            )
        )
    except RuntimeError as exc:
        raise SourceBusy(f"{where}: cannot be used ({exc}); is another program using it?") from exc
    device = PiDevice(camera)
    main = camera.camera_configuration()["main"]
    picture = PictureFormat(
        fourcc="YU12",
        width=main["size"][0],
        height=main["size"][1],
        line_bytes=main["stride"],
        is_full_range=False,
    )
    rule = StampRule(
        point="first_data",
        origin="hardware",
        clock=KernelClock.BOOTTIME,
        is_buffered=False,
        how="libcamera's SensorTimestamp, less half of each picture's own exposure",
    )
    camera.pre_callback = device.take
    camera.start()
    return CameraSource(
        where,
        device,
        every_s=config.every_s if config.modality == "image" else None,
        rule=rule,
        late=readout_lateness(config, camera.camera_controls["FrameDurationLimits"]),
        reader=PictureReader(picture),
    )
