"""Simulated runs of one scenario, what the filter says second by second, and its line.

Errors are those of the offset of node n against the reference, after a warm-up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from coeval.clock_findings import Finding
from coeval.evidence import SERVER
from coeval.interval import NORMAL_95
from coeval.oscillators import CLASSES
from coeval.session_clocks import SessionClocks
from coeval.smoothing import Smoother
from coeval_lab.bench.clock_plan import CHOICES, HINDSIGHT, WARM_UP_S
from coeval_lab.bench.rows import Row
from coeval_lab.simulation.crystal import PI
from coeval_lab.simulation.scenario import Scenario, SimulatedSession


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
        if smoother is not None and (filter_ := clocks.groups.of("n")) is not None:
            smoother.record(filter_)
            if second >= WARM_UP_S:
                asked.append((ref_ns - filter_.whole_offset("ref"), n_ns - ref_ns))
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
