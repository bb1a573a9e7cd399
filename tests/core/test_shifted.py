"""The sequential test that a stream has moved in time against the others."""

import numpy as np
import pytest

from coeval.fusion_input import TICK_HOPS, SessionInputs
from coeval.hops import EMBEDDING_DIM
from coeval.samples import FloatArray, Modality
from coeval.shifted import LEAST_NATS, LONGEST_LAG_HOPS, MOST_NATS, products

ONSET, HOPS = 800, 1600
KINDS: tuple[Modality, ...] = ("video", "audio", "metadata")


def content(seed: int, num_hops: int = HOPS) -> FloatArray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.15, (num_hops, EMBEDDING_DIM)).astype(np.float32)


def moved(rows: FloatArray, by_hops: int) -> FloatArray:
    return np.concatenate([rows[:ONSET], np.roll(rows, by_hops, axis=0)[ONSET:]])


def nats(
    *streams: FloatArray,
    kinds: tuple[Modality, ...] = KINDS,
    covered: FloatArray | None = None,
) -> FloatArray:
    rows = np.stack(streams)
    covered = np.ones(rows.shape[:2], np.float32) if covered is None else covered
    return SessionInputs(kinds[: len(rows)]).push(rows, covered).shifted[..., 0]


@pytest.mark.parametrize("by_hops", [-90, -12, 12, 90])
def test_a_stream_that_moves_is_told_within_seconds(by_hops: int) -> None:
    same = content(1)
    found = nats(same, same, moved(same, by_hops))[:, 2]
    onset = ONSET // TICK_HOPS
    assert found[onset - 40 : onset].max() < 0.0
    assert found[onset + 40] > 10.0


def test_streams_that_stay_are_not_told_to_have_moved() -> None:
    same = content(1)
    found = nats(same, same, moved(same, 40))
    assert found[-1, 2] > 10.0
    assert found[:, :2].max() < 5.0


def test_a_stream_that_was_late_from_the_beginning_did_not_move() -> None:
    same = content(1)
    assert nats(same, same, np.roll(same, 30, axis=0))[:, 2].max() < 5.0


def test_nothing_that_happens_speaks_for_or_against() -> None:
    still = np.zeros((HOPS, EMBEDDING_DIM), np.float32)
    np.testing.assert_allclose(nats(still, still), 0.0, atol=1e-3)


def test_a_partner_that_goes_and_the_only_one_that_stays_say_nothing() -> None:
    same, covered = content(1), np.ones((2, HOPS), np.float32)
    covered[1, ONSET:] = 0.0
    found = nats(same, same, covered=covered)
    at = ONSET // TICK_HOPS
    np.testing.assert_array_equal(found[at:, 0], found[at - 1, 0])


def test_a_still_is_judged_by_pictures_only() -> None:
    same = content(1)
    kinds: tuple[Modality, ...] = ("image", "audio")
    np.testing.assert_allclose(nats(same, moved(same, 40), kinds=kinds), 0.0, atol=1e-3)
    assert nats(same, moved(same, 40), kinds=("image", "video"))[-1, 0] > 10.0


def test_what_has_added_up_is_bounded_and_taken_back() -> None:
    same = content(1)
    gone = moved(same, 40)
    gone[1200:] = same[1200:]
    found = nats(3 * same, 3 * same, 3 * gone)[:, 2]
    assert found.max() <= MOST_NATS
    assert found.min() >= LEAST_NATS
    assert found[-1] < 0.0


def test_products_of_all_others_are_the_sum_of_those_of_each() -> None:
    past = np.stack([content(seed, LONGEST_LAG_HOPS + TICK_HOPS) for seed in range(4)])
    now = past[:, -TICK_HOPS:]
    of_all = products(now, past.sum(axis=0) - past)
    for stream in range(4):
        others = [other for other in range(4) if other != stream]
        for lag in (0, 1, 37, LONGEST_LAG_HOPS):
            before = past[others, LONGEST_LAG_HOPS - lag : LONGEST_LAG_HOPS - lag + TICK_HOPS]
            expected = sum(float((now[stream] * each).sum()) for each in before)
            assert of_all[stream, lag] == pytest.approx(expected, abs=1e-4)
