"""What is exported of a session: embeddings in their place on the timeline, clocks, ticks, events.

Everything comes in pages, so that a session of days takes no more memory than one of minutes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from coeval.errors import BadConfig
from coeval.interval import NORMAL_95
from coeval.samples import FloatArray, IntArray
from coeval_aggregator.store.clock_history import ClockHistory
from coeval_aggregator.store.reading import (
    Embeddings,
    Reader,
    RunRow,
    SessionRow,
    TimelineRow,
)

ROWS_A_PAGE = 2000
EVER_NS = 2**62


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Consecutive embeddings of one run."""

    t_node_ns: IntArray
    """Beginnings of the hops on the node's clock, shape (n,)."""
    t_ref_ns: IntArray | None
    """The same on the timeline; None: the clock was never known on it."""
    ci95_ns: NDArray[np.float64] | None
    """Half-width of the 95 % interval of that; None: as above."""
    rows: FloatArray
    """Embeddings, shape (n, dim)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A session, a timeline of it, and the stretch that is wanted."""

    reader: Reader
    """The store."""
    session: SessionRow
    """The session."""
    timeline: TimelineRow | None
    """The timeline; None: the session has none, no clock was ever estimated."""
    from_ns: int | None = None
    """Where it begins on the timeline; None: with the first."""
    to_ns: int | None = None
    """Where it ends, exclusive; None: with the last."""
    progress: Callable[[float], None] = lambda _: None
    """Called with the share of the embeddings done, 0…1."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out for its time."""
        return self.from_ns is None and self.to_ns is None

    def runs(self) -> list[RunRow]:
        """The streams that have embeddings; where a stretch is wanted, those with a clock."""
        return [
            run
            for run in self.reader.runs(self.session)
            if run.hop_ns is not None and (self.is_whole or self.clock_of(run) is not None)
        ]

    def clock_of(self, run: RunRow) -> ClockHistory | None:
        """What is known of the clock of a run; None: nothing."""
        if self.timeline is None:
            return None
        return self.reader.history(self.timeline, node=run.node, boot=run.boot)

    def pages(self, run: RunRow) -> Iterator[Page]:
        """A run's embeddings in time order."""
        clock, span = self.clock_of(run), self.reader.span(run)
        if span is None:
            return
        begin_ns, end_ns = span
        for stored in self.reader.all_embeddings(run):
            page = self._kept(placed(stored, run, clock))
            if len(page.rows):
                yield page
            if len(stored.hops):
                done_ns = int(stored.hops[-1]) * (run.hop_ns or 1)
                self.progress((done_ns - begin_ns) / max(end_ns - begin_ns, 1))

    def clocks(self) -> Iterator[dict[str, Any]]:
        """The history of the clocks, in time order."""
        if self.timeline is None:
            return
        begin_ns, end_ns = self._stretch()
        while True:
            rows = self.reader.clock_rows(
                self.timeline, from_ns=begin_ns, to_ns=end_ns, limit=ROWS_A_PAGE
            )
            if len(rows) == ROWS_A_PAGE:  # the last instant may go on in the next page
                last_ns = rows[-1]["t_ref_ns"]
                rows = [row for row in rows if row["t_ref_ns"] < last_ns] or rows
            yield from rows
            if not rows:
                return
            begin_ns = rows[-1]["t_ref_ns"] + 1

    def ticks(self) -> Iterator[dict[str, Any]]:
        """What was fused, in time order."""
        if self.timeline is None:
            return
        begin_ns, end_ns = self._stretch()
        while rows := self.reader.ticks(
            self.timeline, from_ns=begin_ns, to_ns=end_ns, limit=ROWS_A_PAGE
        ):
            yield from rows
            begin_ns = rows[-1]["t_ref_ns"] + 1

    def events(self) -> Iterator[dict[str, Any]]:
        """The session's events in the order they were told; of the timeline, where it has one."""
        begin_ns, end_ns = self._stretch()
        after = 0
        while rows := self.reader.events(self.session, after=after, limit=ROWS_A_PAGE):
            after = rows[-1]["number"]
            for row in rows:
                is_here = self.timeline is not None and row["timeline"] == self.timeline.id
                if (is_here and begin_ns <= row["t_ref_ns"] < end_ns) or (
                    not is_here and self.is_whole
                ):
                    yield row

    def utc_of_zero_ns(self) -> int:
        """UTC at instant 0 of the timeline, about: by when the reference's last block arrived.

        0 where that is not known: then times count from the timeline's own zero.
        """
        if self.timeline is None:
            return 0
        for run in self.reader.runs(self.session):
            if (run.node, run.boot) == (self.timeline.reference, self.timeline.boot):
                arrival = self.reader.arrival(run)
                if arrival is not None:
                    return arrival[1] - arrival[0]
        return 0

    def _stretch(self) -> tuple[int, int]:
        return (
            -EVER_NS if self.from_ns is None else self.from_ns,
            EVER_NS if self.to_ns is None else self.to_ns,
        )

    def _kept(self, page: Page) -> Page:
        """What lies in the stretch that is wanted."""
        if self.is_whole or page.t_ref_ns is None or page.ci95_ns is None:
            return page
        begin_ns, end_ns = self._stretch()
        kept = (page.t_ref_ns >= begin_ns) & (page.t_ref_ns < end_ns)
        return Page(
            t_node_ns=page.t_node_ns[kept],
            t_ref_ns=page.t_ref_ns[kept],
            ci95_ns=page.ci95_ns[kept],
            rows=page.rows[kept],
        )


def placed(stored: Embeddings, run: RunRow, clock: ClockHistory | None) -> Page:
    """Stored embeddings with their place on the timeline."""
    t_node_ns = stored.hops * (run.hop_ns or 1)
    if clock is None:
        return Page(t_node_ns=t_node_ns, t_ref_ns=None, ci95_ns=None, rows=stored.rows)
    on_timeline = clock.to_ref(t_node_ns)
    return Page(
        t_node_ns=t_node_ns,
        t_ref_ns=on_timeline.t_ns,
        ci95_ns=NORMAL_95 * on_timeline.sigma_ns,
        rows=stored.rows,
    )


def find_session(reader: Reader, name: str) -> SessionRow:
    """A session by name.

    Raises:
        BadConfig: there is none of that name; the message lists those there are.
    """
    sessions = reader.sessions()
    for session in sessions:
        if session.name == name:
            return session
    known = ", ".join(session.name for session in sessions) or "none"
    raise BadConfig(f"no session {name!r} in the store; there are: {known}")


def find_timeline(reader: Reader, session: SessionRow, number: int | None) -> TimelineRow | None:
    """A timeline by number, the newest where none is named; None: the session has none.

    Raises:
        BadConfig: there is none of that number; the message lists those there are.
    """
    timelines = reader.timelines(session)
    if number is None:
        return timelines[-1] if timelines else None
    for timeline in timelines:
        if timeline.id == number:
            return timeline
    known = ", ".join(f"{t.id} ({t.reference}, boot {t.boot})" for t in timelines) or "none"
    raise BadConfig(f"session {session.name!r} has no timeline {number}; there are: {known}")
