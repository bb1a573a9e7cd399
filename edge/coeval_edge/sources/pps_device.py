"""A kernel PPS device, `/dev/ppsN`: RFC 2783 as Linux offers it (uapi/linux/pps.h).

In: nothing but time. Out: the number and the CLOCK_REALTIME stamp of each pulse, as the interrupt
took it. The kernel keeps the last pulse only: one that is not read before the next comes is lost,
and the sequence numbers say so.
"""

import errno
import fcntl
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from coeval.time import NS_PER_S
from coeval_edge.sources.errors import (
    SourceAbsent,
    SourceForbidden,
    SourceLost,
    SourceSilent,
    SourceUnfit,
    SourceUnusable,
    named,
)

PpsEdge = Literal["assert", "clear"]
"""The line's own names: assert is the active edge, clear the other one."""

Ioctl = Callable[[int, int, bytearray], int]
"""`fcntl.ioctl` with a buffer that the kernel writes into."""

CAPTURE: dict[PpsEdge, int] = {"assert": 0x01, "clear": 0x02}
"""PPS_CAPTUREASSERT and PPS_CAPTURECLEAR."""
CAN_WAIT = 0x100
"""PPS_CANWAIT: PPS_FETCH can block until a pulse."""

KTIME = "qiI"
"""`struct pps_ktime`: seconds, nanoseconds, flags; the compiler's own alignment."""
CAPABILITIES = struct.Struct("@i")
PARAMS = struct.Struct(f"@ii{KTIME}{KTIME}")
"""`struct pps_kparams`: API version, mode, offsets of assert and clear."""
FETCH = struct.Struct(f"@II{KTIME}{KTIME}i0q{KTIME}")
"""`struct pps_fdata`: sequences, stamps, mode; then the timeout."""


def _request(direction: int, number: int) -> int:
    """The ioctl's number: the header gives the size of a pointer, not of the struct (`_IOC`)."""
    return direction << 30 | struct.calcsize("P") << 16 | ord("p") << 8 | number


GET_PARAMS = _request(2, 0xA1)
SET_PARAMS = _request(1, 0xA2)
GET_CAPABILITIES = _request(2, 0xA3)
FETCH_PULSE = _request(3, 0xA4)

OPEN_ADVICE: dict[type[SourceUnusable], str] = {
    SourceAbsent: "load the driver: on a Pi add `dtoverlay=pps-gpio,gpiopin=18` to config.txt and "
    "reboot; for a serial port run `ldattach pps /dev/ttyS0`",
    SourceForbidden: "let the node's user read it, with a udev rule such as "
    'SUBSYSTEM=="pps", GROUP="dialout", MODE="0660"',
    SourceUnusable: "look at `dmesg | grep pps`",
}
NOT_PPS = "it is no PPS device; expected one of /dev/pps*"
SET_ADVICE: dict[type[SourceUnusable], str] = {
    SourceForbidden: "the kernel lets only CAP_SYS_TIME change the mode: give the service "
    "AmbientCapabilities=CAP_SYS_TIME, or read the edge that is already captured",
    SourceUnusable: "read the other edge",
}
LOST_ADVICE: dict[type[SourceUnusable], str] = {SourceUnusable: "open it anew"}
SILENT_ADVICE = "look at the wiring, the pin and the receiver's fix"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPulse:
    """One pulse as the kernel took it."""

    sequence: int
    """The kernel's count of this edge, modulo 2³²."""
    t_realtime_ns: int
    """CLOCK_REALTIME in the interrupt, plus the device's own offset."""
    num_overwritten: int
    """Pulses since the last one read that nobody read in time."""


class PpsDevice:
    """One open PPS device, read for one of its edges."""

    def __init__(
        self,
        path: Path,
        *,
        edge: PpsEdge = "assert",
        ioctl: Ioctl = fcntl.ioctl,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Open the device and see to it that it captures the edge.

        Raises:
            SourceAbsent, SourceForbidden, SourceUnfit, SourceUnusable: each with what to do.
        """
        self.path = path
        """The device's file."""
        self.edge = edge
        """The edge that is read."""
        self._ioctl, self._monotonic = ioctl, monotonic
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as exc:
            raise named(exc, doing=f"open {path}", advice=OPEN_ADVICE, is_opening=True) from exc
        try:
            self.capabilities = self._capabilities()
            """PPS_GETCAP, as RFC 2783 numbers it."""
            self._capture()
            self._sequence = self._fetch(0)[0]
        except BaseException:
            self.close()
            raise

    def wait(self, timeout_s: float) -> KernelPulse:
        """The next pulse not read yet.

        Raises:
            SourceSilent: none came in time.
            SourceLost: the device is gone; it never comes back under this opening.
        """
        end_s = self._monotonic() + timeout_s
        # One that came since the last call is here already, and the kernel waits for the one after.
        sequence, t_ns = self._fetch(0)
        while sequence == self._sequence:
            left_s = end_s - self._monotonic()
            if left_s <= 0:
                self._check_there()
                raise SourceSilent(
                    f"{self.path}: no {self.edge} edge in {timeout_s:g} s; {SILENT_ADVICE}"
                )
            try:
                sequence, t_ns = self._fetch(left_s)
            except SourceSilent:
                sequence, t_ns = self._fetch(0)
        num_overwritten = (sequence - self._sequence - 1) % 2**32
        self._sequence = sequence
        return KernelPulse(sequence=sequence, t_realtime_ns=t_ns, num_overwritten=num_overwritten)

    def close(self) -> None:
        """Give the device back; a second time does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _capabilities(self) -> int:
        answer = bytearray(CAPABILITIES.size)
        try:
            self._ioctl(self._fd, GET_CAPABILITIES, answer)
        except OSError as exc:
            raise SourceUnfit(f"{self.path}: {os.strerror(exc.errno or 0)}: {NOT_PPS}") from exc
        (capabilities,) = CAPABILITIES.unpack(answer)
        if not capabilities & CAN_WAIT:
            raise SourceUnfit(
                f"{self.path} cannot wait for a pulse (capabilities {capabilities:#x}); "
                "use a device whose driver has PPS_CANWAIT"
            )
        if not capabilities & CAPTURE[self.edge]:
            other = "clear" if self.edge == "assert" else "assert"
            raise SourceUnfit(
                f"{self.path} does not capture {self.edge} edges (capabilities "
                f"{capabilities:#x}); use edge = {other!r}, or invert the line"
            )
        return int(capabilities)

    def _capture(self) -> None:
        """Turn the edge's capture on, where it is not already: only that needs a privilege."""
        params = bytearray(PARAMS.size)
        try:
            self._ioctl(self._fd, GET_PARAMS, params)
            version, mode, *offsets = PARAMS.unpack(params)
            if mode & CAPTURE[self.edge]:
                return
            wanted = bytearray(PARAMS.pack(version, mode | CAPTURE[self.edge], *offsets))
            self._ioctl(self._fd, SET_PARAMS, wanted)
        except OSError as exc:
            doing = f"capture {self.edge} edges of {self.path}"
            raise named(exc, doing=doing, advice=SET_ADVICE) from exc

    def _fetch(self, timeout_s: float) -> tuple[int, int]:
        """Sequence and stamp of the last pulse; waits for the next one unless the timeout is 0."""
        end_s = self._monotonic() + timeout_s
        while True:
            left_ns = max(round((end_s - self._monotonic()) * NS_PER_S), 0) if timeout_s else 0
            timeout = divmod(left_ns, NS_PER_S)
            data = bytearray(FETCH.pack(*(0,) * 9, *timeout, 0))
            try:
                self._ioctl(self._fd, FETCH_PULSE, data)
            except OSError as exc:
                if exc.errno == errno.EINTR:
                    continue
                self._check_there()
                advice = LOST_ADVICE | {SourceSilent: SILENT_ADVICE}
                raise named(exc, doing=f"read {self.path}", advice=advice) from exc
            fields = FETCH.unpack(data)
            if self.edge == "assert":
                return fields[0], fields[2] * NS_PER_S + fields[3]
            return fields[1], fields[5] * NS_PER_S + fields[6]

    def _check_there(self) -> None:
        """A device that is unbound only falls silent (its queue outlives it), so look for its file.

        Raises:
            SourceLost: the file is gone, or is another device's now.
        """
        try:
            if os.path.samestat(os.fstat(self._fd), os.stat(self.path)):
                return
        except FileNotFoundError:
            pass
        raise SourceLost(f"{self.path} is gone: unplugged, or its driver was unbound; open it anew")
