"""GoPro's telemetry format GPMF: bytes of a payload in, readings of each sensor out.

A payload is a tree of key-length-value items: a FourCC key, a type character, the size of one
element, how many, then the data, big-endian, padded to four bytes (GoPro, "GPMF Introduction",
github.com/gopro/gpmf-parser). In each stream (STRM) the last item is the readings; the items
before it describe them (SCAL divides, TYPE lays out a structure, SIUN or UNIT names units).

The packages that read GPMF from Python wrap GoPro's parser for files of their own opening, or
know a few cameras; the format itself is small.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.errors import BadRecording
from coeval.samples import IntArray

DTYPES = {
    "b": ">i1",
    "B": ">u1",
    "s": ">i2",
    "S": ">u2",
    "l": ">i4",
    "L": ">u4",
    "j": ">i8",
    "J": ">u8",
    "f": ">f4",
    "d": ">f8",
    "q": ">i4",
    "Q": ">i8",
}
"""numpy types of GPMF's numeric types; the rest (text, dates, FourCCs) is no channel."""

FIXED_POINT = {"q": 2.0**16, "Q": 2.0**32}
"""Types that are whole numbers of a fraction."""

NAMES = {"GPS5": "gps", "GPS9": "gps", "SHUT": "exposure", "ISOG": "iso", "ISOE": "iso"}
"""Streams whose key is not their plain name; others are called by their key in lower case."""

COLUMNS = {
    "GPS5": ("lat", "lon", "alt", "speed2d", "speed3d"),
    "SHUT": ("exposure",),
    "ISOG": ("iso",),
    "ISOE": ("iso",),
}
DEEPEST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One key-length-value item."""

    key: str
    """FourCC."""
    kind: str
    """Type character; a NUL for a nested item."""
    size: int
    """Bytes of one element."""
    num: int
    """Elements."""
    data: bytes
    """The value, without padding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor:
    """The readings of one sensor in one payload."""

    name: str
    """What to call the stream."""
    values: NDArray[np.float64]
    """Scaled readings, shape (n, C)."""
    columns: tuple[str, ...]
    """C names."""
    units: dict[str, str]
    """Units by column, where the camera names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """What the camera wrote in about one second."""

    t_ns: int
    """Start, on the file's time."""
    length_ns: int
    """Time it stands for."""
    sensors: tuple[Sensor, ...]
    """Its sensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """One sensor over the whole file."""

    name: str
    """What to call the stream."""
    t_ns: IntArray
    """Times on the file's clock, shape (n,)."""
    values: NDArray[np.float64]
    """Readings, shape (n, C)."""
    columns: tuple[str, ...]
    """C names."""
    units: dict[str, str]
    """Units by column."""


def items(data: bytes, *, where: str) -> Iterator[Item]:
    """The items of one level.

    Raises:
        BadRecording: an item is longer than what is left.
    """
    position = 0
    while position + 8 <= len(data):
        key, kind, size, num = struct.unpack_from(">4scBH", data, position)
        if key == b"\0\0\0\0":
            return  # padding at the end of a payload
        start, length = position + 8, size * num
        if start + length > len(data):
            raise BadRecording(
                f"{where}: GPMF item {key!r} is {length} bytes, {len(data) - start} are left; "
                "the telemetry is damaged"
            )
        yield Item(
            key=key.decode("latin-1"),
            kind=kind.decode("latin-1"),
            size=size,
            num=num,
            data=data[start : start + length],
        )
        position = start + -(-length // 4) * 4


def read_payload(data: bytes, *, t_ns: int, length_ns: int, where: str) -> Payload:
    """Read one payload.

    Args:
        data: its bytes.
        t_ns: its start on the file's time.
        length_ns: the time it stands for.
        where: the file's name, for messages.

    Raises:
        BadRecording: it is damaged.
    """
    sensors = tuple(
        sensor for level in streams(data, where=where) if (sensor := read_sensor(level)) is not None
    )
    return Payload(t_ns=t_ns, length_ns=length_ns, sensors=sensors)


def streams(data: bytes, *, where: str, depth: int = 0) -> Iterator[list[Item]]:
    """The items of every STRM, wherever it is nested.

    Raises:
        BadRecording: it is damaged, or nested beyond reason.
    """
    if depth > DEEPEST:
        raise BadRecording(f"{where}: GPMF nested deeper than {DEEPEST}; the telemetry is damaged")
    for item in items(data, where=where):
        if item.kind != "\0":
            continue
        if item.key == "STRM":
            yield list(items(item.data, where=where))
        else:
            yield from streams(item.data, where=where, depth=depth + 1)


def read_sensor(level: Sequence[Item]) -> Sensor | None:
    """The readings of one STRM; None where it has none, or they are no plain numbers."""
    if not level or not level[-1].num:
        return None
    readings = level[-1]
    notes = {item.key: item for item in level[:-1]}
    if readings.key in notes:
        return None  # several lists in a payload (scene classes, hues), not one reading a time
    kinds = readings.kind
    if kinds == "?":
        kinds = _layout(notes.get("TYPE"))
    elif kinds in DTYPES:
        kinds *= readings.size // np.dtype(DTYPES[kinds]).itemsize
    dtype = _dtype(kinds)
    if dtype is None or dtype.itemsize != readings.size:
        return None
    rows = np.frombuffer(readings.data, dtype=dtype)
    values = np.stack([rows[name].astype(np.float64) for name in dtype.names or ()], axis=1)
    values /= np.array([FIXED_POINT.get(kind, 1.0) for kind in kinds])
    values /= _scales(notes.get("SCAL"), num=values.shape[1])
    named = COLUMNS.get(readings.key, ())
    columns = named if len(named) == len(kinds) else tuple(f"c{k}" for k in range(len(kinds)))
    name = NAMES.get(readings.key, readings.key.strip().lower())
    units = _units(notes.get("SIUN") or notes.get("UNIT"), columns=columns)
    return Sensor(name=name, values=values, columns=columns, units=units)


def _layout(item: Item | None) -> str:
    """Types of a structure's fields; `f[3]` stands for three."""
    if item is None:
        return ""
    text = item.data.rstrip(b"\0").decode("latin-1")
    while "[" in text:
        before, _, rest = text.partition("[")
        count, _, after = rest.partition("]")
        if not (before and count.isdecimal() and len(count) <= 3):
            return ""
        text = before[:-1] + before[-1] * int(count) + after
    return text


def _dtype(kinds: str) -> "np.dtype[np.void] | None":
    if not kinds or any(kind not in DTYPES for kind in kinds):
        return None
    return np.dtype([(f"f{number}", DTYPES[kind]) for number, kind in enumerate(kinds)])


def _scales(item: Item | None, *, num: int) -> NDArray[np.float64]:
    """What to divide each column by."""
    if item is None or item.kind not in DTYPES:
        return np.ones(num)
    scales = np.frombuffer(item.data, dtype=DTYPES[item.kind]).astype(np.float64)
    if len(scales) not in (1, num) or not scales.all():
        return np.ones(num)
    return np.broadcast_to(scales, (num,))


def _units(item: Item | None, *, columns: Sequence[str]) -> dict[str, str]:
    """Units by column; one unit stands for all."""
    if item is None or not item.size:
        return {}
    texts = [
        item.data[start : start + item.size].rstrip(b"\0 ").decode("latin-1")
        for start in range(0, len(item.data), item.size)
    ]
    if len(texts) == 1:
        texts *= len(columns)
    return {column: unit for column, unit in zip(columns, texts, strict=False) if unit}


def gather(payloads: Sequence[Payload]) -> list[Telemetry]:
    """Each sensor over all payloads.

    A payload states its own time, not that of each reading: they are spread evenly over it,
    which is true to a few ms (tens on some cameras).
    """
    found: dict[tuple[str, int], list[tuple[IntArray, Sensor]]] = {}
    for payload in payloads:
        for sensor in payload.sensors:
            num = len(sensor.values)
            t_ns = payload.t_ns + np.arange(num, dtype=np.int64) * payload.length_ns // num
            found.setdefault((sensor.name, len(sensor.columns)), []).append((t_ns, sensor))
    return [
        Telemetry(
            name=name,
            t_ns=np.concatenate([t_ns for t_ns, _ in parts]),
            values=np.concatenate([sensor.values for _, sensor in parts]),
            columns=parts[0][1].columns,
            units=parts[0][1].units,
        )
        for (name, _), parts in found.items()
    ]
