"""Blocks by the thousand for `coeval bench aggregator`, and the receivers that are compared.

Run as a program in a process of its own, so that its processor time is its own:
`bare URL NUM` is a paho client that counts what it gets, `sender URL …` publishes.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import BrokerAddress
from coeval.evidence_wire import EvidenceMessage, PpsSample, encode_evidence
from coeval.hops import EMBEDDING_DIM, HOP_NS
from coeval.time import NS_PER_S, NodeNs
from coeval.topics import Topics
from coeval.wire import Block, encode_block

ROWS = 8
"""Rows a block: 304 bytes."""
BLOCK_NS = ROWS * HOP_NS
BARE = "bench-bare"
MODALITIES = ("audio", "video", "metadata", "text")
EPOCH_NS = 1_000 * NS_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much is sent."""

    num_sessions: int
    """Sessions."""
    num_nodes: int
    """Nodes a session."""
    num_streams: int
    """Streams a node."""

    def streams(self) -> Iterator[tuple[Topics, str, str]]:
        """Topics, node and stream of every stream."""
        for s in range(self.num_sessions):
            topics = Topics(session=f"s{s}")
            for n in range(self.num_nodes):
                for k in range(self.num_streams):
                    yield topics, f"n{n}", f"x{k}"

    @property
    def total(self) -> int:
        """Streams in all."""
        return self.num_sessions * self.num_nodes * self.num_streams


def block_bytes(seq: int, rng: np.random.Generator) -> bytes:
    """A block as a node sends it."""
    rows = rng.normal(size=(ROWS, EMBEDDING_DIM)).astype(np.float32)
    t0_ns = EPOCH_NS + seq * BLOCK_NS
    return encode_block(
        Block(
            boot_id=1,
            seq=seq,
            t0_node_ns=NodeNs(t0_ns),
            hop_ns=HOP_NS,
            clock_node_ns=None,
            embeddings=rows,
        )
    )


def descriptor(stream: str) -> bytes:
    """A descriptor as a node retains it."""
    modality = MODALITIES[int(stream[1:]) % len(MODALITIES)]
    value = {"modality": modality, "encoder": {"id": "bench", "sha256": "ab"}, "boot": f"{1:016x}"}
    return json.dumps(value).encode()


def connect(url: str, client_id: str, *, clean: bool) -> mqtt.Client:
    """A client that is connected and runs."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=clean)
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


def subscribe_and_leave(url: str) -> None:
    """Let the broker queue every block for the bare client."""
    client = connect(url, BARE, clean=False)
    subscribed = threading.Event()
    client.on_subscribe = lambda *_: subscribed.set()
    client.subscribe("coeval/+/bin/+/+", qos=1)
    subscribed.wait(30)
    client.disconnect()
    client.loop_stop()


def describe(client: mqtt.Client, load: Load) -> None:
    """Publish every descriptor."""
    for topics, node, stream in load.streams():
        client.publish(topics.descriptor(node, stream), descriptor(stream), qos=1, retain=True)


def publish_backlog(url: str, load: Load, *, num_each: int) -> None:
    """Publish so many blocks of every stream; the broker has them when this returns."""
    client = connect(url, "bench-backlog", clean=True)
    describe(client, load)
    rng = np.random.default_rng(0)
    info: Any = None
    for seq in range(num_each):
        payload = block_bytes(seq, rng)
        for topics, node, stream in load.streams():
            info = client.publish(topics.block(node, stream), payload, qos=1)
        info.wait_for_publish(60)
    client.disconnect()
    client.loop_stop()


def run_bare(url: str, num: int) -> None:
    """Receive so many messages; print how long that took, and the processor time."""
    done = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=BARE, clean_session=False)
    got = 0
    began_s = 0.0

    def on_message(_c: mqtt.Client, _u: Any, _message: mqtt.MQTTMessage) -> None:
        nonlocal got, began_s
        began_s = began_s or time.monotonic()
        got += 1
        if got == num:
            done.set()

    client.on_message = on_message
    address = BrokerAddress.parse(url)
    cpu_s = time.process_time()
    client.connect(address.host, address.port)
    client.loop_start()
    done.wait(300)
    took_s = time.monotonic() - began_s
    print(json.dumps({"took_s": took_s, "cpu_s": time.process_time() - cpu_s, "got": got}))
    client.disconnect()
    client.loop_stop()


def run_sender(url: str, load: Load, *, seconds: float) -> None:
    """Publish live for so long, every node's pulses of UTC too; print how late each tick was.

    A tick's lateness is counted from when the broker was given the last block that it needs.
    """
    sent_s: dict[int, float] = {}
    late_s: list[float] = []
    client = connect(url, "bench-sender", clean=True)

    def on_message(_c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
        t_ref_ns = json.loads(message.payload)["t_ref_ns"]
        given_s = sent_s.get((t_ref_ns - EPOCH_NS) // BLOCK_NS)
        if given_s is not None:
            late_s.append(time.monotonic() - given_s)

    client.on_message = on_message
    client.subscribe("coeval/+/aligned")
    describe(client, load)
    rng = np.random.default_rng(0)
    began_s = time.monotonic()
    nodes = {(topics.session, node): topics for topics, node, _ in load.streams()}
    for seq in range(round(seconds * NS_PER_S / BLOCK_NS)):
        due_s = began_s + (seq + 1) * BLOCK_NS / NS_PER_S
        time.sleep(max(due_s - time.monotonic(), 0))
        payload = block_bytes(seq, rng)
        for topics, node, stream in load.streams():
            client.publish(topics.block(node, stream), payload, qos=1)
        sent_s[seq] = time.monotonic()
        if seq % 2:
            continue
        t_ns = EPOCH_NS + (seq * BLOCK_NS) // NS_PER_S * NS_PER_S
        pulse = PpsSample(t_node_ns=t_ns, t_utc_ns=t_ns, sigma_ns=1000.0)
        told = encode_evidence(EvidenceMessage(boot_id=1, samples=(pulse,)))
        for (_, node), topics in nodes.items():
            client.publish(topics.evidence(node), told, qos=1)
    time.sleep(1.0)
    client.disconnect()
    client.loop_stop()
    print(json.dumps({"late_s": late_s, "sent": len(sent_s) * load.total}))


if __name__ == "__main__":
    role, where, *numbers = sys.argv[1:]
    if role == "bare":
        run_bare(where, int(numbers[0]))
    else:
        sessions, per_session, per_node = map(int, numbers[:3])
        sent = Load(num_sessions=sessions, num_nodes=per_session, num_streams=per_node)
        run_sender(where, sent, seconds=float(numbers[3]))
