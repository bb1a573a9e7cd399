"""Stills → rows: the layout at the exact time of each still, and the change since the last.

The change belongs to the whole interval between two stills, so its rows come out when the
later one has arrived.
"""

import numpy as np

from coeval.features.picture import (
    FRAME_HEIGHT,
    FRAME_WIDTH,
    NUM_CELLS,
    cells,
    global_change,
    layout,
    to_float,
)
from coeval.hops import HOP_NS, Hops
from coeval.preprocessing import DEFAULT_STEPS, Preprocessing
from coeval.samples import FloatArray, Frame
from coeval.time import NS_PER_S, NodeNs

LONGEST_INTERVAL_NS = 15 * NS_PER_S
"""Stills further apart are not compared."""

TAKEN, LAYOUT = 0, slice(1, 1 + NUM_CELLS)
SINCE = slice(1 + NUM_CELLS, DIM_CHANGE := 1 + NUM_CELLS + 6 + NUM_CELLS)
DIM = DIM_CHANGE + 1
"""Impulse, layout at the impulse; change, brightness, shift x and y, interval, new; changed
cells; coverage."""


class ImageFeatures:
    """Streaming features of stills at about 0.2 to 2 Hz."""

    def __init__(self, preprocessing: Preprocessing = DEFAULT_STEPS) -> None:
        self._light = preprocessing.light
        self._last: FloatArray | None = None
        self._last_ns = 0
        self._rows = np.zeros((0, DIM), np.float32)
        self._t0_ns = 0

    @property
    def is_warm(self) -> bool:
        """Stills are measured against the one before only."""
        return True

    def push(self, sample: Frame) -> list[Hops]:
        """Add a still; take the rows before it."""
        if sample.grey.shape != (FRAME_HEIGHT, FRAME_WIDTH):
            raise ValueError(
                f"still must be {FRAME_HEIGHT}×{FRAME_WIDTH} grey, got {sample.grey.shape}"
            )
        t_ns = int(sample.t_node_ns)
        picture = to_float(sample.grey)[None]
        done: list[Hops] = []
        if self._last is not None and t_ns - self._last_ns > LONGEST_INTERVAL_NS:
            done += self.flush()
        if self._last is None:
            self._t0_ns = (t_ns // HOP_NS - 1) * HOP_NS
            self._rows = np.zeros((0, DIM), np.float32)
        else:
            self._add_span(self._last_ns, t_ns, self._change(self._last, picture, t_ns))
        self._add_still(t_ns, layout(picture)[0])
        self._last, self._last_ns = picture, t_ns
        num_hops = t_ns // HOP_NS - 1 - self._t0_ns // HOP_NS
        return done + (self._take(num_hops) if num_hops > 0 else [])

    def advance(self, t_node_ns: int) -> list[Hops]:
        """Stills complete rows by themselves only."""
        del t_node_ns
        return []

    def flush(self) -> list[Hops]:
        """Take the rows that are left and start anew."""
        done = self._take(len(self._rows))
        self._last = None
        return done

    def _change(self, old: FloatArray, new: FloatArray, t_ns: int) -> FloatArray:
        """What changed between two stills, shape (6 + NUM_CELLS,)."""
        found = global_change(old, new, light=self._light)
        difference = np.abs(new - old - found.light)
        seconds = (t_ns - self._last_ns) / NS_PER_S
        overall = [
            np.log(difference.mean() + 2e-3) + 4.0,
            np.arcsinh(10.0 * float(new.mean() - old.mean())),
            np.arcsinh(10.0 * float(found.motion[0, 0])),
            np.arcsinh(10.0 * float(found.motion[0, 1])),
            np.log(max(seconds, 1e-2)),
            np.log(float(found.residual[0]) + 2e-3) + 4.0,
        ]
        local = np.log(cells(difference)[0] + 2e-3) + 4.0
        return np.concatenate([np.array(overall, np.float32), local]).astype(np.float32)

    def _add_span(self, start_ns: int, end_ns: int, values: FloatArray) -> None:
        start, end = (start_ns - self._t0_ns) / HOP_NS, (end_ns - self._t0_ns) / HOP_NS
        first, last = int(start), int(np.ceil(end))
        self._grow(last)
        share = np.diff(np.clip(np.arange(first, last + 1), start, end)).astype(np.float32)
        self._rows[first:last, SINCE] += share[:, None] * values
        self._rows[first:last, -1] += share

    def _add_still(self, t_ns: int, values: FloatArray) -> None:
        """Share the still between the two hops whose middles enclose it: keeps its exact time."""
        place = (t_ns - self._t0_ns) / HOP_NS - 0.5
        k = int(place)
        self._grow(k + 2)
        for hop, share in ((k, 1.0 - (place - k)), (k + 1, place - k)):
            self._rows[hop, TAKEN] += np.float32(share)
            self._rows[hop, LAYOUT] += np.float32(share) * values

    def _grow(self, num_hops: int) -> None:
        if num_hops > len(self._rows):
            more = np.zeros((num_hops - len(self._rows), DIM), np.float32)
            self._rows = np.concatenate([self._rows, more])

    def _take(self, num_hops: int) -> list[Hops]:
        if not num_hops:
            return []
        taken = Hops(t0_node_ns=NodeNs(self._t0_ns), rows=np.array(self._rows[:num_hops]))
        self._rows = self._rows[num_hops:]
        self._t0_ns += num_hops * HOP_NS
        return [taken]
