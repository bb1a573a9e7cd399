"""A camera of the kernel as a stream of pictures, each at the middle of its exposure.

device → frame and stamp → node clock → less how late such a stamp is → small grey picture.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from coeval.errors import BadConfig
from coeval.samples import Frame, Sample
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.kernel_clocks import KernelClock, StampConverter, read_node_clock
from coeval_edge.sources.errors import SourceSilent
from coeval_edge.sources.exposure import Lateness, StampPoint, lateness
from coeval_edge.sources.raw_picture import BrokenPicture, PictureReader
from coeval_edge.sources.timing import Origin, Timing
from coeval_edge.sources.v4l2_device import (
    FORMATS,
    KernelFrame,
    StampKind,
    V4l2Device,
)

CameraModality = Literal["video", "image"]

SILENT_NS = 5 * NS_PER_S
"""A camera that streams and gives nothing for so long hangs; opening it anew helps as a rule."""
UVC = "uvcvideo"
UVC_PARAMETERS = Path("sys/module/uvcvideo/parameters")
LONGEST_S = 1.0
"""Of an exposure or a readout that a configuration states."""


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
    pixel_format: str = ""
    """Format asked for, as `YUYV` or `MJPG`; empty: the cheapest that is fast enough."""
    exposure_s: float | None = None
    """Length of the exposure where you know it; None: the camera is asked."""
    readout_s: float | None = None
    """Time from the first row's data to the last one's (0: global shutter); None: unknown, so
    anything up to the frame period."""

    def __post_init__(self) -> None:
        if self.modality not in ("video", "image"):
            raise BadConfig(f"modality must be video or image, got {self.modality!r}")
        if self.pixel_format not in ("", *FORMATS):
            raise BadConfig(
                f"pixel_format must be one of {', '.join(FORMATS)}, got {self.pixel_format!r}"
            )
        for key, value, lowest, highest in (
            ("every_s", self.every_s, 0.05, 3600.0),
            ("width", self.width, 64, 8192),
            ("height", self.height, 48, 8192),
            ("rate_hz", self.rate_hz, 0.5, 1000.0),
            ("exposure_s", self.exposure_s, 0.0, LONGEST_S),
            ("readout_s", self.readout_s, 0.0, LONGEST_S),
        ):
            if value is not None and not lowest <= value <= highest:
                raise BadConfig(f"{key} must lie within {lowest:g}…{highest:g}, got {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StampRule:
    """What a driver's stamps are."""

    point: StampPoint
    """What they mark; `arrival`: they are of no known clock and not used."""
    origin: Origin
    """Who takes them."""
    clock: KernelClock
    """Of which clock they are."""
    is_buffered: bool
    """Whether the camera may hold pictures back before the stamp."""
    how: str
    """In words."""


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


class CameraDevice(Protocol):
    """What is read of `V4l2Device`; tests bring their own."""

    def read(self, timeout_s: float) -> KernelFrame | None:
        """The next frame; None where none came in time."""

    def close(self) -> None:
        """Give it back."""


class ReadPicture(Protocol):
    """What is used of `PictureReader`."""

    def grey(self, data: bytes, /) -> NDArray[np.uint8]:
        """The small grey picture."""


class V4l2Camera:
    """Reads one camera."""

    def __init__(
        self,
        config: CameraConfig,
        device: CameraDevice,
        *,
        rule: StampRule,
        late: Lateness,
        reader: ReadPicture,
        clock_ns: Callable[[], NodeNs] = read_node_clock,
        converter: StampConverter | None = None,
    ) -> None:
        """Put the parts together; `open_camera` does from a configuration.

        Args:
            config: the camera's configuration.
            device: what gives the frames; closed with the source.
            rule: what its stamps are.
            late: how late they are.
            reader: turns a frame's bytes into a picture.
            clock_ns: the node's clock.
            converter: puts stamps of the rule's clock on the node's.
        """
        self.timing = Timing(
            origin=rule.origin,
            latency_ns=late.latency_ns,
            sigma_ns=late.sigma_ns,
            how=f"{rule.how}, moved to the middle of the exposure",
        )
        self.counts: Counter[str] = Counter()
        """Frames by what became of them: used, dropped (by the driver), broken, unplaced (the clock
        was stepped around them), backwards."""
        self._config, self._device, self._rule, self._reader = config, device, rule, reader
        self._clock_ns = clock_ns
        self._converter = converter or StampConverter(rule.clock)
        self._sequence: int | None = None
        self._good_ns = clock_ns()
        self._last_ns: int | None = None

    def read(self, timeout_s: float) -> list[Sample]:
        """The next picture, waiting up to `timeout_s` for it.

        Raises:
            SourceLost: the camera is gone.
            SourceSilent: it gives nothing any more.
        """
        frame = self._device.read(timeout_s)
        arrived_ns = self._clock_ns()
        if frame is None:
            self._converter.watch()
        else:
            self._count_dropped(frame)
            t_node_ns = self._place(frame, arrived_ns)
            if t_node_ns is not None and (taken := self._taken(frame, t_node_ns, arrived_ns)):
                return taken
        if arrived_ns - self._good_ns > SILENT_NS:
            raise SourceSilent(self._silence())
        return []

    def close(self) -> None:
        """Give the camera back."""
        self._device.close()

    def _count_dropped(self, frame: KernelFrame) -> None:
        if self._sequence is not None:
            self.counts["dropped"] += (frame.sequence - self._sequence - 1) % 2**32
        self._sequence = frame.sequence

    def _place(self, frame: KernelFrame, arrived_ns: NodeNs) -> int | None:
        """When a picture was, on the node's clock; None where nothing can tell."""
        if self._rule.point == "arrival":
            return arrived_ns - round(self.timing.latency_ns)
        stamp = self._converter.to_node(frame.stamp_ns)
        if stamp is None:
            self.counts["unplaced"] += 1
            return None
        return stamp.t_node_ns - round(self.timing.latency_ns)

    def _taken(self, frame: KernelFrame, t_node_ns: int, arrived_ns: NodeNs) -> list[Sample]:
        """The picture of a frame, unless it is broken, out of order, or between two stills."""
        if self._last_ns is not None:
            if t_node_ns <= self._last_ns:
                self.counts["backwards"] += 1
                return []
            is_still = self._config.modality == "image"
            if is_still and t_node_ns - self._last_ns < self._config.every_s * NS_PER_S:
                self._good_ns = arrived_ns
                return []
        try:
            if frame.is_broken:
                raise BrokenPicture("the driver says so")
            grey = self._reader.grey(frame.data)
        except BrokenPicture:
            self.counts["broken"] += 1
            return []
        self._good_ns, self._last_ns = arrived_ns, t_node_ns
        self.counts["used"] += 1
        return [Frame(t_node_ns=NodeNs(t_node_ns), grey=grey)]

    def _silence(self) -> str:
        """What there is instead of pictures."""
        instead = ", ".join(f"{num} {what}" for what, num in self.counts.items() if num)
        return (
            f"{self._config.device}: no picture to use for {SILENT_NS / NS_PER_S:g} s "
            f"(so far {instead or 'none'}); try another pixel_format or a shorter cable, or a hub "
            "with a supply of its own"
        )


def open_camera(config: CameraConfig) -> V4l2Camera:
    """Open the camera of a configuration and let it stream.

    Raises:
        SourceUnusable: one of its kinds, with what to do.
    """
    device = V4l2Device(config.device)
    try:
        picture, period_ns = device.start(
            width=config.width,
            height=config.height,
            rate_hz=config.rate_hz,
            pixel_format=config.pixel_format,
        )
        rule, late = timing_of(device, config, period_ns=period_ns)
        return V4l2Camera(config, device, rule=rule, late=late, reader=PictureReader(picture))
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
