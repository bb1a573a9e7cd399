"""A few connections to the store for requests that run at the same time."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from coeval_aggregator.store.errors import StoreUnavailable
from coeval_aggregator.store.reading import Reader
from coeval_aggregator.waiting import take_all

MOST_READERS = 4
PATIENCE_S = 10.0
ANSWERS_WITHIN_S = 10.0
"""A request does not wait longer for one statement of the database."""


class Readers:
    """Lends readers; one that met an error is not used again."""

    def __init__(self, open_reader: Callable[[], Reader]) -> None:
        self._open = open_reader
        self._idle: queue.SimpleQueue[Reader] = queue.SimpleQueue()
        self._free = threading.Semaphore(MOST_READERS)

    @contextmanager
    def lend(self) -> Iterator[Reader]:
        """A reader for one request.

        Raises:
            StoreUnavailable: the database does not answer, or too many ask at once.
        """
        if not self._free.acquire(timeout=PATIENCE_S):
            raise StoreUnavailable(
                f"more than {MOST_READERS} requests wait for the store; ask again, and look at it"
            )
        try:
            try:
                reader = self._idle.get_nowait()
            except queue.Empty:
                reader = self._open()
            try:
                yield reader
            except BaseException:
                reader.close()
                raise
            self._idle.put(reader)
        finally:
            self._free.release()

    def close(self) -> None:
        """Close those that are not lent."""
        for reader in take_all(self._idle):
            reader.close()
