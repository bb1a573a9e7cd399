"""Whose clocks are estimated next: one estimate at a time, in a worker thread, the longest waiting
session first. All sessions together spend at most half of the time on estimates."""

import logging
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from coeval.errors import NotEnoughEvidence
from coeval.estimates import SessionEstimate
from coeval_aggregator.estimate import estimate_clocks
from coeval_aggregator.session import Session

logger = logging.getLogger(__name__)


class Estimating:
    """Hands snapshots of sessions to the worker and takes the results over."""

    def __init__(self, worker: ThreadPoolExecutor, *, estimate_s: float) -> None:
        """Set the rhythm.

        Args:
            worker: where estimates run.
            estimate_s: least time between two estimates of a session.
        """
        self._worker, self._estimate_s = worker, estimate_s
        self._due_s: dict[str, float] = {}
        self._running: tuple[str, Session, Future[SessionEstimate]] | None = None
        self._began_s = self._free_s = time.monotonic()
        self.cpu_s = 0.0
        """Processor time of all estimates so far."""

    def step(self, sessions: Mapping[str, Session], *, now_s: float) -> None:
        """Take over what is finished, and begin what is due."""
        if self._running is not None:
            name, session, estimate = self._running
            if not estimate.done():
                return
            self._running = None
            self._free_s = 2 * now_s - self._began_s
            self._due_s[name] = max(self._due_s[name], self._free_s)
            apply(session, estimate, now_s=now_s)
        if now_s < self._free_s:
            return
        due = [name for name in sessions if self._due_s.get(name, now_s) <= now_s]
        for name in sorted(due, key=lambda name: self._due_s.get(name, now_s)):
            self._due_s[name] = now_s + self._estimate_s
            if self._begin(name, sessions[name], now_s=now_s):
                return

    def _begin(self, name: str, session: Session, *, now_s: float) -> bool:
        """Hand a session to the worker; False where there is nothing to compare."""
        snapshot = session.snapshot()
        if snapshot is None:
            session.tell_clocks(now_s=now_s)
            return False
        self._began_s = now_s
        estimate = self._worker.submit(
            self._estimate,
            snapshot.tracks,
            reference=snapshot.reference,
            evidence=snapshot.lines,
            pairs=snapshot.pairs,
            t_ref_ns=snapshot.t_ref_ns,
            max_offset_s=session.config.max_offset_s,
        )
        self._running = name, session, estimate
        return True

    def _estimate(self, *args: Any, **options: Any) -> SessionEstimate:
        """Runs in the worker."""
        began_s = time.thread_time()
        try:
            return estimate_clocks(*args, **options)
        finally:
            self.cpu_s += time.thread_time() - began_s


def apply(session: Session, estimate: "Future[SessionEstimate]", *, now_s: float) -> None:
    """Take over a finished estimate; one that failed changes nothing."""
    failure = estimate.exception()
    if failure is None:
        found = estimate.result()
        session.note_pairs(found.pairs, found.contradictions)
        session.apply(found.nodes, now_s=now_s)
        return
    if isinstance(failure, NotEnoughEvidence):
        logger.debug("no estimate reason=%s", failure)
    else:
        session.told.counts["failed_estimates"] += 1
        logger.error("estimate failed", exc_info=failure)
    session.tell_clocks(now_s=now_s)
