"""A stream's pipeline: rows become numbered blocks, gaps are kept, bad input is dropped."""

import numpy as np
import pytest

from coeval.features import make_extractor
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.samples import MetadataBlock, TextLine
from coeval.time import NodeNs
from coeval.wire import Block, decode_block, encode_block
from coeval_edge.pipeline import StreamPipeline

NOW = NodeNs(123)


class Echo:
    """An extractor whose samples are the rows it gives."""

    def __init__(self) -> None:
        self.rest: list[Hops] = []
        self.is_warm = True

    def push(self, sample: object) -> list[Hops]:
        if isinstance(sample, Exception):
            raise sample
        assert isinstance(sample, list)
        return sample

    def advance(self, t_node_ns: int) -> list[Hops]:
        del t_node_ns
        return []

    def flush(self) -> list[Hops]:
        return self.rest


class Doubler:
    """An encoder whose embeddings are twice the rows."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def push(self, hops: Hops) -> list[Hops]:
        self.calls.append(len(hops.rows))
        return [Hops(t0_node_ns=hops.t0_node_ns, rows=2 * hops.rows)]


class FirstColumns(Doubler):
    """As many columns as an embedding has."""

    def push(self, hops: Hops) -> list[Hops]:
        return [Hops(t0_node_ns=hops.t0_node_ns, rows=hops.rows[:, :EMBEDDING_DIM])]


def rows(first: int, count: int, *, value: float | None = None) -> list[Hops]:
    values = np.arange(first, first + count) if value is None else np.full(count, value)
    return [
        Hops(
            t0_node_ns=NodeNs(first * HOP_NS),
            rows=np.repeat(values.astype(np.float32)[:, None], EMBEDDING_DIM, axis=1),
        )
    ]


def pipeline(encoder: Doubler, extractor: Echo | None = None) -> StreamPipeline:
    return StreamPipeline(
        extractor or Echo(),  # type: ignore[arg-type]
        encoder,
        name="cam/mic",
        boot_id=9,
        block_hops=4,
    )


def push(pipe: StreamPipeline, sample: object) -> list[Block]:
    return pipe.push(sample, now_node_ns=NOW)  # type: ignore[arg-type]


def test_rows_are_gathered_into_full_blocks_numbered_from_zero() -> None:
    encoder = Doubler()
    pipe = pipeline(encoder)
    assert push(pipe, rows(10, 3)) == []
    (first,) = push(pipe, rows(13, 2))
    more = push(pipe, rows(15, 8))
    assert [(b.seq, b.t0_node_ns // HOP_NS, len(b.embeddings)) for b in [first, *more]] == [
        (0, 10, 4),
        (1, 14, 4),
        (2, 18, 4),
    ]
    assert first.embeddings[:, 0].tolist() == [20, 22, 24, 26]
    assert (first.boot_id, first.clock_node_ns) == (9, NOW)
    assert encoder.calls == [4, 4, 4]


def test_a_gap_seals_the_block_before_it() -> None:
    pipe = pipeline(Doubler())
    blocks = push(pipe, rows(0, 2)) + push(pipe, rows(100, 5))
    assert [(b.t0_node_ns // HOP_NS, len(b.embeddings)) for b in blocks] == [(0, 2), (100, 4)]


def test_flush_seals_what_is_left() -> None:
    extractor = Echo()
    pipe = pipeline(Doubler(), extractor)
    push(pipe, rows(0, 3))
    extractor.rest = rows(3, 2)
    blocks = pipe.flush(now_node_ns=NOW)
    assert [len(b.embeddings) for b in blocks] == [4, 1]


def test_a_sample_the_features_refuse_is_dropped_and_counted() -> None:
    pipe = pipeline(Doubler())
    assert push(pipe, ValueError("metadata must keep its 3 channels, got 2")) == []
    assert pipe.num_dropped == 1
    assert len(push(pipe, rows(0, 4))) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, 60_000.0])
def test_rows_that_are_no_numbers_never_reach_the_wire(value: float) -> None:
    pipe = pipeline(Doubler())
    assert push(pipe, rows(0, 4, value=value)) == []
    assert pipe.num_dropped == 1
    (block,) = push(pipe, rows(4, 4))
    assert block.seq == 0
    assert decode_block(encode_block(block)).seq == 0


def test_silence_of_text_becomes_blocks_as_time_passes() -> None:
    pipe = StreamPipeline(make_extractor("text"), FirstColumns(), name="n/log", boot_id=1)
    line = TextLine(t_node_ns=NodeNs(HOP_NS * 40), t_end_node_ns=None, text="door opens")
    assert pipe.push(line, now_node_ns=NodeNs(HOP_NS * 40)) == []
    blocks = pipe.advance(NodeNs(HOP_NS * 100))
    assert sum(len(b.embeddings) for b in blocks) >= 50


def test_changed_channels_are_dropped_and_the_stream_goes_on() -> None:
    pipe = StreamPipeline(make_extractor("metadata"), FirstColumns(), name="n/imu", boot_id=1)

    def readings(first: int, channels: int) -> MetadataBlock:
        t_ns = (first + np.arange(50)) * 10_000_000
        return MetadataBlock(t_node_ns=t_ns, values=np.ones((50, channels)))

    now = NodeNs(10**12)
    pipe.push(readings(0, 3), now_node_ns=now)
    pipe.push(readings(50, 2), now_node_ns=now)
    assert pipe.num_dropped == 1
    assert pipe.push(readings(100, 3), now_node_ns=now)


def test_a_block_tells_how_surprising_it_is_that_samples_repeat() -> None:
    pipe = StreamPipeline(make_extractor("metadata"), FirstColumns(), name="n/imu", boot_id=1)
    moving = np.random.default_rng(1).normal(size=(3000, 3))
    stuck = np.repeat(moving[-1:], 100, axis=0)
    told = []
    for first, values in ((0, moving), (3000, stuck)):
        t_ns = (np.arange(first, first + len(values)) * 10_000_000).astype(np.int64)
        sample = MetadataBlock(t_node_ns=t_ns, values=values)
        blocks = pipe.push(sample, now_node_ns=NOW)
        told.append(blocks[-1].surprise)
    assert told[0] == 0.0
    assert told[1] > 10.0
