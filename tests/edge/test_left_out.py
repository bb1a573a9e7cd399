"""What carries nothing is left out; what comes back is sent with what led to it."""

import numpy as np

from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.relevance import RelevanceWatch
from coeval.samples import MetadataBlock
from coeval.time import NodeNs
from coeval.wire import Block
from coeval_edge.encoder import CONTEXT_HOPS
from coeval_edge.pipeline import StreamPipeline

NOW = NodeNs(123)
PER_HOP = 5


class Averages:
    """An extractor whose rows are the readings' hops."""

    is_warm = True

    def push(self, sample: MetadataBlock) -> list[Hops]:
        first = int(sample.t_node_ns[0]) // HOP_NS
        rows = sample.values[::PER_HOP].astype(np.float32)
        return [Hops(t0_node_ns=NodeNs(first * HOP_NS), rows=rows)]

    def advance(self, t_node_ns: int) -> list[Hops]:
        del t_node_ns
        return []

    def flush(self) -> list[Hops]:
        return []


class Remembers:
    """An encoder that notes which hops it was shown."""

    def __init__(self) -> None:
        self.hops: list[int] = []

    def push(self, hops: Hops) -> list[Hops]:
        first = hops.t0_node_ns // HOP_NS
        self.hops += range(first, first + len(hops.rows))
        return [Hops(t0_node_ns=hops.t0_node_ns, rows=np.repeat(hops.rows, EMBEDDING_DIM, axis=1))]


class Bench:
    """A pipeline of a sensor that is moved, then held still, then moved again."""

    def __init__(self, *, drop: bool) -> None:
        self.encoder = Remembers()
        self.pipe = StreamPipeline(
            Averages(),
            self.encoder,
            name="n/s",
            boot_id=1,
            watch=RelevanceWatch("metadata"),
            drop=drop,
        )
        self.rng = np.random.default_rng(1)
        self.at_s = 0

    def second(self, *, moves: bool) -> list[Block]:
        per_s = 20 * PER_HOP
        t_ns = (self.at_s * per_s + np.arange(per_s)) * (HOP_NS // PER_HOP)
        values = self.rng.normal(size=(per_s, 1)) if moves else np.ones((per_s, 1))
        self.at_s += 1
        return self.pipe.push(MetadataBlock(t_node_ns=t_ns, values=values), now_node_ns=NOW)


def hops_of(blocks: list[Block]) -> list[int]:
    return [
        block.t0_node_ns // HOP_NS + k for block in blocks for k in range(len(block.embeddings))
    ]


def test_a_stuck_sensor_is_left_out_and_its_blocks_keep_their_numbers() -> None:
    bench = Bench(drop=True)
    before = [block for _ in range(40) for block in bench.second(moves=True)]
    still = [block for _ in range(20) for block in bench.second(moves=False)]
    after = [block for _ in range(2) for block in bench.second(moves=True)]
    assert len(still) < 12 < len(before)
    assert [block.seq for block in before + still + after] == list(
        range(len(before + still + after))
    )
    irrelevant, relevant = bench.pipe.take_changes()
    assert (irrelevant.state, irrelevant.reason) == ("irrelevant", "stuck")
    assert (relevant.state, relevant.reason) == ("relevant", None)
    assert bench.pipe.num_left_out > 0


def test_a_stream_that_comes_back_brings_the_seconds_before() -> None:
    bench = Bench(drop=True)
    for moves in [True] * 40 + [False] * 30:
        bench.second(moves=moves)
    bench.encoder.hops.clear()
    sent = hops_of(bench.second(moves=True))
    back = 70 * 20
    assert abs(back - CONTEXT_HOPS - min(sent)) <= 10
    # The encoder was shown as many hops again before those, without a gap.
    shown = bench.encoder.hops
    assert shown == list(range(shown[0], shown[-1] + 1))
    assert min(sent) - shown[0] >= CONTEXT_HOPS


def test_a_short_stretch_is_sent_whole_when_it_is_over() -> None:
    bench = Bench(drop=True)
    sent = [bench.second(moves=moves) for moves in [True] * 40 + [False] * 8 + [True] * 2]
    hops = hops_of([block for blocks in sent for block in blocks])
    assert hops == list(range(hops[0], hops[-1] + 1))


def test_a_node_that_drops_nothing_tells_all_the_same() -> None:
    bench = Bench(drop=False)
    sent = [bench.second(moves=moves) for moves in [True] * 40 + [False] * 20]
    hops = hops_of([block for blocks in sent for block in blocks])
    assert hops == list(range(hops[0], hops[-1] + 1))
    assert [change.reason for change in bench.pipe.take_changes()] == ["stuck"]
