"""What a frame of the kernel's industrial I/O holds: its channels as sysfs describes them.

In: the files of `scan_elements`. Out: a layout that turns bytes of `/dev/iio:deviceN` into times
and values in IIO's own units (kernel: ABI/testing/sysfs-bus-iio, iio/iio_devbuf).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coeval.samples import IntArray
from coeval_edge.sources.errors import SourceUnfit

TYPE = re.compile(r"(be|le):([su])(\d+)/(8|16|32|64)(?:X(\d+))?(?:>>(\d+))?")
UNITS = {
    "accel": "m/s^2",
    "anglvel": "rad/s",
    "magn": "G",
    "gravity": "m/s^2",
    "temp": "m°C",
    "voltage": "mV",
    "current": "mA",
    "pressure": "kPa",
    "humidityrelative": "m%",
    "illuminance": "lx",
    "incli": "deg",
    "distance": "m",
    "proximity": "",
}
"""What raw values are once scaled, by the channel's type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanType:
    """How one channel lies in a frame, as `le:s12/16X2>>4`."""

    is_big: bool
    is_signed: bool
    num_bits: int
    """That count, the lowest once shifted."""
    num_bytes: int
    """Of one value."""
    repeat: int
    """Values in the channel."""
    shift: int
    """Bits below the lowest."""

    @property
    def size(self) -> int:
        """Bytes of the channel; it is aligned to as many."""
        return self.num_bytes * self.repeat


def parse_type(text: str, *, where: str) -> ScanType:
    """Read a `_type` file.

    Raises:
        SourceUnfit: it is none, or of a width that is not read here.
    """
    found = TYPE.fullmatch(text.strip())
    if found is not None:
        endian, sign, bits, storage, repeat, shift = found.groups()
        scan = ScanType(
            is_big=endian == "be",
            is_signed=sign == "s",
            num_bits=int(bits),
            num_bytes=int(storage) // 8,
            repeat=int(repeat or 1),
            shift=int(shift or 0),
        )
        if scan.num_bits > 0 and scan.num_bits + scan.shift <= int(storage) and scan.repeat:
            return scan
    raise SourceUnfit(f"{where}: expected a type such as le:s12/16>>4, got {text.strip()!r:.60}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel of a frame; value = (raw + offset) · scale."""

    name: str
    """As sysfs calls it, without `in_`: accel_x."""
    index: int
    """Its place among the channels of a frame."""
    scan: ScanType
    scale: float = 1.0
    offset: float = 0.0

    @property
    def names(self) -> list[str]:
        """Of its values: more than one where it repeats, as a quaternion does."""
        if self.scan.repeat == 1:
            return [self.name]
        return [f"{self.name}_{k}" for k in range(self.scan.repeat)]


class FrameLayout:
    """Channels in the order in which they lie in a frame, the timestamp among them."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self.channels = tuple(sorted(channels, key=lambda channel: channel.index))
        """By their places."""
        self._fields: list[tuple[Channel, str]] = []
        names, formats, offsets, end = [], [], [], 0
        for channel in self.channels:
            end += -end % channel.scan.size
            names.append(channel.name)
            formats.append(dtype_of(channel.scan))
            offsets.append(end)
            end += channel.scan.size
        end += -end % max(channel.scan.size for channel in self.channels)
        self.size = end
        """Bytes of a frame."""
        self._dtype = np.dtype(
            {"names": names, "formats": formats, "offsets": offsets, "itemsize": end}
        )

    @property
    def values(self) -> list[str]:
        """Names of the values, the timestamp left out."""
        return [name for channel in self._valued for name in channel.names]

    @property
    def _valued(self) -> list[Channel]:
        return [channel for channel in self.channels if channel.name != "timestamp"]

    def decode(self, data: bytes) -> tuple[IntArray, NDArray[np.float64]]:
        """Whole frames: stamps in ns, shape (n,), and values in IIO's units, shape (n, values)."""
        rows = np.frombuffer(data, self._dtype)
        columns = []
        for channel in self._valued:
            raw = numbers(rows[channel.name], channel.scan).reshape(len(rows), channel.scan.repeat)
            columns.append((raw + channel.offset) * channel.scale)
        return rows["timestamp"].astype(np.int64), np.concatenate(columns, axis=1)


def dtype_of(scan: ScanType) -> tuple[str, tuple[int, ...]] | str:
    """A channel as numpy reads it: unsigned, to be shifted."""
    kind = f"{'>' if scan.is_big else '<'}u{scan.num_bytes}"
    return kind if scan.repeat == 1 else (kind, (scan.repeat,))


def numbers(stored: NDArray[np.unsignedinteger], scan: ScanType) -> NDArray[np.float64]:
    """Stored values without what lies beside their bits, and with their sign."""
    mask = np.uint64((1 << scan.num_bits) - 1)
    raw = (stored.astype(np.uint64) >> np.uint64(scan.shift)) & mask
    if not scan.is_signed:
        return raw.astype(np.float64)
    up = np.uint64(64 - scan.num_bits)
    signed = (raw << up).astype(np.int64) >> np.int64(up)
    return signed.astype(np.float64)


def unit_of(channel: str) -> str:
    """The unit of a channel by its name; empty where it is not known."""
    kind = re.split(r"[_\d]", channel, maxsplit=1)[0]
    return UNITS.get(kind, "")


def attribute(folder: Path, channel: str, what: str) -> float | None:
    """A channel's `scale`, `offset` or `sampling_frequency`: its own, or one it shares.

    Raises:
        SourceUnfit: the file holds no number.
    """
    stem = f"in_{channel}"
    plain = re.sub(r"\d+", "", stem)
    kind = re.match(r"in_[a-z]+", plain)
    shared = [stem, re.sub(r"_[a-z]+$", "", stem), plain, kind[0] if kind else stem]
    for name in (*dict.fromkeys(shared), ""):
        file = folder / (f"{name}_{what}" if name else what)
        if file.is_file():
            text = file.read_text().strip()
            try:
                return float(text.split()[0])
            except (ValueError, IndexError):
                raise SourceUnfit(f"{file}: expected a number, got {text!r:.60}") from None
    return None


def read_channels(device: Path) -> list[Channel]:
    """The channels that a device can put into its buffer, the timestamp among them.

    Raises:
        SourceUnfit: a file says something else than it should.
    """
    found = []
    for file in sorted((device / "scan_elements").glob("in_*_type")):
        name = file.name.removeprefix("in_").removesuffix("_type")
        index_text = file.with_name(f"in_{name}_index").read_text().strip()
        if not index_text.isdigit():
            raise SourceUnfit(f"{file.parent}/in_{name}_index: no number: {index_text!r:.60}")
        scale, offset = attribute(device, name, "scale"), attribute(device, name, "offset")
        found.append(
            Channel(
                name=name,
                index=int(index_text),
                scan=parse_type(file.read_text(), where=str(file)),
                scale=1.0 if scale is None or name == "timestamp" else scale,
                offset=0.0 if offset is None or name == "timestamp" else offset,
            )
        )
    return found
