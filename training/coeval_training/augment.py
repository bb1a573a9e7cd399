"""Scenes made to differ each time they are drawn, so that none is learnt by heart.

Without this, encoders put 97% of the training scenes' pairs within 40 ms and 74% of new ones
(240 scenes, 2026-11-25): what is scarce is scenes, not steps.
"""

import numpy as np
import torch
from torch import Tensor

from coeval.features.metadata import CHANNEL_DIM, POOLED_DIM
from coeval.samples import FloatArray
from coeval_training.data import StreamRows

SIGNED = 2
"""The first columns of a channel, level and change, turn with its sign."""


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


def overlaid(
    rows_BTF: Tensor, generator: torch.Generator, *, apart: int, share: float, largest: float
) -> Tensor:
    """Some streams show, weaker, what another scene's stream shows as well; coverage stays.

    Args:
        rows_BTF: features, coverage last; not there: all 0, and so they stay.
        generator: chance.
        apart: the other is the scene so many places before, round about.
        share: of the scenes.
        largest: factor on the other's rows, drawn from 0 to this.
    """
    B = len(rows_BTF)
    hit = torch.rand((B, 1, 1), generator=generator) < share
    factor = hit * largest * torch.rand((B, 1, 1), generator=generator)
    there = rows_BTF != 0
    x = rows_BTF + there * factor * rows_BTF.roll(apart, dims=0)
    return torch.cat([x[..., :-1], rows_BTF[..., -1:]], dim=-1)


def other_channels(
    rows_BTF: Tensor, generator: torch.Generator, *, spread: float, lost: float
) -> Tensor:
    """Single channels of metadata as another sensor might tell them; what is pooled stays.

    Args:
        rows_BTF: rows of metadata.
        generator: chance.
        spread: of each channel's gain, natural logarithm; its sign is drawn as well.
        lost: how often a channel is not there.
    """
    B, T, _ = rows_BTF.shape
    single = rows_BTF[..., POOLED_DIM:-1].reshape(B, T, -1, CHANNEL_DIM)
    shape = (B, 1, single.shape[2], 1)
    kept = torch.rand(shape, generator=generator) >= lost
    sign = 1.0 - 2.0 * (torch.rand(shape, generator=generator) < 0.5).float()
    gain = torch.exp(spread * torch.randn(shape, generator=generator))
    turned = torch.arange(CHANNEL_DIM) < SIGNED
    single = single * (kept * gain) * torch.where(turned, sign, 1.0)
    return torch.cat(
        [rows_BTF[..., :POOLED_DIM], single.reshape(B, T, -1), rows_BTF[..., -1:]], dim=-1
    )
