"""Descriptors: read or refused, and one encoder for each modality."""

import json

import pytest

from coeval.errors import BadBlock
from coeval_aggregator.descriptors import (
    Descriptor,
    StreamRelevance,
    expected_encoders,
    expected_set,
    parse_descriptor,
    parse_relevance,
)

GOOD = {"modality": "audio", "encoder": {"id": "x", "sha256": "ab"}, "boot": "0" * 15 + "f"}


def of_encoder(**told: object) -> bytes:
    return json.dumps(GOOD | {"encoder": {"sha256": "ab", **told}}).encode()


def test_a_descriptor_is_read() -> None:
    payload = json.dumps(GOOD | {"later": [1]}).encode()
    expected = Descriptor(modality="audio", encoder_sha256="ab", boot_id=15)
    assert parse_descriptor(payload, where="d") == expected


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        (b"\xff\xfe", "expected a JSON object"),
        (b"[]", "expected a JSON object"),
        (b"[" * 100_000, "expected a JSON object"),
        (json.dumps(GOOD | {"modality": "smell"}).encode(), "unknown modality 'smell'"),
        (json.dumps(GOOD | {"modality": ["audio"]}).encode(), "unknown modality"),
        (json.dumps(GOOD | {"encoder": "ab"}).encode(), "'encoder.sha256' must be a hash"),
        (json.dumps(GOOD | {"encoder": {"sha256": "x" * 65}}).encode(), "must be a hash"),
        (json.dumps(GOOD | {"encoder": {"sha256": "a", "set": 5}}).encode(), "'encoder.set' must"),
        (
            json.dumps(GOOD | {"encoder": {"sha256": "a", "set": "x" * 65}}).encode(),
            "must be a name",
        ),
        (
            json.dumps(GOOD | {"encoder": {"sha256": "a", "from_seq": -1}}).encode(),
            "from_seq' must",
        ),
        (json.dumps(GOOD | {"encoder": {"sha256": "a", "from_seq": True}}).encode(), "a number"),
        (of_encoder(reduced_from=7), "'encoder.reduced_from' must be a hash"),
        (of_encoder(reduced_from=""), "'encoder.reduced_from' must be a hash"),
        (json.dumps(GOOD | {"boot": 15}).encode(), "'boot' must be 16 hexadecimal digits"),
        (json.dumps(GOOD | {"boot": "zz" * 8}).encode(), "'boot' must be 16 hexadecimal digits"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_descriptor_is_refused(payload: bytes, said: str) -> None:
    with pytest.raises(BadBlock, match=f"descriptor of n/s: .*{said}"):
        parse_descriptor(payload, where="descriptor of n/s")


def described(sha256: str, *, modality: str = "audio") -> Descriptor:
    return Descriptor(modality=modality, encoder_sha256=sha256, boot_id=1)  # type: ignore[arg-type]


def test_the_reference_nodes_encoder_counts() -> None:
    known = {("a", "m"): described("x"), ("b", "m"): described("x"), ("c", "m"): described("y")}
    assert expected_encoders(known, reference="c") == {"audio": "y"}


def test_without_the_reference_the_most_used_counts_then_the_first() -> None:
    known = {("a", "m"): described("y"), ("b", "m"): described("x"), ("c", "m"): described("x")}
    assert expected_encoders(known, reference=None) == {"audio": "x"}
    del known["c", "m"]
    assert expected_encoders(known, reference="gone") == {"audio": "y"}


def test_weights_that_are_kept_smaller_make_no_other_encoder() -> None:
    small = parse_descriptor(of_encoder(reduced_from="x"), where="d")
    known = {("a", "m"): small, ("b", "m"): described("x"), ("c", "m"): described("y")}
    assert expected_encoders(known, reference="a") == {"audio": "x"}
    assert expected_encoders(known, reference=None) == {"audio": "x"}


def test_the_reference_nodes_set_counts_then_the_most_used() -> None:
    known = {
        (node, "m"): Descriptor(modality="audio", encoder_sha256="x", boot_id=1, encoder_set=name)
        for node, name in {"a": "s", "b": "s", "c": "t"}.items()
    }
    assert expected_set(known, reference="c") == "t"
    assert expected_set(known, reference=None) == "s"
    assert expected_set({}, reference="c") == ""


def test_modalities_do_not_mix() -> None:
    known = {("a", "m"): described("x"), ("a", "v"): described("y", modality="video")}
    assert expected_encoders(known, reference="a") == {"audio": "x", "video": "y"}


@pytest.mark.parametrize("told", [None, 3, {}, {"state": "maybe"}, [1], "irrelevant"])
def test_relevance_that_cannot_be_read_is_unknown(told: object) -> None:
    assert parse_relevance(told) is None


def test_a_stream_that_is_left_out_says_why() -> None:
    told = parse_relevance(
        {"state": "irrelevant", "reason": "frozen", "since_node_ns": 7, "dropped": True}
    )
    assert told == StreamRelevance(
        is_relevant=False, reason="frozen", since_node_ns=7, is_dropped=True
    )
