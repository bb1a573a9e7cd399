"""MQTT 3.1.1 as far as a reader speaks it: what a page may say to the broker, and what not.

A page subscribes and pings; it never publishes, leaves no will, and sees only Coeval's topics. Its
CONNECT is replaced by one of ours, so that it needs no password of the broker's.
"""

import struct
from collections.abc import Iterator

from coeval.errors import CoevalError

CONNECT, PUBACK, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT = 1, 4, 8, 10, 12, 14
LARGEST_PACKET_BYTES = 16_384
PROTOCOL = b"\x00\x04MQTT\x04"
CLEAN_SESSION, HAS_PASSWORD, HAS_USER = 0x02, 0x40, 0x80


class NotAllowed(CoevalError):
    """A client said what a reader does not say."""


class PacketSplitter:
    """Cuts a stream of bytes into packets."""

    def __init__(self) -> None:
        self._rest = b""

    def push(self, data: bytes) -> Iterator[bytes]:
        """The packets that are whole now.

        Raises:
            NotAllowed: one is larger than a reader's can be.
        """
        self._rest += data
        while (size := packet_size(self._rest)) is not None and len(self._rest) >= size:
            packet, self._rest = self._rest[:size], self._rest[size:]
            yield packet


def packet_size(data: bytes) -> int | None:
    """Bytes of the packet that begins here; None: too few came to tell.

    Raises:
        NotAllowed: it is larger than a reader's can be.
    """
    length = 0
    for k, byte in enumerate(data[1:4]):
        length |= (byte & 0x7F) << 7 * k
        if byte & 0x80:
            continue
        if length > LARGEST_PACKET_BYTES:
            break
        return 2 + k + length
    if len(data) < 4 and length <= LARGEST_PACKET_BYTES:
        return None
    raise NotAllowed(f"expected packets of {LARGEST_PACKET_BYTES} bytes at most")


def check_packet(packet: bytes, *, prefix: str) -> None:
    """See that a packet after the first is one that only reads.

    Args:
        packet: a whole packet.
        prefix: what every topic that may be read begins with.

    Raises:
        NotAllowed: it is of another kind, or asks for other topics.
    """
    kind = packet[0] >> 4
    if kind not in (PUBACK, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT):
        raise NotAllowed(f"expected packets of a reader, got one of kind {kind}")
    if kind == SUBSCRIBE:
        for wanted in filters_of(packet):
            if not wanted.startswith(f"{prefix}/".encode()):
                raise NotAllowed(f"expected topics below {prefix}/, got {wanted!r:.100}")


def filters_of(packet: bytes) -> list[bytes]:
    """The topic filters of a SUBSCRIBE.

    Raises:
        NotAllowed: it is malformed.
    """
    found, at = [], body_of(packet) + 2
    while at < len(packet):
        if at + 2 > len(packet):
            raise NotAllowed("a SUBSCRIBE is malformed")
        (length,) = struct.unpack_from(">H", packet, at)
        if at + 3 + length > len(packet):
            raise NotAllowed("a SUBSCRIBE is malformed")
        found.append(packet[at + 2 : at + 2 + length])
        at += 3 + length
    return found


def keepalive_of(packet: bytes) -> int:
    """The keepalive of a CONNECT, s.

    Raises:
        NotAllowed: it is none of MQTT 3.1.1.
    """
    body = packet[body_of(packet) :]
    if packet[0] >> 4 != CONNECT or body[: len(PROTOCOL)] != PROTOCOL or len(body) < 10:
        raise NotAllowed("expected a CONNECT of MQTT 3.1.1 first")
    (keepalive_s,) = struct.unpack_from(">H", body, len(PROTOCOL) + 1)
    return int(keepalive_s)


def body_of(packet: bytes) -> int:
    """Where a packet's header of kind and length ends."""
    return next(k for k in range(1, len(packet)) if not packet[k] & 0x80) + 1


def connect_packet(
    *, client_id: str, keepalive_s: int, user: str | None, password: str | None
) -> bytes:
    """A CONNECT of a clean session without a will."""
    flags, texts = CLEAN_SESSION, [client_id]
    if user is not None:
        flags |= HAS_USER
        texts.append(user)
        if password is not None:
            flags |= HAS_PASSWORD
            texts.append(password)
    body = PROTOCOL + struct.pack(">BH", flags, keepalive_s)
    for text in texts:
        raw = text.encode()
        body += struct.pack(">H", len(raw)) + raw
    length, head = len(body), bytearray([CONNECT << 4])
    while True:
        length, low = length >> 7, length & 0x7F
        head.append(low | (0x80 if length else 0))
        if not length:
            return bytes(head) + body
