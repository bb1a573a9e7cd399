"""All evidence in one estimate: honest, never worse than its best source, naming what lies."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coeval.clock_filter import ClockFilter
from coeval.clock_findings import Finding
from coeval.evidence import SERVER, UTC, Evidence, EvidenceKind
from coeval.oscillators import PERFECT, PI, TCXO
from coeval.pair_choice import PairOffer, choose_pairs
from coeval.session_clocks import SessionClocks
from coeval.smoothing import Smoother

S = 1_000_000_000
EPOCH = 1_700_000_000 * S


def sample(
    t_s: float,
    offset_ns: float,
    *,
    kind: EvidenceKind = "hardware",
    source: str = "pps/n",
    first: str = "ref",
    second: str = "n",
    sigma_ns: float = 1e3,
    bias_sigma_ns: float = 0.0,
) -> Evidence:
    """A measurement of `second`'s clock, `t_s` after the epoch on the reference."""
    return Evidence(
        kind=kind,
        source=source,
        first=first,
        second=second,
        t_second_ns=EPOCH + round(t_s * S) + round(offset_ns),
        offset_ns=round(offset_ns),
        sigma_ns=sigma_ns,
        bias_sigma_ns=bias_sigma_ns,
    )


def session() -> SessionClocks:
    return SessionClocks(reference="ref", oscillators={"ref": PERFECT, "n": PI})


def simulate(
    seed: int,
    *,
    seconds: int = 120,
    kinds: tuple[str, ...] = ("hardware", "network", "content"),
    jump_at: int | None = None,
    lie_from: int | None = None,
) -> Iterator[tuple[float, float, list[Evidence]]]:
    """Each second of a clock's life: time, true offset (ns), and what was measured."""
    rng = np.random.default_rng(seed)
    offset, skew = rng.normal() * 3e9, rng.normal() * PI.skew_sigma_ppb
    asymmetry, latency = rng.normal() * 3e5, rng.normal() * 4e6
    for t in range(seconds):
        offset += skew + rng.normal() * PI.white_fm_ns
        skew += rng.normal() * PI.walk_fm_ppb
        if t == jump_at:
            offset += 50e6
        measured = []
        if "hardware" in kinds:
            lie = 50e6 if lie_from is not None and t >= lie_from else 0.0
            measured.append(sample(t, offset + lie + rng.normal() * 1e3))
        if "network" in kinds and t % 4 == 1:
            seen = offset + asymmetry + rng.normal() * 1e5
            measured.append(
                sample(t, seen, kind="network", source="net/n", sigma_ns=1e5, bias_sigma_ns=3e5)
            )
        if "content" in kinds and t % 10 == 5:
            seen = offset + latency + rng.normal() * 1e7
            measured.append(
                sample(t, seen, kind="content", source="film/n", sigma_ns=1e7, bias_sigma_ns=4e6)
            )
        yield t, offset, measured


def run(
    clocks: SessionClocks, life: Iterator[tuple[float, float, list[Evidence]]]
) -> tuple[list[tuple[float, float, float]], list[tuple[float, Finding]]]:
    """Errors (time, error ns, half-width ns) and findings."""
    errors, findings = [], []
    for t, offset, measured in life:
        for evidence in measured:
            findings += [(t, found) for found in clocks.push(evidence)]
        state = clocks.at("n", EPOCH + round(t * S))
        if state is not None:
            errors.append((t, state.offset_ns - offset, state.ci95_ns))
    return errors, findings


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


def test_a_node_that_starts_anew_is_forgotten_and_the_others_are_not() -> None:
    clocks = SessionClocks(reference="ref")
    for t in range(20):
        clocks.push(sample(t, 1e6, second="a", source="a"))
        clocks.push(sample(t, 2e6, second="b", source="b"))
    clocks.forget("a")
    assert clocks.at("a", EPOCH) is None
    state = clocks.at("b", EPOCH + 20 * S)
    assert state is not None
    assert state.offset_ns == pytest.approx(2e6, abs=1500)


def test_when_the_reference_starts_anew_the_others_stay_tied() -> None:
    clocks = SessionClocks(reference="ref")
    for t in range(20):
        clocks.push(sample(t, 1e6, second="a", source="a"))
        clocks.push(sample(t, 2e6, second="b", source="b"))
    clocks.forget("ref")
    assert clocks.at("a", EPOCH) is None
    for t in range(20, 30):
        clocks.push(sample(t, 7e6, second="a", source="a"))
    state = clocks.at("b", EPOCH + 30 * S)
    assert state is not None
    assert state.offset_ns == pytest.approx(8e6, abs=5000)


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


def test_the_pairs_that_tie_new_clocks_come_first_and_then_the_vaguest() -> None:
    filter_ = ClockFilter("a", TCXO, t_root_ns=0)
    filter_.add_clock("b", TCXO, base_ns=0, sigma_ns=1e3)
    filter_.add_clock("c", TCXO, base_ns=0, sigma_ns=1e8)
    offers = [
        PairOffer(first=first, second=second, sigma_ns=1e6)
        for first, second in (("a", "b"), ("a", "c"), ("b", "c"), ("a", "d"))
    ]
    chosen = choose_pairs(offers, [filter_], num=2)
    assert (chosen[0].first, chosen[0].second) == ("a", "d")
    assert "c" in (chosen[1].first, chosen[1].second)


def test_hindsight_is_better_than_the_estimate_of_the_moment() -> None:
    now, later = [], []
    for seed in range(20):
        clocks, smoother = session(), Smoother()
        truth, said = {}, {}
        for t, offset, measured in simulate(seed, kinds=("network",), seconds=200):
            truth[t] = offset
            for evidence in measured:
                clocks.push(evidence)
                smoother.record(next(iter(clocks.groups)))
            state = clocks.at("n", EPOCH + round(t * S))
            if state is not None:
                said[t] = state.offset_ns
        found = smoother.at("n", EPOCH + 100 * S)
        assert found is not None
        whole, rest, _, covariance = found
        bias = truth[199] - said[199]
        now.append(said[100] + bias - truth[100])
        later.append(whole + rest + bias - truth[100])
        assert covariance[0, 0] > 0
    assert np.std(later) < 0.8 * np.std(now)


def test_hindsight_does_not_reach_outside_what_is_kept() -> None:
    smoother = Smoother(most_states=5)
    clocks = session()
    assert smoother.at("n", EPOCH) is None
    for t in range(20):
        clocks.push(sample(t, 0.0))
        smoother.record(next(iter(clocks.groups)))
    assert smoother.at("n", EPOCH + 3 * S) is None
    assert smoother.at("n", EPOCH + 18 * S) is not None


def test_hindsight_does_not_reach_across_a_step() -> None:
    clocks, smoother = session(), Smoother()
    for t in range(60):
        clocks.push(sample(t, 50e6 if t >= 40 else 0.0))
        smoother.record(next(iter(clocks.groups)))
    assert smoother.at("n", EPOCH + 30 * S) is None
    found = smoother.at("n", EPOCH + 50 * S)
    assert found is not None
    assert found[0] + found[1] == pytest.approx(50e6, abs=2000)


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


def test_choosing_among_thousands_of_pairs_looks_at_few_of_them_twice() -> None:
    names = [f"n{k}" for k in range(60)]
    offers = [
        PairOffer(first=a, second=b, sigma_ns=1e6)
        for k, a in enumerate(names)
        for b in names[k + 1 :]
    ]
    chosen = choose_pairs(offers, [], num=59)
    tied = {names[0]}
    for _ in names:
        tied |= {c for o in chosen if {o.first, o.second} & tied for c in (o.first, o.second)}
    assert tied == set(names)


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
