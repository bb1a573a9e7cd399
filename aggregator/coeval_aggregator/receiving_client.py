"""A paho client that receives by the hundred: connecting, subscribing and sending are paho's own.

paho waits, and asks the kernel four times, for every message: 37 µs, more than all that the
aggregator does with it (2026-11-26, docs/decisions/0043-receiving-by-the-hundred.md). Here what has
come is read at once and cut up. `loop_read` is paho's public way to read; a packet that is no
PUBLISH is handed to paho as if it had read it.
"""

import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import paho.mqtt
import paho.mqtt.client as mqtt
from paho.mqtt.enums import MessageType, MQTTErrorCode

from coeval.errors import CoevalError

CHUNK_BYTES = 1 << 18
"""About 800 blocks, 10 ms of work: what is to be sent waits no longer."""
LONGEST_PACKET_BYTES = 1 << 28
"""What four digits of a length can say."""
PAUSE_S = 0.01
"""How long nothing is read where there is no room; what is to be sent is sent between."""
PRIVATE = (
    "_packet_queue",
    "_packet_handle",
    "_in_packet",
    "_loop_rc_handle",
    "_last_bytes_received",
)
"""What is used of paho that it does not promise to keep."""


class Received(NamedTuple):
    """A message."""

    topic: bytes
    """Where it was published, as it came: it need not be UTF-8."""
    payload: bytes
    """Its bytes."""
    mid: int | None
    """What to acknowledge; None: at QoS 0, nothing."""


class ReceivingClient(mqtt.Client):
    """Hands messages to `on_received`, acknowledges them by the hundred; never at QoS 2."""

    def __init__(
        self,
        *args: Any,
        on_received: Callable[[list[Received], int], None],
        on_reconnect: Callable[[], None],
        on_failed: Callable[[Exception], None],
        is_full: Callable[[], bool],
        **options: Any,
    ):
        """Prepare.

        Args:
            args: as paho's.
            on_received: called from paho's thread with what came together, in order, and when,
                in ns of CLOCK_MONOTONIC_RAW.
            on_reconnect: called before paho throws away what is still to be sent on the connection
                that was: an acknowledgement that is queued later goes to the next one.
            on_failed: called from paho's thread with the defect that ends it; the connection ends
                too, and this client cannot be used again.
            is_full: whether there is no room for more: then nothing is read, TCP holds the broker
                back, and where that lasts longer than twice the keepalive the connection ends.
            options: as paho's.

        Raises:
            CoevalError: this version of paho lacks what is used of it.
        """
        super().__init__(*args, **options)
        missing = [name for name in PRIVATE if not hasattr(self, name)]
        if missing:
            raise CoevalError(
                f"paho-mqtt {paho.mqtt.__version__}: expected {', '.join(missing)}, which the "
                "aggregator reads messages with; install paho-mqtt 2.1 or 2.2"
            )
        self._on_received, self._on_reconnect, self._is_full = on_received, on_reconnect, is_full
        self._on_failed = on_failed
        self._reading: Any = None
        self._rest = b""
        self._received_ns = 0

    def acknowledge(self, mids: Iterable[int]) -> None:
        """Acknowledge messages of the present connection; any thread may call this."""
        packets = b"".join(b"\x40\x02" + mid.to_bytes(2, "big") for mid in mids)
        if packets:
            # One entry in paho's queue of what is to be written, whatever it holds.
            self._packet_queue(MessageType.PUBACK, packets, 0, 1)

    def reconnect(self) -> MQTTErrorCode:
        """Begin a connection; every one begins here, in paho's thread."""
        self._on_reconnect()
        return super().reconnect()

    def loop_forever(
        self, timeout: float = 1.0, retry_first_connection: bool = False
    ) -> MQTTErrorCode:
        """Serve the connection; all that paho's thread does is in here."""
        try:
            return super().loop_forever(timeout, retry_first_connection)
        except Exception as exc:  # else the thread would end, and nobody know
            self.on_disconnect = None  # what ended it is told
            self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
            self._on_failed(exc)
            return MQTTErrorCode.MQTT_ERR_UNKNOWN

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:  # noqa: ARG002  paho's own
        """Take in what has come; called by paho's loop when there is something."""
        connection = self.socket()
        if connection is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        if connection is not self._reading:  # the rest of a packet ended with its connection
            self._reading, self._rest = connection, b""
        if self._is_full():
            time.sleep(PAUSE_S)
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        try:
            chunk = connection.recv(CHUNK_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        except OSError:
            chunk = b""
        if not chunk:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        self._received_ns = time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
        self._last_bytes_received = time.monotonic()
        code = self._take(self._rest + chunk if self._rest else chunk)
        return self._loop_rc_handle(code) if code else code

    def _take(self, data: bytes) -> MQTTErrorCode:
        """Cut up what came; hand over messages, and everything else to paho, in order."""
        messages: list[Received] = []
        at, end = 0, len(data)
        while at + 2 <= end:
            length, body = data[at + 1], at + 2
            if length & 0x80:
                found = long_length(data, at + 1)
                if found is None:
                    break
                length, body = found
            if length > LONGEST_PACKET_BYTES:
                return MQTTErrorCode.MQTT_ERR_PROTOCOL
            following = body + length
            if following > end:
                break
            command = data[at]
            if command & 0xF0 == MessageType.PUBLISH:
                message = message_of(command, data, body, following)
                if message is None:
                    return MQTTErrorCode.MQTT_ERR_PROTOCOL
                messages.append(message)
            else:
                self._hand_over(messages)
                messages = []
                code = self._let_paho_handle(command, data[body:following])
                if code or self.socket() is not self._reading:
                    return code
            at = following
        self._rest = data[at:]
        self._hand_over(messages)
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _hand_over(self, messages: list[Received]) -> None:
        if messages:
            self._on_received(messages, self._received_ns)

    def _let_paho_handle(self, command: int, body: bytes) -> MQTTErrorCode:
        self._in_packet = {
            "command": command,
            "have_remaining": 1,
            "remaining_count": [],
            "remaining_mult": 1,
            "remaining_length": len(body),
            "packet": bytearray(body),
            "to_process": 0,
            "pos": 0,
        }
        try:
            return self._packet_handle()
        except ValueError:  # paho's MalformedPacket, and whatever a short packet does to it
            return MQTTErrorCode.MQTT_ERR_PROTOCOL


def long_length(data: bytes, at: int) -> tuple[int, int] | None:
    """A length of several digits (MQTT 3.1.1, section 2.2.3) and where what it counts begins.

    None where it is not whole yet; a fifth digit makes it longer than any packet can be.
    """
    length = 0
    for k in range(4):
        if at + k >= len(data):
            return None
        digit = data[at + k]
        length |= (digit & 0x7F) << (7 * k)
        if not digit & 0x80:
            return length, at + k + 1
    return LONGEST_PACKET_BYTES + 1, at + 4


def message_of(command: int, data: bytes, begin: int, end: int) -> Received | None:
    """A PUBLISH packet's message; None: it is none, or of QoS 2, which we never asked for."""
    qos = command >> 1 & 3
    topic = begin + 2
    after = topic + (data[begin] << 8) + data[begin + 1] if topic <= end else end + 1
    payload = after + 2 if qos else after
    if payload > end or qos > 1:
        return None
    mid = (data[after] << 8) + data[after + 1] if qos else None
    return Received(data[topic:after], data[payload:end], mid)
