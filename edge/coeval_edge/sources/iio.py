"""Sensors of the kernel's industrial I/O: an IMU, a magnetometer, an ADC, by the kernel's stamps.

With a buffer, the kernel stamps each frame when its trigger fires, by a clock that can be chosen:
the node's own where the driver allows. A device that has none is polled, file by file: the stamp is
then the middle of the reading, which is arrival. Either way a value is as old as half of the
sensor's conversion.
"""

import logging
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from coeval.samples import Sample
from coeval_edge.kernel_clocks import ReadClock
from coeval_edge.sources.iio_buffer import BufferedIio, buffered_channels
from coeval_edge.sources.iio_device import IioConfig, asking, find_device
from coeval_edge.sources.iio_polled import PolledIio
from coeval_edge.sources.timing import Timing

logger = logging.getLogger(__name__)


class IioSource(Protocol):
    """Either way of reading a sensor."""

    timing: Timing
    units: Mapping[str, str]
    counts: Counter[str]

    def read(self, timeout_s: float) -> list[Sample]:
        """What it measured, waiting up to `timeout_s`."""

    def close(self) -> None:
        """Give it back."""


def open_iio(
    config: IioConfig, *, root: Path = Path("/"), read_clock: ReadClock = time.clock_gettime_ns
) -> IioSource:
    """Open a sensor: its buffer where it has one that is stamped, else its files.

    Args:
        config: the sensor.
        root: where /dev and /sys are.
        read_clock: reads the kernel's clocks.

    Raises:
        SourceUnusable: one of its kinds, with what to do.
    """
    device = find_device(config.device, root)
    with asking(f"read {device}"):
        channels = buffered_channels(device)
    if channels is None:
        logger.info("iio device=%s has no stamped buffer: polled", config.device)
        return PolledIio(config, device, read_clock=read_clock)
    return BufferedIio(config, device, channels, root=root, read_clock=read_clock)
