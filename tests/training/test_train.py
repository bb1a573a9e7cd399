"""Training: reproducible, resumable, on material that may be used, with clear refusals."""

import json
import multiprocessing
import os
import signal
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from coeval.cli import main, run
from coeval.errors import BadConfig, BadRecording, CoevalError
from coeval.features import DIMS
from coeval_edge.encoder import CONTEXT_HOPS
from coeval_edge.recording import open_recording
from coeval_training import train as training
from coeval_training import train_command
from coeval_training.checkpoint import BadCheckpoint, read_checkpoint
from coeval_training.data import SLOTS, StreamRows, draw_batch
from coeval_training.material import (
    TRAINED_ON,
    draw_scene,
    present_recordings,
    read_recordings,
    recording_rows,
)
from coeval_training.train import (
    PAIRS,
    Encoders,
    TrainConfig,
    correspondence,
    pair_losses,
    to_tensors,
    train,
)

torch.set_num_threads(1)

SHARED = Path(__file__).parents[3] / "shared" / "recordings"
TINY: dict[str, Any] = {
    "num_scenes": 4,
    "num_validation": 2,
    "scenes_per_step": 4,
    "crop_hops": 64,
    "longest_shift_hops": 16,
    "longest_lag_hops": 32,
}
PERMISSIVE = ("MIT", "BSD-2-Clause", "BSD-3-Clause", "Apache-2.0", "CC BY 4.0", "CC0")
CPU = torch.device("cpu")

Rows = dict[str, StreamRows]


def made_scene(seed: int, *, hops: int = 400) -> Rows:
    """A scene whose streams show one smooth motion, each in columns of its own."""
    rng = np.random.default_rng(seed)
    motion = np.convolve(rng.normal(size=hops + 40), np.hanning(9), "same").astype(np.float32)
    scene = {}
    for slot, modality in SLOTS.items():
        start = int(rng.integers(0, 20))
        rows = motion[start : start + hops, None] * rng.normal(size=DIMS[modality])
        rows[:, -1] = 1.0
        scene[slot] = StreamRows(start_hops=float(start), rows=rows.astype(np.float32))
    return scene


def made_scenes(folder: Path, seeds: range, **how: object) -> list[Rows]:
    """Stands in for `make_scenes`: nothing is rendered, nothing is kept."""
    del folder, how
    return [made_scene(seed) for seed in seeds]


@pytest.fixture
def no_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "make_scenes", made_scenes)
    monkeypatch.setattr(training, "STEPS_PER_CHECKPOINT", 2)
    monkeypatch.setattr(training, "WATCHED_SHIFT_HOPS", 16)


def tiny_run(
    folder: Path,
    *,
    stop_after: int | None = None,
    killed_after: int | None = None,
    **changed: Any,
) -> Path:
    """A run of a few steps; may be interrupted like by Ctrl-C, or killed."""

    def progress(share: float, _: float) -> None:
        if stop_after is not None and share * config.steps > stop_after:
            raise KeyboardInterrupt
        if killed_after is not None and share * config.steps > killed_after:
            os.kill(os.getpid(), signal.SIGKILL)

    config = TrainConfig(**(TINY | {"steps": 4} | changed))
    return train(
        config,
        folder,
        recordings_folder=None,
        workers=1,
        say=lambda _: None,
        progress=progress,
    )


def random_embeddings(num_scenes: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {slot: torch.randn((num_scenes, 64, 16), generator=generator) for slot in SLOTS}


def weights(checkpoint: Path) -> dict[str, Tensor]:
    encoders: dict[str, Tensor] = read_checkpoint(checkpoint)["encoders"]
    return encoders


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, second[key]) for key, value in first.items())


@pytest.mark.usefixtures("no_rendering")
def test_the_same_seed_trains_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    one, two = (weights(tiny_run(tmp_path / name, steps=3)) for name in ("one", "two"))
    other = weights(tiny_run(tmp_path / "other", steps=3, seed=2))
    assert same(one, two)
    assert not same(one, other)


@pytest.mark.usefixtures("no_rendering")
def test_an_interrupted_run_goes_on_exactly_where_it_was(tmp_path: Path) -> None:
    whole = tiny_run(tmp_path / "whole", steps=5)
    with pytest.raises(KeyboardInterrupt):
        tiny_run(tmp_path / "part", steps=5, stop_after=3)
    assert read_checkpoint(tmp_path / "part" / "checkpoint.pt")["step"] == 2
    resumed = tiny_run(tmp_path / "part", steps=5)
    assert same(weights(whole), weights(resumed))
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("whole", "part")]
    assert logs[0] == logs[1]
    assert [json.loads(line)["step"] for line in logs[0].splitlines()] == [2, 4, 5]


@pytest.mark.usefixtures("no_rendering")
def test_a_run_killed_outright_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    whole = tiny_run(tmp_path / "whole", steps=5)
    doomed = multiprocessing.get_context("fork").Process(
        target=tiny_run, args=(tmp_path / "part",), kwargs={"steps": 5, "killed_after": 3}
    )
    doomed.start()
    doomed.join(timeout=1200)
    assert doomed.exitcode == -signal.SIGKILL
    assert read_checkpoint(tmp_path / "part" / "checkpoint.pt")["step"] == 2
    assert same(weights(whole), weights(tiny_run(tmp_path / "part", steps=5)))


@pytest.mark.usefixtures("no_rendering")
def test_a_finished_run_is_left_as_it_is(tmp_path: Path) -> None:
    checkpoint = tiny_run(tmp_path, steps=2)
    before = checkpoint.read_bytes()
    assert tiny_run(tmp_path, steps=2).read_bytes() == before


@pytest.mark.usefixtures("no_rendering")
def test_a_checkpoint_says_how_it_was_made(tmp_path: Path) -> None:
    state = read_checkpoint(tiny_run(tmp_path, steps=2))
    assert state["config"] == asdict(TrainConfig(**TINY, steps=2))
    assert (state["step"], state["recordings"]) == (2, [])
    assert state["commit"]
    assert set(state["results"]) == {f"{a}-{b}" for a, b in PAIRS}
    assert all(row["median_ms"] >= 0 for row in state["results"].values())


@pytest.mark.usefixtures("no_rendering")
def test_another_run_is_refused_before_it_overwrites_the_one_there(tmp_path: Path) -> None:
    checkpoint = tiny_run(tmp_path, steps=2)
    before = checkpoint.read_bytes()
    with pytest.raises(BadConfig, match=r"is of a run with seed 1, steps 2, asked for seed 5, "):
        tiny_run(tmp_path, steps=3, seed=5)
    assert checkpoint.read_bytes() == before


@pytest.mark.usefixtures("no_rendering")
def test_a_run_on_other_recordings_is_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_run(tmp_path, steps=2)
    monkeypatch.setattr(training, "present_recordings", lambda _: ["ami_dev00"])
    with pytest.raises(BadConfig, match=r"recordings \[\], asked for recordings \['ami_dev00'\]"):
        tiny_run(tmp_path, steps=2)


@pytest.mark.usefixtures("no_rendering")
def test_a_broken_checkpoint_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"half a check")
    with pytest.raises(BadCheckpoint, match=r"not a checkpoint of `coeval train`, or cut short"):
        tiny_run(tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == b"half a check"


@pytest.mark.usefixtures("no_rendering")
def test_a_run_begun_anew_does_not_go_on_with_an_old_log(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text('{"step": 2600}\n')
    tiny_run(tmp_path, steps=2)
    log = (tmp_path / "log.jsonl").read_text()
    assert [json.loads(line)["step"] for line in log.splitlines()] == [2]


@pytest.mark.usefixtures("no_rendering")
def test_training_teaches_the_correlator(tmp_path: Path) -> None:
    tiny_run(tmp_path, steps=16, longest_shift_hops=8, rate=1e-2)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]


def test_a_pair_that_no_scene_has_costs_nothing_and_the_others_only_where_both_are_there() -> None:
    scenes = [made_scene(seed) for seed in range(3)]
    del scenes[0]["audio"]
    for scene in scenes:
        del scene["text"]
    batch = draw_batch(
        scenes,
        np.random.default_rng(0),
        crop_hops=64,
        context_hops=CONTEXT_HOPS,
        longest_shift_hops=16,
    )
    embeddings = random_embeddings(3)
    losses = pair_losses(embeddings, batch, max_lag=32, device=CPU)
    assert set(losses) == {pair for pair in PAIRS if "text" not in pair}
    embeddings["video"][0] *= 1000.0  # of the scene that has no audio
    again = pair_losses(embeddings, batch, max_lag=32, device=CPU)
    assert losses["video", "audio"].item() == again["video", "audio"].item()
    assert losses["video", "imu"].item() != again["video", "imu"].item()
    assert all(bool(torch.isfinite(loss)) for loss in again.values())


def test_lags_beyond_the_longest_are_left_out_of_the_loss() -> None:
    scene = made_scene(0)
    late = StreamRows(start_hops=scene["imu"].start_hops + 5000, rows=scene["imu"].rows)
    batch = draw_batch(
        [scene | {"imu": late}] * 2,
        np.random.default_rng(0),
        crop_hops=64,
        context_hops=CONTEXT_HOPS,
        longest_shift_hops=16,
    )
    losses = pair_losses(random_embeddings(2), batch, max_lag=32, device=CPU)
    assert set(losses) == {pair for pair in PAIRS if "imu" not in pair}


def test_noise_falls_on_what_is_there_and_never_on_the_coverage() -> None:
    scene = made_scene(0, hops=90)
    batch = draw_batch(
        [scene] * 2,
        np.random.default_rng(0),
        crop_hops=128,
        context_hops=CONTEXT_HOPS,
        longest_shift_hops=0,
    )
    clean = to_tensors(batch, CPU, np.random.default_rng(1))
    noisy = to_tensors(batch, CPU, np.random.default_rng(1), config=TrainConfig())
    for slot in SLOTS:
        assert torch.equal(clean[slot], torch.from_numpy(batch.rows[slot]))
        assert torch.equal(clean[slot][..., -1], noisy[slot][..., -1])
        assert not noisy[slot][clean[slot] == 0].any()
        assert not torch.equal(noisy[slot], clean[slot])


@pytest.mark.usefixtures("no_rendering")
def test_a_term_of_weight_zero_is_not_trained(tmp_path: Path) -> None:
    decoder = "of.audio.decoder.0.weight"
    both, matched, forgotten = (
        weights(tiny_run(tmp_path / name, steps=2, **changed))
        for name, changed in (
            ("both", {}),
            ("autoencoder-only", {"correspondence_weight": 0.0}),
            ("no-autoencoder", {"forgetting_weight": 0.0}),
        )
    )
    assert not same(both, matched)
    assert not torch.equal(both[decoder], forgotten[decoder])


def test_pairs_with_stills_weigh_what_the_configuration_says() -> None:
    losses = {("imu", "audio"): torch.tensor(2.0), ("imu", "stills"): torch.tensor(5.0)}
    assert float(correspondence(losses, stills_weight=1.0)) == pytest.approx(3.5)
    assert float(correspondence(losses, stills_weight=0.5)) == pytest.approx(3.0)


def test_slots_of_one_modality_share_their_encoder() -> None:
    encoders = Encoders()
    assert encoders.encoder("imu") is encoders.encoder("machine")
    assert encoders.encoder("imu") is not encoders.encoder("audio")
    assert {id(encoders.encoder(slot)) for slot in SLOTS} == {id(e) for e in encoders.of.values()}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"crop_hops": 100}, "crop_hops must be a multiple of 32, got 100"),
        (
            {"longest_lag_hops": 384},
            r"longest_lag_hops must be between 0 and crop_hops \(384\), got 384",
        ),
        ({"scenes_per_step": 3}, "scenes_per_step must be more than 3, .*, got 3"),
        ({"num_scenes": 15}, r"num_scenes must be at least scenes_per_step \(16\), got 15"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
        (
            {"correspondence_weight": 0.0, "forgetting_weight": 0.0},
            "correspondence_weight and forgetting_weight are both 0",
        ),
    ],
)
def test_a_configuration_that_cannot_be_trained_is_refused_by_its_key(
    changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadConfig, match=message):
        TrainConfig(**changed)


def test_real_recordings_are_trained_on_only_under_permissive_licences() -> None:
    for name, licence in TRAINED_ON.items():
        assert licence.split(" (")[0] in PERMISSIVE, name


@pytest.mark.shared
@pytest.mark.parametrize("name", TRAINED_ON)
def test_the_licence_named_is_the_one_the_recording_states(name: str) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs ../shared/recordings/{name}, which is not here")
    stated = json.loads((SHARED / name / "recording.json").read_text())["licence"]
    assert TRAINED_ON[name].split(" (")[0] in stated
    assert not any(word in stated for word in ("NC", "ND", "SA", "GPL"))


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """A folder of two recordings: one to train on, one that is not listed."""
    for name in ("px4_appended", "held_out"):
        root = tmp_path / "recordings" / name
        root.mkdir(parents=True)
        t_s = np.arange(0, 12, 0.02)
        for k, stream in enumerate(("gyro", "accel")):
            lines = [f"{t:.3f},{np.sin((3 + k) * t):.4f}" for t in t_s]
            (root / f"{stream}.csv").write_text("\n".join(["t,x", *lines]) + "\n")
        (root / "log.csv").write_text("t,text\n1.0,armed\n6.5,landed\n")
        streams = [
            {"id": stream, "node": "n", "modality": modality, "file": f"{stream}.csv"}
            for stream, modality in (("gyro", "metadata"), ("accel", "metadata"), ("log", "text"))
        ]
        manifest: dict[str, Any] = {"format": "coeval-recording/1", "name": name}
        manifest |= {"nodes": {"n": {}}, "streams": streams}
        (root / "recording.json").write_text(json.dumps(manifest))
        open_recording(root)
    return tmp_path / "recordings"


def test_only_listed_recordings_are_read_whole_or_not_at_all(recordings: Path) -> None:
    assert present_recordings(recordings) == ["px4_appended"]
    assert len(read_recordings(recordings, seed=1)) == 1
    assert present_recordings(None) == []
    assert read_recordings(None, seed=1) == []


def test_a_stream_is_listed_under_every_slot_that_could_take_it(recordings: Path) -> None:
    material = recording_rows(recordings / "px4_appended", seed=1)
    assert {slot: len(streams) for slot, streams in material.items()} == {
        "imu": 2,
        "machine": 2,
        "text": 1,
    }
    assert material["imu"][0] is material["machine"][0]
    assert all(s.rows.shape[1] == DIMS[SLOTS[slot]] for slot in material for s in material[slot])
    starts = [stream.start_hops % 1 for stream in material["imu"]]
    assert starts[0] != starts[1]  # clocks of their own phases


def test_a_drawn_scene_never_shows_one_stream_in_two_slots(recordings: Path) -> None:
    material = recording_rows(recordings / "px4_appended", seed=1)
    seen = set()
    for seed in range(20):
        scene = draw_scene(material, np.random.default_rng(seed))
        assert set(scene) == {"imu", "machine", "text"}
        assert scene["imu"] is not scene["machine"]
        seen.add(id(scene["imu"]))
    assert len(seen) == 2


def test_a_recording_that_is_broken_stops_the_run_by_name(recordings: Path) -> None:
    (recordings / "px4_appended" / "gyro.csv").write_text("t,x\n1.0,one\n")
    with pytest.raises(BadRecording, match=r"gyro"):
        read_recordings(recordings, seed=1)


@pytest.mark.usefixtures("no_rendering")
def test_a_run_mixes_real_recordings_in_and_names_them(tmp_path: Path, recordings: Path) -> None:
    config = TrainConfig(**TINY, steps=2, recordings_per_step=1.0)
    checkpoint = train(
        config, tmp_path / "run", recordings_folder=recordings, workers=1, say=lambda _: None
    )
    assert read_checkpoint(checkpoint)["recordings"] == ["px4_appended"]
    assert not same(weights(checkpoint), weights(tiny_run(tmp_path / "generated", steps=2)))


def end_of_command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    """Exit code of `coeval train`."""
    monkeypatch.setattr("sys.argv", ["coeval", "train", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.usefixtures("no_rendering")
def test_the_command_trains_and_draws_the_curves(
    tmp_path: Path,
    recordings: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(train_command, "DEFAULTS", TrainConfig(**TINY))
    monkeypatch.setattr(train_command, "SHIPPED_RECORDINGS", recordings)
    arguments = ("--out", tmp_path / "run", "--steps", 2)
    assert end_of_command(monkeypatch, *arguments, "--scenes", 16) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "16 generated scenes, 1 real recordings" in captured.err
    assert "next: coeval export-encoders" in captured.err
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert read_checkpoint(tmp_path / "run" / "checkpoint.pt")["step"] == 2


def test_a_folder_without_recordings_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = "expected folders with a recording.json", "no such folder"
    for folder, why in zip((tmp_path, tmp_path / "none"), said, strict=True):
        assert end_of_command(monkeypatch, "--recordings", folder, "--out", tmp_path / "run") == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"--recordings {folder}: {why}" in line
    assert not (tmp_path / "run").exists()


def test_a_file_cannot_keep_a_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadConfig, match=r"--out .*: cannot be made: .*file is a file"):
        run(["train", "--out", str(tmp_path / "file")])


def test_who_interrupts_is_told_what_is_kept_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **how: Any) -> Path:
        how["rendered"](0.5)
        how["progress"](0.5, 1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command, "run_training", interrupted)
    arguments = ["train", "--out", str(tmp_path)]
    with pytest.raises(CoevalError, match=f"goes on from what is rendered in {tmp_path}"):
        run(arguments)
    (tmp_path / "checkpoint.pt").write_bytes(b"")
    with pytest.raises(CoevalError, match="the same command goes on from its last checkpoint"):
        run(arguments)


@pytest.mark.parametrize(
    "arguments", [("--steps", 0), ("--scenes", 7), ("--seed", -1), ("--workers", 0)]
)
def test_numbers_out_of_range_are_usage_errors(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, int],
) -> None:
    assert end_of_command(monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert arguments[0] in said
    assert "Traceback" not in said
