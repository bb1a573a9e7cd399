import numpy as np

from coeval.jumps import JumpFit, Witness
from coeval.jumps import find_jump as find_jump_of
from coeval.line import LagGrid, Surface

GRID = LagGrid(lowest_ns=-5 * 10**9, step_ns=25_000_000, num_lags=401)
ALWAYS = (-1e15, 1e15)
"""The second stream has material at every lag."""


def find_jump(
    surfaces: list[Surface],
    grid: LagGrid,
    *,
    span_ns: tuple[float, float],
    second_span_ns: tuple[float, float],
) -> JumpFit | None:
    witnesses = [Witness(surface=each, other_span_ns=second_span_ns) for each in surfaces]
    return find_jump_of(witnesses, grid, span_ns=span_ns)


def surface(offsets_s: list[float], seed: int) -> Surface:
    """One window of 10 s an offset, with a clear ridge and noise."""
    lags = (GRID.lowest_ns + np.arange(401) * GRID.step_ns) * 1e-9
    peak = 8 * np.exp(-0.5 * ((lags - np.array(offsets_s)[:, None]) / 0.05) ** 2)
    noise = np.random.default_rng(seed).standard_normal(peak.shape)
    mids = (np.arange(len(offsets_s)) * 10 + 5) * 1e9
    return Surface(mids_ns=mids, length_ns=10e9, scores=(peak + noise).astype(np.float32))


def test_a_step_of_a_quarter_second_is_found_where_it_is() -> None:
    jump = find_jump(
        [surface([1.0] * 6 + [1.25] * 6, 1)], GRID, span_ns=(0.0, 120e9), second_span_ns=ALWAYS
    )
    assert jump is not None
    assert abs(jump.delta_ns - 0.25e9) < 0.03e9
    assert abs(jump.t_ns - 60e9) <= 10e9


def test_no_step_is_invented_on_a_steady_clock() -> None:
    for seed in range(20):
        steady = surface([1.0] * 12, seed)
        assert find_jump([steady], GRID, span_ns=(0.0, 120e9), second_span_ns=ALWAYS) is None


def test_skew_is_not_taken_for_a_step() -> None:
    drifting = surface([1.0 + 500e-6 * (10 * k) for k in range(12)], 3)
    assert find_jump([drifting], GRID, span_ns=(0.0, 120e9), second_span_ns=ALWAYS) is None


def test_a_steep_clock_is_not_taken_for_a_step() -> None:
    for skew in (-1500e-6, 700e-6, 1800e-6):
        steep = surface([1.0 + skew * (10 * k) for k in range(30)], 4)
        assert find_jump([steep], GRID, span_ns=(0.0, 300e9), second_span_ns=ALWAYS) is None, skew


def test_a_far_step_needs_more_evidence_than_a_near_one() -> None:
    """A far step is chosen among many lags; chance has matched sparse bursts at 49 s."""

    def with_rival(lag_s: float) -> Surface:
        """In four windows of twelve this lag is better than that of the others."""
        steady = surface([1.0] * 12, 0)
        lags_s = (GRID.lowest_ns + np.arange(401) * GRID.step_ns) * 1e-9
        scores = steady.scores.copy()
        scores[:4] += (12.5 * np.exp(-0.5 * ((lags_s - lag_s) / 0.05) ** 2)).astype(np.float32)
        return Surface(mids_ns=steady.mids_ns, length_ns=steady.length_ns, scores=scores)

    assert find_jump([with_rival(-4.0)], GRID, span_ns=(0.0, 120e9), second_span_ns=ALWAYS) is None
    near = find_jump([with_rival(0.7)], GRID, span_ns=(0.0, 120e9), second_span_ns=ALWAYS)
    assert near is not None
    assert abs(near.delta_ns - 0.3e9) < 0.03e9


def test_too_few_windows_show_no_step() -> None:
    assert (
        find_jump([surface([1.0, 1.3, 1.3], 2)], GRID, span_ns=(0.0, 30e9), second_span_ns=ALWAYS)
        is None
    )


def test_where_the_second_stream_has_ended_nothing_speaks_for_a_step() -> None:
    """Its last windows lack material at the true lag, so another lag is all that can match."""
    steady = surface([1.0] * 12, 5)
    elsewhere = surface([1.0] * 8 + [-3.0] * 4, 5)
    ended = Surface(
        mids_ns=steady.mids_ns, length_ns=steady.length_ns, scores=elsewhere.scores.copy()
    )
    lags_s = (GRID.lowest_ns + np.arange(401) * GRID.step_ns) * 1e-9
    ended.scores[8:, lags_s > -2] = 0
    span = (0.0, 120e9)
    assert find_jump([ended], GRID, span_ns=span, second_span_ns=ALWAYS) is not None
    assert find_jump([ended], GRID, span_ns=span, second_span_ns=(0.0, 82e9)) is None


def test_a_step_is_found_before_the_second_stream_ends() -> None:
    stepped = surface([1.0] * 6 + [1.5] * 6 + [1.0] * 3, 6)
    jump = find_jump([stepped], GRID, span_ns=(0.0, 150e9), second_span_ns=(0.0, 122e9))
    assert jump is not None
    assert abs(jump.delta_ns - 0.5e9) < 0.03e9
    assert abs(jump.t_ns - 60e9) <= 10e9
