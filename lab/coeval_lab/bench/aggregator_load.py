"""Live sessions for `coeval bench aggregator`: what nodes would send, from a generated scene.

Every stream carries the embeddings that the shipped encoder of its modality makes of its part of
the scene, under that encoder's hash, so that the aggregator fuses, judges and looks at them as it
does in use. Run as a program, so that its processor time is not the aggregator's.
"""

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from coeval.evidence_wire import EvidenceMessage, PpsSample, encode_evidence
from coeval.hops import HOP_NS
from coeval.samples import Modality
from coeval.time import NS_PER_S, NodeNs
from coeval.topics import Topics
from coeval.wire import Block, encode_block
from coeval_lab.bench.aggregator_mqtt import (
    PUBACK,
    PUBLISH,
    RawClient,
    message_of,
    publish_packet,
)

ROWS = 8
"""Rows a block: 304 bytes."""
BLOCK_NS = ROWS * HOP_NS
EMBEDDINGS_HZ = 25.0
"""Embeddings a second and stream. A hop is 50 ms of the streams' clocks: they run so much faster
than ours, which the aggregator, whose timeline is theirs, does not see."""
BLOCK_S = ROWS / EMBEDDINGS_HZ
EPOCH_NS = 1_000 * NS_PER_S
STREAMS_A_NODE = 2
SCENE_SEED = 930_001
SETTLE_S = 10.0
"""What comes before does not count: the first clocks are found, the networks are loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much is sent."""

    sessions: tuple[int, ...]
    """Streams of each session, two a node."""

    @classmethod
    def of(cls, num_streams: int, *, a_session: int = 20) -> Self:
        """So many streams in sessions of twenty, the last one of what is left."""
        whole, rest = divmod(num_streams, a_session)
        return cls(sessions=(a_session,) * whole + ((rest,) if rest else ()))

    def streams(self, session: int) -> Iterator[tuple[str, str]]:
        """Node and stream of every stream of a session."""
        for k in range(self.sessions[session]):
            yield f"n{k // STREAMS_A_NODE}", f"x{k % STREAMS_A_NODE}"

    def nodes(self, session: int) -> list[str]:
        """The nodes of a session."""
        return list(dict.fromkeys(node for node, _ in self.streams(session)))

    @property
    def total(self) -> int:
        """Streams in all."""
        return sum(self.sessions)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """Embeddings of a scene's streams, played over and over."""

    modalities: tuple[Modality, ...]
    """What each stream senses."""
    hashes: tuple[str, ...]
    """The encoder of each."""
    rows: NDArray[np.float16]
    """Shape (streams, hops, 16), hops a multiple of ROWS."""

    def blocks(self, seq: int) -> list[bytes]:
        """The block of such a number of every stream, as a node sends it."""
        at = seq * ROWS % self.rows.shape[1]
        return [
            encode_block(
                Block(
                    boot_id=1,
                    seq=seq,
                    t0_node_ns=NodeNs(EPOCH_NS + seq * BLOCK_NS),
                    hop_ns=HOP_NS,
                    clock_node_ns=None,
                    embeddings=rows[at : at + ROWS].astype(np.float32),
                )
            )
            for rows in self.rows
        ]

    def descriptor(self, k: int) -> bytes:
        """The descriptor of a session's k-th stream, as a node retains it."""
        kind = k % len(self.modalities)
        encoder = {"id": f"coeval-{self.modalities[kind]}", "sha256": self.hashes[kind]}
        value = {"modality": self.modalities[kind], "encoder": encoder, "boot": f"{1:016x}"}
        return json.dumps(value).encode()

    def save(self, path: Path) -> None:
        """Write it to a file."""
        np.savez(path, modalities=self.modalities, hashes=self.hashes, rows=self.rows)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read it from a file."""
        with np.load(path) as found:
            return cls(
                modalities=tuple(map(str, found["modalities"])),  # type: ignore[arg-type]
                hashes=tuple(map(str, found["hashes"])),
                rows=found["rows"],
            )


@cache
def scene_material(seconds: float = 120.0) -> Material:
    """A scene's streams through the shipped encoders, from where all of them have begun.

    Raises:
        EncoderMismatch: no fusion network ships: without its hashes nothing would be fused.
    """
    from coeval_aggregator.fusing import load_shipped
    from coeval_lab.bench.fault_material import scene_session  # heavy

    encoders = load_shipped().encoders
    tracks = list(scene_session(SCENE_SEED, seconds=seconds, faults=()).calm.values())
    begin = max(int(np.flatnonzero(track.covered)[0]) for track in tracks)
    num = (len(tracks[0].rows) - begin) // ROWS * ROWS
    return Material(
        modalities=tuple(track.modality for track in tracks),
        hashes=tuple(encoders[track.modality] for track in tracks),
        rows=np.stack([track.rows[begin : begin + num] for track in tracks]).astype(np.float16),
    )


def describe(client: RawClient, load: Load, material: Material) -> None:
    """Publish every descriptor."""
    for s in range(len(load.sessions)):
        topics = Topics(session=f"s{s}")
        for k, (node, stream) in enumerate(load.streams(s)):
            topic = topics.descriptor(node, stream)
            client.send(publish_packet(topic, material.descriptor(k), mid=1, retain=True))


def publish_backlog(url: str, load: Load, material: Material, *, num_each: int) -> None:
    """Publish so many blocks of every stream; the broker has them when this returns."""
    client = RawClient(url, "bench-backlog")
    describe(client, load, material)
    num_taken = -load.total  # the descriptors
    for seq in range(num_each):
        blocks = material.blocks(seq)
        for s in range(len(load.sessions)):
            client.send(session_packets(load, s, seq, blocks))
        while num_taken < (seq + 1) * load.total - 2000:
            num_taken += sum(kind == PUBACK for kind, _ in client.packets(wait_s=10.0))
    while num_taken < num_each * load.total:
        num_taken += sum(kind == PUBACK for kind, _ in client.packets(wait_s=10.0))
    client.close()


@cache
def block_topics(load: Load, session: int) -> list[str]:
    """Where a session's blocks go."""
    topics = Topics(session=f"s{session}")
    return [topics.block(node, stream) for node, stream in load.streams(session)]


def session_packets(load: Load, session: int, seq: int, blocks: Sequence[bytes]) -> bytes:
    """One block of every stream of a session."""
    return b"".join(
        publish_packet(topic, blocks[k % len(blocks)], mid=1 + (seq * 64 + k) % 65_535)
        for k, topic in enumerate(block_topics(load, session))
    )


class Sender:
    """Sends sessions live, and hears their ticks."""

    def __init__(self, url: str, load: Load, material: Material) -> None:
        self._load, self._material = load, material
        self._sent_s: dict[tuple[str, int], float] = {}
        """When a session's last block of a number was handed to the broker."""
        self._late_s: list[float] = []
        self._fusions: dict[str, int] = {}
        self._num_acked = self._num_sent = 0
        self.num_blocks = 0
        self._client = RawClient(url, "bench-sender")
        self._client.subscribe("coeval/+/aligned", qos=0)

    def run(self, seconds: float) -> dict[str, object]:
        """Send for so long; what was sent and heard. Prints when it begins.

        Sessions send in turn, as sessions that know nothing of one another would; the streams of
        one session all at once. A tick's lateness counts from when the broker was handed the last
        block that it needs.
        """
        describe(self._client, self._load, self._material)
        self._num_sent += self._load.total
        num_sessions = len(self._load.sessions)
        began_s = time.monotonic()
        print(began_s, flush=True)
        for seq in range(round(seconds / BLOCK_S)):
            blocks = self._material.blocks(seq)
            for s in range(num_sessions):
                self._listen(until_s=began_s + (seq + 1 + s / num_sessions) * BLOCK_S)
                self._client.send(session_packets(self._load, s, seq, blocks))
                self._sent_s[f"s{s}", seq] = time.monotonic()
                self._sent_s.pop((f"s{s}", seq - 200), None)
                self._num_sent += self._load.sessions[s]
                self.num_blocks += self._load.sessions[s]
                self._pulse(s, seq)
            if (seq + 1) * BLOCK_S < SETTLE_S:
                self._late_s.clear()
                self._fusions.clear()
        self._listen(until_s=time.monotonic() + 1.0)
        until_s = time.monotonic() + 60.0
        while self._num_acked < self._num_sent and time.monotonic() < until_s:
            self._listen(until_s=time.monotonic() + 0.1)
        self._client.close()
        late_ms = 1e3 * np.array(self._late_s or [np.nan])
        return {
            "blocks": self.num_blocks,
            "unacknowledged": self._num_sent - self._num_acked,
            "ticks": len(self._late_s),
            "p50_ms": float(np.percentile(late_ms, 50)),
            "p99_ms": float(np.percentile(late_ms, 99)),
            "max_ms": float(late_ms.max()),
            "fusions": self._fusions,
        }

    def _pulse(self, session: int, seq: int) -> None:
        """Every node's pulses of UTC that fell into a block."""
        begin_ns = EPOCH_NS + seq * BLOCK_NS
        t_ns = -(-begin_ns // NS_PER_S) * NS_PER_S
        if t_ns >= begin_ns + BLOCK_NS:
            return
        pulse = PpsSample(t_node_ns=t_ns, t_utc_ns=t_ns, sigma_ns=1000.0)
        told = encode_evidence(EvidenceMessage(boot_id=1, samples=(pulse,)))
        topics, nodes = Topics(session=f"s{session}"), self._load.nodes(session)
        self._client.send(
            b"".join(publish_packet(topics.evidence(node), told, mid=1) for node in nodes)
        )
        self._num_sent += len(nodes)

    def _listen(self, *, until_s: float) -> None:
        """Hear ticks and acknowledgements until then."""
        while (left_s := until_s - time.monotonic()) > 0:
            for kind, body in self._client.packets(wait_s=left_s):
                if kind == PUBACK:
                    self._num_acked += 1
                elif kind == PUBLISH:
                    self._hear(body)

    def _hear(self, body: bytes) -> None:
        topic, _, payload = message_of(body, qos=0)
        tick = json.loads(payload)
        seq = (tick["t_ref_ns"] - EPOCH_NS) // BLOCK_NS
        given_s = self._sent_s.get((topic.decode().split("/")[1], seq))
        if given_s is not None:
            self._late_s.append(time.monotonic() - given_s)
            fusion = str(tick["fusion"])
            self._fusions[fusion] = self._fusions.get(fusion, 0) + 1


if __name__ == "__main__":
    broker_url, scene, sizes, lasts_s = sys.argv[1:]
    wanted = Load(sessions=tuple(map(int, sizes.split(","))))
    sender = Sender(broker_url, wanted, Material.load(Path(scene)))
    print(json.dumps(sender.run(float(lasts_s))))
