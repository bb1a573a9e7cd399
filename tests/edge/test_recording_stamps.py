"""Seconds as text and integer nanoseconds say the same thing, to the last digit."""

import pytest

from coeval_edge.stamps import seconds_to_ns, to_ns, to_text


@pytest.mark.parametrize(
    ("text", "t_ns"),
    [
        ("0", 0),
        ("1.5", 1_500_000_000),
        ("-0.000000001", -1),
        ("-4.7494800", -4_749_480_000),
        ("1700000000.123456789", 1_700_000_000_123_456_789),
        ("12.", 12_000_000_000),
        (" 3.25 ", 3_250_000_000),
        ("1e-3", 1_000_000),
        ("1.7e9", 1_700_000_000_000_000_000),
        ("0.0000000005", 0),
        ("0.0000000015", 2),
        ("+2", 2_000_000_000),
    ],
)
def test_text_becomes_the_nearest_nanosecond(text: str, t_ns: int) -> None:
    assert to_ns(text) == t_ns
    assert to_ns(to_text(t_ns)) == t_ns


@pytest.mark.parametrize("text", ["", "nan", "inf", "-inf", "noon", "1,5", "1700000000123", "1e99"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|seconds|years"):
        to_ns(text)


def test_a_float_is_taken_for_the_digits_it_prints() -> None:
    assert seconds_to_ns(0.1) == 100_000_000
    assert seconds_to_ns(3.217) == 3_217_000_000
