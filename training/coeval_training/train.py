"""The training loop: crops of scenes → embeddings of all streams → lag loss over all pairs.

Reproducible by seed on one machine; resumes from its last checkpoint; a GPU is used where there
is one.
"""

import itertools
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from coeval.errors import BadConfig
from coeval.features import DIMS
from coeval.hops import HOP_NS
from coeval.samples import MODALITIES
from coeval.time import NS_PER_S
from coeval_edge.encoder import CONTEXT_HOPS
from coeval_training.checkpoint import BadCheckpoint, read_checkpoint, write_checkpoint
from coeval_training.commit import current_commit
from coeval_training.data import (
    FIRST_WATCHED_SEED,
    SLOTS,
    Batch,
    StreamRows,
    draw_batch,
    make_scenes,
)
from coeval_training.losses import forgetting, highpass, lag_loss, lag_scores
from coeval_training.material import draw_scene, present_recordings, read_recordings
from coeval_training.model import ATTENTION_HOPS, Encoder
from coeval_training.out_folder import make_out_folder

PAIRS = tuple(itertools.combinations(SLOTS, 2))
STEPS_PER_CHECKPOINT = 100
"""How often progress is measured and kept."""
WATCHED_CROP_HOPS = 36 * ATTENTION_HOPS
"""Hops of a watched scene that are correlated (1 152: 58 s)."""
MS_PER_HOP = HOP_NS / NS_PER_S * 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run."""

    seed: int = 1
    """Seeds weights, crops and order."""
    num_scenes: int = 240
    """Generated scenes to train on (seeds 0 …)."""
    num_validation: int = 32
    """Generated scenes to watch progress on (seeds from FIRST_WATCHED_SEED)."""
    scene_s: float = 120.0
    """Length of a generated scene."""
    steps: int = 2600
    """Optimiser steps."""
    scenes_per_step: int = 8
    """Scenes in a batch of short crops; long crops take half as many."""
    crop_hops: int = 24 * ATTENTION_HOPS
    """Hops in a short crop (768: 38 s)."""
    long_crop_hops: int = 56 * ATTENTION_HOPS
    """Hops in a long crop (1 792: 90 s), for streams that say little a second, such as stills."""
    recordings_per_step: float = 0.8
    """Real recordings among the scenes of a batch, on average."""
    longest_shift_hops: int = 320
    """Streams of one scene are cropped up to this far apart (15 s)."""
    rate: float = 2e-3
    """Peak learning rate of AdamW."""
    forgetting_weight: float = 0.05
    """Weight of the autoencoder term."""
    row_noise: float = 0.1
    """Noise added to the rows, in units of their normalised spread."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise BadConfig(f"seed must be 0 or more, got {self.seed}")
        for name in ("crop_hops", "long_crop_hops"):
            hops = getattr(self, name)
            if hops < ATTENTION_HOPS or hops % ATTENTION_HOPS:
                raise BadConfig(f"{name} must be a multiple of {ATTENTION_HOPS}, got {hops}")
        if self.long_crop_hops < self.crop_hops:
            raise BadConfig(
                f"long_crop_hops must be at least crop_hops ({self.crop_hops}), "
                f"got {self.long_crop_hops}"
            )
        if self.scenes_per_step < 4:
            raise BadConfig(  # of half as many, each needs another as its wrong partner
                f"scenes_per_step must be 4 or more, got {self.scenes_per_step}"
            )
        if self.num_scenes < self.scenes_per_step:
            raise BadConfig(
                f"num_scenes must be at least scenes_per_step ({self.scenes_per_step}), "
                f"got {self.num_scenes}"
            )


class Encoders(nn.Module):
    """The encoder of every modality."""

    def __init__(self) -> None:
        super().__init__()
        self.of = nn.ModuleDict({name: Encoder(DIMS[name]) for name in MODALITIES})

    def encoder(self, slot: str) -> Encoder:
        """The encoder that a slot's rows take."""
        encoder = self.of[SLOTS[slot]]
        assert isinstance(encoder, Encoder)
        return encoder

    def restore(self, weights: dict[str, Tensor], *, checkpoint: Path) -> None:
        """Take the weights that a checkpoint holds.

        Raises:
            BadCheckpoint: they are of other features or another network.
        """
        try:
            self.load_state_dict(weights)
        except RuntimeError as exc:
            raise BadCheckpoint(
                f"checkpoint {checkpoint}: made for other features or another network; "
                "train again into another folder"
            ) from exc

    def embed(self, rows: dict[str, Tensor]) -> dict[str, Tensor]:
        """Embeddings of every slot after the context, shape (B, T, E); slots may share encoders."""
        return {slot: self.encoder(slot)(x)[:, CONTEXT_HOPS:] for slot, x in rows.items()}


def pair_losses(
    embeddings: dict[str, Tensor], batch: Batch, *, max_lag: int, device: torch.device
) -> dict[tuple[str, str], Tensor]:
    """Mean lag loss of every pair of slots that some scene of the batch has."""
    filtered = {slot: highpass(embedding) for slot, embedding in embeddings.items()}
    losses: dict[tuple[str, str], Tensor] = {}
    for a, b in PAIRS:
        both = torch.from_numpy(batch.present[a] & batch.present[b]).to(device)
        lag = torch.from_numpy(batch.start_hops[a] - batch.start_hops[b]).to(device)
        usable = both & (lag.abs() < max_lag)
        if not bool(usable.any()):
            continue
        scores = lag_scores(filtered[a], filtered[b], max_lag=max_lag)
        wrong = lag_scores(filtered[a], filtered[b].roll(1, dims=0), max_lag=max_lag)
        loss = lag_loss(scores, wrong, lag)
        losses[a, b] = (loss * usable).sum() / usable.sum()
    return losses


def to_tensors(
    batch: Batch, device: torch.device, rng: np.random.Generator, noise: float
) -> dict[str, Tensor]:
    """Rows as tensors; with noise on what is there and a gain a scene, coverage as it was."""
    tensors: dict[str, Tensor] = {}
    for slot, rows in batch.rows.items():
        x = torch.from_numpy(rows).to(device)
        if noise > 0:
            generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
            wobble = torch.randn(x.shape, generator=generator).to(device)
            gain = torch.exp(0.2 * torch.randn((len(x), 1, 1), generator=generator)).to(device)
            x = torch.cat([(x * gain + noise * wobble * (x != 0))[..., :-1], x[..., -1:]], dim=-1)
        tensors[slot] = x
    return tensors


@torch.no_grad()
def validate(
    encoders: Encoders,
    scenes: list[dict[str, StreamRows]],
    config: TrainConfig,
    device: torch.device,
) -> dict[str, dict[str, float]]:
    """Error of the highest-scoring lag on scenes never trained on, by pair."""
    encoders.eval()
    rng = np.random.default_rng(12345)
    errors: dict[str, list[float]] = {}
    max_lag = config.crop_hops // 2
    for first in range(0, len(scenes), 8):
        batch = draw_batch(
            scenes[first : first + 8],
            rng,
            crop_hops=WATCHED_CROP_HOPS,
            context_hops=CONTEXT_HOPS,
            longest_shift_hops=config.longest_shift_hops,
        )
        embeddings = encoders.embed(to_tensors(batch, device, rng, 0.0))
        filtered = {slot: highpass(embedding) for slot, embedding in embeddings.items()}
        for a, b in PAIRS:
            both = batch.present[a] & batch.present[b]
            lag = batch.start_hops[a] - batch.start_hops[b]
            found = lag_scores(filtered[a], filtered[b], max_lag=max_lag).argmax(1).cpu().numpy()
            error = np.abs(found - max_lag - lag)[both] * MS_PER_HOP
            errors.setdefault(f"{a}-{b}", []).extend(error.tolist())
    encoders.train()
    return {
        pair: {
            "median_ms": float(np.median(values)),
            "within_100ms": float(np.mean(np.array(values) < 100.0) * 100),
        }
        for pair, values in errors.items()
        if values
    }


def resume(
    checkpoint: Path,
    config: TrainConfig,
    recordings: list[str],
    encoders: Encoders,
    optimiser: torch.optim.Optimizer,
) -> int:
    """Take up an interrupted run where its checkpoint left it; returns the next step.

    Raises:
        BadConfig: the checkpoint is of another run.
        BadCheckpoint: it is none.
    """
    state = read_checkpoint(checkpoint, device=next(encoders.parameters()).device)
    asked = asdict(config) | {"recordings": recordings}
    before = state["config"] | {"recordings": state.get("recordings", recordings)}
    changed = [key for key in asked if asked[key] != before.get(key)]
    if changed:
        raise BadConfig(
            f"{checkpoint} is of a run with "
            f"{', '.join(f'{key} {before.get(key)}' for key in changed)}, asked for "
            f"{', '.join(f'{key} {asked[key]}' for key in changed)}; "
            "choose another --out, or remove the checkpoint to begin anew"
        )
    encoders.restore(state["encoders"], checkpoint=checkpoint)
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def train(
    config: TrainConfig,
    folder: Path,
    *,
    recordings_folder: Path | None,
    workers: int,
    say: Callable[[str], None],
    progress: Callable[[float], None] = lambda _: None,
) -> Path:
    """Train the encoders; returns the path of the last checkpoint.

    Args:
        config: the run.
        recordings_folder: holds the real recordings to train on; None: generated scenes only.
        folder: keeps scenes, checkpoints and the log; an interrupted run resumes from it.
        workers: processes that render scenes.
        say: called with a line now and then.
        progress: called with the share done, 0…1.

    Raises:
        BadConfig: the folder cannot be written, or keeps a checkpoint of another run.
        BadCheckpoint: what it keeps is no checkpoint.
        BadRecording: a recording cannot be read.
    """
    make_out_folder(folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.seed)
    encoders = Encoders().to(device)
    optimiser = torch.optim.AdamW(encoders.parameters(), lr=config.rate, weight_decay=0.01)
    names = present_recordings(recordings_folder)
    checkpoint, log_file, first_step = folder / "checkpoint.pt", folder / "log.jsonl", 0
    if checkpoint.exists():
        first_step = resume(checkpoint, config, names, encoders, optimiser)
        say(f"resuming at step {first_step}")
    else:
        log_file.unlink(missing_ok=True)
    scenes, watched = (
        make_scenes(
            folder / "scenes", range(first, first + num), duration_s=config.scene_s, workers=workers
        )
        for first, num in ((0, config.num_scenes), (FIRST_WATCHED_SEED, config.num_validation))
    )
    recordings = read_recordings(recordings_folder, seed=config.seed)
    say(f"{len(scenes)} generated scenes, {len(recordings)} real recordings")
    max_lag = config.crop_hops // 2
    ceiling = math.log(4 * max_lag + 2)
    started, commit = time.monotonic(), current_commit()
    for step in range(first_step, config.steps):
        share = step / config.steps
        rate = config.rate * min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * share))
        for group in optimiser.param_groups:
            group["lr"] = rate
        rng = np.random.default_rng([config.seed, step])
        is_long = step % 2 == 1
        num_scenes = config.scenes_per_step // (2 if is_long else 1)
        picked = rng.choice(len(scenes), num_scenes, replace=False)
        chosen = [scenes[index] for index in picked]
        if recordings and rng.random() < config.recordings_per_step:
            chosen[0] = draw_scene(recordings[rng.integers(len(recordings))], rng)
        batch = draw_batch(
            chosen,
            rng,
            crop_hops=config.long_crop_hops if is_long else config.crop_hops,
            context_hops=CONTEXT_HOPS,
            longest_shift_hops=config.longest_shift_hops,
        )
        tensors = to_tensors(batch, device, rng, config.row_noise)
        embeddings = encoders.embed(tensors)
        losses = pair_losses(embeddings, batch, max_lag=max_lag, device=device)
        lost = torch.stack(
            [
                forgetting(tensors[slot][:, CONTEXT_HOPS:], encoders.encoder(slot).reconstruct(e))
                for slot, e in embeddings.items()
            ]
        ).sum()
        loss = torch.stack(list(losses.values())).mean() + config.forgetting_weight * lost
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(encoders.parameters(), 1.0)
        optimiser.step()
        progress((step + 1) / config.steps)
        if (step + 1) % STEPS_PER_CHECKPOINT == 0 or step + 1 == config.steps:
            results = validate(encoders, watched, config, device)
            within = {pair: round(row["within_100ms"]) for pair, row in results.items()}
            say(
                f"step {step + 1} loss {loss.item():.3f} of {ceiling:.2f} lost {lost.item():.3f} "
                f"{time.monotonic() - started:.0f} s; % within 100 ms: {within}"
            )
            state = {
                "config": asdict(config),
                "recordings": names,
                "commit": commit,
                "step": step + 1,
                "encoders": encoders.state_dict(),
                "optimiser": optimiser.state_dict(),
                "results": results,
            }
            write_checkpoint(checkpoint, state)
            with log_file.open("a") as log:
                row = {"step": step + 1, "loss": loss.item(), "pairs": results}
                log.write(json.dumps(row) + "\n")
    return checkpoint
