"""A sensor's buffer: the kernel stamps each frame when its trigger fires, by a clock of choice."""

import errno
import logging
import math
import os
import select
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from coeval.samples import MetadataBlock, Sample
from coeval.time import NodeNs
from coeval_edge.kernel_clocks import KernelClock, ReadClock, StampConverter
from coeval_edge.sources.errors import SourceAbsent, SourceLost, SourceUnfit, named
from coeval_edge.sources.iio_device import (
    ADVICE,
    IioConfig,
    asking,
    check_names,
    conversion_ns,
    device_name,
)
from coeval_edge.sources.iio_scan import Channel, FrameLayout, attribute, read_channels, unit_of
from coeval_edge.sources.timing import Timing

logger = logging.getLogger(__name__)

CLOCKS = {
    "monotonic_raw": KernelClock.RAW,
    "monotonic": KernelClock.MONOTONIC,
    "boottime": KernelClock.BOOTTIME,
    "realtime": KernelClock.REALTIME,
}
"""What `current_timestamp_clock` may be, the best first; the coarse ones are ms apart."""
FRAMES = 256
"""The kernel keeps so many until they are read."""
READ_FRAMES = 128
BATCH_S = 0.05
"""Frames of so long are read together."""
STAMP_SIGMA_NS = 50e3
"""A stamp is taken in the trigger's interrupt: some tens of µs under load."""


def buffered_channels(device: Path) -> list[Channel] | None:
    """What a device's buffer may hold, the timestamp among it; None where it has none, or no
    timestamp in it.

    Raises:
        SourceUnfit: a file says something else than it should.
    """
    channels = read_channels(device)
    is_stamped = any(channel.name == "timestamp" for channel in channels)
    if not is_stamped or len(channels) < 2 or not (device / "buffer/enable").is_file():
        return None
    return channels


class BufferedIio:
    """Frames of a device's buffer.

    All channels are enabled, and those that were asked for picked here: some drivers put the first
    ones into a frame whichever are enabled (hid-sensor-accel-3d of Linux 6.12 does). Where a device
    cannot do all at once, only those asked for are.
    """

    def __init__(
        self,
        config: IioConfig,
        device: Path,
        channels: Sequence[Channel],
        *,
        root: Path,
        read_clock: ReadClock = time.clock_gettime_ns,
    ) -> None:
        """Set the device up and start it.

        Raises:
            SourceUnusable: one of its kinds, with what to do.
        """
        self.counts: Counter[str] = Counter()
        """Frames: used, backwards, unplaced (by a clock that was stepped, or of the future)."""
        self._device, self._rest = device, b""
        there = [channel.name for channel in channels if channel.name != "timestamp"]
        wanted = check_names(config, there)
        self._timer: Path | None = None
        node = root / "dev" / device.name
        with asking(f"open {node}"):
            self._fd = os.open(node, os.O_RDONLY | os.O_NONBLOCK)
        try:
            clock = self._set_up(config, there, root)
            self._layout = self._start(channels, wanted)
        except BaseException:
            self.close()
            raise
        names = [value for c in channels if c.name in wanted for value in c.names]
        self._columns = [self._layout.values.index(name) for name in names]
        self.units: Mapping[str, str] = {name: unit_of(name) for name in names}
        rate_hz = self._rate_hz(config, there)
        length_ns, known = conversion_ns(config, rate_hz)
        trigger = self._trigger()
        self.timing = Timing(
            origin="kernel",
            latency_ns=length_ns / 2,
            sigma_ns=math.hypot(STAMP_SIGMA_NS, length_ns / math.sqrt(12.0)),
            how=f"the kernel's stamp of the reading's trigger ({trigger}) by {clock}, less half a "
            f"conversion ({known}); a filter in the sensor is later still",
        )
        self._converter = StampConverter(CLOCKS[clock], read=read_clock)
        self._last_ns: int | None = None

    def read(self, timeout_s: float) -> list[Sample]:
        """The frames that come within `timeout_s`, as soon as there are any.

        Raises:
            SourceLost: the sensor was unplugged, or its driver unbound.
        """
        if not select.select([self._fd], [], [], timeout_s)[0]:
            self._converter.watch()
            if not self._device.exists():
                raise SourceLost(f"{self._device} is gone: {ADVICE[SourceLost]}")
        try:  # fewer frames than are waited for may be there, of a sensor that has paused
            data = os.read(self._fd, READ_FRAMES * self._layout.size)
        except BlockingIOError:
            return []
        except OSError as exc:
            raise named(exc, doing=f"read {self._device.name}", advice=ADVICE) from exc
        data = self._rest + data
        whole = len(data) - len(data) % self._layout.size
        self._rest = data[whole:]
        stamps_ns, values = self._layout.decode(data[:whole])
        times_ns, rows = [], []
        for stamp_ns, row in zip(stamps_ns.tolist(), values[:, self._columns], strict=True):
            t_node_ns = self._place(stamp_ns)
            if t_node_ns is not None:
                times_ns.append(t_node_ns)
                rows.append(row)
        if not times_ns:
            return []
        return [MetadataBlock(t_node_ns=np.array(times_ns, np.int64), values=np.array(rows))]

    def close(self) -> None:
        """Stop the device, and take away the timer that was made for it."""
        try:
            (self._device / "buffer/enable").write_text("0")
        except OSError as exc:
            logger.debug("iio not stopped device=%s reason=%s", self._device, exc)
        os.close(self._fd)
        if self._timer is not None:
            try:
                (self._device / "trigger/current_trigger").write_text("\n")
                self._timer.rmdir()
            except OSError as exc:
                logger.warning("iio timer kept timer=%s reason=%s", self._timer, exc)

    def _place(self, stamp_ns: int) -> NodeNs | None:
        """A frame's stamp on the node's clock, at the middle of the conversion."""
        stamp = self._converter.to_node(stamp_ns)
        if stamp is None:
            self.counts["unplaced"] += 1
            return None
        t_node_ns = stamp.t_node_ns - round(self.timing.latency_ns)
        if self._last_ns is not None and t_node_ns <= self._last_ns:
            self.counts["backwards"] += 1
            return None
        self._last_ns = t_node_ns
        self.counts["used"] += 1
        return NodeNs(t_node_ns)

    def _set_up(self, config: IioConfig, there: list[str], root: Path) -> str:
        """Choose clock, rate and trigger; the clock's name."""
        device = self._device
        self._write("buffer/enable", "0")
        clock = self._choose_clock()
        if config.trigger == "hrtimer":
            self._make_timer(config, root)
        elif config.trigger:
            self._choose_trigger(config.trigger, root)
        if config.rate_hz is not None and config.trigger != "hrtimer":
            self._set_rate(config.rate_hz, there)
        self._write("buffer/length", str(FRAMES))
        rate_hz = self._rate_hz(config, there) or 1.0
        watermark = device / "buffer/watermark"
        if watermark.is_file():
            self._write("buffer/watermark", str(min(max(int(rate_hz * BATCH_S), 1), FRAMES // 2)))
        return clock

    def _start(self, channels: Sequence[Channel], wanted: list[str]) -> FrameLayout:
        """Enable all channels, or where that cannot be those asked for; what a frame then is."""
        few = [channel for channel in channels if channel.name in (*wanted, "timestamp")]
        for enabled in (channels, few):
            names = {channel.name for channel in enabled}
            for file in sorted((self._device / "scan_elements").glob("in_*_en")):
                name = file.name.removeprefix("in_").removesuffix("_en")
                self._write(f"scan_elements/{file.name}", "1" if name in names else "0")
            try:
                self._write(
                    "buffer/enable",
                    "1",
                    hint="it may have no trigger, or not read these channels at once: see trigger "
                    "and channels",
                )
            except SourceUnfit:
                if len(enabled) == len(few):
                    raise
            else:
                break
        return FrameLayout(enabled)

    def _choose_clock(self) -> str:
        """The best clock that the device takes, set; or the one it has, where it may not be set.

        Raises:
            SourceUnfit: it keeps to one that cannot be put on the node's.
        """
        file = self._device / "current_timestamp_clock"
        if not file.is_file():
            return "realtime"  # as before Linux 4.8
        for clock in CLOCKS:
            try:
                file.write_text(clock)
            except OSError as exc:
                if exc.errno != errno.EINVAL:
                    break
            if file.read_text().strip() == clock:
                return clock
        has = file.read_text().strip()
        if has not in CLOCKS:
            raise SourceUnfit(
                f"{file} is {has!r} and cannot be set: echo monotonic_raw | sudo tee {file}"
            )
        return has

    def _set_rate(self, rate_hz: float, there: list[str]) -> None:
        for file in rate_files(self._device, there):
            self._write(
                str(file.relative_to(self._device)), f"{rate_hz:g}", hint=available(self._device)
            )

    def _rate_hz(self, config: IioConfig, there: list[str]) -> float | None:
        if config.trigger == "hrtimer":
            return config.rate_hz
        rates = [attribute(self._device, name, "sampling_frequency") for name in there]
        return next((rate for rate in rates if rate), None)

    def _trigger(self) -> str:
        file = self._device / "trigger/current_trigger"
        name = file.read_text().strip() if file.is_file() else ""
        return name or "the sensor's own"

    def _choose_trigger(self, name: str, root: Path) -> None:
        """Set the trigger; a name that there is not would silently mean none."""
        folders = sorted((root / "sys/bus/iio/devices").glob("trigger*"))
        there = [device_name(each) for each in folders]
        if name not in there:
            raise SourceUnfit(f"no IIO trigger {name!r}; there are: {', '.join(there) or 'none'}")
        self._write("trigger/current_trigger", name, hint="its driver takes its own only")

    def _make_timer(self, config: IioConfig, root: Path) -> None:
        """A timer of the kernel's that starts the readings."""
        folder = root / "sys/kernel/config/iio/triggers/hrtimer"
        name = f"coeval-{self._device.name.removeprefix('iio:')}"
        timer = folder / name
        if not folder.is_dir():
            raise SourceUnfit(
                f"no {folder}: sudo modprobe iio-trig-hrtimer, and "
                "sudo mount -t configfs none /sys/kernel/config"
            )
        with asking(f"make {timer}"):
            timer.mkdir(exist_ok=True)
        self._timer = timer
        (trigger,) = [
            each
            for each in sorted((root / "sys/bus/iio/devices").glob("trigger*"))
            if device_name(each) == name
        ]
        with asking(f"set {trigger}/sampling_frequency"):
            (trigger / "sampling_frequency").write_text(f"{config.rate_hz:g}")
        self._choose_trigger(name, root)

    def _write(self, file: str, text: str, *, hint: str = "") -> None:
        path = self._device / file
        try:
            path.write_text(text)
        except OSError as exc:
            refused = exc.errno in (errno.EINVAL, errno.ENOENT, errno.ENODEV) and hint
            advice = {**ADVICE, **dict.fromkeys((SourceUnfit, SourceAbsent), hint)}
            raise named(
                exc,
                doing=f"write {text!r} to {path}",
                advice=advice if refused else ADVICE,
                is_opening=True,
            ) from exc


def rate_files(device: Path, channels: list[str]) -> Iterator[Path]:
    """The files that set the rate of these channels."""
    shared = device / "sampling_frequency"
    if shared.is_file():
        yield shared
        return
    kinds = dict.fromkeys(name.split("_")[0] for name in channels)
    for kind in kinds:
        file = device / f"in_{kind}_sampling_frequency"
        if file.is_file():
            yield file


def available(device: Path) -> str:
    """What rates a device takes, for a message."""
    said = [
        file.read_text().strip() for file in sorted(device.glob("*sampling_frequency_available"))
    ]
    return f"it takes {said[0]}" if said else "it takes other rates"
