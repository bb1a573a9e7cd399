"""Noise gate for sound: what stays within a band's steady noise is made quiet.

In: log powers of bands in every part of a hop. Out: a gain for every band and hop. It works on
the bands of the features because they are there anyway: no sound is synthesised.

The noise floor is the least smoothed level of the last seconds (minimum statistics, Martin 2001);
the gain is that of power spectral subtraction with a residue (Boll 1979; Berouti et al. 1979).
"""

import numpy as np
from numpy.typing import NDArray

SMOOTH_HOPS = 5
"""Hops in the level whose minimum is taken: 0.25 s."""
FLOOR_HOPS = 80
"""How long a level must last to count as noise: 4 s."""
LEAST_HOPS = 20
"""Hops before the floor is believed: 1 s; until then everything passes."""
BIAS = 0.25
"""Log power by which noise is taken to exceed that minimum; its mean does by about 0.5."""
LEAST_GAIN = 0.2
"""Power gain of what is nothing but noise: −7 dB, so that it is still heard."""


class NoiseGate:
    """Streaming gate over any number of bands."""

    def __init__(self, num_bands: int) -> None:
        self._past = np.full((FLOOR_HOPS + SMOOTH_HOPS - 1, num_bands), np.inf)

    def push(
        self, levels: NDArray[np.floating], is_covered: NDArray[np.bool_]
    ) -> NDArray[np.floating]:
        """Gains of whole hops.

        Args:
            levels: natural log of band power, shape (hops, parts, bands).
            is_covered: hops in which there was sound all the time, shape (hops,).

        Returns:
            Power gains, LEAST_GAIN…1, shape (hops, bands); 1 where the floor is not known. A hop is
            judged by the floor before it.
        """
        means = np.where(is_covered[:, None], levels.mean(axis=1), np.inf)
        past = np.concatenate([self._past, means])
        self._past = past[len(means) :]
        windows = np.lib.stride_tricks.sliding_window_view
        smooth = windows(past, SMOOTH_HOPS, axis=0).mean(axis=2)
        lasting = windows(smooth, FLOOR_HOPS, axis=0)[: len(means)]
        is_known = np.isfinite(lasting).sum(axis=2) >= LEAST_HOPS
        is_known &= is_covered[:, None]
        floor = np.exp(np.where(is_known, lasting.min(axis=2), -np.inf) + BIAS)
        power = np.exp(levels.astype(np.float64)).mean(axis=1)
        noise_share = np.minimum(floor / power, 1.0)
        gains: NDArray[np.float64] = 1.0 - (1.0 - LEAST_GAIN) * noise_share
        return gains
