"""The methods of others answer as their authors say, so that measuring against them is fair."""

import math

import numpy as np
import pytest

from coeval.network import Exchange
from coeval_lab.bench.time_baselines import (
    BASELINES,
    ClockFilter,
    Estimator,
    LowestRoundTrip,
    RunsRegression,
    count_runs,
    critical_runs,
    fit_line,
)

T0_NS = 1_700_000_000 * 1_000_000_000
LEAST_NS = 500_000
"""Each way."""


def exchange(
    second: float, *, offset_ns: float, there_ns: float = LEAST_NS, back_ns: float = LEAST_NS
) -> Exchange:
    """An exchange at a true second, whose node is fast by `offset_ns`."""
    t1 = T0_NS + round(second * 1e9)
    t2 = t1 + round(there_ns)
    t4 = t2 + 50_000 + round(back_ns)
    fast = round(offset_ns)
    return Exchange(t1_ns=t1 + fast, t2_ns=t2, t3_ns=t2 + 50_000, t4_ns=t4 + fast)


@pytest.mark.parametrize("make", BASELINES.values(), ids=BASELINES)
def test_nothing_is_said_before_the_first_answer(make: type[Estimator]) -> None:
    assert make().at(T0_NS) is None


@pytest.mark.parametrize("make", BASELINES.values(), ids=BASELINES)
def test_a_steady_clock_over_a_quiet_path_is_exact(make: type[Estimator]) -> None:
    estimator = make()
    for second in range(40):
        estimator.push(exchange(second, offset_ns=3_217_000_000))
    assert estimator.at(T0_NS + 45 * 10**9) == pytest.approx(3_217_000_000, abs=1)


@pytest.mark.parametrize("make", [LowestRoundTrip, RunsRegression])
def test_a_line_carries_on_at_the_clocks_rate(make: type[Estimator]) -> None:
    estimator = make()
    for second in range(80):
        estimator.push(exchange(second, offset_ns=20_000.0 * second))
    assert estimator.at(T0_NS + 90 * 10**9) == pytest.approx(1_800_000, abs=50)


@pytest.mark.parametrize("make", BASELINES.values(), ids=BASELINES)
def test_uneven_paths_deceive_every_one_by_half_the_difference(make: type[Estimator]) -> None:
    estimator = make()
    for second in range(40):
        estimator.push(exchange(second, offset_ns=0.0, there_ns=900_000, back_ns=100_000))
    assert estimator.at(T0_NS + 40 * 10**9) == pytest.approx(-400_000, abs=1)


def test_the_clock_filter_takes_the_quickest_of_the_last_eight() -> None:
    estimator = ClockFilter()
    estimator.push(exchange(0, offset_ns=111.0))
    for second in range(1, 8):
        estimator.push(exchange(second, offset_ns=second, there_ns=LEAST_NS + 1000 * second))
    assert estimator.at(T0_NS) == 111
    estimator.push(exchange(8, offset_ns=8.0, there_ns=LEAST_NS + 50_000))
    assert estimator.at(T0_NS) == pytest.approx(1 - 500, abs=1)


def test_a_burst_counts_by_its_quickest_exchange_only() -> None:
    estimator = LowestRoundTrip()
    for k in range(7):
        estimator.push(exchange(k, offset_ns=0.0, there_ns=20e6))
    assert estimator.at(T0_NS) is None
    estimator.push(exchange(7, offset_ns=777.0))
    assert estimator.at(T0_NS) == pytest.approx(777, abs=1)


def test_the_huber_line_stays_on_most_of_the_bursts() -> None:
    estimator = LowestRoundTrip()
    for second in range(160):
        is_held_up = second // 8 in (3, 9, 15)
        wait_ns = 8e6 if is_held_up else 0.0
        estimator.push(exchange(second, offset_ns=0.0, there_ns=LEAST_NS + wait_ns))
    found = estimator.at(T0_NS + 160 * 10**9)
    # 3 of 20 bursts err by 4 ms: a mean would err by 600 µs.
    assert found is not None
    assert abs(found) < 50_000


def test_slow_exchanges_weigh_little() -> None:
    weights = RunsRegression().weights(np.array([1e6, 1e6, 1.05e6, 1.1e6, 1.2e6, 2e6]))
    assert weights[0] == 1.0
    assert (np.diff(weights) <= 0).all()
    # Half the median's excess of 75 µs over 0.7 makes the unit; 500 µs above are 9.3 of them.
    assert weights[-1] == pytest.approx((1 + 499.9 / 53.57) ** -2, rel=0.01)


def test_equal_delays_weigh_alike_and_none_divides_by_zero() -> None:
    assert RunsRegression().weights(np.zeros(5)).tolist() == [1.0] * 5


def test_a_bend_drops_what_came_before_it() -> None:
    rng = np.random.default_rng(1)
    estimator = RunsRegression()
    for second in range(120):
        bent_ns = 40_000.0 * max(second - 90, 0)
        there, back = LEAST_NS + rng.exponential(20_000, 2)
        estimator.push(exchange(second, offset_ns=bent_ns, there_ns=there, back_ns=back))
    found = estimator.at(T0_NS + 119 * 10**9)
    assert found == pytest.approx(40_000 * 29, abs=40_000)


def test_residuals_of_noise_are_called_bent_in_a_tenth_of_cases() -> None:
    rng = np.random.default_rng(2)
    for num in (8, 16, 32, 64):
        t = np.arange(num, dtype=float)
        bent = 0
        for _ in range(1000):
            y = rng.normal(size=num)
            level, slope = fit_line(t, y, np.ones(num))
            bent += count_runs(y - level - slope * t) <= critical_runs(num)
        assert 0.03 < bent / 1000 < 0.14, num
    assert critical_runs(7) == 0


def test_runs_are_counted_as_by_hand() -> None:
    assert count_runs(np.array([1.0, 2.0, -1.0, -3.0, 0.0, 0.0, 4.0])) == 5
    assert count_runs(np.array([1.0])) == 1


def test_a_line_is_that_of_weighted_least_squares() -> None:
    rng = np.random.default_rng(3)
    t, y, weights = rng.random(20) * 60, rng.normal(size=20), rng.random(20) + 0.1
    slope, level = np.polyfit(t, y, 1, w=np.sqrt(weights))
    assert fit_line(t, y, weights) == pytest.approx((level, slope))
    assert fit_line(np.full(3, 5.0), np.array([1.0, 2.0, 3.0]), np.ones(3)) == (2.0, 0.0)


@pytest.mark.parametrize("make", BASELINES.values(), ids=BASELINES)
def test_exchanges_of_one_instant_and_of_no_delay_end_in_a_number(make: type[Estimator]) -> None:
    estimator = make()
    for _ in range(30):
        estimator.push(exchange(0.0, offset_ns=5.0, there_ns=0, back_ns=0))
    found = estimator.at(T0_NS)
    assert found is not None
    assert math.isfinite(found)
    assert found == pytest.approx(5.0, abs=1.0)
