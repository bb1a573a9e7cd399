"""What `coeval bench time` simulates: scenarios, choices of sources, and how many runs of each."""

from dataclasses import dataclass, replace
from pathlib import Path

from coeval_lab.simulation.crystal import CRYSTALS, USB
from coeval_lab.simulation.scenario import SOURCES, Scenario
from coeval_lab.simulation.stamps import BUSY_WIFI

WARM_UP_S = 60.0
CHOICES: dict[str, tuple[str, ...]] = {
    "hardware": ("hardware",),
    "network": ("network",),
    "content": ("content",),
    "joint": SOURCES,
}
CALM = tuple(Scenario(name=f"calm, {name}", crystal=c) for name, c in CRYSTALS.items())
GPS_LOST = Scenario(name="GPS lost for 150 s", no_pulses=(100.0, 250.0))
NETWORK_CUT = Scenario(name="network cut for 150 s", no_network=(100.0, 250.0))
CONTENT_SILENT = Scenario(name="content silent for 150 s", no_content=(100.0, 250.0))
LIE = Scenario(name="PPS lies by 50 ms from 150 s on", lie_from_s=150.0)
JUMP = Scenario(name="clock jumps by 50 ms at 150 s", jump_at_s=150.5)
ONE_AFTER_THE_OTHER = Scenario(
    name="GPS lost, network cut, one after the other",
    no_pulses=(80.0, 200.0),
    no_network=(180.0, 280.0),
)
NO_PULSES_AT_ALL = replace(GPS_LOST, name="no GPS at all on n", no_pulses=(0.0, 1e9))
GPS_LOST_FOR_GOOD = Scenario(
    name="GPS lost for good at 120 s, usb",
    crystal=USB,
    seconds=600.0,
    no_pulses=(120.0, 1e9),
)
NO_PULSES_BUSY = replace(NO_PULSES_AT_ALL, name="no GPS on n, busy wifi", path=BUSY_WIFI)
FAULTS = (
    GPS_LOST,
    NETWORK_CUT,
    CONTENT_SILENT,
    LIE,
    JUMP,
    ONE_AFTER_THE_OTHER,
    NO_PULSES_AT_ALL,
    GPS_LOST_FOR_GOOD,
    NO_PULSES_BUSY,
)
MIXED = (LIE, JUMP, GPS_LOST_FOR_GOOD, NO_PULSES_BUSY)
"""Where no source alone is the best all the time."""
HINDSIGHT = (GPS_LOST, NETWORK_CUT, GPS_LOST_FOR_GOOD)
"""Scenarios that are also told in hindsight."""
CANNOT_TELL = {
    (LIE.name, "hardware"): "a clock that steps and a PPS that does look the same to PPS alone"
}
"""Lines whose interval no estimator could get right, and why: shown, not judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is simulated."""

    seed: int
    """The first seed."""
    calm_runs: int
    """Runs of each clock class without faults."""
    fault_runs: int
    """Runs of each fault."""
    path_runs: int
    """Runs of each network path beside the baselines."""


FULL = Plan(seed=1, calm_runs=340, fault_runs=200, path_runs=100)
QUICK = Plan(seed=1, calm_runs=12, fault_runs=6, path_runs=6)


def plan_of(
    *, quick: bool, seed: int, recordings: Path | None = None, with_peers: bool = True
) -> Plan:
    """What to simulate; recordings and peers play no part."""
    del recordings, with_peers
    return replace(QUICK if quick else FULL, seed=seed)


def seen_by(scenario: Scenario, source: str) -> Scenario:
    """The scenario as a choice of sources sees it: without what concerns others alone.

    Its name stays where it differs from a calm day at all, so that what is not judged, or told in
    hindsight, is known by it.
    """
    sources = CHOICES[source]
    plain = Scenario(name=scenario.name)
    if "hardware" not in sources:
        scenario = replace(
            scenario,
            pulses=plain.pulses,
            no_pulses=None,
            lie_from_s=None,
            lie_ns=plain.lie_ns,
            lie_ppb=plain.lie_ppb,
        )
    if "network" not in sources:
        scenario = replace(scenario, path=plain.path, exchange_s=plain.exchange_s, no_network=None)
    if "content" not in sources:
        scenario = replace(scenario, content_s=plain.content_s, no_content=None)
    return scenario if len(sources) > 1 else replace(scenario, name=source)
