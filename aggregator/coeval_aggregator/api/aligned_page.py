"""A page of streams side by side at fixed instants of the timeline, read from the store."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from coeval.samples import IntArray
from coeval_aggregator.api.asked import (
    PageAsked,
    find_session,
    find_timeline,
    read_range,
    read_streams,
)
from coeval_aggregator.store.alignment import AlignedRows, align_rows
from coeval_aggregator.store.reading import Reader, SessionRow, TimelineRow


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignedPage:
    """What a request for instants a step apart is answered from."""

    session: SessionRow
    """The session."""
    timeline: TimelineRow
    """Its timeline."""
    step_ns: int
    """Between two instants."""
    t_ref_ns: IntArray
    """The instants."""
    streams: Mapping[str, AlignedRows]
    """By node/stream: a row an instant."""
    next_ns: int | None
    """The instant at which the range goes on; None: this is its last page."""

    def facts(self) -> dict[str, Any]:
        """What every answer begins with."""
        return {
            "session": self.session.name,
            "timeline": timeline_to_json(self.timeline),
            "step_s": self.step_ns / 1e9,
        }


def timeline_to_json(timeline: TimelineRow) -> dict[str, Any]:
    """A timeline as it is told."""
    return {
        "number": timeline.id,
        "reference": timeline.reference,
        "boot": timeline.boot,
        "began_utc_ns": timeline.began_utc_ns,
    }


def read_page(reader: Reader, asked: PageAsked, *, num_before: int = 0) -> AlignedPage:
    """The first page of a range.

    Args:
        reader: of the store.
        asked: what is wanted.
        num_before: so many instants more, before the page's own.

    Raises:
        Problem: something that is asked for is not there, or makes no range.
    """
    found = find_session(reader, asked.session)
    chosen = find_timeline(reader, found, asked.timeline)
    wanted = read_range(reader, found, chosen, from_s=asked.from_s, to_s=asked.to_s)
    names = read_streams(reader, found, asked.streams)
    step_ns = asked.step_ns
    end_ns = min(wanted.to_ns, wanted.from_ns + asked.limit * step_ns)
    first_ns = wanted.from_ns - num_before * step_ns
    t_ref_ns = np.arange(first_ns, end_ns, step_ns, dtype=np.int64)
    next_ns = int(t_ref_ns[-1]) + step_ns
    return AlignedPage(
        session=found,
        timeline=chosen,
        step_ns=step_ns,
        t_ref_ns=t_ref_ns,
        streams=align_rows(reader, found, chosen, t_ref_ns=t_ref_ns, streams=names),
        next_ns=next_ns if next_ns < wanted.to_ns else None,
    )
