"""What is usual for a stream by its own past."""

import numpy as np
import pytest

from coeval.alarm_rate import TICKS_PER_S
from coeval_aggregator.own_usual import DELAY_S, LEAST_S, MEMORY_S, OwnUsual


def pushed(own: OwnUsual, score: float, *, seconds: float) -> float | None:
    said = None
    for _ in range(round(seconds * TICKS_PER_S)):
        said = own.push(score)
    return said


def test_nothing_is_usual_before_enough_is_known() -> None:
    own = OwnUsual()
    assert pushed(own, 1.0, seconds=DELAY_S + LEAST_S - 1 / TICKS_PER_S) is None
    assert own.push(1.0) == pytest.approx(1.0)


def test_the_last_seconds_do_not_count() -> None:
    own = OwnUsual()
    pushed(own, 0.0, seconds=DELAY_S + LEAST_S)
    assert pushed(own, 9.0, seconds=DELAY_S) == pytest.approx(0.0)


def test_a_fault_is_not_usual_until_it_has_lasted_as_long_as_the_calm_before_it() -> None:
    own = OwnUsual()
    pushed(own, 0.0, seconds=60.0)
    assert pushed(own, 9.0, seconds=60.0) == pytest.approx(0.0)
    assert pushed(own, 9.0, seconds=2 * DELAY_S) == pytest.approx(9.0)


def test_what_is_too_old_is_forgotten() -> None:
    own = OwnUsual()
    pushed(own, 0.0, seconds=2 * MEMORY_S)
    assert pushed(own, 1.0, seconds=MEMORY_S + DELAY_S) == pytest.approx(1.0)


def test_what_is_usual_is_the_median_of_the_memory() -> None:
    own, scores = OwnUsual(), np.random.default_rng(1).normal(size=3000)
    said = [own.push(float(score)) for score in scores]
    kept, delay = round(MEMORY_S * TICKS_PER_S), round(DELAY_S * TICKS_PER_S)
    assert said[-1] == pytest.approx(np.median(scores[-delay - kept : -delay]))
    assert said[599] == pytest.approx(np.median(scores[: 600 - delay]))


def test_a_score_that_is_no_number_is_not_remembered() -> None:
    own = OwnUsual()
    pushed(own, 1.0, seconds=DELAY_S + LEAST_S)
    pushed(own, float("nan"), seconds=60.0)
    assert pushed(own, 1.0, seconds=2 * MEMORY_S) == pytest.approx(1.0)
