"""Which streams are not known to be synchronised, and why: the warning on MQTT and on the page.

A stream is known to be while its node's clock has a stated offset: the reference's, one that
locked, or one held over within its interval. Everything else is warned of.
"""

from collections.abc import Mapping
from typing import Literal

from coeval.time import RefNs
from coeval_aggregator.clocks import NodeClock

Reason = Literal["no_reference", "no_estimate", "unrelated"]
"""`no_reference`: no node's clock is the timeline yet; `no_estimate`: nothing is known of the
clock, or what was is too old; `unrelated`: the evidence says that the node sees another scene."""

Change = tuple[str, str, Reason | None]
"""Node, stream, and why it is not synchronised; None: it is now."""


def why_unsynchronised(clock: NodeClock, *, t_ref_ns: RefNs, has_reference: bool) -> Reason | None:
    """Why a clock's streams are not known to be synchronised; None: they are."""
    if not has_reference:
        return "no_reference"
    if clock.offset_ns(t_ref_ns) is not None:
        return None
    return "unrelated" if clock.status == "unrelated" else "no_estimate"


class SyncWatch:
    """Remembers what was warned of, and tells what changed."""

    def __init__(self) -> None:
        self._reasons: dict[tuple[str, str], Reason | None] = {}

    def update(self, reasons: Mapping[tuple[str, str], Reason | None]) -> list[Change]:
        """Take in, by node and stream, why each is not synchronised; None: it is.

        Returns:
            What is new: a stream that is synchronised from the first is none.
        """
        changes: list[Change] = []
        for (node, stream), reason in reasons.items():
            before = self._reasons.get((node, stream))
            self._reasons[node, stream] = reason
            if reason != before:
                changes.append((node, stream, reason))
        return changes

    @property
    def num_streams(self) -> int:
        """How many streams there are."""
        return len(self._reasons)

    def summary(self) -> dict[str, object]:
        """The streams that are warned of, with the reason, and how many streams there are."""
        return {
            "streams": {
                f"{node}/{stream}": reason
                for (node, stream), reason in sorted(self._reasons.items())
                if reason is not None
            },
            "num_streams": len(self._reasons),
        }
