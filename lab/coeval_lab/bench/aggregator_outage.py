"""A database that goes away while streams are live, and what became of every block."""

import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field

from coeval_aggregator.store.opening import open_database
from coeval_lab.bench.aggregator_load import BLOCK_S, SETTLE_S, Load
from coeval_lab.bench.aggregator_mqtt import PUBLISH, RawClient, message_of
from coeval_lab.bench.aggregator_process import (
    Row,
    Say,
    Sending,
    Watched,
    aggregating,
    sending,
    wait_for,
)
from coeval_lab.broker import start_broker
from coeval_lab.postgres import RunningPostgres, find_postgres, start_postgres

AFTER_S = 20.0
"""Streams stay live for so long after the database is back."""


@dataclass(slots=True)
class Heard:
    """What the aggregator says of itself, once a second."""

    on_mqtt: list[list[str]] = field(default_factory=list)
    """`degraded` of its state topic."""
    on_health: list[tuple[int, list[str]]] = field(default_factory=list)
    """Status and problems of `/health`."""


def outage_row(load: Load, *, outage_s: float, say: Say) -> Row:
    """Kill PostgreSQL, start it again after a while, and count what is stored."""
    if find_postgres() is None:
        return {
            "part": "outage",
            "by": "coeval, PostgreSQL",
            "outage_s": 0,
            "note": "not installed",
        }
    say(f"PostgreSQL away for {outage_s:g} s, {load.total} streams")
    with (
        start_broker() as broker,
        start_postgres() as server,
        aggregating(broker, server.url) as watched,
        Listening(broker.url, watched) as heard,
    ):
        wait_for(lambda: bool(heard.on_mqtt), "the aggregator")
        seconds = SETTLE_S + outage_s + AFTER_S
        with sending(broker, load, seconds=seconds) as sender:
            look_until(watched, SETTLE_S)
            before_mb = watched.look().memory_mb
            server.stop()
            look_until(watched, outage_s)
            told = Heard(on_mqtt=list(heard.on_mqtt), on_health=list(heard.on_health))
            server.start()
            back_s = time.monotonic()
            wait_for(lambda: is_level(watched, server, sender, load), "the aggregator to catch up")
            catch_up_s = time.monotonic() - back_s
            sent = sender.told()
        wait_for(lambda: num_stored(server) >= sent["blocks"], "every block", patience_s=120.0)
        watched.look()
        lost, duplicated = count(server, load, num_each=sent["blocks"] // load.total)
        still = heard.on_mqtt[-1] if heard.on_mqtt else []
    return {
        "part": "outage",
        "by": "coeval, PostgreSQL",
        "streams": load.total,
        "sessions": len(load.sessions),
        "outage_s": outage_s,
        "lost": lost,
        "duplicated": duplicated,
        "catch_up_s": round(catch_up_s, 1),
        "told_on_mqtt": any("postgresql" in line for lines in told.on_mqtt for line in lines),
        "told_on_health": any(status == 503 for status, _ in told.on_health),
        "memory_mb": round(max(each.memory_mb for each in watched.seen), 1),
        "note": f"{sent['blocks']} blocks; memory {before_mb:.0f} MB before; afterwards it says "
        f"{still or 'nothing is wrong'}; {sent['unacknowledged']} not taken by the broker",
    }


def look_until(watched: Watched, seconds: float) -> None:
    """Look at the aggregator once a second for so long."""
    until_s = time.monotonic() + seconds
    while (left_s := until_s - time.monotonic()) > 0:
        watched.look()
        time.sleep(min(left_s, 1.0))


def is_level(watched: Watched, server: RunningPostgres, sender: Sending, load: Load) -> bool:
    """Whether all that was sent until two seconds ago is stored."""
    watched.look()
    sent_each = int((time.monotonic() - 2.0 - sender.began_s) / BLOCK_S)
    sent_each = min(sent_each, round(sender.seconds / BLOCK_S))
    return num_stored(server) >= sent_each * load.total


def num_stored(server: RunningPostgres) -> int:
    """Blocks in the database."""
    database = open_database(server.url)
    try:
        ((num,),) = database.fetch("SELECT num_blocks FROM kept_blocks")
    finally:
        database.close()
    return int(num)


def count(server: RunningPostgres, load: Load, *, num_each: int) -> tuple[int, int]:
    """Blocks that are not there, and those that are there more than once.

    By the numbers of every stream, one by one: a sum could hide one behind the other.
    """
    database = open_database(server.url)
    try:
        rows = database.fetch(
            "SELECT run_id, COUNT(*), COUNT(DISTINCT seq), MIN(seq), MAX(seq) FROM blocks "
            "GROUP BY run_id"
        )
    finally:
        database.close()
    missing = sum(num_each - distinct for _, _, distinct, _, _ in rows)
    missing += num_each * (load.total - len(rows))
    return missing, sum(num - distinct for _, num, distinct, _, _ in rows)


class Listening:
    """Hears the aggregator's state topic and asks `/health`, once a second, in a thread."""

    def __init__(self, url: str, watched: Watched) -> None:
        self.heard = Heard()
        self._watched = watched
        self._client = RawClient(url, "bench-listener")
        self._client.subscribe("coeval/state/aggregator", qos=0)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bench.listen")

    def __enter__(self) -> Heard:
        self._thread.start()
        return self.heard

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for kind, body in self._client.packets(wait_s=1.0):
                if kind == PUBLISH:
                    state = json.loads(message_of(body, qos=0)[2])
                    self.heard.on_mqtt.append(state.get("degraded", []))
            try:
                with urllib.request.urlopen(f"{self._watched.api}/health", timeout=10.0) as reply:
                    self.heard.on_health.append((reply.status, json.load(reply)["problems"]))
            except urllib.error.HTTPError as exc:
                self.heard.on_health.append((exc.code, json.load(exc)["problems"]))
            except OSError:
                self._stopping.wait(1.0)  # it does not listen yet
