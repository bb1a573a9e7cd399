"""What chrony says of UTC on this device, as evidence with the error that it states itself.

In: `chronyc -c -n tracking`. Out: a statement that ties the node's clock to UTC. chrony's own bound
of its error is root dispersion plus half the root delay (RFC 5905's root distance): nobody inside
can know on which side of it the truth lies, so it is a bias that all statements share.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from coeval.evidence_wire import StatementSample
from coeval.time import NS_PER_S
from coeval_edge.asked_program import answer_of
from coeval_edge.kernel_clocks import KernelClock, ReadClock, measure_difference

NUM_FIELDS = 14
LEAST_SIGMA_NS = 1_000.0
NO_STRATUM = (0, 16)
"""Strata of a clock that follows nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracking:
    """What chrony tracks."""

    source: str
    """Address or name of what it follows."""
    stratum: int
    """Distance from a reference clock."""
    correction_s: float
    """UTC − the system's clock, as chrony has it: what it still has to add."""
    rms_offset_s: float
    """Scatter of the latest offsets."""
    root_delay_s: float
    """Delay to the reference clock, there and back."""
    root_dispersion_s: float
    """Error collected on the way."""
    leap: str
    """`Normal`, `Insert second`, `Delete second` or `Not synchronised`."""

    @property
    def unusable(self) -> str | None:
        """Why it says nothing of UTC; None where it does."""
        if self.leap == "Not synchronised" or self.stratum in NO_STRATUM:
            return "not synchronised"
        return None

    @property
    def bound_s(self) -> float:
        """Bound of its error."""
        return self.root_dispersion_s + 0.5 * self.root_delay_s


def parse_tracking(line: str) -> Tracking | None:
    """Read a line of `chronyc -c tracking`; None where it is none."""
    fields = line.strip().split(",")
    if len(fields) != NUM_FIELDS:
        return None
    try:
        numbers = [float(fields[k]) for k in (4, 6, 10, 11)]
        stratum = int(fields[2])
    except ValueError:
        return None
    if not all(map(math.isfinite, numbers)) or min(numbers[1:]) < 0:
        return None
    return Tracking(
        source=fields[1],
        stratum=stratum,
        correction_s=numbers[0],
        rms_offset_s=numbers[1],
        root_delay_s=numbers[2],
        root_dispersion_s=numbers[3],
        leap=fields[13],
    )


def ask_chrony(command: Sequence[str] = ("chronyc",)) -> Tracking | None:
    """What chrony tracks now; None where there is no chrony that answers."""
    told = answer_of([*command, "-c", "-n", "tracking"])
    return None if told is None else parse_tracking(told)


def statement_of(tracking: Tracking, *, read: ReadClock | None = None) -> StatementSample | None:
    """Evidence of the node's clock against UTC; None where chrony follows nobody.

    Args:
        tracking: what chrony said just now.
        read: reads the kernel's clocks; None: the kernel does.
    """
    if tracking.unusable is not None:
        return None
    system = (
        measure_difference(KernelClock.REALTIME)
        if read is None
        else measure_difference(KernelClock.REALTIME, read=read)
    )
    correction_ns = round(tracking.correction_s * NS_PER_S)
    return StatementSample(
        by="chrony",
        t_node_ns=system.t_node_ns,
        t_utc_ns=system.t_node_ns + system.difference_ns + correction_ns,
        sigma_ns=math.hypot(max(tracking.rms_offset_s * NS_PER_S, LEAST_SIGMA_NS), system.error_ns),
        bias_sigma_ns=max(tracking.bound_s * NS_PER_S, LEAST_SIGMA_NS) / math.sqrt(3.0),
    )
