"""What the emulated probe is put through, and how far its stamps are from the truth.

A case says when pulses and edges truly happen; the board's crystal is off by a known rate, so each
falls into a known cycle. The error of an edge is the time that the probe states, in seconds and ns
of its pulses, less the true one.
"""

import bisect
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from coeval_edge.sources.probe_wire import Edge, ProbeStream, Pulse, Record, Status
from coeval_lab.probe_emulator.board import CPU_HZ, PIN_EVENT_1, PIN_EVENT_2, PIN_PPS, Board

WRAP_S = 2**32 * 16e-9
"""The counter of 32 bits runs over after so long."""
TICK_NS = 16
MOST_ERROR_NS = 2 * TICK_NS
START_CYCLES = 1_250_000
"""From the firmware's start to second 0."""
EDGE_CYCLES = 40
"""How long an edge's level lasts, where edges are far from each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What happens to a board; times in true seconds, second 0 some 10 ms after its start."""

    name: str
    """For people."""
    ppm: float
    """Error of the crystal; positive: fast."""
    until_s: float
    """The end."""
    pulses: Sequence[float]
    """On the PPS input, whatever they are."""
    edges: Sequence[Sequence[float]]
    """Rising edges on the event inputs."""
    edge_cycles: int = EDGE_CYCLES
    """How long an edge's level lasts, and a pulse's."""
    wander_ppb: float = 0.0
    """By how much the crystal's rate walks in a second, one standard deviation."""
    scored_from_s: float = 4.0
    """Edges before it are not scored: the clock has no pulses yet."""
    most_error_ns: float = MOST_ERROR_NS
    """What no edge may exceed; in holdover three of the stated standard deviations."""
    is_holdover: bool = False
    """Whether an edge is held to what the probe states of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a case."""

    case: Case
    """The case."""
    records: list[Record]
    """All that the probe said."""
    errors_ns: list[float]
    """Stated − true, of the scored edges."""
    sigmas_ns: list[int | None]
    """What the probe stated of each of them."""
    num_events: int
    """Edges that happened."""
    num_lost: int
    """Edges that were not told."""
    num_unplaced: int
    """Scored edges without a time."""
    wire_counts: dict[str, int] = field(default_factory=dict)
    """What became of the bytes."""

    @property
    def statuses(self) -> list[Status]:
        """In order."""
        return [record for record in self.records if isinstance(record, Status)]

    @property
    def pulses(self) -> list[Pulse]:
        """In order."""
        return [record for record in self.records if isinstance(record, Pulse)]

    @property
    def is_within(self) -> bool:
        """Whether every edge was told, and none is farther off than it may be."""
        limits = [self.case.most_error_ns] * len(self.errors_ns)
        if self.case.is_holdover:
            limits = [3.0 * (sigma or math.inf) for sigma in self.sigmas_ns]
        pairs = zip(self.errors_ns, limits, strict=True)
        return not (self.num_lost or self.num_unplaced) and all(abs(e) <= lim for e, lim in pairs)


class CaseRun:
    """A board that is taken through a case."""

    def __init__(self, image: bytes, case: Case, *, program: bytes | None = None) -> None:
        self.board = Board(image, program=program)
        """The board, booted."""
        self.case = case
        """The case."""
        self.board.boot()
        self._start = self.board.cycle + START_CYCLES
        self._seconds = crystal_cycles(case)
        self.board.pulse(PIN_PPS, map(self.cycle_of, case.pulses), width=case.edge_cycles)
        for pin, times in zip((PIN_EVENT_1, PIN_EVENT_2), case.edges, strict=False):
            self.board.pulse(pin, map(self.cycle_of, times), width=case.edge_cycles)

    def cycle_of(self, t_s: float) -> int:
        """The cycle in which a thing of that true time is first seen."""
        whole = math.floor(t_s)
        before, after = self._seconds[whole], self._seconds[whole + 1]
        return self._start + math.ceil(before + (t_s - whole) * (after - before))

    def time_of(self, cycle: int) -> float:
        """True time of a cycle."""
        since = cycle - self._start
        whole = max(bisect.bisect(self._seconds, since) - 1, 0)
        before, after = self._seconds[whole], self._seconds[whole + 1]
        return whole + (since - before) / (after - before)

    def finish(self) -> Outcome:
        """Run to the end, and compare."""
        self.board.run_until(self.cycle_of(self.case.until_s))
        stream = ProbeStream()
        records = [record for record, _ in stream.push(self.board.take_sent())]
        return score(self.case, records, dict(stream.counts))


def crystal_cycles(case: Case) -> list[float]:
    """Cycles of the crystal at every true second from 0 on."""
    rng = random.Random(case.name)
    rate = case.ppm * 1e-6
    cycles = [0.0]
    for _ in range(math.ceil(case.until_s) + 1):
        cycles.append(cycles[-1] + CPU_HZ * (1.0 + rate))
        rate += rng.gauss(0.0, case.wander_ppb * 1e-9)
    return cycles


def run_case(image: bytes, case: Case, *, program: bytes | None = None) -> Outcome:
    """Take a fresh board through a case, with the firmware's capture program or another."""
    return CaseRun(image, case, program=program).finish()


def score(case: Case, records: list[Record], counts: dict[str, int]) -> Outcome:
    """Compare what the probe told with what happened."""
    errors: list[float] = []
    sigmas: list[int | None] = []
    num_lost = num_unplaced = 0
    for number, times in enumerate(case.edges, start=1):
        told = [each for each in records if isinstance(each, Edge) and each.input == number]
        num_lost += abs(len(times) - len(told))
        for t_s, edge in zip(times, told, strict=False):
            if t_s < case.scored_from_s:
                continue
            if edge.at.second is None or edge.at.ns is None:
                num_unplaced += 1
                continue
            whole = math.floor(t_s)
            since_ns = (edge.at.second - whole) * 1e9 + edge.at.ns
            errors.append(since_ns - (t_s - whole) * 1e9)
            sigmas.append(edge.at.sigma_ns)
    return Outcome(
        case=case,
        records=records,
        errors_ns=errors,
        sigmas_ns=sigmas,
        num_events=sum(map(len, case.edges)),
        num_lost=num_lost,
        num_unplaced=num_unplaced,
        wire_counts=counts,
    )


def scattered(rng: random.Random, num: int, start_s: float, end_s: float) -> list[float]:
    """Edges at random times, at least 2 µs apart."""
    times = sorted(rng.uniform(start_s, end_s) for _ in range(num))
    return [t for k, t in enumerate(times) if k == 0 or t - times[k - 1] > 2e-6]


def steady(ppm: float, *, seed: int = 1) -> Case:
    """Pulses every second, edges at random times on both inputs."""
    rng = random.Random(seed)
    return Case(
        name=f"crystal {ppm:+g} ppm",
        ppm=ppm,
        until_s=11.0,
        pulses=[float(k) for k in range(11)],
        edges=[scattered(rng, 100, 3.2, 10.9), scattered(rng, 100, 3.2, 10.9)],
    )


def wrap(*, seed: int = 2) -> Case:
    """Through the wrap of the counter's 32 bits, which the firmware's clock must not notice."""
    rng = random.Random(seed)
    around = scattered(rng, 120, WRAP_S - 1.5, WRAP_S + 1.5)
    return Case(
        name="through the wrap at 68.7 s",
        ppm=-50.0,
        until_s=WRAP_S + 2.0,
        pulses=[float(k) for k in range(int(WRAP_S) + 2)],
        edges=[scattered(rng, 60, 4.0, WRAP_S - 2), around],
    )


def bad_pulses(*, seed: int = 3) -> Case:
    """Pulses that miss, come early, come twice, or come when none is due."""
    rng = random.Random(seed)
    pulses = [float(k) for k in range(20) if k not in (9, 12, 13)]
    pulses += [7.7, 8.000004, 10.003, 13.4, 15.9999, 16.0000005]
    return Case(
        name="missing, early, doubled pulses",
        ppm=21.7,
        until_s=20.0,
        pulses=sorted(pulses),
        edges=[scattered(rng, 150, 4.0, 19.9)],
    )


def burst(*, seed: int = 4) -> Case:
    """Edges 80 ns apart, 300 in a row, on both inputs at once."""
    rng = random.Random(seed)
    starts = [5.0 + rng.random(), 6.3 + rng.random()]
    edges = [start + k * 80e-9 for start in starts for k in range(300)]
    return Case(
        name="bursts 80 ns apart",
        ppm=50.0,
        until_s=8.5,
        pulses=[float(k) for k in range(9)],
        edges=[edges, [t + 17e-9 for t in edges]],
        edge_cycles=5,
    )


def rush(*, seconds: float = 2.0, seed: int = 5) -> Case:
    """3 000 edges a second."""
    rng = random.Random(seed)
    num = round(3000 * seconds)
    times = sorted(5.0 + seconds * (k + rng.random() * 0.9) / num for k in range(num))
    return Case(
        name="3000 edges a second at 921600 baud",
        ppm=-13.0,
        until_s=5.0 + seconds + 1.0,
        pulses=[float(k) for k in range(int(6 + seconds))],
        edges=[times[::2], times[1::2]],
    )


def holdover(*, seed: int = 6) -> Case:
    """Pulses that stop for a minute and come back."""
    rng = random.Random(seed)
    return Case(
        name="holdover of 60 s",
        ppm=48.9,
        until_s=76.0,
        pulses=[float(k) for k in (*range(12), *range(71, 76))],
        edges=[scattered(rng, 240, 11.0, 75.9)],
        wander_ppb=5.0,
        is_holdover=True,
    )


def wandering(*, seed: int = 7) -> Case:
    """A crystal whose rate walks, as one without compensation does."""
    rng = random.Random(seed)
    return Case(
        name="crystal that walks by 1 ppb/√s",
        ppm=11.0,
        until_s=40.0,
        pulses=[float(k) for k in range(40)],
        edges=[scattered(rng, 240, 4.0, 39.9)],
        wander_ppb=1.0,
    )
