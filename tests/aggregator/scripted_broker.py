"""A broker that does only what a test says, in MQTT's own bytes, on a socket of loopback."""

import socket
from collections.abc import Iterator, Mapping

import pytest

from coeval.broker_address import BrokerAddress
from coeval.topics import Topics
from coeval_aggregator.connection import Connection, Event
from coeval_aggregator.outgoing import Outgoing
from coeval_lab.bench.aggregator_mqtt import CONNECT, PUBACK, SUBSCRIBE, publish_packet, split

PATIENCE_S = 300.0
"""Longer than a loaded machine needs: what comes in time costs nothing of it."""
TOPIC = Topics(session="s").block("cam", "mic")


class Link:
    """One connection as the broker sees it."""

    def __init__(self, link: socket.socket) -> None:
        self._socket = link
        self._buffer = b""
        self._early: list[tuple[int, bytes]] = []
        self.acknowledged: list[int] = []
        """The numbers of the messages that the client acknowledged, as far as we listened."""

    def next_packet(self) -> tuple[int, bytes]:
        """Kind and body of the next packet of the client."""
        while not self._early:
            chunk = self._socket.recv(1 << 16)
            assert chunk, "the client has closed the connection"
            self._early, self._buffer = split(self._buffer + chunk)
        kind, body = self._early.pop(0)
        if kind == PUBACK:
            self.acknowledged.append(int.from_bytes(body, "big"))
        return kind, body

    def wait_for(self, wanted: int) -> bytes:
        """The body of the next packet of a kind; others before it are passed over."""
        while True:
            kind, body = self.next_packet()
            if kind == wanted:
                return body

    def welcome(self, *, session_present: bool) -> None:
        """Let the client in, and let it subscribe."""
        self._socket.sendall(bytes([0x20, 2, session_present, 0]))
        mid = self.wait_for(SUBSCRIBE)[:2]
        self._socket.sendall(b"\x90\x08" + mid + b"\x01\x01\x01\x01\x01\x00")

    def deliver(self, payloads: Mapping[int, bytes]) -> None:
        """Send messages at QoS 1, by number."""
        packets = [publish_packet(TOPIC, payload, mid=mid) for mid, payload in payloads.items()]
        self._socket.sendall(b"".join(packets))

    def acknowledged_until(self, last: int) -> list[int]:
        """The numbers that the client acknowledges, from the beginning and up to this one."""
        while last not in self.acknowledged:
            self.next_packet()
        return self.acknowledged

    def close(self) -> None:
        self._socket.close()


class ScriptedBroker:
    """Where clients connect."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE_S)
        self._links: list[Link] = []
        self.url = f"mqtt://127.0.0.1:{self._listener.getsockname()[1]}"

    def accept(self) -> Link:
        """The next client, which has asked to be let in and not been answered yet."""
        accepted, _ = self._listener.accept()
        accepted.settimeout(PATIENCE_S)
        link = Link(accepted)
        self._links.append(link)
        kind, _ = link.next_packet()
        assert kind == CONNECT, f"a connection began with a packet of kind {kind}"
        return link

    def connection(self) -> Connection:
        """An aggregator's connection to this broker, which has begun."""
        connection = Connection(
            address=BrokerAddress.parse(self.url),
            prefix="coeval",
            session="s",
            will=Outgoing(topic="coeval/s/state/aggregator", payload=b"{}", retain=True),
        )
        connection.start()
        return connection

    def close(self) -> None:
        self._listener.close()
        for link in self._links:
            link.close()


@pytest.fixture
def scripted() -> Iterator[ScriptedBroker]:
    broker = ScriptedBroker()
    yield broker
    broker.close()


def messages(connection: Connection, num: int) -> list[Event]:
    """The next messages that were received; what else there is to tell is passed over."""
    found: list[Event] = []
    while len(found) < num:
        event = connection.events.get(timeout=PATIENCE_S)
        found += [event] if event.kind == "message" else []
    return found
