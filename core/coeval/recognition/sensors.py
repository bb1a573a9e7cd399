"""What senses numbers, and in which units, by physics: gravity, the Earth's field, places, norms.

Gravity is 9.81 m/s² or 1 g whatever way a sensor lies; the Earth's field is 25–65 µT; a rotation
has length 1; a place has a latitude and a longitude that move by metres. What has no such mark
stays unsure, unless its column's name says it. Every rule states what speaks for it.
"""

from collections.abc import Callable, Sequence

from coeval.recognition import axes, readings
from coeval.recognition.answer import Channel
from coeval.recognition.columns import Array, Columns

_RULES: tuple[Callable[[Columns], None], ...] = (
    readings.clocks,
    readings.places,
    axes.rotations,
    axes.directions,
    axes.accelerometers,
    readings.servos,
    axes.magnetometers,
    axes.gyroscopes,
    readings.wheels,
    readings.pressures,
    readings.hearts,
    readings.states,
)
"""The surest first: what one takes, the next ones do not see."""


def recognise_channels(
    values: Array, *, names: Sequence[str], rate_hz: float | None
) -> tuple[Channel, ...]:
    """What senses each column; a column that nothing is known of is one of kind None.

    Args:
        values: readings, shape (n, C), NaN where missing.
        names: C names; `c0`, `c1` … where there are none.
        rate_hz: readings a second, where known.
    """
    found = Columns(values, names=names, rate_hz=rate_hz)
    for rule in _RULES:
        rule(found)
    return found.channels()
