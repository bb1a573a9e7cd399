"""How often calm material passes a score of the fusion network: split-conformal, by modality.

The calm scenes have seeds of their own: nothing is trained on them and no benchmark uses them. Each
is seen as one session of all its streams and as two of half of
them, so that the rates hold for sessions of few streams too.
"""

from collections.abc import Sequence

import numpy as np
import torch

from coeval.alarm_rate import AlarmRate, fit_alarm_rate, lasting
from coeval.fusion_input import TICK_HOPS, SessionInputs, TickInputs
from coeval.samples import MODALITIES, FloatArray, Modality
from coeval_training.fusion_data import WARM_HOPS, EmbeddedStream
from coeval_training.fusion_model import MODES, Fusion, Streams

FIRST_CALM_SEED = 960_000
"""Scenes whose alarms are counted."""
CALM_SCENES, CALM_S = 110, 100.0
"""How many, and the length of each: 3 hours, of numeric readings twice as much."""

Runs = dict[str, dict[Modality, list[FloatArray]]]


@torch.no_grad()
def score_calm(network: Fusion, streams: Sequence[EmbeddedStream]) -> FloatArray:
    """Scores of a calm session, shape (N, 3, S); NaN where a stream cannot be judged."""
    num_hops = len(streams[0].rows) // TICK_HOPS * TICK_HOPS
    covered = np.stack([s.covered for s in streams])[:, :num_hops]
    inputs = SessionInputs([s.modality for s in streams]).push(
        np.stack([s.rows for s in streams])[:, :num_hops], covered
    )
    n = len(inputs.recent)
    kinds = np.array([MODALITIES.index(s.modality) for s in streams])
    present = inputs.covered[:, :, -1]
    known = {name: torch.from_numpy(getattr(inputs, name)) for name in TickInputs.__slots__}
    out = network(
        Streams(
            **known,
            modality=torch.from_numpy(np.repeat(kinds[None], n, axis=0)),
            present=torch.from_numpy(present),
        )
    )
    scores: FloatArray = out.scores.numpy()
    ends = np.arange(1, n + 1) * TICK_HOPS
    seen = np.cumsum(covered, axis=1)[:, ends - 1].T
    usable = (present > 0) & (seen >= WARM_HOPS)
    return np.where(usable[:, None], scores, np.nan).astype(np.float32)


def calm_scores(network: Fusion, scenes: Sequence[Sequence[EmbeddedStream]], *, seed: int) -> Runs:
    """Scores of calm streams by mode and modality, a run a stream and session."""
    network.eval()
    runs: Runs = {mode: {modality: [] for modality in MODALITIES} for mode in MODES}
    for k, scene in enumerate(scenes):
        order = np.random.default_rng([seed, k, 17]).permutation(len(scene))
        half = len(scene) // 2
        sessions = [scene, [scene[i] for i in order[:half]], [scene[i] for i in order[half:]]]
        for streams in sessions:
            if len(streams) < 2:
                continue
            scores = score_calm(network, streams)
            for s, stream in enumerate(streams):
                for m, mode in enumerate(MODES):
                    runs[mode][stream.modality].append(scores[:, m, s])
    return runs


def rates_of(runs: Runs) -> dict[str, dict[Modality, AlarmRate]]:
    """Alarms a day by mode and modality.

    Raises:
        NotEnoughEvidence: too few calm scenes.
    """
    # A scene is seen as one session and as two: its hours count once for what is guaranteed.
    return {
        mode: {
            modality: fit_alarm_rate([lasting(run) for run in found], views=2)
            for modality, found in by_modality.items()
            if found
        }
        for mode, by_modality in runs.items()
    }
