"""Placing a node by several others: each counts by how far it stands out."""

import numpy as np
import pytest
from numpy.typing import NDArray

from coeval.compare import LAG_STEP_NS, PairWork
from coeval.hops import EMBEDDING_DIM, Hops
from coeval.jumps import JumpFit
from coeval.line import LagGrid, LineFit, LineSearch, fit_peak
from coeval.rough_places import Place, best_place
from coeval.samples import FloatArray
from coeval.stepped import PlacedSession, has_side_at
from coeval.time import NodeNs
from coeval.tracks import StreamTrack

S = 1_000_000_000
GRID = LagGrid(lowest_ns=-10 * S, step_ns=LAG_STEP_NS, num_lags=801)


def work(first: str, second: str, curve: NDArray[np.floating]) -> PairWork:
    """A pair whose scores over lags are `curve`."""
    search = LineSearch(
        t_mid_ns=30.0 * S, skews_ppm=np.zeros(1), sums=curve[None, :].astype(np.float32)
    )
    return PairWork(
        first=first,
        second=second,
        grid=GRID,
        surfaces=[],
        raw_surfaces=[],
        latencies_ns=(0.0, 0.0),
        delay_ns=0.0,
        streams=(),
        start_ns=0.0,
        stop_ns=60.0 * S,
        second_span_ns=(0.0, 60.0 * S),
        search=search,
        fit=fit_peak(search, GRID),
    )


def scores(seed: int, *, spread: float, peak: float, at_s: float, width_s: float) -> FloatArray:
    """Noise of a spread, and a peak of a height and width at a lag."""
    lags_s = (GRID.lowest_ns + np.arange(GRID.num_lags) * GRID.step_ns) / S
    noise = np.random.default_rng(seed).uniform(-1.0, 1.0, GRID.num_lags)
    hill = np.exp(-0.5 * ((lags_s - at_s) / width_s) ** 2)
    curve: FloatArray = (1.35 * spread * noise * (1 - hill) + peak * hill).astype(np.float32)
    return curve


def test_one_sharp_pair_is_not_outvoted_by_broad_ones() -> None:
    sharp = scores(1, spread=2.0, peak=24.0, at_s=3.0, width_s=0.04)
    broad = [scores(k, spread=4.0, peak=14.0, at_s=4.0, width_s=0.3) for k in (2, 3)]
    works = {
        ("cam", "still"): work("cam", "still", sharp),
        ("mic", "still"): work("mic", "still", broad[0]),
        ("log", "still"): work("log", "still", broad[1]),
    }
    assert sum(broad).max() > sharp.max()
    placed = {name: Place(lag_ns=0.0, fit=None) for name in ("cam", "mic", "log")}
    place = best_place(works, placed, "still")
    assert place is not None
    assert place.lag_ns == pytest.approx(3 * S, abs=0.03 * S)


def test_pairs_that_share_a_side_lobe_do_not_make_it_less_likely() -> None:
    curves = []
    for seed in (1, 2):
        peak = scores(seed, spread=2.0, peak=30.0, at_s=3.0, width_s=0.03)
        lobe = scores(seed, spread=0.0, peak=25.0, at_s=3.2, width_s=0.03)
        curves.append(peak + lobe)
    works = {(name, "log"): work(name, "log", c) for name, c in zip("ab", curves, strict=True)}
    reference = {"a": Place(lag_ns=0.0, fit=None)}
    alone = best_place(works, reference, "log")
    together = best_place(works, {**reference, "b": Place(lag_ns=0.0, fit=None)}, "log")
    assert alone is not None
    assert alone.fit is not None
    assert together is not None
    assert together.fit is not None
    assert together.fit.margin > alone.fit.margin
    assert alone.fit.utmost_ns == pytest.approx(0.2 * S, abs=0.03 * S)
    assert together.fit.utmost_ns >= alone.fit.utmost_ns


def test_a_node_that_no_placed_one_is_compared_with_has_no_place() -> None:
    assert best_place({}, {"cam": Place(lag_ns=0.0, fit=None)}, "log") is None


def line_at(lag_s: float) -> LineFit:
    return LineFit(
        t_mid_ns=30.0 * S,
        lag_ns=lag_s * S,
        skew_ppm=0.0,
        covariance=np.eye(2),
        peak=30.0,
        z=10.0,
        margin=3.0,
        lags_tried=800,
    )


@pytest.mark.parametrize(("place_s", "is_there"), [(3.0, True), (1.1, True), (9.0, False)])
def test_a_step_has_the_place_of_the_whole_on_one_of_its_sides(
    place_s: float, is_there: bool
) -> None:
    minute = Hops(t0_node_ns=NodeNs(0), rows=np.ones((1200, EMBEDDING_DIM), np.float32))
    log = StreamTrack(node="log", stream="t", modality="text", embeddings=[minute])
    session = PlacedSession(by_segment={"log": [log]}, works={}, placed={}, cuts=())
    jump = JumpFit(t_ns=20.0 * S, before=line_at(3.0), after=line_at(1.0), gain=30.0)
    place = Place(lag_ns=place_s * S, fit=line_at(place_s))
    assert has_side_at(jump, "log", place, session) == is_there
