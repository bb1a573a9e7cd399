"""Which sensor of the kernel's industrial I/O, and what both ways of reading it share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from coeval.errors import BadConfig
from coeval.time import NS_PER_S
from coeval_edge.sources.errors import (
    SourceAbsent,
    SourceBusy,
    SourceForbidden,
    SourceLost,
    SourceUnfit,
    SourceUnusable,
    named,
)

UNKNOWN_CONVERSION_NS = 10e6
"""What a conversion may take where neither driver nor configuration says."""

ADVICE = {
    SourceAbsent: "`coeval doctor` lists the sensors there are; is its driver or overlay loaded?",
    SourceForbidden: "run as root, or give the group iio the device by a udev rule "
    "(docs/guide/sources.md), then: sudo usermod -aG iio $USER, and log in again",
    SourceBusy: "another program reads it (iio-sensor-proxy?): stop it",
    SourceLost: "was it unplugged, or its driver unbound?",
    SourceUnusable: "see dmesg for what its driver says",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class IioConfig:
    """A sensor of the kernel's industrial I/O."""

    device: str
    """Its name, as `mpu6050` (`coeval doctor` lists them), or `iio:device0`."""
    channels: tuple[str, ...] = ()
    """Which, as `accel_x`; none: all."""
    rate_hz: float | None = None
    """Readings a second; None: what it is set to, or 50 where it is polled."""
    trigger: str = ""
    """Name of the trigger that starts a reading; `hrtimer`: a timer of the kernel's at `rate_hz`,
    made for this; empty: the sensor's own, or the one that is set."""
    conversion_s: float | None = None
    """How long the sensor measures for one value; None: the time between two."""

    def __post_init__(self) -> None:
        if not self.device or "/" in self.device:
            raise BadConfig(f"device must be a name or iio:deviceN, got {self.device!r}")
        if self.rate_hz is not None and not 0.001 <= self.rate_hz <= 100_000:
            raise BadConfig(f"rate_hz must lie within 0.001…100000, got {self.rate_hz}")
        if self.conversion_s is not None and not 0 <= self.conversion_s <= 10:
            raise BadConfig(f"conversion_s must lie within 0…10, got {self.conversion_s}")
        if self.trigger == "hrtimer" and self.rate_hz is None:
            raise BadConfig("trigger = 'hrtimer' needs rate_hz")


def find_device(name: str, root: Path) -> Path:
    """A sensor's folder in sysfs.

    Raises:
        SourceAbsent: there is none of that name.
        SourceUnfit: there are several.
    """
    folder = root / "sys/bus/iio/devices"
    names = {each: device_name(each) for each in sorted(folder.glob("iio:device*"))}
    found = [each for each, said in names.items() if name in (said, each.name)]
    if not found:
        there = ", ".join(f"{said} ({each.name})" for each, said in names.items())
        raise SourceAbsent(
            f"no IIO sensor {name!r}; there are: {there or 'none'}; "
            "is its driver or overlay loaded?"
        )
    if len(found) > 1:
        raise SourceUnfit(
            f"{len(found)} IIO sensors are called {name!r}: name one of "
            f"{', '.join(each.name for each in found)}"
        )
    return found[0]


def device_name(device: Path) -> str:
    """What a device or trigger calls itself."""
    file = device / "name"
    return file.read_text().strip() if file.is_file() else device.name


@contextmanager
def asking(doing: str) -> Iterator[None]:
    """Turns what the kernel refuses into an error that says what to do."""
    try:
        yield
    except OSError as exc:
        raise named(exc, doing=doing, advice=ADVICE, is_opening=True) from exc


def check_names(config: IioConfig, there: list[str]) -> list[str]:
    """The channels to read.

    Raises:
        SourceUnfit: there is no such channel.
    """
    for name in config.channels:
        if name not in there:
            raise SourceUnfit(
                f"IIO sensor {config.device!r} has no channel {name!r}; "
                f"it has: {', '.join(there) or 'none'}"
            )
    return list(config.channels) or there


def conversion_ns(config: IioConfig, rate_hz: float | None) -> tuple[float, str]:
    """How long a value is measured, and how that is known."""
    if config.conversion_s is not None:
        return config.conversion_s * NS_PER_S, "as configured"
    if rate_hz:
        return NS_PER_S / rate_hz, f"taken to be all of the time between two at {rate_hz:g} Hz"
    return UNKNOWN_CONVERSION_NS, "not known: conversion_s says it"
