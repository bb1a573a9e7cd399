"""The node time of every sample of a sound file: straight pieces, each with its own rate.

A file stamped by one clock that neither drifts nor jumps is one piece (`t0_s`, `rate_hz`).
More pieces come from a `timestamps` CSV, which is our extension of the format for sound:

- columns `t,sample` and optionally `rate_hz`: from sample number `sample` on, which the node's
  clock stamped `t`, samples come at `rate_hz` (else the stream's, else the file's rate);
- column `t` alone: the time of each codec block, as a capture driver stamps buffers. A straight
  line is laid through them, since buffers come with jitter and samples do not; where a stamp
  leaves the line by more than BREAK_NS, samples were lost or the clock jumped: a new piece.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from coeval.errors import BadRecording
from coeval.samples import IntArray
from coeval.time import NS_PER_S

BREAK_NS = 40_000_000
"""Longer than the scheduling jitter of a capture thread, shorter than a lost buffer of speech."""

MIN_BLOCKS_FOR_RATE = 100
"""Fewer stamps than this give no better rate than the file's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundPiece:
    """Consecutive samples at one rate."""

    first_sample: int
    """Number of the first sample in the file."""
    t0_ns: int
    """Node time of that sample."""
    rate_hz: float
    """Samples a second of the node's clock."""

    def t_ns(self, sample: int) -> int:
        """Node time of a sample of this piece."""
        return self.t0_ns + round((sample - self.first_sample) / self.rate_hz * NS_PER_S)


SoundClock = tuple[SoundPiece, ...]
"""Pieces in file order, at least one, the first from sample 0."""


def spans(clock: SoundClock, *, num_samples: int | None) -> Iterator[tuple[SoundPiece, int | None]]:
    """Each piece with the number of the sample after its last one.

    Where a piece would run into the time of the next one (the clock jumped back), its last
    samples are left out, so that time never goes back. None: to the end of the file.
    """
    for piece, after in zip(clock, (*clock[1:], None), strict=True):
        if after is None:
            yield piece, num_samples
            continue
        room = round((after.t0_ns - piece.t0_ns) * piece.rate_hz / NS_PER_S)
        end = min(after.first_sample, piece.first_sample + max(room, 0))
        yield piece, end if num_samples is None else min(end, num_samples)


def clock_from_anchors(
    samples: Sequence[int],
    t_ns: IntArray,
    *,
    rates_hz: Sequence[float],
    lines: Sequence[int],
    where: str,
) -> SoundClock:
    """Pieces from the rows of a `timestamps` CSV with a column `sample`.

    Raises:
        BadRecording: the first anchor is not sample 0, or sample numbers do not rise.
    """
    if samples[0] != 0:
        raise BadRecording(f"{where}, line {lines[0]}: the first anchor must be sample 0")
    for row in range(1, len(samples)):
        if samples[row] <= samples[row - 1]:
            raise BadRecording(
                f"{where}, line {lines[row]}: sample {samples[row]} does not come after "
                f"{samples[row - 1]}"
            )
    return tuple(
        SoundPiece(first_sample=sample, t0_ns=int(t), rate_hz=rate)
        for sample, t, rate in zip(samples, t_ns, rates_hz, strict=True)
    )


def clock_from_blocks(t_ns: IntArray, *, first_samples: IntArray, rate_hz: float) -> SoundClock:
    """Pieces from one stamp a codec block.

    Args:
        t_ns: stamps, shape (n,), strictly increasing.
        first_samples: number of each block's first sample, shape (n,).
        rate_hz: nominal rate.
    """
    since_ns = (t_ns - t_ns[0]).astype(np.float64)
    late_ns = since_ns - first_samples / rate_hz * NS_PER_S
    breaks = np.flatnonzero(np.abs(np.diff(late_ns)) > BREAK_NS) + 1
    pieces: list[SoundPiece] = []
    for rows in np.split(np.arange(len(t_ns)), breaks):
        first = int(first_samples[rows[0]])
        x, y = (first_samples[rows] - first).astype(np.float64), since_ns[rows]
        slope_ns = NS_PER_S / rate_hz
        if len(rows) >= MIN_BLOCKS_FOR_RATE:
            slope_ns = float(np.polyfit(x, y - slope_ns * x, 1)[0]) + slope_ns
        start_ns = float(np.median(y - slope_ns * x))
        pieces.append(
            SoundPiece(
                first_sample=first,
                t0_ns=int(t_ns[0]) + round(start_ns),
                rate_hz=NS_PER_S / slope_ns,
            )
        )
    return tuple(pieces)
