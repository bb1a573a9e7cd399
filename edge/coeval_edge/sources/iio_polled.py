"""A sensor without a stamped buffer, read file by file: its only time is that of the reading."""

import errno
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from coeval.samples import MetadataBlock, Sample
from coeval.time import NS_PER_S
from coeval_edge.kernel_clocks import ReadClock, read_node_clock
from coeval_edge.sources.errors import SourceLost, SourceUnfit
from coeval_edge.sources.iio_device import ADVICE, IioConfig, asking, check_names, conversion_ns
from coeval_edge.sources.iio_scan import attribute, unit_of
from coeval_edge.sources.timing import Timing

POLL_SIGMA_NS = 2e6
"""A program that reads by itself is woken 0.1 to 5 ms late, and its reading takes as long."""
FAILED_READS = 10
"""So many readings in a row that fail: the sensor is gone."""


class PolledIio:
    """Files of sysfs, read one by one: no buffer, so no stamp but arrival."""

    def __init__(
        self,
        config: IioConfig,
        device: Path,
        *,
        read_clock: ReadClock = time.clock_gettime_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Find the files.

        Raises:
            SourceUnusable: one of its kinds, with what to do.
        """
        self.counts: Counter[str] = Counter()
        """Readings: used, failed, skipped (it was read too late for them)."""
        files = {
            file.name.removeprefix("in_").removesuffix(end): (file, end == "_input")
            for end in ("_raw", "_input")
            for file in sorted(device.glob(f"in_*{end}"))
        }
        names = check_names(config, list(files))
        if not names:
            raise SourceUnfit(f"IIO sensor {config.device!r} has nothing to read: no in_*_raw")
        self._files: list[tuple[Path, float, float]] = []
        with asking(f"read {device}"):
            for name in names:
                file, is_scaled = files[name]
                scale = None if is_scaled else attribute(device, name, "scale")
                offset = None if is_scaled else attribute(device, name, "offset")
                self._files.append((file, 1.0 if scale is None else scale, offset or 0.0))
                file.read_text()
        self.units: Mapping[str, str] = {name: unit_of(name) for name in names}
        self._read_clock, self._sleep = read_clock, sleep
        self._period_ns = round(NS_PER_S / (config.rate_hz or 50.0))
        length_ns, known = conversion_ns(config, attribute(device, names[0], "sampling_frequency"))
        self.timing = Timing(
            origin="arrival",
            latency_ns=length_ns / 2,
            sigma_ns=math.hypot(POLL_SIGMA_NS, length_ns / math.sqrt(12.0)),
            how=f"the middle of its reading, less half a conversion ({known}): the sensor has no "
            "buffer with stamps, so its files are read",
        )
        self._due_ns: int = read_node_clock(read_clock)
        self._num_failed = 0

    def read(self, timeout_s: float) -> list[Sample]:
        """The next reading, if it is due within `timeout_s`.

        Raises:
            SourceLost: it was unplugged, or failed ten times in a row.
        """
        wait_ns = self._due_ns - read_node_clock(self._read_clock)
        if wait_ns > timeout_s * NS_PER_S:
            self._sleep(timeout_s)
            return []
        if wait_ns > 0:
            self._sleep(wait_ns / NS_PER_S)
        before_ns = read_node_clock(self._read_clock)
        late = max(before_ns - self._due_ns, 0) // self._period_ns
        self.counts["skipped"] += late
        self._due_ns += (late + 1) * self._period_ns
        try:
            row = [
                (float(file.read_text()) + offset) * scale for file, scale, offset in self._files
            ]
        except (OSError, ValueError) as exc:
            self._fail(exc)
            return []
        after_ns = read_node_clock(self._read_clock)
        self._num_failed = 0
        self.counts["used"] += 1
        middle_ns = (before_ns + after_ns) // 2 - round(self.timing.latency_ns)
        return [
            MetadataBlock(
                t_node_ns=np.array([middle_ns], np.int64), values=np.array([row], np.float64)
            )
        ]

    def close(self) -> None:
        """Nothing is held."""

    def _fail(self, exc: OSError | ValueError) -> None:
        self.counts["failed"] += 1
        self._num_failed += 1
        is_gone = isinstance(exc, OSError) and exc.errno in (errno.ENODEV, errno.ENOENT)
        if is_gone or self._num_failed >= FAILED_READS:
            raise SourceLost(
                f"{self._files[0][0].parent}: cannot be read ({exc}); {ADVICE[SourceLost]}"
            ) from exc
