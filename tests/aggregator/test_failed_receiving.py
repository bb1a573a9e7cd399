"""A thread that ended by a defect is told of, and begun anew ever more slowly."""

from coeval_aggregator.failed_receiving import CALM_S, LONGEST_RETRY_S, FailedReceiving


def test_a_failure_is_told_until_receiving_has_been_well_for_a_while() -> None:
    failed = FailedReceiving()
    assert failed.problem(now_s=0.0) is None
    failed.note("RuntimeError: a defect", now_s=0.0)
    assert "RuntimeError: a defect" in (failed.problem(now_s=1000.0) or "")
    assert failed.is_due(now_s=1000.0)
    assert failed.problem(now_s=999.9 + CALM_S) is not None
    assert failed.problem(now_s=1000.0 + CALM_S) is None


def test_it_is_begun_anew_once_a_failure() -> None:
    failed = FailedReceiving()
    failed.note("", now_s=0.0)
    assert [failed.is_due(now_s=t_s) for t_s in (0.9, 1.0, 100.0)] == [False, True, False]


def test_what_fails_again_is_waited_for_longer_up_to_a_bound_and_counted() -> None:
    failed = FailedReceiving()
    waited = []
    for _ in range(8):
        failed.note("", now_s=0.0)
        waited.append(next(s for s in range(100) if failed.is_due(now_s=float(s))))
    assert waited == [1, 2, 4, 8, 16, *[LONGEST_RETRY_S] * 3]
    assert "8 times in a row" in (failed.problem(now_s=0.0) or "")
