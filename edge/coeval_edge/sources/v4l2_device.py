"""A kernel video device, `/dev/videoN`, read frame by frame with the driver's own stamps.

In: the device. Out: each frame's bytes, its number, and what its driver stamped when. OpenCV and
FFmpeg hand the picture on but neither the number nor what the stamp means, which is why the kernel
is asked itself; linuxpy, which asks too, is under the GPL.
"""

import errno
import fcntl
import mmap
import os
import select
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coeval.time import NS_PER_S
from coeval_edge.sources import v4l2_abi as abi
from coeval_edge.sources.errors import (
    SourceAbsent,
    SourceBusy,
    SourceForbidden,
    SourceLost,
    SourceUnfit,
    SourceUnusable,
    named,
)

Ioctl = Callable[[int, int, bytearray], int]
"""`fcntl.ioctl` with a buffer that the kernel writes into."""

FORMATS = ("GREY", "NV12", "YU12", "NV21", "YV12", "YUYV", "UYVY", "MJPG", "JPEG")
"""Formats that can be read, the cheapest first: brightness apart, among the colours, coded."""
NUM_BUFFERS = 4
"""Frames that the driver fills while nobody reads; it drops what comes beyond."""
NEAR_RATE = 0.9
"""A format that is slower than this share of the wanted rate is not taken if another is faster:
USB has no room for large uncompressed pictures."""

OPEN_ADVICE: dict[type[SourceUnusable], str] = {
    SourceAbsent: "plug it in; `coeval doctor` lists the cameras there are",
    SourceForbidden: "sudo usermod -aG video $USER, then log in again",
    SourceBusy: "another program is using it: sudo fuser -v on the device names it",
    SourceUnfit: "it is no camera that can be streamed from; `coeval doctor` lists those there are",
    SourceUnusable: "look at `dmesg | tail`",
}
LOST_ADVICE: dict[type[SourceUnusable], str] = {
    SourceUnusable: "it was unplugged, or its driver unbound; open it anew"
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StampKind:
    """What the driver says of its stamps."""

    is_monotonic: bool
    """Of CLOCK_MONOTONIC; else of no known clock."""
    is_start_of_exposure: bool
    """At the start of the exposure; else at the end of the frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFormat:
    """How the bytes of a picture lie."""

    fourcc: str
    """One of FORMATS."""
    width: int
    """Columns."""
    height: int
    """Rows."""
    line_bytes: int
    """Bytes from one row of brightness to the next; 0 for a coded picture."""
    is_full_range: bool
    """Whether black is 0 and white 255; else 16 and 235."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFrame:
    """One frame as the driver gave it."""

    sequence: int
    """The driver's count of frames, modulo 2³²; it counts those that it dropped."""
    stamp_ns: int
    """The driver's stamp; its clock and its meaning are the device's `stamps`."""
    is_broken: bool
    """The driver says that the data may be damaged."""
    data: bytes
    """The picture."""


class V4l2Device:
    """One open camera."""

    def __init__(self, path: Path, *, ioctl: Ioctl = fcntl.ioctl) -> None:
        """Open the device and ask what it is; nothing is changed and nothing streams.

        Raises:
            SourceUnusable: one of its kinds, with what to do.
        """
        self.path = path
        """The device's file."""
        self._ioctl = ioctl
        self._mapped: list[mmap.mmap] = []
        self._is_streaming = False
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as exc:
            raise named(exc, doing=f"open {path}", advice=OPEN_ADVICE, is_opening=True) from exc
        try:
            told = self._ask(abi.QUERY_CAPABILITY, bytearray(abi.CAPABILITY.size), "ask")
            driver, card, _, _, _, can = abi.CAPABILITY.unpack(told)
            self.driver = _text(driver)
            """The driver's name, as `uvcvideo`."""
            self.card = _text(card)
            """The camera's name."""
            if not (can & abi.CAP_VIDEO_CAPTURE and can & abi.CAP_STREAMING):
                raise SourceUnfit(
                    f"{path} ({self.card}) gives no pictures (capabilities {can:#x}); "
                    f"{OPEN_ADVICE[SourceUnfit]}"
                )
        except BaseException:
            self.close()
            raise

    def formats(self) -> list[str]:
        """Formats that it has, by their four letters, in its own order."""
        found: list[str] = []
        while True:
            described = abi.FORMAT_DESCRIPTION.pack(len(found), abi.VIDEO_CAPTURE, 0, b"", 0)
            data = bytearray(described)
            try:
                self._ioctl(self._fd, abi.ENUM_FORMAT, data)
            except OSError as exc:
                if exc.errno == errno.EINVAL:  # there are no more
                    return found
                raise named(exc, doing=f"ask {self.path}", advice=OPEN_ADVICE) from exc
            found.append(abi.letters(abi.FORMAT_DESCRIPTION.unpack(data)[4]))

    def stamps(self) -> StampKind:
        """What its stamps are; has a buffer made and given back, unless it streams.

        Raises:
            SourceBusy: another program streams from it.
        """
        if not self._is_streaming:
            self._ask_buffers(1)
        try:
            flags = abi.BUFFER.unpack(self._buffer(abi.QUERY_BUFFER, 0))[3]
        finally:
            if not self._is_streaming:
                self._ask_buffers(0)
        return StampKind(
            is_monotonic=flags & abi.STAMP_MASK == abi.STAMP_MONOTONIC,
            is_start_of_exposure=flags & abi.POINT_MASK == abi.POINT_START_OF_EXPOSURE,
        )

    def exposure_ns(self) -> int | None:
        """Length of the exposure; None where it is not known, or chosen anew by the camera."""
        how, length = self.control(abi.EXPOSURE_AUTO), self.control(abi.EXPOSURE_ABSOLUTE)
        is_fixed = how is None or how in abi.EXPOSURE_IS_SET_BY_HAND
        return length * 100_000 if length and is_fixed else None

    def control(self, number: int) -> int | None:
        """Value of a control; None where the camera has none of that number."""
        data = bytearray(abi.CONTROL.pack(number, 0))
        try:
            self._ioctl(self._fd, abi.GET_CONTROL, data)
        except OSError:
            return None
        return int(abi.CONTROL.unpack(data)[1])

    def hold_rate(self) -> bool:
        """Forbid the camera to give fewer frames in the dark; whether it had to be told."""
        if not self.control(abi.EXPOSURE_OVER_RATE):
            return False
        data = bytearray(abi.CONTROL.pack(abi.EXPOSURE_OVER_RATE, 0))
        self._ask(abi.SET_CONTROL, data, "hold the rate of", is_opening=True)
        return True

    def negotiate(
        self, *, width: int, height: int, rate_hz: float, pixel_format: str
    ) -> tuple[PictureFormat, int]:
        """Agree on a format, a size and a rate; what it came to, and the frame period in ns.

        Args:
            width: wanted; the camera takes the nearest it has.
            height: wanted.
            rate_hz: wanted frames a second.
            pixel_format: one of FORMATS; empty: the first that is fast enough.

        Raises:
            SourceBusy: another program streams from it.
            SourceUnfit: it has no format that can be read.
        """
        has = self.formats()
        fit = [each for each in FORMATS if each in has and pixel_format in ("", each)]
        if not fit:
            raise SourceUnfit(
                f"{self.path} ({self.card}) has no format that can be read: expected "
                f"{pixel_format or ', '.join(FORMATS)}, got {', '.join(has) or 'none'}"
            )
        periods_ns: dict[str, int] = {}
        for each in fit:
            picture, period_ns = self._set(each, width, height, rate_hz)
            if period_ns * NEAR_RATE * rate_hz <= NS_PER_S:
                return picture, period_ns
            periods_ns[each] = period_ns
        fastest = min(periods_ns, key=lambda each: periods_ns[each])
        return self._set(fastest, width, height, rate_hz)

    def start(
        self, *, width: int, height: int, rate_hz: float, pixel_format: str = ""
    ) -> tuple[PictureFormat, int]:
        """Begin to stream, as `negotiate` agrees with the camera.

        Raises:
            SourceBusy: another program streams from it.
            SourceUnfit: it has no format that can be read.
        """
        picture, period_ns = self.negotiate(
            width=width, height=height, rate_hz=rate_hz, pixel_format=pixel_format
        )
        for index in range(self._ask_buffers(NUM_BUFFERS)):
            fields = abi.BUFFER.unpack(self._buffer(abi.QUERY_BUFFER, index))
            offset, length = fields[9], fields[10]
            self._mapped.append(mmap.mmap(self._fd, length, offset=offset))
            self._buffer(abi.QUEUE_BUFFER, index)
        self._ask(
            abi.STREAM_ON, bytearray(abi.INTEGER.pack(abi.VIDEO_CAPTURE)), "start", is_opening=True
        )
        self._is_streaming = True
        return picture, period_ns

    def read(self, timeout_s: float) -> KernelFrame | None:
        """The next frame; None where none came in time.

        Raises:
            SourceLost: the camera is gone; it never comes back under this opening.
        """
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            return None
        try:
            fields = abi.BUFFER.unpack(self._buffer(abi.TAKE_BUFFER, 0))
        except BlockingIOError:  # it woke us for another reason: an error of the whole queue
            raise SourceLost(
                f"{self.path} streams no more; {LOST_ADVICE[SourceUnusable]}"
            ) from None
        index, _, num_bytes, flags, _, seconds, micros, sequence = fields[:8]
        frame = KernelFrame(
            sequence=sequence,
            stamp_ns=seconds * NS_PER_S + micros * 1000,
            is_broken=bool(flags & abi.BROKEN),
            data=self._mapped[index][:num_bytes],
        )
        self._buffer(abi.QUEUE_BUFFER, index)
        return frame

    def close(self) -> None:
        """Stop and give the device back; a second time does nothing."""
        for mapped in self._mapped:
            mapped.close()
        self._mapped = []
        if self._fd >= 0:
            os.close(self._fd)  # which also stops the stream and frees the buffers
            self._fd = -1

    def _set(
        self, pixel_format: str, width: int, height: int, rate_hz: float
    ) -> tuple[PictureFormat, int]:
        """Ask for a format, a size and a rate; what the camera made of it."""
        wanted = abi.FORMAT.pack(
            *(abi.VIDEO_CAPTURE, width, height, abi.fourcc(pixel_format), abi.FIELD_NONE),
            *(0,) * 8,
        )
        told = abi.FORMAT.unpack(
            self._ask(abi.SET_FORMAT, bytearray(wanted), "set the format of", is_opening=True)
        )
        _, width, height, number, _, line_bytes, _, colours, _, _, _, levels, _ = told
        got = abi.letters(number)
        if got != pixel_format:
            raise SourceUnfit(f"{self.path}: asked for {pixel_format}, the camera gives {got}")
        is_coded = pixel_format in ("MJPG", "JPEG")
        picture = PictureFormat(
            fourcc=pixel_format,
            width=width,
            height=height,
            line_bytes=0 if is_coded else line_bytes,
            # The kernel's rule (V4L2_MAP_QUANTIZATION_DEFAULT), but for cameras that give
            # brightness alone: they use all values.
            is_full_range=levels == abi.FULL_RANGE
            or (levels != abi.LIMITED_RANGE and (colours == abi.COLOURS_JPEG or got == "GREY")),
        )
        return picture, self._set_rate(rate_hz)

    def _set_rate(self, rate_hz: float) -> int:
        """Ask for a frame rate; the frame period that came of it, in ns."""
        data = bytearray(abi.STREAM.pack(abi.VIDEO_CAPTURE, 0, 0, 1000, round(rate_hz * 1000)))
        try:
            self._ioctl(self._fd, abi.SET_STREAM, data)
        except OSError as exc:
            if exc.errno not in (errno.ENOTTY, errno.EINVAL):
                raise named(exc, doing=f"set the rate of {self.path}", advice=OPEN_ADVICE) from exc
            return round(NS_PER_S / rate_hz)  # the camera has a rate of its own, unknown here
        _, _, _, numerator, denominator = abi.STREAM.unpack(data)
        if not numerator or not denominator:
            return round(NS_PER_S / rate_hz)
        return int(NS_PER_S * numerator // denominator)

    def _ask_buffers(self, count: int) -> int:
        wanted = abi.REQUEST_BUFFERS.pack(count, abi.VIDEO_CAPTURE, abi.MEMORY_MMAP, 0, 0)
        told = self._ask(abi.ASK_BUFFERS, bytearray(wanted), "use", is_opening=True)
        return int(abi.REQUEST_BUFFERS.unpack(told)[0])

    def _buffer(self, request: int, index: int) -> bytearray:
        """Do something with a buffer; BlockingIOError where there is none to take."""
        data = bytearray(
            abi.BUFFER.pack(index, abi.VIDEO_CAPTURE, 0, 0, 0, 0, 0, 0, abi.MEMORY_MMAP, 0, 0, 0, 0)
        )
        try:
            self._ioctl(self._fd, request, data)
        except BlockingIOError:
            raise
        except OSError as exc:
            raise named(exc, doing=f"read {self.path}", advice=LOST_ADVICE) from exc
        return data

    def _ask(
        self, request: int, data: bytearray, doing: str, *, is_opening: bool = False
    ) -> bytearray:
        try:
            self._ioctl(self._fd, request, data)
        except OSError as exc:
            raise named(
                exc, doing=f"{doing} {self.path}", advice=OPEN_ADVICE, is_opening=is_opening
            ) from exc
        return data


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "replace")
