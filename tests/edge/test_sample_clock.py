"""The line through the stamps of a sound's blocks, on invented clocks whose truth is known."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from coeval.time import NodeNs
from coeval_edge.sources.sample_clock import SampleClock

RATE_HZ, BLOCK = 48_000, 480
MS = 1e6

Jitter = Callable[[np.random.Generator, int], NDArray[np.float64]]


def uniform(generator: np.random.Generator, num: int) -> NDArray[np.float64]:
    """Up to 5 ms late, on the mean 2.5, which no line can know."""
    return generator.uniform(-2.5 * MS, 2.5 * MS, num)


def normal(generator: np.random.Generator, num: int) -> NDArray[np.float64]:
    return generator.normal(0, 5 * MS, num)


def one_sided(generator: np.random.Generator, num: int) -> NDArray[np.float64]:
    """A scheduler's: mostly small, sometimes many ms."""
    return generator.exponential(1 * MS, num) - MS


class Card:
    """A sound card whose every sample has a known time, stamped with jitter."""

    def __init__(self, *, skew_ppm: float = 0.0, jitter: Jitter = uniform, seed: int = 0) -> None:
        self._jitter, self._generator = jitter, np.random.default_rng(seed)
        self.skew_ppm = skew_ppm
        self.sample = 0
        self.true_ns = 7e15
        """Of that sample."""

    def pass_by(self, num_samples: int) -> None:
        self.true_ns += num_samples * 1e9 / RATE_HZ / (1 + self.skew_ppm * 1e-6)

    def feed(self, clock: SampleClock, seconds: float) -> int:
        """Stamps of a while; how many of them began a new line."""
        num_new = 0
        for late_ns in self._jitter(self._generator, round(seconds * RATE_HZ / BLOCK)):
            num_new += clock.push(self.sample, NodeNs(round(self.true_ns + late_ns)))
            self.sample += BLOCK
            self.pass_by(BLOCK)
        return num_new

    def error_ns(self, clock: SampleClock) -> float:
        return clock.t_ns(self.sample) - self.true_ns


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("skew_ppm", [0.0, 451.0, -451.0])
def test_five_milliseconds_of_jitter_in_are_a_fifth_of_one_out(skew_ppm: float, seed: int) -> None:
    card, clock = Card(skew_ppm=skew_ppm, seed=seed), SampleClock(RATE_HZ)
    card.feed(clock, 30.0)
    for _ in range(60):
        card.feed(clock, 1.0)
        assert abs(card.error_ns(clock)) < 0.2 * MS
    assert clock.num_pieces == 1
    assert clock.skew_ppm == pytest.approx(skew_ppm, abs=8.0)


@pytest.mark.parametrize("jitter", [uniform, normal, one_sided])
def test_sigma_is_what_the_times_are_off_from_the_first_second_on(jitter: Jitter) -> None:
    """Over 40 cards whose skews are as cards' are: mostly within two sigmas, at every age."""
    skews = np.random.default_rng(1).normal(0, 250.0, 40)
    within = np.zeros(4, int)
    for seed, skew_ppm in enumerate(skews):
        card, clock = Card(skew_ppm=skew_ppm, jitter=jitter, seed=seed), SampleClock(RATE_HZ)
        for k, further_s in enumerate((0.3, 0.7, 3.0, 8.0)):
            card.feed(clock, further_s)
            within[k] += abs(card.error_ns(clock)) < 2 * clock.sigma_ns
    assert (within >= 0.85 * len(skews)).all(), within


def test_the_first_seconds_are_less_sure() -> None:
    card, clock = Card(), SampleClock(RATE_HZ)
    assert clock.sigma_ns == math.inf
    sigmas = []
    for seconds in (0.1, 0.9, 4.0, 15.0):
        card.feed(clock, seconds)
        sigmas.append(clock.sigma_ns)
    assert sigmas == sorted(sigmas, reverse=True)
    assert sigmas[0] > 5 * sigmas[-1]


def test_the_jitter_is_learned() -> None:
    for jitter, expected_ns in ((uniform, 5 * MS / math.sqrt(12)), (normal, 5 * MS)):
        card, clock = Card(jitter=jitter), SampleClock(RATE_HZ)
        card.feed(clock, 30.0)
        assert clock.jitter_ns == pytest.approx(expected_ns, rel=0.1)


def kernel_s(generator: np.random.Generator, num: int) -> NDArray[np.float64]:
    """As `snd-aloop` is stamped on a quiet machine: within a millisecond."""
    return generator.uniform(-0.5 * MS, 0.5 * MS, num)


@pytest.mark.parametrize(
    ("jitter", "num_lost"), [(one_sided, 3 * BLOCK), (kernel_s, 120), (uniform, 432)]
)
def test_a_lost_buffer_begins_a_new_line_that_keeps_the_rate(jitter: Jitter, num_lost: int) -> None:
    card, clock = Card(skew_ppm=200.0, jitter=jitter), SampleClock(RATE_HZ)
    card.feed(clock, 60.0)
    card.pass_by(num_lost)
    assert card.feed(clock, 1.0) == 1
    assert clock.num_pieces == 2
    card.feed(clock, 2.0)
    assert abs(card.error_ns(clock)) < 0.3 * MS
    assert clock.skew_ppm == pytest.approx(200.0, abs=8.0)


def test_a_loss_that_the_card_tells_begins_a_new_line_at_once() -> None:
    card, clock = Card(), SampleClock(RATE_HZ)
    card.feed(clock, 10.0)
    card.pass_by(48_000)
    clock.restart()
    assert card.feed(clock, 0.01) == 1
    assert abs(card.error_ns(clock)) < 5 * MS


def test_a_first_stamp_that_is_wrong_is_soon_outvoted() -> None:
    """As shared cards give it: of 35 ms before."""
    card, clock = Card(jitter=kernel_s), SampleClock(RATE_HZ)
    clock.push(0, NodeNs(round(card.true_ns - 35 * MS)))
    for age_s in (1.0, 2.0, 7.0):
        card.feed(clock, age_s)
        assert abs(card.error_ns(clock)) < 3 * clock.sigma_ns
    assert abs(card.error_ns(clock)) < 0.3 * MS


def test_a_machine_that_is_busy_for_a_moment_moves_nothing() -> None:
    """For 150 ms no block is stamped; then all at once, each as late as it waited."""
    card, clock = Card(jitter=one_sided), SampleClock(RATE_HZ)
    card.feed(clock, 20.0)
    before_ns = card.error_ns(clock)
    free_ns = card.true_ns + 150 * MS
    for _ in range(15):
        clock.push(card.sample, NodeNs(round(free_ns)))
        card.sample += BLOCK
        card.pass_by(BLOCK)
    assert clock.num_pieces == 1
    assert abs(card.error_ns(clock) - before_ns) < 0.3 * MS


def test_a_crystal_that_warms_up_is_followed() -> None:
    """3 ppm over a minute."""
    card, clock = Card(jitter=one_sided), SampleClock(RATE_HZ)
    card.feed(clock, 60.0)
    worst_ns = 0.0
    for second in range(90):
        card.skew_ppm = 3.0 * min(second / 60, 1.0)
        card.feed(clock, 1.0)
        worst_ns = max(worst_ns, abs(card.error_ns(clock)))
    assert worst_ns < 0.3 * MS


def test_without_a_stamp_there_is_no_time() -> None:
    with pytest.raises(ValueError, match="no stamp yet"):
        SampleClock(RATE_HZ).t_ns(0)
