"""What a probe says: frames off a serial line, and the records in them.

The contract is `firmware/core/cp_frame.h` and `cp_records.h`; `tests/vectors/probe.json` holds both
sides to it. In: bytes as they come. Out: records in order, and a count of everything that was none.
"""

import binascii
import enum
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from coeval.errors import CoevalError

PROTOCOL_VERSION = 1
"""The protocol that this program speaks."""
LAYOUT = 1
"""The version of every record's layout."""
LONGEST_RECORD = 64
LONGEST_FRAME = LONGEST_RECORD + 3
"""Without its zero byte."""

HEAD = struct.Struct("<BBH")
UNKNOWN_U32, UNKNOWN_U16, UNKNOWN_I32, UNKNOWN_I16 = 2**32 - 1, 2**16 - 1, -(2**31), -(2**15)


class PpsState(enum.IntEnum):
    """What the probe's clock does."""

    SEARCHING = 0
    LOCKED = 1
    HOLDOVER = 2
    WRONG_RATE = 3


class Verdict(enum.IntEnum):
    """What a pulse was."""

    GOOD = 0
    SEARCHING = 1
    SPURIOUS = 2
    DOUBLED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """A moment on the probe's clocks."""

    tick: int
    """Of its counter, 64 bits."""
    second: int | None
    """Pulses since its clock first locked; None where it never did."""
    ns: int | None
    """Since the last of them."""
    sigma_ns: int | None
    """Standard deviation; None: 65 µs or more, or unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """Who a probe is; sent every second."""

    sequence: int
    """Of all its records, modulo 65536."""
    protocol: int
    """Version of the protocol."""
    version: tuple[int, int, int]
    """Of the firmware."""
    board_id: str
    """Number of its flash chip, hexadecimal."""
    tick_hz: int
    """Nominal rate of its counter."""
    source_id: str
    """Of the sources that it was built from, hexadecimal."""
    num_inputs: int
    """Event inputs, numbered from 1."""
    imu: int
    """WHO_AM_I of its motion sensor; 0: it has none."""
    imu_period_us: int
    """Time between the sensor's samples."""
    reset_reason: int
    """0: power or the reset pin; 1: its watchdog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """A pulse on its PPS input."""

    sequence: int
    """Of all its records, modulo 65536."""
    tick: int
    """When."""
    verdict: Verdict
    """What it was."""
    state: PpsState
    """Of the clock, after it."""
    second: int | None
    """Its number; None unless it is good."""
    residual_ns: int | None
    """Pulse − prediction; positive: late. None where there was no prediction."""
    rate_ppb: int | None
    """Counter's rate − true; positive: the crystal is fast."""
    sigma_ns: int | None
    """Of the clock after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """A rising edge on an event input."""

    sequence: int
    """Of all its records, modulo 65536."""
    input: int
    """From 1."""
    state: PpsState
    """Of the clock."""
    at: Instant
    """When."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Motion:
    """A sample of the motion sensor, as the sensor gives it."""

    sequence: int
    """Of all its records, modulo 65536."""
    sensor: int
    """Its WHO_AM_I."""
    state: PpsState
    """Of the clock."""
    at: Instant
    """When the reading began."""
    accel: tuple[int, int, int]
    """8192 a g."""
    gyro: tuple[int, int, int]
    """65.5 a degree a second."""
    temperature: int
    """In the sensor's own scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How a probe does; sent four times a second."""

    sequence: int
    """Of all its records, modulo 65536."""
    tick: int
    """Now."""
    state: PpsState
    """Of the clock."""
    sigma_ns: int | None
    """Of the clock now."""
    rate_ppb: int | None
    """Counter's rate − true; positive: the crystal is fast."""
    celsius: float | None
    """Temperature of the chip."""
    most_queued: int
    """Bytes that waited to be sent, at most since the last status."""
    num_dropped: int
    """Records lost in the probe for want of room."""
    num_overrun: int
    """Edges that came faster than they were taken."""
    num_imu_failed: int
    """Readings of the motion sensor that failed."""
    good: int
    """Pulses on the grid."""
    missed: int
    """Seconds without a pulse."""
    spurious: int
    """Pulses off the grid."""
    doubled: int
    """Second pulses of a second."""
    searching: int
    """Pulses before there was a grid."""
    regridded: int
    """Times that the grid moved."""


Record = Hello | Pulse | Edge | Motion | Status

HELLO = struct.Struct("<B3B8sI8sBBHB")
PULSE = struct.Struct("<QBBIiiH")
EDGE = struct.Struct("<BBQIIH")
MOTION = struct.Struct("<BBQIIH3h3hh")
STATUS = struct.Struct("<QBHihHIII6I")


def known(value: int, unknown: int) -> int | None:
    """A field, None where its value means that it is not known."""
    return None if value == unknown else value


def read_instant(tick: int, second: int, ns: int, sigma_ns: int) -> Instant:
    """An instant from its fields."""
    is_known = second != UNKNOWN_U32 and ns != UNKNOWN_U32
    return Instant(
        tick=tick,
        second=second if is_known else None,
        ns=ns if is_known else None,
        sigma_ns=known(sigma_ns, UNKNOWN_U16) if is_known else None,
    )


def read_hello(sequence: int, body: bytes) -> Hello:
    """A hello's fields."""
    protocol, major, minor, patch, board, tick_hz, source, inputs, imu, period_us, reason = (
        HELLO.unpack(body)
    )
    return Hello(
        sequence=sequence,
        protocol=protocol,
        version=(major, minor, patch),
        board_id=board.hex(),
        tick_hz=tick_hz,
        source_id=source.hex(),
        num_inputs=inputs,
        imu=imu,
        imu_period_us=period_us,
        reset_reason=reason,
    )


def read_pulse(sequence: int, body: bytes) -> Pulse:
    """A pulse's fields."""
    tick, verdict, state, second, residual_ns, rate_ppb, sigma_ns = PULSE.unpack(body)
    return Pulse(
        sequence=sequence,
        tick=tick,
        verdict=Verdict(verdict),
        state=PpsState(state),
        second=known(second, UNKNOWN_U32),
        residual_ns=known(residual_ns, UNKNOWN_I32),
        rate_ppb=known(rate_ppb, UNKNOWN_I32),
        sigma_ns=known(sigma_ns, UNKNOWN_U16),
    )


def read_edge(sequence: int, body: bytes) -> Edge:
    """An edge's fields."""
    number, state, *at = EDGE.unpack(body)
    return Edge(sequence=sequence, input=number, state=PpsState(state), at=read_instant(*at))


def read_motion(sequence: int, body: bytes) -> Motion:
    """A sample's fields."""
    sensor, state, tick, second, ns, sigma_ns, *values = MOTION.unpack(body)
    return Motion(
        sequence=sequence,
        sensor=sensor,
        state=PpsState(state),
        at=read_instant(tick, second, ns, sigma_ns),
        accel=(values[0], values[1], values[2]),
        gyro=(values[3], values[4], values[5]),
        temperature=values[6],
    )


def read_status(sequence: int, body: bytes) -> Status:
    """A status's fields."""
    tick, state, sigma_ns, rate_ppb, centi, queued, *counts = STATUS.unpack(body)
    return Status(
        sequence=sequence,
        tick=tick,
        state=PpsState(state),
        sigma_ns=known(sigma_ns, UNKNOWN_U16),
        rate_ppb=known(rate_ppb, UNKNOWN_I32),
        celsius=None if centi == UNKNOWN_I16 else centi / 100,
        most_queued=queued,
        num_dropped=counts[0],
        num_overrun=counts[1],
        num_imu_failed=counts[2],
        good=counts[3],
        missed=counts[4],
        spurious=counts[5],
        doubled=counts[6],
        searching=counts[7],
        regridded=counts[8],
    )


READERS: dict[int, Callable[[int, bytes], Record]] = {
    1: read_hello,
    2: read_pulse,
    3: read_edge,
    4: read_motion,
    5: read_status,
}
"""By record type."""


class ProbeVersion(CoevalError):
    """A probe speaks a version of the protocol that this program does not."""

    def __init__(self, spoken: int) -> None:
        self.spoken = spoken
        """The probe's version."""
        todo = "update Coeval" if spoken > PROTOCOL_VERSION else "reflash it: coeval probe flash"
        super().__init__(
            f"the probe speaks protocol version {spoken}, this program {PROTOCOL_VERSION}; {todo}"
        )


class ProbeStream:
    """Frames and records of one line, counted."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """records; frames that are none: crc, cobs, short, long; unknown (a type or layout of
        another version), malformed (of a known one), lost (gaps in the sequence)."""
        self._pending = bytearray()
        self._is_long = False
        self._is_fresh = True
        self._sequence: int | None = None

    def restart(self) -> None:
        """Bytes were lost, as around an unplugging: forget the half frame and the sequence."""
        self._pending.clear()
        self._is_long, self._is_fresh, self._sequence = False, True, None

    def push(self, data: bytes) -> Iterator[tuple[Record, int]]:
        """The records that bytes complete, each with the number of bytes that came after it.

        Raises:
            ProbeVersion: a hello of another protocol.
        """
        at = 0
        while (end := data.find(0, at)) >= 0:
            self._gather(data[at:end])
            at = end + 1
            frame, is_long = bytes(self._pending), self._is_long
            self._pending.clear()
            self._is_long = False
            is_fresh, self._is_fresh = self._is_fresh, False
            if (record := self._read(frame, is_long=is_long, is_fresh=is_fresh)) is not None:
                yield record, len(data) - at
        self._gather(data[at:])

    def _gather(self, part: bytes) -> None:
        room = LONGEST_FRAME - len(self._pending)
        self._is_long |= len(part) > room
        self._pending += part[:room]

    def _read(self, frame: bytes, *, is_long: bool, is_fresh: bool) -> Record | None:
        """The record in a frame; None, and counted, where there is none. The first frame of a line
        is a half one as a rule, and no error."""
        if not frame:
            return None
        payload = None if is_long else unframe(frame)
        if isinstance(payload, bytes):
            return self._parse(payload)
        if not is_fresh:
            self.counts["long" if payload is None else payload] += 1
        return None

    def _parse(self, payload: bytes) -> Record | None:
        if len(payload) < HEAD.size:
            self.counts["malformed"] += 1
            return None
        kind, layout, sequence = HEAD.unpack_from(payload)
        if self._sequence is not None:
            self.counts["lost"] += (sequence - self._sequence - 1) % 2**16
        self._sequence = sequence
        body = payload[HEAD.size :]
        if kind == 1 and body and body[0] != PROTOCOL_VERSION:
            raise ProbeVersion(body[0])
        if kind not in READERS or layout != LAYOUT:
            self.counts["unknown"] += 1
            return None
        try:
            record = READERS[kind](sequence, body)
        except (struct.error, ValueError):
            self.counts["malformed"] += 1
            return None
        self.counts["records"] += 1
        return record


def unframe(frame: bytes) -> bytes | str:
    """The record in a frame without its zero byte; or what is wrong with it."""
    from cobs import cobs

    try:
        data = cobs.decode(frame)
    except cobs.DecodeError:
        return "cobs"
    if len(data) < 3:
        return "short"
    if binascii.crc_hqx(data, 0xFFFF) != 0:
        return "crc"
    return bytes(data[:-2])
