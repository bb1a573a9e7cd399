"""The whole system on one machine: broker, aggregator and nodes as processes, watched over MQTT."""

import json
import math
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from coeval.broker_address import BrokerAddress
from coeval.errors import BadConfig, BadRecording, CoevalError
from coeval.manifest import StreamSpec
from coeval.time import NS_PER_S
from coeval.topics import Topics, check_node_id
from coeval_aggregator.api.config import ApiConfig
from coeval_edge.recording import Recording
from coeval_edge.replay import recording_end_ns, recording_start_ns
from coeval_lab.broker import free_port, start_broker
from coeval_lab.demo.children import Children
from coeval_lab.demo.clocks import TrueClocks, draw_errors
from coeval_lab.demo.table import Scenery
from coeval_lab.demo.verdict import NodeVerdict, judge
from coeval_lab.demo.watch import Statement, Watch

SESSION = "demo"
REFRESH_S = 0.25
ESTIMATES_EVERY_S = 1.0
MAX_OFFSET_S = 30.0
NUM_LAST_ESTIMATES = 2
"""After the replay: the first estimate may have begun before the last block came."""
LAST_ESTIMATES_WITHIN_S = 120.0
AGGREGATOR = "aggregator"

Show = Callable[[Scenery, Watch, float], None]
"""Called again and again with the seconds since the demo began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """What a demo came to."""

    scenery: Scenery
    """What was replayed, and the true clocks."""
    watch: Watch
    """All that was heard."""
    verdicts: Mapping[str, NodeVerdict]
    """By node, the reference left out."""
    broker: str
    """Which broker ran."""
    elapsed_s: float
    """How long it took."""

    @property
    def has_passed(self) -> bool:
        """Whether every node locked on the truth."""
        return all(verdict.has_passed for verdict in self.verdicts.values())


def make_scenery(recording: Recording, *, seed: int, is_looping: bool) -> Scenery:
    """Choose the wrong clocks, and order the streams.

    Raises:
        BadRecording: fewer than two nodes, or a file cannot be read.
        BadConfig: a node's name cannot be that of a node in a session.
    """
    manifest = recording.manifest
    nodes = [check_node_id(node) for node in manifest.nodes]
    if len(nodes) < 2:
        raise BadRecording(
            f"{recording.root}: the demo compares the clocks of two nodes or more, got {nodes}"
        )
    start_ns, end_ns = recording_start_ns(recording), recording_end_ns(recording)
    streams: list[StreamSpec] = [s for node in nodes for s in manifest.streams_of(node)]
    clocks = TrueClocks(
        manifest,
        draw_errors(nodes, seed=seed),
        reference=nodes[0],
        start_s=start_ns / NS_PER_S,
    )
    return Scenery(
        streams=tuple(streams),
        clocks=clocks,
        length_s=(end_ns - start_ns) / NS_PER_S,
        is_looping=is_looping,
        title=f"{manifest.name}: {len(nodes)} nodes whose clocks are wrong, against {nodes[0]}",
    )


def check_speed(speed: float) -> None:
    """See that a replay at a speed comes to an end, and begins.

    Raises:
        BadConfig: it is no positive number.
    """
    if not 0 < speed < math.inf:
        raise BadConfig(f"--speed must be a number above 0 (1: real time), got {speed:g}")


def run_demo(
    recording: Recording,
    scenery: Scenery,
    *,
    speed: float,
    logs: Path,
    show: Show,
    page: str = "none",
) -> DemoResult:
    """Replay a recording through wrong clocks until its end, or until Ctrl-C where it loops.

    Args:
        recording: what to replay.
        scenery: made from it.
        speed: seconds of the recording a second.
        logs: existing folder for the processes' logs.
        show: called four times a second.
        page: where the aggregator's page listens, as HOST:PORT; `none`: there is none.

    Raises:
        BadConfig: the speed is no positive number.
        CoevalError: no broker, or one of the processes failed.
    """
    check_speed(speed)
    began_s = time.monotonic()
    topics = Topics(session=SESSION)
    with ExitStack() as stack:
        broker = stack.enter_context(start_broker())
        watch = stack.enter_context(closing(Watch(BrokerAddress.parse(broker.url), topics)))
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coeval-demo-")))
        children = stack.enter_context(Children(logs))
        config = write_aggregator_config(
            temporary, broker=broker.url, reference=scenery.clocks.reference, page=page
        )
        children.start(AGGREGATOR, ["aggregator", "--config", str(config)])
        nodes = list(scenery.clocks.errors)
        for node in nodes:
            children.start(node, node_arguments(recording, node, scenery, broker.url, speed))

        def look() -> bool:
            """Show what there is; whether a node still runs."""
            watch.take(for_s=REFRESH_S)
            show(scenery, watch, time.monotonic() - began_s)
            if not children.is_running(AGGREGATOR):
                raise CoevalError(f"the aggregator ended by itself; its log is in {logs}")
            return any([children.is_running(node) for node in nodes])

        try:
            while look():
                pass
            wait_for_last_estimates(scenery, watch, look)
        except KeyboardInterrupt:
            if not scenery.is_looping:
                raise
        first_ns = round(scenery.clocks.first_reading_s * NS_PER_S)
        verdicts = {
            node: judge(
                node, watch.statements.get(node, ()), scenery.clocks, first_t_ref_ns=first_ns
            )
            for node in nodes
            if node != scenery.clocks.reference
        }
    return DemoResult(
        scenery=scenery,
        watch=watch,
        verdicts=verdicts,
        broker=broker.kind,
        elapsed_s=time.monotonic() - began_s,
    )


def wait_for_last_estimates(scenery: Scenery, watch: Watch, look: Callable[[], bool]) -> None:
    """Go on until the aggregator has had a look at all that was sent."""
    others = [node for node in scenery.clocks.errors if node != scenery.clocks.reference]

    def last_heard_s(node: str) -> float:
        said: Statement | None = watch.latest(node)
        return said.heard_s if said else -math.inf

    until_s = time.monotonic() + LAST_ESTIMATES_WITHIN_S
    for _ in range(NUM_LAST_ESTIMATES):
        since_s = time.monotonic()
        while min(map(last_heard_s, others)) < since_s and time.monotonic() < until_s:
            look()


def choose_page() -> str:
    """Where the demo's page listens: the usual port where it is free, else any."""
    host, port = ApiConfig().address
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            port = free_port()
    return f"{host}:{port}"


def write_aggregator_config(
    folder: Path, *, broker: str, reference: str, page: str = "none"
) -> Path:
    """The aggregator's configuration file."""
    path = folder / "aggregator.toml"
    settings: dict[str, object] = {
        "session": SESSION,
        "broker": broker,
        "reference": reference,
        "estimate_s": ESTIMATES_EVERY_S,
        "max_offset_s": MAX_OFFSET_S,
        "store.url": "none",
        "api.listen": page,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    path.write_text("[aggregator]\n" + "\n".join(lines) + "\n", encoding="utf-8")
    return path


def node_arguments(
    recording: Recording, node: str, scenery: Scenery, broker: str, speed: float
) -> list[str]:
    """The command line of one node."""
    error = scenery.clocks.errors[node]
    arguments = ["node", "--replay", str(recording.root), "--node", node, "--session", SESSION]
    arguments += ["--broker", broker, "--speed", f"{speed:g}"]
    # `=` keeps a negative number from being read as an option.
    arguments += [f"--offset={error.offset_s}", f"--skew-ppm={error.skew_ppm}"]
    return [*arguments, "--loop" if scenery.is_looping else "--once"]
