"""MQTT 3.1.1 by hand, as far as the bench of the aggregator needs it.

A load of thousands of messages a second must not cost more than what it loads, and the broker's own
rate can only be seen by a client that costs next to nothing: no library in Python is that.
One thread; packets as in OASIS MQTT 3.1.1, sections 2 and 3.
"""

import select
import socket
import time

from coeval.broker_address import BrokerAddress

NONE, CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 0, 1, 2, 3, 4, 8, 9
DISCONNECT = b"\xe0\x00"
KEEPALIVE_S = 0
"""No pings: the broker never gives us up."""
CHUNK_BYTES = 1 << 18


def remaining(length: int) -> bytes:
    """A packet's length as it is written (section 2.2.3)."""
    found = bytearray()
    while True:
        length, digit = length >> 7, length & 0x7F
        found.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(found)


def text(value: str) -> bytes:
    """A string as it is written."""
    encoded = value.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def publish_packet(
    topic: str, payload: bytes, *, mid: int | None = None, retain: bool = False
) -> bytes:
    """A PUBLISH packet; with an id of QoS 1, without one of QoS 0."""
    named = text(topic) if mid is None else text(topic) + mid.to_bytes(2, "big")
    flags = (0 if mid is None else 2) | int(retain)
    return bytes([PUBLISH << 4 | flags]) + remaining(len(named) + len(payload)) + named + payload


class RawClient:
    """A connection to a broker."""

    def __init__(self, url: str, client_id: str, *, clean: bool = True) -> None:
        """Connect.

        Args:
            url: the broker.
            client_id: our name.
            clean: whether the broker forgets us when we leave.
        """
        address = BrokerAddress.parse(url)
        self._socket = socket.create_connection((address.host, address.port), timeout=30.0)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = b""
        self._early: list[tuple[int, bytes]] = []
        flags = 2 if clean else 0
        body = text("MQTT") + bytes([4, flags]) + KEEPALIVE_S.to_bytes(2, "big") + text(client_id)
        self.send(bytes([CONNECT << 4]) + remaining(len(body)) + body)
        self.wait_for(CONNACK)

    def send(self, packets: bytes) -> None:
        """Send packets."""
        self._socket.sendall(packets)

    def subscribe(self, topic: str, *, qos: int) -> None:
        """Subscribe; the broker knows when this returns."""
        body = (1).to_bytes(2, "big") + text(topic) + bytes([qos])
        self.send(bytes([SUBSCRIBE << 4 | 2]) + remaining(len(body)) + body)
        self.wait_for(SUBACK)

    def wait_for(self, kind: int) -> None:
        """Read until such a packet comes; others are kept for `packets`.

        Raises:
            TimeoutError: none comes within half a minute.
        """
        until_s = time.monotonic() + 30.0
        while time.monotonic() < until_s:
            for each in self._read(wait_s=1.0):
                if each[0] == kind:
                    kind = NONE
                else:
                    self._early.append(each)
            if kind == NONE:
                return
        raise TimeoutError(f"no packet of kind {kind} from the broker")

    def packets(self, *, wait_s: float) -> list[tuple[int, bytes]]:
        """Kind and body of the packets that are there, waiting for the first.

        Raises:
            ConnectionError: the broker has closed the connection.
        """
        early, self._early = self._early, []
        return early or self._read(wait_s=wait_s)

    def _read(self, *, wait_s: float) -> list[tuple[int, bytes]]:
        if not select.select([self._socket], [], [], max(wait_s, 0.0))[0]:
            return []
        chunk = self._socket.recv(CHUNK_BYTES)
        if not chunk:
            raise ConnectionError("the broker has closed the connection")
        found, self._buffer = split(self._buffer + chunk)
        return found

    def close(self) -> None:
        """Leave."""
        self.send(DISCONNECT)
        self._socket.close()


def split(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Kind and body of every whole packet, and what is left."""
    found: list[tuple[int, bytes]] = []
    at, end = 0, len(data)
    while at + 2 <= end:
        length = shift = 0
        body = at + 1
        digit = 0x80
        while digit & 0x80 and body < end:
            digit = data[body]
            length |= (digit & 0x7F) << shift
            shift += 7
            body += 1
        if digit & 0x80 or body + length > end:
            break
        found.append((data[at] >> 4, data[body : body + length]))
        at = body + length
    return found, data[at:]


def message_of(body: bytes, *, qos: int) -> tuple[bytes, int, bytes]:
    """Topic, id (0: QoS 0) and payload of a PUBLISH packet's body."""
    end = 2 + int.from_bytes(body[:2], "big")
    if not qos:
        return body[2:end], 0, body[end:]
    return body[2:end], int.from_bytes(body[end : end + 2], "big"), body[end + 2 :]


def puback(mid: int) -> bytes:
    """The acknowledgement of a message."""
    return bytes([PUBACK << 4, 2]) + mid.to_bytes(2, "big")
