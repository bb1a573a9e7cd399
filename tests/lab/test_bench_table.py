"""`coeval bench table`: what counts as a window that is right."""

import math

import pytest

from coeval.estimates import NodeEstimate, SessionEstimate
from coeval.time import ClockLine, RefNs
from coeval_lab.bench.material import Clock
from coeval_lab.bench.modalities import CITED, COMBINATIONS, METHODS, row_of, window_errors

S = 1_000_000_000


def estimate(offset_ns: float | None) -> SessionEstimate:
    line = None
    if offset_ns is not None:
        line = ClockLine(t0_ref_ns=RefNs(0), offset_ns=offset_ns, skew_ppb=20_000.0)
    node = NodeEstimate(
        status="unsure" if line is None else "locked",
        line=line,
        ci95_ns=None,
        skew_ci95_ppb=None,
        jumps=(),
        evidence=(),
    )
    return SessionEstimate(reference="a", nodes={"b": node}, pairs=())


def test_a_windows_error_is_that_of_its_middle() -> None:
    clocks = {"a": Clock(), "b": Clock(offset_ns=2.0 * S, skew_ppm=20.0)}
    errors = window_errors(estimate(2.0 * S + 3e6), clocks, 60.0)
    assert len(errors) == 6
    assert errors == pytest.approx([3.0] * 6, abs=1e-3)


def test_two_wrong_clocks_are_compared_with_each_other() -> None:
    clocks = {
        "a": Clock(offset_ns=-5.0 * S, skew_ppm=-30.0),
        "b": Clock(offset_ns=2.0 * S, skew_ppm=-10.0),
    }
    # On a's clock, b is 7 s ahead when a reads -5 s, and gains about 20 ppm.
    errors = window_errors(estimate(7.0 * S + 20e-6 * 5 * S), clocks, 60.0)
    assert max(errors) < 0.01


def test_what_is_not_stated_is_a_miss() -> None:
    errors = window_errors(estimate(None), {"a": Clock(), "b": Clock()}, 20.0)
    assert errors == [math.inf, math.inf]
    row = row_of("Text + Video", "content", [*errors, 15.0, 90.0])
    assert (row["within_20ms"], row["within_40ms"], row["within_100ms"]) == (25.0, 25.0, 50.0)
    assert (row["stated"], row["median_ms"], row["cited"]) == (50.0, 52.5, 97.4)


def test_every_combination_of_the_study_is_there_and_cited() -> None:
    assert len(COMBINATIONS) == 6
    for name in COMBINATIONS:
        assert set(CITED[name]) == set(METHODS) - {"joint"}
