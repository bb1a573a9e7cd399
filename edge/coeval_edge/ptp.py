"""What ptp4l says of this device's clock, as evidence with the error that follows from it.

In: what `pmc` prints for five questions (linuxptp 3 and 4). Out: a statement that ties the node's
clock to UTC, or, where the grandmaster does not claim to know UTC, to the grandmaster: nodes of one
grandmaster are tied to each other all the same.

ptp4l states an offset and no error. What it cannot see is how the path's delay divides between
there and back (at most half of it, at every step from the grandmaster) and, for UTC, what the
grandmaster's announced accuracy leaves open (IEEE 1588-2019, table 5): bounds, which all statements
share. How its offsets scatter is measured here.
"""

import itertools
import logging
import math
import os
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from coeval.evidence import UTC
from coeval.evidence_wire import StatementSample
from coeval.time import NS_PER_S
from coeval_edge.asked_program import answer_of
from coeval_edge.kernel_clocks import (
    LARGEST_SLEW_PPM,
    KernelClock,
    ReadClock,
    measure_difference,
)

logger = logging.getLogger(__name__)

SOCKET = Path("/var/run/ptp4l")
QUESTIONS = (
    "TIME_STATUS_NP",
    "CURRENT_DATA_SET",
    "PARENT_DATA_SET",
    "TIME_PROPERTIES_DATA_SET",
    "PORT_PROPERTIES_NP",
)
LEAST_SIGMA_NS = 1_000.0
FIRST_SIGMA_NS = 50_000.0
"""Scatter of software time stamps that is assumed until it is measured."""
KEPT_OFFSETS = 16
LEAST_OFFSETS = 4
FOLLOWING = ("SLAVE", "UNCALIBRATED")
"""States of a port that measures; one whose clock nobody steers (`free_running`) stays in the
latter."""
CLOCKFD = 3
CODE_25_NS = 0x20
ACCURACIES_NS = (
    25, 100, 250, 1_000, 2_500, 10_000, 25_000, 100_000, 250_000, 1_000_000, 2_500_000,
    10_000_000, 25_000_000, 100_000_000, 250_000_000, 1_000_000_000, 10_000_000_000,
)  # fmt: skip
"""What the codes from 0x20 to 0x30 of an announced accuracy mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PtpState:
    """What ptp4l measures and follows."""

    port_state: str
    """State of the port that follows, else of the last one: SLAVE, UNCALIBRATED, MASTER …"""
    timestamping: str
    """SOFTWARE: the stamps are CLOCK_REALTIME's; HARDWARE: those of the network card's clock."""
    interface: str
    """The port's network interface."""
    grandmaster: str
    """Its identity."""
    steps: int
    """Links between the grandmaster and this clock."""
    offset_ns: int
    """This device's clock − the master's, as last measured."""
    measured_ns: int
    """Stamp of that, on this device's clock; 0: nothing was measured yet."""
    path_delay_ns: float
    """Mean of the ways there and back to the master."""
    utc_offset_s: int | None
    """Seconds that the master's time is ahead of UTC; None: its time is none that UTC follows
    from."""
    accuracy_ns: int | None
    """Bound of the grandmaster's error against UTC, as it announces it; None: unknown."""

    @property
    def unusable(self) -> str | None:
        """Why it says nothing of any clock but its own; None where it does."""
        if self.port_state not in FOLLOWING:
            return f"follows nobody (port is {self.port_state})"
        if self.measured_ns <= 0:
            return "has measured nothing yet"
        return None


def parse_pmc(text: str) -> PtpState | None:
    """Read what `pmc` answers to QUESTIONS; None where an answer is missing or no number."""
    answers: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        words = line.split()
        if "RESPONSE" in words and "MANAGEMENT" in words:
            name, fields = words[-1], dict[str, str]()
            if name != "PORT_PROPERTIES_NP" or not is_following(answers.get(name)):
                answers[name] = fields
        elif len(words) == 2 and answers and not line.startswith("sending"):
            fields[words[0]] = words[1]
    try:
        status, current, parent, times, port = (answers[name] for name in QUESTIONS)
        is_ptp_time = times["ptpTimescale"] == "1" and times["currentUtcOffsetValid"] == "1"
        code = int(parent["gm.ClockAccuracy"], 16) - CODE_25_NS
        state = PtpState(
            port_state=port["portState"],
            timestamping=port["timestamping"],
            interface=port["interface"],
            grandmaster=parent["grandmasterIdentity"],
            steps=int(current["stepsRemoved"]),
            offset_ns=int(status["master_offset"]),
            measured_ns=int(status["ingress_time"]),
            path_delay_ns=float(current["meanPathDelay"]),
            utc_offset_s=int(times["currentUtcOffset"])
            if is_ptp_time and times["timeTraceable"] == "1"
            else None,
            accuracy_ns=ACCURACIES_NS[code] if 0 <= code < len(ACCURACIES_NS) else None,
        )
    except (KeyError, ValueError):
        return None
    return state if math.isfinite(state.path_delay_ns) and state.steps >= 0 else None


def is_following(port: dict[str, str] | None) -> bool:
    """Whether a port's answer is that of one that follows."""
    return port is not None and port.get("portState") in FOLLOWING


def ask_ptp(command: Sequence[str] = ("pmc",), *, socket: Path = SOCKET) -> PtpState | None:
    """What ptp4l measures now; None where there is none that answers (it is asked as root, or as
    whom its `uds_address` belongs to)."""
    if not os.access(socket, os.W_OK):
        return None
    with tempfile.TemporaryDirectory(prefix="coeval-pmc-") as folder:
        told = answer_of(
            [*command, "-u", "-b", "0", "-s", str(socket), "-i", f"{folder}/pmc"]
            + [f"GET {name}" for name in QUESTIONS]
        )
    return None if told is None else parse_pmc(told)


def card_clock(interface: str, *, root: Path = Path("/")) -> int | None:
    """The clock of a network card, as `clock_gettime` takes it; None where it has none, or it may
    not be read. The device stays open."""
    devices = sorted((root / "sys/class/net" / interface / "device/ptp").glob("ptp*"))
    if not devices:
        return None
    try:
        device = os.open(root / "dev" / devices[0].name, os.O_RDONLY)
    except OSError as exc:
        logger.warning("clock of the network card not read interface=%s reason=%s", interface, exc)
        return None
    return ~device << 3 | CLOCKFD  # FD_TO_CLOCKID of linux/posix-timers.h


class PtpStatements:
    """Turns what ptp4l says, asked now and then, into statements.

    An offset holds at the instant of its stamp, which is of the system's clock or of the network
    card's: where that lay against the node's is interpolated between this question and the one
    before. Where it was stepped meanwhile, as ptp4l does at its start, nothing is said.
    """

    def __init__(
        self,
        *,
        read: ReadClock = time.clock_gettime_ns,
        open_card: Callable[[str], int | None] = card_clock,
    ) -> None:
        """Begin to watch the system's clock.

        Args:
            read: reads the kernel's clocks.
            open_card: finds the clock of a network interface.
        """
        self._read, self._open_card = read, open_card
        self._last = {
            int(KernelClock.REALTIME): measure_difference(KernelClock.REALTIME, read=read)
        }
        self._cards: dict[str, int | None] = {}
        self._offsets_ns: deque[int] = deque(maxlen=KEPT_OFFSETS)
        self._measured_ns = 0

    def statement_of(self, state: PtpState) -> StatementSample | None:
        """Evidence of the node's clock; None where ptp4l has nothing new to say."""
        clock = self._clock_of(state)
        if clock is None:
            return None
        now = measure_difference(clock, read=self._read)
        before = self._last.get(clock)
        self._last[clock] = now
        if before is None:
            return None
        elapsed_ns = now.t_node_ns - before.t_node_ns
        moved_ns = now.difference_ns - before.difference_ns
        error_ns = now.error_ns + before.error_ns
        is_stepped = abs(moved_ns) > LARGEST_SLEW_PPM * 1e-6 * elapsed_ns + error_ns
        if state.unusable is not None or state.measured_ns == self._measured_ns or is_stepped:
            return None
        self._measured_ns = state.measured_ns
        since_ns = state.measured_ns - (before.t_node_ns + before.difference_ns)
        if not 0 < since_ns <= elapsed_ns + moved_ns + error_ns:
            return None  # measured before the system's clock was watched, or never
        slid_ns = round(moved_ns * since_ns / max(elapsed_ns, 1))
        self._offsets_ns.append(state.offset_ns)
        master_ns = state.measured_ns - state.offset_ns
        bound_ns = max(state.steps, 1) * state.path_delay_ns / 2.0
        of = f"@ptp-{state.grandmaster}"
        if state.utc_offset_s is not None and state.accuracy_ns is not None:
            master_ns -= state.utc_offset_s * NS_PER_S
            bound_ns += state.accuracy_ns
            of = UTC
        # The rate may have changed anywhere in between: the slide is good to half of it.
        placed_ns = math.hypot(error_ns, abs(moved_ns) / 2.0 / math.sqrt(3.0))
        return StatementSample(
            by="ptp4l",
            of=of,
            t_node_ns=state.measured_ns - before.difference_ns - slid_ns,
            t_utc_ns=master_ns,
            sigma_ns=math.hypot(self._scatter_ns(), LEAST_SIGMA_NS, placed_ns),
            bias_sigma_ns=max(bound_ns, LEAST_SIGMA_NS) / math.sqrt(3.0),
        )

    def _clock_of(self, state: PtpState) -> int | None:
        """The clock that stamps; None where it cannot be read."""
        if state.timestamping == "SOFTWARE":
            return KernelClock.REALTIME
        if state.interface not in self._cards:
            self._cards[state.interface] = self._open_card(state.interface)
        return self._cards[state.interface]

    def _scatter_ns(self) -> float:
        """Standard deviation of one offset, from the differences of neighbours: an unsteered
        clock's offset grows."""
        if len(self._offsets_ns) < LEAST_OFFSETS:
            return FIRST_SIGMA_NS
        values = list(self._offsets_ns)
        steps = [b - a for a, b in itertools.pairwise(values)]
        return statistics.pstdev(steps) / math.sqrt(2.0)


AskPtp = Callable[[], PtpState | None]
