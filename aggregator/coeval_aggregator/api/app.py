"""The application: routes of the API, each a few lines over the store and the view.

Times are seconds of the timeline, as `t_ref` in ticks. Ranges are cut into pages: `next` (in Arrow
and for all in the header `Link`) is where they go on.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import orjson
from fastapi import Depends, FastAPI, Header, Query, Request
from fastapi.responses import Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST

from coeval import __version__
from coeval.hops import HOP_NS
from coeval.time import NS_PER_S
from coeval_aggregator.api import activity, aligned, problems
from coeval_aggregator.api.aligned_page import read_page, timeline_to_json
from coeval_aggregator.api.asked import (
    MOST_ROWS,
    ROWS_A_PAGE,
    From,
    Limit,
    PageAsked,
    SessionName,
    Timeline,
    To,
    find_session,
    find_timeline,
    page_asked,
    read_range,
    refuse_unknown,
)
from coeval_aggregator.api.metrics import make_registry, scrape
from coeval_aggregator.api.problems import Problem
from coeval_aggregator.api.readers import Readers
from coeval_aggregator.export import tables
from coeval_aggregator.export.content import Content
from coeval_aggregator.view import View

EVENTS_EVERY_S = 0.5
MOST_LISTENERS = 100
HIGHEST = 2**63 - 1
"""What a database counts to."""

After = Annotated[int, Query(ge=0, le=HIGHEST, description="only those of a higher number")]
Before = Annotated[int | None, Query(ge=1, le=HIGHEST, description="only those of a lower number")]
Order = Annotated[Literal["oldest", "newest"], Query(description="which come first")]
Accept = Annotated[str, Header(include_in_schema=False)]


def make_app(
    view: Callable[[], View],
    readers: Readers | None,
    *,
    stopping: threading.Event,
) -> FastAPI:
    """The API.

    Args:
        view: the aggregator as it is now.
        readers: of the store; None: nothing is kept.
        stopping: set when the server ends: event streams end too.
    """
    app = FastAPI(
        title="Coeval aggregator",
        version=__version__,
        description="Sessions on one timeline. " + tables.SIGN + ".",
        docs_url=None,  # its page comes from a CDN
        redoc_url=None,
        dependencies=[Depends(refuse_unknown)],
    )
    problems.install(app)
    registry = make_registry(view)
    listeners: set[object] = set()

    def stored() -> Readers:
        if readers is None:
            raise Problem(404, "nothing is kept here: the aggregator runs with --store none")
        return readers

    @app.get("/health", responses=problems.RESPONSES)
    def health() -> Response:
        """Whether all is well; 503 and why where it is not."""
        now = view()
        told = {
            "status": "degraded" if now.all_problems() else "ok",
            "problems": now.all_problems(),
            "software": __version__,
            "store": None if now.store is None else now.store.facts(now_s=time.monotonic()),
        }
        return json_response(told, status=503 if now.all_problems() else 200)

    @app.get("/metrics", response_class=Response)
    def metrics() -> Response:
        """For Prometheus."""
        return Response(scrape(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/sessions", responses=problems.RESPONSES)
    def sessions() -> Response:
        """All sessions, stored and live."""
        live = view().sessions
        found: dict[str, dict[str, Any]] = {
            name: {"session": name, "began_utc_ns": None} for name in live
        }
        if readers is not None:
            with readers.lend() as reader:
                for row in reader.sessions():
                    found[row.name] = {"session": row.name, "began_utc_ns": row.began_utc_ns}
        told = [
            each | {"is_live": name in live, "reference": live[name].facts["reference"]}
            if name in live
            else each | {"is_live": False, "reference": None}
            for name, each in sorted(found.items())
        ]
        return json_response({"sessions": told})

    @app.get("/v1/sessions/{session}", responses=problems.RESPONSES)
    def one_session(session: SessionName) -> Response:
        """A session, with its timelines: each a run of the reference node's clock."""
        now = view().sessions.get(session)
        with stored().lend() as reader:
            found = find_session(reader, session)
            timelines = [timeline_to_json(each) for each in reader.timelines(found)]
        told = {
            "session": found.name,
            "began_utc_ns": found.began_utc_ns,
            "is_live": now is not None,
            "timelines": timelines,
            "now": None if now is None else now.facts,
        }
        return json_response(told)

    @app.get("/v1/sessions/{session}/streams", responses=problems.RESPONSES)
    def streams(session: SessionName) -> Response:
        """Every stream in every run of its node."""
        now = view().sessions.get(session)
        live = {} if now is None else now.facts["streams"]
        with stored().lend() as reader:
            found = find_session(reader, session)
            told = [
                {
                    "stream": run.name,
                    "boot": run.boot,
                    "modality": run.modality,
                    "began_utc_ns": run.began_utc_ns,
                    "hop_ns": run.hop_ns,
                    "dim": run.dim,
                    "span_node_ns": reader.span(run),
                    "descriptor": run.descriptor,
                    "now": live.get(run.name),
                }
                for run in reader.runs(found)
            ]
        return json_response({"session": session, "streams": told})

    @app.get("/v1/sessions/{session}/clocks", responses=problems.RESPONSES)
    def clocks(session: SessionName) -> Response:
        """What is known of every node's clock now; of a session that is over, what was last."""
        now = view().sessions.get(session)
        if now is not None:
            return json_response({"session": session, "is_live": True, "clocks": now.clocks})
        with stored().lend() as reader:
            found = find_session(reader, session)
            timeline = find_timeline(reader, found, None)
            last = {row["node"]: row for row in reader.last_clocks(timeline)}
        return json_response({"session": session, "is_live": False, "clocks": last})

    @app.get("/v1/sessions/{session}/clocks/history", responses=arrow_too(problems.RESPONSES))
    def clock_history(
        request: Request,
        session: SessionName,
        from_: From = None,
        to: To = None,
        node: Annotated[str | None, Query(description="one node; default: all")] = None,
        timeline: Timeline = None,
        limit: Limit = ROWS_A_PAGE,
        accept: Accept = "",
    ) -> Response:
        """Estimates of the clocks in the order of the timeline, with their covariance."""
        with stored().lend() as reader:
            found = find_session(reader, session)
            chosen = find_timeline(reader, found, timeline)
            wanted = read_range(reader, found, chosen, from_s=from_, to_s=to)
            if node is not None and node not in reader.clock_nodes(chosen):
                known = ", ".join(reader.clock_nodes(chosen)) or "none"
                raise Problem(
                    404, f"node: no clock of {node!r:.100} here; there are: {known}", field="node"
                )
            rows = reader.clock_rows(
                chosen, node=node, from_ns=wanted.from_ns, to_ns=wanted.to_ns, limit=limit + 1
            )
            following = None
            if len(rows) > limit:  # a page ends between two instants
                next_ns = rows[limit]["t_ref_ns"]
                rows = [row for row in rows if row["t_ref_ns"] < next_ns]
                if not rows:
                    raise Problem(
                        400,
                        f"limit: more than {limit} clocks are stated at one instant; allow more",
                        field="limit",
                    )
                following = next_url(request, from_ns=next_ns)
            if aligned.ARROW in accept:
                content = Content(reader=reader, session=found, timeline=chosen)
                schema = tables.clock_schema(content)
                body = aligned.stream_of(schema, [tables.clock_batch(schema, rows)])
                return paged(Response(body, media_type=aligned.ARROW), following)
        told = {
            "session": session,
            "timeline": timeline_to_json(chosen),
            "clocks": rows,
            "next": following,
        }
        return paged(json_response(told), following)

    @app.get(
        "/v1/sessions/{session}/aligned",
        responses=arrow_too(problems.RESPONSES, schema=aligned.SCHEMA),
    )
    def aligned_rows(
        request: Request,
        asked: Annotated[PageAsked, Depends(page_asked(step_s=0.25))],
        accept: Accept = "",
    ) -> Response:
        """Embeddings of several streams at the same instants of the timeline."""
        with stored().lend() as reader:
            page = read_page(reader, asked)
        following = None if page.next_ns is None else next_url(request, from_ns=page.next_ns)
        if aligned.ARROW in accept:
            body = aligned.to_arrow(page)
            return paged(Response(body, media_type=aligned.ARROW), following)
        body = aligned.to_json(page, following=following)
        return paged(Response(body, media_type="application/json"), following)

    @app.get(
        "/v1/sessions/{session}/activity",
        responses={
            **problems.RESPONSES,
            200: {
                "description": "a page of the range",
                "content": {"application/json": {"schema": activity.SCHEMA}},
            },
        },
    )
    def activities(
        request: Request,
        asked: Annotated[PageAsked, Depends(page_asked(step_s=HOP_NS / NS_PER_S))],
    ) -> Response:
        """How far each stream's embedding moves from one instant to the next."""
        with stored().lend() as reader:
            page = read_page(reader, asked, num_before=1)  # the first instant moves from it
        following = None if page.next_ns is None else next_url(request, from_ns=page.next_ns)
        body = activity.to_json(page, following=following)
        return paged(Response(body, media_type="application/json"), following)

    @app.get("/v1/sessions/{session}/ticks", responses=problems.RESPONSES)
    def ticks(
        request: Request,
        session: SessionName,
        from_: From = None,
        to: To = None,
        timeline: Timeline = None,
        limit: Limit = ROWS_A_PAGE,
    ) -> Response:
        """What was fused at each tick, and what was made of it: anomaly, relevance."""
        with stored().lend() as reader:
            found = find_session(reader, session)
            chosen = find_timeline(reader, found, timeline)
            wanted = read_range(reader, found, chosen, from_s=from_, to_s=to)
            rows = reader.ticks(chosen, from_ns=wanted.from_ns, to_ns=wanted.to_ns, limit=limit + 1)
        following = (
            next_url(request, from_ns=rows[limit]["t_ref_ns"]) if len(rows) > limit else None
        )
        told = {
            "session": session,
            "timeline": timeline_to_json(chosen),
            "ticks": rows[:limit],
            "next": following,
        }
        return paged(json_response(told), following)

    @app.get("/v1/sessions/{session}/anomalies", responses=problems.RESPONSES)
    def anomalies(
        request: Request,
        session: SessionName,
        after: After = 0,
        before: Before = None,
        order: Order = "oldest",
        limit: Limit = ROWS_A_PAGE,
    ) -> Response:
        """Anomalies in the order they were told, or the newest first."""
        with stored().lend() as reader:
            found = find_session(reader, session)
            rows = reader.events(
                found,
                after=after,
                before=before,
                newest_first=order == "newest",
                kinds=("anomaly",),
                limit=limit,
            )
        following = next_events(request, rows, order=order, limit=limit)
        return paged(
            json_response({"session": session, "anomalies": rows, "next": following}), following
        )

    @app.get(
        "/v1/sessions/{session}/events",
        responses={
            **problems.RESPONSES,
            200: {
                "description": "events as they happen, or a page of them",
                "content": {"text/event-stream": {}, "application/json": {}},
            },
        },
    )
    def events(
        request: Request,
        session: SessionName,
        after: After = 0,
        before: Before = None,
        order: Order = "oldest",
        limit: Limit = ROWS_A_PAGE,
        accept: Accept = "",
        last_event_id: Annotated[str | None, Header()] = None,
    ) -> Response:
        """Jumps, gaps, anomalies …: with `Accept: text/event-stream` as they happen, resumed by
        `Last-Event-ID`; else a page of those there are, in the order they were told or the newest
        first."""
        lent = stored()
        with lent.lend() as reader:
            found = find_session(reader, session)
            if "text/event-stream" not in accept:
                rows = reader.events(
                    found, after=after, before=before, newest_first=order == "newest", limit=limit
                )
                following = next_events(request, rows, order=order, limit=limit)
                told = {"session": session, "events": rows, "next": following}
                return paged(json_response(told), following)
        if last_event_id is not None:
            if not last_event_id.isdecimal() or int(last_event_id) > HIGHEST:
                raise Problem(
                    400,
                    f"Last-Event-ID: expected a number, got {last_event_id!r:.80}",
                    field="Last-Event-ID",
                )
            after = int(last_event_id)
        if len(listeners) >= MOST_LISTENERS:
            raise Problem(503, f"more than {MOST_LISTENERS} listeners; ask again later")

        def read(after: int) -> list[dict[str, Any]]:
            with lent.lend() as reader:
                return reader.events(found, after=after, limit=MOST_ROWS)

        async def told_as_it_happens(after: int) -> AsyncIterator[bytes]:
            listener = object()
            listeners.add(listener)
            try:
                yield b": coeval\n\n"
                while not stopping.is_set():
                    for row in await asyncio.to_thread(read, after):
                        after = row["number"]
                        yield (
                            f"id: {after}\nevent: {row['event']}\ndata: ".encode()
                            + orjson.dumps(row)
                            + b"\n\n"
                        )
                    await asyncio.sleep(EVENTS_EVERY_S)
            finally:
                listeners.discard(listener)

        return StreamingResponse(told_as_it_happens(after), media_type="text/event-stream")

    return app


def arrow_too(
    responses: dict[int | str, dict[str, Any]], *, schema: dict[str, Any] | None = None
) -> dict[int | str, dict[str, Any]]:
    """The responses of a route that also answers in Arrow."""
    content: dict[str, Any] = {
        "application/json": {} if schema is None else {"schema": schema},
        aligned.ARROW: {},
    }
    return {**responses, 200: {"description": "a page of the range", "content": content}}


def json_response(value: object, *, status: int = 200) -> Response:
    """A value as JSON."""
    return Response(orjson.dumps(value), status_code=status, media_type="application/json")


def paged(response: Response, following: str | None) -> Response:
    """A response that says where the next page is."""
    if following is not None:
        response.headers["Link"] = f'<{following}>; rel="next"'
    return response


def next_url(request: Request, *, from_ns: int) -> str:
    """The same question from an instant on."""
    whole, part = divmod(from_ns, NS_PER_S)
    return str(request.url.include_query_params(**{"from": f"{whole}.{part:09d}"}))


def next_events(
    request: Request, rows: Sequence[Mapping[str, Any]], *, order: str, limit: int
) -> str | None:
    """The same question about the events that follow a page; None: there are no more."""
    if len(rows) < limit:
        return None
    bound = "before" if order == "newest" else "after"
    return str(request.url.include_query_params(**{bound: rows[-1]["number"]}))
