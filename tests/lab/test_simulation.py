"""Simulated clocks, pulses, paths and content behave as the figures they cite."""

import numpy as np
import pytest

from coeval.evidence import SERVER, UTC
from coeval_lab.simulation.crystal import CRYSTALS, Crystal, SimulatedClock
from coeval_lab.simulation.scenario import SOURCES, Scenario, SimulatedSession
from coeval_lab.simulation.stamps import (
    BUSY_WIFI,
    QUIET_LAN,
    UNEVEN_LAN,
    ContentErrors,
    PulseErrors,
    content_errors,
    path_delays,
    pulse_errors,
)
from coeval_lab.simulation.tune_oscillators import TAUS_S, allan_deviation, fit_model


@pytest.mark.parametrize("crystal", CRYSTALS.values(), ids=CRYSTALS)
def test_allan_deviation_begins_at_the_white_part_and_reaches_the_flicker_floor(
    crystal: Crystal,
) -> None:
    deviation = dict(zip(TAUS_S, allan_deviation(crystal), strict=True))
    assert deviation[1] == pytest.approx(crystal.white_ppb, rel=0.25)
    floor = min(deviation.values())
    assert crystal.flicker_ppb * 0.7 <= floor <= crystal.flicker_ppb * 2.0


def test_the_filters_model_covers_the_crystals_wander() -> None:
    for name, crystal in CRYSTALS.items():
        deviation = allan_deviation(crystal, seed=2)
        white, walk = fit_model(deviation)
        taus = np.array(TAUS_S, np.float64)
        model = np.sqrt(white**2 / taus + walk**2 * taus / 3)
        among = (taus >= 10) & (taus <= 300)
        assert (model[among] >= 0.99 * deviation[among]).all(), name


def test_a_clocks_life_is_that_of_its_seed() -> None:
    t_s = np.linspace(0.0, 100.0, 50)
    lives = [
        SimulatedClock(CRYSTALS["pi"], np.random.default_rng(seed), seconds=100.0)
        for seed in (1, 1, 2)
    ]
    first, same, other = (life.base_ns + life.offset_ns(t_s) for life in lives)
    assert (first == same).all()
    assert not (first == other).any()


def test_a_perfect_clock_is_right_and_a_jump_is_where_it_was_put() -> None:
    clock = SimulatedClock(None, np.random.default_rng(0), seconds=20.0, jumps=((10.0, 5e7),))
    assert clock.offset_ns(np.array([3.3, 9.999])).tolist() == [0.0, 0.0]
    assert clock.offset_ns(np.array([10.0, 15.5])).tolist() == [5e7, 5e7]


def test_pulses_jitter_by_what_is_stated_and_outliers_are_always_late() -> None:
    rng = np.random.default_rng(3)
    errors, is_seen = pulse_errors(PulseErrors(bias_sigma_ns=0.0), rng, 100_000)
    assert np.median(errors) == pytest.approx(0.0, abs=30)
    assert 1.4826 * np.median(np.abs(errors)) == pytest.approx(1000.0, rel=0.05)
    assert np.mean(errors > 10_000) == pytest.approx(0.005 * np.exp(-10 / 30), rel=0.2)
    assert not (errors < -10_000).any()
    assert np.mean(~is_seen) == pytest.approx(0.002, rel=0.3)


def test_paths_are_never_quicker_than_their_least_delay() -> None:
    t_s = np.arange(0.0, 20_000.0, 0.5)
    for path in (QUIET_LAN, UNEVEN_LAN, BUSY_WIFI):
        there, back, through = path_delays(path, np.random.default_rng(4), t_s)
        total = there + back
        assert total.min() >= path.delay_ns
        assert total.min() < path.delay_ns + 0.1 * path.queue_ns
        calm = np.percentile(total, 25) - path.delay_ns
        assert calm == pytest.approx(0.96 * path.queue_ns, rel=0.25)
        assert np.mean(~through) == pytest.approx(path.loss, rel=0.3)


def test_the_least_delay_lies_on_either_way_as_far_as_the_path_leans() -> None:
    shares = []
    for seed in range(300):
        there, back, _ = path_delays(QUIET_LAN, np.random.default_rng(seed), np.arange(400.0))
        shares.append(there.min() / (there.min() + back.min()))
    assert 0.33 < min(shares) < 0.38
    assert 0.62 < max(shares) < 0.67


def test_content_errs_by_what_each_window_states() -> None:
    errors, sigma = content_errors(
        ContentErrors(latency_sigma_ns=0.0), np.random.default_rng(5), 20_000
    )
    is_near = np.abs(errors) < 6 * sigma
    assert np.std(errors[is_near] / sigma[is_near]) == pytest.approx(1.0, abs=0.03)
    assert np.mean(~is_near) == pytest.approx(0.03, rel=0.15)


def test_evidence_comes_in_order_and_names_its_clocks() -> None:
    session = SimulatedSession(Scenario(name="x", seconds=60.0), seed=1)
    items = list(session.evidence(SOURCES))
    times = [at_s for at_s, _ in items]
    assert times == sorted(times)
    assert {(e.kind, e.first, e.second) for _, e in items} == {
        ("hardware", UTC, "ref"),
        ("hardware", UTC, "n"),
        ("network", SERVER, "ref"),
        ("network", SERVER, "n"),
        ("content", "ref", "n"),
    }


def test_every_choice_of_sources_sees_the_same_life() -> None:
    session = SimulatedSession(Scenario(name="x", seconds=60.0), seed=2)
    alone = [e for _, e in session.evidence(("network",))]
    among = [e for _, e in session.evidence(SOURCES) if e.kind == "network"]
    assert alone == among


def test_faults_happen_where_they_were_put() -> None:
    calm = SimulatedSession(Scenario(name="x"), seed=3)
    jumped = SimulatedSession(Scenario(name="x", jump_at_s=100.0, jump_ns=5e7), seed=3)
    assert jumped.truth_ns(99.0) == calm.truth_ns(99.0)
    assert jumped.truth_ns(101.0) - calm.truth_ns(101.0) == 50_000_000
    lost = SimulatedSession(Scenario(name="x", no_pulses=(50.0, 100.0)), seed=3)
    pulses = [at_s for at_s, e in lost.evidence(("hardware",)) if e.second == "n"]
    assert not [at_s for at_s in pulses if 50.0 <= at_s < 100.0]
    lying = SimulatedSession(Scenario(name="x", lie_from_s=200.0), seed=3)
    told = {at_s: e.offset_ns for at_s, e in lying.evidence(("hardware",)) if e.second == "n"}
    true = {at_s: e.offset_ns for at_s, e in calm.evidence(("hardware",)) if e.second == "n"}
    assert {told[at_s] - true[at_s] for at_s in told if at_s < 200.0} == {0}
    assert {told[at_s] - true[at_s] for at_s in told if at_s >= 200.0} == {50_000_000}
