"""Switching encoders under way: no row is lost, every block says whose it is, and back again."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from coeval.features import DIMS
from coeval.hops import HOP_NS, Hops
from coeval.model_wire import encode_notice, parts_of
from coeval.samples import FloatArray, Modality
from coeval.time import NodeNs
from coeval.wire import Block
from coeval_edge.config import NodeConfig, ReplayConfig
from coeval_edge.encoder import Encoder
from coeval_edge.encoder_switch import EncoderSwitch
from coeval_edge.pipeline import StreamPipeline
from coeval_edge.ship import EncoderSet

from .encoder_sets import made_set, spoilt

MODALITIES: dict[str, Modality] = {"mic": "audio", "log": "text"}


class Rows:
    """An extractor whose samples are rows of features already."""

    is_warm = True

    def push(self, sample: object) -> list[Hops]:
        assert isinstance(sample, Hops)
        return [sample]

    def advance(self, t_node_ns: int) -> list[Hops]:
        del t_node_ns
        return []

    def flush(self) -> list[Hops]:
        return []


def some_rows(modality: Modality, count: int) -> FloatArray:
    rows = np.random.default_rng(1).normal(size=(count, DIMS[modality])).astype(np.float32)
    rows[:, -1] = 1.0
    return rows


def pipeline_of(stream: str) -> StreamPipeline:
    return StreamPipeline(
        Rows(),  # type: ignore[arg-type]
        Encoder.load(MODALITIES[stream], provider="cpu"),
        name=f"cam/{stream}",
        boot_id=1,
    )


class Streams:
    """Two streams of a node, its switch, and what was described and told."""

    def __init__(self, folder: Path) -> None:
        self.config = NodeConfig(
            id="cam",
            replay=ReplayConfig(recording=Path("none")),
            accept_models=True,
            model_folder=folder,
            execution_provider="cpu",
        )
        self.pipelines = {stream: pipeline_of(stream) for stream in MODALITIES}
        self.switch = EncoderSwitch(self.config, self.pipelines, MODALITIES)
        self.sets: list[set[str]] = []
        self.told: list[tuple[object, object]] = []

    def describe(self) -> None:
        self.sets.append(self.names())

    def names(self) -> set[str]:
        found = [pipeline.encoder for pipeline in self.pipelines.values()]
        return {encoder.encoder_set for encoder in found if isinstance(encoder, Encoder)}

    def note(self, told: list[object] | object) -> None:
        assert isinstance(told, list)
        self.told += [(event["what"], event["encoder_set"]) for event in told]

    def announce(self, found: EncoderSet | None) -> None:
        """Announce a set and send what is wanted of it."""
        payload = b"" if found is None else encode_notice(found.notice)
        self.switch.put(("set",), payload)
        self.note(self.switch.follow(self.describe))
        for modality, model in {} if found is None else found.models.items():  # type: ignore[union-attr]
            sha256 = found.notice.files[modality].sha256  # type: ignore[union-attr]
            if sha256 in self.switch.wanted:
                for k, part in enumerate(parts_of(model)):
                    self.switch.put((sha256, str(k)), part)
        self.note(self.switch.follow(self.describe))

    def push(self, stream: str, first: int, rows: FloatArray) -> list[Block]:
        hops = Hops(t0_node_ns=NodeNs(first * HOP_NS), rows=rows)
        blocks = self.pipelines[stream].push(hops, now_node_ns=NodeNs(0))  # type: ignore[arg-type]
        self.note(self.switch.give_up_failed(self.describe))
        return blocks


@pytest.fixture
def streams(tmp_path: Path) -> Streams:
    return Streams(tmp_path)


def test_all_streams_switch_at_once_and_are_described_before_their_next_block(
    streams: Streams,
) -> None:
    streams.push("mic", 0, some_rows("audio", 25))
    streams.announce(made_set("a1"))
    assert streams.sets == [{"a1"}]
    assert streams.told == [("switched", "a1")]
    assert {s: p.first_seq for s, p in streams.pipelines.items()} == {"mic": 2, "log": 0}
    (block,) = streams.push("mic", 25, some_rows("audio", 5))
    assert block.seq == 2


def test_the_new_encoder_remembers_what_the_old_one_saw(streams: Streams) -> None:
    rows = some_rows("audio", 200)
    before = streams.push("mic", 0, rows[:95])
    streams.announce(made_set("a1"))
    after = streams.push("mic", 95, rows[95:])
    found = np.concatenate([block.embeddings for block in before + after])
    expected = Encoder.load("audio", provider="cpu").encode(rows)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_a_bad_set_changes_nothing(streams: Streams) -> None:
    installed = streams.names()
    streams.announce(made_set("b2", change=spoilt, only="text"))
    assert streams.told == [("refused", "b2")]
    assert (streams.names(), streams.sets) == (installed, [])


def test_a_withdrawn_set_brings_the_installed_encoders_back(streams: Streams) -> None:
    installed = streams.names()
    streams.announce(made_set("a1"))
    streams.announce(None)
    assert streams.sets == [{"a1"}, installed]
    assert streams.told[-1] == ("switched", None)


def test_a_restart_begins_with_the_last_good_set(streams: Streams, tmp_path: Path) -> None:
    streams.announce(made_set("a1"))
    streams.announce(made_set("b2", change=spoilt))
    assert Streams(tmp_path).names() == {"a1"}


def failing(name: str, monkeypatch: pytest.MonkeyPatch, how: Callable[[Hops], list[Hops]]) -> None:
    """Make encoders of a set fail once they run."""
    push = Encoder.push

    def fail(self: Encoder, hops: Hops) -> list[Hops]:
        return how(hops) if self.encoder_set == name else push(self, hops)

    monkeypatch.setattr(Encoder, "push", fail)


def raises(hops: Hops) -> list[Hops]:
    raise RuntimeError(f"no memory for {len(hops.rows)} rows")


def not_a_number(hops: Hops) -> list[Hops]:
    return [Hops(t0_node_ns=hops.t0_node_ns, rows=np.full((len(hops.rows), 16), np.nan, "f4"))]


@pytest.fixture(params=[raises, not_a_number])
def how(request: pytest.FixtureRequest) -> Iterator[Callable[[Hops], list[Hops]]]:
    return request.param  # type: ignore[no-any-return]


def test_an_encoder_that_fails_while_it_runs_is_given_up_by_all_streams_without_a_lost_row(
    streams: Streams,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    how: Callable[[Hops], list[Hops]],
) -> None:
    rows = some_rows("audio", 60)
    streams.announce(made_set("a1"))
    before = streams.push("mic", 0, rows[:30])
    failing("b2", monkeypatch, how)
    streams.announce(made_set("b2"))
    after = streams.push("mic", 30, rows[30:])
    assert streams.told[-2:] == [("switched", "b2"), ("rolled_back", "b2")]
    assert streams.sets[-2:] == [{"b2"}, {"a1"}]
    assert [block.seq for block in before + after] == [0, 1, 2, 3, 4, 5]
    assert streams.pipelines["mic"].first_seq == 3
    found = np.concatenate([block.embeddings for block in before + after])
    expected = Encoder.load("audio", provider="cpu").encode(rows)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert Streams(tmp_path).names() == {"a1"}


def test_a_set_that_fails_after_a_restart_gives_way_to_the_last_good_one(
    streams: Streams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams.announce(made_set("a1"))
    streams.announce(made_set("b2"))
    again = Streams(tmp_path)
    assert again.names() == {"b2"}
    failing("b2", monkeypatch, raises)
    again.push("mic", 0, some_rows("audio", 30))
    assert again.names() == {"a1"}
    assert again.told == [("rolled_back", "b2")]


def test_installed_encoders_that_fail_are_nobodys_to_replace(
    streams: Streams, monkeypatch: pytest.MonkeyPatch
) -> None:
    (installed,) = streams.names()
    failing(installed, monkeypatch, raises)
    with pytest.raises(RuntimeError, match="no memory"):
        streams.push("mic", 0, some_rows("audio", 30))


def test_rows_that_wait_for_a_full_block_are_the_new_encoders(streams: Streams) -> None:
    rows = some_rows("text", 20)
    assert len(streams.push("log", 0, rows[:15])) == 1
    streams.announce(made_set("a1"))
    (block,) = streams.push("log", 15, rows[15:])
    assert (block.seq, len(block.embeddings)) == (1, 10)
