"""Nodes, a real broker and an aggregator, together."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import BrokerAddress
from coeval.errors import CoevalError
from coeval.evidence import SERVER
from coeval.hops import EMBEDDING_DIM, Hops
from coeval.samples import Modality
from coeval.topics import Topics
from coeval.wire import decode_block
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.service import Aggregator
from coeval_aggregator.store.config import StoreConfig
from coeval_edge.clock_keeper import TimeConfig
from coeval_edge.config import NodeConfig, ReplayConfig
from coeval_edge.live import SourcesConfig
from coeval_edge.node import Node, NodeReport
from coeval_edge.sources.file_tail import FileTailConfig
from coeval_edge.sources.mqtt_topic import MqttTopicConfig
from coeval_edge.time_exchange import TimeExchange, raw_monotonic_ns
from coeval_lab.broker import Kind, RunningBroker, free_port, start_broker

from .staging import LENGTH_S, PATIENCE_S, at_work, wait_until, write_bumps
from .staging import kind as kind  # a fixture

pytestmark = pytest.mark.broker

NO_STORE = StoreConfig(url="none")


class FirstColumns:
    """An encoder that passes the first features on: tests of the way need no trained one."""

    sha256 = "fa" * 32
    encoder_set = "fa" * 8
    adapted = None
    reduced_from = None

    def push(self, hops: Hops) -> list[Hops]:
        return [Hops(t0_node_ns=hops.t0_node_ns, rows=hops.rows[:, :EMBEDDING_DIM])]


def load_fake(_modality: Modality, _path: Path | None) -> FirstColumns:
    return FirstColumns()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sensors that felt the same bumps, on two nodes with right clocks."""
    root = tmp_path_factory.mktemp("bumps")
    write_bumps(root, noise=0.05)
    return root


class Watcher:
    """Everything that is said in a session."""

    def __init__(self, broker: RunningBroker) -> None:
        self.messages: list[tuple[str, bytes]] = []
        is_ready = threading.Event()
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="watcher")
        self.client.on_message = lambda _c, _u, m: self.messages.append((m.topic, m.payload))
        self.client.on_subscribe = lambda *_: is_ready.set()
        self.client.connect(broker.host, broker.port)
        self.client.subscribe("coeval/#", qos=1)
        self.client.loop_start()
        assert is_ready.wait(PATIENCE_S), f"no subscription within {PATIENCE_S} s"

    def said(self, subtree: str) -> list[dict[str, Any]]:
        return [json.loads(payload) for payload in self.messages_of(subtree)]

    def messages_of(self, subtree: str) -> list[bytes]:
        return [p for t, p in list(self.messages) if t.startswith(f"coeval/s/{subtree}")]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


def states_of(watcher: Watcher, node: str) -> list[str]:
    """What was said of a node's being there, in order."""
    return [s["state"] for s in watcher.said(f"state/{node}") if "state" in s]


@contextmanager
def watching(broker: RunningBroker) -> Iterator[Watcher]:
    watcher = Watcher(broker)
    try:
        yield watcher
    finally:
        watcher.close()


@contextmanager
def aggregating(broker: RunningBroker, **config: Any) -> Iterator[Aggregator]:
    given = {"store": NO_STORE} | config
    with at_work(
        AggregatorConfig(session="s", broker=broker.url, estimate_s=0.5, **given)
    ) as aggregator:
        yield aggregator


def make_node(broker: RunningBroker, recording: Path, node: str, **options: Any) -> Node:
    replay = {
        key: options.pop(key) for key in ("offset_s", "skew_ppm", "speed", "loop") if key in options
    }
    config = NodeConfig(
        id=node,
        session="s",
        broker=broker.url,
        replay=ReplayConfig(recording=recording, **({"speed": float("inf")} | replay)),
        **options,
    )
    return Node(config, load_encoder=load_fake)


class Running:
    """A node that runs in a thread."""

    def __init__(self, node: Node) -> None:
        self.stop = threading.Event()
        self.report: NodeReport | None = None
        self.failure: CoevalError | None = None
        self._node = node
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.report = self._node.run(self.stop)
        except CoevalError as exc:
            self.failure = exc

    def join(self) -> NodeReport:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), f"the node runs on {PATIENCE_S} s after its end"
        assert self.report is not None, self.failure
        return self.report


def blocks_of(aggregator: Aggregator, stream: str) -> dict[str, int]:
    streams: dict[str, Any] = aggregator.sessions["s"].facts()["streams"]  # type: ignore[assignment]
    counts: dict[str, int] = streams.get(stream, {"blocks": 0})
    return counts


def test_a_wrong_clock_is_found_and_stated(kind: Kind, recording: Path) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(prefer=kind))
        assert broker.kind == kind
        watcher = stack.enter_context(watching(broker))
        # At 40 seconds a second a node is soon 5 s of the timeline behind, and ticks go without it.
        patient = {"max_offset_s": 20.0, "tick_wait_s": 300.0}
        stack.enter_context(aggregating(broker, reference="left", **patient))
        options = {"speed": 40.0, "loop": True}
        left = Running(make_node(broker, recording, "left", **options))
        right = Running(
            make_node(broker, recording, "right", offset_s=3.217, skew_ppm=40.0, **options)
        )
        for node in (left, right):
            stack.callback(node.stop.set)
        wait_until(
            lambda: any(clock["status"] == "locked" for clock in watcher.said("clock/right")),
            "a lock",
            seen=lambda: watcher.said("clock/right")[-1:],
        )
        wait_until(
            lambda: any(len(tick["streams"]) == 2 for tick in watcher.said("aligned")),
            "a tick of both",
            seen=lambda: watcher.said("aligned")[-1:],
        )
        for node in (left, right):
            node.stop.set()
            assert node.join().num_dropped == 0
        clock = [c for c in watcher.said("clock/right") if c["status"] == "locked"][-1]
        t_ref_s = clock["t_ref_ns"] / 1e9
        truth_s = 3.217 + 40e-6 * t_ref_s
        assert clock["offset_s"] == pytest.approx(truth_s, abs=2 * clock["ci95_s"])
        assert clock["ci95_s"] < 0.2
        wait_until(lambda: states_of(watcher, "right") == ["online", "offline"], "a goodbye")
        states = watcher.said("state/right")
        (descriptor,) = [s for s in states if "modality" in s]
        assert (descriptor["modality"], descriptor["dim"]) == ("metadata", EMBEDDING_DIM)


@pytest.mark.parametrize("memory", ["kept", "lost"])
def test_nothing_is_lost_when_the_broker_restarts(
    kind: Kind, memory: str, recording: Path, tmp_path: Path
) -> None:
    port = free_port()
    folders = [tmp_path / "one", tmp_path / ("one" if memory == "kept" else "two")]
    for folder in set(folders):
        folder.mkdir()
    with ExitStack() as stack:
        first = stack.enter_context(ExitStack())
        broker = first.enter_context(start_broker(prefer=kind, port=port, folder=folders[0]))
        aggregator = stack.enter_context(aggregating(broker))
        options = {"speed": 8.0, "loop": True, "spool": tmp_path / "spool"}
        node = Running(make_node(broker, recording, "left", **options))
        stack.callback(node.stop.set)

        def num_blocks() -> int:
            return blocks_of(aggregator, "left/left")["blocks"]

        wait_until(lambda: num_blocks() > 15, "the first blocks")
        first.close()
        wait_until(lambda: not aggregator.is_connected, "the aggregator to notice")
        before = num_blocks()
        stack.enter_context(start_broker(prefer=kind, port=port, folder=folders[1]))
        record = aggregator.sessions["s"]._streams.record(("left", "left"))
        assert record is not None
        check = record.ingest._check
        wait_until(
            lambda: (check.next_seq or 0) > before + 15 and not check.missing,
            "blocks of after the restart, and none missing before them",
            seen=lambda: check,
        )
        node.stop.set()
        expected = node.join().num_blocks
        wait_until(lambda: num_blocks() == expected, f"all {expected}", seen=lambda: check)
        assert (check.next_seq, check.missing) == (expected, {})
        assert blocks_of(aggregator, "left/left")["lost"] == 0


def test_blocks_of_a_node_without_a_broker_wait_on_disk_for_the_next_run(
    kind: Kind, recording: Path, tmp_path: Path
) -> None:
    port = free_port()
    nowhere = RunningBroker(kind=kind, host="127.0.0.1", port=port)
    spool = tmp_path / "spool"
    lonely = make_node(nowhere, recording, "left", spool=spool, drain_s=0.0)
    with pytest.raises(CoevalError, match=rf"did not acknowledge 120 blocks .* kept in {spool}"):
        lonely.run(threading.Event())
    with start_broker(prefer=kind, port=port) as broker, watching(broker) as watcher:
        stop = threading.Event()
        stop.set()
        node = make_node(broker, recording, "left", spool=spool)
        assert node.run(stop).num_blocks >= 120
        wait_until(lambda: len(watcher.messages_of("bin/left/left")) >= 120, "every block")


def test_an_aggregator_that_comes_late_is_sent_what_it_missed(kind: Kind, recording: Path) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(prefer=kind))
        watcher = stack.enter_context(watching(broker))
        node = Running(make_node(broker, recording, "left", speed=4.0, loop=True))
        stack.callback(node.stop.set)
        wait_until(lambda: len(watcher.messages_of("bin")) > 20, "the first blocks")
        aggregator = stack.enter_context(aggregating(broker))

        def num_firsts() -> int:
            return [decode_block(data).seq for data in watcher.messages_of("bin")].count(0)

        wait_until(lambda: num_firsts() >= 2, "the first block again", seen=num_firsts)
        node.stop.set()
        num_blocks = node.join().num_blocks
        wait_until(
            lambda: blocks_of(aggregator, "left/left")["blocks"] == num_blocks,
            f"all {num_blocks} blocks",
            seen=lambda: blocks_of(aggregator, "left/left"),
        )


def test_two_nodes_of_one_id_are_told_and_not_mixed(kind: Kind, recording: Path) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(prefer=kind))
        watcher = stack.enter_context(watching(broker))
        aggregator = stack.enter_context(aggregating(broker))
        nodes = [
            Running(make_node(broker, recording, "left", speed=10.0, loop=True, offset_s=offset_s))
            for offset_s in (0.0, 500.0)
        ]
        for node in nodes:
            stack.callback(node.join)
            stack.callback(node.stop.set)
        wait_until(lambda: bool(watcher.said("event/duplicate/left")), "the event")
        assert aggregator.sessions["s"].told.counts["rival_blocks"] > 0


def test_hostile_messages_do_not_end_the_service(kind: Kind, recording: Path) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(prefer=kind))
        watcher = stack.enter_context(watching(broker))
        aggregator = stack.enter_context(aggregating(broker))
        for payload in (b"", b"COEV\x03", b"\xff" * 1000, b"[" * 5000):
            for topic in ("bin/left/left", "state/left", "state/left/left", "state/a/b/c"):
                watcher.client.publish(f"coeval/s/{topic}", payload, qos=1)
        Running(make_node(broker, recording, "left")).join()
        wait_until(
            lambda: blocks_of(aggregator, "left/left")["blocks"] == LENGTH_S * 2, "every block"
        )
        # What is hostile goes by a connection of its own.
        counts = aggregator.sessions["s"].told.counts
        wait_until(lambda: counts["bad_block"] == 4, "4 bad blocks", seen=lambda: counts)
        assert counts["failed"] == 0


def test_exchanges_over_a_broker_find_live_clocks_within_what_they_state(kind: Kind) -> None:
    """Two clocks of this machine, one 1.25 s ahead, seen through broker and aggregator."""
    ahead_ns = 1_250_000_000
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(prefer=kind))
        aggregator = stack.enter_context(aggregating(broker, reference="right"))
        clocks = {"right": raw_monotonic_ns, "fast": lambda: raw_monotonic_ns() + ahead_ns}
        for boot_id, (node, clock_ns) in enumerate(clocks.items(), 1):
            exchange = TimeExchange(
                address=BrokerAddress.parse(broker.url),
                topics=Topics(session="s"),
                node=node,
                boot_id=boot_id,
                peers=[other for other in clocks if other != node],
                every_s=0.01,
                clock_ns=clock_ns,
            )
            exchange.start()
            stack.callback(exchange.close)
        book = aggregator.sessions["s"].evidence

        def is_found() -> bool:
            """Within what is stated: of statements in general one in twenty is not."""
            known = book.clocks.difference("right", "fast")
            if known is None or book.clocks.counts["used"] < 30:
                return False
            offset_ns, ci95_ns = known
            return ci95_ns < 20_000_000 and abs(offset_ns - ahead_ns) <= ci95_ns

        wait_until(is_found, "both clocks", seen=lambda: book.clocks.difference("right", "fast"))
        assert book.clocks.difference(SERVER, "right") is not None


def test_an_answer_that_nobody_asked_for_changes_nothing(kind: Kind) -> None:
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(prefer=kind))
        watcher = stack.enter_context(watching(broker))
        topics = Topics(session="s")
        exchange = TimeExchange(
            address=BrokerAddress.parse(broker.url),
            topics=topics,
            node="cam",
            boot_id=1,
            every_s=60.0,
        )
        exchange.start()
        stack.callback(exchange.close)
        forged = {"from": "aggregator", "id": 1, "t1_ns": 5, "t2_ns": 10**18, "t3_ns": 10**18}
        for payload in (json.dumps(forged).encode(), b"{", b"\xff"):
            wait_until(lambda: bool(exchange._client.is_connected()), "the connection")
            watcher.client.publish(topics.time_reply("cam"), payload, qos=1)

        def is_counted() -> bool:
            if not exchange.counts["unasked"]:  # published before it had subscribed
                watcher.client.publish(topics.time_reply("cam"), json.dumps(forged), qos=1)
                watcher.client.publish(topics.time_reply("cam"), b"{", qos=1)
            return exchange.counts["unasked"] >= 1 and exchange.counts["bad"] >= 1

        wait_until(is_counted, "the forged answers")
        assert watcher.messages_of("time/cam/evidence") == []


def test_evidence_of_a_recording_is_replayed_and_makes_the_estimate_sharp(
    kind: Kind, recording: Path, tmp_path: Path
) -> None:
    """Both nodes recorded PPS: the aggregator states microseconds, which content cannot."""
    root = tmp_path / "with-pps"
    root.mkdir()
    manifest = json.loads((recording / "recording.json").read_text(encoding="utf-8"))
    rng = np.random.default_rng(3)
    for node in ("left", "right"):
        (root / f"{node}.csv").write_bytes((recording / f"{node}.csv").read_bytes())
        rows = ["t_node,t_ref,sigma_s"]
        rows += [f"{t + rng.normal() * 1e-6:.9f},{1.7e9 + t:.1f},1e-6" for t in range(1, LENGTH_S)]
        (root / f"{node}_pps.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
        manifest["nodes"][node] = {"evidence": {"pps": f"{node}_pps.csv"}}
    (root / "recording.json").write_text(json.dumps(manifest), encoding="utf-8")
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(prefer=kind))
        watcher = stack.enter_context(watching(broker))
        stack.enter_context(aggregating(broker, reference="left", max_offset_s=20.0))
        options = {"speed": 20.0}
        left = Running(make_node(broker, root, "left", **options))
        right = Running(make_node(broker, root, "right", offset_s=3.217, skew_ppm=40.0, **options))
        for node in (left, right):
            stack.callback(node.join)
            stack.callback(node.stop.set)

        def sharp() -> list[dict[str, Any]]:
            said = [clock for clock in watcher.said("clock/right") if clock["ci95_s"] is not None]
            return [c for c in said if "hardware" in c["evidence"] and c["ci95_s"] < 1e-4]

        wait_until(
            lambda: bool(sharp()),
            "an estimate by hardware",
            seen=lambda: watcher.said("clock/right")[-1:],
        )
        clock = sharp()[-1]
        truth_s = 3.217 + 40e-6 * clock["t_ref_ns"] / 1e9
        assert clock["status"] == "locked"
        assert clock["offset_s"] == pytest.approx(truth_s, abs=max(2 * clock["ci95_s"], 5e-6))
        assert clock["sources"]["pps/right"] == {"scale": 1.0, "trusted": True}


def test_a_stuck_sensor_is_left_out_told_and_no_loss(
    kind: Kind, recording: Path, tmp_path: Path
) -> None:
    root = tmp_path / "stuck"
    root.mkdir()
    rows = (recording / "left.csv").read_text(encoding="utf-8").splitlines()
    held = rows[3501].split(",", 1)[1]
    rows[3501:5501] = [f"{row.split(',', 1)[0]},{held}" for row in rows[3501:5501]]
    (root / "left.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    (root / "right.csv").write_bytes((recording / "right.csv").read_bytes())
    (root / "recording.json").write_bytes((recording / "recording.json").read_bytes())
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(prefer=kind))
        watcher = stack.enter_context(watching(broker))
        aggregator = stack.enter_context(aggregating(broker))
        num_sent = Running(make_node(broker, root, "left")).join().num_blocks
        # Of the 20 s it was stuck for, 5 had passed when it was known; 3 more came back with it.
        assert 2 * LENGTH_S - 30 <= num_sent <= 2 * LENGTH_S - 20
        wait_until(
            lambda: blocks_of(aggregator, "left/left")["blocks"] == num_sent, "all that was sent"
        )
        wait_until(lambda: len(watcher.said("event/relevance/left/left")) == 2, "both events")
        told = watcher.said("event/relevance/left/left")
        assert [(t["state"], t["reason"]) for t in told] == [
            ("irrelevant", "stuck"),
            ("relevant", None),
        ]
        # The watcher is another client of the broker: it may hear the last block a moment later.
        wait_until(lambda: len(watcher.messages_of("bin/left/left")) >= num_sent, "every block")
        seqs = [decode_block(data).seq for data in watcher.messages_of("bin/left/left")]
        assert sorted(seqs) == list(range(num_sent))
        assert blocks_of(aggregator, "left/left")["lost"] == 0


def test_live_nodes_without_any_stream_are_told_their_clocks(kind: Kind) -> None:
    """`[node.time]` alone: two processes' worth of nodes exchange time, and clocks are stated."""
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(prefer=kind))
        watcher = stack.enter_context(watching(broker))
        stack.enter_context(aggregating(broker, reference="door"))
        time_config = TimeConfig(every_s=0.05, chrony=False)
        running = []
        for node in ("door", "roof"):
            config = NodeConfig(id=node, session="s", broker=broker.url, time=time_config)
            running.append(Running(Node(config)))
            stack.callback(running[-1].stop.set)

        def is_told() -> bool:
            """Within what is stated: of statements in general one in twenty is not."""
            said = [clock for clock in watcher.said("clock/roof") if clock["status"] == "locked"]
            return any(abs(c["offset_s"]) <= c["ci95_s"] < 0.03 for c in said)

        wait_until(
            is_told, "the clock of a live node", seen=lambda: watcher.said("clock/roof")[-1:]
        )
        assert watcher.said("clock/roof")[-1]["evidence"] == ["network"]
        for node in running:
            node.stop.set()
            node.join()
        wait_until(lambda: states_of(watcher, "roof") == ["online", "offline"], "a goodbye")


def test_a_live_node_publishes_what_is_appended_and_what_is_said_on_a_topic(
    kind: Kind, tmp_path: Path
) -> None:
    """A log file and an MQTT topic become streams, with descriptors that own up to arrival time."""
    log = tmp_path / "door.log"
    log.write_text("", encoding="utf-8")
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker(prefer=kind))
        watcher = stack.enter_context(watching(broker))
        aggregator = stack.enter_context(aggregating(broker))
        sources = SourcesConfig(
            file={"door": FileTailConfig(path=log)},
            mqtt={
                "weather": MqttTopicConfig(
                    topic="outside/weather", broker=broker.url, modality="metadata"
                )
            },
        )
        config = NodeConfig(
            id="hall",
            session="s",
            broker=broker.url,
            sources=sources,
            time=TimeConfig(every_s=0.2, chrony=False),
        )
        node = Running(Node(config, load_encoder=load_fake))
        stack.callback(node.stop.set)

        def keep_talking() -> bool:
            with log.open("a", encoding="utf-8") as file:
                file.write("door opened\n")
            payload = json.dumps({"t": time.monotonic(), "note": "x"})
            watcher.client.publish("outside/weather", payload, qos=1)
            counts = [blocks_of(aggregator, f"hall/{name}")["blocks"] for name in sources_of]
            return min(counts) >= 2

        sources_of = ("door", "weather")
        wait_until(keep_talking, "blocks of both streams")
        node.stop.set()
        assert node.join().num_dropped == 0
        described = {
            s["stream"]: s["timing"] for s in watcher.said("state/hall") if "modality" in s
        }
        (recognised,) = [s["recognised"] for s in watcher.said("state/hall") if "recognised" in s]
        assert (recognised["modality"], recognised["format"]) == ("text", "lines of text")
        assert {name: timing["origin"] for name, timing in described.items()} == {
            "door": "arrival",
            "weather": "arrival",
        }
