"""What came on the present connection and is not acknowledged yet; acknowledged in its order only.

MQTT asks for that order (3.1.1, section 4.6), and brokers rely on it: mosquitto has more messages
under way than there are numbers when it drains a queue, and takes an acknowledgement for the oldest
of its number. One that overtook would make it forget a message that is not stored (2026-11-26:
4 700 of 393 800 blocks, lost after an outage of ten minutes).
"""

from collections import deque
from collections.abc import Iterable

from coeval_aggregator.store.records import Ack


class Receipts:
    """The books on one connection after the other; not locked."""

    def __init__(self) -> None:
        self._connection = 0
        self._open: deque[int] = deque()
        """The broker's numbers of what is not acknowledged, in the order in which it came."""
        self._first = 0
        """How many messages of this connection were acknowledged."""
        self._done: set[int] = set()
        """What may be acknowledged, and waits for what came before it."""

    @property
    def connection(self) -> int:
        """Number of the present connection."""
        return self._connection

    def begin(self) -> None:
        """Another connection: what came before cannot be acknowledged any more."""
        self._connection += 1
        self._open.clear()
        self._first = 0
        self._done.clear()

    def note(self, mid: int) -> Ack:
        """Enter a message under the broker's number."""
        self._open.append(mid)
        return Ack(self._connection, self._first + len(self._open) - 1)

    def settle(self, acks: Iterable[Ack]) -> list[int]:
        """Take what is dealt with; the broker's numbers to acknowledge now, in this order."""
        self._done.update(
            ack.number
            for ack in acks
            if ack.connection == self._connection and ack.number >= self._first
        )
        mids: list[int] = []
        while self._first in self._done:
            self._done.remove(self._first)
            self._first += 1
            mids.append(self._open.popleft())
        return mids
