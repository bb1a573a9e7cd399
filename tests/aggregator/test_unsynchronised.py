"""Streams that are not known to be synchronised are warned of, once a change."""

from dataclasses import replace

import pytest

from coeval.time import RefNs
from coeval_aggregator.clocks import REFERENCE, UNKNOWN
from coeval_aggregator.unsynchronised import SyncWatch, why_unsynchronised

NOW = RefNs(0)
MIC = ("cam", "mic")


@pytest.mark.parametrize(
    ("clock", "has_reference", "reason"),
    [
        (UNKNOWN, False, "no_reference"),
        (UNKNOWN, True, "no_estimate"),
        (replace(UNKNOWN, status="unrelated"), True, "unrelated"),
        (REFERENCE, True, None),
    ],
)
def test_a_clock_without_an_offset_says_why(
    clock: object, has_reference: bool, reason: str | None
) -> None:
    found = why_unsynchronised(clock, t_ref_ns=NOW, has_reference=has_reference)  # type: ignore[arg-type]
    assert found == reason


def test_a_change_is_told_once_and_so_is_the_return() -> None:
    watch = SyncWatch()
    assert watch.update({MIC: "no_estimate"}) == [(*MIC, "no_estimate")]
    assert watch.update({MIC: "no_estimate"}) == []
    assert watch.update({MIC: None}) == [(*MIC, None)]


def test_a_stream_that_is_synchronised_from_the_first_is_no_news() -> None:
    watch = SyncWatch()
    assert watch.update({MIC: None}) == []
    assert watch.summary() == {"streams": {}, "num_streams": 1}


def test_the_summary_names_every_stream_that_is_warned_of() -> None:
    watch = SyncWatch()
    watch.update({MIC: None, ("wrist", "imu"): "unrelated"})
    assert watch.summary() == {"streams": {"wrist/imu": "unrelated"}, "num_streams": 2}
