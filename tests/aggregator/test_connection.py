"""The aggregator's connection to a broker that is scripted, packet by packet."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from coeval.hops import EMBEDDING_DIM, HOP_NS
from coeval.time import NodeNs
from coeval.wire import Block, encode_block
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.connection import Event
from coeval_aggregator.service import Aggregator
from coeval_aggregator.store.config import StoreConfig
from coeval_aggregator.store.opening import open_store
from coeval_aggregator.store.records import Kept
from coeval_aggregator.store.store import Store, Written
from coeval_aggregator.store.writer import StoreWriter

from ..lab.staging import wait_until
from .scripted_broker import PATIENCE_S, ScriptedBroker, messages, scripted
from .store.making import block, kept

__all__ = ["scripted"]


@pytest.mark.parametrize("end", ["lost", "renewed"])
def test_a_late_acknowledgement_forgets_no_message_of_the_next_connection(
    scripted: ScriptedBroker, end: str
) -> None:
    connection = scripted.connection()
    first = scripted.accept()
    first.welcome(session_present=False)
    first.deliver({1: b"a", 2: b"b"})
    late = [event.ack for event in messages(connection, 2) if event.ack]
    first.close() if end == "lost" else connection.renew()
    second = scripted.accept()
    connection.acknowledge(late)
    second.welcome(session_present=True)
    connection.acknowledge(late)
    second.deliver({3: b"c", 1: b"d", 2: b"e"})
    connection.acknowledge(late)
    durable = messages(connection, 3)[0].ack
    connection.acknowledge([durable] if durable else [])
    assert second.acknowledged_until(3) == [3]
    connection.stop(None)


def test_nothing_is_acknowledged_before_what_came_before_it(scripted: ScriptedBroker) -> None:
    connection = scripted.connection()
    link = scripted.accept()
    link.welcome(session_present=False)
    # A broker that has more under way than there are numbers uses one twice.
    link.deliver({7: b"a", 8: b"b"})
    link.deliver({7: b"c", 9: b"d"})
    a, b, c, d = [event.ack for event in messages(connection, 4) if event.ack]
    connection.acknowledge([c])
    connection.acknowledge([b])
    connection.acknowledge([a])
    connection.acknowledge([d])
    assert link.acknowledged_until(9) == [7, 8, 7, 9]
    connection.stop(None)


def test_on_a_new_connection_only_what_is_durable_is_acknowledged(
    scripted: ScriptedBroker, tmp_path: Path
) -> None:
    store = HeldBack(f"sqlite:///{tmp_path}/store.db")
    connection = scripted.connection()
    writer = StoreWriter(store.open, config=StoreConfig(), acknowledge=connection.acknowledge)
    writer.start()
    first = scripted.accept()
    first.welcome(session_present=False)
    first.deliver({1: b"1"})
    put(writer, messages(connection, 1))
    assert store.has_written.wait(PATIENCE_S)  # and has told nobody yet
    first.close()
    second = scripted.accept()
    store.may_return.set()
    second.welcome(session_present=True)
    second.deliver({1: b"2", 2: b"3"})
    put(writer, messages(connection, 2))
    for mid, stored in ((1, {1, 2}), (2, {1, 2, 3})):
        second.acknowledged_until(mid)
        assert stored <= store.seqs()
    writer.close()
    connection.stop(None)
    assert second.acknowledged == [1, 2]


def test_copies_that_come_again_while_the_database_is_away_are_stored_once(
    scripted: ScriptedBroker, tmp_path: Path
) -> None:
    folder = tmp_path / "away"
    config = AggregatorConfig(
        session="s", broker=scripted.url, store=StoreConfig(url=f"sqlite:///{folder}/store.db")
    )
    aggregator, stop = Aggregator(config), threading.Event()
    store, counts = aggregator.store, aggregator.sessions["s"].told.counts
    assert store is not None
    thread = threading.Thread(target=aggregator.run, args=(stop,))
    thread.start()
    copies = {mid: wire_block(mid) for mid in (1, 2)}
    first = scripted.accept()
    first.welcome(session_present=False)
    first.deliver(copies)
    wait_until(lambda: counts["blocks"] == 2, "two blocks")
    first.close()
    second = scripted.accept()
    second.welcome(session_present=True)
    second.deliver(copies)
    wait_until(lambda: counts["blocks"] == 4, "the same two blocks")
    folder.mkdir()
    assert second.acknowledged_until(2) == [1, 2]
    stop.set()
    thread.join()
    assert (store.state.num_blocks, store.state.num_known) == (2, 0)


def test_what_the_broker_has_forgotten_is_not_let_go(scripted: ScriptedBroker) -> None:
    connection = scripted.connection()
    for k, payload in enumerate((b"a", b"b")):
        link = scripted.accept()
        link.welcome(session_present=False)
        link.deliver({1: payload})
        wait_until(lambda num=2 + 3 * k: connection.events.qsize() == num, "a message")
        link.close()
    scripted.accept().welcome(session_present=True)
    wait_until(lambda: connection.events.qsize() == 7, "the third subscription")
    events = [connection.events.get() for _ in range(7)]
    assert [event.payload for event in events if event.kind == "message"] == [b"a"]
    (known,) = [event for event in events if event.kind == "known"]
    first = next(event.ack for event in events if event.ack)
    assert first.connection not in known.again
    connection.stop(None)


def wire_block(seq: int) -> bytes:
    """A block as a node sends it."""
    return encode_block(
        Block(
            boot_id=1,
            seq=seq,
            t0_node_ns=NodeNs(seq * HOP_NS),
            hop_ns=HOP_NS,
            clock_node_ns=None,
            embeddings=np.zeros((1, EMBEDDING_DIM), np.float32),
        )
    )


class HeldBack:
    """A store that commits its first batch and does not return until it may."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.has_written, self.may_return = threading.Event(), threading.Event()

    def open(self) -> Store:
        store = open_store(self._url)
        write = store.write

        def write_and_wait(batch: Sequence[Kept]) -> Written:
            written = write(batch)
            self.has_written.set()
            assert self.may_return.wait(PATIENCE_S)
            return written

        store.write = write_and_wait  # type: ignore[method-assign]
        return store

    def seqs(self) -> set[int]:
        store = open_store(self._url)
        try:
            return {seq for (seq,) in store.database.fetch("SELECT seq FROM blocks")}
        finally:
            store.close()


def put(writer: StoreWriter, events: list[Event]) -> None:
    """Hand over messages whose payload is the number of a block."""
    for event in events:
        writer.put(kept(block(int(event.payload)))._replace(ack=event.ack))
