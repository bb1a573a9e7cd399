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

from coeval.features import DIMS
from coeval.samples import MODALITIES
from coeval_edge.encoder import CONTEXT_HOPS
from coeval_training.data import SLOTS, Batch, StreamRows, draw_batch, make_scenes
from coeval_training.losses import forgetting, highpass, lag_loss, lag_scores
from coeval_training.material import draw_scene, read_recordings
from coeval_training.model import ATTENTION_HOPS, Encoder

PAIRS = tuple(itertools.combinations(SLOTS, 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run."""

    seed: int = 1
    """Seeds weights, crops and order."""
    num_scenes: int = 240
    """Generated scenes to train on (seeds 0 …)."""
    num_validation: int = 32
    """Generated scenes to watch progress on (seeds 900 000 …)."""
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


class Encoders(nn.Module):
    """The encoder of every modality, and how sharp each pair's scores are."""

    def __init__(self) -> None:
        super().__init__()
        self.of = nn.ModuleDict({name: Encoder(DIMS[name]) for name in MODALITIES})

    def encoder(self, slot: str) -> Encoder:
        """The encoder that a slot's rows take."""
        encoder = self.of[SLOTS[slot]]
        assert isinstance(encoder, Encoder)
        return encoder

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
    """Rows as tensors, with noise and dropped stretches on the present ones."""
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
            crop_hops=36 * ATTENTION_HOPS,
            context_hops=CONTEXT_HOPS,
            longest_shift_hops=config.longest_shift_hops,
        )
        embeddings = encoders.embed(to_tensors(batch, device, rng, 0.0))
        filtered = {slot: highpass(embedding) for slot, embedding in embeddings.items()}
        for a, b in PAIRS:
            both = batch.present[a] & batch.present[b]
            lag = batch.start_hops[a] - batch.start_hops[b]
            found = lag_scores(filtered[a], filtered[b], max_lag=max_lag).argmax(1).cpu().numpy()
            error = np.abs(found - max_lag - lag)[both] * 50.0
            errors.setdefault(f"{a}-{b}", []).extend(error.tolist())
    encoders.train()
    return {
        pair: {
            "median_ms": float(np.median(values)),
            "within_100ms": float(np.mean(np.array(values) < 100.0) * 100),
        }
        for pair, values in errors.items()
    }


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
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    scenes = make_scenes(
        folder / "scenes", range(config.num_scenes), duration_s=config.scene_s, workers=workers
    )
    held_out = make_scenes(
        folder / "scenes",
        range(900_000, 900_000 + config.num_validation),
        duration_s=config.scene_s,
        workers=workers,
    )
    recordings = read_recordings(recordings_folder, seed=config.seed)
    say(f"{len(scenes)} generated scenes, {len(recordings)} real recordings")
    torch.manual_seed(config.seed)
    encoders = Encoders().to(device)
    optimiser = torch.optim.AdamW(encoders.parameters(), lr=config.rate, weight_decay=0.01)
    checkpoint, first_step = folder / "checkpoint.pt", 0
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["config"] == asdict(config):
            encoders.load_state_dict(state["encoders"])
            optimiser.load_state_dict(state["optimiser"])
            first_step = state["step"]
            say(f"resuming at step {first_step}")
    max_lag = config.crop_hops // 2
    ceiling = math.log(4 * max_lag + 2)
    started = time.monotonic()
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
        if (step + 1) % 100 == 0 or step + 1 == config.steps:
            results = validate(encoders, held_out, config, device)
            within = {pair: round(row["within_100ms"]) for pair, row in results.items()}
            say(
                f"step {step + 1} loss {loss.item():.3f} of {ceiling:.2f} lost {lost.item():.3f} "
                f"{time.monotonic() - started:.0f} s; % within 100 ms: {within}"
            )
            state = {
                "config": asdict(config),
                "step": step + 1,
                "encoders": encoders.state_dict(),
                "optimiser": optimiser.state_dict(),
                "results": results,
            }
            torch.save(state, checkpoint.with_suffix(".part"))
            checkpoint.with_suffix(".part").rename(checkpoint)
            with (folder / "log.jsonl").open("a") as log:
                row = {"step": step + 1, "loss": loss.item(), "pairs": results}
                log.write(json.dumps(row) + "\n")
    return checkpoint
