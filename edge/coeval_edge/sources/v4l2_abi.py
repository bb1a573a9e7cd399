"""The part of Linux's video interface that a camera is read by: uapi/linux/videodev2.h.

Structures are laid out by the compiler's own alignment (`@`), so they fit 32 and 64 bits.
"""

import struct

CAPABILITY = struct.Struct("@16s32s32sIII12x")
"""`v4l2_capability`: driver, card, bus, version, capabilities, those of this device file."""
FORMAT_DESCRIPTION = struct.Struct("@III32sI16x")
"""`v4l2_fmtdesc`: index, type, flags, description, format; then a code and reserved words."""
FORMAT = struct.Struct("@I0L12I152x0L")
"""`v4l2_format` of a picture: type, then width, height, format, field, bytes a line, bytes a
picture, colours, private, flags, encoding, range, transfer; a union of 200 bytes."""
STREAM = struct.Struct("@I4I184x")
"""`v4l2_streamparm` of a capture: type, capability, mode, frame period as a fraction."""
REQUEST_BUFFERS = struct.Struct("@IIIIB3x")
"""`v4l2_requestbuffers`: count, type, memory, capabilities, flags."""
BUFFER = struct.Struct("@5Ill16xIILIIi0L")
"""`v4l2_buffer`: index, type, bytes used, flags, field, stamp in s and µs, (timecode,) sequence,
memory, offset, length; then reserved."""
CONTROL = struct.Struct("@Ii")
"""`v4l2_control`: id, value."""
INTEGER = struct.Struct("@i")

READ, WRITE = 2, 1


def _request(direction: int, number: int, size: int) -> int:
    """The ioctl's number (`_IOC`)."""
    return direction << 30 | size << 16 | ord("V") << 8 | number


QUERY_CAPABILITY = _request(READ, 0, CAPABILITY.size)
ENUM_FORMAT = _request(READ | WRITE, 2, FORMAT_DESCRIPTION.size)
SET_FORMAT = _request(READ | WRITE, 5, FORMAT.size)
ASK_BUFFERS = _request(READ | WRITE, 8, REQUEST_BUFFERS.size)
QUERY_BUFFER = _request(READ | WRITE, 9, BUFFER.size)
QUEUE_BUFFER = _request(READ | WRITE, 15, BUFFER.size)
TAKE_BUFFER = _request(READ | WRITE, 17, BUFFER.size)
STREAM_ON = _request(WRITE, 18, INTEGER.size)
SET_STREAM = _request(READ | WRITE, 22, STREAM.size)
GET_CONTROL = _request(READ | WRITE, 27, CONTROL.size)
SET_CONTROL = _request(READ | WRITE, 28, CONTROL.size)

VIDEO_CAPTURE = 1
"""V4L2_BUF_TYPE_VIDEO_CAPTURE."""
MEMORY_MMAP = 1
FIELD_NONE = 1
CAP_VIDEO_CAPTURE, CAP_STREAMING = 0x1, 0x04000000
FULL_RANGE, LIMITED_RANGE = 1, 2
COLOURS_JPEG = 7

BROKEN = 0x40
"""V4L2_BUF_FLAG_ERROR: the data may be damaged."""
STAMP_MASK, STAMP_MONOTONIC = 0xE000, 0x2000
"""V4L2_BUF_FLAG_TIMESTAMP_*: another kind is of no known clock."""
POINT_MASK, POINT_START_OF_EXPOSURE = 0x70000, 0x10000
"""V4L2_BUF_FLAG_TSTAMP_SRC_*: 0 is the end of the frame."""

EXPOSURE_AUTO, EXPOSURE_ABSOLUTE, EXPOSURE_OVER_RATE = 0x009A0901, 0x009A0902, 0x009A0903
"""V4L2_CID_EXPOSURE_*: how it is chosen, its length in units of 100 µs, and whether frames may come
slower for its sake (EXPOSURE_AUTO_PRIORITY)."""
EXPOSURE_IS_SET_BY_HAND = (1, 2)
"""V4L2_EXPOSURE_MANUAL and V4L2_EXPOSURE_SHUTTER_PRIORITY."""


def fourcc(text: str) -> int:
    """A format's number by its four letters."""
    return int.from_bytes(text.encode("ascii"), "little")


def letters(number: int) -> str:
    """A format's four letters by its number."""
    return (number & 0x7FFFFFFF).to_bytes(4, "little").decode("latin-1")
