"""From a frame's stamp to the middle of its exposure, which is when the picture was.

A rolling shutter exposes row after row. With e the exposure of one row and r the readout of all of
them, the first row is exposed from 0 to e and the last one from r to r + e: the picture's middle is
at (e + r) / 2. What is not known is taken as anything up to the frame period, equally likely, and
widens sigma accordingly.
"""

import math
from dataclasses import dataclass
from typing import Literal

StampPoint = Literal["start_of_exposure", "first_data", "end_of_frame", "arrival"]
"""What a stamp marks: the start of the first row's exposure; the first row's data, which leave when
its exposure ends; the end of the last row's data; or that this program had the picture."""

INTERRUPT_SIGMA_NS = 100_000.0
"""Of a stamp taken in an interrupt: some 10 µs, and more under load."""
ARRIVAL_PERIODS = 2.0
"""Frame periods, at most, that buffers and this program's wake-up add after the last data."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lateness:
    """How late a stamp is against the middle of the exposure."""

    latency_ns: float
    """On average; subtract it. Negative: the stamp is early."""
    sigma_ns: float
    """Standard deviation of what is left."""


def _up_to(longest_ns: float) -> tuple[float, float]:
    """Mean and variance of what may be anything from 0 to a length."""
    return longest_ns / 2, longest_ns**2 / 12


def lateness(
    point: StampPoint,
    *,
    period_ns: float,
    exposure_ns: float | None,
    readout_ns: float | None,
    is_buffered: bool = False,
) -> Lateness:
    """How late a stamp is.

    Args:
        point: what it marks.
        period_ns: time between frames.
        exposure_ns: exposure of a row; None where unknown.
        readout_ns: time from the first row's data to the last one's; 0 for a global shutter, None
            where unknown.
        is_buffered: the camera may hold a picture back for up to a frame before it sends it, as
            USB cameras do that compress or scale.
    """
    exposure = (exposure_ns, 0.0) if exposure_ns is not None else _up_to(period_ns)
    readout = (readout_ns, 0.0) if readout_ns is not None else _up_to(period_ns)
    # Shares of exposure and readout by which the stamp comes after the picture's middle.
    of_exposure, of_readout = {
        "start_of_exposure": (-0.5, -0.5),
        "first_data": (0.5, -0.5),
        "end_of_frame": (0.5, 0.5),
        "arrival": (0.5, 0.5),
    }[point]
    held = [_up_to(period_ns)] if is_buffered and point != "start_of_exposure" else []
    if point == "arrival":
        held.append(_up_to(ARRIVAL_PERIODS * period_ns))
    latency_ns = of_exposure * exposure[0] + of_readout * readout[0] + sum(m for m, _ in held)
    variance = 0.25 * (exposure[1] + readout[1]) + sum(v for _, v in held)
    return Lateness(latency_ns=latency_ns, sigma_ns=math.sqrt(variance + INTERRUPT_SIGMA_NS**2))
