"""The client that receives by the hundred: packets are cut up however they come."""

import socket
from collections.abc import Iterator
from typing import Any

import paho.mqtt.client
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode

from coeval.errors import CoevalError
from coeval_aggregator.receiving_client import Received, ReceivingClient, long_length


def publish(topic: bytes, payload: bytes, mid: int | None) -> bytes:
    """A PUBLISH packet, by MQTT 3.1.1, section 3.3."""
    body = len(topic).to_bytes(2, "big") + topic
    body += b"" if mid is None else mid.to_bytes(2, "big")
    left, digits = len(body) + len(payload), bytearray()
    while True:
        left, digit = divmod(left, 128)
        digits.append(digit | (128 if left else 0))
        if not left:
            break
    return bytes([0x30 if mid is None else 0x32]) + bytes(digits) + body + payload


class Receiving:
    """A client with one end of a connection, and what it received."""

    def __init__(self) -> None:
        self.got: list[Received] = []
        self.is_full = False
        self.ours, self.theirs = socket.socketpair()
        self.theirs.setblocking(False)
        self.client: Any = ReceivingClient(
            CallbackAPIVersion.VERSION2,
            on_received=lambda messages, _: self.got.extend(messages),
            on_reconnect=lambda: None,
            on_failed=lambda _: None,
            is_full=lambda: self.is_full,
            manual_ack=True,
        )
        self.client._sock = self.theirs

    def hear(self, data: bytes) -> MQTTErrorCode:
        self.ours.sendall(data)
        code: MQTTErrorCode = self.client.loop_read()
        return code

    def close(self) -> None:
        self.client._sock = None
        self.ours.close()
        self.theirs.close()


@pytest.fixture
def receiving() -> Iterator[Receiving]:
    made = Receiving()
    yield made
    made.close()


MESSAGES = st.lists(
    st.tuples(
        st.binary(max_size=40),
        st.binary(max_size=300),
        st.none() | st.integers(min_value=1, max_value=65_535),
    ),
    min_size=1,
    max_size=8,
)


@settings(deadline=None)
@given(messages=MESSAGES, cuts=st.lists(st.integers(min_value=1, max_value=400), max_size=12))
def test_messages_come_whole_and_in_order_however_they_are_cut(
    messages: list[tuple[bytes, bytes, int | None]], cuts: list[int]
) -> None:
    receiving = Receiving()
    data = b"".join(publish(*message) for message in messages)
    for cut in [*cuts, len(data)]:
        piece, data = data[:cut], data[cut:]
        if piece:
            assert receiving.hear(piece) == MQTTErrorCode.MQTT_ERR_SUCCESS
    receiving.close()
    assert receiving.got == [Received(*message) for message in messages]


def test_what_is_no_message_is_left_to_paho(receiving: Receiving) -> None:
    done: list[int] = []
    receiving.client.on_subscribe = lambda _c, _u, mid, _r, _p: done.append(mid)
    code = receiving.hear(publish(b"a", b"1", 5) + b"\x90\x03\x00\x07\x01" + publish(b"b", b"2", 6))
    assert code == MQTTErrorCode.MQTT_ERR_SUCCESS
    assert (done, [each.mid for each in receiving.got]) == ([7], [5, 6])


def test_all_acknowledgements_of_a_batch_are_one_write(receiving: Receiving) -> None:
    receiving.client.acknowledge([1, 258])
    assert receiving.ours.recv(100) == b"\x40\x02\x00\x01\x40\x02\x01\x02"


@pytest.mark.parametrize(
    "data",
    [
        b"\x34\x05\x00\x01a\x00\x01",  # QoS 2, which nobody asked for
        b"\x32\x04\x00\x09ab",  # a topic longer than its packet
        b"\x30\x01\x00",  # no room for a topic's length
        b"\x30\xff\xff\xff\xff\x01",  # a length of five digits
    ],
)
def test_a_packet_that_is_none_ends_the_connection(receiving: Receiving, data: bytes) -> None:
    receiving.hear(data)
    assert receiving.client.socket() is None
    assert receiving.got == []


def test_the_rest_of_a_packet_ends_with_its_connection(receiving: Receiving) -> None:
    receiving.hear(publish(b"a", b"1", 5)[:4])
    other = Receiving()
    receiving.client._sock = other.theirs
    other.ours.sendall(publish(b"b", b"2", 6))
    receiving.client.loop_read()
    assert [each.topic for each in receiving.got] == [b"b"]
    other.close()


def test_an_end_of_the_connection_is_told(receiving: Receiving) -> None:
    receiving.ours.close()
    assert receiving.client.loop_read() == MQTTErrorCode.MQTT_ERR_CONN_LOST


def test_a_length_that_is_not_whole_is_waited_for() -> None:
    assert long_length(b"\x80", 0) is None
    assert long_length(b"\x80\x01", 0) == (128, 2)


def test_nothing_is_read_while_there_is_no_room(receiving: Receiving) -> None:
    receiving.is_full = True
    receiving.hear(publish(b"a", b"1", 5))
    assert receiving.got == []
    receiving.is_full = False
    receiving.client.loop_read()
    assert [each.mid for each in receiving.got] == [5]


def test_a_paho_that_lacks_what_is_used_of_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(paho.mqtt.client.Client, "_packet_handle")
    with pytest.raises(CoevalError, match=r"paho-mqtt .*_packet_handle.*install"):
        ReceivingClient(
            CallbackAPIVersion.VERSION2,
            on_received=lambda *_: None,
            on_reconnect=lambda: None,
            on_failed=lambda _: None,
            is_full=lambda: False,
        )


def test_a_connection_is_over_before_what_it_had_to_send_is_thrown_away(
    receiving: Receiving, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    receiving.client._on_reconnect = lambda: seen.append("over")
    monkeypatch.setattr(paho.mqtt.client.Client, "reconnect", lambda _: seen.append("begun"))
    receiving.client.reconnect()
    assert seen == ["over", "begun"]
