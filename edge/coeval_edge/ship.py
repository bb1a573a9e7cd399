"""Publishing a set of encoders to a session's nodes: checked here first, retained on the broker.

What the nodes then make of it is waited for (`ship_answers`).
"""

import os
import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from coeval.broker_address import PASSWORD_VARIABLE, BrokerAddress
from coeval.errors import BadBlock, BadConfig, CoevalError, EncoderMismatch
from coeval.model_wire import (
    MOST_BYTES,
    ModelFile,
    SetNotice,
    decode_notice,
    encode_notice,
    file_of,
    parts_of,
)
from coeval.samples import MODALITIES, Modality
from coeval.topics import Topics
from coeval_edge.encoder import Encoder
from coeval_edge.model_screen import NotPlain, screen
from coeval_edge.ship_answers import Answers, NodeAnswer

CONNECT_S = 10.0
ACKNOWLEDGE_S = 30.0
RETAINED_S = 2.0
"""A retained message comes at once, or there is none."""
ANSWERS_S = 60.0
"""Within this a node has fetched and checked a set, also over a slow radio link."""
LOOK_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSet:
    """Five encoders that were trained together, as bytes."""

    notice: SetNotice
    """Names, hashes and lengths."""
    models: Mapping[Modality, bytes]
    """The files."""


def read_set(folder: Path, *, made: str) -> EncoderSet:
    """Read and check `<modality>.onnx` of every modality, as a node will.

    Args:
        folder: as `coeval export-encoders` or `coeval adapt` made it.
        made: of what it was made, for people.

    Raises:
        EncoderMismatch: a file is absent, cannot be used or would be refused, or the files are not
            of one set.
    """
    models: dict[Modality, bytes] = {}
    files: dict[Modality, ModelFile] = {}
    names: set[str] = set()
    for modality in MODALITIES:
        path = folder / f"{modality}.onnx"
        names.add(Encoder.load(modality, path).encoder_set)
        models[modality] = path.read_bytes()
        files[modality] = file_of(models[modality])
        try:
            screen(models[modality])
        except NotPlain as exc:
            raise EncoderMismatch(f"encoder {path}: {exc}; nodes would refuse it") from exc
        if len(models[modality]) > MOST_BYTES:
            raise EncoderMismatch(
                f"encoder {path}: {len(models[modality])} bytes, nodes take at most {MOST_BYTES}"
            )
    if len(names) != 1 or "" in names:
        raise EncoderMismatch(
            f"{folder}: expected encoders of one set, got {', '.join(sorted(names)) or 'none'}; "
            "export all of them again"
        )
    notice = SetNotice(encoder_set=names.pop(), files=files, made=made)
    return EncoderSet(notice=notice, models=models)


def ship(
    found: EncoderSet,
    *,
    address: BrokerAddress,
    topics: Topics,
    wait_s: float = 0.0,
    announced: Callable[[], None] = lambda: None,
) -> dict[str, NodeAnswer]:
    """Publish a set: its parts, then the notice; then clear the parts of the one before.

    Args:
        found: the set.
        address: of the broker.
        topics: of the session.
        wait_s: how long to wait for what the nodes make of it.
        announced: called when the set is published, before it is waited.

    Returns:
        By node that is online: what became of the set there.

    Raises:
        CoevalError: the broker is not there or does not take it.
    """
    answers = Answers(found.notice, topics)
    with _connected(address, listen=answers.take) as (client, received):
        before = _announced(client, received, topics)
        client.subscribe([(filter, 1) for filter in answers.filters])
        for modality in MODALITIES:
            sha256 = found.notice.files[modality].sha256
            for number, part in enumerate(parts_of(found.models[modality])):
                _publish(client, topics.model_part(sha256, number), part)
        _publish(client, topics.model_set, encode_notice(found.notice))
        kept = {file.sha256 for file in found.notice.files.values()}
        _clear(client, topics, before, kept=kept)
        announced()
        began_s = time.monotonic()
        while (waited_s := time.monotonic() - began_s) < wait_s:
            if answers.is_complete and waited_s >= min(RETAINED_S, wait_s):
                break
            time.sleep(LOOK_S)
    return answers.nodes


def withdraw(*, address: BrokerAddress, topics: Topics) -> bool:
    """Withdraw the set that is announced: nodes go back to what is installed. False: none was.

    Raises:
        CoevalError: the broker is not there.
    """
    with _connected(address) as (client, received):
        before = _announced(client, received, topics)
        _publish(client, topics.model_set, b"")
        _clear(client, topics, before, kept=set())
        return before is not None


def _clear(
    client: mqtt.Client, topics: Topics, notice: SetNotice | None, *, kept: set[str]
) -> None:
    if notice is None:
        return
    for file in {file.sha256: file for file in notice.files.values()}.values():
        for number in range(file.num_parts if file.sha256 not in kept else 0):
            _publish(client, topics.model_part(file.sha256, number), b"")


def _announced(
    client: mqtt.Client, received: "queue.Queue[bytes]", topics: Topics
) -> SetNotice | None:
    """The set that is announced now; None: none, or one that cannot be read."""
    granted = threading.Event()
    client.on_subscribe = lambda *_: granted.set()
    client.subscribe(topics.model_set, qos=1)
    granted.wait(ACKNOWLEDGE_S)
    try:
        return decode_notice(received.get(timeout=RETAINED_S), where="model/set")
    except (queue.Empty, BadBlock):
        return None


def _publish(client: mqtt.Client, topic: str, payload: bytes) -> None:
    said = client.publish(topic, payload, qos=1, retain=True)
    try:
        said.wait_for_publish(ACKNOWLEDGE_S)
    except (ValueError, RuntimeError) as exc:
        raise CoevalError(f"the broker did not take {topic}: {exc}") from exc
    if not said.is_published():
        raise CoevalError(
            f"the broker did not acknowledge {topic} within {ACKNOWLEDGE_S:g} s; does it allow "
            "messages of 64 kB, and may this user publish below model/?"
        )


@contextmanager
def _connected(
    address: BrokerAddress, *, listen: Callable[[str, bytes], None] = lambda *_: None
) -> "Iterator[tuple[mqtt.Client, queue.Queue[bytes]]]":
    """A connected client, and a queue of what is said on `model/set`; the rest goes to `listen`."""
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id=f"coeval-ship-{secrets.token_hex(6)}"
    )
    if address.user is not None:
        client.username_pw_set(address.user, os.environ.get(PASSWORD_VARIABLE))
    if address.tls:
        client.tls_set()
    answers: queue.Queue[str] = queue.Queue()
    received: queue.Queue[bytes] = queue.Queue()

    def on_connect(_c: mqtt.Client, _u: Any, _f: Any, reason: Any, _p: Any) -> None:
        answers.put(str(reason) if reason.is_failure else "")

    def on_message(_c: mqtt.Client, _u: Any, message: mqtt.MQTTMessage) -> None:
        if message.topic.endswith("/model/set"):
            received.put(bytes(message.payload))
        else:
            listen(message.topic, bytes(message.payload))

    client.on_connect, client.on_message = on_connect, on_message
    client.connect_timeout = CONNECT_S
    try:
        client.connect(address.host, address.port)
    except (OSError, ValueError) as exc:
        raise CoevalError(
            f"broker {address}: cannot be reached: {exc}; is it running? --broker names another"
        ) from exc
    client.loop_start()
    try:
        try:
            why = answers.get(timeout=CONNECT_S)
        except queue.Empty:
            why = "no answer"
        if why:
            raise CoevalError(
                f"broker {address}: does not let us in: {why}; the user is part of --broker, its "
                f"password in {PASSWORD_VARIABLE}"
            )
        yield client, received
    finally:
        client.disconnect()
        client.loop_stop()


def check_source(folder: Path | None, *, is_withdrawn: bool) -> Path | None:
    """The folder to ship, or None to withdraw.

    Raises:
        BadConfig: both or neither is asked for, or there is no such folder.
    """
    if is_withdrawn == (folder is not None):
        raise BadConfig("say a folder of encoders to ship, or --withdraw")
    if folder is not None and not folder.is_dir():
        raise BadConfig(f"{folder}: no such folder; make it with `coeval export-encoders --out`")
    return folder
