"""What is usual for one stream by its own past: the score that it passes half of its time.

Rates are counted on generated scenes. A real stream may lie above those all along with nothing
wrong; against its own past that is no anomaly.
"""

from collections import deque

import numpy as np

from coeval.alarm_rate import TICKS_PER_S

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

    def push(self, score: float) -> float | None:
        """The score that was usual up to DELAY_S ago; None: too little is known.

        Args:
            score: of the tick that follows, at which the stream is judged.
        """
        if len(self._latest) == self._latest.maxlen:
            self._past.append(self._latest[0])
        self._latest.append(score)
        if len(self._past) < LEAST_S * TICKS_PER_S:
            return None
        return float(np.median(np.array(self._past)))
