"""The one thread that writes: what waits becomes a batch, a transaction, and then acknowledgements.

While the database is full or away, the batch is tried again, what comes meanwhile waits up to a
bound, and nothing is acknowledged: the broker keeps it. What is beyond the bound is not taken at
all; the broker is asked for it again afterwards. What the broker delivers again on a new connection
is let go. A batch is what has gathered while the one before was written, so that a slow disk makes
larger batches, not a longer queue.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from coeval.errors import CoevalError
from coeval_aggregator.store.config import StoreConfig
from coeval_aggregator.store.errors import StoreUnavailable
from coeval_aggregator.store.records import Ack, Kept
from coeval_aggregator.store.retention import MOST_BLOCKS, delete_old
from coeval_aggregator.store.store import Store
from coeval_aggregator.waiting import take_all

logger = logging.getLogger(__name__)

MOST_UNASKED = 20_000
"""Clocks, ticks and events beyond these are dropped, counted and told: no broker keeps them."""
BATCH = 2000
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 10.0
SILENT_S = 15.0
"""A batch that is not written after so long is told: a disk or server hangs, and raises nothing."""
RETENTION_S = 60.0
CLOSING_S = 5.0
"""How long an ending aggregator tries to write what waits; the broker keeps the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreState:
    """How the writing goes, as told on MQTT and by the API."""

    problem: str | None
    """Why nothing can be written; None: it can."""
    since_s: float | None
    """Since when, on the monotonic clock; None: it can."""
    num_waiting: int
    """Messages and records not yet durable."""
    num_held_back: int
    """Messages not taken because too many wait: the broker has them."""
    num_blocks: int
    """Blocks written."""
    num_known: int
    """Blocks that were there already."""
    num_refused: int
    """Records that the database does not take, whatever is tried: a defect, told in the log."""
    num_lost: int
    """Clocks, ticks and events dropped because too many waited."""

    def facts(self, *, now_s: float) -> dict[str, object]:
        """The same as it is told, by MQTT and HTTP alike.

        Args:
            now_s: the monotonic clock, which means nothing to others.
        """
        return {
            "problem": self.problem,
            "for_s": None if self.since_s is None else round(now_s - self.since_s, 1),
            "waiting": self.num_waiting,
            "held_back": self.num_held_back,
            "blocks": self.num_blocks,
            "known": self.num_known,
            "refused": self.num_refused,
            "lost": self.num_lost,
        }


class StoreWriter:
    """Writes what sessions leave, and acknowledges it."""

    def __init__(
        self,
        open_store: Callable[[], Store],
        *,
        config: StoreConfig,
        acknowledge: Callable[[Sequence[Ack]], None],
        retry_s: float = FIRST_RETRY_S,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            open_store: connects anew.
            config: the bounds of the store, and of what waits.
            acknowledge: called from the writing thread with what is durable.
            retry_s: how long the first failure is waited out; doubled up to LONGEST_RETRY_S.
        """
        self._open, self._config, self._acknowledge = open_store, config, acknowledge
        self._retry_s = retry_s
        self._waiting: queue.SimpleQueue[Kept | None] = queue.SimpleQueue()
        self._in_hand = 0
        self._num_asked = self._num_answered = 0
        """Messages taken, and those that were dealt with; a thread each counts."""
        self._again = range(0)
        """Connections whose messages, where they were not acknowledged, come again."""
        self._problem: str | None = None
        self._since_s: float | None = None
        self._asking_since_s: float | None = None
        """Since when the database has been asked for something; None: it is not asked."""
        self._num_held_back = self._num_lost = 0
        self._num_blocks = self._num_known = self._num_refused = 0
        self._store: Store | None = None
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="coeval[aggregator].store")

    def start(self) -> None:
        """Open the store and begin; a database that is away is waited for.

        Raises:
            StoreUnusable: it has a newer schema, or is no store: waiting would not help.
        """
        try:
            self._store = self._open()
            logger.info("store open url=%s", self._store.name)
        except StoreUnavailable as exc:
            self._degrade(exc)
        self._thread.start()

    def put(self, kept: Kept) -> bool:
        """Hand something over; False where too much waits, and it was not taken.

        To be called by one thread.
        """
        if kept.ack is None:
            if self._waiting.qsize() + self._in_hand - self._num_unanswered >= MOST_UNASKED:
                self._num_lost += 1
                return False
        elif self._num_unanswered >= self._config.max_waiting:
            self._num_held_back += 1
            return False
        else:
            self._num_asked += 1
        self._waiting.put(kept)
        return True

    def forget(self, again: range) -> None:
        """Let go what waits of earlier connections: the broker delivers it again.

        To be called by the thread that puts, before any of it comes.

        Args:
            again: the connections of which it does.
        """
        self._again = again
        waiting = [kept for kept in take_all(self._waiting) if kept is not None]
        wanted, num_again = without_what_comes_again(waiting, again=again)
        self._num_asked -= num_again
        for kept in wanted:
            self._waiting.put(kept)

    @property
    def is_behind(self) -> bool:
        """Whether there is no room for messages although they can be written: it is soon over."""
        return self._wrong[0] is None and self._num_unanswered >= self._config.max_waiting

    @property
    def _num_unanswered(self) -> int:
        """Messages taken and not dealt with yet."""
        return self._num_asked - self._num_answered

    @property
    def _wrong(self) -> tuple[str | None, float | None]:
        """Why nothing can be written, and since when."""
        problem, since_s, asking_s = self._problem, self._since_s, self._asking_since_s
        if problem is not None or asking_s is None or time.monotonic() - asking_s < SILENT_S:
            return problem, since_s
        return f"no answer for more than {SILENT_S:g} s; look at the server or the disk", asking_s

    @property
    def state(self) -> StoreState:
        """How the writing goes."""
        problem, since_s = self._wrong
        return StoreState(
            problem=problem,
            since_s=since_s,
            num_waiting=self._waiting.qsize() + self._in_hand,
            num_held_back=self._num_held_back,
            num_blocks=self._num_blocks,
            num_known=self._num_known,
            num_refused=self._num_refused,
            num_lost=self._num_lost,
        )

    def close(self) -> None:
        """Write what waits, as far as that goes within CLOSING_S, and end."""
        self._ending.set()
        self._waiting.put(None)
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        batch: list[Kept] = []
        delay_s = self._retry_s
        until_s: float | None = None
        next_retention_s = time.monotonic() + RETENTION_S
        while True:
            if not batch:
                batch = self._gather()
            if self._ending.is_set():
                until_s = time.monotonic() + CLOSING_S if until_s is None else until_s
                if not batch or time.monotonic() > until_s:
                    break
            try:
                self._asking_since_s = time.monotonic()
                store = self._opened()
                batch = self._still_wanted(batch)
                if batch:
                    self._write(store, batch)
                    batch = []
                if time.monotonic() >= next_retention_s:
                    num = delete_old(store, self._config, utc_ns=time.time_ns())
                    is_done = num < MOST_BLOCKS
                    next_retention_s = time.monotonic() + (RETENTION_S if is_done else 1.0)
            except Exception as exc:
                self._asking_since_s = None
                self._degrade(exc)
                batch = self._still_wanted(batch)
                # A stop cuts the waiting short; an ending aggregator tries to the last.
                (time.sleep if self._ending.is_set() else self._ending.wait)(delay_s)
                delay_s = min(2 * delay_s, LONGEST_RETRY_S)
            else:
                self._asking_since_s = None
                delay_s = self._retry_s
                self._recover()
        self._drop_store()

    def _gather(self) -> list[Kept]:
        """What waits, at most BATCH; waits for the first."""
        batch: list[Kept] = []
        try:
            first = self._waiting.get(timeout=1.0)
            while True:
                if first is not None:
                    batch.append(first)
                if len(batch) >= BATCH:
                    break
                first = self._waiting.get_nowait()
        except queue.Empty:
            pass
        self._in_hand = len(batch)
        return batch

    def _still_wanted(self, batch: list[Kept]) -> list[Kept]:
        """A batch in hand without what the broker delivers again meanwhile."""
        wanted, num_again = without_what_comes_again(batch, again=self._again)
        self._num_answered += num_again
        self._in_hand = len(wanted)
        return wanted

    def _write(self, store: Store, batch: Sequence[Kept]) -> None:
        try:
            self._count(store.write(batch).num_blocks, batch)
        except CoevalError:
            raise
        except Exception:  # one of them is a defect: it must not keep the others out
            logger.exception("batch refused records=%d; trying one by one", len(batch))
            for kept in batch:
                self._write_alone(store, kept)
        acks = [kept.ack for kept in batch if kept.ack is not None]
        self._acknowledge(acks)
        self._num_answered += len(acks)
        self._in_hand = 0

    def _write_alone(self, store: Store, kept: Kept) -> None:
        try:
            self._count(store.write([kept]).num_blocks, [kept])
        except CoevalError:
            raise
        except Exception:
            self._num_refused += 1
            logger.exception("record refused session=%s; it is left out", kept.session)

    def _count(self, num_new: int, batch: Sequence[Kept]) -> None:
        num = sum(hasattr(record, "seq") for kept in batch for record in kept.records)
        self._num_blocks += num_new
        self._num_known += num - num_new

    def _opened(self) -> Store:
        if self._store is None:
            self._store = self._open()
        return self._store

    def _degrade(self, exc: Exception) -> None:
        if not isinstance(exc, CoevalError):
            logger.error("store failed", exc_info=exc)
        self._drop_store()
        if self._problem is None:
            self._since_s = time.monotonic()
            logger.error("store unavailable; messages stay with the broker reason=%s", exc)
        self._problem = str(exc)

    def _recover(self) -> None:
        if self._problem is not None and self._since_s is not None:
            away_s = time.monotonic() - self._since_s
            logger.warning("store is back after_s=%.1f", away_s)
            self._problem = self._since_s = None

    def _drop_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


def without_what_comes_again(waiting: Sequence[Kept], *, again: range) -> tuple[list[Kept], int]:
    """What to write where the broker delivers anew what came on some connections.

    Returns:
        What is left, and how many messages are let go.
    """
    gone = [kept.ack is not None and kept.ack.connection in again for kept in waiting]
    left = [
        kept.without_message() if is_gone else kept
        for kept, is_gone in zip(waiting, gone, strict=True)
    ]
    return [kept for kept in left if kept is not None], sum(gone)
