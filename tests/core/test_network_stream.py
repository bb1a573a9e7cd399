"""Two-way exchanges as they come: the quick ones decide, queueing and asymmetry are stated."""

import numpy as np
import pytest

from coeval.network import Exchange, ExchangeFilter

S = 1_000_000_000
EPOCH = 10**18


def exchanges(
    num: int, *, offset_ns: int, out_ns: float, back_ns: float, queue_ns: float, seed: int
) -> list[Exchange]:
    """Two-way exchanges a second apart; `offset_ns` is node − other."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(num):
        sent = EPOCH + k * S
        there = sent + round(out_ns + rng.exponential(queue_ns))
        answered = there + 50_000
        back = answered + round(back_ns + rng.exponential(queue_ns))
        found.append(
            Exchange(t1_ns=sent + offset_ns, t2_ns=there, t3_ns=answered, t4_ns=back + offset_ns)
        )
    return found


def test_the_quick_ones_give_the_offset_with_the_right_sign() -> None:
    filter_ = ExchangeFilter(node="n", other="@server")
    samples = [
        sample
        for each in exchanges(80, offset_ns=3 * S, out_ns=2e5, back_ns=2e5, queue_ns=1e5, seed=1)
        if (sample := filter_.push(each)) is not None
    ]
    assert len(samples) >= 60
    assert (samples[-1].first, samples[-1].second) == ("@server", "n")
    errors = [sample.offset_ns - 3 * S for sample in samples]
    assert abs(np.average(errors, weights=[s.sigma_ns**-2 for s in samples])) < 2e4
    within = [abs(e) < 2 * s.sigma_ns for e, s in zip(errors[20:], samples[20:], strict=True)]
    assert np.mean(within) > 0.9


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_asymmetry_lies_within_what_is_stated(share: float) -> None:
    filter_ = ExchangeFilter(node="n", other="@server")
    delay = 2e6
    for each in exchanges(
        400,
        offset_ns=0,
        out_ns=share * delay,
        back_ns=(1 - share) * delay,
        queue_ns=1e4,
        seed=2,
    ):
        sample = filter_.push(each) or locals().get("sample")
    assert sample is not None
    assert sample.bias_sigma_ns == pytest.approx(delay / np.sqrt(12), rel=0.05)
    assert abs(sample.offset_ns) <= 2 * np.hypot(sample.sigma_ns, sample.bias_sigma_ns)


def test_a_path_is_not_believed_before_its_delay_is_known() -> None:
    filter_ = ExchangeFilter(node="n", other="@server")
    first = exchanges(9, offset_ns=0, out_ns=2e5, back_ns=2e5, queue_ns=1e5, seed=5)
    assert [filter_.push(each) is None for each in first[:7]] == [True] * 7
    assert filter_.counts["settling"] == 7


def test_a_burst_is_left_out_and_counted() -> None:
    filter_ = ExchangeFilter(node="n", other="@server")
    calm = exchanges(160, offset_ns=0, out_ns=2e5, back_ns=2e5, queue_ns=5e4, seed=3)
    for each in calm:
        filter_.push(each)
    used, bursts = filter_.counts["used"], filter_.counts["burst"]
    late = [
        Exchange(
            t1_ns=e.t1_ns + 200 * S,
            t2_ns=e.t2_ns + 200 * S + 40_000_000,
            t3_ns=e.t3_ns + 200 * S + 40_000_000,
            t4_ns=e.t4_ns + 200 * S + 80_000_000,
        )
        for e in calm[:8]
    ]
    assert [filter_.push(each) for each in late] == [None] * 8
    assert filter_.counts["burst"] == bursts + 8
    assert filter_.counts["used"] == used


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        ((0, 10, 5, 20), "backwards"),
        ((20, 5, 6, 10), "backwards"),
        ((0, 0, 100, 50), "negative"),
        ((0, 0, 0, 11 * S), "slow"),
    ],
)
def test_an_impossible_exchange_is_counted_and_left_out(
    times: tuple[int, int, int, int], reason: str
) -> None:
    filter_ = ExchangeFilter(node="n", other="@server")
    t1, t2, t3, t4 = times
    assert filter_.push(Exchange(t1_ns=t1, t2_ns=t2, t3_ns=t3, t4_ns=t4)) is None
    assert filter_.counts == {reason: 1}


def test_the_same_exchange_twice_counts_once() -> None:
    filter_ = ExchangeFilter(node="n", other="@server")
    same = Exchange(t1_ns=0, t2_ns=10, t3_ns=11, t4_ns=21)
    filter_.push(same)
    filter_.push(same)
    assert filter_.counts == {"settling": 1, "backwards": 1}


def test_a_hostile_answer_moves_no_further_than_half_its_delay() -> None:
    """Whatever t2 and t3 are, the offset's error against an honest end is bounded by the delay."""
    honest = Exchange(t1_ns=0, t2_ns=500, t3_ns=600, t4_ns=1100)
    for shift in (-500, -250, 0, 250, 500):
        told = Exchange(t1_ns=0, t2_ns=500 + shift, t3_ns=600 + shift, t4_ns=1100)
        assert abs(told.offset_ns - honest.offset_ns) <= honest.delay_ns / 2


def test_a_hostile_answer_cannot_make_its_path_look_short() -> None:
    """One that claims to have held a question for nearly the whole trip states no better error."""
    filter_ = ExchangeFilter(node="n", other="liar")
    sample = None
    for k in range(20):
        t1 = k * S
        held = Exchange(t1_ns=t1, t2_ns=t1, t3_ns=t1 + 999_000, t4_ns=t1 + 1_000_000)
        sample = filter_.push(held) or sample
    assert sample is not None
    # The truth lies within half the trip, 500 µs, of the honest answer; so does the statement.
    assert 2 * sample.bias_sigma_ns >= 500_000
    assert abs(sample.offset_ns) <= 500_000
