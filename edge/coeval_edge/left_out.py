"""Rows that were not sent because they carry nothing: the last of them, should that change.

A stream that comes back is sent with the seconds before it came back, and its encoder is shown the
seconds before those: its embeddings are then what they would have been all along.
"""

from collections import deque

from coeval.hops import Hops
from coeval_edge.encoder import CONTEXT_HOPS


class LeftOut:
    """The last rows left out, in parts as they would have been sent."""

    def __init__(self) -> None:
        self.num_hops = 0
        """All rows left out for good."""
        self._parts: deque[Hops] = deque()
        self._num_held = 0
        self._is_whole = True
        """Whether nothing is missing between what was sent last and what is held."""

    def hold(self, part: Hops) -> None:
        """Leave out the next rows; those too old to be of use are let go."""
        self._parts.append(part)
        self._num_held += len(part.rows)
        while self._num_held - len(self._parts[0].rows) >= 2 * CONTEXT_HOPS:
            gone = len(self._parts.popleft().rows)
            self._num_held -= gone
            self.num_hops += gone
            self._is_whole = False

    def take(self) -> tuple[list[Hops], list[Hops]]:
        """What only the encoder must see, and what to send after that."""
        parts, seen = list(self._parts), 0
        num_warm_up = 0
        while not self._is_whole and seen < CONTEXT_HOPS and num_warm_up < len(parts):
            seen += len(parts[num_warm_up].rows)
            num_warm_up += 1
        self.num_hops += seen
        self._parts.clear()
        self._num_held, self._is_whole = 0, True
        return parts[:num_warm_up], parts[num_warm_up:]
