"""Messages about time between nodes and aggregator: JSON both ways, bounded, never trusted.

`time/{node}/evidence` carries what a node measured; `time/{node}/request` and `…/reply` are the two
halves of a two-way exchange. All times are integer nanoseconds.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from coeval.errors import BadBlock, BadConfig
from coeval.evidence import UTC
from coeval.network import Exchange
from coeval.topics import check_id

MOST_SAMPLES = 1000
LARGEST_NS = 2**62
LARGEST_SIGMA_NS = 1e12
MOST_BYTES = 200_000
GRANDMASTER = "@ptp-"


@dataclass(frozen=True, slots=True, kw_only=True)
class PpsSample:
    """An edge that marks a known second of UTC."""

    t_node_ns: int
    """When the node stamped it."""
    t_utc_ns: int
    """The second."""
    sigma_ns: float
    """Noise of the stamp, 1 σ."""
    bias_sigma_ns: float = 0.0
    """Error that all its stamps share beyond a kernel line's own, 1 σ."""
    by: str = "pps"
    """What stamped it: the kernel's line, or a probe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSample:
    """An edge of an electrical line that other nodes stamp too."""

    line: str
    """The line's name in the session."""
    t_node_ns: int
    """When the node stamped it."""
    sigma_ns: float
    """Noise of the stamp, 1 σ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementSample:
    """What a time service on the node says of UTC, or of another clock that it follows."""

    by: str
    """The service: chrony, ptp4l, nmea."""
    t_node_ns: int
    """A reading of the node's clock."""
    t_utc_ns: int
    """That clock at that instant, as the service has it."""
    sigma_ns: float
    """Noise, 1 σ."""
    bias_sigma_ns: float
    """Error that all its statements share, 1 σ."""
    of: str = UTC
    """The clock that it speaks of: UTC, or `@ptp-` and the identity of a grandmaster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeSample:
    """A two-way exchange that the node finished."""

    other: str
    """The other end: a node, or SERVER."""
    exchange: Exchange
    """Its four times."""


TimeSample = PpsSample | EdgeSample | StatementSample | ExchangeSample


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceMessage:
    """What a node measured."""

    boot_id: int
    """The run of the node whose clock this is."""
    samples: tuple[TimeSample, ...]
    """In the order in which they were measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRequest:
    """A question for the time."""

    asker: str
    """The node that asks."""
    number: int
    """Names the question in the answer."""
    t1_ns: int
    """When it was sent, the asker's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeReply:
    """An answer."""

    answerer: str
    """Who answers."""
    number: int
    """Of the question."""
    t1_ns: int
    """As in the question."""
    t2_ns: int
    """When it was received, the answerer's clock."""
    t3_ns: int
    """When it was answered."""


def encode_evidence(message: EvidenceMessage) -> bytes:
    """A message as JSON."""
    return json.dumps(
        {
            "boot": f"{message.boot_id:016x}",
            "samples": [sample_to_json(sample) for sample in message.samples],
        },
        allow_nan=False,
    ).encode()


def sample_to_json(sample: TimeSample) -> dict[str, object]:
    """One sample as JSON."""
    match sample:
        case PpsSample():
            return {
                "what": "pps",
                "by": sample.by,
                "t_node_ns": sample.t_node_ns,
                "t_utc_ns": sample.t_utc_ns,
                "sigma_ns": sample.sigma_ns,
                "bias_sigma_ns": sample.bias_sigma_ns,
            }
        case EdgeSample():
            return {
                "what": "edge",
                "line": sample.line,
                "t_node_ns": sample.t_node_ns,
                "sigma_ns": sample.sigma_ns,
            }
        case StatementSample():
            return {
                "what": "statement",
                "by": sample.by,
                "of": sample.of,
                "t_node_ns": sample.t_node_ns,
                "t_utc_ns": sample.t_utc_ns,
                "sigma_ns": sample.sigma_ns,
                "bias_sigma_ns": sample.bias_sigma_ns,
            }
        case ExchangeSample():
            times = sample.exchange
            return {
                "what": "exchange",
                "with": sample.other,
                "t1_ns": times.t1_ns,
                "t2_ns": times.t2_ns,
                "t3_ns": times.t3_ns,
                "t4_ns": times.t4_ns,
            }


def decode_evidence(payload: bytes, *, where: str) -> EvidenceMessage:
    """Read a message.

    Raises:
        BadBlock: it is no JSON of this shape, or a number lies outside what can be.
    """
    value = read_object(payload, where=where)
    boot, samples = value.get("boot"), value.get("samples")
    if not isinstance(boot, str) or len(boot) != 16:
        raise BadBlock(f"{where}: boot must be 16 hexadecimal digits, got {boot!r:.60}")
    try:
        boot_id = int(boot, 16)
    except ValueError as exc:
        raise BadBlock(f"{where}: boot must be 16 hexadecimal digits, got {boot!r:.60}") from exc
    if not isinstance(samples, list) or len(samples) > MOST_SAMPLES:
        raise BadBlock(f"{where}: samples must be a list of at most {MOST_SAMPLES}")
    return EvidenceMessage(
        boot_id=boot_id,
        samples=tuple(
            read_sample(sample, where=f"{where}, sample {k}") for k, sample in enumerate(samples)
        ),
    )


def read_sample(value: object, *, where: str) -> TimeSample:
    """One sample from JSON.

    Raises:
        BadBlock: it is none.
    """
    if not isinstance(value, dict):
        raise BadBlock(f"{where}: expected an object, got {value!r:.60}")
    match value.get("what"):
        case "pps":
            return PpsSample(
                t_node_ns=read_ns(value, "t_node_ns", where=where),
                t_utc_ns=read_ns(value, "t_utc_ns", where=where),
                sigma_ns=read_sigma(value, "sigma_ns", where=where, least=1e-3),
                bias_sigma_ns=read_sigma(value, "bias_sigma_ns", where=where, least=0.0)
                if "bias_sigma_ns" in value
                else 0.0,
                by=read_id(value, "by", where=where) if "by" in value else "pps",
            )
        case "edge":
            return EdgeSample(
                line=read_id(value, "line", where=where),
                t_node_ns=read_ns(value, "t_node_ns", where=where),
                sigma_ns=read_sigma(value, "sigma_ns", where=where, least=1e-3),
            )
        case "statement":
            return StatementSample(
                by=read_id(value, "by", where=where),
                t_node_ns=read_ns(value, "t_node_ns", where=where),
                t_utc_ns=read_ns(value, "t_utc_ns", where=where),
                sigma_ns=read_sigma(value, "sigma_ns", where=where, least=1e-3),
                bias_sigma_ns=read_sigma(value, "bias_sigma_ns", where=where, least=0.0),
                of=read_stated_clock(value, where=where),
            )
        case "exchange":
            return ExchangeSample(
                other=read_id(value, "with", where=where),
                exchange=Exchange(
                    t1_ns=read_ns(value, "t1_ns", where=where),
                    t2_ns=read_ns(value, "t2_ns", where=where),
                    t3_ns=read_ns(value, "t3_ns", where=where),
                    t4_ns=read_ns(value, "t4_ns", where=where),
                ),
            )
        case what:
            raise BadBlock(
                f"{where}: what must be pps, edge, statement or exchange, got {what!r:.60}"
            )


def encode_request(request: TimeRequest) -> bytes:
    """A question as JSON."""
    value = {"from": request.asker, "id": request.number, "t1_ns": request.t1_ns}
    return json.dumps(value).encode()


def decode_request(payload: bytes, *, where: str) -> TimeRequest:
    """Read a question.

    Raises:
        BadBlock: it is none.
    """
    value = read_object(payload, where=where)
    return TimeRequest(
        asker=read_id(value, "from", where=where),
        number=read_ns(value, "id", where=where),
        t1_ns=read_ns(value, "t1_ns", where=where),
    )


def encode_reply(reply: TimeReply) -> bytes:
    """An answer as JSON."""
    value = {
        "from": reply.answerer,
        "id": reply.number,
        "t1_ns": reply.t1_ns,
        "t2_ns": reply.t2_ns,
        "t3_ns": reply.t3_ns,
    }
    return json.dumps(value).encode()


def decode_reply(payload: bytes, *, where: str) -> TimeReply:
    """Read an answer.

    Raises:
        BadBlock: it is none.
    """
    value = read_object(payload, where=where)
    return TimeReply(
        answerer=read_id(value, "from", where=where),
        number=read_ns(value, "id", where=where),
        t1_ns=read_ns(value, "t1_ns", where=where),
        t2_ns=read_ns(value, "t2_ns", where=where),
        t3_ns=read_ns(value, "t3_ns", where=where),
    )


def read_object(payload: bytes, *, where: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        BadBlock: it is none, or too long to be one of ours.
    """
    if len(payload) > MOST_BYTES:
        raise BadBlock(f"{where}: {len(payload)} bytes, at most {MOST_BYTES} expected")
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise BadBlock(f"{where}: no JSON: {payload[:40]!r}") from exc
    if not isinstance(value, dict):
        raise BadBlock(f"{where}: expected a JSON object, got {value!r:.60}")
    return value


def read_ns(value: dict[str, Any], key: str, *, where: str) -> int:
    """An integer that can be nanoseconds.

    Raises:
        BadBlock: it is none.
    """
    found = value.get(key)
    if type(found) is not int or abs(found) > LARGEST_NS:
        raise BadBlock(f"{where}: {key} must be an integer within ±2^62, got {found!r:.60}")
    return found


def read_sigma(value: dict[str, Any], key: str, *, where: str, least: float) -> float:
    """A number that can be a standard deviation in ns.

    Raises:
        BadBlock: it is none.
    """
    found = value.get(key)
    if type(found) not in (int, float) or not least <= found <= LARGEST_SIGMA_NS:  # type: ignore[operator]
        raise BadBlock(
            f"{where}: {key} must be a number from {least:g} to {LARGEST_SIGMA_NS:g}, "
            f"got {found!r:.60}"
        )
    return float(found)  # type: ignore[arg-type]


def read_id(value: dict[str, Any], key: str, *, where: str) -> str:
    """A name that can be a topic level.

    Raises:
        BadBlock: it is none.
    """
    found = value.get(key)
    try:
        return check_id(found if isinstance(found, str) else "", what=key)
    except BadConfig as exc:
        raise BadBlock(f"{where}: {exc}") from exc


def read_stated_clock(value: dict[str, Any], *, where: str) -> str:
    """The clock that a statement is of: UTC where it names none.

    Raises:
        BadBlock: it is neither UTC nor a grandmaster.
    """
    if "of" not in value:
        return UTC
    found = read_id(value, "of", where=where)
    if found != UTC and not found.startswith(GRANDMASTER):
        raise BadBlock(f"{where}: of must be {UTC} or begin with {GRANDMASTER}, got {found!r:.60}")
    return found


def batches(samples: Sequence[TimeSample], *, boot_id: int) -> list[EvidenceMessage]:
    """Samples in messages of bounded length."""
    return [
        EvidenceMessage(boot_id=boot_id, samples=tuple(samples[k : k + MOST_SAMPLES]))
        for k in range(0, len(samples), MOST_SAMPLES)
    ]
