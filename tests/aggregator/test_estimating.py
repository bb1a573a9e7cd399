"""Sessions take turns at the estimator, and a slow one leaves half of the time to others."""

from concurrent.futures import Future
from typing import Any, cast

import pytest

from coeval.errors import NotEnoughEvidence
from coeval.estimates import SessionEstimate
from coeval_aggregator.estimating import Estimating
from coeval_aggregator.session import Session

from .test_session import two_nodes


class SlowWorker:
    """Keeps what is handed to it until it is told to finish."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def submit(self, *_arguments: object, **_named: object) -> "Future[Any]":
        self.futures.append(Future())
        return self.futures[-1]

    def finish(self) -> None:
        self.futures[-1].set_result(SessionEstimate(reference="cam", nodes={}, pairs=()))


class Bench:
    """Two sessions, one worker and a clock."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {name: two_nodes().session for name in ("a", "b")}
        self.worker = SlowWorker()
        self.told: list[str] = []
        for name, session in self.sessions.items():
            session.apply = lambda *_, name=name, **__: self.told.append(name)  # type: ignore[method-assign]
        self.estimating = Estimating(cast("Any", self.worker), estimate_s=3.0)
        self.start_s = self.estimating._free_s

    def at(self, t_s: float) -> int:
        """Step at an instant; how many estimates were begun so far."""
        self.estimating.step(self.sessions, now_s=self.start_s + t_s)
        return len(self.worker.futures)


def test_one_estimate_runs_at_a_time_and_sessions_take_turns() -> None:
    bench = Bench()
    assert [bench.at(0.0), bench.at(0.1), bench.at(0.2)] == [1, 1, 1]
    for done_s, next_s in ((0.3, 0.8), (1.0, 3.5), (3.6, 4.5), (4.6, 5.0)):
        bench.worker.finish()
        bench.at(done_s)
        bench.at(next_s)
    assert bench.told == ["a", "b", "a", "b"]


def test_as_long_as_an_estimate_took_nothing_is_estimated() -> None:
    bench = Bench()
    bench.at(0.0)
    bench.worker.finish()
    assert [bench.at(2.0), bench.at(3.9), bench.at(4.1)] == [1, 1, 2]


def test_a_session_waits_for_its_own_time() -> None:
    bench = Bench()
    del bench.sessions["b"]
    bench.at(0.0)
    bench.worker.finish()
    assert [bench.at(0.1), bench.at(2.9), bench.at(3.1)] == [1, 1, 2]


@pytest.mark.parametrize("error", [NotEnoughEvidence("nothing"), ValueError("a defect")])
def test_an_estimate_that_fails_changes_nothing_and_the_next_one_comes(error: Exception) -> None:
    bench = Bench()
    bench.at(0.0)
    bench.worker.futures[-1].set_exception(error)
    bench.at(0.1)
    assert bench.told == []
    assert bench.at(0.3) == 2
    counted = bench.sessions["a"].told.counts["failed_estimates"]
    assert counted == (1 if isinstance(error, ValueError) else 0)
