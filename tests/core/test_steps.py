"""Scores of several pairs laid on one axis of lags, and the instant of a step hop by hop."""

import numpy as np
import pytest

from coeval.hops import EMBEDDING_DIM
from coeval.jumps import JumpFit
from coeval.lag import DenseStream
from coeval.line import LagGrid, LineFit, Surface
from coeval.steps import Partner, sharpen_instant, witness_of

S = 1_000_000_000
STEP_NS = 25_000_000
PAIR_GRID = LagGrid(lowest_ns=-200 * STEP_NS, step_ns=STEP_NS, num_lags=401)
GRID = LagGrid(lowest_ns=-160 * STEP_NS, step_ns=STEP_NS, num_lags=401)


def partner(*, is_first: bool, place_s: float, streams: tuple[DenseStream, ...] = ()) -> Partner:
    return Partner(
        surfaces=(),
        grid=PAIR_GRID,
        is_first=is_first,
        place_ns=place_s * S,
        skew_ppm=0.0,
        span_ns=(0.0, 100.0 * S),
        streams=streams,
    )


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("place_s", [0.0, 1.5, -0.31])
def test_a_pairs_peak_lies_at_the_clocks_lag_on_the_timeline(
    is_first: bool, place_s: float
) -> None:
    """The pair's lag is second − first; the clock looked at is 2 s fast on the timeline."""
    lag_s = (2.0 - place_s) if is_first else (place_s - 2.0)
    scores = np.zeros((1, 401), np.float32)
    scores[0, round(lag_s * S / STEP_NS) + 200] = 1.0
    surface = Surface(mids_ns=np.array([50.0 * S]), length_ns=10.0 * S, scores=scores)
    witness = witness_of(
        partner(is_first=is_first, place_s=place_s),
        surface,
        GRID,
        place_ns=2.0 * S,
        span_ns=(0.0, 100.0 * S),
        middle_ns=50.0 * S,
    )
    peak = int(witness.surface.scores[0].argmax())
    assert GRID.at(peak) == pytest.approx(2.0 * S, abs=STEP_NS)
    middle_s = 50.0 - (place_s if is_first else 2.0)
    assert witness.surface.mids_ns[0] == pytest.approx(middle_s * S)


def line(lag_s: float) -> LineFit:
    return LineFit(
        t_mid_ns=0.0,
        lag_ns=lag_s * S,
        skew_ppm=0.0,
        covariance=np.eye(2),
        peak=50.0,
        z=20.0,
        margin=9.0,
        lags_tried=1000,
    )


def jump(before_s: float, after_s: float) -> JumpFit:
    return JumpFit(t_ns=30.0 * S, before=line(before_s), after=line(after_s), gain=30.0)


@pytest.mark.parametrize("is_inside", [True, False])
def test_a_window_counts_only_where_the_other_has_material_at_both_lags(is_inside: bool) -> None:
    surface = Surface(
        mids_ns=np.array([50.0 * S]), length_ns=10.0 * S, scores=np.ones((1, 401), np.float32)
    )
    for is_first in (True, False):
        witness = witness_of(
            partner(is_first=is_first, place_s=0.0),
            surface,
            GRID,
            place_ns=0.0,
            span_ns=(0.0, 100.0 * S),
            middle_ns=50.0 * S,
        )
        far_s = 40.0 if is_inside else 60.0
        assert witness.seen(jump(0.0, far_s if is_first else -far_s)).tolist() == [is_inside]


def test_an_instant_known_to_ten_seconds_is_found_to_a_second() -> None:
    rows = np.random.default_rng(3).standard_normal((1200, EMBEDDING_DIM)).astype(np.float32)
    gap = np.zeros((20, EMBEDDING_DIM), np.float32)
    steady = DenseStream(first_hop=10, rows=rows)
    stepped = DenseStream(first_hop=0, rows=np.concatenate([rows[:700], gap, rows[700:]]))
    other = partner(is_first=True, place_s=0.5, streams=(steady,))
    found_ns = sharpen_instant(jump(0.0, 1.0), [stepped], [other], around_ns=10.0 * S)
    assert abs(found_ns - 35.0 * S) <= 1.0 * S
