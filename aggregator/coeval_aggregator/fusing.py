"""The fusion network in the way of the ticks: what it says is put into them, and alarms come out.

In: ticks that are due, as `aligned.make_tick` made them, and the streams' rings. Where the network
cannot be used they stay what they are, fused by the mean, and say why. An alarm is a spell, as the
rates were counted (`coeval.alarm_rate`): it ends after QUIET_S in which nothing passed them.
"""

import base64
import contextlib
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from coeval.alarm_rate import QUIET_S
from coeval.errors import EncoderMismatch
from coeval.fusion_input import TICK_HOPS
from coeval.hops import EMBEDDING_DIM, HOP_NS
from coeval.time import NS_PER_S, RefNs
from coeval_aggregator.aligned import AlignedStream
from coeval_aggregator.fusion import (
    TICK_NS,
    FusedTick,
    Fusion,
    FusionTrack,
    Mode,
    StreamHops,
)

logger = logging.getLogger(__name__)

MOST_STREAMS = 128
"""Attention is over all pairs of streams: with more of them in a session the mean is told."""
LONGEST_GAP_TICKS = 60 * NS_PER_S // TICK_NS
"""After a longer leap nothing of what was usual is known to hold: everything begins anew."""

MOVED_NS = 3 * HOP_NS // 2
"""A clock that is found to be off by more was stated wrongly before, or jumped: its rows go on
elsewhere on the timeline, which is no anomaly of what they show."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyChange:
    """An anomaly begins or ends."""

    state: Literal["begin", "end"]
    """Which of the two."""
    suspect: str
    """The stream, `node/stream`, that was least as it should be when it began."""
    streams: tuple[str, ...]
    """Those that passed the accepted rate since it began."""
    anomaly: float
    """The rarest it was, as log10 of the days between such false alarms."""
    guaranteed_per_day: float | None
    """The lowest rate of false alarms that counted calm bears out; below it a tail is trusted."""
    t_ref_ns: RefNs
    """When it began, or was last seen."""
    duration_s: float | None
    """From the first to the last sight of it; None: it has only begun."""


@lru_cache(maxsize=1)
def load_shipped() -> Fusion:
    """The network that ships, once for all sessions.

    Raises:
        EncoderMismatch: it is not there, or cannot be run.
    """
    return Fusion.load()


def load_early(mode: Literal[Mode, "mean"]) -> None:
    """Load the network that ships before anything is served: it takes a quarter of a second.

    Where it cannot be loaded, every session says so by itself.
    """
    if mode != "mean":
        with contextlib.suppress(EncoderMismatch):
            load_shipped()


class AlarmWatch:
    """Makes spells of single ticks' alarms."""

    def __init__(self, *, per_day: float) -> None:
        """Begin in calm.

        Args:
            per_day: false alarms a day and session that are accepted.
        """
        self._per_day = per_day
        self._suspect: str | None = None
        self._streams: set[str] = set()
        self._anomaly = -math.inf
        self._guaranteed: float | None = None
        self._first_ns = self._last_ns = RefNs(0)

    @property
    def is_open(self) -> bool:
        """Whether an anomaly goes on."""
        return self._suspect is not None

    def note(
        self, tick: FusedTick, t_ref_ns: RefNs, *, guaranteed_per_day: float | None
    ) -> AnomalyChange | None:
        """Take in one tick; what begins or ends with it."""
        if not tick.is_alarm or tick.suspect is None or tick.anomaly is None:
            is_over = self.is_open and t_ref_ns - self._last_ns >= QUIET_S * NS_PER_S
            return self.end() if is_over else None
        judged = {k: s.per_day for k, s in tick.streams.items() if s.per_day is not None}
        passing = {k for k, rate in judged.items() if rate * len(judged) <= self._per_day}
        self._streams |= passing | {tick.suspect}
        self._anomaly = max(self._anomaly, tick.anomaly)
        self._last_ns = t_ref_ns
        if self.is_open:
            return None
        self._suspect, self._first_ns = tick.suspect, t_ref_ns
        self._guaranteed = guaranteed_per_day
        return self._change("begin", tick.suspect)

    def end(self) -> AnomalyChange | None:
        """End what goes on, if anything does."""
        suspect, self._suspect = self._suspect, None
        ended = None if suspect is None else self._change("end", suspect)
        self._streams, self._anomaly = set(), -math.inf
        return ended

    def _change(self, state: Literal["begin", "end"], suspect: str) -> AnomalyChange:
        return AnomalyChange(
            state=state,
            suspect=suspect,
            streams=tuple(sorted(self._streams)),
            anomaly=self._anomaly,
            guaranteed_per_day=self._guaranteed,
            t_ref_ns=self._last_ns,
            duration_s=None if state == "begin" else (self._last_ns - self._first_ns) / NS_PER_S,
        )


class LiveFusion:
    """Follows one session's ticks."""

    def __init__(
        self,
        *,
        mode: Literal[Mode, "mean"],
        per_day: float,
        load: Callable[[], Fusion] = load_shipped,
    ) -> None:
        """Prepare; the network is loaded when the first tick is due.

        Args:
            mode: which fusion answers; mean: no network is wanted.
            per_day: false alarms a day and session that are accepted.
            load: opens the network; raises EncoderMismatch where it cannot.
        """
        self._mode, self._per_day, self._load = mode, per_day, load
        self._fusion: Fusion | None = None
        self._why_no_network: str | None = None
        self._why_mean: str | None = None
        self._track: FusionTrack | None = None
        self._next: int | None = None
        """Index of the network's next tick: ticks since the timeline's zero."""
        self._clock_ns: dict[str, int] = {}
        """What each stream's clock was taken to read when that tick begins."""
        self._last = FusedTick(vector=None, anomaly=None, is_alarm=False, suspect=None)
        self._watch = AlarmWatch(per_day=per_day)
        self._changes: list[AnomalyChange] = []

    def restart(self) -> None:
        """Begin anew: the timeline is another one, or what was known is too old."""
        if (ended := self._watch.end()) is not None:
            self._changes.append(ended)
        self._track = self._next = None
        self._clock_ns = {}
        self._last = FusedTick(vector=None, anomaly=None, is_alarm=False, suspect=None)

    def fuse(
        self, ticks: Sequence[dict[str, object]], streams: Sequence[AlignedStream]
    ) -> list[AnomalyChange]:
        """Put into ticks that are due what the network says of them.

        Args:
            ticks: as `make_tick` made them, in order; changed in place.
            streams: all streams of the session.

        Returns:
            What begins or ends with these ticks.
        """
        if not ticks or self._mode == "mean":
            return []
        fusion = self._usable(streams)
        if fusion is None:
            for tick in ticks:
                tick["fusion_why"] = self._why_mean
        else:
            self._run(fusion, ticks, streams)
        changes, self._changes = self._changes, []
        return changes

    def _usable(self, streams: Sequence[AlignedStream]) -> Fusion | None:
        """The network; None, and said once, where these streams cannot be given to it."""
        why = self._why_not(streams)
        if why != self._why_mean:
            if why is None:
                logger.info("fusion mode=%s", self._mode)
            else:
                logger.warning("fusion mode=mean wanted=%s reason=%s", self._mode, why)
            self._why_mean = why
            self.restart()
        return self._fusion if why is None else None

    def _why_not(self, streams: Sequence[AlignedStream]) -> str | None:
        if self._fusion is None and self._why_no_network is None and self._mode != "mean":
            try:
                self._fusion = self._load().in_mode(self._mode)
            except EncoderMismatch as exc:
                self._why_no_network = str(exc)
        if self._fusion is None:
            return self._why_no_network
        if len(streams) > MOST_STREAMS:
            return f"fusion: at most {MOST_STREAMS} streams of a session, got {len(streams)}"
        try:
            self._fusion.require({each.modality: original_of(each) for each in streams})
        except EncoderMismatch as exc:
            return str(exc)
        return None

    def _run(
        self,
        fusion: Fusion,
        ticks: Sequence[dict[str, object]],
        streams: Sequence[AlignedStream],
    ) -> None:
        times_ns = [t_ns for tick in ticks if isinstance(t_ns := tick["t_ref_ns"], int)]
        end = times_ns[-1] // TICK_NS + 1
        if self._next is not None and end - self._next > LONGEST_GAP_TICKS:
            self.restart()
        first = times_ns[0] // TICK_NS if self._next is None else self._next
        first = max(first, end - LONGEST_GAP_TICKS)
        found: dict[int, tuple[FusedTick, bool]] = {}
        if end > first:
            if self._track is None:
                self._track = FusionTrack(fusion, per_day=self._per_day)
            fused = self._track.push(
                [hops_of(each, first, end) for each in streams], moved=self._moved(streams, first)
            )
            self._clock_ns = clocks_at(streams, end)
            kinds = {each.name: each.modality for each in streams}
            for index, each in enumerate(fused, first):
                change = self._watch.note(
                    each,
                    RefNs(index * TICK_NS),
                    guaranteed_per_day=fusion.guaranteed_per_day(kinds[k] for k in each.streams),
                )
                if change is not None:
                    self._changes.append(change)
                found[index] = each, self._watch.is_open
                self._last = each
            self._next = end
        for tick, t_ns in zip(ticks, times_ns, strict=True):
            each, is_open = found.get(t_ns // TICK_NS, (self._last, self._watch.is_open))
            put(tick, each, mode=self._mode, is_alarm=is_open)

    def _moved(self, streams: Sequence[AlignedStream], first: int) -> list[str]:
        """Streams whose clock is no longer taken to read what it was when the ticks ended."""
        now = clocks_at(streams, first)
        return [
            name
            for name, was_ns in self._clock_ns.items()
            if name in now and abs(now[name] - was_ns) > MOVED_NS
        ]


def clocks_at(streams: Sequence[AlignedStream], tick: int) -> dict[str, int]:
    """What the streams' clocks are taken to read when a tick begins; unknown ones are left out."""
    read = {each.name: each.clock.to_node(RefNs(tick * TICK_NS)) for each in streams}
    return {name: int(t_ns) for name, t_ns in read.items() if t_ns is not None}


def original_of(stream: AlignedStream) -> str:
    """Hash of the encoder whose embeddings the network sees: an adapted one's are turned back."""
    return stream.encoder_sha256 if stream.adapted is None else stream.adapted.from_sha256


def hops_of(stream: AlignedStream, first: int, end: int) -> StreamHops:
    """A stream's rows for ticks [first, end) of the network: of each the hops that end with it.

    The hops of a clock lie anywhere between those of the timeline: the nearest are taken.
    """
    num = end - first
    rows = np.zeros((num, TICK_HOPS, EMBEDDING_DIM), np.float32)
    covered = np.zeros((num, TICK_HOPS), np.float32)
    surprise = np.zeros((num, TICK_HOPS), np.float32)
    for k in range(num):
        last_ns = stream.clock.to_node(RefNs((first + k) * TICK_NS - HOP_NS // 2))
        if last_ns is not None:
            rows[k], covered[k] = stream.ring.rows_until(last_ns, num_hops=TICK_HOPS)
            surprise[k] = stream.ring.surprise_at(last_ns)
    flat = rows.reshape(-1, EMBEDDING_DIM)
    return StreamHops(
        name=stream.name,
        modality=stream.modality,
        rows=flat if stream.adapted is None else stream.adapted.undone(flat),
        covered=covered.reshape(-1),
        surprise=surprise.reshape(-1),
    )


def put(tick: dict[str, object], fused: FusedTick, *, mode: str, is_alarm: bool) -> None:
    """Put into a tick what the network says of it."""
    vector = fused.vector
    tick["fusion"] = mode
    tick["fused"] = (
        None if vector is None else base64.b64encode(vector.astype("<f2").tobytes()).decode("ascii")
    )
    tick["anomaly"] = None if fused.anomaly is None else round(fused.anomaly, 3)
    tick["suspect"] = fused.suspect
    tick["alarm"] = is_alarm
    told = tick["streams"]
    assert isinstance(told, dict)
    for name, stream in fused.streams.items():
        if name in told and stream.per_day is not None:
            told[name]["anomaly"] = round(-math.log10(max(stream.per_day, 1e-12)), 3)
