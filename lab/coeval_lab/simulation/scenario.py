"""A simulated session of two nodes: what every source measures, and what is true.

Node `ref` is the reference, node `n` the other; both see UTC by PPS, exchange time with the
server, and share content. Sign: offset = n − ref; positive: n is fast.
"""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from coeval.evidence import SERVER, UTC, Evidence
from coeval.network import Exchange, ExchangeFilter
from coeval.pps import PpsJudge
from coeval.time import NS_PER_S, NodeNs
from coeval_lab.simulation.crystal import PI, Crystal, FloatArray, SimulatedClock
from coeval_lab.simulation.stamps import (
    UNEVEN_LAN,
    ContentErrors,
    Path,
    PulseErrors,
    content_errors,
    extra_pulses,
    path_delays,
    pulse_errors,
)

EPOCH_NS = 1_700_000_000 * 1_000_000_000
SOURCES = ("hardware", "network", "content")
ANSWER_NS = 50_000
"""The other end takes this long to answer."""
PPS_SIGMA_NS, PPS_BIAS_NS = 1_000.0, 1_000.0
CONTENT_BIAS_NS = 5e6

Span = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens in a session."""

    name: str
    """What it is called in the table."""
    crystal: Crystal = PI
    """The nodes' clocks."""
    seconds: float = 300.0
    """How long it lasts."""
    path: Path = UNEVEN_LAN
    """The network."""
    exchange_s: float = 1.0
    """Time between exchanges."""
    content_s: float = 10.0
    """Time between content windows."""
    pulses: PulseErrors = field(default_factory=PulseErrors)
    """How the nodes stamp PPS edges; with spurious or doubled ones the nodes' judge is asked."""
    no_pulses: Span | None = None
    """GPS is lost on node n."""
    no_network: Span | None = None
    """The network is cut."""
    no_content: Span | None = None
    """Nothing happens that content could show."""
    lie_from_s: float | None = None
    """From here on the PPS of node n marks the wrong instant …"""
    lie_ns: float = 50e6
    """… by this much …"""
    lie_ppb: float = 0.0
    """… and by this much more every second."""
    jump_at_s: float | None = None
    """The clock of node n steps here …"""
    jump_ns: float = 50e6
    """… by this much."""
    rate_step_at_s: float | None = None
    """The rate of node n's clock steps here …"""
    rate_step_ppb: float = 5_000.0
    """… by this much."""


class SimulatedSession:
    """One life of a scenario."""

    def __init__(self, scenario: Scenario, *, seed: int) -> None:
        """Draw everything.

        Args:
            scenario: what happens.
            seed: draws the clocks and all errors; the same for every choice of sources.
        """
        self.scenario = scenario
        rng = np.random.default_rng(seed)
        jumps: tuple[tuple[float, float], ...] = ()
        if scenario.jump_at_s is not None:
            jumps = ((scenario.jump_at_s, scenario.jump_ns),)
        rate_steps: tuple[tuple[float, float], ...] = ()
        if scenario.rate_step_at_s is not None:
            rate_steps = ((scenario.rate_step_at_s, scenario.rate_step_ppb),)
        self.clocks = {
            "ref": SimulatedClock(scenario.crystal, rng, seconds=scenario.seconds),
            "n": SimulatedClock(
                scenario.crystal,
                rng,
                seconds=scenario.seconds,
                jumps=jumps,
                rate_steps=rate_steps,
            ),
            SERVER: SimulatedClock(PI, rng, seconds=scenario.seconds),
        }
        self._seed = seed

    def reads(self, clock: str, t_s: FloatArray) -> list[int]:
        """A clock's readings at true instants."""
        own = self.clocks[clock]
        parts = np.round(t_s * 1e9 + own.offset_ns(t_s)).astype(np.int64)
        reading: list[int] = (parts + (EPOCH_NS + own.base_ns)).tolist()
        return reading

    def true_s(self, clock: str, readings_ns: Sequence[int]) -> FloatArray:
        """True instants (s) of a clock's readings: the other way of `reads`."""
        own = self.clocks[clock]
        base_ns = EPOCH_NS + own.base_ns
        return own.true_s(np.array([reading - base_ns for reading in readings_ns], np.float64))

    def truth_ns(self, t_s: float, *, second: str = "n", first: str = "ref") -> int:
        """Offset of one clock against another."""
        at = np.array([t_s])
        return self.reads(second, at)[0] - self.reads(first, at)[0]

    def evidence(self, sources: tuple[str, ...]) -> Iterator[tuple[float, Evidence]]:
        """What the sources measure, in true order, with the instant at which it is there."""
        streams: list[Iterator[tuple[float, Evidence]]] = []
        if "hardware" in sources:
            streams += [self._pulses("ref"), self._pulses("n")]
        if "network" in sources:
            streams += [self._exchanges("ref"), self._exchanges("n")]
        if "content" in sources:
            streams += [self._content()]
        return heapq.merge(*streams, key=lambda item: item[0])

    def exchanges(self, node: str) -> list[tuple[float, Exchange]]:
        """The raw exchanges of a node with the server, with the instant of each one's end."""
        s = self.scenario
        rng = np.random.default_rng([self._seed, 1, node == "n"])
        start = 0.3 if node == "ref" else 0.6
        t_s = np.arange(start, s.seconds - 1.0, s.exchange_s)
        there, back, is_through = path_delays(s.path, rng, t_s)
        at_server = t_s + there * 1e-9
        answered = at_server + ANSWER_NS * 1e-9
        at_node = answered + back * 1e-9
        columns = (
            self.reads(node, t_s),
            self.reads(SERVER, at_server),
            self.reads(SERVER, answered),
            self.reads(node, at_node),
        )
        return [
            (end_s, Exchange(t1_ns=t1, t2_ns=t2, t3_ns=t3, t4_ns=t4))
            for end_s, through, t1, t2, t3, t4 in zip(at_node, is_through, *columns, strict=True)
            if through and not is_within(end_s, s.no_network)
        ]

    def pulse_stamps(self, node: str) -> list[tuple[float, int]]:
        """Every pulse that the node's kernel stamps: true instant, and stamp on its clock."""
        s, rng = self.scenario, np.random.default_rng([self._seed, 2, node == "n"])
        t_s = np.arange(1.0, s.seconds)
        errors, is_seen = pulse_errors(s.pulses, rng, len(t_s))
        pulses = [
            (second, stamp + round(error))
            for second, stamp, error, seen in zip(
                t_s.tolist(), self.reads(node, t_s), errors, is_seen, strict=True
            )
            if seen
        ]
        if s.pulses.spurious or s.pulses.doubled:
            extra_s = extra_pulses(s.pulses, rng, len(t_s))
            pulses += zip(extra_s.tolist(), self.reads(node, extra_s), strict=True)
            pulses.sort()
        return [
            (at_s, stamp)
            for at_s, stamp in pulses
            if node != "n" or not is_within(at_s, s.no_pulses)
        ]

    def _pulses(self, node: str) -> Iterator[tuple[float, Evidence]]:
        s = self.scenario
        judge = PpsJudge() if s.pulses.spurious or s.pulses.doubled else None
        for at_s, t_node_ns in self.pulse_stamps(node):
            if judge is not None and judge.push(NodeNs(t_node_ns)).verdict != "good":
                continue
            second = round(at_s)
            lie_ns = 0.0
            if node == "n" and s.lie_from_s is not None and second >= s.lie_from_s:
                lie_ns = s.lie_ns + s.lie_ppb * (second - s.lie_from_s)
            utc_ns = EPOCH_NS + second * NS_PER_S - round(lie_ns)
            yield (
                at_s,
                Evidence(
                    kind="hardware",
                    source=f"pps/{node}",
                    first=UTC,
                    second=node,
                    t_second_ns=t_node_ns,
                    offset_ns=t_node_ns - utc_ns,
                    sigma_ns=PPS_SIGMA_NS,
                    bias_sigma_ns=PPS_BIAS_NS,
                ),
            )

    def _exchanges(self, node: str) -> Iterator[tuple[float, Evidence]]:
        filter_ = ExchangeFilter(node=node, other=SERVER)
        for end_s, exchange in self.exchanges(node):
            evidence = filter_.push(exchange)
            if evidence is not None:
                yield end_s, evidence

    def _content(self) -> Iterator[tuple[float, Evidence]]:
        s, rng = self.scenario, np.random.default_rng([self._seed, 3])
        t_s = np.arange(s.content_s, s.seconds, s.content_s)
        errors, sigmas = content_errors(ContentErrors(), rng, len(t_s))
        # A window tells of its middle, and is there when it has ended.
        middle_s = t_s - 0.5 * s.content_s
        stamps = zip(self.reads("ref", middle_s), self.reads("n", middle_s), strict=True)
        for there_s, (ref_ns, n_ns), error, sigma in zip(t_s, stamps, errors, sigmas, strict=True):
            if is_within(there_s, s.no_content):
                continue
            yield (
                there_s,
                Evidence(
                    kind="content",
                    source="content/ref-n",
                    first="ref",
                    second="n",
                    t_second_ns=n_ns + round(error),
                    offset_ns=n_ns - ref_ns + round(error),
                    sigma_ns=float(sigma),
                    bias_sigma_ns=CONTENT_BIAS_NS,
                ),
            )


def is_within(t_s: float, span: Span | None) -> bool:
    """Whether an instant lies in a span; never in none."""
    return span is not None and span[0] <= t_s < span[1]
