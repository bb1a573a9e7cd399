"""Ticks: at each instant of the timeline, the rows that every known clock has for it.

The fused vector of a tick is the mean of the streams' embeddings, each scaled to length 1: the
payload says `"fusion": "mean"`. `coeval_aggregator.fusing` puts a learnt one in its place.
"""

import base64
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from coeval.adapted import Adapted
from coeval.samples import FloatArray, Modality
from coeval.time import NS_PER_S, RefNs
from coeval_aggregator.clocks import NodeClock
from coeval_aggregator.ring import Ring

NO_READINGS: Mapping[str, int] = {}
MOST_BEHIND = 200
"""A tick source that falls behind by more ticks than this leaves ticks out."""


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
    """Hash of the encoder that made its rows, as trained (`Descriptor.original_sha256`)."""
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


class Awaited:
    """What has to come before another tick can be due; asked at every block, as looking is dear."""

    def __init__(
        self, *, missing: Collection[str] = (), over_node_ns: Mapping[str, int] = NO_READINGS
    ) -> None:
        """Say what.

        Args:
            missing: the streams of which all must go on; none: any of all may bring a tick.
            over_node_ns: the reading of each stream's clock past which nobody waits for those.
        """
        self.missing = set(missing)
        self._over_node_ns = over_node_ns

    def has_come(self, name: str, end_node_ns: int) -> bool:
        """Note that a stream goes on to a reading of its clock; whether a tick may be due now."""
        self.missing.discard(name)
        return not self.missing or end_node_ns > self._over_node_ns.get(name, end_node_ns)


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
        self.num_behind = 0
        """Ticks that are due and were not made yet."""
        self.num_left_out = 0
        """Ticks that were never made: too many were due at once."""
        self.awaited = Awaited()
        """What has to come before another tick can be due."""

    def due(
        self, streams: Sequence[AlignedStream], *, most: int = MOST_BEHIND
    ) -> list[dict[str, object]]:
        """The ticks that are due now, the oldest first.

        Args:
            streams: all streams of the session.
            most: how many to make; `num_behind` are left for the next call.
        """
        sending = [stream for stream in streams if not stream.is_left_out] or streams
        ends = {each.name: end for each in sending if (end := each.end_ref_ns) is not None}
        if not ends:
            self.num_behind, self.awaited = 0, Awaited()
            return []
        slowest_ns = min(ends.values())
        until_ns = max(slowest_ns, max(ends.values()) - self._wait_ns)
        last_ns = (until_ns - 1) // self._tick_ns * self._tick_ns
        if self._next_ns is None:
            self._next_ns = last_ns
        leap = (last_ns - self._next_ns) // self._tick_ns + 1 - MOST_BEHIND
        if leap > 0:
            self.num_left_out += leap
            self._next_ns += leap * self._tick_ns
        stop_ns = min(last_ns, self._next_ns + (most - 1) * self._tick_ns)
        ticks = [
            make_tick(RefNs(t_ns), streams)
            for t_ns in range(self._next_ns, stop_ns + 1, self._tick_ns)
        ]
        self._next_ns += len(ticks) * self._tick_ns
        self.num_behind = max((last_ns - self._next_ns) // self._tick_ns + 1, 0)
        if until_ns > slowest_ns or self.num_behind:
            self.awaited = Awaited()
        else:
            over_ns = self._next_ns + self._wait_ns
            self.awaited = Awaited(
                missing={name for name, end in ends.items() if end <= self._next_ns},
                over_node_ns={
                    each.name: over_ns + each.ring.end_node_ns - ends[each.name]
                    for each in sending
                    if each.name in ends and each.ring.end_node_ns is not None
                },
            )
        return ticks

    def restart(self) -> None:
        """Begin anew at the newest instant: the timeline is another one."""
        self._next_ns, self.num_behind, self.awaited = None, 0, Awaited()
