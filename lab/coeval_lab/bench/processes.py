"""Parts of a benchmark side by side, each in a process of its own."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from typing import ParamSpec, TypeVar

from coeval_lab.bench.ending import is_ending
from coeval_lab.process_tree import descendants_of, send

T = TypeVar("T")
P = ParamSpec("P")

WORKERS = 2
PROCESSES = multiprocessing.get_context("forkserver")


def in_process(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a function returns, called in a process of its own.

    What it holds decoded does not count as another's memory, and one that is killed for its memory
    takes no other with it.

    Raises:
        BrokenProcessPool: its process ended, or is not begun since the benchmark is being ended;
            and whatever the function raises.
    """
    with ProcessPoolExecutor(1, mp_context=PROCESSES) as process:
        running = process.submit(work, *args, **kwargs)
        if is_ending.is_set():  # looked at after it is begun: whoever ends all may have missed it
            send(signal.SIGTERM, descendants_of(os.getpid()))
        return running.result()


def as_done(jobs: Sequence[tuple[str, Callable[[], T]]]) -> Iterator[tuple[str, T]]:
    """Names of jobs and what they return, as they are done; begun in the order given.

    The jobs wait in threads, WORKERS at a time; what is heavy goes through `in_process`.
    """
    with ThreadPoolExecutor(WORKERS) as threads:
        running: dict[Future[T], str] = {threads.submit(job): name for name, job in jobs}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)  # Ctrl-C ends it, not one job of it
            raise
