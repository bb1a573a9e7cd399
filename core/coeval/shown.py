"""What a stream shows at every instant, as stills can be compared with it.

In: a stream's feature rows, or its numeric channels. Out: rows on a regular grid, in two kinds:
how things stand (to be compared with a still at its instant) and what goes on (to be averaged
between two stills).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from coeval.features import audio, picture, text, video
from coeval.features.picture import NUM_CELLS
from coeval.hops import HOP_NS, Hops
from coeval.samples import Modality
from coeval.signals import SignalTrack
from coeval.time import NS_PER_S

BIN_NS = HOP_NS // 2
"""Numeric channels are averaged over 25 ms."""
LEAST_S = 1.0
"""Shorter streams are not compared."""
DECAYS_S = (0.4, 2.5)
"""A line of a log is remembered for about so long: what it tells of may last or be over at once."""
GOING_ON_S = 0.8
"""A line is stamped when what it tells of begins, and that goes on for about so long: without it,
lines of turns were placed 0.3 s and more off (scenes 930 007 to 930 018, 2026-11-25)."""
LEAST_RISE = 0.05
"""Added to a channel's pace, in units of its mean, before the logarithm."""

STUCK = 1e-9
"""A channel that moves by less than this share of its value never moved."""

Rows = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A stream's content on a regular grid."""

    first: int
    """Index of the first row: node time / step."""
    step_ns: int
    """Time between rows."""
    at: Rows
    """How things stand, shape (T, F)."""
    between: Rows
    """What goes on, shape (T, G)."""
    covered: NDArray[np.float64]
    """1 where the stream was there, else 0, shape (T,)."""


def shown_by(modality: Modality, rows: Sequence[Hops], signals: SignalTrack | None) -> Shown | None:
    """What a stream shows; None where the caller kept nothing of it, or it is too short."""
    if modality == "metadata":
        if signals is None or signals.t_node_ns[-1] - signals.t_node_ns[0] < LEAST_S * NS_PER_S:
            return None
        return shown_by_channels(signals)
    if modality == "image" or not sum(len(part.rows) for part in rows):
        return None
    first = min(part.t0_node_ns for part in rows) // HOP_NS
    last = max(part.end_node_ns for part in rows) // HOP_NS
    table = np.zeros((last - first, rows[0].rows.shape[1]))
    for part in rows:
        start = part.t0_node_ns // HOP_NS - first
        table[start : start + len(part.rows)] = part.rows
    covered = (table[:, -1] > 0).astype(np.float64)
    at, between = SPLITS[modality](table)
    return Shown(first=int(first), step_ns=HOP_NS, at=at, between=between, covered=covered)


def sound_rows(table: Rows) -> tuple[Rows, Rows]:
    """Levels of the bands, the mean of each hop's two halves."""
    bands = audio.NUM_BANDS
    levels = 0.5 * (table[:, :bands] + table[:, bands : 2 * bands])
    return levels, levels


def line_rows(table: Rows) -> tuple[Rows, Rows]:
    """Lines as they are remembered for a while, and what they tell of while it goes on."""
    words = table[:, text.GUESSED + 1 : -1]
    lines = np.concatenate([table[:, [text.BEGINS, text.ENDS]], words], axis=1)
    active = table[:, [text.ACTIVE]]
    return (
        np.concatenate([active, *(fading(lines, decay_s) for decay_s in DECAYS_S)], axis=1),
        np.concatenate([active, fading(lines, GOING_ON_S)], axis=1),
    )


def frame_rows(table: Rows) -> tuple[Rows, Rows]:
    """Layout of the picture, and how it moves and changes."""
    moving = picture.NUM_MOTION + video.NUM_ENERGIES + NUM_CELLS
    return table[:, moving:-1], table[:, :moving]


SPLITS = {"audio": sound_rows, "text": line_rows, "video": frame_rows}


def fading(rows: Rows, decay_s: float) -> Rows:
    """What is left of past rows, each fading with this time constant."""
    keep = float(np.exp(-HOP_NS * 1e-9 / decay_s))
    faded = np.empty_like(rows)
    state = np.zeros(rows.shape[1])
    for k, row in enumerate(rows):
        state = keep * state + (1.0 - keep) * row
        faded[k] = state
    return faded


def shown_by_channels(signals: SignalTrack) -> Shown:
    """Mean and pace of every numeric channel."""
    times, values = signals.t_node_ns, signals.values
    first, last = int(times[0]) // BIN_NS, int(times[-1]) // BIN_NS
    edges = (np.arange(first, last + 1) * BIN_NS - int(times[0])).astype(np.float64)
    since = (times - int(times[0])).astype(np.float64)
    lasting = np.diff(since)[:, None]
    change = np.diff(values, axis=0)
    held = 0.5 * (values[1:] + values[:-1]) - values.mean(axis=0)
    held[:, values.std(axis=0) <= STUCK * np.abs(values).max(axis=0)] = 0.0
    level = mean_between(edges, since, held * lasting)
    pace = mean_between(edges, since, np.abs(change))
    pace = np.log(pace / (pace.mean(axis=0) + 1e-30) + LEAST_RISE)
    rows = np.concatenate([level / (level.std(axis=0) + 1e-30), pace], axis=1)
    return Shown(first=first, step_ns=BIN_NS, at=rows, between=rows, covered=np.ones(len(rows)))


def mean_between(edges: Rows, since: Rows, amounts: Rows) -> Rows:
    """Share of amounts, each spread evenly between two readings, that falls into every bin.

    Args:
        edges: of the bins, ns, shape (T + 1,).
        since: times of the readings, ns, shape (n,).
        amounts: between neighbouring readings, shape (n − 1, channels).

    Returns:
        Shape (T, channels), per ns.
    """
    total = np.concatenate([np.zeros((1, amounts.shape[1])), np.cumsum(amounts, axis=0)])
    at_edges = np.stack([np.interp(edges, since, channel) for channel in total.T], axis=1)
    means: Rows = np.diff(at_edges, axis=0) / BIN_NS
    return means
