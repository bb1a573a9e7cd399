"""A camera of any kind as a stream of pictures, each at the middle of its exposure.

frame and stamp → node clock → less how late such a stamp is → small grey picture.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from coeval.errors import BadConfig
from coeval.samples import Frame, Sample
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.kernel_clocks import KernelClock, StampConverter, read_node_clock
from coeval_edge.sources.errors import SourceSilent
from coeval_edge.sources.exposure import Lateness, StampPoint
from coeval_edge.sources.raw_picture import BrokenPicture
from coeval_edge.sources.timing import Origin, Timing
from coeval_edge.sources.v4l2_device import KernelFrame

CameraModality = Literal["video", "image"]

SILENT_NS = 5 * NS_PER_S
"""A camera that streams and gives nothing for so long hangs; opening it anew helps as a rule."""
RECENT_NS = 5 * NS_PER_S
"""A stamp older than this is none: drivers give 0 where they have nothing to tell."""
LONGEST_S = 1.0
"""Of an exposure or a readout that a configuration states."""


def check_wanted(
    modality: str,
    *,
    every_s: float,
    width: int,
    height: int,
    rate_hz: float,
    **lengths_s: float | None,
) -> None:
    """Check what a configuration wants of a camera.

    Args:
        modality: `video` or `image`.
        every_s: time between stills.
        width: columns.
        height: rows.
        rate_hz: frames a second.
        lengths_s: exposure or readout by their keys; None: not stated.

    Raises:
        BadConfig: a value out of range, by its key.
    """
    if modality not in ("video", "image"):
        raise BadConfig(f"modality must be video or image, got {modality!r}")
    ranges: list[tuple[str, float | None, float, float]] = [
        ("every_s", every_s, 0.05, 3600.0),
        ("width", width, 64, 8192),
        ("height", height, 48, 8192),
        ("rate_hz", rate_hz, 0.5, 1000.0),
        *((key, value, 0.0, LONGEST_S) for key, value in lengths_s.items()),
    ]
    for key, value, lowest, highest in ranges:
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


class CameraDevice(Protocol):
    """Something that gives frames: a V4L2 device, a Pi's camera, a test."""

    def read(self, timeout_s: float) -> KernelFrame | None:
        """The next frame; None where none came in time."""

    def close(self) -> None:
        """Give it back."""


class ReadPicture(Protocol):
    """What is used of `PictureReader`."""

    def grey(self, data: bytes, /) -> NDArray[np.uint8]:
        """The small grey picture."""


class CameraSource:
    """Reads one camera of any kind."""

    def __init__(
        self,
        where: str,
        device: CameraDevice,
        *,
        every_s: float | None,
        rule: StampRule,
        late: Lateness,
        reader: ReadPicture,
        clock_ns: Callable[[], NodeNs] = read_node_clock,
        converter: StampConverter | None = None,
    ) -> None:
        """Put the parts together, as the openers of the kinds of cameras do.

        Args:
            where: the camera, for messages.
            device: what gives the frames; closed with the source.
            every_s: time between stills; None: every frame is wanted.
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
        """Frames by what became of them: used, dropped (by the driver), broken, unplaced (by a
        stamp of the future or of long ago), backwards."""
        self._where, self._device, self._rule, self._reader = where, device, rule, reader
        self._every_ns = 0.0 if every_s is None else every_s * NS_PER_S
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
        """When a picture was, on the node's clock; None where its stamp cannot be right."""
        if self._rule.point == "arrival":
            return arrived_ns - round(self.timing.latency_ns)
        stamp = self._converter.to_node(frame.stamp_ns)
        if stamp is None or arrived_ns - stamp.t_node_ns > RECENT_NS:
            self.counts["unplaced"] += 1
            return None
        return stamp.t_node_ns - round(self.timing.latency_ns)

    def _taken(self, frame: KernelFrame, t_node_ns: int, arrived_ns: NodeNs) -> list[Sample]:
        """The picture of a frame, unless it is broken, out of order, or between two stills."""
        if self._last_ns is not None:
            if t_node_ns <= self._last_ns:
                self.counts["backwards"] += 1
                return []
            if t_node_ns - self._last_ns < self._every_ns:
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
            f"{self._where}: no picture to use for {SILENT_NS / NS_PER_S:g} s "
            f"(so far {instead or 'none'}); try another pixel_format or a shorter cable, or a hub "
            "with a supply of its own"
        )
