"""Instants are placed by the surest estimate, steps included, and back again."""

from dataclasses import replace

import numpy as np
import pytest

from coeval.time import NS_PER_S
from coeval_aggregator.store.clock_history import ClockHistory, Estimate


def made_at(t_s: float, *, offset_s: float, sigma_s: float = 0.01, **more: object) -> Estimate:
    """An estimate from the ten minutes before an instant, surest in their middle."""
    span_s = 600.0
    sigma_skew_ppb = 1e9 * sigma_s * 12**0.5 / span_s
    at_end = sigma_s**2 * (1 + 12 * 0.25) * 1e18
    covariance = sigma_skew_ppb**2 * span_s / 2
    estimate = Estimate(
        t_ref_ns=round(t_s * NS_PER_S),
        covers_from_ns=round((t_s - span_s) * NS_PER_S),
        offset_ns=offset_s * 1e9,
        skew_ppb=0.0,
        var_offset_ns2=at_end,
        cov_offset_skew=covariance,
        var_skew_ppb2=sigma_skew_ppb**2,
    )
    return replace(estimate, **more)


def times(*t_s: float) -> np.ndarray:
    return np.array([round(t * NS_PER_S) for t in t_s], np.int64)


def test_an_instant_is_placed_by_the_estimate_in_whose_middle_it_lies() -> None:
    history = ClockHistory([made_at(600 + 100 * k, offset_s=k) for k in range(10)])
    placed = history.to_node(times(400, 800, 1100))
    assert (placed.t_ns - times(400, 800, 1100)).tolist() == [1e9, 5e9, 8e9]
    assert placed.sigma_ns == pytest.approx([0.01e9] * 3, rel=1e-3)


def test_the_interval_grows_beyond_all_estimates() -> None:
    history = ClockHistory([made_at(600, offset_s=1.0)])
    sigma = history.to_node(times(300, 600, 700, 4000)).sigma_ns
    assert sigma[0] < sigma[1] < sigma[2] < sigma[3]
    assert sigma[3] > 1e7


def test_skew_and_steps_are_followed_to_the_nanosecond() -> None:
    estimate = made_at(100, offset_s=2.0, skew_ppb=1000.0, jumps=((50 * NS_PER_S, 5e8),))
    placed = ClockHistory([estimate]).to_node(times(0, 49, 50, 100))
    expected = [2.0 - 100e-6, 2.0 - 51e-6, 2.5 - 50e-6, 2.5]
    assert (placed.t_ns - times(0, 49, 50, 100)).tolist() == [round(e * 1e9) for e in expected]


def test_clocks_of_another_epoch_lose_no_nanoseconds() -> None:
    ahead_ns = float(1_700_000_000 * NS_PER_S)
    history = ClockHistory([made_at(100, offset_s=0.0, offset_ns=ahead_ns)])
    assert history.to_node(times(99.999_999_999)).t_ns.tolist() == [
        1_700_000_000 * NS_PER_S + 99_999_999_999
    ]


def test_back_to_the_timeline_is_the_inverse() -> None:
    estimates = [made_at(600 + 50 * k, offset_s=3.0, skew_ppb=2e5) for k in range(10)]
    history = ClockHistory(estimates)
    t_ref_ns = np.arange(0, 1000 * NS_PER_S, 50_000_000)
    there = history.to_node(t_ref_ns)
    back = history.to_ref(there.t_ns)
    away_from_a_change = np.abs(back.t_ns - t_ref_ns) <= 1
    assert away_from_a_change.mean() > 0.999


def test_the_reference_is_itself_without_doubt() -> None:
    history = ClockHistory((), is_reference=True)
    placed = history.to_node(times(1, 2))
    assert placed.t_ns.tolist() == times(1, 2).tolist()
    assert placed.sigma_ns.tolist() == [0.0, 0.0]


def test_thousands_of_estimates_are_no_matter() -> None:
    many = ClockHistory([made_at(600 + 3 * k, offset_s=1.0) for k in range(5000)])
    placed = many.to_node(times(8000))
    assert placed.sigma_ns[0] == pytest.approx(0.01e9, rel=0.01)
