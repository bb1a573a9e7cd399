"""What simulated clocks, pulses and networks do when told to misbehave, and that time runs both
ways."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from coeval.pps import PpsJudge
from coeval.time import NodeNs
from coeval_lab.simulation.crystal import (
    CRYSTALS,
    PI,
    Crystal,
    FloatArray,
    SimulatedClock,
    sawtooth,
)
from coeval_lab.simulation.scenario import EPOCH_NS, SOURCES, Scenario, SimulatedSession
from coeval_lab.simulation.stamps import (
    BUSY_WIFI,
    QUIET_LAN,
    Path,
    PulseErrors,
    held_ns,
    path_delays,
)
from coeval_lab.simulation.tune_oscillators import TAUS_S, allan_deviation

STILL = Crystal(
    name="still",
    white_ppb=0.0,
    flicker_ppb=0.0,
    walk_ppb=0.0,
    rate_sigma_ppb=0.0,
    temperature_ppb=0.0,
    temperature_s=1.0,
)


def rates_ppb(clock: SimulatedClock, t_s: FloatArray) -> FloatArray:
    rates: FloatArray = np.diff(clock.offset_ns(t_s)) / np.diff(t_s)
    return rates


@pytest.mark.parametrize("crystal", CRYSTALS.values(), ids=CRYSTALS)
def test_a_reading_leads_back_to_its_instant(crystal: Crystal) -> None:
    session = SimulatedSession(Scenario(name="x", crystal=crystal), seed=11)
    t_s = np.linspace(0.5, 299.5, 500)
    back = session.true_s("n", session.reads("n", t_s))
    assert np.abs(back - t_s).max() < 2e-9


@pytest.mark.parametrize(("name", "published_ppb"), [("pi", 19.0), ("tcxo", 7.0)])
def test_clocks_left_alone_go_astray_in_the_order_that_was_measured(
    name: str, published_ppb: float
) -> None:
    # GPS lost for 2 h 29 min: blog.dan.drown.org/drift. One measurement each, so an order only.
    astray = []
    for seed in range(20):
        clock = SimulatedClock(CRYSTALS[name], np.random.default_rng([3, seed]), seconds=9600.0)
        before, during = rates_ppb(clock, np.array([0.0, 600.0, 9540.0]))
        astray.append(abs(during - before))
    assert published_ppb / 5 < np.median(astray) < published_ppb * 5


def test_a_tcxo_is_as_steady_as_the_handbook_has_it() -> None:
    # 1e-9 to 1e-8 at 1 s, floor 1e-9 (Lombardi, The Mechatronics Handbook, 2002).
    deviation = dict(zip(TAUS_S, allan_deviation(CRYSTALS["tcxo"], seed=3), strict=True))
    assert 1.0 <= deviation[1] <= 10.0
    assert 0.5 <= min(deviation.values()) <= 2.0


def test_a_step_of_the_rate_bends_the_clock_and_does_not_break_it() -> None:
    clock = SimulatedClock(
        STILL, np.random.default_rng(0), seconds=100.0, rate_steps=((40.0, 250.0),)
    )
    offsets = clock.offset_ns(np.array([10.0, 40.0, 41.0, 90.0]))
    assert offsets.tolist() == pytest.approx([0.0, 0.0, 250.0, 12_500.0])


def test_ageing_moves_the_rate_by_its_figure_in_a_day() -> None:
    old = replace(STILL, ageing_ppb_per_day=20.0)
    clock = SimulatedClock(old, np.random.default_rng(0), seconds=86_400.0)
    rates = rates_ppb(clock, np.array([0.0, 1.0, 86_399.0, 86_400.0]))
    assert rates[2] - rates[0] == pytest.approx(20.0, abs=0.01)


def test_a_thermostat_heats_fast_and_cools_slowly() -> None:
    turns = np.linspace(0.0, 1.0, 11)
    assert sawtooth(turns).tolist() == pytest.approx(
        [0.0, 0.5, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0]
    )
    warm = replace(STILL, heating_ppb=100.0, heating_s=900.0)
    clock = SimulatedClock(warm, np.random.default_rng(1), seconds=9000.0)
    rates = rates_ppb(clock, np.arange(0.0, 9000.0, 10.0))
    assert np.ptp(rates) == pytest.approx(100.0, abs=3.0)
    assert np.mean(np.diff(rates) > 0) == pytest.approx(0.2, abs=0.03)


def test_the_judge_keeps_spurious_and_doubled_pulses_from_becoming_evidence() -> None:
    noisy = PulseErrors(spurious=0.05, doubled=0.05, outliers=0.0)
    session = SimulatedSession(Scenario(name="x", pulses=noisy), seed=4)
    stamps = session.pulse_stamps("n")
    assert len(stamps) > 299 + 15
    judge = PpsJudge()
    for _, stamp in stamps:
        judge.push(NodeNs(stamp))
    assert judge.health.counts["spurious"] >= 5
    assert judge.health.counts["doubled"] >= 5
    pulses = [e for _, e in session.evidence(("hardware",)) if e.second == "n"]
    assert len(pulses) > 280
    for each in pulses:
        utc_ns = each.t_second_ns - each.offset_ns
        second_s = (utc_ns - EPOCH_NS) * 1e-9
        truth = session.reads("n", np.array([second_s]))[0] - utc_ns
        assert abs(each.offset_ns - truth) < 25_000


def test_a_liar_may_ramp() -> None:
    calm = SimulatedSession(Scenario(name="x"), seed=5)
    liar = SimulatedSession(
        Scenario(name="x", lie_from_s=100.0, lie_ns=0.0, lie_ppb=10_000.0), seed=5
    )
    true = {at_s: e.offset_ns for at_s, e in calm.evidence(("hardware",)) if e.second == "n"}
    told = {at_s: e.offset_ns for at_s, e in liar.evidence(("hardware",)) if e.second == "n"}
    assert {told[at_s] - true[at_s] for at_s in told if at_s <= 100.0} == {0}
    assert told[150.0] - true[150.0] == 500_000


def test_a_rate_step_shows_in_every_source() -> None:
    stepped = Scenario(name="x", rate_step_at_s=100.0, rate_step_ppb=50_000.0)
    calm = SimulatedSession(Scenario(name="x"), seed=6)
    session = SimulatedSession(stepped, seed=6)
    assert session.truth_ns(100.0) == calm.truth_ns(100.0)
    assert session.truth_ns(200.0) - calm.truth_ns(200.0) == pytest.approx(5e6, abs=2)
    for source in SOURCES:
        both = zip(calm.evidence((source,)), session.evidence((source,)), strict=True)
        moved = {
            round(at_s): other.offset_ns - one.offset_ns
            for (at_s, one), (_, other) in both
            if other.second == "n"
        }
        last = max(moved)
        middle_s = last - (5.0 if source == "content" else 0.0)
        assert moved[last] == pytest.approx(50_000 * (middle_s - 100.0), abs=50_000)


def test_queues_keep_their_mean_whatever_their_shape() -> None:
    t_s = np.arange(0.0, 50_000.0)
    calm = replace(QUIET_LAN, burst_share=0.0)
    for shape, spread in ((1.0, 1.0), (4.0, 0.5)):
        there, _, _ = path_delays(replace(calm, queue_shape=shape), np.random.default_rng(7), t_s)
        waits = there - there.min()
        assert np.std(waits) == pytest.approx(spread * calm.queue_ns, rel=0.03)


def exponential_sum(share: float) -> float:
    """Quantile of the sum of two exponentials of mean 1, by bisection of 1 − (1 + x) e^−x."""
    low, high = 0.0, 50.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        is_below = 1 - (1 + middle) * np.exp(-middle) < share
        low, high = (middle, high) if is_below else (low, middle)
    return low


@pytest.mark.parametrize("path", [QUIET_LAN, BUSY_WIFI], ids=lambda path: path.name)
def test_round_trips_have_the_percentiles_of_their_queues(path: Path) -> None:
    t_s = np.arange(0.0, 100_000.0)
    there, back, _ = path_delays(replace(path, burst_share=0.0), np.random.default_rng(8), t_s)
    waits = (there + back - path.delay_ns) / path.queue_ns
    for share in (0.05, 0.5, 0.95, 0.99):
        assert np.quantile(waits, share) == pytest.approx(exponential_sum(share), rel=0.03)


def test_bursts_last_and_are_as_frequent_as_stated() -> None:
    t_s = np.arange(0.0, 50_000.0)
    there, back, _ = path_delays(BUSY_WIFI, np.random.default_rng(9), t_s)
    waits = (there + back - BUSY_WIFI.delay_ns).reshape(-1, 10).mean(axis=1)
    is_busy = waits > BUSY_WIFI.burst_ns * 0.5
    assert np.mean(is_busy) == pytest.approx(BUSY_WIFI.burst_share, abs=0.03)


def test_a_hiccup_holds_what_arrives_until_it_is_over() -> None:
    starts = np.array([10.0, 10.3, 50.0])
    held = held_ns(np.array([9.9, 10.1, 10.4, 10.9, 50.0]), starts, 0.5) * 1e-9
    assert held.tolist() == pytest.approx([0.0, 0.4, 0.4, 0.0, 0.5])
    assert held_ns(np.array([1.0]), np.array([]), 0.5).tolist() == [0.0]
    often = replace(QUIET_LAN, hiccups_per_hour=360.0, burst_share=0.0)
    there, _, _ = path_delays(often, np.random.default_rng(10), np.arange(0.0, 20_000.0, 0.1))
    assert np.mean(there > 10e6) == pytest.approx(0.1 * 0.5, rel=0.15)
    assert 0.45e9 < there.max() < 0.51e9


@pytest.mark.parametrize("field", ["pulses", "lie_ppb", "rate_step_at_s"])
def test_what_is_not_asked_for_changes_no_draw(field: str) -> None:
    changes: dict[str, Callable[[], Scenario]] = {
        "pulses": lambda: Scenario(name="x", pulses=PulseErrors(spurious=0.01)),
        "lie_ppb": lambda: Scenario(name="x", lie_from_s=250.0, lie_ppb=5.0),
        "rate_step_at_s": lambda: Scenario(name="x", rate_step_at_s=299.0),
    }
    plain = SimulatedSession(Scenario(name="x"), seed=12)
    other = SimulatedSession(changes[field](), seed=12)
    for source in ("network", "content"):
        assert list(plain.evidence((source,)))[:200] == list(other.evidence((source,)))[:200]
    assert plain.reads("n", np.array([5.0, 200.0])) == other.reads("n", np.array([5.0, 200.0]))
    assert PI.heating_ppb == 0.0


@pytest.mark.parametrize(
    ("path", "published_ms", "within"),
    [
        # Excess over the least: pings of a wired Raspberry Pi (SLAC's PingER), of one trip.
        (QUIET_LAN, {0.25: 0.084, 0.5: 0.112, 0.75: 0.134}, 2.0),
        # The Wi-Fi of a campus (K. Sui et al., MobiSys 2016), of one trip of an exchange's two.
        (BUSY_WIFI, {0.5: 3.0, 0.9: 20.0, 0.99: 250.0}, 3.0),
    ],
    ids=["quiet-lan", "busy-wifi"],
)
def test_paths_wait_as_long_as_was_measured(
    path: Path, published_ms: dict[float, float], within: float
) -> None:
    there, back, _ = path_delays(path, np.random.default_rng(11), np.arange(0.0, 100_000.0))
    trip_ms = (there + back) * 1e-6
    if path is QUIET_LAN:
        trip_ms -= path.delay_ns * 1e-6
    for share, expected_ms in published_ms.items():
        assert expected_ms / within < np.quantile(trip_ms, share) < expected_ms * within
