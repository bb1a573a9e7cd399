"""`coeval view` and the examples as processes beside a real broker."""

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from coeval.errors import CoevalError
from coeval.topics import Topics
from coeval_aggregator import view_command
from coeval_lab.broker import find_mosquitto, free_port, start_broker

from .staging import PATIENCE_S, wait_until

pytestmark = pytest.mark.broker

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
MQTT_JS = ROOT / "web" / "node_modules" / "mqtt"
CLOCK = {"node": "cam", "status": "locked", "offset_s": 3.5, "ci95_s": 0.001}
VIEW = [
    *(sys.executable, "-c"),
    "import typer; from coeval_aggregator.view_command import view; typer.run(view)",
]
IN_A_PAGE = """
globalThis.mqtt = require(process.argv[1]);
globalThis.location = { search: "?" + process.argv[2] };
globalThis.document = {
  getElementById: () => ({ set textContent(text) { console.log(text); } }),
};
eval(process.argv[3]);
"""


def retain_a_clock(host: str, port: int) -> None:
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.connect(host, port)
    client.loop_start()
    said = client.publish(Topics(session="s").clock("cam"), json.dumps(CLOCK), qos=1, retain=True)
    said.wait_for_publish(PATIENCE_S)
    client.disconnect()
    client.loop_stop()


@contextmanager
def running(command: Sequence[str]) -> "Iterator[subprocess.Popen[str]]":
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def test_view_tells_what_is_said_as_lines_of_json() -> None:
    with start_broker() as broker:
        retain_a_clock(broker.host, broker.port)
        with running([*VIEW, "s", "--broker", broker.url, "--json"]) as process:
            line = json.loads(first_line(process))
    assert line == {"topic": "coeval/s/clock/cam", "payload": CLOCK}


def test_view_shows_a_table() -> None:
    with start_broker() as broker:
        retain_a_clock(broker.host, broker.port)
        for for_s in (2, 30, 200):  # it is shown once, at the end: long after it was heard
            done = subprocess.run(
                [*VIEW, "s", "--broker", broker.url, "--for-s", str(for_s)],
                capture_output=True,
                text=True,
                check=True,
                timeout=for_s + PATIENCE_S,
            )
            if "cam" in done.stdout:
                break
    assert "cam" in done.stdout
    assert "+3.500000" in done.stdout


def test_without_a_broker_view_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_command, "stop_on_signals", lambda: None)
    url = f"mqtt://127.0.0.1:{free_port()}"
    with pytest.raises(CoevalError, match=rf"no broker at {url}: .*refused.*--broker mqtt://HOST"):
        view_command.view("s", broker=url)


def test_the_python_example_prints_a_clock() -> None:
    with start_broker() as broker:
        retain_a_clock(broker.host, broker.port)
        example = str(EXAMPLES / "subscriber.py")
        with running([sys.executable, example, broker.host, str(broker.port)]) as process:
            assert first_line(process) == "cam locked 3.5 ± 0.001 s\n"


def test_the_browser_example_shows_a_clock_over_websockets(tmp_path: Path) -> None:
    node, mosquitto = shutil.which("node"), find_mosquitto()
    if node is None or mosquitto is None or not MQTT_JS.is_dir():
        pytest.skip("needs mosquitto, node, and mqtt.js (`npm ci` in web/)")
    page = (EXAMPLES / "subscriber.html").read_text(encoding="utf-8")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.S)
    plain, web = free_port(), free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(
        f"allow_anonymous true\nlistener {plain} 127.0.0.1\n"
        f"listener {web} 127.0.0.1\nprotocol websockets\n"
    )
    with running([mosquitto, "-c", str(config)]):
        wait_until(lambda: is_listening(plain) and is_listening(web), "mosquitto")
        retain_a_clock("127.0.0.1", plain)
        command = [node, "-e", IN_A_PAGE, str(MQTT_JS), f"ws://127.0.0.1:{web}", script]
        with running(command) as process:
            assert first_line(process) == "cam: locked, 3.5 ± 0.001 s\n"


def is_listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
    except OSError:
        return False
    return True
