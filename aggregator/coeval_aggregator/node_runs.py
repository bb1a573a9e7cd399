"""Which run of every node is heard, and who else goes by its name."""

import logging

from coeval_aggregator.boots import BootGuard, Verdict
from coeval_aggregator.told import Told

logger = logging.getLogger(__name__)

MOST_NODES = 10_000
"""Nodes beyond this many that send no stream are not heard, nor what kind of clock they have: names
are free to invent."""
MOST_TOLD = 1000
"""Duplicates beyond these are not told."""


class NodeRuns:
    """The runs of a session's nodes."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._guards: dict[str, BootGuard] = {}
        self._told_duplicates: set[tuple[str, int]] = set()

    def __len__(self) -> int:
        return len(self._guards)

    def has_room_for(self, node: str) -> bool:
        """Whether a node is known, or may become so without a stream."""
        return node in self._guards or len(self._guards) < MOST_NODES

    def judge(self, node: str, boot_id: int, *, now_s: float) -> Verdict:
        """Note a sign of life of a run; whether it is heard. Others of its name are told once."""
        guard = self._guards.get(node)
        if guard is None:
            guard = self._guards[node] = BootGuard()
        verdict = guard.judge(boot_id, now_s=now_s)
        self._tell_duplicates(node, guard)
        return verdict

    def note_state(self, node: str, boot_id: int, *, is_offline: bool) -> None:
        """Note a birth or a last will; of a node that was not heard yet it says nothing."""
        guard = self._guards.get(node)
        if guard is None:
            return
        if is_offline:
            guard.went_offline(boot_id)
        else:
            guard.came_online(boot_id)

    def current(self, node: str) -> int:
        """The boot id of the run that is heard; 0: none yet."""
        guard = self._guards.get(node)
        return 0 if guard is None else guard.current or 0

    def _tell_duplicates(self, node: str, guard: BootGuard) -> None:
        for boot_id in guard.duplicates:
            if (node, boot_id) in self._told_duplicates or len(self._told_duplicates) > MOST_TOLD:
                continue
            self._told_duplicates.add((node, boot_id))
            used, other = f"{guard.current or 0:016x}", f"{boot_id:016x}"
            logger.warning(
                "two nodes of one id node=%s used_boot=%s ignored_boot=%s; give one another id",
                node,
                used,
                other,
            )
            self._told.event("duplicate", node, used_boot=used, ignored_boot=other)
