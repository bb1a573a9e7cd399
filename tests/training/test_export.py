"""Export: the same numbers as PyTorch, provenance inside, all files or none."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from coeval.cli import main, run
from coeval.errors import BadConfig, EncoderMismatch
from coeval.features import DIMS, feature_spec
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.samples import MODALITIES, Modality
from coeval.time import NodeNs
from coeval_edge import golden
from coeval_edge.encoder import CONTEXT_HOPS, NEW_HOPS, WINDOW_HOPS, Encoder, shipped_model
from coeval_edge.golden import MOST_ROUNDING, rms_difference
from coeval_edge.model_screen import screen
from coeval_edge.ship import read_set
from coeval_training import export
from coeval_training.adapt_command import refuse_int8
from coeval_training.checkpoint import BadCheckpoint, read_checkpoint, write_checkpoint
from coeval_training.export import (
    LARGEST_DIFFERENCE,
    LostParity,
    Shipped,
    export_all,
    set_of,
)
from coeval_training.export_command import MODELS, reduce_encoders
from coeval_training.precision import MEASURED, Precision, reduced
from coeval_training.seal import sealed
from coeval_training.shipped import read_encoders
from coeval_training.train import Encoders, TrainConfig

torch.set_num_threads(1)

RESULTS = {
    "video-imu": {
        "median_ms": 17.0,
        "within_40ms": 80.0,
        "within_100ms": 84.0,
        "within_300ms": 90.0,
    }
}
NAMES = [f"{modality}.onnx" for modality in MODALITIES]


def untrained() -> Encoders:
    torch.manual_seed(3)
    return Encoders().eval()


def make_checkpoint(path: Path, **changed: Any) -> Path:
    state: dict[str, Any] = {
        "config": asdict(TrainConfig(seed=3)),
        "recordings": [],
        "commit": "0123abc",
        "step": 1,
        "encoders": untrained().state_dict(),
        "optimiser": {},
        "results": RESULTS,
    }
    write_checkpoint(path, state | changed)
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[Modality, Path]:
    folder = tmp_path_factory.mktemp("export")
    return export_all(make_checkpoint(folder / "checkpoint.pt"), folder / "models")


def open_session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def some_rows(*shape: int, seed: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("modality", MODALITIES)
@pytest.mark.parametrize("batch", [1, 5])
def test_an_exported_network_computes_what_pytorch_computes(
    exported: dict[Modality, Path], modality: Modality, batch: int
) -> None:
    rows = 3.0 * some_rows(batch, WINDOW_HOPS, DIMS[modality])
    (answered,) = open_session(exported[modality]).run(None, {"rows": rows})
    with torch.no_grad():
        expected = Shipped(untrained().of[modality])(torch.from_numpy(rows)).numpy()
    assert answered.shape == (batch, NEW_HOPS, EMBEDDING_DIM)
    assert np.abs(answered - expected).max() <= LARGEST_DIFFERENCE * np.abs(expected).max()


def test_the_largest_difference_allowed_is_a_ten_thousandth() -> None:
    assert LARGEST_DIFFERENCE <= 1e-4


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_file_says_features_shapes_commit_configuration_and_results(
    exported: dict[Modality, Path], modality: Modality
) -> None:
    session = open_session(exported[modality])
    said = session.get_modelmeta().custom_metadata_map
    assert said["feature_spec"] == feature_spec(modality).to_json()
    assert said["feature_sha256"] == feature_spec(modality).sha256
    assert said["commit"] == "0123abc"
    assert json.loads(said["config"]) == asdict(TrainConfig(seed=3))
    assert json.loads(said["results"]) == RESULTS
    assert session.get_inputs()[0].shape == ["batch", WINDOW_HOPS, DIMS[modality]]
    assert session.get_outputs()[0].shape == ["batch", NEW_HOPS, EMBEDDING_DIM]


@pytest.mark.parametrize("modality", MODALITIES)
def test_the_node_computes_from_the_file_what_training_computed_on_the_whole_clip(
    exported: dict[Modality, Path], modality: Modality
) -> None:
    rows = some_rows(320, DIMS[modality])
    before = np.zeros((CONTEXT_HOPS, DIMS[modality]), np.float32)
    with torch.no_grad():
        whole = untrained().of[modality](torch.from_numpy(np.concatenate([before, rows]))[None])
    encoder = Encoder.load(modality, exported[modality])
    pushed = [
        encoder.push(Hops(t0_node_ns=NodeNs(k * HOP_NS), rows=rows[k : k + 10]))[0].rows
        for k in range(0, 320, 10)
    ]
    expected = whole[0, CONTEXT_HOPS:].numpy()
    np.testing.assert_allclose(np.concatenate(pushed), expected, rtol=0, atol=1e-5)


def test_only_the_encoders_are_left_behind(exported: dict[Modality, Path]) -> None:
    folder = exported["audio"].parent
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    # The decoder, which only training needs, is not shipped.
    assert all(path.stat().st_size < 400_000 for path in exported.values())


def test_lost_parity_leaves_the_encoders_that_were_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        (tmp_path / name).write_bytes(b"before")
    monkeypatch.setattr(export, "LARGEST_DIFFERENCE", -1.0)
    with pytest.raises(LostParity, match=r"encoder text: .* allowed .*; nothing was exported"):
        export_all(make_checkpoint(tmp_path / "checkpoint.pt"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*NAMES, "checkpoint.pt"])
    assert all((tmp_path / name).read_bytes() == b"before" for name in NAMES)


def test_a_checkpoint_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "checkpoint.pt", step=7)
    state = read_checkpoint(path)
    assert state["step"] == 7
    assert state["config"] == asdict(TrainConfig(seed=3))
    expected = untrained().state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in state["encoders"].items())
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_checkpoint_from_before_commits_were_kept_exports_as_unknown(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "checkpoint.pt")
    state = read_checkpoint(path)
    del state["commit"]
    write_checkpoint(path, state)
    paths = export_all(path, tmp_path / "models")
    said = open_session(paths["text"]).get_modelmeta().custom_metadata_map
    assert said["commit"] == "unknown"


def refused_line(checkpoint: Path, out: Path) -> str:
    """What `coeval export-encoders` says of a checkpoint; nothing is written."""
    with pytest.raises(BadCheckpoint) as caught:
        run(["export-encoders", "--checkpoint", str(checkpoint), "--out", str(out)])
    assert not out.exists()
    message = str(caught.value)
    assert str(checkpoint) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", bytes(range(256)) * 8])
def test_garbage_is_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    assert "not a checkpoint" in refused_line(path, tmp_path / "out")


def test_a_truncated_checkpoint_is_refused(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "checkpoint.pt")
    path.write_bytes(path.read_bytes()[:-1000])
    assert "cut short" in refused_line(path, tmp_path / "out")


def test_a_folder_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").mkdir()
    assert "Is a directory" in refused_line(tmp_path / "checkpoint.pt", tmp_path / "out")


@pytest.mark.parametrize("state", [{"weights": 1}, [1, 2], torch.zeros(3)])
def test_another_programs_checkpoint_is_refused_by_what_it_lacks(
    tmp_path: Path, state: Any
) -> None:
    path = tmp_path / "checkpoint.pt"
    torch.save(state, path)
    assert "encoders, optimiser, results, step missing" in refused_line(path, tmp_path / "out")


def test_a_checkpoint_of_other_features_is_refused(tmp_path: Path) -> None:
    weights = untrained().state_dict()
    weights["of.audio.stem.weight"] = torch.zeros((48, 53))
    path = make_checkpoint(tmp_path / "checkpoint.pt", encoders=weights)
    assert "other features or another network" in refused_line(path, tmp_path / "out")


def test_an_absent_checkpoint_is_a_usage_error_that_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"none\.pt: no such file; make it with `coeval train`"):
        run(["export-encoders", "--checkpoint", f"{tmp_path}/none.pt", "--out", f"{tmp_path}/out"])


def test_a_file_cannot_be_the_output_folder(tmp_path: Path) -> None:
    path = make_checkpoint(tmp_path / "checkpoint.pt")
    with pytest.raises(BadConfig, match=r"--out .*: cannot be made: .* is a file"):
        run(["export-encoders", "--checkpoint", str(path), "--out", str(path)])


def test_the_command_writes_the_encoders_and_their_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = make_checkpoint(tmp_path / "checkpoint.pt"), tmp_path / "new" / "models"
    monkeypatch.setattr(
        "sys.argv", ["coeval", "export-encoders", "--checkpoint", str(path), "--out", str(out)]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code in (0, None)
    assert sorted(entry.name for entry in out.iterdir()) == sorted([*NAMES, "MODEL_CARD.md"])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(f"{modality}: " in captured.err for modality in MODALITIES)
    assert Encoder.load("image", out / "image.onnx").modality == "image"


@pytest.mark.parametrize("modality", MODALITIES)
def test_weights_and_decoder_come_back_from_the_file(
    exported: dict[Modality, Path], modality: Modality
) -> None:
    back = read_encoders(exported[modality].parent).of[modality].state_dict()
    for name, weight in untrained().of[modality].state_dict().items():
        close = 1e-3 if name.startswith("decoder.") else 0.0
        torch.testing.assert_close(back[name], weight, rtol=close, atol=close)


def test_the_files_of_one_export_are_one_set_and_other_weights_another(
    exported: dict[Modality, Path],
) -> None:
    names = {Encoder.load(modality, path).encoder_set for modality, path in exported.items()}
    weights = untrained().state_dict()
    assert names == {set_of(weights)}
    assert set_of(weights | {"of.text.decoder.0.bias": torch.ones(48)}) in names
    assert set_of(weights | {"of.text.head.bias": torch.ones(16)}) not in names


@pytest.mark.parametrize("kept", ["", "{", "[]", '{"0.weight": {"shape": [2], "f16": "AA=="}}'])
def test_a_file_without_its_decoder_is_no_beginning(
    exported: dict[Modality, Path], tmp_path: Path, kept: str
) -> None:
    for path in exported.values():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    model = onnx.load(str(exported["text"]))
    told = {entry.key: entry.value for entry in model.metadata_props}
    (tmp_path / "text.onnx").write_bytes(sealed(model, told | {"decoder": kept}))
    with pytest.raises(EncoderMismatch, match=r"text\.onnx: "):
        read_encoders(tmp_path)


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> dict[Modality, Path]:
    folder = tmp_path_factory.mktemp("halved")
    checkpoint = make_checkpoint(folder / "checkpoint.pt")
    return export_all(checkpoint, folder / "models", precision="fp16")


@pytest.mark.parametrize("modality", MODALITIES)
def test_weights_kept_as_fp16_take_fewer_bytes_and_answer_nearly_the_same(
    exported: dict[Modality, Path], halved: dict[Modality, Path], modality: Modality
) -> None:
    assert halved[modality].stat().st_size < 0.7 * exported[modality].stat().st_size
    rows = some_rows(2, WINDOW_HOPS, DIMS[modality])
    whole, half = (Encoder.load(modality, at[modality]) for at in (exported, halved))
    expected = whole.answer(rows)
    difference = np.abs(half.answer(rows) - expected).max()
    assert 0 < difference < 3e-3 * np.abs(expected).max()
    assert half.encoder_set == whole.encoder_set
    assert half.sha256 != whole.sha256


def test_training_can_go_on_from_weights_kept_as_fp16(halved: dict[Modality, Path]) -> None:
    back = read_encoders(halved["text"].parent).state_dict()
    for name, weight in untrained().state_dict().items():
        torch.testing.assert_close(back[name], weight, rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def int8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ships, as int8."""
    folder = tmp_path_factory.mktemp("int8")
    reduce_encoders(MODELS, folder, "int8")
    return folder


@pytest.mark.parametrize("modality", MODALITIES)
def test_int8_is_half_as_large_of_the_same_set_and_says_what_it_was_made_from(
    int8: Path, modality: Modality
) -> None:
    path = int8 / f"{modality}.onnx"
    small, exact = Encoder.load(modality, path), Encoder.load(modality)
    assert path.stat().st_size < 0.5 * shipped_model(modality).stat().st_size
    assert (small.precision, exact.precision) == ("int8", "fp32")
    assert small.encoder_set == exact.encoder_set
    assert small.original_sha256 == exact.original_sha256 == exact.sha256 != small.sha256


@pytest.mark.parametrize("modality", MODALITIES)
def test_int8_answers_nearly_what_fp32_does(int8: Path, modality: Modality) -> None:
    rows = some_rows(2, WINDOW_HOPS, DIMS[modality])
    small, exact = Encoder.load(modality, int8 / f"{modality}.onnx"), Encoder.load(modality)
    assert 0 < rms_difference(small.answer(rows), exact.answer(rows)) < MOST_ROUNDING


def test_int8_and_what_is_said_of_it_lie_side_by_side(int8: Path) -> None:
    assert sorted(path.name for path in int8.iterdir()) == sorted([*NAMES, "MODEL_CARD.md"])
    assert "Weights are kept as int8" in (int8 / "MODEL_CARD.md").read_text()
    assert read_set(int8, made="a test").notice.encoder_set == Encoder.load("text").encoder_set


def test_a_checkpoint_is_exported_as_int8_and_as_fp32_under_one_name(
    exported: dict[Modality, Path], tmp_path: Path
) -> None:
    paths = export_all(make_checkpoint(tmp_path / "c.pt"), tmp_path / "small", precision="int8")
    small, exact = Encoder.load("audio", paths["audio"]), Encoder.load("audio", exported["audio"])
    assert small.original_sha256 == exact.sha256


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--out", "x"], "say how to keep the weights, with --precision fp16 or int8"),
        (["--precision", "int8"], "say where the smaller files go, with --out"),
    ],
)
def test_making_encoders_smaller_needs_to_know_how_and_where_to(
    options: list[str], said: str
) -> None:
    with pytest.raises(BadConfig, match=said):
        run(["export-encoders", "--from", "shipped", *options])


def test_the_fp32_encoders_are_never_written_over(exported: dict[Modality, Path]) -> None:
    folder = str(exported["audio"].parent)
    with pytest.raises(BadConfig, match="holds the fp32 encoders"):
        run(["export-encoders", "--from", folder, "--precision", "int8", "--out", folder])


def test_what_was_made_smaller_once_is_not_made_smaller_again(int8: Path, tmp_path: Path) -> None:
    with pytest.raises(EncoderMismatch, match="encoder text: its weights are kept as int8 already"):
        run(["export-encoders", "--from", str(int8), "--precision", "fp16", "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_encoders_that_int8_would_blur_are_not_exported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golden, "MOST_ROUNDING", 1e-6)
    with pytest.raises(LostParity, match=r"encoder text: .* --precision fp16; nothing was export"):
        run(["export-encoders", "--from", "shipped", "--precision", "int8", "--out", str(tmp_path)])
    assert not list(tmp_path.iterdir())


def test_training_and_adapting_begin_from_fp32(int8: Path) -> None:
    with pytest.raises(EncoderMismatch, match=r"text\.onnx: its weights are kept as int8, too"):
        read_encoders(int8)
    with pytest.raises(EncoderMismatch, match=r"text\.onnx: its weights are kept as int8; adapt"):
        refuse_int8({modality: int8 / f"{modality}.onnx" for modality in MODALITIES})


def test_int8_with_scales_of_calibration_answers_what_its_own_golden_vectors_say(
    exported: dict[Modality, Path],
) -> None:
    how = "int8 static"
    windows = [some_rows(1, WINDOW_HOPS, DIMS["text"], seed=k) for k in range(3)]
    file = reduced(exported["text"].read_bytes(), how, calibration=windows)
    encoder, exact = Encoder.of(file, "text", where=how), Encoder.load("text", exported["text"])
    error = encoder.answer(windows[0]) - exact.answer(windows[0])
    assert 0 < np.sqrt((error**2).mean() / (exact.answer(windows[0]) ** 2).mean()) < 0.5


def test_an_unknown_precision_is_refused(exported: dict[Modality, Path]) -> None:
    assert reduced(exported["text"].read_bytes(), "fp32") == exported["text"].read_bytes()
    assert "fp32" in MEASURED
    assert set(get_args(Precision)) <= set(MEASURED)
    with pytest.raises(ValueError, match="must be one of fp32, fp16"):
        reduced(exported["text"].read_bytes(), "int4")


@pytest.mark.parametrize("modality", MODALITIES)
def test_what_ships_can_be_trained_on(modality: Modality) -> None:
    """Read back, it computes what the file does; checked by `read_encoders` itself."""
    back = read_encoders().of[modality]
    assert set(back.state_dict()) == set(untrained().of[modality].state_dict())


@pytest.mark.parametrize("modality", MODALITIES)
def test_what_ships_and_what_is_exported_is_plain_enough_for_nodes(
    exported: dict[Modality, Path],
    halved: dict[Modality, Path],
    int8: Path,
    modality: Modality,
) -> None:
    small = int8 / f"{modality}.onnx"
    for path in (shipped_model(modality), exported[modality], halved[modality], small):
        screen(path.read_bytes())
