"""A benchmark that is ended early, with real workers, brokers and aggregators: none is left."""

import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from coeval_lab.process_tree import command_of

from .staging import PATIENCE_S, wait_until

RUN = "from coeval.cli import main; main()"
MARK = "COEVAL_TEST_MARK"


def hear_interrupts() -> None:
    """Take SIGINT as at a terminal: tests run in the background inherit that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class MarkedBench:
    """A benchmark whose processes, and theirs, are known by a variable that they inherit."""

    def __init__(self) -> None:
        self._mark = f"{MARK}={uuid.uuid4()}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        name, _, value = self._mark.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, "bench", *arguments],
            env=os.environ | {name: value},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=hear_interrupts,
        )
        return self.process

    def running(self) -> list[bytes]:
        """How the processes that run were called."""
        return [command for pid in self.pids() if (command := command_of(pid))]

    def pids(self) -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            try:
                if self._mark.encode() in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return found


@pytest.fixture
def bench() -> Iterator[MarkedBench]:
    made = MarkedBench()
    yield made
    for pid in made.pids():
        os.kill(pid, signal.SIGKILL)
    if made.process is not None:
        made.process.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("number", "arguments", "seen", "num"),
    [
        (signal.SIGINT, ("time", "--quick"), b"multiprocessing.spawn", 2),
        (signal.SIGTERM, ("time", "--quick"), b"multiprocessing.spawn", 2),
        (signal.SIGTERM, ("align", "--quick", "--no-peers"), b"multiprocessing.forkserver", 2),
        (signal.SIGTERM, ("aggregator", "--quick", "--sections", "live"), b"--broker", 1),
    ],
)
def test_an_ended_benchmark_leaves_no_process(
    bench: MarkedBench, number: signal.Signals, arguments: tuple[str, ...], seen: bytes, num: int
) -> None:
    process = bench.start(*arguments)
    wait_until(
        lambda: sum(seen in command for command in bench.running()) >= num,
        f"{seen!r}",
        seen=bench.running,
    )
    process.send_signal(number)
    assert process.wait(PATIENCE_S) != 0
    wait_until(lambda: not bench.pids(), "the others to end", seen=bench.running)
