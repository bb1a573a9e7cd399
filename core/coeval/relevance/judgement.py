"""What is said of one moment of a stream: whether it added anything to what was there before."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, get_args

Reason = Literal["frozen", "dark", "silent", "stuck", "spam"]
REASONS: tuple[Reason, ...] = get_args(Reason)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Whether a stream said anything new at one moment."""

    t_node_ns: int
    """The moment."""
    reason: Reason | None = None
    """Why it added nothing; None: it said something."""
    since_node_ns: int = 0
    """With a reason: since when nothing was added."""
    limit_ns: int = 0
    """With a reason: how long that must last before it is no silence that says something."""


class Judge(Protocol):
    """Looks at one modality's samples."""

    def push(self, sample: Any, /) -> list[Finding]:
        """Add a sample; what it says of the moments up to its end, in time order."""

    def advance(self, t_node_ns: int, /) -> list[Finding]:
        """What the mere passing of time says, no sample having come until then."""
