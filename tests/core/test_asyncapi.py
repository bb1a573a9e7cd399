"""The AsyncAPI document is what the code makes of its table, and valid."""

import gzip
import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest

from coeval import asyncapi_command
from coeval.asyncapi import make_document
from coeval.errors import BadConfig
from coeval.mqtt_messages import EVENTS, MESSAGES
from coeval.topics import EventKind, Topics

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "tests" / "vectors" / "asyncapi-3.0.0.schema.json.gz"
"""`schemas/3.0.0-without-$id.json` of the npm package @asyncapi/specs 6.11.1, without spaces;
Copyright 2016-2025 AsyncAPI Initiative, Apache-2.0."""


def specification() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json.loads(gzip.decompress(SCHEMA.read_bytes())))


def test_the_document_in_the_repository_is_what_the_code_makes() -> None:
    kept = json.loads((ROOT / "docs" / "asyncapi.json").read_text(encoding="utf-8"))
    assert kept == make_document(), "run `coeval asyncapi --out docs/asyncapi.json`"


def test_the_document_is_valid_asyncapi() -> None:
    specification().validate(make_document())


def test_a_document_with_an_unknown_key_is_not() -> None:
    document: dict[str, Any] = make_document() | {"topics": {}}
    assert not specification().is_valid(document)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.name)
def test_every_payload_has_a_valid_schema(message: Any) -> None:
    jsonschema.Draft7Validator.check_schema(message.payload or {})


def test_every_kind_of_event_that_is_told_is_in_the_document() -> None:
    assert set(get_args(EventKind)) == EVENTS.keys()


def test_topics_are_read_as_they_are_written() -> None:
    topics = Topics(session="s", prefix="p")
    for message in MESSAGES:
        if message.name not in ("server_state", "unsynchronised"):
            topic = message.topic.replace("{session}", "s").replace("{prefix}", "p")
            assert topics.parse(topic.replace("{", "").replace("}", "")) is not None, topic


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"--out: .*none.*cannot be written"):
        asyncapi_command.asyncapi(tmp_path / "none" / "asyncapi.json")
