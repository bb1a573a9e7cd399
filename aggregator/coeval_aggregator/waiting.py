"""What waits in a queue, taken out at once: to be sorted and put back, or to be closed."""

import queue
from typing import TypeVar

T = TypeVar("T")


def take_all(waiting: "queue.SimpleQueue[T]") -> list[T]:
    """All that waits now, in order; the queue is empty unless others put meanwhile."""
    taken: list[T] = []
    try:
        while True:
            taken.append(waiting.get_nowait())
    except queue.Empty:
        return taken
