"""Training on own recordings: which are used and why, on one timeline, and what comes of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from coeval.cli import run
from coeval.errors import BadConfig, EncoderMismatch
from coeval.features import DIMS
from coeval.samples import AudioBlock, MetadataBlock, TextLine
from coeval.time import NodeNs, RefNs
from coeval_edge.recording import open_recording
from coeval_training import fine_tune as tuning
from coeval_training import train as training
from coeval_training import train_command
from coeval_training.checkpoint import read_checkpoint
from coeval_training.curves import plot_curves
from coeval_training.data import SLOTS, StreamRows
from coeval_training.export import export_all
from coeval_training.fine_tune import fine_tune, mixed, split, start_of
from coeval_training.known_clocks import known_clocks, line_of, run_align
from coeval_training.model_card import write_model_card
from coeval_training.own_recordings import (
    OwnRecording,
    draw_own_scene,
    find_recordings,
    has_pair,
    on_timeline,
    overlap_hops,
    read_own,
)
from coeval_training.train import Encoders, TrainConfig

torch.set_num_threads(1)

TINY = TrainConfig(
    steps=4,
    num_scenes=4,
    num_validation=2,
    scenes_per_step=4,
    crop_hops=64,
    longest_lag_hops=48,
    longest_shift_hops=16,
    rate=1e-3,
)
TRUTH = {"sigma_s": 0.001, "how": "made up"}


def write_recording(
    root: Path, *, nodes: dict[str, float], length_s: float = 30.0, **manifest: Any
) -> Path:
    """A sensor on every node, whose clock is so many seconds fast, and a log on the first."""
    root.mkdir(parents=True)
    rng = np.random.default_rng(3)
    t_s = np.arange(0, length_s, 0.02)
    motion = np.convolve(rng.normal(size=len(t_s)), np.hanning(15), "same")
    streams = [{"id": "log", "node": next(iter(nodes)), "modality": "text", "file": "log.csv"}]
    for node, offset_s in nodes.items():
        lines = [f"{t + offset_s:.4f},{v:.4f}" for t, v in zip(t_s, motion, strict=True)]
        (root / f"{node}.csv").write_text("\n".join(["t,x", *lines]) + "\n")
        streams.append({"id": node, "node": node, "modality": "metadata", "file": f"{node}.csv"})
    first_s = next(iter(nodes.values()))
    said = [f"{t + first_s:.2f},bump {k}" for k, t in enumerate(np.arange(1, length_s, 1.7))]
    (root / "log.csv").write_text("\n".join(["t,text", *said]) + "\n")
    made = {"format": "coeval-recording/1", "name": root.name, "licence": "CC0"}
    made |= {"nodes": {node: {} for node in nodes}, "streams": streams}
    (root / "recording.json").write_text(json.dumps(made | manifest))
    return root


def aligned(status: str = "locked", **told: Any) -> Callable[[Path], dict[str, Any]]:
    """Stands in for `coeval align`: it says this of node b."""
    node = {"status": status, "offset_s": 2.5, "skew_ppm": 0.0, "ci95_s": 0.01, "jumps": []}
    return lambda _: {"reference": "a", "nodes": {"b": node | told}}


def never(_: Path) -> str:
    raise AssertionError("nobody needs to be asked")


def test_streams_of_one_node_are_synchronous(tmp_path: Path) -> None:
    clocks = known_clocks(
        open_recording(write_recording(tmp_path / "r", nodes={"a": 0})), align=never
    )
    assert (list(clocks.lines), clocks.how) == (["a"], "one node, one clock")


def test_a_truth_that_is_sure_enough_is_taken_at_its_word(tmp_path: Path) -> None:
    truth = TRUTH | {
        "nodes": {"a": {"offset_s": 0, "skew_ppm": 0}, "b": {"offset_s": 2.5, "skew_ppm": 40}}
    }
    root = write_recording(tmp_path / "r", nodes={"a": 0, "b": 2.5, "c": 0}, truth=truth)
    clocks = known_clocks(open_recording(root), align=never)
    assert clocks.lines["b"].offset_at(RefNs(10**9)) == pytest.approx(2.5e9 + 40e3)
    assert clocks.left_out == {"c": "the truth does not name it"}


@pytest.mark.parametrize("sigma_s", [0.3, None])
def test_where_a_truth_is_not_the_alignment_is_asked(tmp_path: Path, sigma_s: float | None) -> None:
    told = {node: {"offset_s": 0, "skew_ppm": 0} for node in "ab"}
    truth: dict[str, Any] = {"nodes": told, "how": "x"} | (
        {} if sigma_s is None else {"sigma_s": sigma_s}
    )
    root = write_recording(tmp_path / "r", nodes={"a": 0, "b": 0}, truth=truth)
    clocks = known_clocks(open_recording(root), align=aligned())
    assert (list(clocks.lines), clocks.how) == (["a", "b"], "coeval align")


@pytest.mark.parametrize(
    ("align", "why"),
    [
        (aligned("unsure", offset_s=None, ci95_s=None), "coeval align says unsure"),
        (aligned("unrelated"), "coeval align says unrelated"),
        (aligned(ci95_s=0.4), "sure of it to 0.4 s only"),
        (lambda _: "coeval: no content", "coeval align: coeval: no content"),
    ],
    ids=["unsure", "unrelated", "wide", "failed"],
)
def test_without_a_truth_only_what_is_locked_is_used(
    tmp_path: Path, align: Callable[[Path], Any], why: str
) -> None:
    root = write_recording(tmp_path / "r", nodes={"a": 0, "b": 2.5})
    clocks = known_clocks(open_recording(root), align=align)
    assert why in clocks.left_out["b"]
    locked = known_clocks(open_recording(root), align=aligned())
    assert locked.lines["b"].offset_ns == 2.5e9
    assert locked.left_out == {}


@pytest.mark.parametrize("offset_s", [0.0, 7.25])
def test_streams_of_two_nodes_come_onto_one_timeline(tmp_path: Path, offset_s: float) -> None:
    root = write_recording(tmp_path / "r", nodes={"a": 100.0, "b": 100.0 + offset_s})
    (own,) = read_own(root, seed=1, say=lambda _: None, align=aligned(offset_s=offset_s))
    one, two = own.material["imu"]
    shift = round(two.start_hops - one.start_hops)
    assert abs(shift) <= 1
    rows = [stream.rows[200:500, :-1] for stream in (one, two)]
    together = np.corrcoef(rows[0].ravel(), rows[1].ravel())[0, 1]
    assert together > 0.5


def test_a_clock_that_steps_is_used_up_to_the_step(tmp_path: Path) -> None:
    root = write_recording(tmp_path / "r", nodes={"a": 0, "b": 0})
    jumps = [{"at_s": 15.0, "jump_s": 0.5}]
    (own,) = read_own(root, seed=1, say=lambda _: None, align=aligned(offset_s=0.0, jumps=jumps))
    lengths = [len(rows.rows) for rows in own.material["imu"]]
    assert lengths[0] > 590
    assert lengths[1] == pytest.approx(300, abs=3)


def test_what_is_used_and_what_is_not_is_said_with_the_reason(tmp_path: Path) -> None:
    write_recording(tmp_path / "all" / "good", nodes={"a": 0, "b": 0})
    write_recording(tmp_path / "all" / "short", nodes={"a": 0}, length_s=4.0)
    broken = write_recording(tmp_path / "all" / "broken", nodes={"a": 0})
    (broken / "a.csv").write_text("t,x\n1,one\n")
    said: list[str] = []
    own = read_own(tmp_path / "all", seed=1, say=said.append, align=aligned("unsure"))
    assert [each.name for each in own] == ["good"]
    text = "\n".join(said)
    assert "broken: not used: " in text
    assert "short: not used: no two streams of different kinds overlap by 10 s" in text
    assert "short: a/a not used: shorter than 10 s without a gap" in text
    assert "good: b not used: coeval align says unsure" in text
    assert "good: 2 streams used, synchronous by coeval align" in text


def test_nothing_to_learn_from_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"found none; make some with `coeval recording import`"):
        find_recordings(tmp_path)
    root = write_recording(tmp_path / "short", nodes={"a": 0}, length_s=4.0)
    with pytest.raises(BadConfig, match="none of the recordings can be learnt from"):
        read_own(root, seed=1, say=lambda _: None)


def test_samples_of_every_kind_move_onto_the_timeline() -> None:
    line = line_of(RefNs(0), 2.0, 100.0)
    t_ns = np.array([2_000_000_000, 12_001_000_000])
    samples = [
        MetadataBlock(t_node_ns=t_ns, values=np.zeros((2, 1))),
        TextLine(t_node_ns=NodeNs(12_001_000_000), t_end_node_ns=NodeNs(2_000_000_000), text="x"),
        AudioBlock(t_node_ns=NodeNs(12_001_000_000), rate_hz=1.0, pcm=np.zeros(1, np.float32)),
    ]
    block, text, sound = on_timeline(iter(samples), line, until_ref_ns=None)
    assert isinstance(block, MetadataBlock)
    np.testing.assert_allclose(block.t_node_ns, [0, 10**10], atol=200)
    assert isinstance(text, TextLine)
    assert (text.t_node_ns, text.t_end_node_ns) == (pytest.approx(10**10, abs=2), 0)
    assert sound.t_node_ns == pytest.approx(10**10, abs=2)  # type: ignore[union-attr]


def stream(start: float, length: int, *, modality: str = "metadata") -> StreamRows:
    rng = np.random.default_rng(length)
    return StreamRows(
        start_hops=start,
        rows=rng.normal(size=(length, DIMS[modality])).astype(np.float32),  # type: ignore[index]
    )


def test_a_drawn_scene_shows_all_its_streams_at_one_time() -> None:
    material = {
        "imu": [stream(0.5, 4000), stream(3000.25, 3000)],
        "machine": [stream(0.5, 4000), stream(3000.25, 3000)],
        "text": [stream(-50.0, 9000, modality="text")],
    }
    for seed in range(30):
        scene = draw_own_scene(material, np.random.default_rng(seed), longest_hops=700)
        assert 2 <= len(scene) <= 3
        assert all(len(rows.rows) <= 700 for rows in scene.values())
        starts = [rows.start_hops for rows in scene.values()]
        assert max(starts) - min(starts) < 1.0


def test_streams_that_do_not_overlap_are_never_drawn_together() -> None:
    material = {
        "imu": [stream(0, 1000)],
        "machine": [stream(5000, 1000)],
        "text": [stream(0, 6000, modality="text")],
    }
    for seed in range(20):
        scene = draw_own_scene(material, np.random.default_rng(seed), longest_hops=700)
        rows = list(scene.values())
        assert len(rows) == 2
        assert overlap_hops(*rows) > 190


def test_the_end_of_a_long_recording_is_held_out() -> None:
    material = {"imu": [stream(10.0, 5000)], "text": [stream(0.0, 5000, modality="text")]}
    first, last = split(material)
    whole = np.concatenate([first["imu"][0].rows, last["imu"][0].rows])
    np.testing.assert_array_equal(whole, material["imu"][0].rows)
    assert len(last["imu"][0].rows) == pytest.approx(1000, abs=20)
    assert last["imu"][0].start_hops == 10.0 + len(first["imu"][0].rows)
    short = {"imu": [stream(0.0, 900)], "text": [stream(0.0, 900, modality="text")]}
    assert split(short) == (short, {})


def test_streams_with_too_little_left_are_kept_whole_and_always_drawn_as_a_pair() -> None:
    material = {
        "imu": [stream(0.0, 300), stream(3900.0, 1100)],
        "text": [stream(3700.0, 1300, modality="text"), stream(100.0, 90, modality="text")],
    }
    first, last = split(material)
    assert (first, last) == (material, {})
    for seed in range(40):
        scene = draw_own_scene(first, np.random.default_rng(seed), longest_hops=700)
        assert set(scene) == {"imu", "text"}
    lonely = {"imu": [stream(0.0, 300)], "text": [stream(250.0, 300, modality="text")]}
    assert not has_pair(lonely)


def test_own_and_generated_scenes_take_turns() -> None:
    scenes = [{"imu": stream(k, 10)} for k in range(6)]
    order = [int(scene["imu"].start_hops) for scene in mixed(scenes, 2)]
    assert order == [0, 2, 1, 3, 4, 5]


def made_scene(seed: int, *, hops: int = 2400) -> dict[str, StreamRows]:
    rng = np.random.default_rng(seed)
    motion = np.convolve(rng.normal(size=hops), np.hanning(9), "same").astype(np.float32)
    scene = {}
    for slot, modality in SLOTS.items():
        rows = motion[:, None] * rng.normal(size=DIMS[modality])
        rows[:, -1] = 1.0
        scene[slot] = StreamRows(start_hops=0.0, rows=rows.astype(np.float32))
    return scene


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch) -> list[OwnRecording]:
    """Recordings that were read, and generated scenes that cost nothing."""
    monkeypatch.setattr(
        training, "make_scenes", lambda _folder, seeds, **_: [made_scene(seed) for seed in seeds]
    )
    monkeypatch.setattr(tuning, "STEPS_PER_CHECKPOINT", 2)
    monkeypatch.setattr(tuning, "NUM_WATCHED_OWN", 2)
    monkeypatch.setattr(tuning, "LEAST_HELD_OUT_HOPS", 400)
    return [
        OwnRecording(
            name="walk",
            licence="my own",
            material={slot: [rows] for slot, rows in made_scene(77).items()},
            how="one node, one clock",
            left_out={},
        )
    ]


def tuned(folder: Path, own: list[OwnRecording], **how: Any) -> Path:
    given: dict[str, Any] = {"begin": "scratch", "workers": 1, "say": lambda _: None}
    return fine_tune(TINY, folder, own, **(given | how))


def test_a_run_is_kept_with_what_it_learnt_from_and_can_be_exported(
    tmp_path: Path, own: list[OwnRecording]
) -> None:
    said: list[str] = []
    checkpoint = tuned(tmp_path / "run", own, say=said.append)
    state = read_checkpoint(checkpoint)
    assert (state["recordings"], state["licences"]) == (["walk"], {"walk": "my own"})
    assert (state["step"], state["began_from"]) == (4, "nothing")
    assert set(state["own_results"]) == set(state["results"])
    assert any(line.startswith("before: generated, % within 100 ms: {") for line in said)
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(row["step"], set(row["own"])) for row in log] == [
        (step, set(state["results"])) for step in (0, 2, 4)
    ]
    assert plot_curves(tmp_path / "run").read_bytes().startswith(b"\x89PNG")
    paths = export_all(checkpoint, tmp_path / "models")
    card = write_model_card(checkpoint, tmp_path / "models").read_text()
    assert "- walk: my own\n" in card
    assert "`coeval train --recordings`, which began from nothing." in card
    again, what = start_of(str(paths["audio"].parent), 1)
    assert what == str(tmp_path / "models")
    torch.testing.assert_close(
        again.state_dict()["of.text.head.weight"], state["encoders"]["of.text.head.weight"]
    )


def test_an_interrupted_run_goes_on_exactly_where_it_was(
    tmp_path: Path, own: list[OwnRecording]
) -> None:
    def stop(share: float, _loss: float) -> None:
        if share > 0.6:
            raise KeyboardInterrupt

    whole = read_checkpoint(tuned(tmp_path / "whole", own))["encoders"]
    with pytest.raises(KeyboardInterrupt):
        tuned(tmp_path / "part", own, progress=stop)
    resumed = read_checkpoint(tuned(tmp_path / "part", own))["encoders"]
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_it_begins_from_a_checkpoint_or_not_at_all(tmp_path: Path, own: list[OwnRecording]) -> None:
    checkpoint = tuned(tmp_path / "run", own)
    encoders, what = start_of(str(checkpoint), 1)
    assert isinstance(encoders, Encoders)
    assert what == str(checkpoint)
    with pytest.raises(EncoderMismatch, match="No such file"):
        start_of(str(tmp_path), 1)


def test_a_real_alignment_is_asked_through_the_command(tmp_path: Path) -> None:
    """Two sensors that felt the same, 2.5 s apart: the real `coeval align` finds it."""
    root = write_recording(tmp_path / "r", nodes={"a": 0.0, "b": 2.5}, length_s=40.0)
    answer = run_align(root)
    assert not isinstance(answer, str), answer
    assert answer["nodes"]["b"]["status"] == "locked"
    assert answer["nodes"]["b"]["offset_s"] == pytest.approx(2.5, abs=0.05)
    assert isinstance(run_align(tmp_path / "nowhere"), str)


def test_recordings_are_found_in_a_folder_or_as_the_folder(tmp_path: Path) -> None:
    root = write_recording(tmp_path / "all" / "r", nodes={"a": 0})
    assert find_recordings(tmp_path / "all") == find_recordings(root) == [root]
    deep = write_recording(tmp_path / "all" / "monday" / "q", nodes={"a": 0})
    (tmp_path / "all" / "linked").symlink_to(root)
    assert find_recordings(tmp_path / "all") == [tmp_path / "all" / "linked", deep, root]


@pytest.mark.usefixtures("own")
def test_the_command_fine_tunes_what_ships_on_a_folder_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # One of them has the name of a recording that the shipped encoders were trained on.
    write_recording(tmp_path / "all" / "walk", nodes={"a": 0})
    write_recording(tmp_path / "all" / "px4_appended", nodes={"a": 0})
    monkeypatch.setattr(train_command, "FINE_TUNE", replace(TINY, num_scenes=16))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run(["train", "--recordings", "all", "--steps", "2", "--scenes", "16"])
    said = " ".join(capsys.readouterr().err.split())
    assert ended.value.code in (0, None), said
    assert "walk: 2 streams used, synchronous by one node, one clock" in said
    assert "whether it helps is not known" in said  # 30 s leave no end to measure on
    assert "coeval export-encoders --checkpoint runs/own/checkpoint.pt" in said
    state = read_checkpoint(tmp_path / "runs" / "own" / "checkpoint.pt")
    assert state["began_from"] == "the encoders that ship"
    assert state["recordings"] == ["px4_appended", "walk"]


def test_encoders_of_ones_own_do_not_replace_the_installed_ones_by_accident(
    tmp_path: Path, own: list[OwnRecording]
) -> None:
    checkpoint = tuned(tmp_path / "run", own)
    with pytest.raises(BadConfig, match=r"say where its encoders go, with --out .*run/models"):
        run(["export-encoders", "--checkpoint", str(checkpoint)])


def test_a_beginning_without_recordings_is_a_mistake() -> None:
    with pytest.raises(BadConfig, match="--from: say on which recordings of yours"):
        run(["train", "--from", "shipped"])
