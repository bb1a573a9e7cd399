"""The demo: nodes with wrong clocks, a broker and an aggregator, watched against the truth.

In: a recording whose truth is zero. Out: what the aggregator said about every node, over time.
Everything runs as it would in the field: separate processes of the real commands, a real broker.
"""

import json
import queue
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from coeval.errors import CoevalError
from coeval.time import NS_PER_S, ClockLine, NodeNs, RefNs
from coeval_edge.recording import Recording, recording_start_ns
from coeval_lab.broker import RunningBroker, start_broker

SESSION = "demo"
ESTIMATE_S = 1.0
FINISH_S = 8.0
"""After the last node is done, the aggregator gets so long for its last estimates."""
LARGEST_OFFSET_S = 8.0
LARGEST_SKEW_PPM = 60.0


class DemoFailed(CoevalError):
    """A process of the demo ended before its time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseClock:
    """How wrong a node's clock is made."""

    offset_s: float
    """At the recording's start; positive: fast."""
    skew_ppm: float
    """Positive: fast."""

    def line(self, start_ns: int) -> ClockLine:
        """The clock against true time."""
        return ClockLine(
            t0_ref_ns=RefNs(start_ns),
            offset_ns=self.offset_s * NS_PER_S,
            skew_ppb=self.skew_ppm * 1e3,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReport:
    """What the aggregator said of one node at one moment."""

    at_s: float
    """Seconds since the demo began."""
    status: str
    """reference, locked, unsure or unrelated."""
    offset_s: float | None
    """Estimated offset (node − reference); None: unknown."""
    true_offset_s: float
    """What it is, at the same instant of the reference."""
    ci95_s: float | None
    """Stated half-width."""
    skew_ppm: float | None
    """Estimated skew."""
    true_skew_ppm: float
    """What it is."""
    evidence: Sequence[str] = ()
    """Kinds of evidence."""

    @property
    def error_s(self) -> float | None:
        """Estimate − truth."""
        return None if self.offset_s is None else self.offset_s - self.true_offset_s


@dataclass(slots=True, kw_only=True)
class Watch:
    """Everything heard so far."""

    reference: str
    """The node whose clock is the timeline."""
    clocks: Mapping[str, FalseClock]
    """How wrong each node is."""
    start_ns: int
    """Start of the recording, true time."""
    reports: dict[str, list[ClockReport]] = field(default_factory=dict)
    """By node, in the order heard."""

    def hear(self, node: str, payload: Mapping[str, Any], at_s: float) -> None:
        """Take a message of the clock topic; one without a time has nothing to compare."""
        if node not in self.clocks or payload.get("t_ref_ns") is None:
            return
        reference = self.clocks[self.reference].line(self.start_ns)
        line = self.clocks[node].line(self.start_ns)
        t_true = reference.to_ref(NodeNs(int(payload["t_ref_ns"])))
        true_ns = line.offset_at(t_true) - reference.offset_at(t_true)
        skew_ppm = (1 + line.skew_ppb * 1e-9) / (1 + reference.skew_ppb * 1e-9) * 1e6 - 1e6
        self.reports.setdefault(node, []).append(
            ClockReport(
                at_s=at_s,
                status=str(payload.get("status")),
                offset_s=payload.get("offset_s"),
                true_offset_s=true_ns / NS_PER_S,
                ci95_s=payload.get("ci95_s"),
                skew_ppm=payload.get("skew_ppm"),
                true_skew_ppm=skew_ppm,
                evidence=tuple(payload.get("evidence") or ()),
            )
        )

    def last(self, node: str) -> ClockReport | None:
        """The newest report of a node."""
        reports = self.reports.get(node)
        return reports[-1] if reports else None


def false_clocks(nodes: Sequence[str], *, seed: int) -> dict[str, FalseClock]:
    """Clocks wrong by seconds and tens of ppm, the reference's too."""
    rng = random.Random(seed)
    return {
        node: FalseClock(
            offset_s=round(rng.choice((-1, 1)) * rng.uniform(1.0, LARGEST_OFFSET_S), 4),
            skew_ppm=round(rng.choice((-1, 1)) * rng.uniform(10.0, LARGEST_SKEW_PPM), 1),
        )
        for node in nodes
    }


def run_demo(
    recording: Recording,
    clocks: Mapping[str, FalseClock],
    *,
    speed: float,
    keep: bool,
    show: Callable[[Watch, RunningBroker], None],
) -> Watch:
    """Run until the nodes have replayed everything (or for ever, with `keep`).

    Args:
        recording: what the nodes replay.
        clocks: how wrong each node's clock is made, in the manifest's order.
        speed: 1 is real time.
        keep: begin again at the end until interrupted.
        show: called a few times a second.

    Raises:
        DemoFailed: a process ended before its time; its last words are in the message.
    """
    reference = next(iter(clocks))
    watch = Watch(reference=reference, clocks=clocks, start_ns=recording_start_ns(recording))
    with tempfile.TemporaryDirectory(prefix="coeval-demo-") as name, start_broker() as broker:
        folder = Path(name)
        with (
            listening(broker) as heard,
            process(folder, "aggregator", *aggregator_arguments(folder, broker, reference)) as hub,
        ):
            nodes = [
                process(folder, node, *node_arguments(recording, node, clock, broker, speed, keep))
                for node, clock in clocks.items()
            ]
            running = [manager.__enter__() for manager in nodes]
            try:
                follow(watch, heard, running, hub, folder, broker, show)
            finally:
                for manager in nodes:
                    manager.__exit__(None, None, None)
    return watch


def aggregator_arguments(folder: Path, broker: RunningBroker, reference: str) -> list[str]:
    """The aggregator's command line; a file tells it to estimate often."""
    config = folder / "aggregator.toml"
    config.write_text(f"[aggregator]\nestimate_s = {ESTIMATE_S}\nmax_offset_s = 30.0\n")
    flags = ["--broker", broker.url, "--session", SESSION, "--reference", reference]
    return ["aggregator", "--config", str(config), *flags]


def node_arguments(
    recording: Recording,
    node: str,
    clock: FalseClock,
    broker: RunningBroker,
    speed: float,
    keep: bool,
) -> list[str]:
    """A node's command line."""
    return [
        "node",
        "--replay",
        str(recording.root),
        "--node",
        node,
        "--broker",
        broker.url,
        "--session",
        SESSION,
        "--speed",
        str(speed),
        "--offset",
        str(clock.offset_s),
        "--skew-ppm",
        str(clock.skew_ppm),
        *(["--loop"] if keep else []),
    ]


@contextmanager
def process(folder: Path, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A `coeval` process, its talk in a file, ended with the block."""
    command = [sys.executable, "-c", "from coeval.cli import main; main()", *arguments]
    with (folder / f"{name}.log").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            yield child
        finally:
            child.terminate()
            try:
                child.wait(timeout=10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


Heard = queue.SimpleQueue[tuple[str, bytes]]


@contextmanager
def listening(broker: RunningBroker) -> Iterator[Heard]:
    """A subscriber of the clock topics, as anybody could be one."""
    heard: Heard = queue.SimpleQueue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
    client.on_connect = lambda c, *_: c.subscribe(f"coeval/{SESSION}/clock/+", qos=1)
    client.on_message = lambda _c, _u, message: heard.put((message.topic, bytes(message.payload)))
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        yield heard
    finally:
        client.disconnect()
        client.loop_stop()


def follow(
    watch: Watch,
    heard: Heard,
    nodes: Sequence[subprocess.Popen[bytes]],
    hub: subprocess.Popen[bytes],
    folder: Path,
    broker: RunningBroker,
    show: Callable[[Watch, RunningBroker], None],
) -> None:
    """Take what is heard until all nodes are done and the aggregator had time to finish."""
    began = time.monotonic()
    done_at: float | None = None
    while done_at is None or time.monotonic() - done_at < FINISH_S:
        if hub.poll() is not None:
            raise DemoFailed(f"the aggregator ended early: {last_words(folder / 'aggregator.log')}")
        for node, child in zip(watch.clocks, nodes, strict=True):
            if child.poll() not in (None, 0):
                raise DemoFailed(f"node {node} failed: {last_words(folder / f'{node}.log')}")
        if done_at is None and all(child.poll() == 0 for child in nodes):
            done_at = time.monotonic()
        try:
            topic, payload = heard.get(timeout=0.2)
        except queue.Empty:
            show(watch, broker)
            continue
        node = topic.rsplit("/", 1)[-1]
        watch.hear(node, json.loads(payload), time.monotonic() - began)
        if heard.empty():
            show(watch, broker)


def last_words(log: Path) -> str:
    """The last line that a process said."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
