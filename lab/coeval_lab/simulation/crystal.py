"""Simulated clocks: white, flicker and random-walk frequency noise, temperature, steps.

Sign: offset = clock − true time; positive: the clock is fast.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

FloatArray = NDArray[np.float64]

FLICKER_TIMES_S = (1.0, 10.0, 100.0, 1000.0)
"""Flicker noise is the sum of first-order processes, one a decade (Van der Ziel's construction)."""
FLICKER_SHARE = 1.25
"""Standard deviation of each of them over the Allan deviation that all of them add up to."""
OFFSET_SIGMA_S = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crystal:
    """What a kind of oscillator does. Fractional frequencies in ppb (1e-9).

    Allan deviations are of the order that J. Vig's tutorial (Quartz Crystal Resonators and
    Oscillators, 2016) gives: about 1e-9 at 1 s for TCXOs, some 1e-9 to 1e-8 for uncompensated
    crystals, whose rate moves by a few 0.1 ppm with the room's temperature; chrony's documentation
    has computers' clocks wander by about 0.1 to 1 ppm.
    """

    name: str
    """What it is called."""
    white_ppb: float
    """Allan deviation at 1 s of the white part."""
    flicker_ppb: float
    """Allan deviation of the flicker floor."""
    walk_ppb: float
    """Random walk of the rate in one √s."""
    rate_sigma_ppb: float
    """Spread of rates from one piece to the next."""
    temperature_ppb: float
    """Amplitude of the rate's swing as heating and fans come and go."""
    temperature_s: float
    """Period of that swing."""


USB = Crystal(
    name="usb",
    white_ppb=20.0,
    flicker_ppb=8.0,
    walk_ppb=0.5,
    rate_sigma_ppb=50_000.0,
    temperature_ppb=300.0,
    temperature_s=1800.0,
)
PI = Crystal(
    name="pi",
    white_ppb=5.0,
    flicker_ppb=3.0,
    walk_ppb=0.1,
    rate_sigma_ppb=10_000.0,
    temperature_ppb=100.0,
    temperature_s=1800.0,
)
TCXO = Crystal(
    name="tcxo",
    white_ppb=1.0,
    flicker_ppb=0.5,
    walk_ppb=0.01,
    rate_sigma_ppb=1_000.0,
    temperature_ppb=5.0,
    temperature_s=1800.0,
)
CRYSTALS = {crystal.name: crystal for crystal in (USB, PI, TCXO)}


class SimulatedClock:
    """A clock's offset against true time, at any instant of a simulation."""

    def __init__(
        self,
        crystal: Crystal | None,
        rng: np.random.Generator,
        *,
        seconds: float,
        jumps: tuple[tuple[float, float], ...] = (),
    ) -> None:
        """Let a clock live.

        Args:
            crystal: its oscillator; None: a perfect clock.
            rng: draws its life.
            seconds: how long it is simulated.
            jumps: steps of the clock as (instant s, size ns).
        """
        self._grid_s = np.arange(0.0, seconds + 2.0)
        self._phase_ns = np.zeros(len(self._grid_s))
        self.base_ns = 0
        """Whole offset at the beginning."""
        if crystal is not None:
            self.base_ns = round(rng.normal() * OFFSET_SIGMA_S * 1e9)
            rate = frequency_noise(crystal, rng, len(self._grid_s))
            rate += rng.normal() * crystal.rate_sigma_ppb
            turn = 2 * np.pi * (self._grid_s / crystal.temperature_s + rng.random())
            rate += crystal.temperature_ppb * np.sin(turn)
            self._phase_ns[1:] = np.cumsum(rate[:-1])
        self._jumps = jumps

    def offset_ns(self, t_s: FloatArray) -> FloatArray:
        """Offset against true time beyond `base_ns`, shape as `t_s`."""
        offset_ns: FloatArray = np.interp(t_s, self._grid_s, self._phase_ns)
        for at_s, size_ns in self._jumps:
            offset_ns = offset_ns + size_ns * (t_s >= at_s)
        return offset_ns


def frequency_noise(crystal: Crystal, rng: np.random.Generator, num: int) -> FloatArray:
    """Fractional frequency in ppb, second by second, shape (num,)."""
    rate = rng.normal(size=num) * crystal.white_ppb
    rate += np.cumsum(rng.normal(size=num)) * crystal.walk_ppb
    for time_s in FLICKER_TIMES_S:
        keep = np.exp(-1.0 / time_s)
        sigma = FLICKER_SHARE * crystal.flicker_ppb
        drive = rng.normal(size=num) * sigma * np.sqrt(1.0 - keep**2)
        drive[0] = rng.normal() * sigma
        rate += lfilter([1.0], [1.0, -keep], drive)
    return rate
