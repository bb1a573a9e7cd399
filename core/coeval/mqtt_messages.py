"""Every message of a session as a table: its topic, whether it is kept, and the schema of its JSON.

In: nothing. Out: what `coeval.asyncapi` writes and what tests hold real messages to. The topics
come from `coeval.topics`, so that a topic is spelt in one place.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from coeval.model_wire import PART_BYTES
from coeval.oscillators import CLASSES
from coeval.samples import MODALITIES
from coeval.topics import AGGREGATOR, EventKind, Topics

Schema = dict[str, Any]
"""JSON Schema, draft 7."""

TOPICS = Topics(session="{session}", prefix="{prefix}")
"""Topics with the names of their levels in place of values."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One kind of message."""

    name: str
    """What the document calls it."""
    topic: str
    """Its topic; levels that vary are in braces."""
    says: str
    """What it says, in a sentence."""
    payload: Schema | None
    """Schema of its JSON; None: it is binary."""
    is_retained: bool = False
    """Whether the broker keeps it for those who come later."""
    qos: Literal[0, 1] = 1
    """With which it is published."""
    is_taken_from_anyone: bool = False
    """Whether any client may publish it, not only nodes and the aggregator."""


def record(*, optional: Mapping[str, Schema] | None = None, **required: Schema) -> Schema:
    """An object with these keys; others may be added in later versions."""
    return {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": sorted(required),
    }


def table(values: Schema) -> Schema:
    """An object with any keys and such values."""
    return {"type": "object", "additionalProperties": values}


def array(items: Schema) -> Schema:
    """A list of such items."""
    return {"type": "array", "items": items}


def one_of(*names: str) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": list(names)}


def says(schema: Schema, description: str) -> Schema:
    """A schema with words about it."""
    return {**schema, "description": description}


def or_null(schema: Schema) -> Schema:
    """Such a value, or null where it is unknown."""
    return {"oneOf": [schema, {"type": "null"}]}


TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
WHOLE: Schema = {"type": "integer"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
WIDTH: Schema = {"type": "number", "minimum": 0}
NANOSECONDS = says(WHOLE, "nanoseconds")
BOOT: Schema = says({"type": "string", "pattern": "^[0-9a-f]{16}$"}, "a run of a process")
HASH: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
MODALITY = one_of(*MODALITIES)
ENCODER_SET = says(TEXT, "name of the encoders that were trained together")

UTC = record(offset_s=says(NUMBER, "the node's clock − UTC"), ci95_s=WIDTH)

NODE_STATE = record(
    state=one_of("online", "offline"),
    node=TEXT,
    boot=BOOT,
    optional={
        "reason": says(TEXT, "why it is offline"),
        "software": TEXT,
        "streams": array(TEXT),
        "oscillator": one_of(*CLASSES),
        "accepts_models": FLAG,
    },
)

STREAM_FACTS = record(
    blocks=COUNT,
    duplicates=COUNT,
    late=COUNT,
    lost=COUNT,
    superseded=says(COUNT, "of an encoder that the node has replaced since"),
    refused=FLAG,
    irrelevant=or_null(TEXT),
    looks_like=or_null(TEXT),
)

AGGREGATOR_STATE = record(
    state=one_of("online", "offline"),
    node={"const": AGGREGATOR},
    boot=BOOT,
    optional={
        "reason": says(TEXT, "why it is offline"),
        "software": TEXT,
        "joined": says(TEXT, "changes when nodes are to send their last blocks again"),
        "degraded": says(array(TEXT), "what is wrong with it; empty: nothing"),
        "store": or_null(
            record(
                problem=or_null(TEXT),
                for_s=or_null(NUMBER),
                waiting=COUNT,
                held_back=COUNT,
                blocks=COUNT,
                known=COUNT,
                refused=COUNT,
                lost=COUNT,
            )
        ),
        "reference": says(or_null(TEXT), "the node whose clock is the timeline"),
        "counts": table(COUNT),
        "ticks": says(
            record(behind=COUNT, left_out=COUNT),
            "due and not told yet, as they are after an outage; and never told",
        ),
        "time": record(samples=table(COUNT), filter=table(COUNT), utc=or_null(UTC)),
        "streams": says(table(STREAM_FACTS), "by node/stream"),
        "pairs": says(
            array(record(first=TEXT, second=TEXT, kind=TEXT, accepted=FLAG, ci95_s=or_null(WIDTH))),
            "the evidence between two clocks",
        ),
        "sessions": says(array(TEXT), "the sessions it serves, where it serves all"),
    },
)

RELEVANCE = record(
    state=one_of("relevant", "irrelevant"),
    reason=or_null(TEXT),
    since_node_ns=NANOSECONDS,
    t_node_ns=NANOSECONDS,
    dropped=says(FLAG, "whether the node sends nothing of it meanwhile"),
)

DESCRIPTOR = record(
    stream=TEXT,
    modality=MODALITY,
    hop_ns=NANOSECONDS,
    dim=COUNT,
    encoder=record(
        id=TEXT,
        sha256=HASH,
        set=ENCODER_SET,
        from_seq=COUNT,
        optional={
            "adapted": or_null(
                record(
                    from_sha256=HASH,
                    matrix=says(TEXT, "base64 of little-endian float32, 16 × 16: e' = M·e"),
                )
            ),
            "reduced_from": says(or_null(HASH), "the fp32 file whose weights it keeps smaller"),
        },
    ),
    features=record(version=COUNT, dim=COUNT, sha256=TEXT),
    preprocessing=record(steps=array(TEXT), warm_up_s=WIDTH),
    units={"oneOf": [TEXT, table(TEXT), {"type": "null"}]},
    timestamps=says(TEXT, "where the stamps come from"),
    timing=or_null({"type": "object"}),
    boot=BOOT,
    optional={"recognised": or_null({"type": "object"}), "relevance": RELEVANCE},
)

CLOCK = record(
    node=TEXT,
    reference=says(TEXT, "the node whose clock is the timeline"),
    status=one_of("reference", "locked", "unsure", "unrelated"),
    t_ref_ns=says(WHOLE, "the instant of the timeline at which the offset holds, ns"),
    offset_s=says(or_null(NUMBER), "node − reference; positive: the node is fast; null: unknown"),
    skew_ppm=says(or_null(NUMBER), "rate against the reference, minus one"),
    ci95_s=says(or_null(WIDTH), "half-width of the offset's 95 % interval"),
    skew_ci95_ppm=or_null(WIDTH),
    evidence=says(array(TEXT), "kinds of evidence behind it"),
    jumps=array(record(at_s=NUMBER, jump_s=NUMBER)),
    holdover_s=says(or_null(NUMBER), "for how long nothing has confirmed it"),
    utc=or_null(UTC),
    sources=says(table(record(scale=NUMBER, trusted=FLAG)), "hardware and network, by source"),
)

UNSYNCHRONISED = record(
    streams=says(
        table(one_of("no_reference", "no_estimate", "unrelated")), "why not, by node/stream"
    ),
    num_streams=says(COUNT, "how many streams there are in all"),
)

TICK = record(
    t_ref=says(NUMBER, "the instant of the timeline, s"),
    t_ref_ns=says(WHOLE, "the same, ns"),
    streams=says(
        table(
            record(
                modality=MODALITY,
                t_node_ns=NANOSECONDS,
                norm=WIDTH,
                anomaly=says(or_null(NUMBER), "of this stream alone"),
                optional={"looks_like": says(MODALITY, "what its embeddings were found to be")},
            )
        ),
        "by node/stream",
    ),
    irrelevant=says(table(TEXT), "why a stream carries nothing, by node/stream"),
    anomaly=says(
        or_null(NUMBER),
        "log10 of the days between such false alarms of a calm session: 0 is once a day; "
        "null: nothing can be judged",
    ),
    suspect=says(or_null(TEXT), "the stream that is least as it should be"),
    alarm=says(or_null(FLAG), "whether an anomaly goes on; null: none is looked for"),
    fusion=says(one_of("hybrid", "early", "late", "mean"), "how `fused` was made"),
    fusion_why=says(or_null(TEXT), "why by the mean, where another fusion was wanted"),
    fused=says(or_null(TEXT), "base64 of little-endian float16"),
)

EVIDENCE = record(
    boot=BOOT,
    samples=array(
        {
            "oneOf": [
                record(
                    what={"const": "pps"},
                    t_node_ns=NANOSECONDS,
                    t_utc_ns=NANOSECONDS,
                    sigma_ns=WIDTH,
                    optional={"by": TEXT, "bias_sigma_ns": WIDTH},
                ),
                record(what={"const": "edge"}, line=TEXT, t_node_ns=NANOSECONDS, sigma_ns=WIDTH),
                record(
                    what={"const": "statement"},
                    by=TEXT,
                    t_node_ns=NANOSECONDS,
                    t_utc_ns=NANOSECONDS,
                    sigma_ns=WIDTH,
                    bias_sigma_ns=WIDTH,
                    optional={"of": TEXT},
                ),
                record(
                    what={"const": "exchange"},
                    **{
                        "with": TEXT,
                        "t1_ns": NANOSECONDS,
                        "t2_ns": NANOSECONDS,
                        "t3_ns": NANOSECONDS,
                        "t4_ns": NANOSECONDS,
                    },
                ),
            ]
        }
    ),
)

REQUEST = record(**{"from": TEXT, "id": WHOLE, "t1_ns": NANOSECONDS})
REPLY = record(
    **{"from": TEXT, "id": WHOLE, "t1_ns": NANOSECONDS, "t2_ns": NANOSECONDS, "t3_ns": NANOSECONDS}
)

ENCODERS = record(
    encoder_set=ENCODER_SET,
    made=TEXT,
    part_bytes={"const": PART_BYTES},
    encoders=record(**{m: record(sha256=HASH, bytes=COUNT) for m in MODALITIES}),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFacts:
    """What an event of one kind says."""

    says: str
    """In a sentence."""
    is_of_stream: bool
    """Whether it is about a stream, not about a node."""
    required: Mapping[str, Schema]
    """Its keys beside `event`, `node` and `stream`."""
    optional: Mapping[str, Schema]
    """Those that may be absent."""


def event(
    text: str,
    *,
    is_of_stream: bool = False,
    optional: Mapping[str, Schema] | None = None,
    **required: Schema,
) -> EventFacts:
    """What an event of one kind says."""
    return EventFacts(
        says=text, is_of_stream=is_of_stream, required=required, optional=optional or {}
    )


EVENTS: dict[str, EventFacts] = {
    "anomaly": event(
        "Streams are not as they should be, or are again; told at the one that is it least.",
        is_of_stream=True,
        state=one_of("begin", "end"),
        streams=says(array(TEXT), "all that passed the accepted rate so far, as node/stream"),
        anomaly=says(NUMBER, "the highest so far, as in a tick"),
        once_in_days=says(WIDTH, "the same in days: calm material alarms so once in so many"),
        false_alarms_per_day=says(WIDTH, "that the session accepts"),
        guaranteed_per_day=says(
            or_null(WIDTH), "the lowest rate that counted calm bears out; below it a tail is fitted"
        ),
        t_ref_ns=says(WHOLE, "when it was first seen, at the end: last seen, ns of the timeline"),
        duration_s=says(or_null(WIDTH), "between the two; null: it has only begun"),
    ),
    "gap": event("Blocks never came.", is_of_stream=True, blocks=COUNT, first_seq=COUNT),
    "jump": event(
        "The clock stepped.",
        jump_s=or_null(NUMBER),
        optional={"at_s": NUMBER, "source": or_null(TEXT)},
    ),
    "source": event(
        "Evidence of time is not what it claims.",
        what=TEXT,
        source=or_null(TEXT),
        size_s=or_null(NUMBER),
        scale=or_null(NUMBER),
    ),
    "contradiction": event(
        "Evidence between two clocks does not fit all other evidence.",
        against=TEXT,
        kind=TEXT,
        miss_s=NUMBER,
        sigmas=NUMBER,
    ),
    "unrelated": event(
        "Evidence is against the node belonging to this session.", reference=or_null(TEXT)
    ),
    "unsynchronised": event(
        "A stream is no longer known to be on the timeline, or is again.",
        is_of_stream=True,
        state=one_of("unsynchronised", "synchronised"),
        reason=or_null(TEXT),
    ),
    "duplicate": event("Two devices have this id.", used_boot=BOOT, ignored_boot=BOOT),
    "relevance": event(
        "A stream begins or ends to carry nothing.",
        is_of_stream=True,
        state=one_of("relevant", "irrelevant"),
        reason=or_null(TEXT),
        since_node_ns=NANOSECONDS,
        dropped=FLAG,
    ),
    "mislabelled": event(
        "A stream's embeddings are of another modality than its node states.",
        is_of_stream=True,
        stated=or_null(TEXT),
        looks_like=TEXT,
        probability=NUMBER,
    ),
    "refused": event(
        "A stream's encoder cannot be compared with the session's.",
        is_of_stream=True,
        encoder_sha256=TEXT,
        expected_sha256=or_null(TEXT),
        encoder_set=TEXT,
        expected_set=TEXT,
    ),
    "model": event(
        "A node took, refused or gave up a set of encoders.",
        what=one_of("switched", "refused", "rolled_back"),
        encoder_set=or_null(TEXT),
        optional={"reason": TEXT, "made": TEXT},
    ),
}
"""What is said of each kind."""


def event_message(kind: EventKind, facts: EventFacts) -> Message:
    """The message of one kind of event."""
    levels = ("{node}", "{stream}") if facts.is_of_stream else ("{node}",)
    named = {"event": {"const": kind}, "node": TEXT}
    if facts.is_of_stream:
        named["stream"] = TEXT
    return Message(
        name=f"event_{kind}",
        topic=TOPICS.event(kind, *levels),
        says=facts.says,
        payload=record(optional=facts.optional, **named, **facts.required),
    )


MESSAGES: tuple[Message, ...] = (
    Message(
        name="node_state",
        topic=TOPICS.state("{node}"),
        says="A node comes or goes; also its last will.",
        payload=NODE_STATE,
        is_retained=True,
    ),
    Message(
        name="aggregator_state",
        topic=TOPICS.state(AGGREGATOR),
        says="The aggregator's own state.",
        payload=AGGREGATOR_STATE,
        is_retained=True,
    ),
    Message(
        name="server_state",
        topic=f"{TOPICS.prefix}/state/{AGGREGATOR}",
        says="The state of an aggregator that serves every session.",
        payload=AGGREGATOR_STATE,
        is_retained=True,
    ),
    Message(
        name="descriptor",
        topic=TOPICS.descriptor("{node}", "{stream}"),
        says="What a stream is.",
        payload=DESCRIPTOR,
        is_retained=True,
    ),
    Message(
        name="block",
        topic=TOPICS.block("{node}", "{stream}"),
        says="Embeddings of a stream: a header of 48 bytes and float16 rows, little-endian.",
        payload=None,
    ),
    Message(
        name="clock",
        topic=TOPICS.clock("{node}"),
        says="The estimate of a node's clock.",
        payload=CLOCK,
        is_retained=True,
    ),
    Message(
        name="unsynchronised",
        topic=TOPICS.unsynchronised,
        says="The streams that are not known to be synchronised.",
        payload=UNSYNCHRONISED,
        is_retained=True,
    ),
    Message(
        name="tick",
        topic=TOPICS.aligned,
        says="What all streams say at one instant of the timeline.",
        payload=TICK,
        qos=0,
    ),
    Message(
        name="evidence",
        topic=TOPICS.evidence("{node}"),
        says="What a node measured of its clock; any client that publishes it is a source of time.",
        payload=EVIDENCE,
        is_taken_from_anyone=True,
    ),
    Message(
        name="time_request",
        topic=TOPICS.time_request("{node}"),
        says="A question for the time of a node, or of `aggregator`.",
        payload=REQUEST,
        is_taken_from_anyone=True,
    ),
    Message(
        name="time_reply",
        topic=TOPICS.time_reply("{node}"),
        says="An answer to a node that asked for the time.",
        payload=REPLY,
    ),
    Message(
        name="encoder_set",
        topic=TOPICS.model_set,
        says="Which encoders the nodes are to use; an empty message: those that are installed.",
        payload=ENCODERS,
        is_retained=True,
        is_taken_from_anyone=True,
    ),
    Message(
        name="encoder_part",
        topic=TOPICS.model_parts("{sha256}").removesuffix("+") + "{part}",
        says=f"A part of an encoder's ONNX file: {PART_BYTES} bytes, the last one fewer.",
        payload=None,
        is_retained=True,
        is_taken_from_anyone=True,
    ),
    *(event_message(kind, EVENTS[kind]) for kind in get_args(EventKind)),
)
"""Every message of a session."""
