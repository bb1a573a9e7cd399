"""The block: consecutive embeddings of one stream, as they cross the network.

A `Block` goes in and bytes come out, or the other way round. Every number is little-endian:

====== ===== ======== =====================================================================
offset bytes type     field
====== ===== ======== =====================================================================
0      4     bytes    magic ``COEV``
4      1     uint8    version, 1
5      1     uint8    flags: 1 = `clock_node_ns` is a reading; the other bits are sent as 0
6      2     uint16   count: rows
8      8     uint64   boot id
16     8     int64    t0_node_ns
24     8     int64    clock_node_ns
32     4     uint32   seq
36     4     uint32   hop_ns
40     2     uint16   dim: columns
42     2     uint16   surprise that samples repeat, in hundredths of nats (`coeval.repeats`)
44     4     uint32   CRC-32 (IEEE 802.3, as zlib) of bytes 0…43 and of everything after 47
48     2·n   float16  embeddings, row after row, n = count × dim
====== ===== ======== =====================================================================

The fields lie on their natural alignment, so that C reads the header as a struct.
"""

import struct
import zlib
from dataclasses import dataclass

import numpy as np

from coeval.errors import BadBlock
from coeval.samples import FloatArray
from coeval.time import NodeNs

MAGIC = b"COEV"
VERSION = 1
HEADER = struct.Struct("<4sBBHQqqIIHHI")
HEADER_BYTES = HEADER.size
CRC_AT = HEADER_BYTES - 4
HAS_CLOCK = 1

MAX_COUNT = 4096
"""Rows in a block: 205 s of embeddings at 20 Hz."""
MAX_DIM = 1024
"""Columns in a block."""
LONGEST_NS = 2**62
"""Clock readings beyond ±146 years are refused: sums of two must fit 64 bits."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Consecutive embeddings of one stream, and which they are."""

    boot_id: int
    """Random 64-bit number of this run of the node; `seq` and the clock count within it."""
    seq: int
    """Number of the block in its stream and boot, from 0."""
    t0_node_ns: NodeNs
    """Start of the first row's hop."""
    hop_ns: int
    """Time between rows."""
    clock_node_ns: NodeNs | None
    """The node's clock when the block was sealed; None: not read."""
    embeddings: FloatArray
    """Rows, shape (count, dim); float16 on the wire."""
    surprise: float = 0.0
    """How unlike the stream's past it is that its samples repeat, in nats (`coeval.repeats`); 0:
    they do not, or the node does not say."""


def encode_block(block: Block) -> bytes:
    """The bytes of a block.

    Raises:
        BadBlock: it does not fit the format: no or too many rows, a number out of range, or an
            embedding that float16 cannot hold.
    """
    if block.embeddings.ndim != 2:
        raise BadBlock(f"block: expected rows of embeddings, got shape {block.embeddings.shape}")
    count, dim = block.embeddings.shape
    clock_ns = 0 if block.clock_node_ns is None else block.clock_node_ns
    _check_size(count, dim, where="block")
    _check_times(block.t0_node_ns, clock_ns, block.hop_ns, where="block")
    if not 0 <= block.boot_id < 2**64 or not 0 <= block.seq < 2**32:
        raise BadBlock(
            f"block: boot id and seq must fit 64 and 32 bits, got {block.boot_id} and {block.seq}"
        )
    with np.errstate(over="ignore"):
        payload = block.embeddings.astype("<f2")
    if not np.isfinite(payload).all():
        raise BadBlock("block: an embedding is NaN, infinite or too large for float16")
    body = payload.tobytes()
    head = HEADER.pack(
        MAGIC,
        VERSION,
        0 if block.clock_node_ns is None else HAS_CLOCK,
        count,
        block.boot_id,
        block.t0_node_ns,
        clock_ns,
        block.seq,
        block.hop_ns,
        dim,
        min(max(round(100 * block.surprise), 0), 0xFFFF),
        0,
    )[:CRC_AT]
    return head + zlib.crc32(body, zlib.crc32(head)).to_bytes(4, "little") + body


def decode_block(data: bytes, *, where: str = "block", reader: str = "reader") -> Block:
    """Read a block's bytes; nothing else is ever raised, whatever the bytes.

    Args:
        data: one whole message.
        where: whose block it is, for messages.
        reader: who reads it, for messages.

    Raises:
        BadBlock: not a block, of another version, truncated, damaged, or with numbers that
            cannot be.
    """
    if len(data) < 5 or data[:4] != MAGIC:
        raise BadBlock(f"{where}: expected a block that begins with {MAGIC!r}, got {data[:4]!r}")
    if data[4] != VERSION:
        behind = "sender" if data[4] < VERSION else reader
        raise BadBlock(
            f"{where}: wire version {data[4]}, this {reader} speaks {VERSION}; update the {behind}"
        )
    if len(data) < HEADER_BYTES:
        raise BadBlock(f"{where}: truncated header: expected {HEADER_BYTES} bytes, got {len(data)}")
    (_, _, flags, count, boot_id, t0_ns, clock_ns, seq, hop_ns, dim, surprise, crc) = (
        HEADER.unpack_from(data)
    )
    _check_size(count, dim, where=where)
    expected = HEADER_BYTES + 2 * count * dim
    if len(data) != expected:
        raise BadBlock(
            f"{where}: {count} rows of {dim} take {expected} bytes, got {len(data)}; "
            + ("the block is truncated" if len(data) < expected else "there is more behind it")
        )
    if zlib.crc32(data[HEADER_BYTES:], zlib.crc32(data[:CRC_AT])) != crc:
        raise BadBlock(f"{where}: checksum differs; the block was damaged on its way")
    _check_times(t0_ns, clock_ns, hop_ns, where=where)
    embeddings = np.frombuffer(data, "<f2", offset=HEADER_BYTES).reshape(count, dim)
    if not np.isfinite(embeddings).all():
        raise BadBlock(f"{where}: an embedding is NaN or infinite; expected finite numbers")
    return Block(
        boot_id=boot_id,
        seq=seq,
        t0_node_ns=NodeNs(t0_ns),
        hop_ns=hop_ns,
        clock_node_ns=NodeNs(clock_ns) if flags & HAS_CLOCK else None,
        embeddings=embeddings.astype(np.float32),
        surprise=surprise / 100,
    )


def _check_size(count: int, dim: int, *, where: str) -> None:
    if not 1 <= count <= MAX_COUNT or not 1 <= dim <= MAX_DIM:
        raise BadBlock(
            f"{where}: expected 1…{MAX_COUNT} rows of 1…{MAX_DIM} columns, got {count} of {dim}"
        )


def _check_times(t0_ns: int, clock_ns: int, hop_ns: int, *, where: str) -> None:
    if not 1 <= hop_ns < 2**32:
        raise BadBlock(f"{where}: hop must be 1…4294967295 ns, got {hop_ns}")
    if max(abs(t0_ns), abs(clock_ns)) >= LONGEST_NS:
        raise BadBlock(
            f"{where}: clock readings must lie within ±146 years, got t0 {t0_ns} ns "
            f"and clock {clock_ns} ns"
        )
