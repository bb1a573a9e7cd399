"""MCAP logs (Foxglove, ROS), by mcap: topics of JSON messages.

Numbers inside a message become columns (`pose.position.x`), a message with text and no numbers a
line, a compressed picture a still. Topics in other encodings are named in the notes.
"""

import base64
import binascii
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from mcap.exceptions import McapError
from mcap.reader import make_reader

from coeval.errors import BadRecording
from coeval.samples import TextLine
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.recording_writer import RecordingWriter

PICTURE_SUFFIXES = {"jpeg": ".jpg", "jpg": ".jpg", "png": ".png", "webp": ".webp"}
MAX_COLUMNS = 256
"""A message with more numbers is an array of data (a scan, a map), not a set of channels."""

TEXT_FIELDS = ("message", "msg", "text", "data", "event")


@dataclass(slots=True, kw_only=True)
class Topic:
    """What the messages of one topic gave."""

    rows: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    """Numbers of each message by column, with its time."""
    lines: list[TextLine] = field(default_factory=list)
    """Lines of text."""
    stills: list[tuple[int, bytes, str]] = field(default_factory=list)
    """Pictures: time, bytes, suffix."""
    num_broken: int = 0
    """Messages that are no JSON object, or have too many numbers."""


def import_file(path: Path, writer: RecordingWriter) -> None:
    """Add an MCAP file; one recorder, one node.

    Raises:
        BadRecording: it is no MCAP file, or broken.
    """
    topics: dict[str, Topic] = {}
    left_out: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            for _, channel, message in make_reader(file).iter_messages():
                if channel.message_encoding != "json":
                    left_out[channel.topic] = channel.message_encoding
                    continue
                topic = topics.setdefault(channel.topic, Topic())
                take(topic, message.data, t_ns=message.publish_time or message.log_time)
    except (McapError, OSError, ValueError, EOFError) as exc:
        raise BadRecording(f"{path}: cannot be read as MCAP: {exc}") from exc
    node = writer.add_node(path.stem)
    for name, encoding in left_out.items():
        writer.notes.append(f"{name}: left out, its messages are {encoding or 'of no encoding'}")
    for name, topic in topics.items():
        _add(writer, node, name.strip("/").replace("/", "_"), topic)


def take(topic: Topic, data: bytes, *, t_ns: int) -> None:
    """Take one JSON message; a stamp inside it is the sample's own and wins over `t_ns`."""
    try:
        message = json.loads(data)
    except ValueError:
        message = None
    if not isinstance(message, dict):
        topic.num_broken += 1
        return
    t_ns = stamp_inside(message) or t_ns
    picture = _picture(message)
    if picture is not None:
        topic.stills.append((t_ns, *picture))
        return
    numbers = dict(flat_numbers(message))
    if len(numbers) > MAX_COLUMNS:
        topic.num_broken += 1
    elif numbers and not any(isinstance(message.get(key), str) for key in TEXT_FIELDS):
        topic.rows.append((t_ns, numbers))
    else:
        texts = [message[key] for key in TEXT_FIELDS if isinstance(message.get(key), str)]
        text = texts[0] if texts else json.dumps(message, ensure_ascii=False)
        topic.lines.append(TextLine(t_node_ns=NodeNs(t_ns), t_end_node_ns=None, text=text))


def stamp_inside(message: dict[str, Any]) -> int | None:
    """The stamp of a Foxglove (`timestamp`) or ROS (`header.stamp`) message, in ns; else None."""
    header = message.get("header")
    for stamp in (message.get("timestamp"), header.get("stamp") if isinstance(header, dict) else 0):
        if isinstance(stamp, dict) and isinstance(stamp.get("sec"), int):
            part = next((stamp[key] for key in ("nsec", "nanosec") if key in stamp), 0)
            if isinstance(part, int) and (stamp["sec"] or part):
                return int(stamp["sec"]) * NS_PER_S + part
    return None


def flat_numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number in a message with its path; stamps are no channels."""
    if isinstance(value, bool | int | float):
        yield name or "value", float(value)
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key not in ("timestamp", "stamp"):
                yield from flat_numbers(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from flat_numbers(inner, f"{name}[{number}]")


def _picture(message: dict[str, Any]) -> tuple[bytes, str] | None:
    """Bytes and suffix of a foxglove.CompressedImage; None where the message is none."""
    suffix = PICTURE_SUFFIXES.get(str(message.get("format", "")).lower())
    data = message.get("data")
    if suffix is None or not isinstance(data, str):
        return None
    try:
        return base64.b64decode(data, validate=True), suffix
    except binascii.Error:
        return None


def _add(writer: RecordingWriter, node: str, name: str, topic: Topic) -> None:
    if topic.num_broken:
        writer.notes.append(f"{name}: {topic.num_broken} messages could not be flattened; left out")
    if topic.rows:
        columns = list(dict.fromkeys(key for _, row in topic.rows for key in row))
        t_ns = np.array([t for t, _ in topic.rows], dtype=np.int64)
        values = np.array([[row.get(key, np.nan) for key in columns] for _, row in topic.rows])
        writer.add_metadata(node, name, t_ns=t_ns, values=values, columns=columns)
    if topic.lines:
        writer.add_text(node, f"{name}_text" if topic.rows else name, topic.lines)
    if topic.stills:
        writer.add_stills(node, name, topic.stills)
