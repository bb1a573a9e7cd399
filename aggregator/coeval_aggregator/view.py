"""What the aggregator shows of itself: made by its loop, read by any thread, never changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coeval_aggregator.store.writer import StoreState


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionView:
    """A session as it is now."""

    facts: Mapping[str, Any]
    """Reference, counts, streams: as in its state topic."""
    clocks: Mapping[str, Mapping[str, Any]]
    """What was last stated of every node's clock, as in its clock topic."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The aggregator as it is now."""

    is_connected: bool = False
    """Whether the broker delivers to it."""
    problem: str | None = None
    """Why it is degraded; None: it is not, as far as the store is concerned."""
    store: StoreState | None = None
    """How the writing goes; None: nothing is kept."""
    estimating_cpu_s: float = 0.0
    """Processor time of all estimates of clocks so far."""
    sessions: Mapping[str, SessionView] = field(default_factory=dict)
    """The sessions served, by name."""

    def problems(self) -> list[str]:
        """What is wrong, one line each."""
        lost = [] if self.is_connected else ["broker: no connection"]
        return lost if self.problem is None else [*lost, self.problem]
