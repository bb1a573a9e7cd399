"""The promptest arrivals of a minute: how a clock that stamps things stands to the node's own.

A message is never early. So the least of arrival − stamp is the difference of the two clocks plus
the least latency there is, and what came later than that was held up on its way.
"""

from collections import deque

from coeval.time import NS_PER_S

WINDOW_NS = 60 * NS_PER_S
"""A difference of 100 ppm in rate is 6 ms in that time."""
STEP_NS = 900_000_000
STEPPED = 3
"""So many arrivals in a row this much later than the promptest: the other clock was set."""


class Promptest:
    """Keeps the arrivals of the last minute."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, int]] = deque()
        self._num_stepped = 0

    def push(self, t_node_ns: int, stamp_ns: int) -> int:
        """One arrival; the least of node − stamp in ns among those of the last minute.

        Args:
            t_node_ns: when it arrived, on the node's clock.
            stamp_ns: its stamp, on the other clock.
        """
        difference_ns = t_node_ns - stamp_ns
        while self._kept and t_node_ns - self._kept[0][0] > WINDOW_NS:
            self._kept.popleft()
        least_ns = min((each for _, each in self._kept), default=difference_ns)
        self._num_stepped = self._num_stepped + 1 if difference_ns - least_ns > STEP_NS else 0
        if self._num_stepped >= STEPPED:
            self._kept = deque(list(self._kept)[-STEPPED + 1 :])
        self._kept.append((t_node_ns, difference_ns))
        return min(each for _, each in self._kept)
