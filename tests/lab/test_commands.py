"""`coeval node` and `coeval aggregator` as the processes they are meant to be."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from coeval_edge.encoder import shipped_model
from coeval_lab.broker import start_broker

from .staging import PATIENCE_S

COEVAL = [sys.executable, "-c", "from coeval.cli import main; main()"]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COEVAL, *arguments], capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    root = tmp_path / "rec"
    root.mkdir()
    t_s = np.arange(0, 20, 0.05)
    values = np.random.default_rng(3).normal(size=len(t_s))
    lines = "".join(f"{t:.2f},{v:.4f}\n" for t, v in zip(t_s, values, strict=True))
    (root / "imu.csv").write_text("t,x\n" + lines)
    (root / "log.csv").write_text("t,text\n1.0,begin\n12.5,end\n")
    manifest = {
        "format": "coeval-recording/1",
        "name": "made",
        "nodes": {"wrist": {}},
        "streams": [
            {"id": "imu", "node": "wrist", "modality": "metadata", "file": "imu.csv"},
            {"id": "log", "node": "wrist", "modality": "text", "file": "log.csv"},
        ],
    }
    (root / "recording.json").write_text(json.dumps(manifest))
    return root


needs_models = pytest.mark.skipif(
    not shipped_model("metadata").is_file(), reason="the encoders that ship are not made yet"
)


def test_the_node_s_help_names_the_tables_that_make_it_live() -> None:
    assert "[node.time] or [node.sources]" in " ".join(run("node", "--help").stdout.split())


@pytest.mark.broker
@needs_models
def test_node_and_aggregator_work_as_processes_and_end_in_order(recording: Path) -> None:
    with start_broker() as broker:
        common = ["--broker", broker.url, "--session", "s"]
        aggregator = subprocess.Popen(
            [*COEVAL, "aggregator", "--api", "127.0.0.1:0", *common],
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert aggregator.stderr is not None
            heard = ""
            while "connected" not in heard:
                heard += (line := aggregator.stderr.readline())
                assert line, f"the aggregator ended before it connected: {heard}"
            node = run(
                "node", "--replay", str(recording), "--node", "wrist", "--speed", "inf", *common
            )
            assert node.returncode == 0, node.stderr
            assert node.stderr.splitlines()[-1] == "node wrist: 78 messages published, 0 dropped"
            assert node.stdout == ""
        finally:
            aggregator.send_signal(signal.SIGTERM)
            _, said = aggregator.communicate(timeout=PATIENCE_S)
        assert aggregator.returncode == 0, said
        assert "Traceback" not in said
        retained = read_retained(broker.host, broker.port)
    assert retained["coeval/s/state/wrist"]["state"] == "offline"
    assert retained["coeval/s/state/aggregator"]["state"] == "offline"
    assert retained["coeval/s/state/wrist/imu"]["modality"] == "metadata"


def read_retained(host: str, port: int) -> dict[str, dict[str, object]]:
    """The retained messages of a broker, up to the one that ends this test."""
    found: dict[str, dict[str, object]] = {}
    client = mqtt.Client(CallbackAPIVersion.VERSION2)

    def on_message(client: mqtt.Client, _u: object, message: mqtt.MQTTMessage) -> None:
        if message.topic == "coeval/end":
            client.disconnect()
        else:
            found[message.topic] = json.loads(message.payload)

    def on_subscribe(client: mqtt.Client, *_: object) -> None:
        client.publish("coeval/end", b"")

    client.on_message, client.on_subscribe = on_message, on_subscribe
    client.connect(host, port)
    client.subscribe("coeval/#", qos=1)
    client.loop_forever()
    return found


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["node"], 2, "say which node: --replay RECORDING --node ID"),
        (["node", "--config", "no.toml"], 2, "no.toml: cannot be read"),
        (["node", "--replay", "nowhere", "--node", "a"], 1, "nowhere: no such folder"),
        (["node", "--replay", "REC", "--node", "x"], 1, "no node 'x'; its nodes are wrist"),
        (["node", "--replay", "REC", "--node", "a/b"], 2, "id must be 1 to 200 bytes"),
        (["node", "--replay", "REC", "--node", "wrist", "--speed", "0"], 2, "speed must be above"),
        (["node", "--replay", "REC", "--node", "wrist", "--broker", "h"], 2, "broker must be mqtt"),
        (["aggregator", "--config", "no.toml"], 2, "no.toml: cannot be read"),
        (["aggregator", "--session", "a+b"], 2, "session must be"),
        (["aggregator", "--broker", "mqtt://u:p@h"], 2, "set COEVAL_BROKER_PASSWORD"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_with_the_right_code(
    recording: Path, arguments: list[str], code: int, said: str
) -> None:
    done = run(*(str(recording) if a == "REC" else a for a in arguments))
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""
