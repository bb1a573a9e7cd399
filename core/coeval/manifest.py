"""What a recording's `recording.json` says, as checked objects; parsing and dumping, no I/O.

A parsed JSON object comes in, a `Manifest` goes out, or a `BadRecording` that names the key.
Keys this version does not know are kept in `extra` and written back as they were.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from coeval.errors import BadRecording
from coeval.samples import MODALITIES, Modality

FORMAT = "coeval-recording/1"

NOT_IN_AN_ID = re.compile(r"[/+#\x00-\x1f\x7f]")
"""An id is one level of an MQTT topic (MQTT 3.1.1, section 4.7): no separator, no wildcard."""

LARGEST_NUMBER = 4e9
"""Seconds, hertz or ppm: beyond this (126 years as seconds) it is another unit, and its
nanoseconds would not fit 64 bits."""

SLOWEST_HZ = 1e-6

Extra = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """One sensor on one node, and the file that holds its samples."""

    id: str
    """Name of the stream, unique in the recording."""
    node: str
    """The node whose clock stamped it."""
    modality: Modality
    """What kind of samples the file holds."""
    file: str
    """Path relative to the recording's folder."""
    t0_s: float | None = None
    """Video, audio: node time of the file's start; None: the node's clock starts with the file."""
    rate_hz: float | None = None
    """Video, audio: rate on the node's clock; None: the rate or the times the file states."""
    timestamps: str | None = None
    """Video, audio: a CSV of node times that replaces `t0_s` and `rate_hz`."""
    units: str | Mapping[str, str] | None = None
    """Units of the numeric channels: one text, or one a column."""
    extra: Extra = field(default_factory=dict)
    """Keys this version does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSpec:
    """A device with one clock."""

    id: str
    """Name of the node."""
    evidence: Mapping[str, str] = field(default_factory=dict)
    """Files of hardware or network evidence by kind (`pps`, `exchange`, `edges`)."""
    extra: Extra = field(default_factory=dict)
    """Keys this version does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthJump:
    """A step of a node's clock."""

    at_s: float
    """True seconds after the recording's start."""
    by_s: float
    """Size; positive: the node is faster afterwards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeTruth:
    """What a node's clock is known to be wrong by."""

    offset_s: float
    """node − truth at the recording's start; positive: the node is fast."""
    skew_ppm: float
    """Rate of the node minus one; positive: fast."""
    jumps: tuple[TruthJump, ...] = ()
    """Steps, in time order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What is known of the clocks; estimators never see it."""

    nodes: Mapping[str, NodeTruth]
    """Known errors by node; a node that is left out is unknown."""
    sigma_s: float | None
    """Standard deviation of what is known; None: not stated."""
    how: str
    """Where the knowledge comes from."""
    start_s: float | None = None
    """True time at which the offsets hold; None: the earliest stamp of the recording."""
    extra: Extra = field(default_factory=dict)
    """Keys this version does not know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A recording's contents."""

    name: str
    """Name of the recording."""
    licence: str | None
    """Licence of the data; None: not stated."""
    source: object
    """Where the data comes from, text or free JSON; None: not stated."""
    nodes: Mapping[str, NodeSpec]
    """Nodes by id, in the order listed; the first one is the default reference."""
    streams: tuple[StreamSpec, ...]
    """Streams in the order listed."""
    truth: Truth | None
    """What is known of the clocks, where anything is."""
    extra: Extra = field(default_factory=dict)
    """Keys this version does not know."""

    def stream(self, stream_id: str) -> StreamSpec:
        """The stream of that id.

        Raises:
            BadRecording: there is none; the message lists those there are.
        """
        for stream in self.streams:
            if stream.id == stream_id:
                return stream
        raise BadRecording(
            f"recording {self.name!r} has no stream {stream_id!r}; "
            f"its streams are {', '.join(s.id for s in self.streams)}"
        )

    def streams_of(self, node_id: str) -> tuple[StreamSpec, ...]:
        """The streams of one node.

        Raises:
            BadRecording: there is no such node; the message lists those there are.
        """
        if node_id not in self.nodes:
            raise BadRecording(
                f"recording {self.name!r} has no node {node_id!r}; "
                f"its nodes are {', '.join(self.nodes)}"
            )
        return tuple(stream for stream in self.streams if stream.node == node_id)


class _Fields:
    """A JSON object whose keys are taken one by one; what is left is `extra`."""

    def __init__(self, obj: object, *, where: str) -> None:
        if not isinstance(obj, dict):
            raise BadRecording(f"{where}: expected a JSON object, got {_kind(obj)}")
        self._left: dict[str, object] = dict(obj)
        self.where = where

    def take(self, key: str) -> object:
        """The value of a key, None where absent or null."""
        return self._left.pop(key, None)

    def text(self, key: str) -> str | None:
        value = self.take(key)
        if value is not None and not isinstance(value, str):
            raise BadRecording(f"{self.where}: {key!r} must be text, got {_kind(value)}")
        return value

    def required_text(self, key: str) -> str:
        value = self.text(key)
        if not value:
            raise BadRecording(f"{self.where}: {key!r} is missing; give it as non-empty text")
        return value

    def number(self, key: str) -> float | None:
        value = self.take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise BadRecording(f"{self.where}: {key!r} must be a number, got {_kind(value)}")
        if isinstance(value, int):
            value = float(max(min(value, 10**10), -(10**10)))  # a float holds no larger whole one
        if not math.isfinite(value) or abs(value) > LARGEST_NUMBER:
            raise BadRecording(
                f"{self.where}: {key!r} must be finite and within ±{LARGEST_NUMBER:g}, "
                f"got {value:g}"
            )
        return float(value)

    def required_number(self, key: str) -> float:
        value = self.number(key)
        if value is None:
            raise BadRecording(f"{self.where}: {key!r} is missing; give it as a number")
        return value

    def rest(self) -> dict[str, object]:
        return self._left


def _kind(value: object) -> str:
    """A JSON value's kind, for a message."""
    if value is None:
        return "null"
    names = {dict: "an object", list: "a list", str: "text", bool: "true/false"}
    return names.get(type(value), f"the number {value!r}")


def _check_id(value: str, *, where: str) -> str:
    """An id as it is, if it can be one level of a topic."""
    if not value or NOT_IN_AN_ID.search(value) or value in (".", ".."):
        raise BadRecording(
            f"{where}: id {value!r} must be non-empty, without '/', '+', '#' or control characters"
        )
    return value


def _parse_units(value: object, *, where: str) -> str | Mapping[str, str] | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict) and all(isinstance(unit, str) for unit in value.values()):
        return dict(value)
    raise BadRecording(f"{where}: 'units' must be text, or an object of text by column")


def _parse_stream(obj: object, *, where: str) -> StreamSpec:
    fields = _Fields(obj, where=where)
    stream_id = _check_id(fields.required_text("id"), where=where)
    fields.where = where = f"{where} ({stream_id!r})"
    modality = fields.required_text("modality")
    known = next((m for m in MODALITIES if m == modality), None)
    if known is None:
        raise BadRecording(
            f"{where}: unknown modality {modality!r}; expected one of {', '.join(MODALITIES)}"
        )
    rate_hz = fields.number("rate_hz")
    if rate_hz is not None and rate_hz < SLOWEST_HZ:
        raise BadRecording(f"{where}: 'rate_hz' must be positive, got {rate_hz:g}")
    return StreamSpec(
        id=stream_id,
        node=fields.required_text("node"),
        modality=known,
        file=fields.required_text("file"),
        t0_s=fields.number("t0_s"),
        rate_hz=rate_hz,
        timestamps=fields.text("timestamps"),
        units=_parse_units(fields.take("units"), where=where),
        extra=fields.rest(),
    )


def _parse_node(node_id: str, obj: object, *, where: str) -> NodeSpec:
    where = f"{where}: node {node_id!r}"
    fields = _Fields({} if obj is None else obj, where=where)
    evidence = fields.take("evidence")
    if isinstance(evidence, list) and all(isinstance(file, str) for file in evidence):
        evidence = {re.sub(r".*/|\.[^./]*$", "", file): file for file in evidence}
    if evidence is None:
        evidence = {}
    if not isinstance(evidence, dict) or not all(isinstance(f, str) for f in evidence.values()):
        raise BadRecording(f"{where}: 'evidence' must be an object of file names by kind")
    return NodeSpec(
        id=_check_id(node_id, where=where), evidence=dict(evidence), extra=fields.rest()
    )


def _parse_jump(obj: object, *, where: str) -> TruthJump:
    fields = _Fields(obj, where=where)
    return TruthJump(at_s=fields.required_number("at_s"), by_s=fields.required_number("by_s"))


def _parse_truth(obj: object, *, nodes: Mapping[str, NodeSpec], where: str) -> Truth:
    where = f"{where}: truth"
    fields = _Fields(obj, where=where)
    known: dict[str, NodeTruth] = {}
    stated = _Fields(fields.take("nodes") or {}, where=f"{where}: 'nodes'").rest()
    for node_id, node_obj in stated.items():
        if node_id not in nodes:
            raise BadRecording(f"{where} names the node {node_id!r}, which is not listed")
        at_node = f"{where} of node {node_id!r}"
        node = _Fields(node_obj, where=at_node)
        jumps = node.take("jumps") or []
        if not isinstance(jumps, list):
            raise BadRecording(f"{at_node}: 'jumps' must be a list")
        known[node_id] = NodeTruth(
            offset_s=node.required_number("offset_s"),
            skew_ppm=node.required_number("skew_ppm"),
            jumps=tuple(_parse_jump(jump, where=f"{at_node}: jump") for jump in jumps),
        )
    return Truth(
        nodes=known,
        sigma_s=fields.number("sigma_s"),
        how=fields.text("how") or "",
        start_s=fields.number("start_s"),
        extra=fields.rest(),
    )


def parse_manifest(obj: object, *, where: str) -> Manifest:
    """Check a parsed `recording.json`.

    Args:
        obj: what the JSON parser returned.
        where: the file's name, for messages.

    Raises:
        BadRecording: a key is missing or wrong, an id comes twice, a stream names a node that is
            not listed, or the format is of another version.
    """
    fields = _Fields(obj, where=where)
    version = fields.take("format")
    if version != FORMAT:
        raise BadRecording(
            f"{where}: format is {version!r}, this version reads {FORMAT!r}; "
            + ("update coeval" if str(version).startswith("coeval-recording/") else "set 'format'")
        )
    node_objs = _Fields(fields.take("nodes") or {}, where=f"{where}: 'nodes'").rest()
    nodes = {key: _parse_node(key, value, where=where) for key, value in node_objs.items()}
    stream_objs = fields.take("streams")
    if not isinstance(stream_objs, list) or not stream_objs:
        raise BadRecording(f"{where}: 'streams' must be a list of at least one stream")
    streams: dict[str, StreamSpec] = {}
    for number, stream_obj in enumerate(stream_objs, start=1):
        stream = _parse_stream(stream_obj, where=f"{where}: stream {number}")
        if stream.id in streams:
            raise BadRecording(f"{where}: two streams have the id {stream.id!r}; rename one")
        if stream.node not in nodes:
            raise BadRecording(
                f"{where}: stream {stream.id!r} names the node {stream.node!r}, which is not "
                f"among the nodes ({', '.join(nodes) or 'none'}); add it to 'nodes'"
            )
        streams[stream.id] = stream
    truth = fields.take("truth")
    return Manifest(
        name=fields.required_text("name"),
        licence=fields.text("licence"),
        source=fields.take("source"),
        nodes=nodes,
        streams=tuple(streams.values()),
        truth=None if truth is None else _parse_truth(truth, nodes=nodes, where=where),
        extra=fields.rest(),
    )


def _without_none(items: Mapping[str, object]) -> dict[str, object]:
    return {key: value for key, value in items.items() if value is not None}


def _truth_to_json(truth: Truth) -> dict[str, object]:
    nodes: dict[str, object] = {}
    for node_id, node in truth.nodes.items():
        jumps = [{"at_s": jump.at_s, "by_s": jump.by_s} for jump in node.jumps]
        nodes[node_id] = {"offset_s": node.offset_s, "skew_ppm": node.skew_ppm} | (
            {"jumps": jumps} if jumps else {}
        )
    known = {
        "nodes": nodes,
        "sigma_s": truth.sigma_s,
        "how": truth.how,
        "start_s": truth.start_s,
    }
    return _without_none(known) | dict(truth.extra)


def manifest_to_json(manifest: Manifest) -> dict[str, object]:
    """The object that `parse_manifest` reads back to an equal manifest."""
    nodes = {
        node.id: ({"evidence": dict(node.evidence)} if node.evidence else {}) | dict(node.extra)
        for node in manifest.nodes.values()
    }
    streams = [
        _without_none(
            {
                "id": stream.id,
                "node": stream.node,
                "modality": stream.modality,
                "file": stream.file,
                "t0_s": stream.t0_s,
                "rate_hz": stream.rate_hz,
                "timestamps": stream.timestamps,
                "units": stream.units,
            }
        )
        | dict(stream.extra)
        for stream in manifest.streams
    ]
    known = {
        "format": FORMAT,
        "name": manifest.name,
        "licence": manifest.licence,
        "source": manifest.source,
        "nodes": nodes,
        "streams": streams,
        "truth": None if manifest.truth is None else _truth_to_json(manifest.truth),
    }
    return _without_none(known) | dict(manifest.extra)
