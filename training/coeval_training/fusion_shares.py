"""How much early and late fusion count in hybrid: chosen on sessions that neither has seen."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from coeval.samples import MODALITIES, FloatArray, Modality
from coeval_training.fusion_data import FusionBatch, TrainingSession, draw_ticks
from coeval_training.fusion_model import VECTOR_DIM, Fusion, Streams
from coeval_training.ranks import auroc, reciprocal_rank

TICKS = 64
"""Ticks of a session that are looked at."""
SHARES = tuple(k / 10 for k in range(11))
"""Shares of early fusion that are tried."""
AS_GOOD = 1e-3
"""Of shares of early fusion in the scores that are as good as that, the least is taken: it learns
scenes by heart more easily."""
SHIFTED_SHARE: dict[Modality, float] = {
    "text": 0.1,
    "image": 1.5,
    "video": 0.1,
    "audio": 0.1,
    "metadata": 0.1,
}
"""What a nat of the test of `coeval.shifted` adds to a score, in spreads of the rest: it is
evidence already, nothing is learned. Chosen among 0.05 to 0.25, stills 0.3 to 3, on 31 tuning
scenes of 100 s (from 936 000): AUROC moves by 0.005, stills alone by more, since nearly all
that tells their moment is in the test (decision 0054)."""


def weigh(network: Fusion, sessions: Sequence[TrainingSession]) -> None:
    """Set the shares of the scores, by modality, and of the vectors."""
    network.eval()
    batches = [
        draw_ticks(
            [session],
            np.random.default_rng(k),
            num_sessions=1,
            ticks=min(TICKS, len(session.faulty)),
        )
        for k, session in enumerate(sessions)
    ]
    weigh_scores(network, batches)
    weigh_vectors(network, batches)


@torch.no_grad()
def weigh_scores(network: Fusion, batches: Sequence[FusionBatch]) -> None:
    """Share of early and late in each modality's score: what tells faulty from sound best."""
    scores, kinds, faulty = [], [], []
    for batch in batches:
        told = batch.told * batch.present > 0
        scores.append(network(streams_of(batch)).scores[:, :2].permute(0, 2, 1).numpy()[told])
        kinds.append(batch.modality[told])
        faulty.append(batch.faulty[told] > 0)
    every, kind, wrong = np.concatenate(scores), np.concatenate(kinds), np.concatenate(faulty)
    for k in range(len(MODALITIES)):
        of_kind = kind == k
        share = best_share(every[of_kind], wrong[of_kind]) if of_kind.any() else 0.0
        spread = every[of_kind].std(axis=0) + 1e-3 if of_kind.any() else np.ones(2)
        weights = [share / spread[0], (1.0 - share) / spread[1], SHIFTED_SHARE[MODALITIES[k]]]
        network.stack[k] = torch.tensor(weights, dtype=torch.float32)


def best_share(scores: FloatArray, faulty: np.ndarray) -> float:
    """The share of early fusion that orders best; 0 where nothing is faulty."""
    scaled = scores / (scores.std(axis=0) + 1e-3)
    found = []
    for share in SHARES:
        mixed = share * scaled[:, 0] + (1.0 - share) * scaled[:, 1]
        found.append(auroc(mixed[faulty], mixed[~faulty]) or 0.0)
    return next(s for s, at in zip(SHARES, found, strict=True) if at >= max(found) - AS_GOOD)


@torch.no_grad()
def weigh_vectors(network: Fusion, batches: Sequence[FusionBatch]) -> None:
    """Share of each in the vector: what finds the moment of the other half of the streams best."""
    halves: list[tuple[FloatArray, FloatArray]] = []
    for k, batch in enumerate(batches):
        about = streams_of(batch)
        looks = network.look(about)
        sound = about.present * (1.0 - torch.from_numpy(batch.faulty))
        first = sound * torch.from_numpy(some_streams(sound.shape[1], k))
        second = sound - first
        usable = (first.sum(1) > 0) & (second.sum(1) > 0)
        if int(usable.sum()) < 2:
            continue
        one, other = (
            network.fuse(network.together(looks, half), looks.late, half).vectors
            for half in (first, second)
        )
        halves.append((both_of(one)[usable].numpy(), both_of(other)[usable].numpy()))
    if not halves:
        return
    every = np.concatenate([half for pair in halves for half in pair])
    sizes = [
        float(np.sqrt(np.square(every[:, part]).sum(axis=1).mean())) + 1e-6
        for part in (slice(0, VECTOR_DIM), slice(VECTOR_DIM, None))
    ]
    ranks = []
    # Neither is left out: what a probe finds in either it must find in both.
    shares = [share for share in SHARES if 0.0 < share < 1.0]
    for share in shares:
        scale = scale_of(share, sizes)
        ranks.append(np.mean([reciprocal_rank(a * scale, b * scale) for a, b in halves]))
    share = shares[int(np.argmax(ranks))]
    network.share.copy_(torch.from_numpy(scale_of(share, sizes)[[0, -1]]))


def scale_of(share: float, sizes: Sequence[float]) -> FloatArray:
    """What the two parts are multiplied by, so that early counts by its share in a cosine."""
    parts = [np.sqrt(share) / sizes[0], np.sqrt(1.0 - share) / sizes[1]]
    return np.repeat(np.array(parts, np.float32), VECTOR_DIM)


def both_of(vectors: Tensor) -> Tensor:
    """Early's and late's vector side by side, of vectors of all modes, shape (B, FUSED_DIM)."""
    return torch.cat([vectors[:, 0, :VECTOR_DIM], vectors[:, 1, VECTOR_DIM:]], dim=-1)


def some_streams(num_streams: int, seed: int) -> FloatArray:
    """1 for about half of the streams, else 0."""
    order = np.random.default_rng([seed, 23]).permutation(num_streams)
    return (order < (num_streams + 1) // 2).astype(np.float32)


def streams_of(batch: FusionBatch) -> Streams:
    """A batch as tensors."""
    known = {
        name: torch.from_numpy(getattr(batch.inputs, name)) for name in type(batch.inputs).__slots__
    }
    return Streams(
        **known,
        modality=torch.from_numpy(batch.modality),
        present=torch.from_numpy(batch.present),
    )
