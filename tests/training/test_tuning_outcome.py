"""Whether fine-tuning helped is said by what was measured before and after."""

from typing import Any

import pytest

from coeval_training.tuning_outcome import outcome_of


def row(own: float | None, generated: float) -> dict[str, Any]:
    told = {} if own is None else {"imu-text": {"within_100ms": own}}
    return {"own": told, "pairs": {"imu-text": {"within_100ms": generated}}}


@pytest.mark.parametrize(
    ("before", "after", "is_better", "said"),
    [
        (row(40, 90), row(60, 89), True, "better on your recordings' ends"),
        (row(40, 90), row(40, 95), False, "do not ship these; more --steps"),
        (row(88, 90), row(89, 90), False, "than by chance"),
        (row(40, 90), row(60, 80), False, "being forgotten"),
        (row(None, 90), row(None, 95), False, "not known: no recording is so long"),
    ],
)
def test_better_is_only_what_is_better_on_own_ends_and_forgets_nothing(
    before: dict[str, Any], after: dict[str, Any], is_better: bool, said: str
) -> None:
    outcome = outcome_of(before, after)
    assert outcome.is_better == is_better
    assert said in outcome.verdict


def test_pairs_that_were_not_measured_both_times_do_not_count() -> None:
    other = row(60, 90)
    other["own"]["audio-text"] = {"within_100ms": 0}
    assert outcome_of(row(40, 90), other).own.by_pair == {"imu-text": (40, 60)}
