"""How a set of encoders travels to the nodes: a notice of five files, and the files in parts.

`{root}/model/set` (retained) is the notice: the set's name, and hash and length of every file.
`{root}/model/{sha256}/{k}` (retained) is part k of a file: brokers limit the length of a message.
One notice for all five, because only encoders of one set can be compared: a node takes all or none.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from coeval.errors import BadBlock
from coeval.samples import MODALITIES, Modality

PART_BYTES = 64 * 1024
"""Of every part but the last."""
MOST_BYTES = 1_000_000
"""Of one encoder; a longer one is refused before it is fetched."""
LONGEST_NOTICE = 16 * 1024
LONGEST_TEXT = 1000
SHA256 = re.compile("[0-9a-f]{64}")
SET_NAME = re.compile("[0-9a-f]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One encoder's file."""

    sha256: str
    """Hash of its bytes, hexadecimal."""
    num_bytes: int
    """Its length."""

    @property
    def num_parts(self) -> int:
        """Messages that it takes."""
        return -(-self.num_bytes // PART_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetNotice:
    """Which encoders a session's nodes are to use."""

    encoder_set: str
    """The name that each of the files tells as its own."""
    files: Mapping[Modality, ModelFile]
    """Every modality's."""
    made: str
    """Of what it was made, for people."""


def file_of(model: bytes) -> ModelFile:
    """What the notice says of a file."""
    return ModelFile(sha256=hashlib.sha256(model).hexdigest(), num_bytes=len(model))


def encode_notice(notice: SetNotice) -> bytes:
    """The payload of `model/set`."""
    return json.dumps(
        {
            "encoder_set": notice.encoder_set,
            "made": notice.made,
            "part_bytes": PART_BYTES,
            "encoders": {
                modality: {"sha256": file.sha256, "bytes": file.num_bytes}
                for modality, file in notice.files.items()
            },
        }
    ).encode()


def decode_notice(payload: bytes, *, where: str) -> SetNotice:
    """Read a notice; keys that are not needed are left alone.

    Raises:
        BadBlock: it is none, a modality is missing, or a file is longer than is allowed.
    """
    if len(payload) > LONGEST_NOTICE:
        raise BadBlock(f"{where}: expected at most {LONGEST_NOTICE} bytes, got {len(payload)}")
    try:
        value = json.loads(payload)
        name, made, listed = value["encoder_set"], value["made"], value["encoders"]
        if value["part_bytes"] != PART_BYTES:
            raise BadBlock(
                f"{where}: expected parts of {PART_BYTES} bytes, got {value['part_bytes']!r:.40}"
            )
        files = {m: _file(listed[m], where=f"{where}, {m}") for m in MODALITIES}
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise BadBlock(
            f"{where}: expected a set of {len(MODALITIES)} encoders, got {payload[:80]!r}"
        ) from exc
    if not isinstance(name, str) or not SET_NAME.fullmatch(name) or not isinstance(made, str):
        raise BadBlock(f"{where}: 'encoder_set' must be hexadecimal digits, got {name!r:.80}")
    return SetNotice(encoder_set=name, files=files, made=made[:LONGEST_TEXT])


def _file(value: Mapping[str, object], *, where: str) -> ModelFile:
    sha256, num_bytes = value["sha256"], value["bytes"]
    if not isinstance(sha256, str) or not SHA256.fullmatch(sha256):
        raise BadBlock(f"{where}: 'sha256' must be 64 hexadecimal digits, got {sha256!r:.80}")
    if type(num_bytes) is not int or not 0 < num_bytes <= MOST_BYTES:
        raise BadBlock(f"{where}: expected 1…{MOST_BYTES} bytes, got {num_bytes!r:.40}")
    return ModelFile(sha256=sha256, num_bytes=num_bytes)


def parts_of(model: bytes) -> list[bytes]:
    """A file as the payloads of its messages."""
    return [model[at : at + PART_BYTES] for at in range(0, len(model), PART_BYTES)]


@dataclass(slots=True)
class Assembly:
    """A file that comes in parts, in any order."""

    file: ModelFile
    """What it must become."""
    parts: dict[int, bytes] = field(default_factory=dict)
    """What has come, by number."""

    def take(self, part: int, payload: bytes) -> bytes | None:
        """Add a part; the file's bytes when they are whole and of the right hash, else None.

        Raises:
            BadBlock: no part of this file, or what came is another file than was announced.
        """
        last = self.file.num_parts - 1
        expected = PART_BYTES if part < last else self.file.num_bytes - last * PART_BYTES
        named = f"part {part} of model {self.file.sha256[:12]}"
        if not 0 <= part <= last or len(payload) != expected:
            raise BadBlock(
                f"{named}: expected part 0…{last} and {expected} bytes, got {len(payload)}"
            )
        self.parts[part] = payload
        if len(self.parts) < self.file.num_parts:
            return None
        whole = b"".join(self.parts[k] for k in range(self.file.num_parts))
        self.parts.clear()
        sha256 = hashlib.sha256(whole).hexdigest()
        if sha256 != self.file.sha256:
            raise BadBlock(
                f"model {self.file.sha256[:12]}: what came has the hash {sha256[:12]}; "
                "it was damaged or replaced on its way"
            )
        return whole
