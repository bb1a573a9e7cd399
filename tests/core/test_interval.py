"""Half-widths of 95% intervals hold 95% of errors of every mixture, and biases keep their shape."""

import numpy as np
import pytest

from coeval.clock_filter import ClockFilter
from coeval.interval import half_width_95
from coeval.oscillators import TCXO


@pytest.mark.parametrize(
    "shares", [(), (0.3,), (0.7,), (0.95,), (1.0,), (0.5, 0.5), (0.64, 0.36), (0.4, 0.3, 0.2)]
)
def test_95_of_100_errors_lie_within(shares: tuple[float, ...]) -> None:
    rng = np.random.default_rng(1)
    error = np.sqrt(max(1.0 - sum(shares), 0.0)) * rng.normal(size=400_000)
    for share in shares:
        error += np.sqrt(share) * rng.uniform(-np.sqrt(3.0), np.sqrt(3.0), 400_000)
    assert np.mean(np.abs(error) <= half_width_95(shares)) == pytest.approx(0.95, abs=0.009)


def two_paths(*, is_bounded: bool) -> ClockFilter:
    """Two clocks that a path each ties to a server, and the paths' asymmetry is all that is
    unknown."""
    filter_ = ClockFilter("server", TCXO, t_root_ns=0)
    for node in ("a", "b"):
        filter_.add_clock(node, TCXO, base_ns=0, sigma_ns=1e7)
        filter_.add_bias(f"path/{node}", 2e5, is_bounded=is_bounded)
        for _ in range(200):
            row = filter_.row("server", node, f"path/{node}")
            filter_.update(row, -filter_.expect(row)[0], variance=1e8)
    return filter_


def test_an_unseen_asymmetry_is_all_of_one_offset_s_error_and_half_of_a_difference_s() -> None:
    filter_ = two_paths(is_bounded=True)
    assert sorted(filter_.bounded_shares("a", against="server")) == pytest.approx([0, 1], abs=0.02)
    assert filter_.bounded_shares("a", against="b") == pytest.approx([0.5, 0.5], abs=0.02)


def test_a_normal_bias_has_no_bounds() -> None:
    assert two_paths(is_bounded=False).bounded_shares("a", against="server") == []


def test_a_bias_that_evidence_has_told_of_is_spread_evenly_no_longer() -> None:
    filter_ = two_paths(is_bounded=True)
    row = filter_.row("server", "a", None)
    filter_.update(row, 0.0, variance=1e4**2)
    assert max(filter_.bounded_shares("a", against="server")) < 0.05


def test_a_source_that_learns_how_small_its_bias_is_tells_of_all_its_samples() -> None:
    filter_ = ClockFilter("server", TCXO, t_root_ns=0)
    filter_.add_clock("a", TCXO, base_ns=0, sigma_ns=1e7)
    for sigma_ns in (6e6, 1e5):
        filter_.add_bias("path", sigma_ns)
        for _ in range(200):
            row = filter_.row("server", "a", "path")
            filter_.update(row, -filter_.expect(row)[0], variance=1e8)
    assert filter_.spread("a")[0, 0] ** 0.5 == pytest.approx(1e5, rel=0.02)
    filter_.add_bias("path", 3e5)
    assert filter_.covariance[filter_.bias_index["path"]][-1] ** 0.5 == pytest.approx(3e5, rel=0.02)
