"""What a node makes of announced encoders: all or nothing, checked, and remembered."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from coeval.errors import BadConfig
from coeval.model_wire import encode_notice, parts_of
from coeval.samples import MODALITIES, Modality
from coeval_edge.encoder import Encoder, shipped_model
from coeval_edge.model_exchange import NOTHING, ModelExchange, Step
from coeval_edge.model_screen import NotPlain, screen
from coeval_edge.model_store import ModelStore
from coeval_edge.ship import EncoderSet
from coeval_training.precision import reduced

from .encoder_sets import made_set, renamed, spoilt, spoilt_int8

AUDIO_TEXT: tuple[Modality, ...] = ("audio", "text")


def open_encoder(model: bytes, modality: Modality, where: str) -> Encoder:
    return Encoder.of(model, modality, where=where, provider="cpu")


def exchange_in(folder: Path) -> ModelExchange:
    return ModelExchange(ModelStore(folder), AUDIO_TEXT, open_encoder=open_encoder)


def announce(exchange: ModelExchange, found: EncoderSet) -> Step:
    return exchange.take(("set",), encode_notice(found.notice))


def send(exchange: ModelExchange, found: EncoderSet) -> list[Step]:
    """Announce a set and send all that is wanted of it; steps that say something."""
    steps = [announce(exchange, found)]
    for modality, model in found.models.items():
        sha256 = found.notice.files[modality].sha256
        if sha256 in exchange.wanted:
            parts = parts_of(model)
            steps += [exchange.take((sha256, str(k)), part) for k, part in enumerate(parts)]
    return [step for step in steps if step != NOTHING]


def taken(exchange: ModelExchange, found: EncoderSet) -> None:
    """Send a set, and switch to it."""
    (step,) = send(exchange, found)
    assert step.use == found.notice
    exchange.open_set(step.use)


def test_only_the_files_that_a_node_needs_are_fetched(tmp_path: Path) -> None:
    exchange, found = exchange_in(tmp_path), made_set("a1")
    assert announce(exchange, found) == NOTHING
    assert exchange.wanted == {found.notice.files[m].sha256 for m in AUDIO_TEXT}


def test_a_whole_set_is_used_and_a_restart_comes_up_with_it(tmp_path: Path) -> None:
    found = made_set("a1")
    taken(exchange_in(tmp_path), found)
    models, told = exchange_in(tmp_path).open_current()
    assert models == {m: found.models[m] for m in AUDIO_TEXT}
    assert told == []


def test_a_set_announced_again_is_not_fetched_again(tmp_path: Path) -> None:
    exchange, found = exchange_in(tmp_path), made_set("a1")
    taken(exchange, found)
    assert announce(exchange, found) == NOTHING
    assert exchange.wanted == frozenset()


def test_a_newer_announcement_ends_the_fetching_of_the_one_before(tmp_path: Path) -> None:
    exchange, first, second = exchange_in(tmp_path), made_set("a1"), made_set("b2")
    announce(exchange, first)
    announce(exchange, second)
    assert exchange.wanted == {second.notice.files[m].sha256 for m in AUDIO_TEXT}
    sha256 = first.notice.files["audio"].sha256
    for k, part in enumerate(parts_of(first.models["audio"])):
        assert exchange.take((sha256, str(k)), part) == NOTHING
    taken(exchange, second)


def other_operator(model: bytes) -> bytes:
    parsed = onnx.load_from_string(model)
    parsed.graph.node[-1].op_type = "RandomNormal"
    whole: bytes = parsed.SerializeToString()
    return whole


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (spoilt, "differ from its golden vectors"),
        (other_operator, "its operator b'RandomNormal' is none"),
        (lambda _: renamed("text", "0f"), "expected features"),
        (lambda _: renamed("audio", "0f"), "expected one of set b2, got one of 0f"),
        (lambda _: b"garbage", "not an ONNX file"),
    ],
    ids=["golden", "operator", "features", "set", "garbage"],
)
def test_a_bad_file_leaves_the_last_good_set_and_is_told_and_remembered(
    tmp_path: Path, change: Callable[[bytes], bytes], said: str
) -> None:
    exchange, good = exchange_in(tmp_path), made_set("a1")
    taken(exchange, good)
    bad = made_set("b2", change=change, only="audio")
    (step,) = send(exchange, bad)
    assert step.use is None
    assert step.tell is not None
    assert (step.tell["what"], step.tell["encoder_set"]) == ("refused", "b2")
    assert said in str(step.tell["reason"])
    again = exchange_in(tmp_path)
    assert again.current == good.notice
    told = announce(again, bad).tell
    assert told is not None
    assert told["what"] == "refused"
    assert said in str(told["reason"])
    assert again.wanted == frozenset()
    taken(again, made_set("b2"))  # another set of the same name is no bad one


def test_what_was_damaged_on_its_way_may_be_sent_again(tmp_path: Path) -> None:
    exchange, found = exchange_in(tmp_path), made_set("a1")
    announce(exchange, found)
    sha256 = found.notice.files["audio"].sha256
    parts = parts_of(found.models["audio"])
    parts[1] = parts[1][:-1] + bytes([parts[1][-1] ^ 1])
    steps = [exchange.take((sha256, str(k)), part) for k, part in enumerate(parts)]
    assert steps[-1].tell is not None
    assert "damaged or replaced" in str(steps[-1].tell["reason"])
    assert exchange.wanted == frozenset()
    taken(exchange, found)


@pytest.mark.parametrize("number", ["-1", "x", "99999", "²", ""])
def test_a_part_without_a_number_is_dropped(tmp_path: Path, number: str) -> None:
    exchange, found = exchange_in(tmp_path), made_set("a1")
    announce(exchange, found)
    sha256 = found.notice.files["audio"].sha256
    assert exchange.take((sha256, number), b"part") == NOTHING
    assert sha256 in exchange.wanted or number == "99999"


def test_a_notice_that_is_none_is_dropped(tmp_path: Path) -> None:
    exchange = exchange_in(tmp_path)
    assert exchange.take(("set",), b"{") == NOTHING
    assert exchange.take(("ab" * 32, "0"), b"x") == NOTHING


def test_a_withdrawn_set_brings_the_installed_encoders_back(tmp_path: Path) -> None:
    exchange, found = exchange_in(tmp_path), made_set("a1")
    assert exchange.take(("set",), b"") == NOTHING
    taken(exchange, found)
    assert exchange.take(("set",), b"").is_back_to_installed
    assert exchange.open_set(None) == {}
    assert exchange_in(tmp_path).open_current() == ({}, [])


def test_a_set_that_fails_while_it_runs_gives_way_to_the_one_before_for_good(
    tmp_path: Path,
) -> None:
    exchange, good, bad = exchange_in(tmp_path), made_set("a1"), made_set("b2")
    taken(exchange, good)
    taken(exchange, bad)
    told = exchange.roll_back("it failed")
    assert told == {"what": "rolled_back", "encoder_set": "b2", "reason": "it failed"}
    again = exchange_in(tmp_path)
    assert again.open_current()[0] == {m: good.models[m] for m in AUDIO_TEXT}
    (step,) = send(again, bad)
    assert step.tell == {
        "what": "refused",
        "encoder_set": "b2",
        "reason": "refused before: it failed",
    }


@pytest.mark.parametrize("damage", [b"", b"x" * 100, None])
def test_a_file_that_the_disk_damaged_is_not_used_at_the_next_start(
    tmp_path: Path, damage: bytes | None
) -> None:
    exchange, good, newer = exchange_in(tmp_path), made_set("a1"), made_set("b2")
    taken(exchange, good)
    taken(exchange, newer)
    path = tmp_path / f"{newer.notice.files['text'].sha256}.onnx"
    path.unlink() if damage is None else path.write_bytes(damage)
    again = exchange_in(tmp_path)
    models, told = again.open_current()
    assert models == {m: good.models[m] for m in AUDIO_TEXT}
    assert [event["what"] for event in told] == ["rolled_back"]
    taken(again, newer)  # nothing is wrong with the set: it is fetched again
    assert again.open_current() == ({m: newer.models[m] for m in AUDIO_TEXT}, [])


@pytest.mark.parametrize("state", ["", "{", "[]", "null", '{"current": 5, "previous": 1}'])
def test_a_state_that_cannot_be_read_means_the_installed_encoders(
    tmp_path: Path, state: str
) -> None:
    (tmp_path / "current.json").write_text(state)
    assert exchange_in(tmp_path).open_current() == ({}, [])


def test_files_of_sets_before_the_last_two_are_removed(tmp_path: Path) -> None:
    exchange = exchange_in(tmp_path)
    for name in ("a1", "b2", "c3"):
        taken(exchange, made_set(name))
    assert len(list(tmp_path.glob("*.onnx"))) == 4
    assert set(json.loads((tmp_path / "current.json").read_text())) == {
        "current",
        "previous",
        "refused",
    }


def test_a_folder_that_cannot_be_made_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadConfig, match=r"model_folder .* cannot be made"):
        ModelStore(tmp_path / "file" / "models")


def int8_set(*, change: Callable[[bytes], bytes] = lambda model: model) -> EncoderSet:
    """Those that ship as int8; `change` is made to the encoder of sound."""
    return made_set("a1", change=lambda model: change(reduced(model, "int8")))


def test_an_int8_set_is_taken_in_place_of_the_same_in_fp32(tmp_path: Path) -> None:
    exchange, exact = exchange_in(tmp_path), made_set("a1")
    taken(exchange, exact)
    small = int8_set()
    taken(exchange, small)
    models = exchange.open_set(small.notice)
    encoder = open_encoder(models["audio"], "audio", "x")
    assert (encoder.precision, encoder.encoder_set) == ("int8", "a1")
    assert encoder.original_sha256 == exact.notice.files["audio"].sha256
    assert len(models["audio"]) < 0.5 * len(exact.models["audio"])


def test_an_int8_set_that_answers_wrongly_leaves_the_last_good_one(tmp_path: Path) -> None:
    exchange, exact = exchange_in(tmp_path), made_set("a1")
    taken(exchange, exact)
    (step,) = send(exchange, int8_set(change=spoilt_int8))
    assert step.use is None
    assert step.tell is not None
    assert "differ from its golden vectors" in str(step.tell["reason"])
    assert exchange.current == exact.notice


@pytest.mark.parametrize("modality", MODALITIES)
def test_what_ships_is_plain(modality: Modality) -> None:
    screen(shipped_model(modality).read_bytes())


def network(node: Any, **graph: Any) -> bytes:
    put = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    model = helper.make_model(helper.make_graph([node], "g", [put], [out], **graph))
    whole: bytes = model.SerializeToString()
    return whole


def external() -> Any:
    tensor = numpy_helper.from_array(onnx.numpy_helper.np.zeros(4, "f4"), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return tensor


def branch() -> Any:
    inner = helper.make_graph([], "inner", [], [])
    return helper.make_node("Identity", ["x"], ["y"], then_branch=inner)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (network(helper.make_node("Loop", ["x"], ["y"])), "operator b'Loop'"),
        (network(helper.make_node("Add", ["x"], ["y"], domain="evil")), "domain b'evil'"),
        (network(branch()), "a graph of its own"),
        (
            network(helper.make_node("Identity", ["x"], ["y"]), initializer=[external()]),
            "another file",
        ),
        (network(helper.make_node("Constant", [], ["y"], value=external())), "another file"),
        (b"", "it has 0"),
        (b"\xff" * 50, "not an ONNX file"),
        (b"\x3a\xff\xff\xff\xff\x0f", "cut short"),
    ],
    ids=["loop", "domain", "branch", "external", "external constant", "empty", "junk", "short"],
)
def test_what_an_encoder_needs_not_is_refused_before_it_is_opened(model: bytes, said: str) -> None:
    with pytest.raises(NotPlain, match=said):
        screen(model)
