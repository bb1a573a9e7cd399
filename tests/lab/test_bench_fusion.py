"""Linear probes of fused vectors: what they are held back by is chosen on other scenes."""

import numpy as np
import pytest
from numpy.typing import NDArray

from coeval_lab.bench.fusion import RIDGES, fit, missed, probe

TICKS = 200


def scene(rng: np.random.Generator, num_slow: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """One column that tells the truth, poorly, beside slow ones that tell nothing."""
    truth = rng.random(TICKS) < 0.5
    telling = truth + rng.normal(0, 1, TICKS)
    slow = np.cumsum(rng.normal(0, 1, (TICKS, num_slow)), axis=0)
    return np.column_stack([telling, slow]), truth


def scenes(num_slow: int) -> tuple[list[NDArray[np.float64]], list[NDArray[np.bool_]]]:
    rng = np.random.default_rng(5)
    drawn = [scene(rng, num_slow) for _ in range(8)]
    return [x for x, _ in drawn], [truth for _, truth in drawn]


def error(answers: list[NDArray[np.float64]], truths: list[NDArray[np.bool_]]) -> float:
    return float(((np.concatenate(answers) - np.concatenate(truths)) ** 2).mean())


def test_a_probe_answers_for_scenes_that_it_was_not_fitted_on() -> None:
    vectors, truths = scenes(0)
    answers = probe(vectors, truths)
    assert [len(answer) for answer in answers] == [TICKS] * 8
    halves = [
        fit(vectors[1 - part :: 2], truths[1 - part :: 2], ridge=RIDGES[0]) for part in (0, 1)
    ]
    for k, answer in enumerate(answers):
        np.testing.assert_allclose(answer, halves[k % 2](vectors[k]), atol=0.01)


def test_a_wide_vector_is_held_back_by_more_than_a_narrow_one() -> None:
    wide, truths = scenes(60)
    best = [
        min(RIDGES, key=lambda ridge, x=x, y=y: missed(x[::2], y[::2], ridge=ridge))
        for x, y in (scenes(0), (wide, truths))
    ]
    assert best[0] < best[1]
    chosen, fixed = error(probe(wide, truths), truths), []
    for k in range(8):
        others = [n for n in range(8) if n % 2 != k % 2]
        answer = fit([wide[n] for n in others], [truths[n] for n in others], ridge=RIDGES[0])
        fixed.append(answer(wide[k]))
    assert chosen < 0.8 * error(fixed, truths)


def test_what_is_missed_is_measured_at_the_scene_that_was_left_out() -> None:
    vectors = [np.zeros((4, 1)), np.zeros((4, 1)), np.zeros((4, 1))]
    truths = [np.full(4, 0.0), np.full(4, 0.0), np.full(4, 3.0)]
    assert missed(vectors, truths, ridge=1.0) == pytest.approx(4 * (1.5**2 + 1.5**2 + 3.0**2))
