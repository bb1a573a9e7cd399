"""What one stream's scores are judged by; usual for it is what it passes half of its time.

Rates are counted on generated scenes. A real stream may lie above those all along with nothing
wrong; against its own past that is no anomaly.
"""

from bisect import bisect_left, insort
from collections import deque
from math import isfinite, nan

from coeval.alarm_rate import TICKS_PER_S, Lasting

DELAY_S = 10.0
"""The last seconds do not count: the beginning of a fault is not measured against itself."""
MEMORY_S = 300.0
"""What is older does not count either."""
LEAST_S = 20.0
"""So much has to be known of a stream before anything is usual for it."""


class OwnUsual:
    """Follows the scores of one stream, tick after tick.

    The half makes it slow to learn a fault: only what lasts as long as the calm before it moves it.
    """

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._latest: deque[float] = deque(maxlen=round(DELAY_S * TICKS_PER_S))
        self._past: deque[float] = deque(maxlen=round(MEMORY_S * TICKS_PER_S))
        self._sorted: list[float] = []
        """The same, in order: twenty streams would spend a millisecond a tick on sorting."""

    def push(self, score: float) -> float | None:
        """The score that was usual up to DELAY_S ago; None: too little is known.

        Args:
            score: of the tick that follows, at which the stream is judged.
        """
        if len(self._latest) == self._latest.maxlen:
            self._keep(self._latest[0])
        self._latest.append(score)
        if len(self._past) < LEAST_S * TICKS_PER_S:
            return None
        n = len(self._sorted)
        return 0.5 * (self._sorted[(n - 1) // 2] + self._sorted[n // 2])

    def _keep(self, score: float) -> None:
        if not isfinite(score):
            return  # of rows that are no numbers; it has no place in an order
        if len(self._past) == self._past.maxlen:
            del self._sorted[bisect_left(self._sorted, self._past[0])]
        self._past.append(score)
        insort(self._sorted, score)


class OwnPast:
    """Follows the scores of one stream: how high each lasted, beside what was usual before it."""

    def __init__(self) -> None:
        """Begin with nothing known."""
        self._lasting, self._usual = Lasting(), OwnUsual()

    def push(self, score: float) -> tuple[float, float]:
        """What the tick that follows is judged by.

        Args:
            score: of that tick.

        Returns:
            As high as the score lasted, and what was usual; NaN where that is not known.
        """
        lasted = self._lasting.push(score)
        usual = self._usual.push(lasted)
        return lasted, nan if usual is None else usual
