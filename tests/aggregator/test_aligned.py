"""Aligned ticks: the right row of every stream, once, in order."""

import base64
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from coeval.estimates import NodeEstimate
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.time import NS_PER_S, ClockLine, NodeNs, RefNs
from coeval_aggregator.aligned import MOST_BEHIND, AlignedStream, TickSource, fuse, make_tick
from coeval_aggregator.clocks import REFERENCE, UNKNOWN, NodeClock
from coeval_aggregator.ring import Ring

HOPS_A_S = NS_PER_S // HOP_NS


def clock(offset_s: float) -> NodeClock:
    line = ClockLine(t0_ref_ns=RefNs(0), offset_ns=offset_s * NS_PER_S, skew_ppb=0.0)
    known = NodeEstimate(
        status="locked", line=line, ci95_ns=1.0, skew_ci95_ppb=1.0, jumps=(), evidence=()
    )
    return NodeClock(status="locked", known=known, locked_s=0.0)


def stream(name: str, node_clock: NodeClock, *, start_s: float, stop_s: float) -> AlignedStream:
    """A stream whose rows tell their own hop."""
    ring = Ring(capacity_hops=10_000)
    first, stop = round(start_s * HOPS_A_S), round(stop_s * HOPS_A_S)
    rows = np.arange(first, stop, dtype=np.float32)[:, None] * np.ones(EMBEDDING_DIM, np.float32)
    if stop > first:
        ring.write(Hops(t0_node_ns=NodeNs(first * HOP_NS), rows=rows))
    return AlignedStream(name=name, modality="audio", ring=ring, clock=node_clock)


def test_a_tick_takes_each_stream_by_its_own_clock() -> None:
    streams = [
        stream("cam/mic", REFERENCE, start_s=0, stop_s=20),
        stream("wrist/imu", clock(3.0), start_s=0, stop_s=20),
        stream("lost/imu", UNKNOWN, start_s=0, stop_s=20),
    ]
    tick: dict[str, Any] = make_tick(RefNs(10 * NS_PER_S), streams)
    assert tick["t_ref"] == 10.0
    assert set(tick["streams"]) == {"cam/mic", "wrist/imu"}
    assert tick["streams"]["wrist/imu"]["t_node_ns"] == 13 * NS_PER_S
    assert tick["streams"]["wrist/imu"]["norm"] == pytest.approx(13 * HOPS_A_S * 4)
    fused = np.frombuffer(base64.b64decode(tick["fused"]), "<f2")
    assert fused == pytest.approx(np.full(EMBEDDING_DIM, 0.25), abs=1e-3)


def test_a_tick_without_rows_has_no_vector() -> None:
    tick = make_tick(RefNs(0), [stream("cam/mic", REFERENCE, start_s=5, stop_s=6)])
    assert tick["fused"] is None
    assert tick["streams"] == {}
    assert fuse([np.zeros(EMBEDDING_DIM, np.float32)]) is None


def test_ticks_wait_for_the_slowest_stream_but_not_for_ever() -> None:
    source = TickSource(tick_s=0.5, wait_s=4.0)
    fast = stream("a/x", REFERENCE, start_s=0, stop_s=10)
    slow = stream("b/x", clock(2.0), start_s=0, stop_s=11)
    source.due([fast, slow])
    fast.ring.write(stream("a/x", REFERENCE, start_s=10, stop_s=12).ring.runs()[0])
    assert source.due([fast, slow]) == []
    fast.ring.write(stream("a/x", REFERENCE, start_s=12, stop_s=14).ring.runs()[0])
    ticks = source.due([fast, slow])
    assert [tick["t_ref"] for tick in ticks] == [9.0, 9.5]


def test_nobody_waits_for_a_stream_that_is_left_out() -> None:
    source = TickSource(tick_s=0.5, wait_s=4.0)
    fast = stream("a/x", REFERENCE, start_s=0, stop_s=10)
    frozen = replace(stream("b/x", REFERENCE, start_s=0, stop_s=2), is_left_out=True)
    source.due([fast, frozen])
    fast.ring.write(stream("a/x", REFERENCE, start_s=10, stop_s=11).ring.runs()[0])
    assert [tick["t_ref"] for tick in source.due([fast, frozen])] == [10.0, 10.5]


def test_ticks_come_once_and_in_order() -> None:
    source = TickSource(tick_s=0.25, wait_s=1.0)
    seen: list[Any] = []
    for stop_s in (1, 2, 2, 3, 5):
        ring = stream("a/x", REFERENCE, start_s=0, stop_s=stop_s)
        seen += [tick["t_ref"] for tick in source.due([ring])]
    assert seen == [0.75 + 0.25 * k for k in range(len(seen))]
    assert seen[-1] == 4.75


def test_a_leap_ahead_does_not_bring_a_flood() -> None:
    source = TickSource(tick_s=0.25, wait_s=1.0)
    source.due([stream("a/x", REFERENCE, start_s=0, stop_s=1)])
    ticks = source.due([stream("a/x", REFERENCE, start_s=0, stop_s=500)])
    assert len(ticks) == MOST_BEHIND
    assert source.num_left_out == (500 - 1) * 4 - MOST_BEHIND


def test_ticks_that_are_made_part_by_part_are_the_same() -> None:
    whole, parts = (TickSource(tick_s=0.25, wait_s=1.0) for _ in range(2))
    for source in (whole, parts):
        source.due([stream("a/x", REFERENCE, start_s=0, stop_s=1)])
    late = [stream("a/x", REFERENCE, start_s=0, stop_s=10)]
    made = parts.due(late, most=16)
    assert (len(made), parts.num_behind) == (16, 20)
    while parts.num_behind:
        made += parts.due(late, most=16)
    assert made == whole.due(late)
    assert parts.num_left_out == 0


def test_a_tick_is_awaited_until_the_last_stream_has_come_so_far() -> None:
    source = TickSource(tick_s=0.25, wait_s=1.0)
    ends = {"a/x": 10.0, "b/x": 10.0, "c/x": 10.3}
    source.due([stream(name, REFERENCE, start_s=0, stop_s=s) for name, s in ends.items()])
    assert source.awaited.missing == {"a/x", "b/x"}
    arrivals = [("c/x", 10.5), ("a/x", 10.5), ("c/x", 10.9), ("b/x", 10.5)]
    come = [source.awaited.has_come(name, round(s * NS_PER_S)) for name, s in arrivals]
    assert come == [False, False, False, True]


def test_a_stream_that_is_ahead_by_more_than_the_wait_brings_a_tick_alone() -> None:
    source = TickSource(tick_s=0.25, wait_s=1.0)
    fast, dead = (
        stream("a/x", clock(5.0), start_s=0, stop_s=15.5),
        stream("b/x", REFERENCE, start_s=0, stop_s=10),
    )
    source.due([fast, dead])  # the next is at 10 s, when the fast clock reads 15 s
    come = [source.awaited.has_come("a/x", round(s * NS_PER_S)) for s in (15.9, 16.0, 16.05)]
    assert come == [False, False, True]
    fast.ring.write(stream("a/x", REFERENCE, start_s=15.5, stop_s=16.05).ring.runs()[0])
    assert [tick["t_ref"] for tick in source.due([fast, dead])] == [10.0]
    assert source.awaited.has_come("a/x", 0)  # from now on any row may


def test_nothing_is_due_without_a_known_clock() -> None:
    source = TickSource(tick_s=0.25, wait_s=1.0)
    assert source.due([]) == []
    assert source.due([stream("a/x", UNKNOWN, start_s=0, stop_s=5)]) == []
    assert source.due([stream("a/x", REFERENCE, start_s=0, stop_s=0)]) == []
