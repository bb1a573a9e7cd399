"""How clocks wander: the noise of oscillator classes, as a two-state random-walk model.

A clock's phase walks by white frequency noise and its rate walks slowly; flicker and temperature
are covered by walking faster than the crystal alone does. The figures are those that
`coeval_lab.simulation.tune_oscillators` fits to the overlapping Allan deviation of each class.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class OscillatorClass:
    """The noise of one kind of clock."""

    name: str
    """What it is called in configurations and descriptors."""
    white_fm_ns: float
    """Random walk of the phase, ns a √s: Allan deviation at 1 s × 1e9."""
    walk_fm_ppb: float
    """Random walk of the rate, ppb a √s."""
    skew_sigma_ppb: float
    """Spread of the rate of such clocks against true time, standard deviation."""

    def noise(self, dt_s: float) -> NDArray[np.float64]:
        """Covariance that (offset ns, skew ppb) gain within `dt_s`, shape (2, 2)."""
        walk = self.walk_fm_ppb**2
        cross = walk * dt_s**2 / 2.0
        return np.array([[self.wander(dt_s), cross], [cross, walk * dt_s]])

    def wander(self, dt_s: float) -> float:
        """Variance (ns²) of how far the clock drifts from its skew within `dt_s`."""
        return self.white_fm_ns**2 * dt_s + self.walk_fm_ppb**2 * dt_s**3 / 3.0


PERFECT = OscillatorClass(name="perfect", white_fm_ns=0.0, walk_fm_ppb=0.0, skew_sigma_ppb=0.0)
"""UTC."""
USB = OscillatorClass(name="usb", white_fm_ns=22.0, walk_fm_ppb=14.0, skew_sigma_ppb=50_000.0)
"""Ceramic resonators and cheap crystals in USB devices and wearables."""
PI = OscillatorClass(name="pi", white_fm_ns=6.0, walk_fm_ppb=4.8, skew_sigma_ppb=20_000.0)
"""The uncompensated crystal of a single-board computer."""
TCXO = OscillatorClass(name="tcxo", white_fm_ns=1.1, walk_fm_ppb=0.25, skew_sigma_ppb=2_000.0)
"""A temperature-compensated crystal."""
UNKNOWN = OscillatorClass(
    name="unknown", white_fm_ns=22.0, walk_fm_ppb=14.0, skew_sigma_ppb=200_000.0
)
"""Any clock of a device, real field figures of up to 2 000 ppm included."""

CLASSES = {kind.name: kind for kind in (USB, PI, TCXO, UNKNOWN)}
"""By name."""
