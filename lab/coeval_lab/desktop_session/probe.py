"""What the session does to the machine, and where the pointer is: two threads that poll.

A reading is stamped when it is made; a rate is that since the last reading, as `top` shows it.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from coeval_lab.desktop_session.display import Display
from coeval_lab.desktop_session.screen import HEIGHT, WIDTH

METRICS_HZ = 50.0
POINTER_HZ = 50.0
METRICS_UNITS = {
    "server_cpu": "% of a core",
    "programs_cpu": "% of a core",
    "switches": "1/s",
    "read": "kB/s",
    "written": "kB/s",
    "memory": "MB",
    "processes": "1",
}
POINTER_UNITS = {"x": "px", "y": "px"}


@dataclass(slots=True)
class Series:
    """Readings as they come."""

    t_ns: list[int] = field(default_factory=list)
    """CLOCK_MONOTONIC."""
    rows: list[Sequence[float]] = field(default_factory=list)
    """One row a reading."""


def descendants(roots: Sequence[int]) -> list[int]:
    """The processes and all their children, by /proc."""
    found, waiting = [], list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        try:
            for task in os.listdir(f"/proc/{pid}/task"):
                children = Path(f"/proc/{pid}/task/{task}/children").read_text()
                waiting += [int(child) for child in children.split()]
        except OSError:
            continue
    return found


def cpu_ns(pid: int) -> tuple[int, int]:
    """Time on a core in ns and times it was put on one, over all threads; 0, 0 when gone."""
    total_ns = switches = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            on_core, _, slices = Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()
            total_ns += int(on_core)
            switches += int(slices)
    except OSError:
        pass
    return total_ns, switches


def io_bytes(pid: int) -> tuple[int, int]:
    """Bytes read and written by system calls, by /proc/PID/io; 0, 0 when gone."""
    try:
        lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    except OSError:
        return 0, 0
    facts = {key: int(value) for key, value in (line.split(": ") for line in lines)}
    return facts["rchar"], facts["wchar"]


def memory_bytes(pid: int) -> int:
    """Resident memory; 0 when gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


class MetricsProbe:
    """How much the X server and the programs compute, read, write and hold."""

    def __init__(self, server: int, programs: Callable[[], Sequence[int]]) -> None:
        """Choose whom to watch.

        Args:
            server: process id of the X server.
            programs: gives the process ids of the programs that run now.
        """
        self.series = Series()
        self._server, self._programs = server, programs
        self._before: dict[int, tuple[int, ...]] = {}
        self._t_before_ns = 0

    def read(self) -> None:
        """One reading: what has been done since the last one."""
        programs = descendants(self._programs())
        t_ns = time.monotonic_ns()
        now: dict[int, tuple[int, ...]] = {
            pid: (*cpu_ns(pid), *io_bytes(pid)) for pid in (self._server, *programs)
        }
        length_s = (t_ns - self._t_before_ns) * 1e-9
        done = {
            pid: [max(b - a, 0) / length_s for a, b in zip(before, counts, strict=True)]
            for pid, counts in now.items()
            if (before := self._before.get(pid, (0, 0, 0, 0) if self._before else counts))
        }
        if self._before:
            sums = np.sum([done[pid] for pid in programs if pid in done] or [[0.0] * 4], axis=0)
            row = (
                done[self._server][0] * 1e-7,
                sums[0] * 1e-7,
                sums[1] + done[self._server][1],
                sums[2] * 1e-3,
                sums[3] * 1e-3,
                sum(map(memory_bytes, programs)) * 1e-6,
                float(len(programs)),
            )
            self.series.t_ns.append(t_ns)
            self.series.rows.append([round(value, 2) for value in row])
        self._before, self._t_before_ns = now, t_ns


class PointerProbe:
    """Where the pointer is."""

    def __init__(self, display: Display) -> None:
        """Watch the pointer of a display; the connection belongs to the probe's thread."""
        self.series = Series()
        self._display = display

    def read(self) -> None:
        """One reading."""
        before = time.monotonic_ns()
        row = self._display.pointer()
        self.series.t_ns.append((before + time.monotonic_ns()) // 2)
        self.series.rows.append(row)


class StillsProbe:
    """Pictures of the whole screen, seldom and at uneven times."""

    def __init__(self, display: Display) -> None:
        """Photograph a display; the connection belongs to the probe's thread."""
        self.t_ns: list[int] = []
        self.pictures: list[np.ndarray] = []
        self._display = display

    def read(self) -> None:
        """One picture, stamped in the middle of the request."""
        before = time.monotonic_ns()
        picture = self._display.picture(WIDTH, HEIGHT)
        self.t_ns.append((before + time.monotonic_ns()) // 2)
        self.pictures.append(picture)


def poll(
    read: Callable[[], None], period_s: Callable[[], float], stop: threading.Event, *, name: str
) -> threading.Thread:
    """Call a function over and over in a thread of its own until `stop` is set."""

    def run() -> None:
        due_s = time.monotonic()
        while not stop.is_set():
            read()
            due_s = max(due_s + period_s(), time.monotonic())
            stop.wait(max(due_s - time.monotonic(), 0.0))

    thread = threading.Thread(target=run, name=f"coeval[desktop].{name}", daemon=True)
    thread.start()
    return thread
