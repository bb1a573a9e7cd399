"""A camera of the kernel (V4L2): USB cameras and most others; what their stamps mark."""

import logging
from dataclasses import dataclass
from pathlib import Path

from coeval.errors import BadConfig
from coeval.time import NS_PER_S
from coeval_edge.kernel_clocks import KernelClock
from coeval_edge.sources.camera import CameraModality, CameraSource, StampRule, check_wanted
from coeval_edge.sources.exposure import Lateness, StampPoint, lateness
from coeval_edge.sources.raw_picture import PictureReader
from coeval_edge.sources.v4l2_device import FORMATS, StampKind, V4l2Device

logger = logging.getLogger(__name__)

UVC = "uvcvideo"
UVC_PARAMETERS = Path("sys/module/uvcvideo/parameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraConfig:
    """A camera of the kernel (V4L2): USB cameras and most others."""

    device: Path = Path("/dev/video0")
    """The camera's device; one of /dev/v4l/by-id stays the same camera."""
    modality: CameraModality = "video"
    """`video`: every frame; `image`: a still every `every_s`."""
    every_s: float = 1.0
    """Time between stills."""
    width: int = 320
    """Columns asked for; the camera takes the nearest it has. The features need 64."""
    height: int = 240
    """Rows asked for; the features need 48."""
    rate_hz: float = 30.0
    """Frames a second asked for."""
    hold_rate: bool = True
    """Whether to forbid the camera to expose for longer than a frame period in the dark (by its
    control `exposure_dynamic_framerate`), which would make its times unknown by as much."""
    pixel_format: str = ""
    """Format asked for, as `YUYV` or `MJPG`; empty: the cheapest that is fast enough."""
    exposure_s: float | None = None
    """Length of the exposure where you know it; None: the camera is asked."""
    readout_s: float | None = None
    """Time from the first row's data to the last one's (0: global shutter); None: unknown, so
    anything up to the frame period."""

    def __post_init__(self) -> None:
        check_wanted(
            self.modality,
            every_s=self.every_s,
            width=self.width,
            height=self.height,
            rate_hz=self.rate_hz,
            exposure_s=self.exposure_s,
            readout_s=self.readout_s,
        )
        if self.pixel_format not in ("", *FORMATS):
            raise BadConfig(
                f"pixel_format must be one of {', '.join(FORMATS)}, got {self.pixel_format!r}"
            )


def stamp_rule(driver: str, stamps: StampKind, *, root: Path = Path("/")) -> StampRule:
    """What the stamps of a driver are.

    The flags tell, but for USB cameras: uvcvideo says `start of exposure` and stamps when the
    first packet of a frame arrives (drivers/media/usb/uvc/uvc_video.c, uvc_video_decode_start),
    unless its parameter `hwtimestamps` has it use the camera's own (UVC 1.5, 2.4.3.3: when
    capture begins).

    Args:
        driver: its name.
        stamps: what it says of its stamps.
        root: where its /sys is.
    """
    if not stamps.is_monotonic:
        return StampRule(
            point="arrival",
            origin="arrival",
            clock=KernelClock.RAW,
            is_buffered=driver == UVC,
            how="when the picture was read: the driver's stamps are of no known clock",
        )
    if driver == UVC:
        is_own = _parameter(root, "hwtimestamps") in ("Y", "1")
        is_realtime = _parameter(root, "clock").endswith("REALTIME")
        return StampRule(
            point="start_of_exposure" if is_own else "first_data",
            origin="hardware" if is_own else "driver",
            clock=KernelClock.REALTIME if is_realtime else KernelClock.MONOTONIC,
            is_buffered=not is_own,
            how="the camera's own stamp, by uvcvideo's hwtimestamps"
            if is_own
            else "uvcvideo's stamp of a frame's first packet",
        )
    point: StampPoint = "start_of_exposure" if stamps.is_start_of_exposure else "end_of_frame"
    return StampRule(
        point=point,
        origin="driver",
        clock=KernelClock.MONOTONIC,
        is_buffered=False,
        how=f"{driver}'s stamp of the {point.replace('_', ' ')}",
    )


def _parameter(root: Path, name: str) -> str:
    try:
        return (root / UVC_PARAMETERS / name).read_text().strip()
    except OSError:
        return ""


def open_camera(config: CameraConfig) -> CameraSource:
    """Open the camera of a configuration and let it stream.

    Raises:
        SourceUnusable: one of its kinds, with what to do.
    """
    device = V4l2Device(config.device)
    try:
        if config.hold_rate and device.hold_rate():
            logger.info("camera rate held device=%s", config.device)
        picture, period_ns = device.start(
            width=config.width,
            height=config.height,
            rate_hz=config.rate_hz,
            pixel_format=config.pixel_format,
        )
        rule, late = timing_of(device, config, period_ns=period_ns)
        return CameraSource(
            str(config.device),
            device,
            every_s=config.every_s if config.modality == "image" else None,
            rule=rule,
            late=late,
            reader=PictureReader(picture),
        )
    except BaseException:
        device.close()
        raise


def timing_of(
    device: V4l2Device, config: CameraConfig, *, period_ns: int
) -> tuple[StampRule, Lateness]:
    """What the camera's stamps are, and how late."""
    rule = stamp_rule(device.driver, device.stamps())
    stated, readout_s = config.exposure_s, config.readout_s
    exposure_ns = device.exposure_ns() if stated is None else stated * NS_PER_S
    late = lateness(
        rule.point,
        period_ns=period_ns,
        exposure_ns=exposure_ns,
        readout_ns=None if readout_s is None else readout_s * NS_PER_S,
        is_buffered=rule.is_buffered,
    )
    return rule, late
