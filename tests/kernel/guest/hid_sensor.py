"""A sensor hub with an accelerometer, as a program: the other end of the kernel's HID drivers.

The kernel's own drivers (hid-sensor-hub, hid-sensor-accel-3d) take it for a device on USB and make
an IIO sensor of it (kernel: hid/uhid, hid/hid-sensor; structures of uapi/linux/uhid.h).
"""

import os
import struct
import threading

DESTROY, GET_REPORT, GET_REPORT_REPLY, CREATE2, INPUT2, SET_REPORT, SET_REPORT_REPLY = (
    *(1, 9, 10),
    *(11, 12, 13, 14),
)
BUS_USB, INPUT_REPORT = 3, 2
EVENT_BYTES = 4 + 4376


def feature(usage: int, num_bits: int) -> bytes:
    """One property of the sensor."""
    return bytes((0x0A, usage & 255, usage >> 8, 0x15, 1, 0x26, 0xFF, 0x7F)) + bytes(
        (0x75, num_bits, 0x95, 1, 0xB1, 2)
    )


def axis(usage: int) -> bytes:
    """One axis: signed 16 bits, in hundredths of g."""
    return bytes((0x0A, usage & 255, usage >> 8, 0x16, 0x00, 0x80, 0x26, 0xFF, 0x7F)) + bytes(
        (0x75, 16, 0x95, 1, 0x55, 0x0E, 0x81, 2)
    )


DESCRIPTOR = b"".join(
    (
        bytes((0x05, 0x20, 0x09, 0x01, 0xA1, 0x01)),  # sensors: a collection of them
        bytes((0x05, 0x20, 0x09, 0x73, 0xA1, 0x00)),  # an accelerometer of three axes
        bytes((0x85, 0x01)),  # report 1
        *(feature(0x0319, 8), feature(0x0316, 8)),  # states of power and of reporting
        feature(0x030E, 16),  # interval between reports, in ms
        *(axis(0x0453), axis(0x0454), axis(0x0455)),
        bytes((0xC0, 0xC0)),
    )
)


class HidSensor:
    """The device; its properties are kept as the kernel sets them."""

    def __init__(self, *, interval_ms: int = 20) -> None:
        self.features = struct.pack("<BBBH", 1, 1, 1, interval_ms)
        self._report = struct.pack("<Bhhh", 1, 0, 0, 0)
        self._fd = os.open("/dev/uhid", os.O_RDWR)
        name, empty = b"coeval test hub", b""
        head = struct.pack("<I128s64s64sHH", CREATE2, name, empty, empty, len(DESCRIPTOR), BUS_USB)
        os.write(self._fd, head + struct.pack("<IIII", 0xC0E, 0xA1, 1, 0) + DESCRIPTOR)
        self._is_open = True
        self._thread = threading.Thread(target=self._answer, daemon=True)
        self._thread.start()

    def report(self, axes: list[int]) -> None:
        """A reading, as the device would send it."""
        self._report = struct.pack("<Bhhh", 1, *axes)
        os.write(self._fd, struct.pack("<IH", INPUT2, len(self._report)) + self._report)

    def close(self) -> None:
        """Unplug it."""
        os.write(self._fd, struct.pack("<I", DESTROY))
        self._is_open = False
        os.close(self._fd)

    def _answer(self) -> None:
        """Give and take the properties."""
        while self._is_open:
            try:
                event = os.read(self._fd, EVENT_BYTES)
            except OSError:
                return
            (kind,) = struct.unpack_from("<I", event)
            if kind == GET_REPORT:
                number, _, of_kind = struct.unpack_from("<IBB", event, 4)
                data = self._report if of_kind == INPUT_REPORT else self.features
                reply = struct.pack("<IIHH", GET_REPORT_REPLY, number, 0, len(data))
                os.write(self._fd, reply + data)
            elif kind == SET_REPORT:
                number, _, _, size = struct.unpack_from("<IBBH", event, 4)
                self.features = event[12 : 12 + size]
                os.write(self._fd, struct.pack("<IIH", SET_REPORT_REPLY, number, 0))
