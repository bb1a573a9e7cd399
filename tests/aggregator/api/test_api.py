"""The API: what is stored and known, in pages; mistakes as problem details with the field named."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from coeval.hops import HOP_NS
from coeval.time import NS_PER_S, RefNs
from coeval_aggregator.api.config import ApiConfig
from coeval_aggregator.api.server import serving
from coeval_aggregator.store.errors import StoreUnavailable
from coeval_aggregator.store.opening import open_reader, open_store
from coeval_aggregator.store.reading import Reader
from coeval_aggregator.store.writer import StoreState
from coeval_aggregator.view import SessionView, View

from ..store.making import block, clock, event, kept, tick

ARROW = "application/vnd.apache.arrow.stream"
STORE = StoreState(
    problem=None,
    since_s=None,
    num_waiting=3,
    num_held_back=0,
    num_blocks=80,
    num_known=1,
    num_refused=0,
    num_lost=0,
)
COUNTS = {"blocks": 40, "duplicates": 0, "late": 0, "lost": 2, "refused": False}
LIVE = SessionView(
    facts={"reference": "cam", "counts": {}, "streams": {"cam/mic": COUNTS}},
    clocks={
        "cam": {"status": "reference", "offset_s": 0.0, "ci95_s": 0.0, "holdover_s": None},
        "roof": {"status": "unsure", "offset_s": None, "ci95_s": None, "holdover_s": None},
    },
)


@pytest.fixture
def url(tmp_path: Any) -> str:
    url = f"sqlite:///{tmp_path}/store.db"
    store = open_store(url)
    blocks = [block(seq, node=node) for seq in range(40) for node in ("cam", "wrist")]
    clocks = [clock(t_s * NS_PER_S, offset_ns=5e9) for t_s in (5, 10, 15, 20)]
    store.write([kept(*blocks, *clocks, tick(NS_PER_S), event())])
    store.close()
    return url


class Asking:
    """The API over a socket, and what it is told of the aggregator."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.view = View(is_connected=True, store=STORE, sessions={"s": LIVE})

    def get(self, path: str, **headers: str) -> dict[str, Any]:
        response = self.client.get(path, headers=headers)
        assert response.status_code == 200, response.text
        told: dict[str, Any] = response.json()
        return told

    def problem(self, path: str) -> dict[str, Any]:
        response = self.client.get(path)
        assert response.headers["content-type"] == "application/problem+json"
        told: dict[str, Any] = response.json()
        assert told["status"] == response.status_code
        return told


@contextmanager
def asking_of(open_it: Callable[[], Reader] | None) -> Iterator[Asking]:
    with httpx.Client(timeout=300.0) as client:
        asking = Asking(client)
        with serving(ApiConfig(listen="127.0.0.1:0"), lambda: asking.view, open_it) as address:
            client.base_url = address
            yield asking


@pytest.fixture
def asking(url: str) -> Iterator[Asking]:
    with asking_of(lambda: open_reader(url)) as asking:
        yield asking


def test_sessions_streams_and_timelines_are_listed(asking: Asking) -> None:
    (session,) = asking.get("/v1/sessions")["sessions"]
    assert (session["session"], session["is_live"], session["reference"]) == ("s", True, "cam")
    one = asking.get("/v1/sessions/s")
    assert [(t["reference"], t["boot"]) for t in one["timelines"]] == [("cam", f"{1:016x}")]
    streams = asking.get("/v1/sessions/s/streams")["streams"]
    assert [each["stream"] for each in streams] == ["cam/mic", "wrist/mic"]
    assert streams[0]["span_node_ns"] == [0, 390 * HOP_NS]
    assert streams[0]["now"]["lost"] == 2


def test_clocks_are_told_now_and_of_a_session_that_is_over(asking: Asking) -> None:
    now = asking.get("/v1/sessions/s/clocks")
    assert (now["is_live"], now["clocks"]["roof"]["offset_s"]) == (True, None)
    asking.view = View(is_connected=True)
    over = asking.get("/v1/sessions/s/clocks")
    assert (over["is_live"], over["clocks"]["wrist"]["t_ref_ns"]) == (False, 20 * NS_PER_S)


def all_pages(asking: Asking, path: str, key: str) -> list[Any]:
    found: list[Any] = []
    following: str | None = path
    for _ in range(100):
        assert following is not None
        page = asking.get(following)
        found += page[key]
        following = page["next"]
        if following is None:
            return found
    raise AssertionError("the pages do not end")


def test_the_history_of_the_clocks_comes_in_pages(asking: Asking) -> None:
    path = "/v1/sessions/s/clocks/history?from=0&to=100"
    whole = asking.get(path)["clocks"]
    assert [row["t_ref_ns"] // NS_PER_S for row in whole] == [5, 10, 15, 20]
    assert whole[0]["cov_offset_skew"] == -1e3
    assert all_pages(asking, path + "&limit=1", "clocks") == whole
    assert len(asking.get(path + "&node=wrist&limit=3")["clocks"]) == 3


def test_aligned_rows_of_all_streams_stand_side_by_side(asking: Asking) -> None:
    told = asking.get("/v1/sessions/s/aligned?from=0.01&to=1&step=0.25")
    assert told["t_ref_ns"] == [10_000_000 + k * 250_000_000 for k in range(4)]
    cam, wrist = told["streams"]["cam/mic"], told["streams"]["wrist/mic"]
    assert [row[0] for row in cam["rows"]] == [0, 5, 10, 15]
    assert [row[0] for row in wrist["rows"]] == [100, 105, 110, 115]
    assert cam["ci95_s"] == 0.0
    assert 0.0 < wrist["ci95_s"] < 0.1


def test_rows_that_are_not_there_are_null(asking: Asking) -> None:
    told = asking.get("/v1/sessions/s/aligned?from=16.01&to=18&step=1&streams=wrist/mic")
    assert list(told["streams"]) == ["wrist/mic"]
    assert told["streams"]["wrist/mic"]["rows"] == [None, None]


def test_aligned_rows_come_in_pages_that_join_without_a_seam(asking: Asking) -> None:
    path = "/v1/sessions/s/aligned?from=0.01&to=3&step=0.1"
    whole = asking.get(path)["t_ref_ns"]
    assert len(whole) == 30
    assert all_pages(asking, path + "&limit=7", "t_ref_ns") == whole


def test_arrow_holds_the_same_as_json(asking: Asking) -> None:
    path = "/v1/sessions/s/aligned?from=14.01&to=16.4&step=0.5&limit=4"
    told = asking.get(path)
    response = asking.client.get(path, headers={"Accept": ARROW})
    assert response.headers["content-type"] == ARROW
    assert response.headers["link"] == f'<{told["next"]}>; rel="next"'
    table = pa.ipc.open_stream(io.BytesIO(response.content)).read_all()
    assert table["t_ref_ns"].to_pylist() == told["t_ref_ns"]
    for name, stream in told["streams"].items():
        assert table[name].to_pylist() == stream["rows"]
    assert any(row is None for row in told["streams"]["wrist/mic"]["rows"])
    assert table.schema.field("cam/mic").metadata[b"ci95_s"] == b"0.0"


def test_the_history_comes_as_arrow_with_units(asking: Asking) -> None:
    response = asking.client.get(
        "/v1/sessions/s/clocks/history?from=0&to=100", headers={"Accept": ARROW}
    )
    table = pa.ipc.open_stream(io.BytesIO(response.content)).read_all()
    assert table["offset_ns"].to_pylist() == [5e9] * 4
    assert table.schema.field("offset_ns").metadata[b"unit"] == b"ns"


def test_without_a_range_the_last_minute_is_told(asking: Asking) -> None:
    told = asking.get("/v1/sessions/s/aligned")
    assert told["t_ref_ns"][-1] == 400 * HOP_NS - 250_000_000
    assert np.ptp(told["t_ref_ns"]) == 60 * NS_PER_S - 250_000_000


def test_ticks_come_in_pages(asking: Asking, url: str) -> None:
    store = open_store(url)
    store.write([kept(tick(k * NS_PER_S)) for k in range(5)])
    store.close()
    path = "/v1/sessions/s/ticks?from=0&to=4"
    assert [row["t_ref_ns"] // NS_PER_S for row in asking.get(path)["ticks"]] == [0, 1, 2, 3]
    assert len(all_pages(asking, path + "&limit=3", "ticks")) == 4


def test_activity_is_how_far_each_embedding_moved(asking: Asking) -> None:
    told = asking.get("/v1/sessions/s/activity?from=10&to=11&step=0.05&streams=cam/mic")
    rows = asking.get("/v1/sessions/s/aligned?from=9.95&to=11&step=0.05&streams=cam/mic")
    vectors = np.array(rows["streams"]["cam/mic"]["rows"])
    moves = np.linalg.norm(np.diff(vectors, axis=0), axis=1)
    assert told["from_ns"] == 10 * NS_PER_S
    assert told["streams"]["cam/mic"]["activity"] == pytest.approx(moves, abs=1e-3)


def test_activity_of_what_is_not_there_is_unknown(asking: Asking) -> None:
    told = asking.get("/v1/sessions/s/activity?from=-1&to=0.1&step=0.05&streams=cam/mic")
    activity = told["streams"]["cam/mic"]["activity"]
    assert activity[:21] == [None] * 21  # the first embedding has none before it
    assert activity[21] is not None


def test_activity_says_by_which_offset_it_was_placed(url: str, asking: Asking) -> None:
    store = open_store(url)
    later = clock(40 * NS_PER_S, offset_ns=5.25e9)
    store.write([kept(*(block(seq, node="wrist") for seq in range(40, 100)))])
    store.write([kept(replace(later, covers_from_ns=RefNs(30 * NS_PER_S)))])
    store.close()
    told = asking.get("/v1/sessions/s/activity?from=10&to=40&step=0.05")["streams"]
    assert told["cam/mic"]["offset_s"] == [[0, 0.0]]
    (first, before_s), (second, after_s) = told["wrist/mic"]["offset_s"]
    assert (first, before_s, after_s) == (0, 5.0, 5.25)
    assert 200 < second < 600  # where the later estimate is the surer


def test_pages_of_activity_go_on_where_the_one_before_ended(asking: Asking) -> None:
    path = "/v1/sessions/s/activity?from=2&to=4&streams=cam/mic"
    whole = asking.get(path)["streams"]["cam/mic"]["activity"]
    first = asking.get(path + "&limit=15")
    rest = asking.get(first["next"].replace("limit=15", "limit=100"))
    parts = [page["streams"]["cam/mic"]["activity"] for page in (first, rest)]
    assert parts[0] + parts[1] == whole


def test_the_newest_events_come_first_where_they_are_asked_so(url: str, asking: Asking) -> None:
    store = open_store(url)
    store.write([kept(event(), utc_ns=utc_ns) for utc_ns in (2, 3, 4, 5)])
    store.close()
    newest = asking.get("/v1/sessions/s/events?order=newest&limit=2")
    assert [each["number"] for each in newest["events"]] == [5, 4]
    earlier = asking.get(newest["next"])
    assert [each["number"] for each in earlier["events"]] == [3, 2]


def test_an_anomaly_says_itself_when_it_was(url: str, asking: Asking) -> None:
    told = replace(event(), kind="anomaly", payload='{"t_ref_ns": 3, "state": "begin"}')
    store = open_store(url)
    store.write([kept(told, utc_ns=9)])
    store.close()
    (anomaly,) = asking.get("/v1/sessions/s/anomalies")["anomalies"]
    assert (anomaly["t_ref_ns"], anomaly["event"]) == (3, "anomaly")


def test_events_are_listed_and_anomalies_are_those_of_their_kind(asking: Asking) -> None:
    (told,) = asking.get("/v1/sessions/s/events")["events"]
    assert (told["number"], told["t_ref_ns"]) == (1, 5)
    assert asking.get("/v1/sessions/s/anomalies")["anomalies"] == []
    assert asking.get("/v1/sessions/s/events?after=1")["events"] == []


@pytest.mark.parametrize(
    ("path", "status", "field", "said"),
    [
        ("/v1/sessions/t/streams", 404, "session", "there is no 't'; there are: s"),
        ("/v1/sessions/s/aligned?streams=cam/eye", 404, "streams", "cam/mic, wrist/mic"),
        ("/v1/sessions/s/aligned?from=5&to=4", 400, "from", "before 'to', got 5 and 4 s"),
        ("/v1/sessions/s/aligned?from=5&to=5", 400, "from", "before 'to'"),
        ("/v1/sessions/s/aligned?from=soon", 400, "from", "timeline within 146 years, got 'soon'"),
        ("/v1/sessions/s/aligned?to=nan", 400, "to", "seconds of the timeline"),
        ("/v1/sessions/s/aligned?to=1e30", 400, "to", "seconds of the timeline"),
        ("/v1/sessions/s/aligned?from=0&to=1e9", 400, "to", "at most 366 days"),
        ("/v1/sessions/s/aligned?step=0", 400, "step", "0.001 to 3600 s, got 0"),
        ("/v1/sessions/s/aligned?step=nan", 400, "step", "0.001 to 3600 s"),
        ("/v1/sessions/s/aligned?step=x", 400, "step", "step"),
        ("/v1/sessions/s/aligned?limit=0", 400, "limit", "limit"),
        ("/v1/sessions/s/aligned?timeline=9", 404, "timeline", "no timeline 9; there are: 1"),
        ("/v1/sessions/s/clocks/history?node=roof", 404, "node", "there are: wrist"),
        ("/v1/sessions/s/events?after=-1", 400, "after", "after"),
        ("/v1/sessions/s/events?order=best", 400, "order", "'oldest' or 'newest'"),
        ("/v1/sessions/s/anomalies?before=x", 400, "before", "before"),
        ("/v1/sessions/s/events?after=99999999999999999999", 400, "after", "less than"),
        ("/v1/sessions/s/aligned?form=5", 400, "form", "did you mean 'from'?"),
        ("/v1/sessions/s/aligned?from=5&from=6", 400, "from", "more than once"),
        ("/v1/sessions/s/streams?x=5", 400, "x", "no such parameter; there are: none"),
        ("/v1/sessions/s/aligned?streams=", 400, "streams", "leave it out for all"),
        ("/v1/nothing", 404, None, "/v1/nothing: no such route; /openapi.json"),
    ],
)
def test_a_mistake_is_told_with_its_field(
    asking: Asking, path: str, status: int, field: str | None, said: str
) -> None:
    told = asking.problem(path)
    assert (told["status"], told.get("field")) == (status, field)
    assert said in told["detail"]


def test_a_store_that_is_away_is_unavailable_and_not_a_defect() -> None:
    def away() -> Reader:
        raise StoreUnavailable("store x: the database is away")

    with asking_of(away) as asking:
        told = asking.problem("/v1/sessions/s/streams")
    assert (told["status"], told["detail"]) == (503, "store x: the database is away")


def test_without_a_store_the_live_half_answers() -> None:
    with asking_of(None) as asking:
        assert asking.get("/v1/sessions")["sessions"][0]["session"] == "s"
        assert asking.get("/v1/sessions/s/clocks")["is_live"]
        assert "--store none" in asking.problem("/v1/sessions/s/aligned")["detail"]


def test_health_says_what_is_wrong(asking: Asking) -> None:
    well = asking.get("/health")
    assert (well["status"], well["store"]["waiting"], well["store"]["for_s"]) == ("ok", 3, None)
    asking.view = View(is_connected=False, problems=("store: full",), store=STORE)
    response = asking.client.get("/health")
    assert response.status_code == 503
    assert response.json()["problems"] == ["broker: no connection", "store: full"]


def test_metrics_leave_out_what_is_unknown(asking: Asking) -> None:
    lines = asking.client.get("/metrics").text.splitlines()
    assert 'coeval_stream_lost_total{session="s",stream="cam/mic"} 2.0' in lines
    assert "coeval_store_blocks_total 80.0" in lines
    assert 'coeval_clock_offset_seconds{node="cam",session="s"} 0.0' in lines
    assert 'coeval_clock_locked{node="roof",session="s"} 0.0' in lines
    assert not [line for line in lines if "offset_seconds" in line and "roof" in line]
    assert [line for line in lines if line.startswith("process_cpu_seconds_total")]


def test_every_route_is_in_the_document_with_its_problems(asking: Asking) -> None:
    document = asking.get("/openapi.json")
    assert set(document["paths"]) == {
        "/health",
        "/metrics",
        "/v1/sessions",
        "/v1/sessions/{session}",
        "/v1/sessions/{session}/activity",
        "/v1/sessions/{session}/aligned",
        "/v1/sessions/{session}/anomalies",
        "/v1/sessions/{session}/clocks",
        "/v1/sessions/{session}/clocks/history",
        "/v1/sessions/{session}/events",
        "/v1/sessions/{session}/streams",
        "/v1/sessions/{session}/ticks",
    }
    told = document["paths"]["/v1/sessions/{session}/aligned"]["get"]
    assert {p["name"] for p in told["parameters"]} == {
        "session",
        "from",
        "to",
        "streams",
        "step",
        "timeline",
        "limit",
    }
    assert ARROW in told["responses"]["200"]["content"]
    assert "application/problem+json" in told["responses"]["404"]["content"]
