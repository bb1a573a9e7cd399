"""Ingest: every block once, gaps counted after a grace, a new boot starts anew."""

from dataclasses import replace

import numpy as np
import pytest

from coeval.errors import BadBlock
from coeval.hops import EMBEDDING_DIM, HOP_NS
from coeval.time import NodeNs
from coeval.wire import Block, encode_block
from coeval_aggregator.ingest import GRACE_S, SequenceCheck, StreamIngest, decode_for_alignment


def block(seq: int, *, boot_id: int = 1) -> Block:
    return Block(
        boot_id=boot_id,
        seq=seq,
        t0_node_ns=NodeNs(seq * 10 * HOP_NS),
        hop_ns=HOP_NS,
        clock_node_ns=None,
        embeddings=np.full((10, EMBEDDING_DIM), seq, np.float32),
    )


def test_a_block_that_comes_twice_counts_once() -> None:
    ingest = StreamIngest(capacity_hops=1000)
    assert [ingest.push(block(seq), now_s=0.0) for seq in (0, 1, 1, 0, 2)] == [
        True,
        True,
        False,
        False,
        True,
    ]
    assert (ingest.counts.blocks, ingest.counts.duplicates) == (3, 2)


def test_a_gap_is_one_only_after_the_grace() -> None:
    ingest = StreamIngest(capacity_hops=1000)
    for seq in (0, 1, 4):
        ingest.push(block(seq), now_s=5.0)
    assert ingest.lost(now_s=5.0 + GRACE_S / 2) == []
    ingest.push(block(3), now_s=6.0)
    assert ingest.lost(now_s=5.0 + GRACE_S) == [2]
    assert ingest.lost(now_s=100.0) == []
    assert ingest.counts.lost == 1


def test_a_block_given_up_is_still_welcome() -> None:
    ingest = StreamIngest(capacity_hops=1000)
    for seq in (0, 2):
        ingest.push(block(seq), now_s=0.0)
    ingest.lost(now_s=100.0)
    assert ingest.push(block(1), now_s=101.0)
    assert len(ingest.ring.runs()) == 1


def test_an_aggregator_that_joins_late_misses_nothing_and_takes_what_is_sent_again() -> None:
    ingest = StreamIngest(capacity_hops=10_000)
    ingest.push(block(500), now_s=0.0)
    assert ingest.lost(now_s=100.0) == []
    assert ingest.push(block(499), now_s=101.0)
    assert not ingest.push(block(499), now_s=101.0)


def test_a_hostile_number_costs_bounded_memory() -> None:
    check = SequenceCheck()
    for seq in (0, 2**32 - 1, 2**32 - 1, 7):
        check.is_new(seq, now_s=0.0)
    assert len(check.missing) <= 4096


def test_a_new_boot_starts_the_stream_anew() -> None:
    ingest = StreamIngest(capacity_hops=1000)
    for seq in range(5):
        ingest.push(block(seq), now_s=0.0)
    assert ingest.push(block(0, boot_id=2), now_s=1.0)
    (run,) = ingest.ring.runs()
    assert len(run.rows) == 10
    assert ingest.lost(now_s=100.0) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hop_ns": HOP_NS // 2}, "got 16 every 25000000 ns"),
        ({"embeddings": np.zeros((1, 8), np.float32)}, "expected 16 columns"),
        ({"t0_node_ns": NodeNs(1)}, "expected a start on a multiple"),
    ],
)
def test_a_block_on_another_grid_is_refused(change: dict[str, object], said: str) -> None:
    data = encode_block(replace(block(0), **change))  # type: ignore[arg-type]
    with pytest.raises(BadBlock, match=f"block from n/s: .*{said}"):
        decode_for_alignment(data, where="block from n/s")
