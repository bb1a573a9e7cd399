"""Sets of encoders on the wire: read back whole, or refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

from coeval.errors import BadBlock
from coeval.model_wire import (
    MOST_BYTES,
    PART_BYTES,
    Assembly,
    SetNotice,
    decode_notice,
    encode_notice,
    file_of,
    parts_of,
)
from coeval.samples import MODALITIES

MODEL = np.random.default_rng(1).bytes(2 * PART_BYTES + 77)
NOTICE = SetNotice(encoder_set="ab12", files={m: file_of(MODEL) for m in MODALITIES}, made="a test")
PAYLOAD = json.loads(encode_notice(NOTICE))
AUDIO = PAYLOAD["encoders"]["audio"]


def with_audio(**changed: object) -> dict[str, object]:
    return PAYLOAD | {"encoders": PAYLOAD["encoders"] | {"audio": AUDIO | changed}}


def test_a_notice_is_read_back() -> None:
    assert decode_notice(encode_notice(NOTICE), where="n") == NOTICE
    more = json.dumps(PAYLOAD | {"later": [1]}).encode()
    assert decode_notice(more, where="n") == NOTICE


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xff",
        b"[]",
        b"[" * 5000,
        b"3",
        json.dumps(PAYLOAD | {"encoder_set": "no hash"}).encode(),
        json.dumps(PAYLOAD | {"encoder_set": 5}).encode(),
        json.dumps(PAYLOAD | {"made": None}).encode(),
        json.dumps(PAYLOAD | {"part_bytes": 1}).encode(),
        json.dumps(PAYLOAD | {"encoders": {"audio": AUDIO}}).encode(),
        json.dumps(PAYLOAD | {"encoders": []}).encode(),
        json.dumps(with_audio(sha256="x" * 64)).encode(),
        json.dumps(with_audio(sha256="../../etc/passwd")).encode(),
        json.dumps(with_audio(bytes=0)).encode(),
        json.dumps(with_audio(bytes=True)).encode(),
        json.dumps(with_audio(bytes=MOST_BYTES + 1)).encode(),
        json.dumps(PAYLOAD | {"made": "x" * 20_000}).encode(),
    ],
    ids=range(17),
)
def test_what_is_no_notice_is_refused(payload: bytes) -> None:
    with pytest.raises(BadBlock, match=r"^model/set"):
        decode_notice(payload, where="model/set")


def test_parts_in_any_order_and_twice_become_the_file() -> None:
    parts = parts_of(MODEL)
    assert [len(part) for part in parts] == [PART_BYTES, PART_BYTES, 77]
    assert file_of(MODEL).num_parts == 3
    assembly = Assembly(file=file_of(MODEL))
    assert assembly.take(2, parts[2]) is None
    assert assembly.take(2, parts[2]) is None
    assert assembly.take(0, parts[0]) is None
    assert assembly.take(1, parts[1]) == MODEL


@pytest.mark.parametrize("length", [1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1])
def test_files_of_every_length_come_whole(length: int) -> None:
    model = MODEL[:length]
    assembly = Assembly(file=file_of(model))
    answers = [assembly.take(k, part) for k, part in enumerate(parts_of(model))]
    assert answers[-1] == model
    assert len(answers) == file_of(model).num_parts


@pytest.mark.parametrize(
    ("part", "payload"), [(3, MODEL[:77]), (-1, MODEL[:77]), (0, MODEL[:77]), (2, MODEL[:78])]
)
def test_a_part_of_another_file_is_refused(part: int, payload: bytes) -> None:
    with pytest.raises(BadBlock, match=rf"part {part} of model .* expected part 0…2"):
        Assembly(file=file_of(MODEL)).take(part, payload)


def test_a_file_of_another_hash_is_refused() -> None:
    assembly = Assembly(file=replace(file_of(MODEL), sha256="0" * 64))
    parts = parts_of(MODEL)
    assembly.take(0, parts[0])
    assembly.take(1, parts[1])
    with pytest.raises(BadBlock, match="damaged or replaced"):
        assembly.take(2, parts[2])
