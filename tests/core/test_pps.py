import random

import pytest

from coeval.pps import Judged, PpsJudge, name_second
from coeval.time import NS_PER_S, NodeNs

T0 = 7_123_456_789_012


def pulses(
    num: int, *, skew_ppm: float = 0.0, jitter_ns: float = 0.0, first: int = 0, seed: int = 0
) -> list[int]:
    """Stamps of whole seconds by a node's clock of some skew, with Gaussian jitter."""
    rng = random.Random(seed)
    return [
        T0 + round(second * NS_PER_S * (1 + skew_ppm * 1e-6) + rng.gauss(0, jitter_ns))
        for second in range(first, first + num)
    ]


def judge(stamps: list[int], judge: PpsJudge | None = None) -> list[Judged]:
    judge = judge or PpsJudge()
    return [judge.push(NodeNs(stamp)) for stamp in stamps]


def verdicts(stamps: list[int]) -> list[str]:
    return [judged.verdict for judged in judge(stamps)]


def test_a_clean_line_is_good_from_the_fourth_pulse_on() -> None:
    line = PpsJudge()
    found = [each.verdict for each in judge(pulses(30, skew_ppm=37, jitter_ns=1000), line)]
    assert found == ["searching"] * 3 + ["good"] * 27
    assert line.health.state == "locked"
    assert line.health.rate_hz == 1.0


@pytest.mark.parametrize("skew_ppm", [-450.0, 0.0, 450.0])
def test_a_bad_oscillator_is_no_reason_to_reject(skew_ppm: float) -> None:
    assert verdicts(pulses(60, skew_ppm=skew_ppm, jitter_ns=5000))[3:] == ["good"] * 57


@pytest.mark.parametrize("jitter_ns", [500.0, 5000.0, 50_000.0])
def test_the_stated_sigma_is_the_jitter_of_the_line(jitter_ns: float) -> None:
    sigmas = [
        each.sigma_ns
        for seed in range(10)
        for each in judge(pulses(120, jitter_ns=jitter_ns, seed=seed))[20:]
        if each.sigma_ns is not None
    ]
    assert jitter_ns * 0.8 < sum(sigmas) / len(sigmas) < jitter_ns * 1.5


def test_a_clean_line_loses_few_pulses_to_the_gate() -> None:
    for seed in range(20):
        judged = judge(pulses(300, jitter_ns=20_000, skew_ppm=-20, seed=seed))
        assert sum(each.verdict != "good" for each in judged[3:]) <= 4


def test_missed_pulses_are_counted_and_the_next_one_is_good() -> None:
    line = PpsJudge()
    judged = judge(pulses(10, jitter_ns=1000) + pulses(10, first=13, jitter_ns=1000), line)
    assert judged[10].verdict == "good"
    assert judged[10].num_missed == 3
    assert line.health.counts["missed"] == 3


def test_a_spurious_pulse_is_rejected_and_moves_nothing() -> None:
    stamps = pulses(10, jitter_ns=1000)
    glitch = stamps[-1] + 300_000_000
    judged = judge([*stamps, glitch, *pulses(5, first=10, jitter_ns=1000)])
    assert judged[10].verdict == "spurious"
    assert judged[10].residual_ns == pytest.approx(300_000_000, abs=20_000)
    assert [each.verdict for each in judged[11:]] == ["good"] * 5
    assert judged[11].num_missed == 0


def test_a_bouncing_contact_gives_one_pulse_a_second() -> None:
    stamps = [stamp + bounce for stamp in pulses(20) for bounce in (0, 150_000)]
    found = verdicts(stamps)
    assert found[20:] == ["good", "doubled"] * 10


def test_a_glitch_right_before_the_pulse_does_not_take_its_place() -> None:
    stamps = pulses(20, jitter_ns=500)
    found = verdicts([*stamps[:15], stamps[15] - 1_000_000, *stamps[15:]])
    assert found[15:17] == ["late", "good"]


def test_an_interrupt_that_waited_is_late_and_not_used() -> None:
    stamps = pulses(40, jitter_ns=1000)
    stamps[25] += 400_000
    judged = judge(stamps)
    assert judged[25].verdict == "late"
    assert judged[25].sigma_ns is None
    assert judged[26].verdict == "good"
    assert judged[26].num_missed == 0


def test_interrupts_that_always_wait_become_the_line_s_own_scatter() -> None:
    """A load that begins widens sigma; the line is not rejected for ever."""
    calm, rng = pulses(30, jitter_ns=500), random.Random(3)
    loaded = [stamp + round(rng.expovariate(1 / 200_000)) for stamp in pulses(60, first=30)]
    judged = judge(calm + loaded)
    good = [each for each in judged[60:] if each.sigma_ns is not None]
    assert len(good) > 20
    assert all(each.sigma_ns is not None and each.sigma_ns > 50_000 for each in good)


@pytest.mark.parametrize("rate_hz", [2.0, 5.0, 10.0, 50.0, 1.02, 0.97, 1.5])
def test_a_line_of_another_rate_is_named_and_gives_no_pulse(rate_hz: float) -> None:
    line = PpsJudge()
    judged = judge([T0 + round(k * NS_PER_S / rate_hz) for k in range(40)], line)
    assert {each.verdict for each in judged} == {"searching"}
    assert line.health.state == "wrong_rate"
    assert line.health.rate_hz == pytest.approx(rate_hz, rel=0.001)
    assert f"{rate_hz:.3g} Hz instead of 1 Hz" in str(line.health)


def test_a_line_that_turns_to_2_hz_is_no_longer_trusted() -> None:
    line = PpsJudge()
    judge(pulses(20, jitter_ns=1000), line)
    faster = [T0 + 20 * NS_PER_S + k * NS_PER_S // 2 for k in range(24)]
    judged = judge(faster, line)
    assert line.health.state == "wrong_rate"
    assert {each.verdict for each in judged[-8:]} == {"searching"}


def test_noise_never_locks() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        line, t_ns = PpsJudge(), T0
        for _ in range(200):
            t_ns += round(rng.expovariate(1.0) * NS_PER_S) + 1
            line.push(NodeNs(t_ns))
        assert line.health.counts.get("good", 0) == 0


def test_a_line_that_moves_its_second_is_found_again_within_4_pulses() -> None:
    line = PpsJudge()
    judge(pulses(20, jitter_ns=1000), line)
    moved = [stamp + 250_000_000 for stamp in pulses(10, first=20, jitter_ns=1000)]
    found = [each.verdict for each in judge(moved, line)]
    assert found == ["spurious"] * 3 + ["good"] * 7
    assert line.health.counts["regridded"] == 1


def test_equal_and_backward_stamps_are_named_and_change_nothing() -> None:
    stamps = pulses(10)
    judged = judge([*stamps, stamps[-1], stamps[-2], *pulses(3, first=10)])
    assert [each.verdict for each in judged[10:]] == ["equal", "backwards", "good", "good", "good"]
    assert judged[12].num_missed == 0


def test_one_stamp_from_the_far_future_does_not_block_the_line() -> None:
    line = PpsJudge()
    judge([*pulses(10), T0 + 10**18, *pulses(12, first=10)], line)
    assert line.health.counts["backwards"] == 3
    assert line.health.state == "locked"


def test_silence_is_named_after_five_seconds_and_ends_with_a_pulse() -> None:
    line = PpsJudge()
    stamps = pulses(10)
    judge(stamps, line)
    line.pass_time(NodeNs(stamps[-1] + 4 * NS_PER_S))
    assert line.health.state == "locked"
    line.pass_time(NodeNs(stamps[-1] + 6 * NS_PER_S))
    assert line.health.state == "silent"
    assert "no pulses" in str(line.health)
    judged = judge(pulses(1, first=16), line)
    assert judged[0].verdict == "good"
    assert judged[0].num_missed == 6
    assert line.health.state == "locked"


def test_a_line_that_never_pulsed_is_silent_not_searching_for_ever() -> None:
    line = PpsJudge()
    for second in range(7):
        line.pass_time(NodeNs(T0 + second * NS_PER_S))
    assert line.health.state == "silent"
    assert line.health.rate_hz is None


def test_after_a_long_gap_the_grid_is_found_anew() -> None:
    found = verdicts(pulses(10) + [stamp + 400_000_000 for stamp in pulses(5, first=200)])
    assert found[10:] == ["searching"] * 3 + ["good"] * 2


def test_every_second_pulse_lost_is_missed_pulses_not_another_rate() -> None:
    line = PpsJudge()
    judged = judge(pulses(60)[::2], line)
    assert line.health.state == "locked"
    assert all(each.num_missed == 1 for each in judged[4:])


def test_a_second_is_named_only_where_no_other_is_possible() -> None:
    second_ns = 1_750_000_000 * NS_PER_S
    assert name_second(second_ns + 80_000_000, error_ns=300_000_000) == second_ns
    assert name_second(second_ns - 80_000_000, error_ns=300_000_000) == second_ns
    assert name_second(second_ns + 250_000_000, error_ns=300_000_000) is None
    assert name_second(second_ns, error_ns=600_000_000) is None
