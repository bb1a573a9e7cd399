"""What the aggregator's loop does first."""

from types import SimpleNamespace
from typing import Any

from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.connection import Event
from coeval_aggregator.service import BEHIND, Aggregator
from coeval_aggregator.store.config import StoreConfig


def test_while_many_blocks_wait_no_ticks_are_made() -> None:
    aggregator: Any = Aggregator(AggregatorConfig(session="s", store=StoreConfig(url="none")))
    told: list[str] = []
    aggregator.sessions["s"] = SimpleNamespace(tell_ticks=lambda: told.append("ticks"))
    waiting = aggregator._connection.events
    for _ in range(BEHIND):
        waiting.put(Event(kind="message"))
    aggregator._tell_ticks()
    assert told == []
    waiting.get()
    aggregator._tell_ticks()
    assert told == ["ticks"]
