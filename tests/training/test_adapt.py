"""Adaptation: it helps where there is something to learn, and says so where there is not."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import typer
from typer.testing import CliRunner

from coeval.errors import CoevalError, EncoderMismatch, NotEnoughEvidence
from coeval.features import DIMS
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.samples import MODALITIES, FloatArray, Modality
from coeval.time import ClockLine, NodeNs, RefNs
from coeval_edge.encoder import WINDOW_HOPS, Encoder
from coeval_edge.ship import read_set
from coeval_training import adapt as adapting
from coeval_training import adapt_command
from coeval_training.adapt import Adaptation, HistoryStream, adapt, cut_windows, identity
from coeval_training.adapted_set import adapted_set
from coeval_training.export import export_one, set_of
from coeval_training.precision import reduced
from coeval_training.train import Encoders

torch.set_num_threads(1)

NUM_HOPS = 6400
"""320 s."""
CLOCK_B = ClockLine(t0_ref_ns=RefNs(0), offset_ns=7.33e9, skew_ppb=80_000.0)
CLOCK_A = ClockLine(t0_ref_ns=RefNs(0), offset_ns=0.0, skew_ppb=0.0)


def rows_of(shown: FloatArray, rng: np.random.Generator, *, louder: float) -> FloatArray:
    """Embeddings that show something in their first two columns, and louder noise in the others."""
    rows = (rng.normal(size=(len(shown), EMBEDDING_DIM)) * louder).astype(np.float32)
    rows[:, :2] = 0.35 * shown + 0.05 * rng.normal(size=shown.shape)
    return rows


def made_session(*, is_related: bool, louder: float = 0.35) -> dict[str, HistoryStream]:
    """Two streams on two clocks that show the same, in noise that the encoders do not know."""
    rng = np.random.default_rng(8)
    seen = rng.normal(size=(NUM_HOPS, 2)) * (rng.uniform(size=(NUM_HOPS, 1)) < 0.2)
    other = seen if is_related else rng.permutation(seen)
    first_b = int(CLOCK_B.to_node(RefNs(0))) // HOP_NS
    at_b = np.array(
        [int(CLOCK_B.to_ref(NodeNs((first_b + k) * HOP_NS))) / HOP_NS for k in range(NUM_HOPS)]
    )
    shown_b = np.stack([np.interp(at_b, np.arange(NUM_HOPS), column) for column in other.T], 1)
    a = Hops(t0_node_ns=NodeNs(0), rows=rows_of(seen, rng, louder=louder))
    b = Hops(t0_node_ns=NodeNs(first_b * HOP_NS), rows=rows_of(shown_b, rng, louder=louder))
    return {
        "cam/video": HistoryStream(modality="video", runs=[a], clock=CLOCK_A),
        "mic/audio": HistoryStream(modality="audio", runs=[b], clock=CLOCK_B),
    }


@pytest.fixture(scope="module")
def helped() -> Adaptation:
    return adapt(made_session(is_related=True))


def test_what_the_encoders_do_not_know_of_a_session_is_learnt(helped: Adaptation) -> None:
    assert helped.verdict == ""
    assert helped.gain_nats > 0.2
    assert helped.gain_sigmas > 2
    assert helped.null_growth <= adapting.MOST_NULL
    (pair,) = helped.pairs
    assert pair.pair == "cam/video–mic/audio"
    assert pair.nats_after < pair.nats_before
    assert pair.within_100ms_after >= pair.within_100ms_before
    assert set(helped.matrices) == {"video", "audio"}
    for matrix in helped.matrices.values():  # what tells is louder than what does not
        telling, noise = matrix[:2, :2].abs().max(), matrix[2:, 2:].diagonal().abs().mean()
        assert telling > 1.2 * noise


def test_streams_that_share_nothing_teach_nothing() -> None:
    found = adapt(made_session(is_related=False))
    assert "not told apart better for sure" in found.verdict


def test_a_matrix_that_only_makes_everything_louder_is_no_gain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def louder(windows: adapting.Windows, *_: object) -> adapting.Matrices:
        return {m: 1.7 * matrix for m, matrix in identity(windows).items()}

    monkeypatch.setattr(adapting, "learn", louder)
    found = adapt(made_session(is_related=True))
    assert found.verdict
    assert abs(found.gain_nats) < 0.2


def test_right_lags_must_not_be_lost_for_a_better_likelihood(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapting, "MOST_LOST", -200.0)
    found = adapt(made_session(is_related=True))
    assert "fewer lags would be right" in found.verdict


def test_unrelated_windows_must_not_score_higher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapting, "MOST_NULL", 0.1)
    found = adapt(made_session(is_related=True))
    assert "do not belong together would score" in found.verdict


def test_windows_know_the_true_lag_whatever_the_clocks() -> None:
    windows = cut_windows(made_session(is_related=True, louder=0.05), np.random.default_rng(2))
    at = torch.arange(len(windows))
    seen = adapting.seen_through(windows, at, identity(windows))
    _, error, _ = adapting.told_apart(windows, 0, 1, at, seen)
    assert np.median(error) <= 0.5


def test_too_short_a_history_is_refused_with_what_is_needed() -> None:
    streams = made_session(is_related=True)
    short = {
        name: replace(s, runs=[replace(s.runs[0], rows=s.runs[0].rows[:4000])])
        for name, s in streams.items()
    }
    with pytest.raises(NotEnoughEvidence, match=r"expected 249 s .*, got 200 s"):
        adapt(short)
    with pytest.raises(
        NotEnoughEvidence, match="at least two streams whose clocks are known, got 1"
    ):
        adapt({"cam/video": streams["cam/video"]})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[Modality, bytes]:
    """Five encoders, untrained, of one set."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(4)
    encoders = Encoders().eval()
    told = {"encoder_set": set_of(encoders.state_dict())}
    for modality in MODALITIES:
        export_one(encoders.of[modality], modality, folder / f"{modality}.onnx", told)
    return {modality: (folder / f"{modality}.onnx").read_bytes() for modality in MODALITIES}


def answer(model: bytes, modality: Modality) -> FloatArray:
    rows = np.random.default_rng(1).normal(size=(1, WINDOW_HOPS, DIMS[modality])).astype("f4")
    return Encoder.of(model, modality, where="m", provider="cpu").answer(rows)


@pytest.mark.parametrize("how", ["fp32", "fp16"])
def test_the_matrix_becomes_part_of_the_network(
    helped: Adaptation, models: dict[Modality, bytes], how: str
) -> None:
    before = {modality: reduced(model, how) for modality, model in models.items()}
    after = adapted_set(helped, before, history="a test")
    for modality in ("video", "audio"):
        expected = answer(before[modality], modality) @ helped.matrices[modality].numpy().T  # type: ignore[index,arg-type]
        found = answer(after[modality], modality)  # type: ignore[index,arg-type]
        close = 1e-4 if how == "fp32" else 1e-2
        assert np.abs(found - expected).max() <= close * np.abs(expected).max()
        assert len(after[modality]) < len(before[modality]) + 3000  # type: ignore[index]
    np.testing.assert_array_equal(answer(after["text"], "text"), answer(before["text"], "text"))


def test_all_five_become_one_new_set_that_says_of_what(
    helped: Adaptation, models: dict[Modality, bytes], tmp_path: Path
) -> None:
    after = adapted_set(helped, models, history="a walk")
    for modality, model in after.items():
        (tmp_path / f"{modality}.onnx").write_bytes(model)
    made = read_set(tmp_path, made="a test")  # as nodes check it
    old = Encoder.of(models["text"], "text", where="m").encoder_set
    assert made.notice.encoder_set != old
    session = onnxruntime.InferenceSession(after["text"])
    told = json.loads(session.get_modelmeta().custom_metadata_map["adapted"])
    assert (told["from_set"], told["history"]) == (old, "a walk")
    assert told["gain_nats"] == pytest.approx(helped.gain_nats, abs=1e-4)
    assert adapted_set(helped, models, history="a walk") == after


def test_the_original_s_embeddings_come_back_from_an_adapted_encoder_s(
    helped: Adaptation, models: dict[Modality, bytes]
) -> None:
    once = adapted_set(helped, models, history="a walk")
    twice = adapted_set(helped, once, history="another")
    for modality in ("video", "text"):
        original = hashlib.sha256(models[modality]).hexdigest()  # type: ignore[index]
        for after in (once, twice):
            adapted = Encoder.of(after[modality], modality, where="m").adapted  # type: ignore[index,arg-type]
            assert adapted is not None
            assert adapted.from_sha256 == original
            back = adapted.undone(answer(after[modality], modality))  # type: ignore[index,arg-type]
            before = answer(models[modality], modality)  # type: ignore[index,arg-type]
            assert np.abs(back - before).max() < 1e-3 * np.abs(before).max()
    assert Encoder.of(models["text"], "text", where="m").adapted is None


def test_an_encoder_adapted_from_fp16_comes_from_the_fp32_one_that_fusion_knows(
    helped: Adaptation, models: dict[Modality, bytes]
) -> None:
    halved = {modality: reduced(model, "fp16") for modality, model in models.items()}
    after = Encoder.of(adapted_set(helped, halved, history="x")["video"], "video", where="m")
    assert after.adapted is not None
    assert after.adapted.from_sha256 == hashlib.sha256(models["video"]).hexdigest()
    assert after.original_sha256 == after.sha256


def test_an_adapted_encoder_kept_as_int8_is_still_the_adapted_one(
    helped: Adaptation, models: dict[Modality, bytes]
) -> None:
    adapted = adapted_set(helped, models, history="x")["video"]
    small = Encoder.of(reduced(adapted, "int8"), "video", where="m")
    assert small.adapted is not None
    assert small.adapted.from_sha256 == hashlib.sha256(models["video"]).hexdigest()
    assert small.original_sha256 == hashlib.sha256(adapted).hexdigest()


def test_a_network_without_the_known_last_layer_is_refused(
    helped: Adaptation, models: dict[Modality, bytes]
) -> None:
    other = models["audio"].replace(b"encoder.head.bias", b"encoder.hood.bias")
    with pytest.raises(EncoderMismatch, match=r"audio: no weight named 'encoder\.head\.bias'"):
        adapted_set(helped, models | {"audio": other}, history="x")


@pytest.fixture
def command(
    monkeypatch: pytest.MonkeyPatch, models: dict[Modality, bytes], tmp_path: Path
) -> Callable[..., tuple[int, str, BaseException | None]]:
    """Run the command on a made-up history."""
    folder = tmp_path / "from"
    folder.mkdir()
    for modality, model in models.items():
        (folder / f"{modality}.onnx").write_bytes(model)
    app = typer.Typer()
    app.command()(adapt_command.adapt_encoders)

    def run(
        streams: dict[str, HistoryStream], *flags: str
    ) -> tuple[int, str, BaseException | None]:
        history = adapt_command.History(streams=streams, left_out={"roof": "unsure"}, what="a walk")
        monkeypatch.setattr(adapt_command, "recorded_history", lambda *_: history)
        done = CliRunner().invoke(app, ["rec", "--from", str(folder), *flags])
        return done.exit_code, done.output, done.exception

    return run


def test_the_command_writes_a_set_that_nodes_take(
    command: Callable[..., tuple[int, str, BaseException | None]], tmp_path: Path
) -> None:
    (tmp_path / "from" / "MODEL_CARD.md").write_text("# Encoders\n")
    code, said, _ = command(made_session(is_related=True), "--out", str(tmp_path / "new"), "--json")
    assert code == 0
    card = (tmp_path / "new" / "MODEL_CARD.md").read_text()
    assert card.startswith("# Encoders\n\n## Adapted\n")
    assert "`coeval adapt` on a walk" in card
    assert "roof not used: unsure" in said
    assert '"verdict": ""' in said
    assert read_set(tmp_path / "new", made="x").notice.encoder_set in said


def test_the_command_writes_nothing_where_nothing_is_gained(
    command: Callable[..., tuple[int, str, BaseException | None]], tmp_path: Path
) -> None:
    code, _, failure = command(made_session(is_related=False), "--out", str(tmp_path / "new"))
    assert code == 1
    assert isinstance(failure, CoevalError)
    assert "nothing was written: held-out time" in str(failure)
    assert not (tmp_path / "new").exists()
