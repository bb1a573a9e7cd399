"""`coeval bench aggregator`: a small part of it measures what it says."""

import pytest

from coeval_lab.bench.aggregator import Plan, bars_of, ingest_rows, live_row, plan_of, reading_rows
from coeval_lab.bench.aggregator_load import Load, block_bytes
from coeval_lab.broker import find_mosquitto

QUICK = Plan(backlog=20, sessions=(1,), live_s=4.0, repeats=1, stored_s=1800)


def say(_: str) -> None:
    """Nobody listens."""


def needs_mosquitto() -> None:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed; another broker keeps no backlog")


@pytest.mark.broker
def test_a_backlog_is_drained_by_both_and_compared() -> None:
    needs_mosquitto()
    bare, ours = ingest_rows(QUICK, say)
    assert (bare["by"], ours["by"]) == ("paho, bare", "coeval, SQLite")
    assert ours["ratio_to_bare_paho"] == pytest.approx(ours["rate"] / bare["rate"], rel=0.05)


@pytest.mark.broker
def test_live_streams_are_stored_and_ticked() -> None:
    needs_mosquitto()
    row = live_row(QUICK, 1, say)
    assert row["streams"] == 20
    assert row["cpu_share"] > 0
    assert row["ticks"] > 0


def test_ten_minutes_are_read_whole() -> None:
    row = reading_rows(QUICK, say)[0]
    assert row["p50_ms"] > 0
    assert "MISSING" not in row["note"]


def test_a_block_of_the_load_has_the_size_that_is_promised() -> None:
    import numpy as np

    assert len(block_bytes(0, np.random.default_rng(0))) == 304
    assert len(list(Load(num_sessions=2, num_nodes=3, num_streams=4).streams())) == 24


def test_a_bar_that_was_not_measured_is_not_met() -> None:
    assert [bar.met for bar in bars_of([])] == [False]
    slow = {"part": "live", "streams": 200, "cpu_share": 0.5, "p99_ms": None}
    met = {bar.name: bar.met for bar in bars_of([slow])}
    assert list(met.values()) == [False, True, False]


def test_the_whole_plan_goes_to_a_thousand_streams() -> None:
    plan = plan_of(quick=False, seed=1)
    assert [20 * n for n in plan.sessions] == [20, 60, 200, 500, 1000]
