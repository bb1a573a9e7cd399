"""Nodes as devices of Home Assistant: what is announced, and what counts as ours."""

import json
import re
from typing import Any

import pytest

from coeval.time import RefNs
from coeval.topics import Topics
from coeval_aggregator.clocks import UNKNOWN
from coeval_aggregator.home_assistant import announce_aggregator, announce_node, is_ours
from coeval_aggregator.outgoing import Outgoing

TOPICS = Topics(session="s")
SERVER = TOPICS.state("aggregator")


def announced(message: Outgoing) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(message.payload)
    return value


def test_a_node_is_a_retained_device_with_offset_skew_and_health() -> None:
    message = announce_node(TOPICS, "cam", server_topic=SERVER)
    components = announced(message)["components"]
    assert message.retain
    assert re.fullmatch(r"homeassistant/device/[a-zA-Z0-9_-]+/config", message.topic)
    assert components.keys() >= {"connectivity", "unsynchronised", "status", "offset", "skew"}
    assert {each["platform"] for each in components.values()} == {"sensor", "binary_sensor"}


def test_every_value_shown_is_one_that_a_clock_topic_has() -> None:
    components = announced(announce_node(TOPICS, "cam", server_topic=SERVER))["components"]
    stated = UNKNOWN.statement("cam", reference="cam", t_ref_ns=RefNs(0), now_s=0.0)
    for component in components.values():
        if component["state_topic"] == TOPICS.clock("cam"):
            used = re.findall(r"value_json\.(\w+)", component["value_template"])
            assert used
            assert set(used) <= stated.keys()


def test_names_that_home_assistant_would_spell_alike_stay_apart() -> None:
    names = ["a b", "a_b", "a.b", "ä b"]
    messages = [announce_node(TOPICS, name, server_topic=SERVER) for name in names]
    messages += [announce_node(Topics(session="t"), "a b", server_topic=SERVER)]
    assert len({message.topic for message in messages}) == len(messages)
    identities = {
        each["unique_id"] for m in messages for each in announced(m)["components"].values()
    }
    assert len(identities) == sum(len(announced(m)["components"]) for m in messages)


def test_only_devices_of_the_served_session_are_ours() -> None:
    for message in (
        announce_node(TOPICS, "cam", server_topic=SERVER),
        announce_aggregator(TOPICS, server_topic=SERVER),
    ):
        assert is_ours(message.payload, root="coeval/s/")
        assert is_ours(message.payload, root="coeval/")
        assert not is_ours(message.payload, root="coeval/t/")
        assert not is_ours(message.payload, root="other/")


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"[" * 5000,
        b"\xff",
        b'{"origin": {"name": "Zigbee2MQTT"}, "components": {"a": {"state_topic": "coeval/s/x"}}}',
        b'{"origin": {"name": "Coeval"}, "components": {}}',
        b'{"origin": {"name": "Coeval"}, "components": {"a": {"state_topic": 1}}}',
    ],
)
def test_what_others_retain_is_not_ours(payload: bytes) -> None:
    assert not is_ours(payload, root="coeval/s/")
