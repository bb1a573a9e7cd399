"""The AsyncAPI 3 document of a session's MQTT messages, made from the table of messages.

docs/asyncapi.json is what this makes; a test holds them together.
"""

import re
from typing import Any

from coeval import __version__
from coeval.mqtt_messages import MESSAGES, Message
from coeval.topics import DEFAULT_PREFIX, DEFAULT_SESSION

DESCRIPTION = """\
Everything that nodes and the aggregator of a session say over MQTT 3.1.1. What is unknown is null,
never 0. offset = node − reference; positive: the node is fast. Objects may get more keys in later
versions: pass over those that you do not know."""

PARAMETERS: dict[str, dict[str, Any]] = {
    "prefix": {
        "description": "What every topic begins with; may have several levels.",
        "default": DEFAULT_PREFIX,
    },
    "session": {"description": "The session's id.", "default": DEFAULT_SESSION},
    "node": {"description": "A node's id."},
    "stream": {"description": "A stream's id, unique on its node."},
    "sha256": {"description": "Hash of an encoder's file."},
    "part": {"description": "Number of the part, from 0."},
}


def make_document() -> dict[str, Any]:
    """The document, ready for JSON."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Coeval",
            "version": __version__,
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "local": {
                "host": "127.0.0.1:1883",
                "protocol": "mqtt",
                "protocolVersion": "3.1.1",
                "description": "The broker that is used unless another is named.",
            }
        },
        "channels": {message.name: channel(message) for message in MESSAGES},
        "operations": {
            name: operation
            for message in MESSAGES
            for name, operation in operations(message).items()
        },
        "components": {
            "messages": {message.name: describe(message) for message in MESSAGES},
            "parameters": PARAMETERS,
        },
    }


def channel(message: Message) -> dict[str, Any]:
    """The topic of a message."""
    names = re.findall(r"\{(\w+)\}", message.topic)
    return {
        "address": message.topic,
        "description": message.says,
        "messages": {message.name: {"$ref": f"#/components/messages/{message.name}"}},
        "parameters": {name: {"$ref": f"#/components/parameters/{name}"} for name in names},
    }


def operations(message: Message) -> dict[str, Any]:
    """Who says it: the session does, and where it is taken from anyone, others may."""
    reference = {"$ref": f"#/channels/{message.name}"}
    bindings = {"mqtt": {"qos": message.qos, "retain": message.is_retained}}
    made = {
        f"say_{message.name}": {
            "action": "send",
            "channel": reference,
            "summary": message.says,
            "bindings": bindings,
        }
    }
    if message.is_taken_from_anyone:
        made[f"take_{message.name}"] = {
            "action": "receive",
            "channel": reference,
            "summary": message.says,
        }
    return made


def describe(message: Message) -> dict[str, Any]:
    """A message with the schema of what it carries."""
    if message.payload is None:
        payload: dict[str, Any] = {"type": "string", "format": "binary"}
        return {
            "contentType": "application/octet-stream",
            "summary": message.says,
            "payload": payload,
        }
    return {
        "contentType": "application/json",
        "summary": message.says,
        "payload": message.payload,
    }
