"""Clocks in hindsight."""

import numpy as np
import pytest

from coeval.smoothing import Smoother

from .clock_lives import EPOCH, S, sample, session, simulate


def test_hindsight_is_better_than_the_estimate_of_the_moment() -> None:
    now, later = [], []
    for seed in range(20):
        clocks, smoother = session(), Smoother()
        truth, said = {}, {}
        for t, offset, measured in simulate(seed, kinds=("network",), seconds=200):
            truth[t] = offset
            for evidence in measured:
                clocks.push(evidence)
                smoother.record(next(iter(clocks.groups)))
            state = clocks.at("n", EPOCH + round(t * S))
            if state is not None:
                said[t] = state.offset_ns
        found = smoother.at("n", EPOCH + 100 * S)
        assert found is not None
        whole, rest, _, covariance = found
        bias = truth[199] - said[199]
        now.append(said[100] + bias - truth[100])
        later.append(whole + rest + bias - truth[100])
        assert covariance[0, 0] > 0
    assert np.std(later) < 0.8 * np.std(now)


def test_hindsight_does_not_reach_outside_what_is_kept() -> None:
    smoother = Smoother(most_states=5)
    clocks = session()
    assert smoother.at("n", EPOCH) is None
    for t in range(20):
        clocks.push(sample(t, 0.0))
        smoother.record(next(iter(clocks.groups)))
    assert smoother.at("n", EPOCH + 3 * S) is None
    assert smoother.at("n", EPOCH + 18 * S) is not None


def test_hindsight_does_not_reach_across_a_step() -> None:
    clocks, smoother = session(), Smoother()
    for t in range(60):
        clocks.push(sample(t, 50e6 if t >= 40 else 0.0))
        smoother.record(next(iter(clocks.groups)))
    assert smoother.at("n", EPOCH + 30 * S) is None
    found = smoother.at("n", EPOCH + 50 * S)
    assert found is not None
    assert found[0] + found[1] == pytest.approx(50e6, abs=2000)
