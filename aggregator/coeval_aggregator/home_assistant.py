"""Home Assistant's MQTT discovery: every node of a session as a device with its clock and health.

In: prefix, session, node. Out: retained messages below `homeassistant/device/`, one a device. The
values themselves are those of the topics that exist anyway; nothing is said twice. What is unknown
is null in those, and "unknown" in Home Assistant.

Source: https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
"""

import hashlib
import json
import re
from typing import Any

from coeval import __version__
from coeval.topics import AGGREGATOR, Topics
from coeval_aggregator.outgoing import Outgoing

DISCOVERY = "homeassistant/device"
"""Below Home Assistant's own default prefix."""
ORIGIN = "Coeval"
NOT_IN_AN_OBJECT_ID = re.compile(r"[^a-zA-Z0-9_-]")
STATUSES = ("reference", "locked", "unsure", "unrelated")


def device_topic(topics: Topics, node: str) -> str:
    """Where a device is announced; another for every prefix, session and node."""
    return f"{DISCOVERY}/{object_id(topics, node)}/config"


def object_id(topics: Topics, node: str) -> str:
    """A name in Home Assistant's alphabet; the hash keeps apart what it would spell alike."""
    whole = f"{topics.root}/{node}"
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{NOT_IN_AN_OBJECT_ID.sub('_', f'coeval_{topics.session}_{node}')[:80]}_{digest}"


def announce_node(topics: Topics, node: str, *, server_topic: str) -> Outgoing:
    """A node as a device: is it there, is it synchronised, offset, skew and interval.

    Args:
        topics: of its session.
        node: the node.
        server_topic: where the aggregator says that it is there: without it, nothing is known.
    """
    clock, name = topics.clock(node), object_id(topics, node)
    components: dict[str, dict[str, Any]] = {
        "connectivity": {
            "platform": "binary_sensor",
            "name": "Connection",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": topics.state(node),
            "value_template": "{{ value_json.state }}",
            "payload_on": "online",
            "payload_off": "offline",
        },
        "unsynchronised": {
            "platform": "binary_sensor",
            "name": "Not synchronised",
            "device_class": "problem",
            "state_topic": clock,
            # A clock that is held over within its interval has an offset, and is no problem.
            "value_template": "{{ 'ON' if value_json.offset_s is none else 'OFF' }}",
        },
        "status": {
            "platform": "sensor",
            "name": "Clock",
            "device_class": "enum",
            "options": list(STATUSES),
            "state_topic": clock,
            "value_template": "{{ value_json.status }}",
        },
        "offset": measurement("Offset", clock, "offset_s", unit="s", digits=6),
        "offset_ci95": measurement("Offset ±95 %", clock, "ci95_s", unit="s", digits=6),
        "skew": measurement("Skew", clock, "skew_ppm", unit="ppm", digits=3),
    }
    return config(topics, node, f"{node} ({topics.session})", name, components, server_topic)


def announce_aggregator(topics: Topics, *, server_topic: str) -> Outgoing:
    """A session's aggregator as a device: is anything wrong with it."""
    components: dict[str, dict[str, Any]] = {
        "degraded": {
            "platform": "binary_sensor",
            "name": "Degraded",
            "device_class": "problem",
            "state_topic": topics.state(AGGREGATOR),
            "value_template": "{{ 'ON' if value_json.degraded else 'OFF' }}",
        },
        "reference": {
            "platform": "sensor",
            "name": "Reference node",
            "entity_category": "diagnostic",
            "state_topic": topics.state(AGGREGATOR),
            "value_template": "{{ value_json.reference }}",
        },
    }
    name = object_id(topics, AGGREGATOR)
    title = f"Coeval aggregator ({topics.session})"
    return config(topics, AGGREGATOR, title, name, components, server_topic)


def measurement(name: str, topic: str, key: str, *, unit: str, digits: int) -> dict[str, Any]:
    """A sensor of one number of a clock topic."""
    sensor: dict[str, Any] = {
        "platform": "sensor",
        "name": name,
        "state_class": "measurement",
        "state_topic": topic,
        "value_template": f"{{{{ value_json.{key} }}}}",
        "unit_of_measurement": unit,
        "suggested_display_precision": digits,
    }
    return sensor | ({"device_class": "duration"} if unit == "s" else {})


def config(
    topics: Topics,
    node: str,
    title: str,
    name: str,
    components: dict[str, dict[str, Any]],
    server_topic: str,
) -> Outgoing:
    """The message that announces a device."""
    payload = {
        "device": {"identifiers": [name], "name": title, "manufacturer": "Coeval"},
        "origin": {"name": ORIGIN, "sw_version": __version__},
        "availability": [
            {"topic": server_topic, "value_template": "{{ value_json.state }}"},
        ],
        "payload_available": "online",
        "payload_not_available": "offline",
        "components": {
            key: {**component, "unique_id": f"{name}_{key}"}
            for key, component in components.items()
        },
        "qos": 1,
    }
    return Outgoing(
        topic=device_topic(topics, node), payload=json.dumps(payload).encode(), retain=True
    )


def is_ours(payload: bytes, *, root: str) -> bool:
    """Whether a message announces a device of ours.

    Args:
        payload: what is retained on a topic of discovery.
        root: what the topics of our sessions begin with, with the slash.
    """
    try:
        value = json.loads(payload)
        components = list(value["components"].values())
        return (
            value["origin"]["name"] == ORIGIN
            and len(components) > 0
            and all(each["state_topic"].startswith(root) for each in components)
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
