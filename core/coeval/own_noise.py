"""Whether a stream carries noise of its own, and how likely noise alone gives the same twice.

A camera's pixels and a gauge's last digits never stand still; a screen, a switch and a hand on a
mouse do. So a sample that is equal to the last one means something else in either stream, and what
the stream showed so far tells which it is. Nothing is trained.

In: samples and the ones before them, those that are equal left out. Out: the chance of an equal
one, None where there is no noise that would have to stop first.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

LEAST_SAMPLES = 10
"""From fewer nothing is known."""
NEW_PIXELS = 0.05
"""Noise changes more of a picture than this between any two; most windows of a screen stay."""
QUIET_PICTURES = 0.01
"""Share of pictures that may have changed by less."""
TURNS = 0.2
"""Noise turns round at two readings of three, movement much more seldom."""
SAME_READINGS = 0.25
"""A channel that stays for more of its readings is one that rests, whatever it does between."""


class Noise(Protocol):
    """Follows one stream."""

    def chance(self, num_repeats: int) -> float | None:
        """Of a sample equal to the last one, were it by chance; None: no noise is known.

        Args:
            num_repeats: samples so far that were equal to the last one while all was well.
        """
        ...


class PictureNoise:
    """Of pictures: nearly all of them differ from the last one in many pixels."""

    def __init__(self) -> None:
        self._num = self._num_quiet = 0

    def push(self, grey: NDArray[np.uint8], before: NDArray[np.uint8]) -> None:
        """Add a picture that is not equal to the one before."""
        self._num += 1
        self._num_quiet += int(np.count_nonzero(grey != before) < NEW_PIXELS * grey.size)

    def chance(self, num_repeats: int) -> float | None:
        """Nothing, so many pixels there are; or None."""
        del num_repeats
        is_noisy = self._num >= LEAST_SAMPLES and self._num_quiet <= QUIET_PICTURES * self._num
        return 0.0 if is_noisy else None


class ReadingNoise:
    """Of numeric channels: some of them turn round again and again, and seldom stay."""

    def __init__(self, num_channels: int) -> None:
        self._num = 0
        self._num_same = np.zeros(num_channels)
        self._num_steps = np.zeros(num_channels)
        """Readings after which the channel moved twice in a row."""
        self._num_turns = np.zeros(num_channels)
        """Those of them that went back."""
        self._last = np.zeros(num_channels, np.int8)

    def push(self, rows: NDArray[np.floating], before: NDArray[np.floating]) -> None:
        """Add readings that are not equal to the ones before, both of shape (n, channels)."""
        steps = (rows > before).astype(np.int8) - (rows < before).astype(np.int8)
        product = steps * np.concatenate([self._last[None], steps[:-1]])
        self._num += len(rows)
        self._num_same += (steps == 0).sum(axis=0)
        self._num_steps += (product != 0).sum(axis=0)
        self._num_turns += (product < 0).sum(axis=0)
        self._last = steps[-1]

    def chance(self, num_repeats: int) -> float | None:
        """By the rule of succession: of the noisy channels together, each by itself."""
        same = self._num_same + num_repeats
        num = self._num + num_repeats
        is_noisy = (
            (self._num_steps >= LEAST_SAMPLES)
            & (self._num_turns >= TURNS * self._num_steps)
            & (same <= SAME_READINGS * num)
        )
        if not is_noisy.any():
            return None
        return float(np.prod((0.5 + same[is_noisy]) / (1.0 + num)))
