"""A message to publish, as sessions hand it out."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A message to publish."""

    topic: str
    """Where it goes."""
    payload: bytes
    """What is said, as JSON."""
    retain: bool = False
    """Whether the broker keeps it for those who come later."""
    qos: int = 1
    """0 for what the next one replaces."""
