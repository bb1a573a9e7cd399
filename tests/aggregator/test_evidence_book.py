"""What nodes measure of their clocks becomes one line a node, and what lies is named."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from coeval.estimates import PairEstimate
from coeval.evidence_wire import (
    EdgeSample,
    EvidenceMessage,
    ExchangeSample,
    PpsSample,
    StatementSample,
    encode_evidence,
)
from coeval.network import Exchange
from coeval.placing import Contradiction
from coeval.topics import Topics
from coeval_aggregator import evidence_book, node_runs
from coeval_aggregator.config import AggregatorConfig
from coeval_aggregator.evidence_book import EvidenceBook
from coeval_aggregator.session import Session

S = 1_000_000_000
UTC_EPOCH = 1_700_000_000 * S
TOPICS = Topics()


def pps(second: int, offset_ns: int, *, noise_ns: int = 0) -> PpsSample:
    """An edge as a node stamps it whose clock is `offset_ns` ahead of time since the epoch."""
    return PpsSample(
        t_node_ns=second * S + offset_ns + noise_ns,
        t_utc_ns=UTC_EPOCH + second * S,
        sigma_ns=1000.0,
    )


def test_pps_on_two_nodes_gives_a_line_between_them() -> None:
    rng = np.random.default_rng(1)
    book = EvidenceBook(reference="cam")
    for second in range(40):
        book.take("cam", pps(second, 5 * S, noise_ns=int(rng.normal() * 1000)))
        wrist = 2 * S + second * 30_000
        book.take("wrist", pps(second, wrist, noise_ns=int(rng.normal() * 1000)))
    (line,) = book.lines(45 * S)
    assert (line.first, line.second, line.kind) == ("cam", "wrist", "hardware")
    assert line.lag_ns == pytest.approx(-3 * S + 40 * 30_000, abs=4000)
    assert line.skew_ppm == pytest.approx(30.0, abs=0.2)
    utc = book.facts()["utc"]
    assert isinstance(utc, dict)
    assert utc["offset_s"] == pytest.approx(5 - 1_700_000_000, abs=1e-4)


def test_pulses_by_a_probe_tie_a_node_to_utc_no_better_than_their_shared_error() -> None:
    book = EvidenceBook(reference="cam")
    for second in range(60):
        book.take("cam", replace(pps(second, 5 * S), by="probe", bias_sigma_ns=300_000.0))
    utc = book.utc_of("cam")
    assert utc is not None
    assert 2 * 250e-6 < utc["ci95_s"] < 2 * 350e-6
    assert "probe/cam" in book.sources_of("cam")


def test_exchanges_tie_nodes_through_the_server() -> None:
    book = EvidenceBook(reference="cam")
    for k in range(80):
        for node, ahead in (("cam", 7 * S), ("wrist", 9 * S)):
            sent = k * S
            times = Exchange(
                t1_ns=sent + ahead,
                t2_ns=sent + 400_000,
                t3_ns=sent + 450_000,
                t4_ns=sent + 850_000 + ahead,
            )
            book.take(node, ExchangeSample(other="@server", exchange=times))
    (line,) = book.lines(80 * S + 7 * S)
    assert line.kind == "network"
    assert abs(line.lag_ns - 2 * S) <= 2 * np.sqrt(line.covariance[0, 0])
    known = book.clocks.at("wrist", 80 * S + 7 * S)
    assert known is not None
    assert 1.96 * np.sqrt(line.covariance[0, 0]) == pytest.approx(known.ci95_ns)
    # Half of 0.8 ms of delay on either path is never claimed away.
    assert np.sqrt(line.covariance[0, 0]) > 200_000


def test_a_statement_of_chrony_keeps_its_stated_bias() -> None:
    book = EvidenceBook(reference="cam")
    for second in range(60):
        for node in ("cam", "wrist"):
            book.take(
                node,
                StatementSample(
                    by="chrony",
                    t_node_ns=second * S,
                    t_utc_ns=UTC_EPOCH + second * S,
                    sigma_ns=50_000.0,
                    bias_sigma_ns=1e6,
                ),
            )
    (line,) = book.lines(60 * S)
    assert np.sqrt(line.covariance[0, 0]) == pytest.approx(1e6 * np.sqrt(2), rel=0.1)


def test_a_shared_line_is_matched_without_knowing_any_offset() -> None:
    rng = np.random.default_rng(2)
    book = EvidenceBook(reference="cam")
    times = np.cumsum(rng.integers(S // 4, 2 * S, 40))
    for t in times.tolist():
        book.take("cam", EdgeSample(line="strobe", t_node_ns=t, sigma_ns=5000.0))
        book.take("wrist", EdgeSample(line="strobe", t_node_ns=t + 11 * S, sigma_ns=5000.0))
    (line,) = book.lines(int(times[-1]))
    assert line.kind == "hardware"
    assert line.lag_ns == pytest.approx(11 * S, abs=10_000)


def test_a_regular_pulse_alone_ties_nothing() -> None:
    book = EvidenceBook(reference="cam")
    for k in range(40):
        for node, ahead in (("cam", 0), ("wrist", 3 * S)):
            book.take(node, EdgeSample(line="beat", t_node_ns=k * S + ahead, sigma_ns=5000.0))
    assert book.lines(40 * S) == []


def test_a_sample_delivered_twice_counts_once() -> None:
    book = EvidenceBook(reference="cam")
    for second in (0, 0, 1, 1, 1, 2, 0):
        book.take("cam", pps(second, 0))
    assert book.counts["pps"] == 3
    assert book.counts["backwards"] == 4


def test_edges_of_a_line_that_go_backwards_are_counted() -> None:
    book = EvidenceBook(reference="cam")
    for t in (10, 10, 5):
        book.take("cam", EdgeSample(line="strobe", t_node_ns=t * S, sigma_ns=5000.0))
    assert book.counts["backwards"] == 2


def test_a_node_that_starts_anew_brings_nothing_of_its_old_clock() -> None:
    book = EvidenceBook(reference="cam")
    for second in range(20):
        for node in ("cam", "wrist"):
            book.take(node, pps(second, 0))
    assert len(book.lines(20 * S)) == 1
    book.forget("wrist")
    assert book.lines(20 * S) == []


def send(session: Session, node: str, samples: list[Any], *, boot: int = 1, now_s: float) -> None:
    payload = encode_evidence(EvidenceMessage(boot_id=boot, samples=tuple(samples)))
    session.handle(TOPICS.evidence(node), payload, now_s=now_s)


def events(session: Session) -> list[dict[str, Any]]:
    return [
        json.loads(message.payload)
        for message in session.told.take_outbox()
        if "/event/" in message.topic
    ]


def test_a_jump_seen_by_pps_is_told_as_an_event() -> None:
    session = Session(AggregatorConfig(reference="cam"))
    for second in range(40):
        send(session, "cam", [pps(second, 0)], now_s=second)
        jumped = 250_000_000 if second >= 30 else 0
        send(session, "wrist", [pps(second, S + jumped)], now_s=second)
    (told,) = events(session)
    assert (told["event"], told["node"]) == ("jump", "wrist")
    assert told["jump_s"] == pytest.approx(0.25, abs=1e-4)


def test_evidence_of_a_second_node_of_the_same_id_is_left_out() -> None:
    session = Session(AggregatorConfig(reference="cam"))
    send(session, "cam", [pps(0, 0)], boot=1, now_s=0.0)
    send(session, "cam", [pps(0, 9 * S)], boot=2, now_s=1.0)
    send(session, "cam", [pps(1, 0)], boot=1, now_s=1.5)
    assert session.told.counts["rival_evidence"] == 1
    assert [told["event"] for told in events(session)] == ["duplicate"]


def test_hostile_evidence_is_counted_and_changes_nothing() -> None:
    session = Session(AggregatorConfig(reference="cam"))
    for payload in (b"", b"[]", b'{"boot": "0", "samples": []}', b"\xff" * 100):
        session.handle(TOPICS.evidence("cam"), payload, now_s=0.0)
    assert session.told.counts["bad_evidence"] == 4
    session.handle(TOPICS.evidence("@utc"), b"{}", now_s=0.0)
    assert session.told.counts["bad_topic"] == 1
    assert list(session.evidence.clocks.groups) == []


def ptp_statement(second: int, ahead_ns: int, *, of: str) -> StatementSample:
    return StatementSample(
        by="ptp4l",
        of=of,
        t_node_ns=second * S + ahead_ns,
        t_utc_ns=UTC_EPOCH + second * S,
        sigma_ns=2_000.0,
        bias_sigma_ns=3_000.0,
    )


def test_nodes_of_one_grandmaster_are_tied_although_it_does_not_know_utc() -> None:
    book = EvidenceBook(reference="cam")
    for second in range(60):
        book.take("cam", ptp_statement(second, 0, of="@ptp-gm1"))
        book.take("wrist", ptp_statement(second, 5 * S, of="@ptp-gm1"))
        book.take("far", ptp_statement(second, 7 * S, of="@ptp-gm2"))
    (line,) = book.lines(60 * S)
    assert (line.second, round(line.lag_ns * 1e-6)) == ("wrist", 5000)
    assert book.facts()["utc"] is None
    assert book.nodes() == ["cam", "far", "wrist"]


def test_invented_clocks_cost_bounded_memory_and_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evidence_book, "MOST_CLOCKS", 20)
    book = EvidenceBook(reference="cam")
    for k in range(30):
        book.take("cam", ptp_statement(k, 0, of=f"@ptp-{k}"))
    assert sum(len(filter_.clocks) for filter_ in book.clocks.groups) == 20
    assert book.counts["refused"] == 11
    book.take("cam", ptp_statement(40, 0, of="@ptp-3"))
    assert book.counts["refused"] == 11


def test_invented_sources_cost_bounded_memory_and_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evidence_book, "MOST_SOURCES", 20)
    book = EvidenceBook(reference="cam")
    for k in range(30):
        book.take("cam", replace(ptp_statement(k, 0, of="@ptp-gm"), by=f"daemon{k}"))
    assert len(book.clocks.sources) == 20
    assert book.counts["refused"] == 10


def test_edges_of_invented_nodes_cost_bounded_memory_until_those_start_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evidence_book, "MOST_PATHS", 20)
    book = EvidenceBook(reference="cam")
    edge = EdgeSample(t_node_ns=S, line="led", sigma_ns=1000.0)
    for k in range(30):
        book.take(f"n{k}", edge)
    assert sum(map(len, book._edges.values())) == 20
    assert (book.counts["edge"], book.counts["refused"]) == (20, 10)
    book.forget("n0")
    book.take("n29", edge)
    assert book.counts["refused"] == 10


def test_evidence_of_invented_nodes_costs_bounded_memory_and_is_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(node_runs, "MOST_NODES", 20)
    session = Session(AggregatorConfig(reference="cam"))
    for k in range(30):
        send(session, f"n{k}", [pps(1, 0)], now_s=1.0)
    assert len(session._runs) == 20
    assert session.told.counts["too_many_nodes"] == 10
    assert len(session.told.take_records()) == 20


def test_the_clock_topic_says_where_utc_is_and_null_where_nothing_ties_to_it() -> None:
    session = Session(AggregatorConfig(reference="cam"))
    for second in range(20):
        send(session, "cam", [pps(second, 5 * S)], now_s=second)
    session.clocks.set_reference("cam")
    session.tell_clocks(now_s=20.0)
    (told,) = [json.loads(m.payload) for m in session.told.take_outbox() if "/clock/" in m.topic]
    assert told["utc"]["offset_s"] == pytest.approx(5 - 1_700_000_000, abs=1e-4)
    assert 0 < told["utc"]["ci95_s"] < 1e-4
    session = Session(AggregatorConfig(reference="cam"))
    session.tell_clocks(now_s=0.0)
    (told,) = [json.loads(m.payload) for m in session.told.take_outbox() if "/clock/" in m.topic]
    assert told["utc"] is None


def test_evidence_that_contradicts_the_rest_is_told_once() -> None:
    session = Session(AggregatorConfig(reference="cam"))
    wrong = Contradiction(first="@utc", second="wrist", kind="hardware", miss_ns=5e8, sigmas=40.0)
    for _ in range(2):
        session.note_pairs((), (wrong,))
    (told,) = events(session)
    assert (told["event"], told["node"], told["against"]) == ("contradiction", "wrist", "@utc")
    assert told["miss_s"] == 0.5
    session.note_pairs((), ())
    session.note_pairs((), (wrong,))
    assert len(events(session)) == 1


def test_what_content_contradicts_is_told_again_only_after_the_pair_agreed() -> None:
    session = Session(AggregatorConfig(reference="cam"))
    pair = PairEstimate(first="cam", second="wrist", fit=None, streams=(), accepted=True)
    wrong = Contradiction(first="cam", second="wrist", kind="content", miss_ns=5e8, sigmas=9.0)
    session.note_pairs((pair,), (wrong,))
    session.note_pairs((), ())  # other pairs had their turn
    session.note_pairs((pair,), (wrong,))
    assert len(events(session)) == 1
    session.note_pairs((pair,), ())
    session.note_pairs((pair,), (wrong,))
    assert len(events(session)) == 1


def state(session: Session, node: str, **facts: Any) -> None:
    value = {"state": "online", "boot": f"{1:016x}", **facts}
    session.handle(TOPICS.state(node), json.dumps(value).encode(), now_s=0.0)


def test_a_node_says_what_kind_of_clock_it_has() -> None:
    session = Session(AggregatorConfig(reference="cam"))
    state(session, "cam", oscillator="tcxo")
    assert session.evidence.clocks.groups.oscillator("cam").name == "tcxo"
    state(session, "wrist")
    assert session.evidence.clocks.groups.oscillator("wrist").name == "unknown"
    state(session, "wrist", oscillator="quartz")
    assert session.told.counts["bad_state"] == 1


def test_a_clock_whose_kind_is_told_late_wanders_by_it_from_then_on() -> None:
    widths = []
    for kind in ("usb", "tcxo"):
        session = Session(AggregatorConfig(reference="cam"))
        for second in range(60):
            for node in ("cam", "wrist"):
                send(session, node, [pps(second, 0)], now_s=second)
        for node in ("cam", "wrist"):
            state(session, node, oscillator=kind)
        after = session.evidence.clocks.at("wrist", 260 * S)
        assert after is not None
        widths.append(after.ci95_ns)
    assert widths[0] > 1.5 * widths[1]


def good_session() -> Session:
    """Two nodes with PPS, 30 s old."""
    session = Session(AggregatorConfig(reference="cam"))
    for second in range(30):
        for node, ahead in (("cam", 0), ("wrist", 2 * S)):
            send(session, node, [pps(second, ahead)], now_s=second)
    session.told.take_outbox()
    return session


def exchange_at(second: int, *, claimed_ns: int) -> ExchangeSample:
    """An exchange of `evil` with the server, which it claims to be `claimed_ns` ahead of."""
    t1 = second * S
    times = Exchange(
        t1_ns=t1 + claimed_ns,
        t2_ns=t1 + 400_000,
        t3_ns=t1 + 450_000,
        t4_ns=t1 + 850_000 + claimed_ns,
    )
    return ExchangeSample(other="@server", exchange=times)


@pytest.mark.parametrize(
    ("what", "samples", "counted"),
    [
        ("goes backwards", [pps(40, 0), pps(35, 0), pps(34, 0)], "backwards"),
        ("stamps twice alike", [pps(40, 0), pps(40, 0)], "backwards"),
        ("is years off", [pps(30 + k, (-1) ** k * 3 * 10**16) for k in range(8)], "pps"),
        ("trades nonsense", [exchange_at(k, claimed_ns=k * 10**15) for k in range(20)], "exchange"),
    ],
)
def test_a_node_whose_clock_is_absurd_is_counted_and_moves_no_other(
    what: str, samples: list[Any], counted: str
) -> None:
    del what
    session = good_session()
    before = session.evidence.clocks.at("wrist", 30 * S)
    for k, sample in enumerate(samples):
        send(session, "evil", [sample], now_s=30.0 + k)
        for node, ahead in (("cam", 0), ("wrist", 2 * S)):
            send(session, node, [pps(30 + k, ahead)], now_s=30.0 + k)
    after = session.evidence.clocks.at("wrist", (30 + len(samples)) * S)
    assert before is not None
    assert after is not None
    assert abs(after.offset_ns - 2 * S) <= 2_000
    assert after.is_locked
    assert session.evidence.counts[counted] > 0
    assert {told["node"] for told in events(session)} <= {"evil"}
