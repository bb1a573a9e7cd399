"""Ticks: at each instant of the timeline, the rows that every known clock has for it.

The fused vector of a tick is the mean of the streams' embeddings, each scaled to length 1: the
payload says `"fusion": "mean"`. `coeval_aggregator.fusing` puts a learnt one in its place.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coeval.adapted import Adapted
from coeval.samples import FloatArray, Modality
from coeval.time import NS_PER_S, RefNs
from coeval_aggregator.clocks import NodeClock
from coeval_aggregator.ring import Ring

MAX_TICKS_AT_ONCE = 200
"""A tick source that falls behind further than this leaves ticks out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedStream:
    """A stream whose node's clock is known."""

    name: str
    """`node/stream`."""
    modality: Modality
    """What it senses."""
    ring: Ring
    """Its rows."""
    clock: NodeClock
    """Its node's clock."""
    is_left_out: bool = False
    """Whether its node sends nothing of it because it carries nothing: nobody waits for it."""
    encoder_sha256: str = ""
    """Hash of the encoder that made its rows."""
    adapted: Adapted | None = None
    """What that encoder was made from by adapting it to the session; None: it was not."""
    irrelevant: str | None = None
    """Why it carries nothing, as its node says; None: it carries something."""
    looks_like: Modality | None = None
    """What its rows were found to be; None: not looked at, or unsure."""

    @property
    def end_ref_ns(self) -> RefNs | None:
        """End of the newest row on the timeline; None: no row, or no clock."""
        end_ns = self.ring.end_node_ns
        return None if end_ns is None else self.clock.to_ref(end_ns)


def fuse(rows: Sequence[FloatArray]) -> FloatArray | None:
    """Mean of the rows, each scaled to length 1, shape (16,); None where all are zero."""
    scaled = [row / norm for row in rows if (norm := float(np.linalg.norm(row))) > 1e-6]
    return np.mean(scaled, axis=0, dtype=np.float32) if scaled else None


def make_tick(t_ref_ns: RefNs, streams: Sequence[AlignedStream]) -> dict[str, object]:
    """The payload of one tick; a stream without a row at that instant is left out."""
    summaries: dict[str, dict[str, object]] = {}
    rows: list[FloatArray] = []
    for stream in streams:
        t_node_ns = stream.clock.to_node(t_ref_ns)
        row = None if t_node_ns is None else stream.ring.row_at(t_node_ns)
        if row is None or t_node_ns is None:
            continue
        rows.append(row)
        summaries[stream.name] = {
            "modality": stream.modality,
            "t_node_ns": int(t_node_ns),
            "norm": round(float(np.linalg.norm(row)), 4),
            "anomaly": None,
        }
        if stream.looks_like is not None:
            summaries[stream.name]["looks_like"] = stream.looks_like
    fused = fuse(rows)
    return {
        "t_ref": t_ref_ns / NS_PER_S,
        "t_ref_ns": int(t_ref_ns),
        "streams": summaries,
        "irrelevant": {s.name: s.irrelevant for s in streams if s.irrelevant is not None},
        "anomaly": None,
        "suspect": None,
        "alarm": None,
        "fusion": "mean",
        "fusion_why": None,
        "fused": None
        if fused is None
        else base64.b64encode(fused.astype("<f2").tobytes()).decode("ascii"),
    }


class TickSource:
    """Decides which instants are due: when all streams are there, or the wait is over."""

    def __init__(self, *, tick_s: float, wait_s: float) -> None:
        """Set the rhythm.

        Args:
            tick_s: time between ticks.
            wait_s: how long a tick waits for a stream that is behind the newest.
        """
        self._tick_ns, self._wait_ns = round(tick_s * NS_PER_S), round(wait_s * NS_PER_S)
        self._next_ns: int | None = None

    def due(self, streams: Sequence[AlignedStream]) -> list[dict[str, object]]:
        """The ticks that are due now."""
        sending = [stream for stream in streams if not stream.is_left_out] or streams
        ends = [end for stream in sending if (end := stream.end_ref_ns) is not None]
        if not ends:
            return []
        until_ns = max(min(ends), max(ends) - self._wait_ns)
        last_ns = (until_ns - 1) // self._tick_ns * self._tick_ns
        earliest_ns = last_ns - (MAX_TICKS_AT_ONCE - 1) * self._tick_ns
        if self._next_ns is None:
            self._next_ns = last_ns
        first_ns = max(self._next_ns, earliest_ns)
        ticks = [
            make_tick(RefNs(t_ns), streams) for t_ns in range(first_ns, last_ns + 1, self._tick_ns)
        ]
        self._next_ns = max(self._next_ns, last_ns + self._tick_ns)
        return ticks

    def restart(self) -> None:
        """Begin anew at the newest instant: the timeline is another one."""
        self._next_ns = None
