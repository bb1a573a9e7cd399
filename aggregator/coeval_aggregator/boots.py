"""Which run of a node is heard: a restart is followed, a second node of the same id is not.

Every run has a random boot id. A new one that appears while the old one is alive is either a
restart whose last will is late, or another device with the same id: it waits until the old one
is silent or says goodbye. If the old one speaks again meanwhile, there are two.
"""

from dataclasses import dataclass, field
from typing import Literal

ALIVE_S = 10.0
"""A run that said nothing for so long has ended."""
MAX_RIVALS = 32

Verdict = Literal["current", "new", "rival"]


@dataclass(slots=True)
class BootGuard:
    """Decides for one node whose blocks count."""

    alive_s: float = ALIVE_S
    """Silence after which a run has ended."""
    current: int | None = None
    """The run that is heard; None: none yet."""
    duplicates: set[int] = field(default_factory=set)
    """Runs found to be alive beside the current one."""
    _last_s: float = 0.0
    _is_offline: bool = False
    _waiting: set[int] = field(default_factory=set)

    def judge(self, boot_id: int, *, now_s: float) -> Verdict:
        """Note a sign of life of a run.

        Returns:
            `current`: count it; `new`: count it, the run before has ended; `rival`: leave it out.
        """
        if self.current is None:
            self.current, self._last_s = boot_id, now_s
            return "new"
        if boot_id == self.current:
            self._last_s = now_s
            self.duplicates |= self._waiting
            self._waiting.clear()
            return "current"
        if self._is_offline or now_s - self._last_s > self.alive_s:
            self.current, self._last_s, self._is_offline = boot_id, now_s, False
            self._waiting.clear()
            self.duplicates.discard(boot_id)
            return "new"
        if boot_id not in self.duplicates and len(self._waiting | self.duplicates) < MAX_RIVALS:
            self._waiting.add(boot_id)
        return "rival"

    def went_offline(self, boot_id: int) -> None:
        """Note that a run said goodbye, or its last will did."""
        if boot_id == self.current:
            self._is_offline = True
        self._waiting.discard(boot_id)
        self.duplicates.discard(boot_id)

    def came_online(self, boot_id: int) -> None:
        """Note a birth: a run that reconnects is no longer offline."""
        if boot_id == self.current:
            self._is_offline = False
