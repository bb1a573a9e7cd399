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
HEATING_RISE = 0.2
"""Share of a thermostat's period for which it heats."""
INVERSIONS = 4
"""A reading's instant is found to 1e-4 (the largest rate) of the last guess's error each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Crystal:
    """What a kind of oscillator does. Fractional frequencies in ppb (1e-9).

    Published: a TCXO has an Allan deviation of 1e-9 to 1e-8 at 1 s and a floor of 1e-9 from 1 to
    100 s (M. Lombardi in The Mechatronics Handbook, CRC 2002, table of oscillator types). Without
    GPS for 2 h 29 min in a room steady to 0.4 °C a PC's clock went 19 ppb astray and a TCXO 7 ppb
    (D. Drown, blog.dan.drown.org/drift); a Raspberry Pi 3's rate moved by 6 ppm with the
    room's temperature (raspberrypi.stackexchange.com/questions/74482). For the short term of
    uncompensated crystals and ceramic resonators no figure was found: those are assumptions.
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
    heating_ppb: float = 0.0
    """Height of the sawtooth that a thermostat makes: fast up, slowly down …"""
    heating_s: float = 900.0
    """… with this period."""
    ageing_ppb_per_day: float = 0.0
    """The rate's steady drift."""


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
        rate_steps: tuple[tuple[float, float], ...] = (),
    ) -> None:
        """Let a clock live.

        Args:
            crystal: its oscillator; None: a perfect clock.
            rng: draws its life.
            seconds: how long it is simulated.
            jumps: steps of the clock as (instant s, size ns).
            rate_steps: steps of its rate as (instant s, size ppb).
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
            rate += crystal.ageing_ppb_per_day * self._grid_s / 86_400
            if crystal.heating_ppb:
                turns = self._grid_s / crystal.heating_s + rng.random()
                rate += crystal.heating_ppb * (sawtooth(turns) - 0.5)
            self._phase_ns[1:] = np.cumsum(rate[:-1])
        for at_s, size_ppb in rate_steps:
            self._phase_ns += size_ppb * np.maximum(self._grid_s - at_s, 0.0)
        self._jumps = jumps

    def offset_ns(self, t_s: FloatArray) -> FloatArray:
        """Offset against true time beyond `base_ns`, shape as `t_s`."""
        offset_ns: FloatArray = np.interp(t_s, self._grid_s, self._phase_ns)
        for at_s, size_ns in self._jumps:
            offset_ns = offset_ns + size_ns * (t_s >= at_s)
        return offset_ns

    def true_s(self, reading_ns: FloatArray) -> FloatArray:
        """True instants of readings beyond `base_ns`: the other way of `t + offset`.

        Where the clock jumps, a reading it skipped has no instant and one it showed twice has two:
        then it is one near the jump.

        Args:
            reading_ns: readings less `base_ns`, shape (n,).

        Returns:
            True seconds, shape (n,).
        """
        t_s: FloatArray = reading_ns * 1e-9
        for _ in range(INVERSIONS):
            t_s = (reading_ns - self.offset_ns(t_s)) * 1e-9
        return t_s


def sawtooth(turns: FloatArray) -> FloatArray:
    """0 … 1: up for HEATING_RISE of each turn, down for the rest; shape as `turns`."""
    phase = turns % 1.0
    sides: FloatArray = np.minimum(phase / HEATING_RISE, (1.0 - phase) / (1.0 - HEATING_RISE))
    return sides


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
