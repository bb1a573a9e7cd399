"""How the clocks of a session went: what is told and kept of every estimate.

Sign: offset = node − reference; positive: the node is fast.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace

from coeval.estimates import NodeEstimate
from coeval.interval import NORMAL_95
from coeval.time import NS_PER_S, RefNs
from coeval_aggregator.clocks import ClockBook
from coeval_aggregator.node_runs import NodeRuns
from coeval_aggregator.store.records import ClockRecord
from coeval_aggregator.told import Moment, Told

logger = logging.getLogger(__name__)


class ClockLog:
    """Tells of jumps and of nodes that are unrelated, and keeps estimates, each once."""

    def __init__(self, told: Told, runs: NodeRuns) -> None:
        self._told, self._runs = told, runs
        self._num_jumps: dict[str, int] = {}
        self._kept_status: dict[str, tuple[str, int]] = {}
        """Status and instant of every node's clock as last handed to the store."""

    def tell_changes(
        self, estimates: Mapping[str, NodeEstimate], *, clocks: ClockBook, reference: str | None
    ) -> None:
        """Tell of what is new.

        Args:
            estimates: what was found.
            clocks: what was known before.
            reference: the node whose clock is the timeline.
        """
        for node, estimate in estimates.items():
            if estimate.status == "unrelated" and clocks[node].status != "unrelated":
                logger.warning("node unrelated node=%s reference=%s", node, reference)
                self._told.event("unrelated", node, reference=reference)
            if estimate.status == "locked":
                for jump in estimate.jumps[self._num_jumps.get(node, 0) :]:
                    jump_s = jump.delta_ns / NS_PER_S
                    logger.warning("clock jumped node=%s jump_s=%.6f", node, jump_s)
                    self._told.event("jump", node, at_s=jump.t_ref_ns / NS_PER_S, jump_s=jump_s)
                self._num_jumps[node] = len(estimate.jumps)

    def keep(
        self, estimates: Mapping[str, NodeEstimate], *, at: Moment, covers_from_ns: RefNs
    ) -> None:
        """Keep every estimate that locks, and every change of status.

        Args:
            estimates: what was found.
            at: the newest instant of the timeline.
            covers_from_ns: where the material begins.
        """
        stated = {node: (each.status, int(at.t_ref_ns)) for node, each in estimates.items()}
        for node, estimate in estimates.items():
            before = self._kept_status.get(node)
            if before == stated[node] or (
                estimate.status != "locked" and before is not None and before[0] == estimate.status
            ):
                continue
            self._kept_status[node] = stated[node]
            self._told.keep(
                clock_record(
                    estimate,
                    at=at,
                    node=node,
                    boot_id=self._runs.current(node),
                    covers_from_ns=covers_from_ns,
                )
            )

    def forget(self, node: str) -> None:
        """A node's clock started anew."""
        self._num_jumps.pop(node, None)
        self._kept_status.pop(node, None)

    def forget_jumps(self) -> None:
        """The timeline is another one: its jumps are counted anew."""
        self._num_jumps.clear()


def clock_record(
    estimate: NodeEstimate, *, at: Moment, node: str, boot_id: int, covers_from_ns: RefNs
) -> ClockRecord:
    """An estimate as it is kept; without a line, only what it says of the node.

    Args:
        estimate: what was found; offset node − reference, positive: the node is fast.
        at: the newest instant of the timeline.
        node: the node.
        boot_id: the node's run.
        covers_from_ns: where the material begins.
    """
    told = ClockRecord(
        timeline=at.timeline,
        node=node,
        boot_id=boot_id,
        status=estimate.status,
        t_ref_ns=at.t_ref_ns,
        covers_from_ns=covers_from_ns,
        evidence=estimate.evidence,
    )
    line, ci95_ns, skew_ci95_ppb = estimate.line, estimate.ci95_ns, estimate.skew_ci95_ppb
    if line is None or ci95_ns is None or skew_ci95_ppb is None:
        return told
    return replace(
        told,
        t_ref_ns=line.t0_ref_ns,
        offset_ns=line.offset_ns,
        skew_ppb=line.skew_ppb,
        var_offset_ns2=(ci95_ns / NORMAL_95) ** 2,
        cov_offset_skew=estimate.cov_offset_skew,
        var_skew_ppb2=(skew_ci95_ppb / NORMAL_95) ** 2,
        jumps=tuple((jump.t_ref_ns, jump.delta_ns) for jump in estimate.jumps),
    )
