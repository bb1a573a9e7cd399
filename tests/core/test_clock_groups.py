"""Clocks are tied by what compares them, whenever it comes, and forgotten one by one."""

import numpy as np
import pytest

from coeval.evidence import UTC, Evidence
from coeval.oscillators import TCXO
from coeval.session_clocks import SessionClocks

from .clock_lives import EPOCH, S, sample, session


def test_a_clock_that_nothing_ties_has_no_offset() -> None:
    clocks = session()
    clocks.push(sample(0, 1e6, first="a", second="b", source="x"))
    assert clocks.at("b", EPOCH) is None
    assert clocks.at("nobody", EPOCH) is None


def test_two_groups_join_when_something_ties_them() -> None:
    clocks = SessionClocks(reference="ref", default=TCXO)
    for t in range(20):
        clocks.push(sample(t, 2e9, first="a", second="b", source="ab"))
        clocks.push(sample(t, 5e9, first="ref", second="c", source="rc"))
    assert clocks.at("b", EPOCH) is None
    for t in range(20, 40):
        clocks.push(sample(t, -1e9, first="c", second="a", source="ca"))
    for clock, expected in (("c", 5e9), ("a", 4e9), ("b", 6e9)):
        state = clocks.at(clock, EPOCH + 40 * S)
        assert state is not None
        assert state.offset_ns == pytest.approx(expected, abs=3000)
    assert clocks.difference("ref", UTC) is None


def test_pps_on_both_nodes_ties_them_through_utc() -> None:
    clocks = SessionClocks(reference="ref")
    for t in range(30):
        for node, offset in (("ref", 3e8), ("n", -2e8)):
            clocks.push(sample(t, offset, first=UTC, second=node, source=f"pps/{node}"))
    assert clocks.difference("ref", UTC) is not None
    state = clocks.at("n", EPOCH + 30 * S + 300_000_000)
    assert state is not None
    assert state.offset_ns == pytest.approx(-5e8, abs=2000)


def test_offsets_of_years_lose_no_nanoseconds() -> None:
    clocks = SessionClocks(reference="ref")
    far = 50 * 365 * 86_400 * S + 123
    for t in range(30):
        clocks.push(
            Evidence(
                kind="hardware",
                source="pps/ref",
                first=UTC,
                second="ref",
                t_second_ns=t * S,
                offset_ns=-far,
                sigma_ns=10.0,
            )
        )
    state = clocks.at(UTC, 30 * S)
    assert state is not None
    assert abs(state.offset_ns - far) <= 10


def two_tied_to_the_reference() -> SessionClocks:
    """Nodes `a` and `b`, 1 and 2 ms fast, measured for 20 s."""
    clocks = SessionClocks(reference="ref")
    for t in range(20):
        clocks.push(sample(t, 1e6, second="a", source="a"))
        clocks.push(sample(t, 2e6, second="b", source="b"))
    return clocks


def test_a_node_that_starts_anew_is_forgotten_and_the_others_are_not() -> None:
    clocks = two_tied_to_the_reference()
    clocks.forget("a")
    assert clocks.at("a", EPOCH) is None
    state = clocks.at("b", EPOCH + 20 * S)
    assert state is not None
    assert state.offset_ns == pytest.approx(2e6, abs=1500)


def test_when_the_reference_starts_anew_the_others_stay_tied() -> None:
    clocks = two_tied_to_the_reference()
    clocks.forget("ref")
    assert clocks.at("a", EPOCH) is None
    for t in range(20, 30):
        clocks.push(sample(t, 7e6, second="a", source="a"))
    state = clocks.at("b", EPOCH + 30 * S)
    assert state is not None
    assert state.offset_ns == pytest.approx(8e6, abs=5000)


@pytest.mark.parametrize("late_s", [0, 5, 50])
def test_a_node_that_is_heard_late_is_tied_as_well_as_any_other(late_s: int) -> None:
    """All that one node measured for a minute arrives when the other is already that far on."""
    rng = np.random.default_rng(9)
    clocks = SessionClocks(reference="ref")

    def edge(node: str, t: int, offset: float) -> Evidence:
        noisy = offset + rng.normal() * 1e3
        return sample(t, noisy, first=UTC, second=node, source=f"pps/{node}")

    findings = []
    for t in range(60 + late_s):
        if t < 60:
            findings += clocks.push(edge("ref", t, 0.0))
        if t >= late_s:
            findings += clocks.push(edge("n", t - late_s, 3e9 + 40e3 * (t - late_s)))
    assert findings == []
    assert clocks.sources["pps/n"].scale < 1.5
    assert clocks.counts["held"] == 0
    state = clocks.at("n", EPOCH + 60 * S)
    assert state is not None
    assert abs(state.offset_ns - (3e9 + 40e3 * 60)) <= 2 * state.ci95_ns < 1e4
