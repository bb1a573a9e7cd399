import numpy as np
import pytest

from coeval.alarm_rate import (
    LASTING_TICKS,
    AlarmRate,
    Lasting,
    fit_alarm_rate,
    fit_tail,
    lasting,
    peaks_above,
)
from coeval.errors import NotEnoughEvidence
from coeval.samples import FloatArray


def calm(hours: float, seed: int) -> list[FloatArray]:
    """Independent exponential scores, a run a minute."""
    rng = np.random.default_rng(seed)
    return list(rng.exponential(1.0, (round(hours * 60), 240)).astype(np.float32))


def spells_a_day(runs: list[FloatArray], threshold: float) -> float:
    return sum(len(peaks_above(run, threshold)) for run in runs) / (len(runs) / 1440)


def test_new_calm_material_passes_a_counted_threshold_as_often_as_stated() -> None:
    rate = fit_alarm_rate(calm(4.0, 1))
    fresh = calm(40.0, 2)
    assert spells_a_day(fresh, rate.threshold(100.0)) == pytest.approx(100.0, rel=0.35)


def test_new_calm_material_passes_the_tail_about_as_often_as_stated() -> None:
    rate = fit_alarm_rate(calm(4.0, 1))
    fresh = calm(400.0, 3)
    assert 1.0 < spells_a_day(fresh, rate.threshold(4.0)) < 12.0


def test_a_rate_falls_with_the_score_and_goes_on_beyond_all_that_was_seen() -> None:
    rate = fit_alarm_rate(calm(1.0, 1))
    rates = rate.at(np.linspace(0.0, 60.0, 200))
    assert (np.diff(rates) <= 1e-9).all()
    assert 0 < rates[-1] < 1e-3


def test_scores_far_below_any_alarm_are_still_told_apart() -> None:
    rate = fit_alarm_rate(calm(1.0, 1))
    assert (np.diff(rate.at(np.linspace(0.2, 4.0, 20))) < 0).all()


def test_the_threshold_of_a_rate_has_that_rate() -> None:
    rate = fit_alarm_rate(calm(1.0, 1))
    assert rate.at(rate.threshold(0.5)) == pytest.approx(0.5, rel=1e-3)


def test_calm_hours_bear_out_no_lower_rate_than_one_in_as_many_blocks() -> None:
    rate = fit_alarm_rate(calm(2.0, 1))
    assert rate.guaranteed_per_day == pytest.approx(24 / 2.0, rel=0.01)


def test_exceedances_close_together_are_one_alarm() -> None:
    run = np.zeros(400, np.float32)
    run[[100, 110, 130]] = 5.0, 7.0, 6.0
    run[300] = 8.0
    assert peaks_above(run, 1.0).tolist() == [7.0, 8.0]


def test_an_exponential_tail_is_found_as_one() -> None:
    excesses = np.random.default_rng(1).exponential(2.0, 4000).astype(np.float32)
    scale, shape = fit_tail(excesses)
    assert scale == pytest.approx(2.0, rel=0.1)
    assert shape == pytest.approx(0.0, abs=0.08)


def test_a_short_tail_is_never_taken_as_bounded() -> None:
    excesses = np.random.default_rng(1).uniform(0.0, 1.0, 400).astype(np.float32)
    assert fit_tail(excesses)[1] == 0.0


def test_minutes_of_calm_state_no_rate() -> None:
    with pytest.raises(NotEnoughEvidence, match="at least"):
        fit_alarm_rate(calm(0.1, 1))


def test_unknown_scores_are_not_counted_as_calm() -> None:
    runs = [np.where(np.arange(240) < 120, np.nan, run) for run in calm(2.0, 1)]
    assert fit_alarm_rate(runs).calm_hours == pytest.approx(1.0, rel=0.01)


def test_a_rate_comes_back_from_json() -> None:
    rate = fit_alarm_rate(calm(1.0, 1))
    again = AlarmRate.from_json(rate.to_json())
    assert again.at(5.0) == pytest.approx(float(rate.at(5.0)), rel=1e-2)


def test_a_share_of_the_time_is_the_score_passed_for_it() -> None:
    runs = calm(4.0, 1)
    score = fit_alarm_rate(runs).passed(0.1)
    assert np.mean(np.concatenate(runs) > score) == pytest.approx(0.1, abs=0.01)


def test_no_score_beyond_those_counted_is_said_to_be_passed() -> None:
    rate = fit_alarm_rate(calm(1.0, 1))
    assert rate.passed(1e-9) == rate.scores[-1]


def test_a_peak_shorter_than_a_second_does_not_count_and_a_longer_one_does() -> None:
    run = np.zeros(40, np.float32)
    run[10 : 10 + LASTING_TICKS - 1] = 5.0
    run[20 : 20 + LASTING_TICKS] = 7.0
    assert np.unique(lasting(run)).tolist() == [0.0, 7.0]


def test_a_score_that_is_not_known_is_passed_over() -> None:
    run = np.array([3.0, np.nan, 5.0, 4.0], np.float32)
    np.testing.assert_array_equal(lasting(run), [3.0, np.nan, 3.0, 3.0])


def test_scores_followed_one_by_one_last_as_long_as_those_of_a_run() -> None:
    run = np.random.default_rng(1).normal(size=50).astype(np.float32)
    watch = Lasting()
    np.testing.assert_array_equal([watch.push(float(x)) for x in run], lasting(run))
