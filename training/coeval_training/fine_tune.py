"""Training on one's own recordings, without labels, from the encoders that ship or from scratch.

Own recordings make half of every batch, generated scenes the other half, so that what was learnt
before is not forgotten. Whether it helped is measured on the last fifth of every own recording,
which is not trained on, and on generated scenes, before and after. Resumes like `train`.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from coeval.folders import make_folder
from coeval_training.checkpoint import read_checkpoint, write_checkpoint
from coeval_training.commit import current_commit
from coeval_training.data import StreamRows
from coeval_training.material import Material
from coeval_training.own_recordings import LEAST_HOPS, OwnRecording, draw_own_scene, has_pair
from coeval_training.shipped import read_encoders
from coeval_training.train import (
    Encoders,
    TrainConfig,
    descend,
    optimiser_of,
    resume,
    set_rate,
    step_loss,
    validate,
    watched_and_trained_on,
)

FINE_TUNE = TrainConfig(num_scenes=120, num_validation=24, steps=300, rate=3e-4)
"""What differs from training from scratch: a tenth of the steps, at a seventh of the rate."""
STEPS_PER_CHECKPOINT = 25
"""How often progress is measured and kept: two minutes or so, which an interruption costs."""
OWN_SHARE = 0.5
"""Share of a batch that is of one's own recordings."""
HELD_OUT_SHARE = 0.2
"""The end of every recording is not trained on where it is long enough to be measured."""
LEAST_HELD_OUT_HOPS = 600
"""30 s: a shorter end says nothing."""
SCENE_HOPS = 1600
"""Length of what is drawn of a recording, before it is cropped and stretched."""
NUM_WATCHED_OWN = 24
"""Pieces of held-out ends that progress is watched on."""

Scene = dict[str, StreamRows]
Results = dict[str, dict[str, float]]


def split(material: Material) -> tuple[Material, Material]:
    """The beginning of every stream, to train on, and its end, to measure on; the end may be empty.

    Where too little would be left to train on, nothing is held out.
    """
    ends = [r.start_hops + len(r.rows) for streams in material.values() for r in streams]
    begins = [r.start_hops for streams in material.values() for r in streams]
    at = min(begins) + (1 - HELD_OUT_SHARE) * (max(ends) - min(begins))
    if max(ends) - at < LEAST_HELD_OUT_HOPS:
        return material, {}
    first: Material = {}
    last: Material = {}
    for slot, streams in material.items():
        for rows in streams:
            row = min(max(round(at - rows.start_hops), 0), len(rows.rows))
            if row >= LEAST_HOPS:
                head = StreamRows(start_hops=rows.start_hops, rows=rows.rows[:row])
                first.setdefault(slot, []).append(head)
            if len(rows.rows) - row >= LEAST_HELD_OUT_HOPS:
                tail = StreamRows(start_hops=rows.start_hops + row, rows=rows.rows[row:])
                last.setdefault(slot, []).append(tail)
    if not has_pair(first):
        return material, {}
    return first, last if has_pair(last) else {}


def watched_own(ends: Sequence[Material], seed: int) -> list[Scene]:
    """Pieces of held-out ends; none where no recording is long enough."""
    rng = np.random.default_rng([seed, 23])
    if not ends:
        return []
    drawn = [
        draw_own_scene(ends[k % len(ends)], rng, longest_hops=SCENE_HOPS)
        for k in range(NUM_WATCHED_OWN)
    ]
    return [scene for scene in drawn if len(scene) > 1]


def start_of(begin: str, seed: int) -> tuple[Encoders, str]:
    """The encoders to begin with, and what they are.

    Args:
        begin: `shipped`, `scratch`, or the path of a checkpoint or of a folder of ONNX files.
        seed: of weights that begin at random.

    Raises:
        EncoderMismatch: ONNX files that cannot be read back.
        BadCheckpoint: no checkpoint.
    """
    if begin == "scratch":
        torch.manual_seed(seed)
        return Encoders(), "nothing"
    if begin == "shipped":
        return read_encoders(), "the encoders that ship"
    path = Path(begin)
    if path.is_dir():
        return read_encoders(path), str(path)
    encoders = Encoders()
    encoders.restore(read_checkpoint(path)["encoders"], checkpoint=path)
    return encoders, str(path)


def fine_tune(
    config: TrainConfig,
    folder: Path,
    own: Sequence[OwnRecording],
    *,
    begin: str,
    workers: int,
    say: Callable[[str], None],
    progress: Callable[[float, float], None] = lambda *_: None,
    rendered: Callable[[float], None] = lambda _: None,
) -> Path:
    """Train on own recordings; returns the path of the last checkpoint.

    Args:
        config: the run.
        folder: keeps scenes, checkpoints and the log; an interrupted run resumes from it.
        own: the recordings, read.
        begin: as `start_of` takes it.
        workers: processes that render scenes.
        say: called with a line now and then.
        progress: called with the share done, 0…1, and the loss.
        rendered: called before with the share of scenes that are rendered, 0…1.

    Raises:
        BadConfig: the folder cannot be written, or keeps a checkpoint of another run.
        BadCheckpoint: what it keeps is no checkpoint.
        EncoderMismatch: the encoders to begin with cannot be used.
    """
    make_folder(folder, name="--out")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoders, began_from = start_of(begin, config.seed)
    encoders.to(device).train()
    optimiser = optimiser_of(encoders, config)
    names = [each.name for each in own]
    checkpoint, log_file, first_step = folder / "checkpoint.pt", folder / "log.jsonl", 0
    if checkpoint.exists():
        first_step = resume(checkpoint, config, names, encoders, optimiser)
        say(f"resuming at step {first_step}")
    else:
        log_file.unlink(missing_ok=True)
    watched, scenes = watched_and_trained_on(config, folder, workers=workers, rendered=rendered)
    parts = [split(each.material) for each in own]
    material = [first for first, _ in parts]
    ours = watched_own([last for _, last in parts if last], config.seed)
    say(
        f"{len(scenes)} generated scenes, {len(own)} recordings, {len(ours)} pieces of their ends "
        "held out"
    )
    if first_step == 0:
        before = measure(encoders, watched, ours, device)
        say(f"before: {shares(before)}")
        keep_progress(log_file, step=0, loss=None, found=before)
    num_own = round(OWN_SHARE * config.scenes_per_step)
    started = time.monotonic()
    for step in range(first_step, config.steps):
        rng = np.random.default_rng([config.seed, step])
        torch.manual_seed(int(rng.integers(2**31)))  # of dropout: a resumed run goes on alike
        set_rate(optimiser, config, step)
        chosen = [
            draw_own_scene(material[rng.integers(len(material))], rng, longest_hops=SCENE_HOPS)
            for _ in range(num_own)
        ]
        picked = rng.choice(len(scenes), config.scenes_per_step - num_own, replace=False)
        chosen += [scenes[index] for index in picked]
        loss, _ = step_loss(encoders, mixed(chosen, num_own), config, rng, device)
        descend(encoders, optimiser, loss)
        progress((step + 1) / config.steps, loss.item())
        if (step + 1) % STEPS_PER_CHECKPOINT == 0 or step + 1 == config.steps:
            after = measure(encoders, watched, ours, device)
            say(f"step {step + 1} loss {loss.item():.3f}: {shares(after)}")
            state = {
                "config": asdict(config),
                "recordings": names,
                "licences": {each.name: each.licence for each in own},
                "began_from": began_from,
                "commit": current_commit(),
                "step": step + 1,
                "encoders": encoders.state_dict(),
                "optimiser": optimiser.state_dict(),
                "results": after["generated"],
                "own_results": after["own"],
            }
            write_checkpoint(checkpoint, state)
            keep_progress(log_file, step=step + 1, loss=loss.item(), found=after)
    say(f"{time.monotonic() - started:.0f} s")
    return checkpoint


def keep_progress(
    log_file: Path, *, step: int, loss: float | None, found: dict[str, Results]
) -> None:
    """Add what was measured after so many steps to a run's log; the first row is of none."""
    row = {"step": step, "loss": loss, "pairs": found["generated"], "own": found["own"]}
    with log_file.open("a") as log:
        log.write(json.dumps(row) + "\n")


def mixed(chosen: list[Scene], num_own: int) -> list[Scene]:
    """Own and generated scenes by turns: a stream is told from those of the next scenes, and two of
    one recording could show the same."""
    own, generated = chosen[:num_own], chosen[num_own:]
    by_turns = [scene for pair in zip(own, generated, strict=False) for scene in pair]
    return by_turns + generated[len(own) :]


def measure(
    encoders: Encoders, generated: list[Scene], own: list[Scene], device: torch.device
) -> dict[str, Results]:
    """Errors by pair on generated scenes, and on held-out ends of own recordings."""
    return {
        "generated": validate(encoders, generated, device),
        "own": validate(encoders, own, device) if own else {},
    }


def shares(found: dict[str, Results]) -> str:
    """The share within 100 ms, for people."""
    told = []
    for name, results in found.items():
        within = {pair: round(row["within_100ms"]) for pair, row in results.items()}
        told.append(f"{name}, % within 100 ms: {within or 'nothing to measure on'}")
    return "; ".join(told)
