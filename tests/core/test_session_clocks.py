"""All evidence in one estimate: honest, never worse than its best source, naming what lies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coeval.evidence import SERVER, UTC, Evidence
from coeval.session_clocks import SessionClocks

from .clock_lives import EPOCH, S, run, sample, session, simulate


def test_pps_gives_offset_and_skew_to_a_microsecond_with_the_right_sign() -> None:
    clocks = session()
    for t in range(60):
        clocks.push(sample(t, 3e9 + 41e3 * t))
    state = clocks.at("n", EPOCH + 60 * S)
    assert state is not None
    assert state.offset_ns == pytest.approx(3e9 + 41e3 * 60, abs=1000)
    assert state.skew_ppb == pytest.approx(41e3, abs=50)
    assert state.is_locked
    assert state.kinds == ("hardware",)


@pytest.mark.parametrize("kinds", [("hardware",), ("network",), ("content",)])
def test_intervals_cover_the_truth_about_as_often_as_they_say(kinds: tuple[str, ...]) -> None:
    inside = []
    for seed in range(120):
        errors, _ = run(session(), simulate(seed, kinds=kinds, seconds=60))
        _, error, ci95 = errors[-1]
        inside.append(abs(error) <= ci95)
    assert 0.90 <= np.mean(inside) <= 0.99


def test_all_evidence_together_is_never_worse_than_the_best_alone() -> None:
    def rms(kinds: tuple[str, ...]) -> float:
        last = [run(session(), simulate(seed, kinds=kinds))[0][-1][1] for seed in range(40)]
        return float(np.sqrt(np.mean(np.square(last))))

    assert rms(("network", "content")) <= 1.05 * min(rms(("network",)), rms(("content",)))
    assert rms(("hardware", "network", "content")) <= 1.05 * rms(("hardware",))


@pytest.mark.parametrize("kind", ["hardware", "network", "content"])
def test_a_jump_is_told_at_its_second_sample(kind: str) -> None:
    step = {"hardware": 1, "network": 4, "content": 10}[kind]
    _, findings = run(session(), simulate(3, kinds=(kind,), seconds=200, jump_at=120))
    jumps = [(t, found) for t, found in findings if found.kind == "jump"]
    assert len(jumps) == 1
    t, found = jumps[0]
    assert t - 120 <= 2 * step
    assert found.clock == "n"
    assert found.size_ns == pytest.approx(50e6, abs=25e6 if kind == "content" else 1e6)


def test_after_a_jump_the_new_offset_is_the_estimate() -> None:
    errors, _ = run(session(), simulate(4, kinds=("hardware",), seconds=130, jump_at=100))
    assert all(abs(error) <= 4000 for t, error, _ in errors if t >= 105)


def test_a_source_that_lies_is_named_and_does_not_move_the_clock() -> None:
    errors, findings = run(session(), simulate(5, seconds=240, lie_from=120))
    kinds = [found.kind for _, found in findings]
    assert kinds[0] == "source_stepped"
    assert "jump" not in kinds
    assert max(abs(error) for t, error, _ in errors if t >= 60) < 1e6
    assert all(abs(error) <= 2 * ci95 for t, error, ci95 in errors if t >= 60)


def test_while_a_step_is_in_doubt_the_interval_holds_both_answers() -> None:
    """PPS says that the clock stepped; the network, which would see it, has not spoken yet."""
    errors, findings = run(session(), simulate(6, seconds=125, jump_at=122))
    assert findings == []
    _, error, ci95 = errors[-1]
    assert abs(error) > 4e7
    assert abs(error) <= ci95


def test_two_sources_that_show_the_same_step_are_believed_at_once() -> None:
    errors, findings = run(session(), simulate(6, seconds=130, jump_at=124))
    assert [(t, found.kind) for t, found in findings] == [(125, "jump")]
    assert all(abs(error) < 1e4 for t, error, _ in errors if t >= 126)


def test_a_jump_that_another_source_refutes_later_is_taken_back() -> None:
    """Content is silent for so long that PPS alone is believed, and then contradicts it."""
    clocks, findings = session(), []
    for t in range(200):
        lie = 5e8 if t >= 100 else 0.0
        findings += clocks.push(sample(t, lie))
        if t < 60 or t >= 130:
            seen = sample(t, 0.0, kind="content", source="film/n", sigma_ns=1e7)
            findings += clocks.push(seen)
    kinds = [found.kind for found in findings]
    assert kinds[:3] == ["jump", "no_jump", "source_stepped"]
    state = clocks.at("n", EPOCH + 200 * S)
    assert state is not None
    assert abs(state.offset_ns) < 1e5


def test_a_source_that_scatters_more_than_it_claims_is_believed_less_and_named() -> None:
    rng = np.random.default_rng(7)
    clocks, findings = session(), []
    for t in range(200):
        findings += clocks.push(sample(t, rng.normal() * 5e3, sigma_ns=1e3))
    assert 3.0 < clocks.sources["pps/n"].scale < 8.0
    assert "source_wide" in {found.kind for found in findings}
    assert not [found for found in findings if found.kind == "jump"]


def test_single_outliers_change_nothing() -> None:
    clocks = session()
    for t in range(100):
        clocks.push(sample(t, 7e6 if t % 10 == 9 else 0.0))
    state = clocks.at("n", EPOCH + 100 * S)
    assert state is not None
    assert abs(state.offset_ns) < 1000
    assert clocks.counts["held"] == 10


def test_without_evidence_the_interval_grows() -> None:
    errors, _ = run(session(), simulate(8, kinds=("hardware",)))
    clocks = session()
    run(clocks, simulate(8, kinds=("hardware",)))
    soon = clocks.at("n", EPOCH + 121 * S)
    later = clocks.at("n", EPOCH + 1000 * S)
    assert soon is not None
    assert later is not None
    assert later.ci95_ns > 10 * soon.ci95_ns
    assert later.holdover_s == pytest.approx(881, abs=2)
    assert later.kinds == ()
    assert len(errors) == 120


def test_late_samples_count_at_their_time_and_too_late_ones_are_dropped() -> None:
    clocks = session()
    for t in range(0, 1300, 10):
        clocks.push(sample(t, 20e3 * t))
    clocks.push(sample(1100, 20e3 * 1100, kind="content", source="film/n", sigma_ns=1e6))
    assert clocks.counts["used"] == 131
    clocks.push(sample(3, 0.0, kind="content", source="film/n", sigma_ns=1e6))
    assert clocks.counts["late"] == 1


def test_one_sample_from_the_far_future_does_not_move_the_session() -> None:
    clocks = session()
    for t in range(30):
        clocks.push(sample(t, 0.0))
    clocks.push(sample(10_000, 0.0))
    clocks.push(sample(30, 0.0))
    assert clocks.counts["ahead"] == 1
    assert clocks.counts["used"] == 31


@given(
    offsets=st.lists(st.integers(-(10**18), 10**18), min_size=1, max_size=40),
    sigma=st.floats(1.0, 1e9),
)
@settings(max_examples=50)
def test_whatever_is_measured_the_filter_stays_sane(offsets: list[int], sigma: float) -> None:
    clocks = SessionClocks(reference="ref")
    for t, offset in enumerate(offsets):
        clocks.push(
            Evidence(
                kind="network",
                source="x",
                first=SERVER,
                second="ref",
                t_second_ns=EPOCH + t * S,
                offset_ns=offset,
                sigma_ns=sigma,
            )
        )
    state = clocks.at(SERVER, EPOCH + len(offsets) * S)
    assert state is None or (np.isfinite(state.ci95_ns) and state.ci95_ns > 0)


@pytest.mark.parametrize(
    ("sigma", "bias"), [(0.0, 0.0), (-1.0, 0.0), (float("nan"), 0.0), (1.0, float("inf"))]
)
def test_impossible_uncertainties_are_counted_and_left_out(sigma: float, bias: float) -> None:
    clocks = session()
    clocks.push(sample(0, 0.0, sigma_ns=sigma, bias_sigma_ns=bias))
    assert clocks.counts == {"unusable": 1}
    assert clocks.at("n", EPOCH) is None


def test_utc_never_steps_whatever_else_is_doubted() -> None:
    clocks = SessionClocks(reference="ref")
    findings = []
    for t in range(60):
        wrong = (
            4e6 if t == 49 else 0.0
        )  # an outlier of the reference's own PPS, in doubt as n steps
        findings += clocks.push(sample(t, wrong, first=UTC, second="ref", source="pps/ref"))
        stepped = 5e7 if t >= 50 else 0.0
        findings += clocks.push(sample(t, stepped, first=UTC, second="n", source="pps/n"))
    assert [(found.kind, found.clock) for found in findings] == [("jump", "n")]
    assert findings[0].size_ns == pytest.approx(5e7, abs=1e4)


def content(t: float, offset_ns: float, *, sigma_ns: float = 1e7) -> Evidence:
    """A window of content."""
    return sample(t, offset_ns, kind="content", source="film/n", sigma_ns=sigma_ns)


def test_a_step_that_no_single_sample_shows_clearly_is_found_by_two_together() -> None:
    clocks = session()
    for t in range(0, 600, 10):
        assert clocks.push(content(t, 0.0)) == []
    assert clocks.push(content(600, 33e6)) == []
    (found,) = clocks.push(content(610, 33e6))
    assert (found.kind, found.clock) == ("jump", "n")
    assert found.size_ns == pytest.approx(33e6, rel=0.1)


def test_two_odd_samples_that_do_not_agree_are_no_step() -> None:
    clocks, findings = session(), []
    for t in range(0, 600, 10):
        findings += clocks.push(content(t, {300: 80e6, 310: 10e6}.get(t, 0.0)))
    assert findings == []


def test_one_odd_sample_widens_the_interval_until_the_next_tells() -> None:
    clocks = session()
    for t in range(0, 600, 10):
        clocks.push(content(t, 0.0))
    widths = []
    for t, offset in ((600, 0.0), (610, 50e6), (620, 0.0)):
        clocks.push(content(t, offset))
        state = clocks.at("n", EPOCH + t * S)
        assert state is not None
        widths.append(state.ci95_ns)
    assert widths[0] < 1e7 < 5e7 < widths[1]
    assert widths[2] < 1.5 * widths[0]


def test_one_odd_sample_that_a_sharper_source_denies_changes_no_interval() -> None:
    clocks = session()
    for t in range(600):
        clocks.push(sample(t, 0.0))
        if t % 10 == 0:
            clocks.push(content(t - 5, 50e6 if t == 590 else 0.0))
    state = clocks.at("n", EPOCH + 600 * S)
    assert state is not None
    assert state.ci95_ns < 1e4


def test_a_leap_second_is_a_step_of_utc_and_of_no_clock() -> None:
    clocks = SessionClocks(reference="ref")
    midnight = EPOCH // S // 86_400 * 86_400 + 86_400 - EPOCH // S
    findings = []
    for t in range(midnight - 30, midnight + 30):
        for node, offset in (("ref", 3 * S), ("n", -2 * S)):
            # Since midnight UTC is a second behind what it would have been.
            utc_back = S if t >= midnight else 0
            findings += clocks.push(
                Evidence(
                    kind="hardware",
                    source=f"pps/{node}",
                    first=UTC,
                    second=node,
                    t_second_ns=EPOCH + t * S + offset,
                    offset_ns=offset + utc_back,
                    sigma_ns=1e3,
                )
            )
    assert [(found.kind, found.clock) for found in findings] == [("leap_second", UTC)]
    state = clocks.at("n", EPOCH + (midnight + 30) * S)
    assert state is not None
    assert state.offset_ns == pytest.approx(-5 * S, abs=3000)
    utc = clocks.difference(UTC, "ref")
    assert utc is not None
    assert utc[0] == pytest.approx(4 * S, abs=3000)
