"""Trains the fusion network on embeddings of the encoders that ship; no labels are needed.

Three things are learned at once, each mode of fusion for itself: which stream is not of this
moment (faults are made, so the answer is known), what the streams that are left out show (masked
streams are told from the fused vector), and that two halves of a session's streams mean the same
moment (contrast against other moments).
"""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from coeval.errors import BadConfig
from coeval.folders import make_folder
from coeval.hops import HOP_NS
from coeval.samples import MODALITIES, Modality
from coeval.time import NS_PER_S
from coeval_edge.recording import open_recording
from coeval_edge.recording_samples import read_samples
from coeval_training.commit import current_commit
from coeval_training.data import SLOTS, StreamRows, make_scenes
from coeval_training.fusion_data import (
    Agreements,
    EmbeddedStream,
    Embedder,
    FusionBatch,
    TrainingSession,
    agreements_of,
    draw_ticks,
    make_session,
)
from coeval_training.fusion_model import GIST_HOPS, MODES, Fusion, FusionOut, huber
from coeval_training.fusion_scenes import (
    FIRST_FUSION_SEED,
    FusionRows,
    make_fusion_files,
    read_fusion_file,
    stream_rows,
)
from coeval_training.fusion_shares import streams_of, weigh
from coeval_training.material import present_recordings
from coeval_training.train import TrainConfig

LEAST_RECORDED_HOPS = 500
"""Shorter recordings (25 s) teach nothing: a session needs some history before a fault."""
STEPS_PER_CHECKPOINT = 200
STACKED_SHARE = 6
"""One session in so many is kept back to weigh early against late."""
AGREEMENTS_PER_STEP = 2048
WEIGHTS = (0.5, 0.5, 1.0)
"""Of the vectors' losses of early, late and hybrid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FusionConfig:
    """Everything that decides a training run of the fusion network."""

    seed: int = 1
    """Seeds weights, sessions and order."""
    num_scenes: int = 480
    """Generated scenes taken over from the encoders' training (seeds 0 …)."""
    num_long_scenes: int = 24
    """Longer ones of its own, with sensors that die (seeds from FIRST_FUSION_SEED)."""
    long_scene_s: float = 100.0
    """Length of each of those: what is usual for a stream is known by then."""
    long_sessions: int = 6
    """Sessions made of each of those: other streams, other faults."""
    steps: int = 1000
    """Optimiser steps."""
    sessions_per_step: int = 8
    """Sessions in a batch."""
    ticks_per_session: int = 8
    """Ticks of each."""
    rate: float = 2e-3
    """Peak learning rate of AdamW."""
    decay: float = 0.05
    """Weight decay of AdamW."""
    tell_weight: float = 0.5
    """Weight of telling masked streams."""
    match_weight: float = 0.2
    """Weight of matching two halves of a session's streams."""
    own_weight: float = 0.2
    """Weight of giving a stream back by itself."""

    def __post_init__(self) -> None:
        for name in ("num_scenes", "num_long_scenes", "steps", "long_sessions"):
            if getattr(self, name) < 1:
                raise BadConfig(f"{name} must be 1 or more, got {getattr(self, name)}")


def embed_scenes(
    paths: Sequence[Path], embedder: Embedder, scene_s: float
) -> list[list[EmbeddedStream]]:
    """Embeddings of all streams of the scenes."""
    num_hops = round(scene_s * NS_PER_S / HOP_NS)
    return [
        [embedder(rows, num_hops=num_hops) for rows in read_fusion_file(path).values()]
        for path in paths
    ]


def recorded_scenes(
    folder: Path | None, embedder: Embedder, *, seed: int
) -> list[list[EmbeddedStream]]:
    """Embeddings of the real recordings to train on that are there.

    Raises:
        BadRecording: one of them cannot be read.
    """
    scenes = []
    for k, name in enumerate(present_recordings(folder)):
        assert folder is not None
        streams = recorded_streams(folder / name, seed=seed + k)
        if len(streams) < 2:
            continue
        start = min(stream.start_hops for stream in streams)
        streams = [replace(s, start_hops=s.start_hops - start) for s in streams]
        num_hops = max(round(s.start_hops) + len(s.rows) for s in streams)
        if num_hops >= LEAST_RECORDED_HOPS:
            scenes.append([embedder(stream, num_hops=num_hops) for stream in streams])
    return scenes


def recorded_streams(folder: Path, *, seed: int) -> list[FusionRows]:
    """Rows of every stream of a recording."""
    recording = open_recording(folder)
    rng = np.random.default_rng([seed, 19])
    found = []
    for stream in recording.manifest.streams:
        rows = stream_rows(
            read_samples(recording, stream),
            stream.modality,
            phase_ns=int(rng.integers(0, HOP_NS)),
            dies_ns=None,
        )
        if rows is not None:
            found.append(rows)
    return found


def borrowed_scenes(
    folder: Path, seeds: range, embedder: Embedder, *, scene_s: float, workers: int
) -> list[list[EmbeddedStream]]:
    """Embeddings of scenes that the encoders' training keeps; rendered where they are absent."""
    num_hops = round(scene_s * NS_PER_S / HOP_NS)
    scenes = make_scenes(folder, seeds, duration_s=scene_s, workers=workers)
    return [
        [embedder(alive(stream, SLOTS[slot]), num_hops=num_hops) for slot, stream in scene.items()]
        for scene in scenes
    ]


def alive(stream: StreamRows, modality: Modality) -> FusionRows:
    """A stream whose sensor does not die."""
    return FusionRows(
        modality=modality,
        start_hops=stream.start_hops,
        rows=stream.rows,
        held_from=0,
        held=stream.rows[:0],
    )


def make_sessions(
    scenes: Sequence[Sequence[EmbeddedStream]], *, seed: int, per_scene: int
) -> list[TrainingSession]:
    """Sessions of every scene, streams of the scenes after it to be swapped in."""
    sessions = []
    for k, scene in enumerate(scenes):
        near = range(1, min(4, len(scenes)))
        others = [stream for d in near for stream in scenes[(k + d) % len(scenes)]]
        for n in range(per_scene):
            rng = np.random.default_rng([seed, k, n])
            sessions.append(make_session(scene, others, rng))
    return sessions


def set_scale(network: Fusion, scenes: Sequence[Sequence[EmbeddedStream]]) -> None:
    """Take over what is usual for each modality."""
    for k, modality in enumerate(MODALITIES):
        rows = [s.rows[s.covered > 0] for scene in scenes for s in scene if s.modality == modality]
        if rows:
            every = np.concatenate(rows)
            network.usual[k] = torch.from_numpy(every.mean(axis=0))
            network.spread[k] = torch.from_numpy(every.std(axis=0) + 1e-3)


def agreement_loss(network: Fusion, known: Agreements, rng: np.random.Generator) -> Tensor:
    """Of the part that judges agreement alone: it is small, and takes many ticks at a time."""
    at = rng.integers(0, len(known.faulty), AGREEMENTS_PER_STEP)
    judged = network.judge_agreement(
        torch.from_numpy(known.joint[at]),
        torch.from_numpy(known.modality[at]),
        torch.from_numpy(known.num_streams[at]),
    )
    return functional.binary_cross_entropy_with_logits(judged, torch.from_numpy(known.faulty[at]))


def halves(present: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two parts of the streams that are there, none of them empty where there are two."""
    order = torch.rand(present.shape, generator=rng) * present
    share = torch.rand((len(present), 1), generator=rng) * 0.6 + 0.2
    rank = order.argsort(dim=1, descending=True).argsort(dim=1)
    count = present.sum(1, keepdim=True)
    cut = (count * share).round().clamp(min=1)
    cut = torch.minimum(cut, (count - 1).clamp(min=1))
    first = present * (rank < cut)
    return first, present - first


def contrast(a: Tensor, b: Tensor, usable: Tensor) -> Tensor:
    """InfoNCE between two views of the same moments, other moments of the batch as negatives."""
    a, b = functional.normalize(a[usable], dim=-1), functional.normalize(b[usable], dim=-1)
    scores = a @ b.T / 0.1
    target = torch.arange(len(a))
    return 0.5 * (
        functional.cross_entropy(scores, target) + functional.cross_entropy(scores.T, target)
    )


def losses_of(
    network: Fusion, batch: FusionBatch, config: FusionConfig, rng: torch.Generator
) -> tuple[Tensor, dict[str, float]]:
    """The loss of a batch, and its parts."""
    about = streams_of(batch)
    faulty, told = torch.from_numpy(batch.faulty), torch.from_numpy(batch.told) * about.present
    out: FusionOut = network(about)
    judged = functional.binary_cross_entropy_with_logits(
        out.scores, faulty[:, None].expand_as(out.scores), reduction="none"
    )
    judged = (judged * told[:, None]).sum((0, 2)) / told.sum()
    parts = {f"judge_{mode}": float(judged[m].detach()) for m, mode in enumerate(MODES)}
    alone = functional.binary_cross_entropy_with_logits(
        out.own, torch.from_numpy(batch.by_itself), reduction="none"
    )
    # Hybrid's shares are chosen afterwards, on sessions that neither part has seen.
    loss = judged[0] + judged[1] + (alone * told).sum() / told.sum()
    sound = told * (1 - faulty)
    own = (out.errors[..., 0] * sound).sum() / sound.sum()
    # Vectors: streams that are sound, in two halves.
    first, second = halves(sound, rng)
    usable = (first.sum(1) > 0) & (second.sum(1) > 0)
    views = [
        network.fuse(network.together(out.looks, half), out.looks.late, half).vectors
        for half in (first, second)
    ]
    gist = out.looks.x[:, :, -GIST_HOPS:].mean(2)
    weight = sound * usable[:, None]
    for m, mode in enumerate(MODES):
        a, b = views[0][:, m], views[1][:, m]
        seen = a[:, None].expand(-1, gist.shape[1], -1)
        guess = network.tell[m](torch.cat([seen, out.looks.kind], dim=-1))
        off = huber(guess - gist).mean(-1)
        tell = (off * weight).sum() / weight.sum()
        match = contrast(a, b, usable)
        parts |= {f"tell_{mode}": float(tell.detach()), f"match_{mode}": float(match.detach())}
        loss = loss + WEIGHTS[m] * (config.tell_weight * tell + config.match_weight * match)
    parts["own"] = float(own.detach())
    return loss + config.own_weight * own, parts


def material_of(
    config: FusionConfig,
    folder: Path,
    *,
    encoder_scenes: Path,
    recordings: Path | None,
    embedder: Embedder,
    workers: int,
) -> tuple[list[TrainingSession], list[list[EmbeddedStream]]]:
    """All sessions, and the scenes that say what is usual for a modality."""
    seeds = range(FIRST_FUSION_SEED, FIRST_FUSION_SEED + config.num_long_scenes)
    paths = make_fusion_files(
        folder / "scenes", seeds, duration_s=config.long_scene_s, workers=workers
    )
    long = embed_scenes(paths, embedder, config.long_scene_s)
    borrowed = borrowed_scenes(
        encoder_scenes,
        range(config.num_scenes),
        embedder,
        scene_s=TrainConfig().scene_s,
        workers=workers,
    )
    real = recorded_scenes(recordings, embedder, seed=config.seed)
    sessions = make_sessions(borrowed, seed=config.seed, per_scene=1)
    sessions += make_sessions(long, seed=config.seed + 1, per_scene=config.long_sessions)
    sessions += make_sessions(real, seed=config.seed + 2, per_scene=config.long_sessions)
    return sessions, borrowed


def train_fusion(
    config: FusionConfig,
    folder: Path,
    *,
    encoder_scenes: Path,
    recordings: Path | None,
    embedder: Embedder,
    workers: int,
    say: Callable[[str], None],
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[Fusion, dict[str, Any]]:
    """Train the fusion network; returns it and what it was trained on.

    Args:
        config: the run.
        folder: keeps the rendered scenes, the checkpoint and the log; an interrupted run with the
            same configuration and encoders goes on from there.
        encoder_scenes: folder of the scenes that the encoders were trained on; made where absent.
        recordings: folder of real recordings to train on as well; None: none.
        embedder: the encoders.
        workers: processes that render.
        say: called with a line now and then.
        progress: called with the share done, 0…1.

    Raises:
        BadConfig: the folder cannot be written.
        BadRecording: a recording cannot be read.
    """
    make_folder(folder, name="--out")
    about = {
        "config": asdict(config),
        "encoders": embedder.sha256,
        "recordings": present_recordings(recordings),
    }
    torch.manual_seed(config.seed)
    network = Fusion()
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.rate, weight_decay=config.decay)
    checkpoint, log = folder / "fusion.pt", folder / "fusion.jsonl"
    first = resume(checkpoint, about, network, optimiser)
    if first == 0:
        log.unlink(missing_ok=True)
    sessions, usual = material_of(
        config,
        folder,
        encoder_scenes=encoder_scenes,
        recordings=recordings,
        embedder=embedder,
        workers=workers,
    )
    kept_back = sessions[::STACKED_SHARE]
    sessions = [s for k, s in enumerate(sessions) if k % STACKED_SHARE]
    say(f"{len(sessions)} sessions" + (f", going on at step {first}" if first else ""))
    known = agreements_of(sessions)
    if first == 0:
        set_scale(network, usual)
        network.joint_usual.copy_(torch.from_numpy(known.joint.mean(axis=0)))
        network.joint_spread.copy_(torch.from_numpy(known.joint.std(axis=0) + 0.1))
    began, recent = time.monotonic(), dict[str, float]()
    for step in range(first, config.steps):
        share = step / config.steps
        rate = config.rate * min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * share))
        for group in optimiser.param_groups:
            group["lr"] = rate
        rng = np.random.default_rng([config.seed, step])
        batch = draw_ticks(
            sessions, rng, num_sessions=config.sessions_per_step, ticks=config.ticks_per_session
        )
        halving = torch.Generator().manual_seed(int(rng.integers(2**31)))
        loss, parts = losses_of(network, batch, config, halving)
        loss = loss + agreement_loss(network, known, rng)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        recent = {k: 0.98 * recent.get(k, v) + 0.02 * v for k, v in parts.items()}
        progress((step + 1) / config.steps)
        if (step + 1) % STEPS_PER_CHECKPOINT == 0 or step + 1 == config.steps:
            shown = " ".join(f"{name} {value:.3f}" for name, value in recent.items())
            say(f"step {step + 1} {time.monotonic() - began:.0f} s {shown}")
            keep(checkpoint, about, network, optimiser, step + 1)
            with log.open("a") as file:
                file.write(json.dumps({"step": step + 1, "losses": recent}) + "\n")
    weigh(network, kept_back)
    lines = log.read_text().splitlines() if log.exists() else []
    losses = json.loads(lines[-1])["losses"] if lines else {}
    return network, about | {"commit": current_commit(), "losses": losses}


def keep(
    checkpoint: Path,
    about: dict[str, Any],
    network: Fusion,
    optimiser: torch.optim.Optimizer,
    step: int,
) -> None:
    """Replace the checkpoint; an interruption leaves the one before."""
    partial = checkpoint.with_suffix(".part")
    state = {"network": network.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
    torch.save({"about": about} | state, partial)
    partial.rename(checkpoint)


def resume(
    checkpoint: Path, about: dict[str, Any], network: Fusion, optimiser: torch.optim.Optimizer
) -> int:
    """The step to go on with; 0: there is no checkpoint, or one of another run or encoders."""
    try:
        state = torch.load(checkpoint, weights_only=True)
        if state["about"] != about:
            return 0
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        return int(state["step"])
    except Exception:  # absent, cut short, or of another version: all mean to begin anew
        return 0
