"""What the aggregator's loop does first."""

import queue
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from coeval.topics import Topics
from coeval_aggregator import service
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.connection import Event
from coeval_aggregator.service import BEHIND, Aggregator
from coeval_aggregator.store.config import StoreConfig
from coeval_aggregator.told import Told


@dataclass
class Due:
    """Stands in for a session with ticks to tell, a part at a time."""

    num_ticks_behind: int = 0
    may_tick: bool = True
    num_told: int = 0

    def tell_ticks(self) -> None:
        self.num_told += 1
        self.num_ticks_behind = max(self.num_ticks_behind - 1, 0)
        self.may_tick = self.num_ticks_behind > 0

    @property
    def told(self) -> Told:
        return Told(topics=Topics(session="s"), keeps=False, newest=lambda: None)


def aggregator_of(**sessions: Due) -> Any:
    aggregator: Any = Aggregator(AggregatorConfig(session="s", store=StoreConfig(url="none")))
    aggregator.sessions = sessions
    return aggregator


def test_while_many_blocks_wait_no_ticks_are_made() -> None:
    session = Due()
    aggregator = aggregator_of(s=session)
    waiting = aggregator._connection.events
    for _ in range(BEHIND):
        waiting.put(Event(kind="message"))
    aggregator._tell_ticks()
    assert session.num_told == 0
    waiting.get()
    aggregator._tell_ticks()
    assert session.num_told == 1


def test_a_session_goes_on_beside_others_that_make_up_an_outage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "MAKING_UP_S", 0.0)
    live, left, right = Due(), Due(num_ticks_behind=9), Due(num_ticks_behind=10)
    aggregator = aggregator_of(left=left, right=right, live=live)
    for _ in range(20):
        live.may_tick = True
        aggregator._tell_ticks()
    assert (live.num_told, left.num_told, right.num_told) == (20, 9, 10)
    assert not left.may_tick


def test_who_is_furthest_behind_makes_up_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MAKING_UP_S", 0.0)
    left, right = Due(num_ticks_behind=2), Due(num_ticks_behind=10)
    aggregator = aggregator_of(left=left, right=right)
    for _ in range(8):
        aggregator._tell_ticks()
    assert (left.num_ticks_behind, right.num_ticks_behind) == (2, 2)


def test_messages_are_not_waited_for_while_ticks_are_due() -> None:
    waits: list[float] = []
    session = Due(may_tick=True)
    aggregator = aggregator_of(s=session)
    aggregator._connection.events = SimpleNamespace(
        empty=lambda: True, get=lambda timeout: waits.append(timeout)
    )
    with pytest.raises(queue.Empty):
        aggregator._next_event(0.05)
    assert waits == []
    session.may_tick = False
    aggregator._next_event(0.05)
    assert waits == [0.05]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("unreachable", "start one, as with `mosquitto`, or name it by --broker"),
        ("lost", "another aggregator of session s may be running"),
    ],
)
def test_a_broker_that_is_not_there_is_told_apart_from_one_that_let_go(
    kind: Any, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    aggregator = aggregator_of()
    aggregator.is_connected = True
    aggregator._take(Event(kind=kind, reason="cannot connect"))
    assert not aggregator.is_connected
    assert said in caplog.text
