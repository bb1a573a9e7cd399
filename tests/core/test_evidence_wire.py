"""Messages about time: read as written, and nothing hostile gets through."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coeval.errors import BadBlock
from coeval.evidence_wire import (
    MOST_BYTES,
    MOST_SAMPLES,
    EdgeSample,
    EvidenceMessage,
    ExchangeSample,
    PpsSample,
    StatementSample,
    TimeReply,
    TimeRequest,
    batches,
    decode_evidence,
    decode_reply,
    decode_request,
    encode_evidence,
    encode_reply,
    encode_request,
)
from coeval.network import Exchange

NS = st.integers(-(2**62), 2**62)
SIGMA = st.floats(1e-3, 1e12)
NAME = st.sampled_from(["strobe", "chrony", "@server", "node-7", "ünï"])
SAMPLES = st.one_of(
    st.builds(PpsSample, t_node_ns=NS, t_utc_ns=NS, sigma_ns=SIGMA),
    st.builds(PpsSample, by=NAME, t_node_ns=NS, t_utc_ns=NS, sigma_ns=SIGMA, bias_sigma_ns=SIGMA),
    st.builds(EdgeSample, line=NAME, t_node_ns=NS, sigma_ns=SIGMA),
    st.builds(
        StatementSample, by=NAME, t_node_ns=NS, t_utc_ns=NS, sigma_ns=SIGMA, bias_sigma_ns=SIGMA
    ),
    st.builds(
        ExchangeSample,
        other=NAME,
        exchange=st.builds(Exchange, t1_ns=NS, t2_ns=NS, t3_ns=NS, t4_ns=NS),
    ),
)
GOOD: dict[str, Any] = {"what": "pps", "t_node_ns": 5, "t_utc_ns": 7, "sigma_ns": 1000.0}


@given(boot_id=st.integers(0, 2**64 - 1), samples=st.lists(SAMPLES, max_size=8))
def test_evidence_is_read_as_it_was_written(boot_id: int, samples: list[Any]) -> None:
    message = EvidenceMessage(boot_id=boot_id, samples=tuple(samples))
    assert decode_evidence(encode_evidence(message), where="x") == message


@given(number=NS, t1=NS, t2=NS, t3=NS)
def test_questions_and_answers_are_read_as_they_were_written(
    number: int, t1: int, t2: int, t3: int
) -> None:
    request = TimeRequest(asker="cam", number=number, t1_ns=t1)
    assert decode_request(encode_request(request), where="x") == request
    reply = TimeReply(answerer="aggregator", number=number, t1_ns=t1, t2_ns=t2, t3_ns=t3)
    assert decode_reply(encode_reply(reply), where="x") == reply


@given(st.binary(max_size=200))
@settings(max_examples=200)
def test_noise_is_refused(payload: bytes) -> None:
    for decode in (decode_evidence, decode_request, decode_reply):
        with pytest.raises(BadBlock):
            decode(payload, where="time/cam/evidence")


def message_with(**changes: object) -> bytes:
    return json.dumps({"boot": "0" * 16, "samples": [GOOD | changes]}).encode()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"what": "oracle"}, "what must be"),
        ({"t_node_ns": 1.5}, "t_node_ns must be an integer"),
        ({"t_node_ns": True}, "t_node_ns must be an integer"),
        ({"t_utc_ns": 2**63}, "t_utc_ns must be an integer within"),
        ({"t_utc_ns": "7"}, "t_utc_ns must be"),
        ({"sigma_ns": 0}, "sigma_ns must be a number from 0.001"),
        ({"sigma_ns": -1}, "sigma_ns must be"),
        ({"sigma_ns": 1e13}, "sigma_ns must be"),
        ({"sigma_ns": None}, "sigma_ns must be"),
        ({"what": "edge", "line": "a/b"}, "line"),
        ({"what": "exchange", "with": 7}, "with"),
    ],
)
def test_a_bad_sample_is_named_with_its_place(changes: dict[str, object], named: str) -> None:
    with pytest.raises(BadBlock, match=named) as caught:
        decode_evidence(message_with(**changes), where="evidence of cam")
    assert "evidence of cam, sample 0" in str(caught.value)


@pytest.mark.parametrize("bad", [b"[1]", b'{"boot": "zz", "samples": []}', b'{"samples": []}'])
def test_a_message_of_another_shape_is_refused(bad: bytes) -> None:
    with pytest.raises(BadBlock):
        decode_evidence(bad, where="x")


def test_nan_and_nesting_and_length_are_refused() -> None:
    nan = json.dumps({"boot": "0" * 16, "samples": [GOOD | {"sigma_ns": float("nan")}]}).encode()
    for bad in (nan, b"[" * 100_000, b" " * (MOST_BYTES + 1)):
        with pytest.raises(BadBlock):
            decode_evidence(bad, where="x")


def test_many_samples_go_in_several_messages() -> None:
    sample = PpsSample(t_node_ns=1, t_utc_ns=2, sigma_ns=3.0)
    messages = batches([sample] * (MOST_SAMPLES + 1), boot_id=9)
    assert [len(message.samples) for message in messages] == [MOST_SAMPLES, 1]
    assert all(len(encode_evidence(message)) <= MOST_BYTES for message in messages)


@pytest.mark.parametrize("of", ["cam", "@server", "", 7])
def test_a_statement_is_of_utc_or_of_a_grandmaster_and_of_nothing_else(of: object) -> None:
    sample = {
        "what": "statement", "by": "ptp4l", "of": of,
        "t_node_ns": 1, "t_utc_ns": 2, "sigma_ns": 3.0, "bias_sigma_ns": 4.0,
    }  # fmt: skip
    payload = json.dumps({"boot": "0" * 16, "samples": [sample]}).encode()
    with pytest.raises(BadBlock, match="of"):
        decode_evidence(payload, where="x")
