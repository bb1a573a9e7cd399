"""What the aggregator makes of streams that are not labelled, or wrongly."""

import json
from pathlib import Path

import numpy as np
import pytest

from coeval.hops import HOP_NS, Hops
from coeval.recognition.embeddings import EmbeddingClassifier, EmbeddingKind
from coeval.time import NodeNs
from coeval.topics import Topics
from coeval.wire import Block, encode_block
from coeval_aggregator import stream_book
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.recognise import SHIPPED, load_classifier, recognise_embeddings
from coeval_aggregator.session import Session

TOPICS = Topics()
AUDIO = EmbeddingKind(modality="audio", probability=1.0, distance=0.5)


def noise(num: int) -> list[Hops]:
    rows = np.random.default_rng(1).standard_normal((num, 16)).astype(np.float32)
    return [Hops(t0_node_ns=NodeNs(0), rows=rows)]


def described(session: Session, encoder: dict[str, str], *, stated: str) -> None:
    value = {"modality": stated, "encoder": encoder, "boot": "0" * 15 + "1"}
    session.handle(TOPICS.descriptor("n", "s"), json.dumps(value).encode(), now_s=0.0)


def heard(session: Session) -> None:
    """Half a minute of the stream's blocks."""
    for seq in range(70):
        block = Block(
            boot_id=1,
            seq=seq,
            t0_node_ns=NodeNs(seq * 10 * HOP_NS),
            hop_ns=HOP_NS,
            clock_node_ns=None,
            embeddings=np.ones((10, 16), np.float32),
        )
        session.handle(TOPICS.block("n", "s"), encode_block(block), now_s=0.0)


def test_what_ships_can_be_read_and_is_small() -> None:
    classifier = load_classifier()
    assert isinstance(classifier, EmbeddingClassifier)
    assert SHIPPED.stat().st_size < 200_000


def test_noise_too_little_and_another_encoders_embeddings_are_unsure() -> None:
    classifier = load_classifier()
    assert classifier is not None
    assert recognise_embeddings(noise(800)).modality is None
    assert recognise_embeddings(noise(50)).modality is None
    assert recognise_embeddings([]).modality is None
    assert recognise_embeddings(noise(800), encoder_sha256="another").distance == float("inf")


def test_what_a_stream_looks_like_is_asked_of_the_encoder_as_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    def recognise(_runs: list[Hops], *, encoder_sha256: str) -> EmbeddingKind:
        asked.append(encoder_sha256)
        return AUDIO

    monkeypatch.setattr(stream_book, "recognise_embeddings", recognise)
    session = Session(AggregatorConfig())
    described(session, {"sha256": "bb", "reduced_from": "aa"}, stated="audio")
    heard(session)
    session.check(now_s=1.0)
    assert asked == ["aa"]


def test_a_file_that_is_not_there_costs_the_answer_only(tmp_path: Path) -> None:
    assert load_classifier(tmp_path / "none.npz") is None


@pytest.mark.parametrize(
    ("stated", "told"), [("metadata", ["audio"]), (None, ["audio"]), ("audio", [])]
)
def test_a_stream_that_is_not_what_it_is_called_is_told_once(
    monkeypatch: pytest.MonkeyPatch, stated: str | None, told: list[str]
) -> None:
    monkeypatch.setattr(stream_book, "recognise_embeddings", lambda *_, **__: AUDIO)
    session = Session(AggregatorConfig())
    if stated is not None:
        described(session, {"sha256": "aa"}, stated=stated)
    heard(session)
    for now_s in (1.0, 2.0):
        session.check(now_s=now_s)
    events = [json.loads(m.payload) for m in session.told.take_outbox() if "/event/" in m.topic]
    assert [e["looks_like"] for e in events if e["event"] == "mislabelled"] == told
