"""A session as a page hears it, for `coeval bench page`: more marks than life brings.

Run as a program in a process of its own: `page_load URL NUM_STREAMS`. It publishes what nodes and
an aggregator would: blocks twice a second, four ticks a second with a score that moves in every
lane, a clock for every node, and an anomaly that begins and ends now and then.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import BrokerAddress
from coeval.hops import EMBEDDING_DIM, HOP_NS
from coeval.time import NS_PER_S, NodeNs
from coeval.topics import AGGREGATOR, Topics
from coeval.wire import Block, encode_block

SESSION = "bench"
MODALITIES = ("audio", "video", "metadata", "text")
EPOCH_NS = 1_000 * NS_PER_S
TOPICS = Topics(session=SESSION)
STREAMS_A_NODE = 5
REFERENCE = "n0"
ROWS = 10
BLOCK_NS = ROWS * HOP_NS
TICK_NS = NS_PER_S // 4
HISTORY_BLOCKS = 140
"""Sent at once: what a page of 60 s shows is there from the beginning."""
ANOMALY_EVERY_BLOCKS, ANOMALY_BLOCKS = 40, 16
Message = tuple[str, bytes, bool]
"""Topic, payload, whether it is retained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The streams, and what is said of them."""

    num_streams: int
    """How many, five a node."""
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    """Draws embeddings and scores."""

    @property
    def streams(self) -> list[tuple[str, str]]:
        """Node and stream of each."""
        return [
            (f"n{k // STREAMS_A_NODE}", f"x{k % STREAMS_A_NODE}") for k in range(self.num_streams)
        ]

    @property
    def nodes(self) -> dict[str, float]:
        """Every node, and its offset in s: node − reference, positive: the node is fast."""
        names = dict.fromkeys(node for node, _ in self.streams)
        return {name: 0.9 * k * (-1) ** k for k, name in enumerate(names)}

    def description(self) -> Iterator[Message]:
        """What is retained."""
        for k, (node, stream) in enumerate(self.streams):
            told: dict[str, object] = {"modality": MODALITIES[k % len(MODALITIES)]}
            told |= {"boot": f"{1:016x}", "hop_ns": HOP_NS, "dim": EMBEDDING_DIM}
            yield TOPICS.descriptor(node, stream), json.dumps(told).encode(), True
        for node in self.nodes:
            yield TOPICS.state(node), json.dumps({"state": "online", "node": node}).encode(), True

    def half_a_second(self, k: int) -> Iterator[Message]:
        """What is said between two blocks."""
        for node, stream in self.streams:
            moves = self.rng.normal(size=(ROWS, EMBEDDING_DIM)) * (0.2 + (k % 7 == 0))
            block = Block(
                boot_id=1,
                seq=k,
                t0_node_ns=NodeNs(EPOCH_NS + k * BLOCK_NS + round(self.nodes[node] * NS_PER_S)),
                hop_ns=HOP_NS,
                clock_node_ns=None,
                embeddings=moves.astype(np.float32),
            )
            yield TOPICS.block(node, stream), encode_block(block), False
        for part in range(BLOCK_NS // TICK_NS):
            yield self.tick(EPOCH_NS + k * BLOCK_NS + part * TICK_NS)
        if k % 2 == 0:
            yield from self.clocks(EPOCH_NS + k * BLOCK_NS)
        yield from self.anomaly(k)

    def tick(self, t_ref_ns: int) -> Message:
        """A tick with a score of every stream."""
        scores = self.rng.uniform(-3.0, 1.0, self.num_streams).round(3).tolist()
        streams = {
            f"{node}/{stream}": {
                "modality": "audio",
                "t_node_ns": t_ref_ns + round(self.nodes[node] * NS_PER_S),
                "norm": 1.0,
                "anomaly": score,
            }
            for (node, stream), score in zip(self.streams, scores, strict=True)
        }
        told = {"t_ref": t_ref_ns / NS_PER_S, "t_ref_ns": t_ref_ns, "streams": streams}
        told |= {"anomaly": max(scores), "alarm": None, "fused": None, "fusion_why": None}
        return TOPICS.aligned, json.dumps(told).encode(), False

    def clocks(self, t_ref_ns: int) -> Iterator[Message]:
        """Every clock, locked, and the aggregator's counts."""
        for node, offset_s in self.nodes.items():
            told: dict[str, object] = {"node": node, "reference": REFERENCE, "t_ref_ns": t_ref_ns}
            told |= {
                "status": "reference" if node == REFERENCE else "locked",
                "offset_s": offset_s + self.rng.normal() * 1e-3,
                "skew_ppm": 1.0,
                "ci95_s": 0.004,
                "skew_ci95_ppm": 2.0,
                "evidence": ["content", "network"],
                "jumps": [],
                "holdover_s": 0.0,
            }
            yield TOPICS.clock(node), json.dumps(told).encode(), True
        pairs = [
            {"first": REFERENCE, "second": node, "kind": kind, "accepted": True, "ci95_s": 0.01}
            for node in self.nodes
            if node != REFERENCE
            for kind in ("content", "network")
        ]
        counts = {"blocks": 1, "duplicates": 0, "late": 0, "lost": 0, "refused": False}
        facts = {f"{node}/{stream}": counts for node, stream in self.streams}
        state = {"state": "online", "pairs": pairs, "streams": facts, "degraded": []}
        yield TOPICS.state(AGGREGATOR), json.dumps(state).encode(), True

    def anomaly(self, k: int) -> Iterator[Message]:
        """An anomaly of three streams that begins and ends."""
        place = k % ANOMALY_EVERY_BLOCKS
        if place not in (0, ANOMALY_BLOCKS):
            return
        named = [f"{node}/{stream}" for node, stream in self.streams[:3]]
        node, stream = self.streams[0]
        told: dict[str, object] = {"event": "anomaly", "node": node, "stream": stream}
        told |= {
            "state": "begin" if place == 0 else "end",
            "streams": named,
            "anomaly": 0.5,
            "once_in_days": 3.2,
            "t_ref_ns": EPOCH_NS + k * BLOCK_NS,
            "duration_s": None if place == 0 else ANOMALY_BLOCKS * BLOCK_NS / NS_PER_S,
        }
        yield TOPICS.event("anomaly", node, stream), json.dumps(told).encode(), False


def connect(url: str) -> mqtt.Client:
    """A client that is connected and runs."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bench-page")
    client.max_queued_messages_set(0)
    client.max_inflight_messages_set(1000)
    address = BrokerAddress.parse(url)
    ready = threading.Event()
    client.on_connect = lambda *_: ready.set()
    client.connect(address.host, address.port)
    client.loop_start()
    if not ready.wait(30):
        raise TimeoutError("no connection to the broker")
    return client


def run(url: str, scene: Scene) -> None:
    """Publish until this process is ended."""
    client = connect(url)
    for topic, payload, retain in scene.description():
        client.publish(topic, payload, qos=1, retain=retain)
    for topic, payload, retain in scene.clocks(EPOCH_NS):
        client.publish(topic, payload, qos=1, retain=retain)
    began_s, k = time.monotonic(), 0
    while True:
        for topic, payload, retain in scene.half_a_second(k):
            info = client.publish(topic, payload, qos=1, retain=retain)
        info.wait_for_publish(60)
        k += 1
        if k == HISTORY_BLOCKS:
            began_s = time.monotonic()
        time.sleep(max(began_s + (k - HISTORY_BLOCKS) * 0.5 - time.monotonic(), 0.0))


if __name__ == "__main__":
    run(sys.argv[1], Scene(num_streams=int(sys.argv[2])))
