"""A broker for the demo, the tests and the bench: on loopback, on a free port, gone afterwards.

mosquitto where it is on PATH; else `iotcore`, a wheel with a real broker (rumqttd) that runs in
a child process. Both keep what they hold bounded.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from coeval.broker_address import BrokerAddress
from coeval.errors import CoevalError

Kind = Literal["mosquitto", "iotcore"]

HOST = "127.0.0.1"
START_S = 60.0
"""A tenth of a second where the machine has time."""
LARGEST_MESSAGE_BYTES = 262_144

MOSQUITTO_CONF = """\
listener {port} {host}
allow_anonymous true
persistence true
persistence_location {folder}/
max_queued_messages 500000
max_inflight_messages 20000
message_size_limit {largest}
"""

# rumqttd keeps every topic filter's messages in segments: 8 MiB a topic at most.
IOTCORE_TOML = """\
id = 0
[router]
id = 0
max_connections = 200
max_outgoing_packet_count = 200
max_segment_size = 1048576
max_segment_count = 8
[v4.1]
name = "coeval"
listen = "{host}:{port}"
next_connection_delay_ms = 1
[v4.1.connections]
connection_timeout_ms = 60000
max_payload_size = {largest}
max_inflight_count = 100
dynamic_filters = true
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningBroker:
    """A broker that accepts connections."""

    kind: Kind
    """Which program it is."""
    host: str
    """Address it listens on."""
    port: int
    """Port it listens on."""

    @property
    def url(self) -> str:
        """Its address as nodes and the aggregator take it."""
        return str(BrokerAddress(host=self.host, port=self.port))


RESERVED: list[socket.socket] = []
"""Bound and never listening, for as long as this process lives: see `free_port`."""


def free_port() -> int:
    """A TCP port on loopback that nobody listens on, and that no other program is given.

    Bound without listening and with SO_REUSEADDR, it stays free for a server that is told its
    number (servers set SO_REUSEADDR too), and the kernel picks it for nobody who asks for any.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind((HOST, 0))
    RESERVED.append(reserved)
    port: int = reserved.getsockname()[1]
    return port


def find_mosquitto() -> str | None:
    """Path of mosquitto; Debian puts it where an ordinary user's PATH does not look."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def start_broker(
    prefer: Kind = "mosquitto", *, port: int | None = None, folder: Path | None = None
) -> Iterator[RunningBroker]:
    """Run a broker on loopback until the `with` block ends.

    Args:
        prefer: which one, where there is a choice.
        port: where to listen; None: a free port.
        folder: where mosquitto keeps its state; None: a temporary one.

    Raises:
        CoevalError: there is none, or it does not start.
    """
    port = free_port() if port is None else port
    mosquitto = find_mosquitto()
    with tempfile.TemporaryDirectory(prefix="coeval-broker-") as temporary:
        folder = Path(temporary) if folder is None else folder
        if prefer == "mosquitto" and mosquitto is not None:
            with _mosquitto(mosquitto, port=port, folder=folder):
                yield RunningBroker(kind="mosquitto", host=HOST, port=port)
        else:
            with _iotcore(port=port, folder=folder):
                yield RunningBroker(kind="iotcore", host=HOST, port=port)


@contextmanager
def _mosquitto(program: str, *, port: int, folder: Path) -> Iterator[None]:
    conf = folder / "mosquitto.conf"
    text = MOSQUITTO_CONF.format(port=port, host=HOST, folder=folder, largest=LARGEST_MESSAGE_BYTES)
    if os.geteuid() == 0:
        text += "user root\n"  # else it would give up its rights to a user who cannot write here
    conf.write_text(text)
    with open(folder / "mosquitto.log", "wb") as log:
        process = subprocess.Popen([program, "-c", str(conf)], stdout=log, stderr=log)
        try:
            _wait_until_listening(port, process, folder / "mosquitto.log")
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_listening(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until_s = time.monotonic() + START_S
    while time.monotonic() < until_s:
        if process.poll() is not None:
            said = log.read_text(errors="replace").strip().splitlines()
            raise CoevalError(
                f"mosquitto ended with code {process.returncode} while starting on port {port}: "
                f"{said[-1] if said else 'it said nothing'}"
            )
        try:
            with socket.create_connection((HOST, port), timeout=0.2):
                return
        except OSError:
            time.sleep(0.02)
    raise CoevalError(f"mosquitto did not listen on port {port} within {START_S:g} s")


@contextmanager
def _iotcore(*, port: int, folder: Path) -> Iterator[None]:
    try:
        import iotcore
    except ImportError as exc:
        raise CoevalError(
            "no MQTT broker here: install mosquitto, or pip install 'coeval[lab]'"
        ) from exc
    conf = folder / "iotcore.toml"
    conf.write_text(IOTCORE_TOML.format(host=HOST, port=port, largest=LARGEST_MESSAGE_BYTES))
    broker = iotcore.Broker(config_path=str(conf))
    try:
        broker.start(timeout=START_S)
    except (OSError, RuntimeError) as exc:
        raise CoevalError(f"iotcore did not start on port {port}: {exc}") from exc
    try:
        yield
    finally:
        broker.stop()
