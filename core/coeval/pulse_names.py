"""Which second of UTC a pulse marks, as a GNSS receiver's sentences tell: pulses have no names.

In: stamps of good pulses, and the sentences that name a second, each some 50 to 900 ms after the
pulse that it names. Out: names of pulses as they come, and the place of a named instant on the
node's clock. A sentence names the last pulse before it; once three in a row agree, whole seconds of
the node's clock carry the name on, so that no pulse waits for its sentence.
"""

import threading
from collections import Counter, deque
from dataclasses import dataclass

from coeval.time import NS_PER_S, NodeNs

LEAST_LATE_NS, MOST_LATE_NS = 10_000_000, 950_000_000
"""A sentence comes so long after its pulse; nearer to a pulse it may belong to either."""
AGREEING = 3
"""So many sentences in a row that agree make a name, or change it (a leap second, a receiver that
learnt how many there were)."""
HELD_NS = 64 * NS_PER_S
"""For so long a name is carried on without a sentence: a crystal errs by 500 ppm at most, which is
32 ms then."""
PLACED_NS = 5 * NS_PER_S
"""For so long an instant is placed by a pulse: 100 ppm is 0.5 ms then."""
KEPT_PULSES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedPulse:
    """A pulse and its second."""

    t_node_ns: int
    """When the node stamped it."""
    t_utc_ns: int
    """The second."""

    def utc_at(self, t_node_ns: int) -> int:
        """The second that a pulse at `t_node_ns` marks, by counting seconds from this one."""
        num_since = (t_node_ns - self.t_node_ns + NS_PER_S // 2) // NS_PER_S
        return self.t_utc_ns + num_since * NS_PER_S


class PulseNames:
    """Names one line's pulses; taken to by the thread that reads it and the receiver's own."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        """Sentences: agreed, disagreed, renamed, between (too near a pulse), no_pulse, invalid."""
        self._lock = threading.Lock()
        self._pulses: deque[int] = deque(maxlen=KEPT_PULSES)
        self._name: NamedPulse | None = None
        self._is_doubted = False
        self._candidate: NamedPulse | None = None
        self._num_agreeing = 0

    def pulse(self, t_node_ns: NodeNs) -> int | None:
        """Take in a good pulse; its second in ns of UTC, None where nothing says which."""
        with self._lock:
            self._pulses.append(t_node_ns)
            if self._name is None or self._is_doubted:
                return None
            if not 0 <= t_node_ns - self._name.t_node_ns <= HELD_NS:
                return None
            return self._name.utc_at(t_node_ns)

    def sentence(self, t_node_ns: NodeNs, t_utc_ns: int | None) -> None:
        """Take in a sentence.

        Args:
            t_node_ns: when its first byte came.
            t_utc_ns: the whole second that it names; None where it names none that can be used (no
                fix, a leap second, a date that cannot be): names are then held back until the next.
        """
        with self._lock:
            if t_utc_ns is None:
                self._doubt("invalid")
                return
            before = [pulse for pulse in self._pulses if pulse <= t_node_ns]
            late_ns = t_node_ns - before[-1] if before else NS_PER_S
            if late_ns > MOST_LATE_NS:
                self.counts["between" if late_ns < NS_PER_S else "no_pulse"] += 1
            elif late_ns < LEAST_LATE_NS:
                self.counts["between"] += 1
            else:
                self._take(NamedPulse(t_node_ns=before[-1], t_utc_ns=t_utc_ns))

    def place(self, t_utc_ns: int) -> NodeNs | None:
        """An instant of UTC on the node's clock; None without a named pulse within 5 s of it."""
        with self._lock:
            if self._name is None or self._is_doubted:
                return None
            since_ns = t_utc_ns - self._name.t_utc_ns
            if abs(since_ns) > PLACED_NS:
                return None
            return NodeNs(self._name.t_node_ns + since_ns)

    def _doubt(self, why: str) -> None:
        self.counts[why] += 1
        self._is_doubted = True
        self._candidate, self._num_agreeing = None, 0

    def _take(self, told: NamedPulse) -> None:
        """One sentence that names a pulse."""
        name = self._name
        if name is not None and told.t_node_ns - name.t_node_ns > HELD_NS:
            name = self._name = None
        if name is not None and name.utc_at(told.t_node_ns) == told.t_utc_ns:
            self.counts["agreed"] += 1
            self._name, self._is_doubted, self._candidate = told, False, None
            return
        if name is not None:
            self.counts["disagreed"] += 1
            self._is_doubted = True
        agrees = (
            self._candidate is not None
            and self._candidate.utc_at(told.t_node_ns) == told.t_utc_ns
            and told.t_node_ns > self._candidate.t_node_ns
        )
        self._num_agreeing = self._num_agreeing + 1 if agrees else 1
        self._candidate = told
        if self._num_agreeing >= AGREEING:
            self.counts["agreed" if name is None else "renamed"] += 1
            self._name, self._is_doubted, self._candidate = told, False, None
