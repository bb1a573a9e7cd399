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
from coeval.folders import make_folder
from coeval.hops import HOP_NS
from coeval.samples import MODALITIES
from coeval.time import NS_PER_S
from coeval_edge.encoder import CONTEXT_HOPS
from coeval_training.augment import disturbed, other_channels, overlaid, varied
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
from coeval_training.losses import forgetting, highpass, lag_loss, lag_scores, spectrum
from coeval_training.material import draw_scene, present_recordings, read_recordings
from coeval_training.model import ATTENTION_HOPS, Encoder

PAIRS = tuple(itertools.combinations(SLOTS, 2))
STEPS_PER_CHECKPOINT = 200
"""How often progress is measured and kept."""
WATCHED_S = 80.0
"""Length of a watched scene …"""
WATCHED_CROP_HOPS = 36 * ATTENTION_HOPS
"""… hops of it that are correlated (1 152: 58 s) …"""
WATCHED_SHIFT_HOPS = 320
"""… how far apart its streams are cropped (16 s), and …"""
WATCHED_LAG_HOPS = 384
"""… the longest lag that is searched (19 s)."""
NUM_WRONG = 3
"""Wrong partners, the scenes before in the same batch, that a stream is told from."""
APART = NUM_WRONG + 1
"""Scenes of a batch that are so far apart are never told from each other."""
STEPS_PER_HOP = 4
"""Watched lags are interpolated to this part of a hop (12.5 ms)."""
BOUNDS_MS = (40, 100, 300)
"""Progress is the share of watched scenes whose error is below these."""
MS_PER_HOP = HOP_NS / NS_PER_S * 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Everything that decides a training run."""

    seed: int = 1
    """Seeds weights, crops and order."""
    num_scenes: int = 2000
    """Generated scenes to train on (seeds 0 …): many short ones. Sixty scenes of 120 s are learnt
    by heart; the same minutes as 240 of 30 s find 8 more of 100 new pairs, in a third of the steps
    (2026-11-25)."""
    num_validation: int = 48
    """Generated scenes to watch progress on (seeds from FIRST_WATCHED_SEED)."""
    scene_s: float = 40.0
    """Length of a generated scene."""
    steps: int = 3600
    """Optimiser steps."""
    scenes_per_step: int = 16
    """Scenes in a batch."""
    crop_hops: int = 12 * ATTENTION_HOPS
    """Hops of each that are correlated (384: 19 s)."""
    recordings_per_step: float = 2.0
    """Real recordings among the scenes of a batch, on average."""
    longest_shift_hops: int = 160
    """Streams of one scene are cropped up to this far apart (8 s)."""
    longest_lag_hops: int = 256
    """Lags that the right one is told from (13 s)."""
    rate: float = 2e-3
    """Peak learning rate of AdamW."""
    forgetting_weight: float = 0.05
    """Weight of the autoencoder term."""
    correspondence_weight: float = 1.0
    """Weight of the temporal-correspondence term; 0: an autoencoder alone."""
    stills_weight: float = 0.3
    """Weight of each pair with stills in that term, of every other 1: a minute of stills says so
    little that they are mostly learnt by heart."""
    row_noise: float = 0.1
    """Noise added to the rows, in units of their normalised spread."""
    column_spread: float = 0.2
    """Spread of each column's gain (natural logarithm) and level from scene to scene."""
    channel_loss: float = 0.15
    """How often a single channel of metadata is lost; signs are drawn anew, gains spread as those
    of columns: neither order, nor sign, nor number of channels means anything …"""
    overlaid_share: float = 0.3
    """… and how often a stream also shows, …"""
    overlay: float = 0.6
    """… by up to this factor, what another scene's stream shows: real ones show much that no
    other sensor knows of."""
    stretch: float = 0.2
    """Scenes are drawn faster or slower by up to this (natural logarithm) …"""
    stretched_share: float = 0.6
    """… this share of them."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise BadConfig(f"seed must be 0 or more, got {self.seed}")
        if self.crop_hops < ATTENTION_HOPS or self.crop_hops % ATTENTION_HOPS:
            raise BadConfig(
                f"crop_hops must be a multiple of {ATTENTION_HOPS}, got {self.crop_hops}"
            )
        if not 0 < self.longest_lag_hops < self.crop_hops:
            raise BadConfig(
                f"longest_lag_hops must be between 0 and crop_hops ({self.crop_hops}), "
                f"got {self.longest_lag_hops}"
            )
        if self.scenes_per_step <= NUM_WRONG:
            raise BadConfig(
                f"scenes_per_step must be more than {NUM_WRONG}, the wrong partners of each, "
                f"got {self.scenes_per_step}"
            )
        if self.correspondence_weight <= 0 and self.forgetting_weight <= 0:
            raise BadConfig(
                "correspondence_weight and forgetting_weight are both 0: nothing is trained"
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
        self.of = nn.ModuleDict({name: Encoder(name) for name in MODALITIES})

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
    spectra = {slot: spectrum(highpass(embedding)) for slot, embedding in embeddings.items()}
    losses: dict[tuple[str, str], Tensor] = {}
    for a, b in PAIRS:
        both = torch.from_numpy(batch.present[a] & batch.present[b]).to(device)
        lag = torch.from_numpy(batch.start_hops[a] - batch.start_hops[b]).to(device)
        usable = both & (lag.abs() < max_lag)
        if not bool(usable.any()):
            continue
        scores = lag_scores(spectra[a], spectra[b], max_lag=max_lag)
        wrong = [
            lag_scores(spectra[a], spectra[b].roll(k, dims=0), max_lag=max_lag)
            for k in range(1, min(NUM_WRONG + 1, len(scores)))
        ]
        loss = lag_loss(scores, torch.cat(wrong, dim=1), lag)
        losses[a, b] = (loss * usable).sum() / usable.sum()
    return losses


def correspondence(losses: dict[tuple[str, str], Tensor], *, stills_weight: float) -> Tensor:
    """Weighted mean of the pairs' losses."""
    weights = {pair: stills_weight if "stills" in pair else 1.0 for pair in losses}
    total = torch.stack([weights[pair] * loss for pair, loss in losses.items()]).sum()
    return total / sum(weights.values())


def to_tensors(
    batch: Batch,
    device: torch.device,
    rng: np.random.Generator,
    *,
    config: TrainConfig | None = None,
) -> dict[str, Tensor]:
    """Rows as tensors, made to differ as a run's configuration says; None: as they are."""
    tensors: dict[str, Tensor] = {}
    for number, (slot, rows) in enumerate(batch.rows.items()):
        x = torch.from_numpy(rows)
        if config is not None:
            generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
            x = overlaid(
                x,
                generator,
                apart=APART + number,
                share=config.overlaid_share,
                largest=config.overlay,
            )
            if SLOTS[slot] == "metadata":
                x = other_channels(
                    x, generator, spread=config.column_spread, lost=config.channel_loss
                )
            x = disturbed(x, generator, noise=config.row_noise, columns=config.column_spread)
        tensors[slot] = x.to(device)
    return tensors


@torch.no_grad()
def validate(
    encoders: Encoders, scenes: list[dict[str, StreamRows]], device: torch.device
) -> dict[str, dict[str, float]]:
    """Error of the highest-scoring lag on scenes never trained on, by pair."""
    encoders.eval()
    rng = np.random.default_rng(12345)
    errors: dict[str, list[float]] = {}
    for first in range(0, len(scenes), 8):
        batch = draw_batch(
            scenes[first : first + 8],
            rng,
            crop_hops=WATCHED_CROP_HOPS,
            context_hops=CONTEXT_HOPS,
            longest_shift_hops=WATCHED_SHIFT_HOPS,
        )
        embeddings = encoders.embed(to_tensors(batch, device, rng))
        spectra = {slot: spectrum(highpass(embedding)) for slot, embedding in embeddings.items()}
        for a, b in PAIRS:
            both = batch.present[a] & batch.present[b]
            lag = batch.start_hops[a] - batch.start_hops[b]
            scores = lag_scores(
                spectra[a], spectra[b], max_lag=WATCHED_LAG_HOPS, per_hop=STEPS_PER_HOP
            )
            found = scores.argmax(1).cpu().numpy() / STEPS_PER_HOP - WATCHED_LAG_HOPS
            error = np.abs(found - lag)[both] * MS_PER_HOP
            errors.setdefault(f"{a}-{b}", []).extend(error.tolist())
    encoders.train()
    return {
        pair: {
            "median_ms": float(np.median(values)),
        }
        | {
            f"within_{bound_ms}ms": float(np.mean(np.array(values) < bound_ms) * 100)
            for bound_ms in BOUNDS_MS
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


def optimiser_of(encoders: Encoders, config: TrainConfig) -> torch.optim.Optimizer:
    """What moves the weights of a run."""
    return torch.optim.AdamW(encoders.parameters(), lr=config.rate, weight_decay=0.01, fused=True)


def watched_and_trained_on(
    config: TrainConfig,
    folder: Path,
    *,
    workers: int,
    rendered: Callable[[float], None] = lambda _: None,
) -> tuple[list[dict[str, StreamRows]], list[dict[str, StreamRows]]]:
    """A run's generated scenes: those that progress is watched on, and those to train on.

    `rendered` is told the share that is there, where some are not.
    """
    made: list[list[dict[str, StreamRows]]] = []
    seconds = (config.num_validation * WATCHED_S, config.num_scenes * config.scene_s)
    for k, (first, num, length_s) in enumerate(
        (
            (FIRST_WATCHED_SEED, config.num_validation, WATCHED_S),
            (0, config.num_scenes, config.scene_s),
        )
    ):
        before_s, own_s = sum(seconds[:k]), seconds[k]

        def tell(share: float, before_s: float = before_s, own_s: float = own_s) -> None:
            rendered((before_s + own_s * share) / sum(seconds))

        made.append(
            make_scenes(
                folder / "scenes",
                range(first, first + num),
                duration_s=length_s,
                workers=workers,
                progress=tell,
            )
        )
    watched, scenes = made
    return watched, scenes


def set_rate(optimiser: torch.optim.Optimizer, config: TrainConfig, step: int) -> None:
    """The learning rate of a step: a short rise, then half a cosine down."""
    share = step / config.steps
    rate = config.rate * min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * share))
    for group in optimiser.param_groups:
        group["lr"] = rate


def step_loss(
    encoders: Encoders,
    chosen: list[dict[str, StreamRows]],
    config: TrainConfig,
    rng: np.random.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """The loss of one batch of scenes, and of it what the embeddings forget, unweighted."""
    batch = draw_batch(
        [
            varied(scene, rng, stretch=config.stretch, share=config.stretched_share)
            for scene in chosen
        ],
        rng,
        crop_hops=config.crop_hops,
        context_hops=CONTEXT_HOPS,
        longest_shift_hops=config.longest_shift_hops,
    )
    tensors = to_tensors(batch, device, rng, config=config)
    embeddings = encoders.embed(tensors)
    lost = torch.stack(
        [
            forgetting(
                encoders.encoder(slot).whole(tensors[slot][:, CONTEXT_HOPS:]),
                encoders.encoder(slot).reconstruct(e),
            )
            for slot, e in embeddings.items()
        ]
    ).sum()
    loss = config.forgetting_weight * lost
    if config.correspondence_weight > 0:
        losses = pair_losses(embeddings, batch, max_lag=config.longest_lag_hops, device=device)
        found = correspondence(losses, stills_weight=config.stills_weight)
        loss = loss + config.correspondence_weight * found
    return loss, lost


def descend(encoders: Encoders, optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of the weights down the loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    nn.utils.clip_grad_norm_(encoders.parameters(), 1.0)
    optimiser.step()


def train(
    config: TrainConfig,
    folder: Path,
    *,
    recordings_folder: Path | None,
    workers: int,
    say: Callable[[str], None],
    progress: Callable[[float, float], None] = lambda *_: None,
    rendered: Callable[[float], None] = lambda _: None,
) -> Path:
    """Train the encoders; returns the path of the last checkpoint.

    Args:
        config: the run.
        recordings_folder: holds the real recordings to train on; None: generated scenes only.
        folder: keeps scenes, checkpoints and the log; an interrupted run resumes from it.
        workers: processes that render scenes.
        say: called with a line now and then.
        progress: called with the share done, 0…1, and the loss.
        rendered: called before with the share of scenes that are rendered, 0…1.

    Raises:
        BadConfig: the folder cannot be written, or keeps a checkpoint of another run.
        BadCheckpoint: what it keeps is no checkpoint.
        BadRecording: a recording cannot be read.
    """
    make_folder(folder, name="--out")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(config.seed)
    encoders = Encoders().to(device)
    optimiser = optimiser_of(encoders, config)
    names = present_recordings(recordings_folder)
    checkpoint, log_file, first_step = folder / "checkpoint.pt", folder / "log.jsonl", 0
    if checkpoint.exists():
        first_step = resume(checkpoint, config, names, encoders, optimiser)
        say(f"resuming at step {first_step}")
    else:
        log_file.unlink(missing_ok=True)
    watched, scenes = watched_and_trained_on(config, folder, workers=workers, rendered=rendered)
    recordings = read_recordings(recordings_folder, seed=config.seed)
    say(f"{len(scenes)} generated scenes, {len(recordings)} real recordings")
    ceiling = math.log((1 + NUM_WRONG) * (2 * config.longest_lag_hops + 1))
    started, commit = time.monotonic(), current_commit()
    for step in range(first_step, config.steps):
        set_rate(optimiser, config, step)
        rng = np.random.default_rng([config.seed, step])
        torch.manual_seed(int(rng.integers(2**31)))  # of dropout: a resumed run goes on alike
        picked = rng.choice(len(scenes), config.scenes_per_step, replace=False)
        chosen = [scenes[index] for index in picked]
        for k in range(int(config.recordings_per_step + rng.random()) if recordings else 0):
            place = k * APART % config.scenes_per_step
            chosen[place] = draw_scene(recordings[rng.integers(len(recordings))], rng)
        loss, lost = step_loss(encoders, chosen, config, rng, device)
        descend(encoders, optimiser, loss)
        progress((step + 1) / config.steps, loss.item())
        if (step + 1) % STEPS_PER_CHECKPOINT == 0 or step + 1 == config.steps:
            results = validate(encoders, watched, device)
            within = {pair: round(row["within_40ms"]) for pair, row in results.items()}
            say(
                f"step {step + 1} loss {loss.item():.3f} of {ceiling:.2f} lost {lost.item():.3f} "
                f"{time.monotonic() - started:.0f} s; % within 40 ms: {within}"
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
