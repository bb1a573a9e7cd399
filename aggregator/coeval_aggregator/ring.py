"""The last minutes of one stream's embeddings, by hop: late, repeated and missing rows are fine."""

import numpy as np
from numpy.typing import NDArray

from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.samples import FloatArray
from coeval.time import NodeNs


class Ring:
    """A bounded store of rows, one a hop of the node's clock; the oldest give way."""

    def __init__(self, *, capacity_hops: int) -> None:
        """Reserve room.

        Args:
            capacity_hops: hops kept, counted back from the newest.
        """
        self._capacity = capacity_hops
        self._rows = np.zeros((capacity_hops, EMBEDDING_DIM), np.float32)
        self._is_there = np.zeros(capacity_hops, np.bool_)
        self._surprise = np.zeros(capacity_hops, np.float32)
        self._end: int | None = None
        """Index of the hop after the newest."""

    @property
    def end_node_ns(self) -> NodeNs | None:
        """End of the newest hop; None: empty."""
        return None if self._end is None else NodeNs(self._end * HOP_NS)

    def write(self, hops: Hops, *, surprise: float = 0.0) -> int:
        """Store rows by their hop; the last one written to a hop stays.

        Args:
            hops: the rows.
            surprise: that the samples behind them repeat, in nats (`coeval.repeats`).

        Returns:
            How many were stored; the others are older than the oldest hop kept.
        """
        first = hops.t0_node_ns // HOP_NS
        end = first + len(hops.rows)
        if self._end is None:
            self._end = end
        if end > self._end:
            if first > self._end:  # a gap; what follows on is overwritten below
                gone = np.arange(max(self._end, end - self._capacity), first) % self._capacity
                self._is_there[gone] = False
            self._end = end
        oldest = self._end - self._capacity
        rows = hops.rows[max(oldest - first, 0) :]
        slots = self._slots(end - len(rows), end)
        self._rows[slots] = rows
        self._surprise[slots] = surprise
        self._is_there[slots] = True
        return len(rows)

    def _slots(self, first: int, end: int) -> slice | NDArray[np.int64]:
        """Where consecutive hops lie: mostly side by side, which copies ten times faster."""
        begin = first % self._capacity
        if begin + end - first <= self._capacity:
            return slice(begin, begin + end - first)
        return np.arange(first, end) % self._capacity

    def row_at(self, t_node_ns: int) -> FloatArray | None:
        """The row of the hop that holds an instant, shape (16,); None where there is none."""
        hop = t_node_ns // HOP_NS
        if self._end is None or not self._end - self._capacity <= hop < self._end:
            return None
        slot = hop % self._capacity
        return self._rows[slot].copy() if self._is_there[slot] else None

    def rows_until(self, t_node_ns: int, *, num_hops: int) -> tuple[FloatArray, NDArray[np.bool_]]:
        """The rows of the hops up to the one that holds an instant.

        Returns:
            Rows, shape (num_hops, 16), and whether there is one; zeros where there is none.
        """
        end = t_node_ns // HOP_NS + 1
        first = end - num_hops
        rows = np.zeros((num_hops, EMBEDDING_DIM), np.float32)
        is_there = np.zeros(num_hops, np.bool_)
        if self._end is None:
            return rows, is_there
        low, high = max(first, self._end - self._capacity), min(end, self._end)
        if low < high:
            slots = self._slots(low, high)
            there = self._is_there[slots]
            rows[low - first : high - first] = self._rows[slots] * there[:, None]
            is_there[low - first : high - first] = there
        return rows, is_there

    def surprise_at(self, t_node_ns: int) -> float:
        """The surprise told with the row of the hop that holds an instant; 0: there is no row."""
        hop = t_node_ns // HOP_NS
        if self._end is None or not self._end - self._capacity <= hop < self._end:
            return 0.0
        slot = hop % self._capacity
        return float(self._surprise[slot]) if self._is_there[slot] else 0.0

    def runs(self) -> list[Hops]:
        """Copies of all rows in time order; a new element after every gap."""
        if self._end is None:
            return []
        oldest = self._end - self._capacity
        begin = oldest % self._capacity
        there = np.concatenate([self._is_there[begin:], self._is_there[:begin]])
        edges = np.flatnonzero(np.diff(there, prepend=False, append=False)).tolist()
        return [
            Hops(t0_node_ns=NodeNs((oldest + first) * HOP_NS), rows=self._copy(begin + first, n))
            for first, n in ((k, end - k) for k, end in zip(edges[::2], edges[1::2], strict=True))
        ]

    def _copy(self, slot: int, num: int) -> FloatArray:
        """So many rows from a slot on, round the end: by memory's speed, as the loop waits."""
        slot %= self._capacity
        head = self._rows[slot : slot + num]
        return np.concatenate([head, self._rows[: num - len(head)]])

    def forget_rows(self) -> None:
        """Forget all rows, but not how far the stream had come."""
        self._is_there[:] = False

    def clear(self) -> None:
        """Forget everything."""
        self._is_there[:] = False
        self._end = None
