"""Encoders that go to a session's nodes: a real broker, real nodes, and an aggregator."""

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import BrokerAddress
from coeval.errors import BadConfig, CoevalError, EncoderMismatch
from coeval.topics import Topics
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.service import Aggregator
from coeval_aggregator.store.config import StoreConfig
from coeval_edge.config import NodeConfig, ReplayConfig
from coeval_edge.encoder import Encoder
from coeval_edge.node import Node
from coeval_edge.ship import EncoderSet, check_source, read_set, ship, withdraw
from coeval_edge.ship_answers import NodeAnswer
from coeval_lab.broker import Kind, RunningBroker, free_port, start_broker

from ..edge.encoder_sets import made_set, spoilt
from .staging import PATIENCE_S, wait_until, write_bumps
from .staging import kind as kind  # a fixture

TOPICS = Topics(session="s")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sensors that felt the same bumps, on two nodes with right clocks."""
    root = tmp_path_factory.mktemp("bumps")
    write_bumps(root, noise=0.0)
    return root


class Stage:
    """A broker with nodes that replay for ever, and everything that is said."""

    def __init__(self, broker: RunningBroker, recording: Path, folder: Path) -> None:
        self.broker, self.recording, self.folder = broker, recording, folder
        self.address = BrokerAddress.parse(broker.url)
        self.messages: list[tuple[str, bytes]] = []
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="watcher")
        self.client.on_message = lambda _c, _u, m: self.messages.append((m.topic, m.payload))
        is_ready = threading.Event()
        self.client.on_subscribe = lambda *_: is_ready.set()
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()
        self.client.subscribe([("coeval/s/state/#", 1), ("coeval/s/event/#", 1)])
        assert is_ready.wait(PATIENCE_S)

    def said(self, subtree: str) -> list[dict[str, Any]]:
        return [
            json.loads(payload)
            for topic, payload in list(self.messages)
            if topic.startswith(f"coeval/s/{subtree}")
        ]

    def set_of(self, node: str) -> str:
        """The set of encoders that a node's stream was last described with."""
        described = self.said(f"state/{node}/{node}")
        return str(described[-1]["encoder"]["set"]) if described else ""

    def events(self, node: str) -> list[tuple[str, str]]:
        return [(e["what"], e["encoder_set"]) for e in self.said(f"event/model/{node}")]

    def ship(self, found: EncoderSet, *, wait_s: float = 0.0) -> dict[str, NodeAnswer]:
        return ship(found, address=self.address, topics=TOPICS, wait_s=wait_s)

    def config(self, name: str, **changed: Any) -> NodeConfig:
        given: dict[str, Any] = {"accept_models": True, "model_folder": self.folder / name}
        return NodeConfig(
            id=name,
            session="s",
            broker=self.broker.url,
            replay=ReplayConfig(recording=self.recording, speed=20.0, loop=True),
            **(given | changed),
        )

    @contextmanager
    def node(self, name: str, **changed: Any) -> Iterator[None]:
        """A node in a thread, until the `with` block ends."""
        stop, failures = threading.Event(), []

        def run() -> None:
            try:
                node.run(stop)
            except CoevalError as exc:
                failures.append(exc)

        node = Node(self.config(name, **changed))
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(PATIENCE_S)
        assert not failures


@pytest.fixture
def stage(kind: Kind, recording: Path, tmp_path: Path) -> Iterator[Stage]:
    with start_broker(prefer=kind) as broker:
        opened = Stage(broker, recording, tmp_path)
        try:
            yield opened
        finally:
            opened.client.disconnect()
            opened.client.loop_stop()


@pytest.mark.broker
def test_nodes_switch_under_way_and_the_aggregator_goes_over_with_them(stage: Stage) -> None:
    with ExitStack() as stack:
        aggregator = Aggregator(
            AggregatorConfig(
                session="s",
                broker=stage.broker.url,
                reference="left",
                store=StoreConfig(url="none"),
            )
        )
        stop = threading.Event()
        thread = threading.Thread(target=aggregator.run, args=(stop,))
        thread.start()
        stack.callback(thread.join)
        stack.callback(stop.set)
        for name in ("left", "right"):
            stack.enter_context(stage.node(name))
        wait_until(lambda: all(stage.set_of(n) for n in ("left", "right")), "both nodes")
        installed = stage.set_of("left")
        stage.ship(made_set("a1"))
        wait_until(lambda: {stage.set_of(n) for n in ("left", "right")} == {"a1"}, "both to switch")
        assert installed != "a1"
        wait_until(lambda: stage.events("left") == [("switched", "a1")], "the event")

        def is_joined() -> bool:
            streams: dict[str, Any] = aggregator.sessions["s"].facts()["streams"]  # type: ignore[assignment]
            return len(streams) == 2 and not any(s["refused"] for s in streams.values())

        wait_until(is_joined, "the aggregator to use both")
        (first_seq,) = {d["encoder"]["from_seq"] for d in stage.said("state/left/left")[-1:]}
        assert first_seq > 0


@pytest.mark.broker
def test_a_corrupted_set_is_refused_and_a_restart_comes_up_with_the_last_good_one(
    stage: Stage,
) -> None:
    with stage.node("left"):
        wait_until(lambda: bool(stage.set_of("left")), "the node")
        stage.ship(made_set("a1"))
        wait_until(lambda: stage.set_of("left") == "a1", "the switch")
        stage.ship(made_set("b2", change=spoilt, only="metadata"))
        wait_until(lambda: ("refused", "b2") in stage.events("left"), "the refusal")
        assert stage.set_of("left") == "a1"
    stage.messages.clear()
    with stage.node("left"):
        wait_until(lambda: bool(stage.set_of("left")), "the node again")
        assert [d["encoder"]["set"] for d in stage.said("state/left/left")][-1] == "a1"


@pytest.mark.broker
def test_a_node_that_comes_later_finds_the_set_and_a_withdrawn_one_is_left(stage: Stage) -> None:
    stage.ship(made_set("a1"))
    with stage.node("left"):
        wait_until(lambda: stage.set_of("left") == "a1", "the switch")
        assert withdraw(address=stage.address, topics=TOPICS)
        wait_until(lambda: ("switched", None) in stage.events("left"), "the way back")  # type: ignore[comparison-overlap]
        wait_until(lambda: stage.set_of("left") not in ("", "a1"), "the description")
    assert not withdraw(address=stage.address, topics=TOPICS)


@pytest.mark.broker
def test_a_node_that_was_not_told_to_takes_nothing(stage: Stage) -> None:
    with stage.node("left", accept_models=False):
        wait_until(lambda: bool(stage.set_of("left")), "the node")
        installed = stage.set_of("left")
        stage.ship(made_set("a1"))
        with stage.node("right"):
            wait_until(lambda: stage.set_of("right") == "a1", "the other to switch")
        assert stage.set_of("left") == installed
        births = [s for s in stage.said("state/") if s.get("state") == "online"]
        assert {s["node"]: s["accepts_models"] for s in births} == {"left": False, "right": True}


@pytest.mark.broker
def test_who_ships_is_told_what_every_node_made_of_it(stage: Stage) -> None:
    spoilt_for_right = made_set("a1", change=spoilt, only="metadata")
    with stage.node("left"), stage.node("right", accept_models=False):
        wait_until(lambda: all(map(stage.set_of, ("left", "right"))), "both nodes")
        answers = stage.ship(spoilt_for_right, wait_s=PATIENCE_S)
        assert {name: one.what for name, one in answers.items()} == {
            "left": "refused",
            "right": "not asked",
        }
        assert "golden vectors" in str(answers["left"].reason)
        for _ in range(2):  # the second time it uses the set already, and says nothing
            assert stage.ship(made_set("b2"), wait_s=PATIENCE_S)["left"].what == "switched"


@pytest.mark.broker
def test_nothing_of_a_replaced_set_stays_on_the_broker(stage: Stage) -> None:
    stage.ship(made_set("a1"))
    stage.ship(made_set("b2"))
    kept: list[str] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="late")
    client.on_message = lambda _c, _u, m: kept.append(m.topic)
    client.connect(stage.broker.host, stage.broker.port)
    client.loop_start()
    client.subscribe("coeval/s/model/#", qos=1)
    newest = made_set("b2").notice.files
    num_parts = sum(file.num_parts for file in newest.values())
    wait_until(lambda: len(kept) >= num_parts + 1, "what is retained")
    client.disconnect()
    client.loop_stop()
    hashes = {topic.split("/")[3] for topic in kept} - {"set"}
    assert hashes == {file.sha256 for file in newest.values()}


def write_set(folder: Path, found: EncoderSet) -> Path:
    for modality, model in found.models.items():
        (folder / f"{modality}.onnx").write_bytes(model)
    return folder


def test_a_folder_is_shipped_only_if_nodes_would_take_it(tmp_path: Path) -> None:
    write_set(tmp_path, made_set("a1"))
    found = read_set(tmp_path, made="a test")
    assert found.notice.encoder_set == "a1"
    assert Encoder.of(found.models["text"], "text", where="t").encoder_set == "a1"
    (tmp_path / "text.onnx").write_bytes(made_set("b2").models["text"])
    with pytest.raises(EncoderMismatch, match="expected encoders of one set, got a1, b2"):
        read_set(tmp_path, made="a test")
    (tmp_path / "text.onnx").write_bytes(spoilt(made_set("a1").models["text"]))
    with pytest.raises(EncoderMismatch, match="golden vectors"):
        read_set(tmp_path, made="a test")
    (tmp_path / "text.onnx").unlink()
    with pytest.raises(EncoderMismatch, match="No such file"):
        read_set(tmp_path, made="a test")


def test_a_broker_that_is_not_there_is_named() -> None:
    address = BrokerAddress(host="127.0.0.1", port=free_port())
    with pytest.raises(CoevalError, match="cannot be reached"):
        withdraw(address=address, topics=TOPICS)


@pytest.mark.parametrize(
    ("folder", "is_withdrawn"), [(None, False), (Path("x"), True), (Path("/nowhere"), False)]
)
def test_what_to_ship_must_be_said(folder: Path | None, is_withdrawn: bool) -> None:
    with pytest.raises(BadConfig):
        check_source(folder, is_withdrawn=is_withdrawn)


def test_a_node_that_accepts_models_must_say_where_it_keeps_them() -> None:
    with pytest.raises(BadConfig, match="model_folder = "):
        NodeConfig(id="n", replay=ReplayConfig(recording=Path("r")), accept_models=True)
