"""`coeval bench time`: hardware, network, content and all together, in simulated time.

Every run draws clocks, networks and errors from a seed; the same seed serves every choice of
sources, so that lines of one scenario can be compared. Errors are those of the offset of node n
against the reference, second by second, after a warm-up.
"""

import math
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path as FilePath
from typing import Any

import numpy as np

from coeval.evidence import SERVER
from coeval.interval import NORMAL_95
from coeval.network import ExchangeFilter
from coeval.oscillators import CLASSES
from coeval.session_clocks import Finding, SessionClocks, whole_offset
from coeval.smoothing import Smoother
from coeval_lab.bench.bars import Bar
from coeval_lab.bench.clock_cost import cost_rows
from coeval_lab.bench.ranges import Range, draw_ranges
from coeval_lab.bench.report import Page
from coeval_lab.bench.time_baselines import BASELINES
from coeval_lab.simulation.crystal import CRYSTALS, PI, USB
from coeval_lab.simulation.scenario import SOURCES, Scenario, SimulatedSession
from coeval_lab.simulation.stamps import BUSY_WIFI, QUIET_LAN, UNEVEN_LAN, Path

Row = dict[str, Any]
Say = Callable[[str], None]

WORKERS = 2
WARM_UP_S = 60.0
CHOICES: dict[str, tuple[str, ...]] = {
    "hardware": ("hardware",),
    "network": ("network",),
    "content": ("content",),
    "joint": SOURCES,
}
CALM = tuple(Scenario(name=f"calm, {name}", crystal=c) for name, c in CRYSTALS.items())
FAULTS = (
    Scenario(name="GPS lost for 150 s", no_pulses=(100.0, 250.0)),
    Scenario(name="network cut for 150 s", no_network=(100.0, 250.0)),
    Scenario(name="content silent for 150 s", no_content=(100.0, 250.0)),
    Scenario(name="PPS lies by 50 ms from 150 s on", lie_from_s=150.0),
    Scenario(name="clock jumps by 50 ms at 150 s", jump_at_s=150.5),
    Scenario(
        name="GPS lost, network cut, one after the other",
        no_pulses=(80.0, 200.0),
        no_network=(180.0, 280.0),
    ),
)
NO_PULSES_AT_ALL = replace(FAULTS[0], name="no GPS at all on n", no_pulses=(0.0, 1e9))
GPS_LOST_FOR_GOOD = Scenario(
    name="GPS lost for good at 120 s, usb",
    crystal=USB,
    seconds=600.0,
    no_pulses=(120.0, 1e9),
)
NO_PULSES_BUSY = replace(NO_PULSES_AT_ALL, name="no GPS on n, busy wifi", path=BUSY_WIFI)
LIE, JUMP = FAULTS[3], FAULTS[4]
MIXED = (LIE, JUMP, GPS_LOST_FOR_GOOD, NO_PULSES_BUSY)
"""Where no source alone is the best all the time."""
HINDSIGHT = (FAULTS[0], FAULTS[1], GPS_LOST_FOR_GOOD)
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
    *, quick: bool, seed: int, recordings: FilePath | None = None, with_peers: bool = True
) -> Plan:
    """What to simulate; recordings and peers play no part."""
    del recordings, with_peers
    return replace(QUICK if quick else FULL, seed=seed)


def plot_errors(rows: Sequence[Row], path: FilePath) -> None:
    """Median, RMS and 95th percentile of each line, on a logarithmic axis."""
    colours = {"hardware": "#4C78A8", "network": "#F58518", "content": "#54A24B"}
    ranges = [
        Range(
            name=f"{row['scenario']} · {row['source']}",
            colour=colours.get(row["source"].split(":")[0], "#B279A2"),
            ends=(row["median_s"], row["p95_s"]),
            dot=row["median_s"],
            tick=row["rms_s"],
        )
        for row in rows
        if row["rms_s"]
    ]
    says = "error (s): median (dot) to 95th percentile, RMS (bar)"
    draw_ranges(ranges, says=says, width_in=9).savefig(path, dpi=110)


PAGE = Page(
    title="error of the offset of node n against the reference, second by second",
    columns=(
        "scenario",
        "source",
        "rms_s",
        "median_s",
        "p95_s",
        "max_s",
        "coverage95",
        "runs",
        "stated",
        "false_jumps_per_day",
        "jumps_found",
        "samples_to_jump",
        "samples_to_jump_max",
        "coverage95_with_blind",
        "blind_s",
        "us_per_sample",
        "pairs",
        "pairs_chosen",
        "choice_ms",
    ),
    names=("scenario", "source"),
    explanation=(
        "Simulated time: clocks, networks and errors as `coeval_lab.simulation` draws them, runs "
        f"of 300 s of which the first {WARM_UP_S:.0f} s are left out. `coverage95` is the share of "
        "seconds whose error lies in the stated 95% interval, `stated` the share of seconds for "
        "which anything was stated (both %). A run has one asymmetry of each path and one latency "
        "of each sensor, and its seconds share them: from one draw of seeds to the next the "
        "coverage of 200 runs moves by 1.5 points.\n\n"
        "An interval can speak of what was measured until its moment, and of nothing later: from a "
        "jump until the first sample that was taken after it, no evidence of it exists. Those "
        "seconds (`blind_s` a run) are left out of `coverage95` and counted in "
        "`coverage95_with_blind`; every second after the first such sample counts, before the jump "
        "is told too. To PPS alone a PPS that steps and a clock that steps are the same "
        "measurements; the line is in the table and its interval is not judged. Where nothing is "
        "stated there is no interval to judge.\n\n"
        "`joint, in hindsight` is what the smoother says of the same seconds when the run is over. "
        "A path's lines are node n against the server on the same exchanges; there the interval "
        "holds more than it says: it has to allow for the least delay lying wholly on one way, "
        "which on `quiet-lan` it does not. The baselines are reimplemented from their "
        "documentation and labelled so: chrony itself reads the system's clock, and could be run "
        "on simulated exchanges only with clknetsim, which no registry has. `cost`: CPU time of a "
        "sample in a filter of n nodes that all have PPS and exchanges, and of choosing the "
        "content pairs to compare next, two a node."
    ),
    plot=plot_errors,
    caption="errors by scenario and source",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came of one run."""

    errors_ns: np.ndarray
    """Estimated − true, second by second where something was stated, shape (n,)."""
    halves_ns: np.ndarray
    """Half-widths of the stated 95% intervals, shape (n,)."""
    is_blind: np.ndarray
    """Whether the clock had jumped and no sample taken after that was there yet, shape (n,)."""
    findings: tuple[tuple[float, Finding], ...]
    """What was found, with the instant."""
    later_errors_ns: np.ndarray
    """Errors in hindsight, second by second; empty where none was asked for."""
    later_halves_ns: np.ndarray
    """Half-widths of the intervals in hindsight."""
    jump_samples: int | None
    """Samples of the source that told a jump, from the jump on; None: no jump was told."""


def run(
    plan: Plan,
    *,
    say: Say,
    keep: Callable[[Sequence[Row]], None] = lambda _: None,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[list[Row], list[Bar]]:
    """Every scenario with every choice of sources, the paths with the baselines, and the bars."""
    scenarios = [(scenario, plan.calm_runs) for scenario in CALM]
    others = (*FAULTS, NO_PULSES_AT_ALL, GPS_LOST_FOR_GOOD, NO_PULSES_BUSY)
    scenarios += [(scenario, plan.fault_runs) for scenario in others]
    paths = (QUIET_LAN, UNEVEN_LAN, BUSY_WIFI)
    rows: list[Row] = []
    num_parts = len(scenarios) + len(paths)
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WORKERS, mp_context=spawned) as pool:
        # A source alone sees nothing of what befalls the others: many lines are one and the same.
        lines: dict[tuple[Scenario, str, int], Future[list[Row]]] = {}
        for scenario, runs in scenarios:
            for source in CHOICES:
                key = (seen_by(scenario, source), source, runs)
                if key not in lines:
                    lines[key] = pool.submit(scenario_rows, *key, plan.seed)
        on_paths = [pool.submit(path_rows, path, plan.path_runs, plan.seed) for path in paths]
        for k, (scenario, runs) in enumerate(scenarios, 1):
            found = [
                row | {"scenario": scenario.name}
                for source in CHOICES
                for row in lines[seen_by(scenario, source), source, runs].result()
            ]
            keep(found)
            rows += found
            say(f"done: {scenario.name}")
            progress(k / num_parts)
        for k, (path, done) in enumerate(zip(paths, on_paths, strict=True), len(scenarios) + 1):
            keep(done.result())
            rows += done.result()
            say(f"done: path {path.name}")
            progress(k / num_parts)
    cost = cost_rows(plan.seed)
    keep(cost)
    rows += cost
    return rows, bars_of(rows)


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


def scenario_rows(scenario: Scenario, source: str, runs: int, first_seed: int) -> list[Row]:
    """The lines of one scenario and one choice of sources: also in hindsight, where that is asked
    for."""
    lives = [
        simulate(scenario, seed=seed, sources=CHOICES[source])
        for seed in range(first_seed, first_seed + runs)
    ]
    rows = [row_of(scenario, source, lives)]
    if source == "joint" and scenario in HINDSIGHT:
        later = [in_hindsight(life) for life in lives]
        rows.append(row_of(scenario, "joint, in hindsight", later))
    return rows


def in_hindsight(life: Run) -> Run:
    """The run as it is told when it is over."""
    return replace(
        life,
        errors_ns=life.later_errors_ns,
        halves_ns=life.later_halves_ns,
        is_blind=np.zeros(len(life.later_errors_ns), np.bool_),
    )


def simulate(scenario: Scenario, *, seed: int, sources: tuple[str, ...]) -> Run:
    """One life, and what the filter says of it second by second."""
    session = SimulatedSession(scenario, seed=seed)
    oscillator = CLASSES[scenario.crystal.name]
    clocks = SessionClocks(
        reference="ref",
        oscillators={"ref": oscillator, "n": oscillator, SERVER: CLASSES[PI.name]},
    )
    arriving = session.evidence(sources)
    upcoming = next(arriving, None)
    t_s = np.arange(1.0, scenario.seconds)
    errors, halves, blind = [], [], []
    findings: list[tuple[float, Finding]] = []
    since_jump: dict[str, int] = {}
    jumped_ns: dict[str, int] = {}
    if scenario.jump_at_s is not None:
        at = np.array([scenario.jump_at_s])
        jumped_ns = {node: session.reads(node, at)[0] for node in ("ref", "n")}
    jump_samples: int | None = None
    has_seen = False
    smoother = Smoother() if scenario in HINDSIGHT and len(sources) > 1 else None
    asked: list[tuple[int, int]] = []
    readings = zip(t_s, session.reads("ref", t_s), session.reads("n", t_s), strict=True)
    for second, ref_ns, n_ns in readings:
        while upcoming is not None and upcoming[0] <= second:
            at_s, evidence = upcoming
            if evidence.t_second_ns >= jumped_ns.get(evidence.second, math.inf):
                since_jump[evidence.source] = since_jump.get(evidence.source, 0) + 1
                has_seen |= "n" in (evidence.first, evidence.second)
            for found in clocks.push(evidence):
                findings.append((at_s, found))
                if found.kind == "jump" and jump_samples is None and since_jump:
                    jump_samples = since_jump.get(found.source, 0)
            upcoming = next(arriving, None)
        state = clocks.at("n", ref_ns)
        if smoother is not None and (filter_ := clocks.group_of("n")) is not None:
            smoother.record(filter_)
            if second >= WARM_UP_S:
                asked.append((ref_ns - whole_offset(filter_, "ref"), n_ns - ref_ns))
        if state is not None and second >= WARM_UP_S:
            errors.append(state.offset_ns - (n_ns - ref_ns))
            halves.append(state.ci95_ns)
            has_jumped = scenario.jump_at_s is not None and second >= scenario.jump_at_s
            blind.append(has_jumped and not has_seen)
    later = [] if smoother is None else looked_back(smoother, asked)
    return Run(
        later_errors_ns=np.array([error for error, _ in later], np.float64),
        later_halves_ns=np.array([half for _, half in later], np.float64),
        errors_ns=np.array(errors, np.float64),
        halves_ns=np.array(halves, np.float64),
        is_blind=np.array(blind, np.bool_),
        findings=tuple(findings),
        jump_samples=jump_samples,
    )


def looked_back(smoother: Smoother, asked: Sequence[tuple[int, int]]) -> list[tuple[float, float]]:
    """Errors and half-widths in hindsight.

    Args:
        smoother: has the states of all seconds.
        asked: instants of the root, and the true offset (n − ref) there.
    """
    found = []
    for t_root_ns, truth_ns in asked:
        told = smoother.at("n", t_root_ns, against="ref")
        if told is not None:
            whole_ns, rest_ns, _, spread = told
            half_ns = NORMAL_95 * math.sqrt(spread[0, 0])
            found.append((float(whole_ns - truth_ns) + rest_ns, half_ns))
    return found


def row_of(scenario: Scenario, source: str, lives: Sequence[Run]) -> Row:
    """The line of a scenario and a choice of sources."""
    errors = np.concatenate([life.errors_ns for life in lives])
    halves = np.concatenate([life.halves_ns for life in lives])
    days = len(lives) * scenario.seconds / 86_400
    jumps = [
        at_s
        for life in lives
        for at_s, found in life.findings
        if found.kind == "jump" and (scenario.jump_at_s is None or at_s < scenario.jump_at_s)
    ]
    row: Row = {"scenario": scenario.name, "source": source, **error_columns(errors)}
    is_blind = np.concatenate([life.is_blind for life in lives])
    is_inside = np.abs(errors) <= halves
    row["coverage95"] = share(is_inside[~is_blind])
    row["runs"] = len(lives)
    row["stated"] = round(100 * len(errors) / (len(lives) * (scenario.seconds - WARM_UP_S)), 1)
    if scenario.lie_from_s is None:
        row["false_jumps_per_day"] = round(len(jumps) / days, 3)
    if scenario.jump_at_s is not None:
        told = [life.jump_samples for life in lives if life.jump_samples is not None]
        row["jumps_found"] = round(100 * len(told) / len(lives), 1)
        row["samples_to_jump"] = float(np.median(told)) if told else None
        row["samples_to_jump_max"] = max(told, default=None)
        row["blind_s"] = round(float(is_blind.sum()) / len(lives), 2)
        row["coverage95_with_blind"] = share(is_inside)
    return row


def error_columns(errors_ns: np.ndarray) -> Row:
    """RMS, median, 95th percentile and largest of errors, in s; None where there are none."""
    if not len(errors_ns):
        return {"rms_s": None, "median_s": None, "p95_s": None, "max_s": None}
    absolute = np.abs(errors_ns) * 1e-9
    return {
        "rms_s": float(f"{np.sqrt(np.mean(absolute**2)):.4g}"),
        "median_s": float(f"{np.median(absolute):.4g}"),
        "p95_s": float(f"{np.percentile(absolute, 95):.4g}"),
        "max_s": float(f"{absolute.max():.4g}"),
    }


def share(hits: np.ndarray) -> float | None:
    """Percentage of hits; None of nothing."""
    return round(100 * float(np.mean(hits)), 2) if len(hits) else None


def path_rows(path: Path, runs: int, first_seed: int) -> list[Row]:
    """One network path: our filter and the baselines on the same exchanges, node against server."""
    scenario = Scenario(name=f"path {path.name}", path=path)
    errors: dict[str, list[float]] = {name: [] for name in ("coeval", *BASELINES)}
    inside: list[bool] = []
    for seed in range(first_seed, first_seed + runs):
        for name, error, is_inside in follow(SimulatedSession(scenario, seed=seed)):
            errors[name].append(error)
            if is_inside is not None:
                inside.append(is_inside)
    return [
        {
            "scenario": scenario.name,
            "source": f"network: {name}",
            **error_columns(np.array(found)),
            "coverage95": share(np.array(inside)) if name == "coeval" else None,
            "runs": runs,
        }
        for name, found in errors.items()
    ]


def follow(session: SimulatedSession) -> Iterator[tuple[str, float, bool | None]]:
    """Estimates of node n against the server, every five seconds: method, error, inside."""
    exchanges = session.exchanges("n")
    filter_ = ExchangeFilter(node="n", other=SERVER)
    oscillator = CLASSES[session.scenario.crystal.name]
    clocks = SessionClocks(
        reference=SERVER, oscillators={"n": oscillator, SERVER: CLASSES[PI.name]}
    )
    others = {name: make() for name, make in BASELINES.items()}
    upcoming = 0
    t_s = np.arange(WARM_UP_S, session.scenario.seconds, 5.0)
    readings = zip(t_s, session.reads(SERVER, t_s), session.reads("n", t_s), strict=True)
    for second, server_ns, n_ns in readings:
        while upcoming < len(exchanges) and exchanges[upcoming][0] <= second:
            exchange = exchanges[upcoming][1]
            evidence = filter_.push(exchange)
            if evidence is not None:
                clocks.push(evidence)
            for other in others.values():
                other.push(exchange)
            upcoming += 1
        truth_ns = n_ns - server_ns
        state = clocks.at("n", server_ns)
        if state is not None:
            error = float(state.offset_ns - truth_ns)
            yield "coeval", error, abs(error) <= state.ci95_ns
        for name, other in others.items():
            found = other.at(n_ns)
            if found is not None:
                yield name, found - truth_ns, None


def bars_of(rows: Sequence[Row]) -> list[Bar]:
    """How the promises stand."""
    by_name = {(row["scenario"], row["source"]): row for row in rows}
    names = list(dict.fromkeys(row["scenario"] for row in rows if "stated" in row))
    bars = [joint_bar(by_name, names), mixed_bar(by_name), coverage_bar(by_name, names)]
    pps = [by_name[scenario.name, "hardware"] for scenario in CALM]
    bars.append(
        Bar(
            name="PPS-disciplined node, RMS",
            wanted="≤ 2 µs",
            got="; ".join(f"{row['scenario']}: {row['rms_s'] * 1e6:.2f}" for row in pps),
            met=all(row["rms_s"] <= 2e-6 for row in pps),
        )
    )
    quiet = by_name[f"path {QUIET_LAN.name}", "network: coeval"]
    bars.append(
        Bar(
            name="exchange on a quiet LAN, median",
            wanted="≤ 100 µs",
            got=f"{quiet['median_s'] * 1e6:.1f}",
            met=quiet["median_s"] <= 100e-6,
        )
    )
    jump = [by_name[JUMP.name, source] for source in CHOICES]
    bars.append(
        Bar(
            name="jump of 50 ms, samples until it is told (median; share found)",
            wanted="< 3; 100%",
            got="; ".join(
                f"{row['source']}: {row['samples_to_jump']}, {row['jumps_found']}%" for row in jump
            ),
            met=all(
                row["samples_to_jump"] is not None
                and row["samples_to_jump"] < 3
                and row["jumps_found"] == 100.0
                for row in jump
            ),
        )
    )
    calm = [by_name[scenario.name, source] for scenario in CALM for source in CHOICES]
    bars.append(
        Bar(
            name="false jumps a simulated day, calm",
            wanted="< 1",
            got="; ".join(
                f"{row['scenario']}, {row['source']}: {row['false_jumps_per_day']}"
                for row in calm
                if row["false_jumps_per_day"] > 0
            )
            or "none",
            met=all(row["false_jumps_per_day"] < 1 for row in calm),
        )
    )
    holdover = by_name[FAULTS[0].name, "hardware"]
    bars.append(
        Bar(
            name="holdover: GPS lost, hardware alone, error inside the interval",
            wanted="≥ 93%",
            got=f"{holdover['coverage95']}",
            met=(holdover["coverage95"] or 0) >= 93.0,
        )
    )
    return bars


def joint_bar(by_name: dict[tuple[str, str], Row], names: Sequence[str]) -> Bar:
    """All evidence against the best source alone, where that states as much."""
    ratios = {}
    for name in names:
        joint = by_name[name, "joint"]
        alone = [
            by_name[name, source]["rms_s"]
            for source in SOURCES
            if by_name[name, source]["stated"] >= 0.99 * joint["stated"]
        ]
        ratios[name] = joint["rms_s"] / min(alone) if alone else 0.0
    return Bar(
        name="joint RMS over the best single source's",
        wanted="≤ 1.05 in every row",
        got="; ".join(f"{name}: {ratio:.3f}" for name, ratio in ratios.items()),
        met=max(ratios.values()) <= 1.05,
    )


def mixed_bar(by_name: dict[tuple[str, str], Row]) -> Bar:
    """All evidence against each source alone, where none of them is the best all the time."""
    ratios = {}
    for scenario in MIXED:
        alone = [by_name[scenario.name, source]["rms_s"] for source in SOURCES]
        best = min(rms for rms in alone if rms is not None)
        ratios[scenario.name] = by_name[scenario.name, "joint"]["rms_s"] / best
    return Bar(
        name="joint RMS over the best single source's, mixed rows",
        wanted="< 1",
        got="; ".join(f"{name}: {ratio:.3f}" for name, ratio in ratios.items()),
        met=max(ratios.values()) < 1.0,
    )


def coverage_bar(by_name: dict[tuple[str, str], Row], names: Sequence[str]) -> Bar:
    """How often intervals hold the truth."""
    outside = {
        f"{name}, {source}": by_name[name, source]["coverage95"]
        for name in names
        for source in CHOICES
        if by_name[name, source]["stated"] > 0
        and (name, source) not in CANNOT_TELL
        and not 93.0 <= by_name[name, source]["coverage95"] <= 97.0
    }
    shown = [
        f"{name}, {source}: {by_name[name, source]['coverage95']} (not judged: {why})"
        for (name, source), why in CANNOT_TELL.items()
    ]
    return Bar(
        name="95% interval covers",
        wanted="93–97% in every row",
        got="; ".join(
            [*(f"{key}: {value}" for key, value in outside.items()), *shown]
            if outside
            else ["in every row", *shown]
        ),
        met=not outside,
    )
