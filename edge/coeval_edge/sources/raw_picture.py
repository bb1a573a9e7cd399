"""A camera's bytes as the small grey picture that the features take.

Scaled by the very code that scales a recording's frames (`coeval_edge.media.Greyer`), so that what
the encoders were trained on is what they see. PyAV is imported when a camera is opened, not before.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from coeval.features.picture import FRAME_HEIGHT, FRAME_WIDTH
from coeval_edge.sources.v4l2_device import PictureFormat

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

BRIGHTNESS_AT = {"YUYV": (2, 0), "UYVY": (2, 1)}
"""Bytes a pixel, and which of them is the brightness, where colour lies between; in all other
uncoded formats the picture begins with a plane of brightness alone."""
MOST_REDUCED = 3
"""A coded picture can be decoded at a half, a quarter or an eighth of its size: 2.6 × cheaper at
1280×720 by a quarter, and no pixel of the small picture differs by more than 1 (2026-11-25)."""


class BrokenPicture(ValueError):
    """The bytes are no whole picture of the format."""


class PictureReader:
    """Reads the pictures of one camera."""

    def __init__(self, picture_format: PictureFormat) -> None:
        from av.codec.context import CodecContext
        from av.video.codeccontext import VideoCodecContext

        from coeval_edge.media import Greyer

        self._format = picture_format
        self._greyer = Greyer(width=FRAME_WIDTH, height=FRAME_HEIGHT)
        self._decoder: VideoCodecContext | None = None
        if picture_format.line_bytes == 0:
            decoder = CodecContext.create("mjpeg", "r")
            assert isinstance(decoder, VideoCodecContext)
            decoder.options = {"lowres": str(reduced_by(picture_format))}
            decoder.thread_count = 1
            self._decoder = decoder

    def grey(self, data: bytes) -> NDArray[np.uint8]:
        """Brightness 0…255, shape (FRAME_HEIGHT, FRAME_WIDTH).

        Raises:
            BrokenPicture: too few bytes, or not to be decoded.
        """
        if self._decoder is not None:
            return self._greyer.grey(self._decoded(data))
        from av.video.frame import VideoFrame

        plane = brightness(data, self._format)
        small = self._greyer.grey(VideoFrame.from_ndarray(plane, format="gray"))
        if self._format.is_full_range:
            return small
        stretched = (small.astype(np.float32) - 16.0) * (255.0 / 219.0)
        full: NDArray[np.uint8] = np.clip(np.rint(stretched), 0, 255).astype(np.uint8)
        return full

    def _decoded(self, data: bytes) -> "VideoFrame":
        from av.error import FFmpegError
        from av.packet import Packet

        assert self._decoder is not None
        if not data:  # FFmpeg takes it for the end of the stream
            raise BrokenPicture("picture of 0 bytes")
        try:
            frames = self._decoder.decode(Packet(data))
        except FFmpegError as exc:
            raise BrokenPicture(f"picture of {len(data)} bytes cannot be decoded: {exc}") from exc
        if not frames:
            raise BrokenPicture(f"{len(data)} bytes hold no picture")
        return frames[0]


def brightness(data: bytes, picture_format: PictureFormat) -> NDArray[np.uint8]:
    """The plane of brightness of an uncoded picture, shape (height, width).

    Raises:
        BrokenPicture: too few bytes.
    """
    width, height, line = picture_format.width, picture_format.height, picture_format.line_bytes
    step, first = BRIGHTNESS_AT.get(picture_format.fourcc, (1, 0))
    needed = line * (height - 1) + step * width
    if len(data) < needed:
        raise BrokenPicture(
            f"picture {picture_format.fourcc} {width}×{height}: expected {needed} bytes or more, "
            f"got {len(data)}"
        )
    raw = np.frombuffer(data, np.uint8)
    rows = np.lib.stride_tricks.as_strided(
        raw[first:], (height, width), (line, step), writeable=False
    )
    plane: NDArray[np.uint8] = np.ascontiguousarray(rows)
    return plane


def reduced_by(picture_format: PictureFormat) -> int:
    """How often a coded picture's size can be halved and still be twice the small picture's."""
    times = 0
    while (
        times < MOST_REDUCED
        and picture_format.width >> (times + 1) >= 2 * FRAME_WIDTH
        and picture_format.height >> (times + 1) >= 2 * FRAME_HEIGHT
    ):
        times += 1
    return times
