"""A session as an MCAP file, as Foxglove opens it: JSON messages with a schema each.

A channel a stream, a channel a clock that says how well it was known, one of ticks, one of events.
A message's log time is its place on the timeline, moved by one constant to about UTC: by when the
reference's last block arrived. The file's metadata says by how much.
"""

import json
from pathlib import Path
from typing import Any

from mcap.writer import CompressionType, Writer

from coeval import __version__
from coeval_aggregator.export.content import Content
from coeval_aggregator.export.messages import Message, messages
from coeval_aggregator.export.tables import facts_of

NUMBER = {"type": ["number", "null"]}
WHOLE = {"type": ["integer", "null"]}
SCHEMAS: dict[str, dict[str, Any]] = {
    "coeval.Embedding": {
        "t_ref_ns": WHOLE,
        "t_node_ns": WHOLE,
        "ci95_s": NUMBER,
        "norm": NUMBER,
        "embedding": {"type": "array", "items": {"type": "number"}},
    },
    "coeval.Clock": {
        "t_ref_ns": WHOLE,
        "status": {"type": "string"},
        "offset_s": NUMBER,
        "skew_ppm": NUMBER,
        "ci95_s": NUMBER,
        "evidence": {"type": "array", "items": {"type": "string"}},
        "jumps": {
            "type": "array",
            "items": {"type": "object", "properties": {"at_s": NUMBER, "jump_s": NUMBER}},
        },
    },
    "coeval.Tick": {"t_ref_ns": WHOLE, "anomaly": NUMBER, "fused": {"type": ["string", "null"]}},
    "coeval.Event": {"t_ref_ns": WHOLE, "event": {"type": "string"}, "node": {"type": "string"}},
}


def write(content: Content, path: Path) -> None:
    """Write the file.

    Raises:
        OSError: the disk refuses.
    """
    ahead_ns = content.utc_of_zero_ns()
    with path.open("wb") as file:
        writer = Writer(file, compression=CompressionType.ZSTD)
        writer.start(library=f"coeval {__version__}")
        writer.add_metadata(
            "coeval", facts_of(content) | {"log_time_minus_t_ref_ns": str(ahead_ns)}
        )
        channels = Channels(writer, content)
        for message in messages(content):
            channels.add(message, log_time_ns=message.t_ref_ns + ahead_ns)
        writer.finish()  # type: ignore[no-untyped-call]


class Channels:
    """The channels of a file, made as they are needed."""

    def __init__(self, writer: Writer, content: Content) -> None:
        self._writer = writer
        self._schemas: dict[str, int] = {}
        self._channels: dict[str, int] = {}
        self._sent: dict[str, int] = {}
        self._facts = {
            f"/{run.name}": {
                "modality": run.modality or "",
                "descriptor": json.dumps(run.descriptor),
            }
            for run in content.runs()
        }

    def add(self, message: Message, *, log_time_ns: int) -> None:
        """Write a message; one before 1970 has no place in MCAP and is told at its beginning."""
        channel = self._channel(message.topic)
        sequence = self._sent.get(message.topic, 0)
        self._sent[message.topic] = sequence + 1
        at_ns = max(log_time_ns, 0)
        self._writer.add_message(
            channel_id=channel,
            log_time=at_ns,
            publish_time=at_ns,
            sequence=sequence,
            data=json.dumps(message.value, allow_nan=False).encode(),
        )

    def _channel(self, topic: str) -> int:
        if topic not in self._channels:
            self._channels[topic] = self._writer.register_channel(
                topic=topic,
                message_encoding="json",
                schema_id=self._schema(schema_of(topic)),
                metadata=self._facts.get(topic, {}),
            )
        return self._channels[topic]

    def _schema(self, name: str) -> int:
        if name not in self._schemas:
            schema = {"title": name, "type": "object", "properties": SCHEMAS[name]}
            self._schemas[name] = self._writer.register_schema(
                name=name, encoding="jsonschema", data=json.dumps(schema).encode()
            )
        return self._schemas[name]


def schema_of(topic: str) -> str:
    """The schema of a topic's messages."""
    known = {"/tick": "coeval.Tick", "/event": "coeval.Event"}
    if topic in known:
        return known[topic]
    return "coeval.Clock" if topic.startswith("/clock/") else "coeval.Embedding"
