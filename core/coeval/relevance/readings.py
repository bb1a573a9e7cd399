"""A sensor that is stuck: the same readings for longer than it ever gave the same ones before.

How long that is differs from sensor to sensor. One whose every reading has noise never repeats
itself, and some seconds of the same number say enough, once that was seen for half a minute: a
mouse that is moved does not repeat itself either, until it is let go. A switch, a counter, a
thermometer of coarse steps or a parked car's speed rests for long between two changes: what rested
before may rest again, and it takes several times its longest rest.
"""

import numpy as np

from coeval.relevance.judgement import Finding
from coeval.samples import MetadataBlock
from coeval.time import NS_PER_S

LEAST_READINGS = 20
"""So many equal readings in a row at least."""
REST_READINGS = 10
"""A sensor that gave so many equal readings in a row before is one that rests."""
LEAST_CHANGES = 20
"""Before so many changes nobody knows how a sensor rests."""
TIMES_LONGEST = 6
"""Rests of one kind differ: beyond this many times the longest one it is no rest."""
NOISY_NS = 5 * NS_PER_S
RESTING_NS = 60 * NS_PER_S
SEEN_SHARE = 2
"""Each second in which a sensor never repeated itself takes so many off RESTING_NS, to NOISY_NS."""


class ReadingsJudge:
    """Judges numeric channels together: a stream is stuck where all of its channels are."""

    def __init__(self) -> None:
        self._last: np.ndarray | None = None
        self._changed_ns = 0
        """When the readings last changed."""
        self._num_same = 0
        """Readings since then that were the same."""
        self._num_changes = 0
        self._began_ns = 0
        """When the first change was seen."""
        self._longest_ns = self._longest_same = 0
        """The longest rest so far: its time, and its readings."""

    def push(self, sample: MetadataBlock) -> list[Finding]:
        """Add readings."""
        if not len(sample.values):
            return []
        values = np.nan_to_num(sample.values, nan=np.inf)  # no reading is like no reading
        found: list[Finding] = []
        if self._last is None or self._last.shape != values[0].shape:
            self._last = values[0]
            self._changed_ns, self._num_same = int(sample.t_node_ns[0]), 0
            self._num_changes = self._longest_ns = self._longest_same = 0
            found.append(Finding(t_node_ns=self._changed_ns))
        is_new = np.any(values != np.concatenate([self._last[None], values[:-1]]), axis=1)
        self._last = values[-1]
        changes = np.flatnonzero(is_new)
        at = 0
        for change in changes.tolist():
            # Findings of a noisy sensor's every reading would say the same: only rests are told.
            if change - at + self._num_same >= LEAST_READINGS:
                found += self._resting(sample.t_node_ns[at:change])
                found.append(Finding(t_node_ns=int(sample.t_node_ns[change])))
            else:
                self._num_same += change - at
            t_ns = int(sample.t_node_ns[change])
            self._learn(t_ns)
            at = change + 1
        if len(changes):
            found.append(Finding(t_node_ns=self._changed_ns))
        return found + self._resting(sample.t_node_ns[at:])

    def advance(self, t_node_ns: int) -> list[Finding]:
        """A sensor that sends nothing is no stuck one."""
        del t_node_ns
        return []

    def _resting(self, t_node_ns: np.ndarray) -> list[Finding]:
        """Take in readings that are the same as the last ones."""
        self._num_same += len(t_node_ns)
        if not len(t_node_ns):
            return []
        t_ns = int(t_node_ns[-1])
        return [
            Finding(
                t_node_ns=t_ns,
                reason="stuck",
                since_node_ns=self._changed_ns,
                limit_ns=self._limit_ns(t_ns),
            )
        ]

    def _limit_ns(self, t_ns: int) -> int:
        """How long the readings must be the same, by how the sensor rested before."""
        limit_ns = TIMES_LONGEST * self._longest_ns
        rests = self._longest_same >= REST_READINGS or self._num_changes < LEAST_CHANGES
        seen_ns = 0 if rests else self._changed_ns - self._began_ns
        limit_ns = max(limit_ns, RESTING_NS - SEEN_SHARE * seen_ns, NOISY_NS)
        if self._num_same < LEAST_READINGS:
            limit_ns = max(limit_ns, t_ns - self._changed_ns + 1)
        return limit_ns

    def _learn(self, t_ns: int) -> None:
        """Take in that the readings changed."""
        rest_ns = t_ns - self._changed_ns
        if self._num_changes and rest_ns <= self._limit_ns(t_ns):  # a fault is no rest
            self._longest_ns = max(self._longest_ns, rest_ns)
            self._longest_same = max(self._longest_same, self._num_same)
        if not self._num_changes:
            self._began_ns = t_ns
        self._num_changes += 1
        self._changed_ns, self._num_same = t_ns, 0
