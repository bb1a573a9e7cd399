"""Jumps of clocks that another source may yet contradict, for as long as it may."""

from collections.abc import Mapping
from dataclasses import dataclass

from coeval.clock_filter import ClockFilter
from coeval.evidence import Evidence
from coeval.innovation import innovation
from coeval.source_trust import SourceTrust
from coeval.time import NS_PER_S
from coeval.witnesses import GATE_SIGMAS

DOUBT_S = 120.0
"""For so long after a jump another source may show that there was none."""


@dataclass(slots=True)
class Doubt:
    """A jump that another source may yet contradict."""

    clock: str
    """The clock that seems to have stepped."""
    source: str
    """The source that said so."""
    size_ns: float
    """By how much."""
    t_root_ns: int
    """When, on the root's clock."""
    without: ClockFilter
    """The states without the jump."""
    since: list[Evidence]
    """The samples that showed it, and all that came later."""
    is_shared: bool
    """Whether another source speaks of the clock, so that a contradiction may come."""


class JumpDoubts:
    """The doubted jumps of a session, one a clock."""

    def __init__(self) -> None:
        self._doubts: list[Doubt] = []

    def add(self, doubt: Doubt) -> None:
        """Doubt a jump; one before of the same clock is believed."""
        self._doubts = [d for d in self._doubts if d.clock != doubt.clock] + [doubt]

    def note(self, evidence: Evidence) -> None:
        """Remember a sample, to be weighed again by the states without the jump."""
        for doubt in self._doubts:
            if evidence.first in doubt.without and evidence.second in doubt.without:
                doubt.since.append(evidence)

    def sizes_ns(self, clock: str) -> list[float]:
        """How far the clock may be off, if another source contradicts."""
        return [abs(d.size_ns) for d in self._doubts if d.clock == clock and d.is_shared]

    def refuted_by(
        self, evidence: Evidence, filter_: ClockFilter, *, sources: Mapping[str, SourceTrust]
    ) -> Doubt | None:
        """The jump that a sample shows to be none, which is doubted no more; None: it shows that
        of none. Those that it confirms, or that are too old, are believed.

        Args:
            evidence: the sample.
            filter_: the states with the jumps.
            sources: what was learnt of each source.
        """
        for doubt in list(self._doubts):
            if filter_.t_root_ns - doubt.t_root_ns > DOUBT_S * NS_PER_S:
                self._doubts.remove(doubt)
                continue
            clocks = {evidence.first, evidence.second}
            known = all(clock in doubt.without for clock in clocks)
            if evidence.source == doubt.source or doubt.clock not in clocks or not known:
                continue
            doubt.without.predict(filter_.t_root_ns)
            scale = sources[evidence.source].scale
            fits = [
                innovation(states, evidence, scale=scale).sigmas <= GATE_SIGMAS
                for states in (filter_, doubt.without)
            ]
            if fits == [True, False]:
                self._doubts.remove(doubt)
            elif fits == [False, True]:
                self._doubts.remove(doubt)
                return doubt
        return None

    def forget(self, clock: str) -> None:
        """A clock started anew: states that hold it are no longer what might have been."""
        self._doubts = [doubt for doubt in self._doubts if clock not in doubt.without]
