"""The aggregator in a process of its own, as `coeval aggregator` starts it, and a look at it.

Processor time and memory are the kernel's (proc(5)), so that nothing runs within what is measured.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from coeval.errors import CoevalError
from coeval_lab.bench.aggregator_load import Load, scene_material
from coeval_lab.broker import HOST, RunningBroker, free_port

Row = dict[str, Any]
Say = Callable[[str], None]

PATIENCE_S = 600.0
TICKS_A_S = os.sysconf("SC_CLK_TCK")
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
COMMAND = (sys.executable, "-c", "from coeval.cli import main; main()")
START_S = 2.0
"""From its store's being there to its subscriptions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One look at the process."""

    t_s: float
    """When, on the monotonic clock."""
    cpu_s: float
    """Its processor time so far."""
    memory_mb: float
    """Its resident memory."""
    machine_s: float
    """Processor time of the whole machine so far."""
    estimating_s: float | None = None
    """Processor time of its estimates of clocks so far; None: not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Of one core."""

    own: float
    """What the aggregator takes."""
    estimating: float
    """Of that, for estimates of clocks."""
    others: float
    """What all other processes of this machine take, broker and sender among them."""


@dataclass(slots=True)
class Watched:
    """A running aggregator, looked at now and then."""

    process: "subprocess.Popen[bytes]"
    """The process."""
    api: str
    """Where it answers."""
    seen: list[Seen] = field(default_factory=list)
    """All looks, in time order."""

    def look(self, *, is_mark: bool = False) -> Seen:
        """Look; a mark is where a share begins or ends.

        Raises:
            CoevalError: it has ended.
        """
        if self.process.poll() is not None:
            raise CoevalError(f"the aggregator ended with code {self.process.returncode}")
        now = Seen(
            t_s=time.monotonic(),
            cpu_s=cpu_of(self.process.pid),
            memory_mb=memory_of(self.process.pid),
            machine_s=machine_cpu_s(),
            estimating_s=self.metric("coeval_estimating_cpu_seconds_total") if is_mark else None,
        )
        self.seen.append(now)
        return now

    def metric(self, name: str) -> float:
        """What it tells Prometheus."""
        with urllib.request.urlopen(f"{self.api}/metrics", timeout=30.0) as reply:
            lines = reply.read().decode().splitlines()
        return float(next(line.split()[1] for line in lines if line.startswith(f"{name} ")))

    def shares(self) -> Shares:
        """Between the first mark and the last."""
        marks = [each for each in self.seen if each.estimating_s is not None]
        begin, end = marks[0], marks[-1]
        took_s = end.t_s - begin.t_s
        assert begin.estimating_s is not None
        assert end.estimating_s is not None
        own = (end.cpu_s - begin.cpu_s) / took_s
        return Shares(
            own=own,
            estimating=(end.estimating_s - begin.estimating_s) / took_s,
            others=(end.machine_s - begin.machine_s) / took_s - own,
        )


@contextmanager
def aggregating(broker: RunningBroker, url: str) -> Iterator[Watched]:
    """An aggregator of all sessions; ended by a signal, as systemd would."""
    api = f"{HOST}:{free_port()}"
    options = ["--session", "+", "--broker", broker.url, "--store", url, "--api", api]
    with subprocess.Popen(
        [*COMMAND, "aggregator", *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield Watched(process, f"http://{api}")
        finally:
            process.send_signal(signal.SIGTERM)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A sender at work."""

    process: "subprocess.Popen[str]"
    """Its process."""
    began_s: float
    """When it began, on the monotonic clock."""
    seconds: float
    """How long it sends."""

    @property
    def is_done(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def told(self) -> dict[str, Any]:
        """What it sent and heard, once it has ended.

        Raises:
            CoevalError: it failed.
        """
        said, _ = self.process.communicate()
        if self.process.returncode:
            raise CoevalError(f"the sender ended with code {self.process.returncode}")
        told: dict[str, Any] = json.loads(said)
        return told


@contextmanager
def sending(broker: RunningBroker, load: Load, *, seconds: float) -> Iterator[Sending]:
    """A sender of a load."""
    with tempfile.TemporaryDirectory(prefix="coeval-bench-") as folder:
        scene = Path(folder) / "scene.npz"
        scene_material().save(scene)
        sizes = ",".join(map(str, load.sessions))
        module = [sys.executable, "-m", "coeval_lab.bench.aggregator_load"]
        with subprocess.Popen(
            [*module, broker.url, str(scene), sizes, str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                began_s = float(process.stdout.readline())
                yield Sending(process=process, began_s=began_s, seconds=seconds)
            finally:
                process.kill()


def num_blocks(url: str) -> int:
    """Blocks in an SQLite store that another process writes."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30.0)
    try:
        ((num,),) = connection.execute("SELECT num_blocks FROM kept_blocks").fetchall()
    except sqlite3.OperationalError:  # its tables are not made yet
        num = 0
    finally:
        connection.close()
    return int(num)


def wait_until_up(folder: Path) -> None:
    """Wait until an aggregator with `store.db` in a folder serves."""
    wait_for((folder / "store.db").exists, "the aggregator")
    time.sleep(START_S)


def wait_for(is_so: Callable[[], bool], what: str, *, patience_s: float = PATIENCE_S) -> None:
    """Wait.

    Raises:
        CoevalError: it does not come.
    """
    until_s = time.monotonic() + patience_s
    while not is_so():
        if time.monotonic() > until_s:
            raise CoevalError(f"waited {patience_s:g} s for {what}")
        time.sleep(0.05)


def cpu_of(pid: int) -> float:
    """Processor seconds of a process so far (utime and stime)."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_A_S


def machine_cpu_s() -> float:
    """Processor seconds of all processes so far: all that is not idle."""
    words = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0].split()[1:9]
    user, nice, system, _idle, _iowait, irq, softirq, _steal = map(int, words)
    return (user + nice + system + irq + softirq) / TICKS_A_S


def memory_of(pid: int) -> float:
    """Resident memory of a process, MB."""
    text = Path(f"/proc/{pid}/statm").read_text(encoding="ascii")
    return int(text.split()[1]) * PAGE_MB


def rounded(value: float, digits: int = 1) -> float | None:
    """None where it is not a number: nothing was measured."""
    return None if np.isnan(value) else round(value, digits)
