"""Stated clocks: unknown is null, holdover widens and ends, jumps count."""

from typing import Any

import pytest

from coeval.estimates import Jump, NodeEstimate
from coeval.oscillators import PI, TCXO, UNKNOWN
from coeval.time import NS_PER_S, ClockLine, NodeNs, RefNs
from coeval_aggregator.clocks import HOLDOVER_PPM, LONGEST_HOLDOVER_S, ClockBook


def estimate(status: str = "locked", *, jumps: tuple[Jump, ...] = ()) -> NodeEstimate:
    line = ClockLine(t0_ref_ns=RefNs(0), offset_ns=3e9, skew_ppb=40e3)
    return NodeEstimate(
        status=status,  # type: ignore[arg-type]
        line=line if status == "locked" else None,
        ci95_ns=6e6 if status == "locked" else None,
        skew_ci95_ppb=1e3 if status == "locked" else None,
        jumps=jumps,
        evidence=("content",) if status == "locked" else (),
    )


def book(*steps: tuple[str, float]) -> ClockBook:
    made = ClockBook()
    made.set_reference("cam")
    for status, now_s in steps:
        made.update({"wrist": estimate(status)}, now_s=now_s)
    return made


def say(made: ClockBook, node: str, *, t_ref_s: float, now_s: float) -> dict[str, Any]:
    t_ref_ns = RefNs(round(t_ref_s * NS_PER_S))
    return made[node].statement(node, reference="cam", t_ref_ns=t_ref_ns, now_s=now_s)


def test_a_locked_clock_is_stated_at_the_instant_named() -> None:
    said = say(book(("locked", 7.0)), "wrist", t_ref_s=100.0, now_s=7.0)
    assert said["status"] == "locked"
    assert said["offset_s"] == pytest.approx(3.004)
    assert said["skew_ppm"] == pytest.approx(40.0)
    assert said["ci95_s"] == pytest.approx(0.006 + 100 * 1e-6)
    assert said["evidence"] == ["content"]
    assert said["holdover_s"] == 0.0


def test_what_is_unknown_is_null_and_not_zero() -> None:
    said = say(book(), "wrist", t_ref_s=1.0, now_s=0.0)
    assert said["status"] == "unsure"
    for key in ("offset_s", "skew_ppm", "ci95_s", "holdover_s"):
        assert said[key] is None


def test_the_reference_is_exact_by_definition() -> None:
    said = say(book(), "cam", t_ref_s=1.0, now_s=0.0)
    assert (said["status"], said["offset_s"], said["ci95_s"]) == ("reference", 0.0, 0.0)


def test_a_clock_that_becomes_unsure_is_held_with_a_growing_interval() -> None:
    made = book(("locked", 0.0), ("unsure", 10.0))
    said = say(made, "wrist", t_ref_s=0.0, now_s=20.0)
    assert said["status"] == "unsure"
    assert said["offset_s"] == pytest.approx(3.0)
    assert said["holdover_s"] == 20.0
    assert said["ci95_s"] == pytest.approx(0.006 + 20 * HOLDOVER_PPM * 1e-6)


def test_holdover_ends() -> None:
    made = book(("locked", 0.0))
    made.expire(now_s=LONGEST_HOLDOVER_S + 1)
    assert say(made, "wrist", t_ref_s=0.0, now_s=100.0)["offset_s"] is None


def test_evidence_against_a_relation_ends_holdover_at_once() -> None:
    said = say(book(("locked", 0.0), ("unrelated", 1.0)), "wrist", t_ref_s=0.0, now_s=1.0)
    assert (said["status"], said["offset_s"]) == ("unrelated", None)


def test_jumps_move_the_clock_from_their_instant_on() -> None:
    made = ClockBook()
    jump = Jump(t_ref_ns=RefNs(50 * NS_PER_S), delta_ns=0.25e9)
    made.update({"wrist": estimate(jumps=(jump,))}, now_s=0.0)
    clock = made["wrist"]
    before, after = RefNs(40 * NS_PER_S), RefNs(60 * NS_PER_S)
    assert clock.offset_ns(before) == pytest.approx(3e9 + 40e3 * 40)
    assert clock.offset_ns(after) == pytest.approx(3.25e9 + 40e3 * 60)
    for t_ref_ns in (before, after):
        t_node_ns = clock.to_node(t_ref_ns)
        assert t_node_ns is not None
        assert abs((clock.to_ref(t_node_ns) or 0) - t_ref_ns) <= 1


def test_an_unknown_clock_maps_nothing() -> None:
    clock = ClockBook()["nobody"]
    assert clock.to_node(RefNs(5)) is None
    assert clock.to_ref(NodeNs(5)) is None


def test_a_restarted_node_is_unknown_and_a_restarted_reference_voids_all() -> None:
    made = book(("locked", 0.0))
    made.forget("wrist")
    assert made["wrist"].status == "unsure"
    made = book(("locked", 0.0))
    made.forget("cam")
    assert made["wrist"].status == "unsure"
    assert made["cam"].status == "reference"


def test_holdover_grows_as_the_clocks_kind_wanders() -> None:
    made = book(("locked", 0.0))
    grown = []
    for kinds in ((TCXO, TCXO), (PI, TCXO), (PI, UNKNOWN)):
        said = made["wrist"].statement(
            "wrist", reference="cam", t_ref_ns=RefNs(0), now_s=50.0, oscillators=kinds
        )
        ci95_s = said["ci95_s"]
        assert isinstance(ci95_s, float)
        grown.append(ci95_s - 0.006)
    # White 1.1 ns/√s and a walk of 0.25 ppb/√s for 50 s, of both clocks.
    assert grown[0] == pytest.approx(1.96e-9 * (2 * (1.1**2 * 50 + 0.25**2 * 50**3 / 3)) ** 0.5)
    assert grown[0] < grown[1] < grown[2] == pytest.approx(50 * HOLDOVER_PPM * 1e-6)
