"""Lag scores and lines: sign, sub-hop position, skew, and no answer where there is none."""

from dataclasses import replace

import numpy as np
import pytest

from coeval.compare import is_sure
from coeval.hops import HOP_NS, Hops
from coeval.lag import (
    STEPS_PER_HOP,
    DenseStream,
    densify,
    good_fft_size,
    highpass,
    window_scores,
)
from coeval.line import LagGrid, Surface, fit_peak, reach_of, search_lines
from coeval.time import NodeNs

STEP_NS = HOP_NS // STEPS_PER_HOP


def smooth_noise(length: int, seed: int) -> np.ndarray:
    """Band-limited random rows, shape (length, 16)."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal((length, 16)), axis=0)
    spectrum[length // 5 :] = 0
    return np.fft.irfft(spectrum, length, axis=0).astype(np.float32)


def test_a_positive_lag_means_that_the_second_stream_is_later() -> None:
    rows = smooth_noise(600, 1)
    a = DenseStream(first_hop=100, rows=rows)
    b = DenseStream(first_hop=137, rows=rows)
    scores = window_scores(a, b, window_hops=200, lowest_lag=-60, highest_lag=60)
    assert scores.shape == (3, STEPS_PER_HOP * 120 + 1)
    assert scores.sum(axis=0).argmax() == STEPS_PER_HOP * (37 + 60)


def test_scores_between_hops_find_a_lag_of_half_a_hop() -> None:
    length = 512
    spectrum = np.fft.rfft(smooth_noise(length, 2), axis=0)
    phase = np.exp(-2j * np.pi * np.fft.rfftfreq(length)[:, None] * 0.5)
    moved = np.fft.irfft(spectrum * phase, length, axis=0).astype(np.float32)
    a = DenseStream(first_hop=0, rows=np.fft.irfft(spectrum, length, axis=0).astype(np.float32))
    scores = window_scores(
        a, DenseStream(first_hop=0, rows=moved), window_hops=600, lowest_lag=-10, highest_lag=10
    )
    assert scores[0].argmax() == STEPS_PER_HOP * 10 + 1


def test_streams_that_never_overlap_score_nothing() -> None:
    a = DenseStream(first_hop=0, rows=smooth_noise(100, 3))
    b = DenseStream(first_hop=10_000, rows=smooth_noise(100, 3))
    assert not window_scores(a, b, window_hops=50, lowest_lag=-20, highest_lag=20).any()


def test_the_beginning_of_every_run_is_left_out() -> None:
    rows = np.ones((200, 16), np.float32)
    rows[:5] = 100.0
    dense = densify([Hops(t0_node_ns=NodeNs(0), rows=rows)])
    assert np.abs(dense.rows).max() < 1e-4
    assert len(dense.rows) == 200


def test_highpass_removes_a_constant_and_keeps_a_pulse() -> None:
    rows = np.full((400, 1), 5.0, np.float32)
    rows[200] += 1.0
    filtered = highpass(rows)
    assert abs(filtered[200, 0] - 1.0) < 0.02
    assert np.abs(filtered[:100]).max() < 1e-5


@pytest.mark.parametrize("at_least", [1, 7, 97, 1025, 3001, 65_537])
def test_fft_sizes_have_small_prime_factors(at_least: int) -> None:
    size = good_fft_size(at_least)
    assert at_least <= size <= 2 * at_least
    for prime in (2, 3, 5):
        while size % prime == 0:
            size //= prime
    assert size == 1


def ridge(
    mids_s: np.ndarray, offset_s: float, skew_ppm: float, *, noise: float, seed: int, height: float
) -> tuple[Surface, LagGrid]:
    """Scores with a Gaussian ridge along a line."""
    grid = LagGrid(lowest_ns=-10 * 10**9, step_ns=STEP_NS, num_lags=801)
    lags = (grid.lowest_ns + np.arange(801) * STEP_NS) * 1e-9
    centre = offset_s + skew_ppm * 1e-6 * (mids_s - mids_s.mean())
    peak = height * np.exp(-0.5 * ((lags[None, :] - centre[:, None]) / 0.06) ** 2)
    wobble = noise * np.random.default_rng(seed).standard_normal(peak.shape)
    scores = (peak + wobble).astype(np.float32)
    return Surface(mids_ns=mids_s * 1e9, length_ns=10e9, scores=scores), grid


@pytest.mark.parametrize(("offset_s", "skew_ppm"), [(3.217, 0.0), (-4.02, 150.0), (0.5, -500.0)])
def test_a_line_is_found_through_windows_too_weak_to_show_a_peak(
    offset_s: float, skew_ppm: float
) -> None:
    mids = np.arange(5, 595, 10.0)
    surface, grid = ridge(mids, offset_s, skew_ppm, noise=1.0, seed=4, height=2.0)
    search = search_lines([surface], grid, t_mid_ns=float(mids.mean() * 1e9), span_s=600.0)
    fit = fit_peak(search, grid)
    assert fit is not None
    assert fit.lag_ns * 1e-9 == pytest.approx(offset_s, abs=0.02)
    assert fit.skew_ppm == pytest.approx(skew_ppm, abs=80.0)
    assert fit.z > 6


def test_flat_scores_give_no_line() -> None:
    mids = np.arange(5, 65, 10.0)
    surface, grid = ridge(mids, 0.0, 0.0, noise=0.0, seed=0, height=0.0)
    assert fit_peak(search_lines([surface], grid, t_mid_ns=3e10, span_s=60.0), grid) is None


def test_sharper_scores_promise_a_smaller_spread() -> None:
    mids = np.arange(5, 125, 10.0)
    spreads = []
    for height in (2.0, 8.0):
        surface, grid = ridge(mids, 1.0, 0.0, noise=0.2, seed=5, height=height)
        fit = fit_peak(search_lines([surface], grid, t_mid_ns=6e10, span_s=120.0), grid)
        assert fit is not None
        spreads.append(fit.covariance[0, 0] ** 0.5)
    assert spreads[0] / spreads[1] == pytest.approx(2.0, rel=0.3)


@pytest.mark.parametrize(
    ("below", "share", "steps"),
    [(0.2, 0.95, 6), (2.0, 0.95, 0), (2.0, 0.995, 6), (5.0, 0.995, 0)],
)
def test_a_peak_reaches_as_far_as_its_likely_side_lobes(
    below: float, share: float, steps: int
) -> None:
    """A lobe that is hardly lower than the peak may be the truth; one far lower is not."""
    scores = np.full(31, -30.0)
    scores[15], scores[21] = 0.0, -3.0 * below
    assert reach_of(scores, 3.0, share=share) == steps


@pytest.mark.parametrize(("lobe", "is_believed"), [(0.5, True), (0.97, False)])
def test_a_line_is_not_believed_where_a_side_lobe_may_be_the_truth(
    lobe: float, is_believed: bool
) -> None:
    mids = np.arange(5, 65, 10.0)
    surface, grid = ridge(mids, 1.0, 0.0, noise=0.7, seed=6, height=12.0)
    lobes, _ = ridge(mids, 1.25, 0.0, noise=0.0, seed=0, height=12.0 * lobe)
    both = replace(surface, scores=np.maximum(surface.scores, lobes.scores))
    fit = fit_peak(search_lines([both], grid, t_mid_ns=3.5e10, span_s=60.0), grid)
    assert fit is not None
    assert fit.margin > 10.0
    assert is_sure(fit) == is_believed
