"""A backlog that mosquitto kept for absent subscribers, drained by each: the broker's own rate, a
bare paho client, and the aggregator into its store and sessions."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import BrokerAddress
from coeval.errors import CoevalError
from coeval_lab.bench.aggregator_load import Load, publish_backlog, scene_material
from coeval_lab.bench.aggregator_mqtt import PUBLISH, RawClient, message_of, puback
from coeval_lab.bench.aggregator_process import (
    PATIENCE_S,
    Row,
    Say,
    aggregating,
    cpu_of,
    num_blocks,
    wait_until_up,
)
from coeval_lab.broker import start_broker

SESSION = Load.of(20)
BLOCKS = "coeval/+/bin/+/+"
PAHO, RAW = "bench-bare", "bench-raw"


def ingest_rows(num_each: int, say: Say) -> list[Row]:
    """The same backlog, by each in turn."""
    num = num_each * SESSION.total
    with start_broker() as broker, tempfile.TemporaryDirectory(prefix="coeval-bench-") as folder:
        url = f"sqlite:///{folder}/store.db"
        for client_id in (PAHO, RAW):  # the broker queues every block for them
            client = RawClient(broker.url, client_id, clean=False)
            client.subscribe(BLOCKS, qos=1)
            client.close()
        with aggregating(broker, url):
            wait_until_up(Path(folder))  # it has subscribed
        say(f"a backlog of {num} blocks")
        publish_backlog(broker.url, SESSION, scene_material(), num_each=num_each)
        drained = {}
        for role in (RAW, PAHO):
            say(f"drained by {role}")
            command = [sys.executable, "-m", "coeval_lab.bench.aggregator_ingest", role]
            said = subprocess.run(
                [*command, broker.url, str(num)], capture_output=True, check=True, text=True
            )
            drained[role] = json.loads(said.stdout)
        say("drained by the aggregator")
        with aggregating(broker, url) as watched:
            began_s = first_s = time.monotonic()
            while (done := num_blocks(url)) < num:
                if not done:
                    first_s = time.monotonic()
                if time.monotonic() > began_s + PATIENCE_S:
                    raise CoevalError(f"{done} of {num} blocks stored after {PATIENCE_S:g} s")
                time.sleep(0.02)
            took_s = time.monotonic() - first_s
            cpu_s = cpu_of(watched.process.pid)
    rate, bare_rate = num / took_s, num / drained[PAHO]["took_s"]
    raw = drained[RAW]
    return [
        {
            "part": "ingest",
            "by": "mosquitto, bare",
            "streams": SESSION.total,
            "rate": round(num / raw["took_s"]),
            "cpu_us": round(1e6 * raw["cpu_s"] / num, 1),
            "note": "what the broker delivers to a socket that only acknowledges",
        },
        {
            "part": "ingest",
            "by": "paho, bare",
            "streams": SESSION.total,
            "rate": round(bare_rate),
            "cpu_us": round(1e6 * drained[PAHO]["cpu_s"] / num, 1),
        },
        {
            "part": "ingest",
            "by": "coeval, SQLite",
            "streams": SESSION.total,
            "rate": round(rate),
            "ratio_to_bare_paho": round(rate / bare_rate, 3),
            "cpu_us": round(1e6 * cpu_s / num, 1),
            "note": "durable and in its session; its start is in cpu_us",
        },
    ]


def drain_by_paho(url: str, num: int) -> dict[str, float]:
    """Receive so many messages with paho alone."""
    done = threading.Event()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=PAHO, clean_session=False)
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
    if not done.wait(PATIENCE_S):
        raise CoevalError(f"paho got {got} of {num} messages")
    took_s = time.monotonic() - began_s
    cpu_s = time.process_time() - cpu_s
    client.disconnect()
    client.loop_stop()
    return {"took_s": took_s, "cpu_s": cpu_s}


def drain_by_hand(url: str, num: int) -> dict[str, float]:
    """Receive and acknowledge so many messages, and do nothing else."""
    cpu_s, got, began_s = time.process_time(), 0, 0.0
    client = RawClient(url, RAW, clean=False)
    while got < num:
        acks = [
            puback(message_of(body, qos=1)[1])
            for kind, body in client.packets(wait_s=PATIENCE_S)
            if kind == PUBLISH
        ]
        began_s = began_s or time.monotonic()
        if not acks:
            raise CoevalError(f"the broker delivered {got} of {num} messages")
        client.send(b"".join(acks))
        got += len(acks)
    took_s = time.monotonic() - began_s
    cpu_s = time.process_time() - cpu_s
    client.close()
    return {"took_s": took_s, "cpu_s": cpu_s}


if __name__ == "__main__":
    role, where, total = sys.argv[1:]
    print(json.dumps((drain_by_paho if role == PAHO else drain_by_hand)(where, int(total))))
