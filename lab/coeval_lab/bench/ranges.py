"""A picture of ranges: a row a line of a benchmark's table, on a logarithmic axis."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """One row."""

    name: str
    """What it is of."""
    colour: str
    """Its colour."""
    ends: tuple[float, float] | None
    """Where its line begins and ends; None: it has only a dot."""
    dot: float
    """Where its dot is."""
    tick: float | None = None
    """Where an upright bar is; None: there is none."""


def draw_ranges(ranges: Sequence[Range], *, says: str, width_in: float) -> Figure:
    """The picture, for the caller to add to and save.

    Args:
        ranges: from top to bottom.
        says: what lines and dots are, with the unit, under the axis.
        width_in: width of the picture, inches.
    """
    figure = Figure(figsize=(width_in, 1 + 0.27 * len(ranges)), layout="constrained")
    axes = figure.subplots()
    for k, drawn in enumerate(ranges):
        if drawn.ends is not None:
            axes.plot(drawn.ends, [k, k], color=drawn.colour, lw=2, alpha=0.6)
        axes.plot(drawn.dot, k, "o", color=drawn.colour, ms=5)
        if drawn.tick is not None:
            axes.plot(drawn.tick, k, "|", color=drawn.colour, ms=9)
    axes.set_yticks(range(len(ranges)), [drawn.name for drawn in ranges], fontsize=7)
    axes.set_xscale("log")
    axes.set_xlabel(says)
    axes.grid(axis="x", alpha=0.3)
    axes.invert_yaxis()
    return figure
