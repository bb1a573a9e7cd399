"""Parts of a benchmark side by side, each in a process of its own."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from typing import ParamSpec, TypeVar

T = TypeVar("T")
P = ParamSpec("P")

WORKERS = 2
PROCESSES = multiprocessing.get_context("forkserver")


def in_process(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What a function returns, called in a process of its own.

    What it holds decoded does not count as another's memory, and one that is killed for its memory
    takes no other with it.

    Raises:
        BrokenProcessPool: its process ended; and whatever the function raises.
    """
    with ProcessPoolExecutor(1, mp_context=PROCESSES) as process:
        return process.submit(work, *args, **kwargs).result()


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
