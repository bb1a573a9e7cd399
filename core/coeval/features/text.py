"""Text lines → rows: when a line begins and ends, how long it is, which words it has.

Words are hashed (CRC-32), so that any language's event lines work without a vocabulary.
"""

import re
import zlib

import numpy as np

from coeval.hops import HOP_NS, Hops
from coeval.preprocessing import DEFAULT_STEPS, Preprocessing
from coeval.preprocessing.clean_text import clean_line
from coeval.samples import FloatArray, TextLine
from coeval.time import NodeNs

NUM_BUCKETS = 32
CHARS_PER_S = 15.0
"""Speaking rate that stands in for a missing end (subtitle practice: 12–17 characters a second)."""
LONGEST_LINE_S = 8.0

BEGINS, ENDS, ACTIVE, LENGTH, GUESSED = range(5)
DIM = 5 + NUM_BUCKETS + 1
"""Begin and end impulses, active share, length, guessed activity, hashed words, coverage."""

UNSPACED = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Kana and ideographs: scripts that set no spaces between words."""
WORD = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+")
"""Runs of letters and digits; of unspaced scripts every character."""


def hash_words(text: str) -> FloatArray:
    """Signed bag of words, shape (NUM_BUCKETS,), length 1 (0 for a line without words)."""
    bag = np.zeros(NUM_BUCKETS, np.float32)
    for word in WORD.findall(text.lower()):
        digest = zlib.crc32(word.encode())
        bag[digest % NUM_BUCKETS] += 1.0 if digest & 0x10000 else -1.0
    return bag / max(float(np.linalg.norm(bag)), 1.0)


class TextFeatures:
    """Streaming features of text lines; silence between them is information and fills rows."""

    def __init__(self, preprocessing: Preprocessing = DEFAULT_STEPS) -> None:
        self._cleanup = preprocessing.cleanup
        self._rows = np.zeros((0, DIM), np.float32)
        self._t0_ns: int | None = None
        self._last_ns = 0

    @property
    def is_warm(self) -> bool:
        """Lines are not measured against earlier ones."""
        return True

    def push(self, sample: TextLine) -> list[Hops]:
        """Add a line; take the rows that no later line can change."""
        text = clean_line(sample.text) if self._cleanup else sample.text
        if self._cleanup and not text:
            return self.advance(int(sample.t_node_ns))
        t_ns = int(sample.t_node_ns)
        if self._t0_ns is None:
            self._t0_ns = t_ns // HOP_NS * HOP_NS - HOP_NS
        done = self.advance(t_ns)
        # CHARS_PER_S is a guess, so it only fills in where no end is known.
        end_ns = sample.t_end_node_ns
        seconds = min(len(text) / CHARS_PER_S, LONGEST_LINE_S)
        active_until_ns = end_ns if end_ns is not None and end_ns > t_ns else None
        self._add_impulse(t_ns, BEGINS, 1.0)
        self._add_impulse(t_ns, LENGTH, float(np.log1p(len(text))) / 4.0)
        self._add_impulse(t_ns, slice(5, 5 + NUM_BUCKETS), hash_words(text))
        if active_until_ns is not None:
            self._add_impulse(active_until_ns, ENDS, 1.0)
            self._add_span(t_ns, active_until_ns, ACTIVE, 1.0)
        else:
            self._add_span(t_ns, t_ns + round(seconds * 1e9), GUESSED, 0.5)
        self._last_ns = max(self._last_ns, t_ns)
        return done

    def advance(self, t_node_ns: int) -> list[Hops]:
        """Take the rows before an instant, knowing that no earlier line is still to come."""
        if self._t0_ns is None:
            return []
        num_hops = t_node_ns // HOP_NS - 1 - self._t0_ns // HOP_NS
        if num_hops <= 0:
            return []
        self._grow(num_hops)
        return [self._take(num_hops)]

    def flush(self) -> list[Hops]:
        """Take the rows that are left and start anew."""
        if self._t0_ns is None:
            return []
        rest = self._take(len(self._rows))
        self._t0_ns = None
        return [rest] if len(rest.rows) else []

    def _take(self, num_hops: int) -> Hops:
        assert self._t0_ns is not None
        rows = np.array(self._rows[:num_hops])
        np.clip(rows, -4.0, 4.0, out=rows)
        rows[:, -1] = 1.0
        taken = Hops(t0_node_ns=NodeNs(self._t0_ns), rows=rows)
        self._rows = self._rows[num_hops:]
        self._t0_ns += num_hops * HOP_NS
        return taken

    def _grow(self, num_hops: int) -> None:
        if num_hops > len(self._rows):
            more = np.zeros((num_hops - len(self._rows), DIM), np.float32)
            self._rows = np.concatenate([self._rows, more])

    def _add_impulse(self, t_ns: int, column: int | slice, value: "float | FloatArray") -> None:
        """Share an impulse between the two hops whose middles enclose it: keeps its exact time."""
        assert self._t0_ns is not None
        place = (t_ns - self._t0_ns) / HOP_NS - 0.5
        if place < 0:  # before the first row still open
            place = 0.0
        k = int(place)
        self._grow(k + 2)
        self._rows[k, column] += value * np.float32(1.0 - (place - k))
        self._rows[k + 1, column] += value * np.float32(place - k)

    def _add_span(self, start_ns: int, end_ns: int, column: int, value: float) -> None:
        """Add a value over a span, hops at its ends by their share."""
        assert self._t0_ns is not None
        start = max((start_ns - self._t0_ns) / HOP_NS, 0.0)
        end = min(max((end_ns - self._t0_ns) / HOP_NS, start), start + 20 * 60)
        first, last = int(start), int(np.ceil(end))
        self._grow(last)
        edges = np.clip(np.arange(first, last + 1), start, end)
        self._rows[first:last, column] += np.float32(value) * np.diff(edges).astype(np.float32)
