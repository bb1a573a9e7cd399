"""Half-widths of 95% intervals where part of an error is normal and part is only known to lie
between bounds.

An even spread has no tails: 95% of it lies within 1.645 standard deviations, of a normal error
within 1.960. The asymmetry of a network path is of the first kind, and no number of samples
averages it away, so that the usual 1.960 would claim 95% and hold 98%.
"""

import functools
import math
from collections.abc import Iterable

import numpy as np

NORMAL_95 = 1.96
POINTS = 12
"""Of the Gauss–Legendre quadrature over each even part."""
STEPS_OF_SHARE = 50
"""Shares are rounded to these, so that few widths are ever computed."""
HALVINGS = 24


def half_width_95(bounded_shares: Iterable[float]) -> float:
    """Half-width of the symmetric 95% interval of an error of mean 0 and standard deviation 1.

    Args:
        bounded_shares: what each independent, evenly spread part has of the error's variance. The
            two largest are taken as they are; all others with the normal rest, as the sum of many
            is nearly normal.
    """
    shares = sorted((round(share * STEPS_OF_SHARE) for share in bounded_shares), reverse=True)
    first, second = (*shares, 0, 0)[:2]
    first = min(first, STEPS_OF_SHARE)
    return _half_width(first, min(second, STEPS_OF_SHARE - first))


@functools.cache
def _half_width(first: int, second: int) -> float:
    """The same for two shares in steps."""
    if first == 0:
        return NORMAL_95
    points, weights = np.polynomial.legendre.leggauss(POINTS)
    one = points * math.sqrt(3.0 * first / STEPS_OF_SHARE)
    two = points * math.sqrt(3.0 * second / STEPS_OF_SHARE)
    centres = (one[:, None] + two[None, :]).ravel()
    weight = (weights[:, None] * weights[None, :]).ravel() / 4.0
    # A normal part that is next to nothing would need a finer quadrature, and changes nothing.
    rest = math.sqrt(max(1.0 - (first + second) / STEPS_OF_SHARE, 0.01))
    low, high = 1.0, 3.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        inside = sum(
            w
            * 0.5
            * (
                math.erf((middle - c) / rest / math.sqrt(2))
                - math.erf((-middle - c) / rest / math.sqrt(2))
            )
            for c, w in zip(centres.tolist(), weight.tolist(), strict=True)
        )
        low, high = (middle, high) if inside < 0.95 else (low, middle)
    return 0.5 * (low + high)
