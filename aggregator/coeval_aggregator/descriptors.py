"""What a node says about its streams, and which streams go together.

Only embeddings of encoders that were trained together can be compared: one set of encoders is used
in a session, in it one encoder for each modality, and streams of another are refused by name.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard

from coeval.adapted import Adapted
from coeval.errors import BadBlock
from coeval.samples import MODALITIES, Modality


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRelevance:
    """Whether a stream carries anything, as its node judges it."""

    is_relevant: bool
    """Whether it does."""
    reason: str | None
    """Why it does not: frozen, dark, silent, stuck, spam."""
    since_node_ns: int
    """Since when this is so, on the node's clock."""
    is_dropped: bool
    """Whether the node sends nothing of it meanwhile: its gap is no loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """A stream as its node describes it."""

    modality: Modality
    """What the stream senses."""
    encoder_sha256: str
    """Hash of the encoder's file."""
    boot_id: int
    """The run of the node that says so."""
    encoder_set: str = ""
    """Name of the encoders that it was trained with; empty: the node does not say."""
    first_seq: int = 0
    """Number of the first block of this run that is this encoder's."""
    adapted: Adapted | None = None
    """What the encoder was made from by adapting it to the session; None: it was not."""
    reduced_from: str | None = None
    """Hash of the fp32 file whose weights the encoder keeps smaller; None: they are as trained."""
    relevance: StreamRelevance | None = None
    """Whether the node found anything in it; None: it said nothing of that."""

    @property
    def original_sha256(self) -> str:
        """Hash of the encoder's file as trained: weights kept as fp16 or int8 answer the same."""
        return self.reduced_from or self.encoder_sha256


LONGEST_SET = LONGEST_HASH = 64

StreamKey = tuple[str, str]
"""Node and stream."""


def parse_object(payload: bytes, *, where: str) -> dict[str, Any]:
    """A JSON object.

    Raises:
        BadBlock: it is none.
    """
    try:
        value = json.loads(payload)
    except (ValueError, RecursionError) as exc:
        raise BadBlock(f"{where}: expected a JSON object, got {payload[:40]!r}") from exc
    if not isinstance(value, dict):
        raise BadBlock(f"{where}: expected a JSON object, got {payload[:40]!r}")
    return value


def parse_boot(value: object, *, where: str) -> int:
    """A boot id from its sixteen hexadecimal digits.

    Raises:
        BadBlock: it is none.
    """
    try:
        if isinstance(value, str) and len(value) == 16:
            return int(value, 16)
    except ValueError:
        pass
    raise BadBlock(f"{where}: 'boot' must be 16 hexadecimal digits, got {value!r:.60}")


def parse_descriptor(payload: bytes, *, where: str) -> Descriptor:
    """Read a descriptor; keys that are not needed here are left alone.

    Raises:
        BadBlock: it is no JSON object, or a key is missing or wrong.
    """
    value = parse_object(payload, where=where)
    modality = next((m for m in MODALITIES if m == value.get("modality")), None)
    if modality is None:
        raise BadBlock(
            f"{where}: unknown modality {value.get('modality')!r:.60}; "
            f"expected one of {', '.join(MODALITIES)}"
        )
    encoder = value.get("encoder")
    sha256 = encoder.get("sha256") if isinstance(encoder, dict) else None
    if not isinstance(encoder, dict) or not is_hash(sha256):
        raise BadBlock(f"{where}: 'encoder.sha256' must be a hash, got {sha256!r:.60}")
    encoder_set, first_seq = encoder.get("set", ""), encoder.get("from_seq", 0)
    reduced_from = encoder.get("reduced_from")
    if reduced_from is not None and not is_hash(reduced_from):
        raise BadBlock(f"{where}: 'encoder.reduced_from' must be a hash, got {reduced_from!r:.60}")
    if not isinstance(encoder_set, str) or len(encoder_set) > LONGEST_SET:
        raise BadBlock(f"{where}: 'encoder.set' must be a name, got {encoder_set!r:.60}")
    if type(first_seq) is not int or not 0 <= first_seq < 2**32:
        raise BadBlock(f"{where}: 'encoder.from_seq' must be a number, got {first_seq!r:.60}")
    return Descriptor(
        modality=modality,
        encoder_sha256=sha256,
        boot_id=parse_boot(value.get("boot"), where=where),
        encoder_set=encoder_set,
        first_seq=first_seq,
        adapted=Adapted.from_json(encoder.get("adapted")),
        reduced_from=reduced_from,
        relevance=parse_relevance(value.get("relevance")),
    )


def is_hash(value: object) -> TypeGuard[str]:
    """Whether it may be a file's hash."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_HASH


def parse_relevance(value: object) -> StreamRelevance | None:
    """What a node says of a stream's relevance; None where it says nothing that can be read."""
    if not isinstance(value, dict) or value.get("state") not in ("relevant", "irrelevant"):
        return None
    reason, since = value.get("reason"), value.get("since_node_ns")
    return StreamRelevance(
        is_relevant=value["state"] == "relevant",
        reason=reason[:40] if isinstance(reason, str) else None,
        since_node_ns=since if isinstance(since, int) and abs(since) < 2**62 else 0,
        is_dropped=value.get("dropped") is True,
    )


def expected_set(descriptors: Mapping[StreamKey, Descriptor], *, reference: str | None) -> str:
    """The set of encoders that counts: the reference node's, else the most used, else the first.

    Args:
        descriptors: all streams, in the order they were first seen.
        reference: the reference node.
    """
    own = [d.encoder_set for (node, _), d in descriptors.items() if node == reference]
    named: Iterable[str] = own or (d.encoder_set for d in descriptors.values())
    counted = Counter(named).most_common(1)
    return counted[0][0] if counted else ""


def expected_encoders(
    descriptors: Mapping[StreamKey, Descriptor], *, reference: str | None
) -> dict[Modality, str]:
    """The encoder of each modality: the reference node's, else the most used, else the first.

    Encoders that differ in nothing but how their weights are kept are one (docs/decisions/0052).

    Args:
        descriptors: all streams, in the order they were first seen.
        reference: the reference node.
    """
    chosen: dict[Modality, str] = {}
    for modality in MODALITIES:
        of_modality = {k: d for k, d in descriptors.items() if d.modality == modality}
        own = [d.original_sha256 for (node, _), d in of_modality.items() if node == reference]
        hashes: Iterable[str] = own or (d.original_sha256 for d in of_modality.values())
        counted = Counter(hashes).most_common(1)
        if counted:
            chosen[modality] = counted[0][0]
    return chosen
