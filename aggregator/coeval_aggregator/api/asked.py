"""What a request asks for, checked: session, timeline, range, page; mistakes name parameters."""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Annotated

from fastapi import Path, Query
from fastapi.dependencies.models import Dependant
from fastapi.requests import HTTPConnection
from fastapi.routing import APIRoute

from coeval.time import NS_PER_S
from coeval_aggregator.api.problems import Problem
from coeval_aggregator.store.reading import Reader, SessionRow, TimelineRow

LONGEST_RANGE_NS = 366 * 86_400 * NS_PER_S
LARGEST_NS = 2**62
DEFAULT_RANGE_NS = 60 * NS_PER_S
ROWS_A_PAGE = 2500
MOST_ROWS = 20_000

SessionName = Annotated[str, Path(description="the session's name, as in the topics")]
From = Annotated[str | None, Query(alias="from", description="s of the timeline; default: to - 60")]
To = Annotated[str | None, Query(description="s of the timeline, exclusive; default: the newest")]
Timeline = Annotated[int | None, Query(description="number of the timeline; default: the newest")]
Limit = Annotated[int, Query(ge=1, le=MOST_ROWS, description="rows a page")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """A stretch of a timeline."""

    from_ns: int
    """Its beginning."""
    to_ns: int
    """Its end, exclusive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageAsked:
    """What a request asks for that wants streams at instants a step apart."""

    session: str
    """Name of the session."""
    timeline: int | None
    """Number of its timeline; None: the newest."""
    from_s: str | None
    """The range's beginning, as `read_range` takes it."""
    to_s: str | None
    """Its end."""
    streams: str | None
    """Names, separated by commas; None: all."""
    step_ns: int
    """Between two instants."""
    limit: int
    """Instants a page."""


def page_asked(*, step_s: float) -> Callable[..., PageAsked]:
    """What reads a request for a page.

    Args:
        step_s: the step where it names none.
    """

    def read(
        session: SessionName,
        from_: From = None,
        to: To = None,
        streams: Annotated[str | None, Query(description="node/stream, …; default: all")] = None,
        step: Annotated[float, Query(description="s between instants")] = step_s,
        timeline: Timeline = None,
        limit: Limit = ROWS_A_PAGE,
    ) -> PageAsked:
        return PageAsked(
            session=session,
            timeline=timeline,
            from_s=from_,
            to_s=to,
            streams=streams,
            step_ns=read_step(step),
            limit=limit,
        )

    return read


def known_parameters(dependant: Dependant) -> set[str]:
    """The names that a route takes, also those of what it depends on."""
    own = {field.alias for field in dependant.query_params}
    return own.union(*map(known_parameters, dependant.dependencies))


def refuse_unknown(request: HTTPConnection) -> None:
    """See that every parameter of a request is one of its route: a slip would be read as a default.

    Raises:
        Problem: one is not, or is given twice.
    """
    route = request.scope.get("route")
    if not isinstance(route, APIRoute) or not route.path.startswith("/v1/"):
        return
    known = sorted(known_parameters(route.dependant))
    for name in request.query_params:
        if len(request.query_params.getlist(name)) > 1:
            raise Problem(
                400, f"{name:.100}: given more than once; once is enough", field=name[:100]
            )
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise Problem(
                400,
                f"{name:.100}: no such parameter{meant}; there are: {', '.join(known) or 'none'}",
                field=name[:100],
            )


def find_session(reader: Reader, name: str) -> SessionRow:
    """A stored session.

    Raises:
        Problem: there is none of that name.
    """
    sessions = reader.sessions()
    for session in sessions:
        if session.name == name:
            return session
    known = ", ".join(session.name for session in sessions) or "none"
    raise Problem(404, f"session: there is no {name!r:.100}; there are: {known}", field="session")


def find_timeline(reader: Reader, session: SessionRow, number: int | None) -> TimelineRow:
    """A timeline by its number; None: the newest.

    Raises:
        Problem: the session has none of that number, or none at all.
    """
    timelines = reader.timelines(session)
    if number is None and timelines:
        return timelines[-1]
    for timeline in timelines:
        if timeline.id == number:
            return timeline
    known = ", ".join(str(timeline.id) for timeline in timelines) or "none yet"
    wanted = "no timeline" if number is None else f"no timeline {number}"
    raise Problem(
        404,
        f"timeline: session {session.name!r} has {wanted}; there are: {known}",
        field="timeline",
    )


def seconds_to_ns(text: str, *, field: str) -> int:
    """A number of seconds to nanoseconds, exactly.

    Raises:
        Problem: it is no number, or beyond ±146 years.
    """
    try:
        value = Decimal(text)
        t_ns = int((value * NS_PER_S).to_integral_value()) if value.is_finite() else None
    except (InvalidOperation, ValueError):
        t_ns = None
    if t_ns is None or abs(t_ns) >= LARGEST_NS:
        raise Problem(
            400,
            f"{field}: expected seconds of the timeline within 146 years, got {text!r:.80}",
            field=field,
        )
    return t_ns


def read_range(
    reader: Reader,
    session: SessionRow,
    timeline: TimelineRow,
    *,
    from_s: str | None,
    to_s: str | None,
) -> Range:
    """A range from a request; without an end it ends with what is stored, without a beginning it
    is a minute long.

    Raises:
        Problem: an end is no number, the range is reversed, or longer than a year.
    """
    to_ns = None if to_s is None else seconds_to_ns(to_s, field="to")
    from_ns = None if from_s is None else seconds_to_ns(from_s, field="from")
    if to_ns is None:
        to_ns = newest_ns(reader, session, timeline)
        if from_ns is not None:
            to_ns = max(to_ns, from_ns + 1)
    if from_ns is None:
        from_ns = to_ns - DEFAULT_RANGE_NS
    if from_ns >= to_ns:
        raise Problem(
            400,
            f"from: expected a time before 'to', got {from_ns / NS_PER_S:g} and "
            f"{to_ns / NS_PER_S:g} s",
            field="from",
        )
    if to_ns - from_ns > LONGEST_RANGE_NS:
        days = (to_ns - from_ns) / NS_PER_S / 86_400
        raise Problem(
            400, f"to: expected at most 366 days after 'from', got {days:.3g}", field="to"
        )
    return Range(from_ns=from_ns, to_ns=to_ns)


def newest_ns(reader: Reader, session: SessionRow, timeline: TimelineRow) -> int:
    """End of what is stored on a timeline: of the reference's streams; 0: nothing is."""
    ends = [
        end[0]
        for run in reader.runs(session)
        if (run.node, run.boot) == (timeline.reference, timeline.boot)
        and (end := reader.arrival(run)) is not None
    ]
    return max(ends, default=0)


def read_step(step_s: float) -> int:
    """A step in nanoseconds.

    Raises:
        Problem: it is below a millisecond or above an hour.
    """
    if not (math.isfinite(step_s) and 0.001 <= step_s <= 3600.0):
        raise Problem(400, f"step: expected 0.001 to 3600 s, got {step_s:g}", field="step")
    return round(step_s * NS_PER_S)


def read_streams(reader: Reader, session: SessionRow, streams: str | None) -> list[str] | None:
    """The streams that are named, separated by commas; None: all.

    Raises:
        Problem: one of them is not there.
    """
    if streams is None:
        return None
    wanted = [name.strip() for name in streams.split(",") if name.strip()]
    known = {run.name for run in reader.runs(session)}
    if not wanted:
        raise Problem(
            400,
            f"streams: expected node/stream, …, got {streams!r:.80}; leave it out for all",
            field="streams",
        )
    for name in wanted:
        if name not in known:
            raise Problem(
                404,
                f"streams: there is no {name!r:.100}; there are: {', '.join(sorted(known))}",
                field="streams",
            )
    return wanted
