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
    problems: tuple[str, ...] = ()
    """Why it is degraded, one line each, a broker that is away apart."""
    store: StoreState | None = None
    """How the writing goes; None: nothing is kept."""
    estimating_cpu_s: float = 0.0
    """Processor time of all estimates of clocks so far."""
    sessions: Mapping[str, SessionView] = field(default_factory=dict)
    """The sessions served, by name."""

    def all_problems(self) -> list[str]:
        """What is wrong, one line each."""
        lost = [] if self.is_connected else ["broker: no connection"]
        return [*lost, *self.problems]
