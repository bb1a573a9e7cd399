"""What a page may say to the broker: it reads, below the prefix, and nothing else."""

import pytest

from coeval_aggregator.api.mqtt_reading import (
    NotAllowed,
    PacketSplitter,
    check_packet,
    connect_packet,
    keepalive_of,
)

PING = b"\xc0\x00"
PUBLISH = b"\x30\x05\x00\x01ahi"


def subscribe(*filters: str) -> bytes:
    body = b"\x00\x01"
    for each in filters:
        body += len(each.encode()).to_bytes(2, "big") + each.encode() + b"\x00"
    return bytes([0x82, len(body)]) + body


def test_packets_are_cut_wherever_the_bytes_were() -> None:
    stream = PING + subscribe("coeval/a/#") + PING
    splitter = PacketSplitter()
    found = [packet for byte in stream for packet in splitter.push(bytes([byte]))]
    assert found == [PING, subscribe("coeval/a/#"), PING]


def test_a_packet_too_large_for_a_reader_ends_it() -> None:
    with pytest.raises(NotAllowed, match="16384 bytes"):
        list(PacketSplitter().push(b"\x82\xff\xff\x7f"))


@pytest.mark.parametrize("packet", [PING, subscribe("coeval/+/state/#", "coeval/a/bin/+/+")])
def test_a_reader_subscribes_and_pings(packet: bytes) -> None:
    check_packet(packet, prefix="coeval")


@pytest.mark.parametrize(
    "packet",
    [
        PUBLISH,
        connect_packet(client_id="x", keepalive_s=5, user=None, password=None),
        subscribe("#"),
        subscribe("coeval/a/#", "$SYS/#"),
        subscribe("coevally/#"),
        b"\x82\x04\x00\x01\x00\x09",
    ],
    ids=["publish", "a second connect", "all", "one of two", "another prefix", "malformed"],
)
def test_anything_else_is_not_allowed(packet: bytes) -> None:
    with pytest.raises(NotAllowed):
        check_packet(packet, prefix="coeval")


def test_a_connect_is_ours_with_the_readers_keepalive() -> None:
    ours = connect_packet(client_id="page", keepalive_s=20, user="u" * 200, password="p")
    assert keepalive_of(ours) == 20
    assert ours.endswith(b"\x00\x01p")


@pytest.mark.parametrize("packet", [PING, PUBLISH, b"\x10\x0c\x00\x04MQTT\x05\x02\x00\x14\x00\x00"])
def test_a_reader_begins_with_a_connect_of_3_1_1(packet: bytes) -> None:
    with pytest.raises(NotAllowed, match="CONNECT"):
        keepalive_of(packet)
