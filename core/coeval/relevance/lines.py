"""Lines that say nothing: the same line by the clock, or in a flood at a constant rate.

A line is spam where it comes when it must and says what it always says. What a clock prints comes
on a grid: it may miss a beat, but it does not drift, as steps, heart beats and people do. A stream
is irrelevant after nothing but spam for a while. That no line comes is information and never makes
it so.
"""

import re
from collections import OrderedDict, deque

import numpy as np

from coeval.relevance.judgement import Finding
from coeval.samples import TextLine
from coeval.time import NS_PER_S

NUMBERS = re.compile(r"0x[0-9a-f]+|[0-9a-f]*\d[0-9a-f]*", re.IGNORECASE)
NUM_TIMES = 32
"""Lines of one wording whose times are kept."""
LEAST_LINES = 12
"""Lines of one wording before they can be spam."""
GRID_SHARE = 0.02
"""Times stay within this share (1 σ) of their period around the grid. A heart or a walker, each
interval 3 % from the last and adding up, is four times as far away over 32 lines."""
SHORTEST_PERIOD_NS = NS_PER_S // 50
FLOOD_S = 10
FLOOD_PER_S = 10.0
FLOOD_SPREAD = 0.4
"""Standard deviation of a flood's lines a second against their mean: chance alone gives 0.3."""
SPAM_NS = 20 * NS_PER_S
MISSED_BEATS = 2
"""Spam that stops for so many beats has something to say."""
MOST_WORDINGS = 256


class Wording:
    """The times of lines that differ in numbers only."""

    def __init__(self) -> None:
        self.times_ns: deque[int] = deque(maxlen=NUM_TIMES)
        self.is_clocked = False
        """Whether its last lines came by the clock."""
        self.is_spam = False
        """Whether its lines tell nothing: they came by the clock, or in a flood."""
        self._per_s: deque[list[int]] = deque(maxlen=FLOOD_S + 1)
        """Second, and lines in it."""

    def add(self, t_ns: int) -> None:
        """Take in a line."""
        self.times_ns.append(t_ns)
        second = t_ns // NS_PER_S
        if self._per_s and self._per_s[-1][0] == second:
            self._per_s[-1][1] += 1
        else:
            self._per_s.append([second, 1])
        self.is_clocked = is_on_a_grid(np.array(self.times_ns, np.int64))
        self.is_spam = self.is_clocked or self._is_flood()

    @property
    def beat_ns(self) -> int:
        """Typical time between lines."""
        times = np.array(self.times_ns, np.int64)
        return int(np.median(np.diff(times))) if len(times) > 1 else 0

    def _is_flood(self) -> bool:
        whole = list(self._per_s)[:-1]  # the last second is not over
        if len(whole) < FLOOD_S or whole[-1][0] - whole[0][0] != len(whole) - 1:
            return False
        counts = np.array([count for _, count in whole], np.float64)
        mean = float(counts.mean())
        return mean >= FLOOD_PER_S and float(counts.std()) <= FLOOD_SPREAD * mean


class LinesJudge:
    """Judges lines of text."""

    def __init__(self) -> None:
        self._wordings: OrderedDict[str, Wording] = OrderedDict()
        self._all = Wording()
        """All lines, whatever they say: a clock that prints something else each time."""
        self._last_ns = 0
        self._told_ns = 0
        """The last line that said something."""
        self._beat_ns = 0

    def push(self, sample: TextLine) -> list[Finding]:
        """Add a line."""
        t_ns = int(sample.t_node_ns)
        found = self.advance(t_ns)
        key = normalised(sample.text)
        wording = self._wordings.pop(key, None) or Wording()
        self._wordings[key] = wording
        if len(self._wordings) > MOST_WORDINGS:
            self._wordings.popitem(last=False)
        wording.add(t_ns)
        self._all.add(t_ns)
        self._last_ns = max(self._last_ns, t_ns)
        if not wording.is_spam and not self._all.is_clocked:
            self._told_ns = t_ns
            self._beat_ns = 0
            return [*found, Finding(t_node_ns=t_ns)]
        self._beat_ns = max(self._beat_ns, wording.beat_ns)
        return [
            *found,
            Finding(
                t_node_ns=t_ns,
                reason="spam",
                since_node_ns=self._told_ns,
                limit_ns=max(SPAM_NS, 2 * self._beat_ns),
            ),
        ]

    def advance(self, t_node_ns: int) -> list[Finding]:
        """Spam that stops says something."""
        if self._beat_ns and t_node_ns - self._last_ns > MISSED_BEATS * self._beat_ns + NS_PER_S:
            self._beat_ns = 0
            self._told_ns = t_node_ns
            return [Finding(t_node_ns=t_node_ns)]
        return []


def normalised(text: str) -> str:
    """A line without its numbers."""
    return " ".join(NUMBERS.sub("#", text.lower()).split())


def is_on_a_grid(times_ns: np.ndarray) -> bool:
    """Whether instants lie on a regular grid, missed beats allowed."""
    if len(times_ns) < LEAST_LINES:
        return False
    since = (times_ns - times_ns[0]).astype(np.float64)
    steps = np.diff(since)
    period = float(np.median(steps))
    if period < SHORTEST_PERIOD_NS or np.mean(np.abs(steps - period)) > 0.5 * period:
        return False
    beats = np.concatenate([[0.0], np.cumsum(np.round(steps / period))])
    if np.any(np.diff(beats) < 1):
        return False
    slope, start = np.polyfit(beats, since, 1)
    return float(np.std(since - (start + slope * beats))) <= GRID_SHARE * float(slope)
