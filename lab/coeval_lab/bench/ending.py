"""A benchmark that is ended early ends all that it has started: workers, brokers, aggregators.

Left alone, worker processes would wait for their next job for ever, and servers for clients.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from coeval_lab.process_tree import descendants_of, see_ended, send

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ENDS_WITHIN_S = 10.0
"""An aggregator closes its store, a broker writes its state."""

is_ending = threading.Event()
"""Set when no more processes may be started."""


@contextmanager
def ending_what_was_started() -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a closed terminal end the `with` block and all processes it started.

    They are told first: blocks that wait for them would hold the end up. To be called in the main
    thread.
    """
    told: list[int] = []

    def end(number: int, _frame: object) -> None:
        is_ending.set()
        told.extend(descendants_of(os.getpid()))
        send(signal.SIGTERM, told)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # nohup
            signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        see_ended(told, within_s=ENDS_WITHIN_S)
        is_ending.clear()
