"""Scenes made to differ each time they are drawn, so that none is learnt by heart.

Without this, encoders put 97% of the training scenes' pairs within 40 ms and 74% of new ones
(240 scenes, 2026-11-25): what is scarce is scenes, not steps.
"""

import numpy as np
import torch
from torch import Tensor

from coeval.samples import FloatArray
from coeval_training.data import StreamRows


def stretched(scene: dict[str, StreamRows], factor: float) -> dict[str, StreamRows]:
    """The scene played `factor` times as fast, all streams alike; true times follow."""
    return {slot: stretched_rows(stream, factor) for slot, stream in scene.items()}


def stretched_rows(stream: StreamRows, factor: float) -> StreamRows:
    """Rows at new instants, linear between the middles of the hops that are there."""
    count = int(len(stream.rows) / factor)
    place = ((np.arange(count) + 0.5) * factor - 0.5).clip(0, len(stream.rows) - 1.001)
    low = place.astype(np.int64)
    share = (place - low)[:, None].astype(np.float32)
    rows: FloatArray = stream.rows[low] * (1 - share) + stream.rows[low + 1] * share
    return StreamRows(start_hops=stream.start_hops / factor, rows=rows)


def varied(
    scene: dict[str, StreamRows], rng: np.random.Generator, *, stretch: float, share: float
) -> dict[str, StreamRows]:
    """A share of the scenes faster or slower, by up to `stretch` (natural logarithm)."""
    if rng.random() >= share:
        return scene
    return stretched(scene, float(np.exp(rng.uniform(-stretch, stretch))))


def disturbed(
    rows_BTF: Tensor, generator: torch.Generator, *, noise: float, columns: float
) -> Tensor:
    """Rows as another sensor might have shown them; the coverage, and what is not there, stay.

    Args:
        rows_BTF: features, coverage last.
        generator: chance.
        noise: standard deviation of noise on every number.
        columns: spread of every column's own gain (natural logarithm) and level in each scene; a
            fifth of this share of the columns is lost altogether.
    """
    B, _, F = rows_BTF.shape

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    there = rows_BTF != 0
    gain = torch.exp(0.2 * normal(B, 1, 1) + columns * normal(B, 1, F))
    kept = torch.rand((B, 1, F), generator=generator) >= 0.2 * columns
    level = columns * normal(B, 1, F)
    x = rows_BTF * (gain * kept) + there * (level * kept + noise * normal(*rows_BTF.shape))
    return torch.cat([x[..., :-1], rows_BTF[..., -1:]], dim=-1)
