"""The block codec: the vectors read both ways, and bytes of every kind."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coeval.errors import BadBlock
from coeval.time import NodeNs
from coeval.wire import HEADER_BYTES, MAX_COUNT, MAX_DIM, Block, decode_block, encode_block

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "block.json").read_text("utf-8"))

SAID = {
    "magic": "expected a block that begins with",
    "version": "wire version",
    "truncated": "truncated header",
    "length": "bytes, got",
    "size": "expected 1…4096 rows of 1…1024 columns",
    "checksum": "checksum differs",
    "hop": "hop must be",
    "time": "within ±146 years",
    "embedding": "NaN or infinite",
}


def block_of(fields: dict[str, object]) -> Block:
    clock = fields["clock_node_ns"]
    return Block(
        boot_id=int(str(fields["boot_id"]), 16),
        seq=int(str(fields["seq"])),
        t0_node_ns=NodeNs(int(str(fields["t0_node_ns"]))),
        hop_ns=int(str(fields["hop_ns"])),
        clock_node_ns=None if clock is None else NodeNs(int(str(clock))),
        embeddings=np.array(fields["embeddings"], np.float32),
    )


@pytest.fixture
def block() -> Block:
    return block_of(VECTORS["good"][0]["block"])


@pytest.mark.parametrize("vector", VECTORS["good"], ids=lambda v: v["name"])
def test_a_vector_reads_the_same_both_ways(vector: dict[str, object]) -> None:
    data = bytes.fromhex(str(vector["hex"]))
    expected = block_of(vector["block"])  # type: ignore[arg-type]
    assert encode_block(expected) == data
    decoded = decode_block(data)
    assert encode_block(decoded) == data
    assert decoded.boot_id == expected.boot_id
    assert decoded.seq == expected.seq
    assert decoded.t0_node_ns == expected.t0_node_ns
    assert decoded.hop_ns == expected.hop_ns
    assert decoded.clock_node_ns == expected.clock_node_ns
    np.testing.assert_array_equal(decoded.embeddings, expected.embeddings)


@pytest.mark.parametrize("vector", VECTORS["bad"], ids=lambda v: v["name"])
def test_a_bad_vector_is_refused_with_its_reason(vector: dict[str, str]) -> None:
    with pytest.raises(BadBlock, match=SAID[vector["fault"]]):
        decode_block(bytes.fromhex(vector["hex"]))


def test_the_message_names_the_sender_and_what_to_do(block: Block) -> None:
    data = bytearray(encode_block(block))
    data[4] = 3
    expected = "block from cam/mic: wire version 3, this page speaks 1; update the page"
    with pytest.raises(BadBlock, match=expected):
        decode_block(bytes(data), where="block from cam/mic", reader="page")


def test_an_older_sender_is_told_to_update(block: Block) -> None:
    data = bytearray(encode_block(block))
    data[4] = 0
    with pytest.raises(BadBlock, match="update the sender"):
        decode_block(bytes(data))


def test_the_largest_block_fits_a_broker_message(block: Block) -> None:
    rows = np.ones((MAX_COUNT, 16), np.float32)
    data = encode_block(replace(block, embeddings=rows))
    assert len(data) == HEADER_BYTES + 2 * rows.size < 262_144
    assert decode_block(data).embeddings.shape == rows.shape


@pytest.mark.parametrize(
    "wrong",
    [
        {"embeddings": np.zeros((0, 16), np.float32)},
        {"embeddings": np.zeros(16, np.float32)},
        {"embeddings": np.zeros((1, MAX_DIM + 1), np.float32)},
        {"embeddings": np.full((1, 2), np.nan, np.float32)},
        {"embeddings": np.full((1, 2), 1e5, np.float32)},
        {"seq": 2**32},
        {"boot_id": -1},
        {"hop_ns": 0},
        {"t0_node_ns": 2**62},
    ],
    ids=str,
)
def test_what_does_not_fit_is_not_encoded(block: Block, wrong: dict[str, object]) -> None:
    with pytest.raises(BadBlock):
        encode_block(replace(block, **wrong))  # type: ignore[arg-type]


@given(data=st.binary(max_size=400))
def test_random_bytes_are_never_more_than_a_bad_block(data: bytes) -> None:
    with pytest.raises(BadBlock):
        decode_block(data)


@given(
    vector=st.sampled_from(VECTORS["good"]),
    changes=st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 200),
)
def test_a_damaged_block_is_refused_or_unchanged(
    vector: dict[str, str], changes: list[tuple[int, int]], cut: int
) -> None:
    original = bytes.fromhex(vector["hex"])
    data = bytearray(original)
    for at, value in changes:
        if at < len(data):
            data[at] = value
    damaged = bytes(data[: max(len(data) - cut, 0)] if cut < 100 else data)
    try:
        decoded = decode_block(damaged)
    except BadBlock:
        return
    assert encode_block(decoded)[8:] == original[8:]  # flags not in use may differ


@settings(max_examples=50)
@given(
    seq=st.integers(0, 2**32 - 1),
    boot_id=st.integers(0, 2**64 - 1),
    t0_ns=st.integers(-(2**62) + 1, 2**62 - 1),
    count=st.integers(1, 20),
    dim=st.integers(1, 20),
)
def test_every_block_comes_back_as_it_was(
    seq: int, boot_id: int, t0_ns: int, count: int, dim: int
) -> None:
    rows = np.random.default_rng(seq).standard_normal((count, dim)).astype(np.float16)
    sent = Block(
        boot_id=boot_id,
        seq=seq,
        t0_node_ns=NodeNs(t0_ns),
        hop_ns=50_000_000,
        clock_node_ns=None,
        embeddings=rows.astype(np.float32),
    )
    got = decode_block(encode_block(sent))
    assert (got.seq, got.boot_id, got.t0_node_ns) == (seq, boot_id, t0_ns)
    np.testing.assert_array_equal(got.embeddings, sent.embeddings)


@pytest.mark.parametrize(("surprise", "told"), [(0.0, 0.0), (11.366, 11.37), (1e4, 655.35)])
def test_the_surprise_that_samples_repeat_goes_with_a_block(
    block: Block, surprise: float, told: float
) -> None:
    decoded = decode_block(encode_block(replace(block, surprise=surprise)))
    assert decoded.surprise == pytest.approx(told)
