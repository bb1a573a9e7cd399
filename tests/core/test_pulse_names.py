"""Which second a pulse marks, as sentences tell that come after it."""

import pytest

from coeval.pulse_names import HELD_NS, PLACED_NS, PulseNames
from coeval.time import NS_PER_S, NodeNs

BOOT_NS = 77_123_456_789
FIRST_UTC_NS = 1_764_000_000 * NS_PER_S
SKEW = 80e-6


def pulse_ns(k: int) -> NodeNs:
    """When the node, 80 ppm fast, stamps pulse k."""
    return NodeNs(BOOT_NS + round(k * NS_PER_S * (1 + SKEW)))


def utc_ns(k: int) -> int:
    return FIRST_UTC_NS + k * NS_PER_S


def tell(names: PulseNames, k: int, *, late_s: float = 0.3, ahead_s: int = 0) -> int | None:
    """Pulse k, and late_s after it the sentence about it, which may be whole seconds wrong."""
    named = names.pulse(pulse_ns(k))
    names.sentence(NodeNs(pulse_ns(k) + round(late_s * 1e9)), utc_ns(k + ahead_s))
    return named


@pytest.mark.parametrize("late_s", [0.02, 0.5, 0.94])
def test_pulses_are_named_once_three_sentences_agree(late_s: float) -> None:
    names = PulseNames()
    named = [tell(names, k, late_s=late_s) for k in range(6)]
    assert named == [None, None, None, utc_ns(3), utc_ns(4), utc_ns(5)]


def test_a_sentence_that_may_belong_to_either_pulse_names_none() -> None:
    names = PulseNames()
    assert [tell(names, k, late_s=0.005) for k in range(6)] == [None] * 6
    assert [tell(names, k, late_s=0.97) for k in range(6, 12)] == [None] * 6
    assert names.counts == {"between": 12}


def test_one_sentence_that_was_held_up_holds_names_back_and_changes_none() -> None:
    names = PulseNames()
    for k in range(4):
        tell(names, k)
    tell(names, 4, ahead_s=-1)
    assert tell(names, 5) is None
    assert tell(names, 6) == utc_ns(6)
    assert names.counts["disagreed"] == 1


def test_a_leap_second_renames_after_three_sentences_and_misnames_no_pulse_after_it() -> None:
    names = PulseNames()
    for k in range(10):
        tell(names, k)
    names.pulse(pulse_ns(10))  # 23:59:60, which POSIX has no name of its own for
    names.sentence(NodeNs(pulse_ns(10) + 300_000_000), None)
    named = [tell(names, k, ahead_s=-1) for k in range(11, 16)]
    assert named == [None, None, None, utc_ns(13), utc_ns(14)]
    assert names.counts["renamed"] == 1


def test_without_sentences_a_name_is_carried_on_for_a_minute_and_then_dropped() -> None:
    names = PulseNames()
    for k in range(4):
        tell(names, k)
    assert [names.pulse(pulse_ns(k)) for k in range(4, 66)] == [utc_ns(k) for k in range(4, 66)]
    assert names.pulse(pulse_ns(3 + HELD_NS // NS_PER_S + 1)) is None
    assert tell(names, 100) is None


def test_sentences_without_pulses_name_nothing() -> None:
    names = PulseNames()
    for k in range(5):
        names.sentence(NodeNs(pulse_ns(k) + 1), utc_ns(k))
    assert names.counts == {"no_pulse": 5}
    assert names.place(utc_ns(5)) is None


def test_a_fix_between_two_seconds_is_placed_by_the_named_pulse_before_it() -> None:
    names = PulseNames()
    assert names.place(utc_ns(0)) is None
    for k in range(4):
        tell(names, k)
    placed = names.place(utc_ns(3) + NS_PER_S // 5)
    assert placed == pulse_ns(3) + NS_PER_S // 5
    assert names.place(utc_ns(3) + PLACED_NS + 1) is None


def test_missing_pulses_do_not_shift_the_names() -> None:
    names = PulseNames()
    for k in (0, 1, 2, 3, 7, 8, 20):
        tell(names, k)
    assert names.pulse(pulse_ns(23)) == utc_ns(23)
