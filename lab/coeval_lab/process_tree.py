"""The processes that one has started, and those that these have: as Linux tells them in /proc."""

import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

TRACKER = b"multiprocessing.resource_tracker"
"""Python's own: it ends with the process that it belongs to, and nothing else ends it."""


def children_of(pid: int) -> list[int]:
    """The processes that one has started and that are there; of one that is gone, none."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def descendants_of(pid: int) -> list[int]:
    """All that stem from a process, parents before their children, but Python's own trackers."""
    found: list[int] = []
    for child in children_of(pid):
        if TRACKER not in command_of(child):
            found += [child, *descendants_of(child)]
    return found


def command_of(pid: int) -> bytes:
    """How a process was called; of one that is gone, nothing."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def is_running(pid: int) -> bool:
    """Whether a process is there and not merely to be cleared away by its parent."""
    return bool(command_of(pid))


def send(number: signal.Signals, pids: Iterable[int]) -> None:
    """Signal processes; one that is gone needs none."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def see_ended(pids: Iterable[int], *, within_s: float) -> None:
    """Wait until processes have ended; those that have not by then are killed."""
    until_s = time.monotonic() + within_s
    while left := [pid for pid in pids if is_running(pid)]:
        if time.monotonic() > until_s:
            send(signal.SIGKILL, left)
            return
        time.sleep(0.02)
