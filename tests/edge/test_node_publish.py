"""The publisher without a network: backoff, and what it makes of messages it did not expect."""

import logging
import threading
from pathlib import Path

import pytest

from coeval.broker_address import BrokerAddress
from coeval.topics import Topics
from coeval_edge import publish
from coeval_edge.publish import (
    LONGEST_DELAY_S,
    SHORTEST_DELAY_S,
    Publisher,
    backoff_s,
    parse_object,
)
from coeval_edge.spool import Spool


def test_the_wait_doubles_up_to_a_limit() -> None:
    waits = [backoff_s(k, uniform=0.5) for k in range(1, 12)]
    assert waits[0] == SHORTEST_DELAY_S
    assert waits[1] == 2 * waits[0]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_DELAY_S
    assert backoff_s(10**6, uniform=0.5) == LONGEST_DELAY_S


def test_nodes_do_not_come_back_all_at_once() -> None:
    waits = {backoff_s(3, uniform=u / 10) for u in range(11)}
    assert min(waits) == 0.5 * backoff_s(3, uniform=0.5)
    assert max(waits) == 1.5 * backoff_s(3, uniform=0.5)


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[1]", b"3", b"{", b"[" * 10_000])
def test_what_is_no_object_says_nothing(payload: bytes) -> None:
    assert parse_object(payload) == {}


def test_an_absent_broker_is_asked_again_soon_at_the_end_and_the_wait_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(publish, "backoff_s", lambda _failures, uniform: 1000.0 + uniform)
    monkeypatch.setattr(publish, "LONGEST_ENDING_DELAY_S", 0.01)
    asked = threading.Semaphore(0)

    def connect(publisher: Publisher) -> tuple[None, str]:
        if publisher._deadline_s is not None:  # asked again at the end: it is over now
            publisher._deadline_s = 0.0
        asked.release()
        return None, "away"

    monkeypatch.setattr(Publisher, "_connect", connect)
    spool = Spool(tmp_path, max_bytes=10**6)
    spool.append("a/topic", b"a block")
    publisher = Publisher(
        address=BrokerAddress.parse("mqtt://127.0.0.1:1"),
        topics=Topics(prefix="coeval", session="s"),
        node="n",
        boot_id=1,
        spool=spool,
        descriptors={},
        birth={},
    )
    publisher.start()
    assert asked.acquire(timeout=300)  # and now it waits for a thousand seconds
    with caplog.at_level(logging.INFO):
        assert publisher.close(drain_s=900.0) == 1
    spool.close()
    assert asked.acquire(blocking=False)
    assert "waiting for the broker node=n spooled=1 longest_s=900" in caplog.text
