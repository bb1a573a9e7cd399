"""The promises of `coeval bench time`, and how its rows stand to them."""

from collections.abc import Mapping, Sequence

from coeval_lab.bench.bars import Bar
from coeval_lab.bench.clock_plan import CALM, CANNOT_TELL, CHOICES, GPS_LOST, JUMP, MIXED
from coeval_lab.bench.rows import Row
from coeval_lab.simulation.scenario import SOURCES
from coeval_lab.simulation.stamps import QUIET_LAN

ByName = Mapping[tuple[str, str], Row]
"""Rows by their scenario and choice of sources."""


def bars_of(rows: Sequence[Row]) -> list[Bar]:
    """How the promises stand."""
    by_name = {(row["scenario"], row["source"]): row for row in rows}
    names = list(dict.fromkeys(row["scenario"] for row in rows if "stated" in row))
    return [
        joint_bar(by_name, names),
        mixed_bar(by_name),
        coverage_bar(by_name, names),
        pps_bar(by_name),
        exchange_bar(by_name),
        jump_bar(by_name),
        false_jumps_bar(by_name),
        holdover_bar(by_name),
    ]


def pps_bar(by_name: ByName) -> Bar:
    """What PPS alone achieves on a calm day."""
    calm = [by_name[scenario.name, "hardware"] for scenario in CALM]
    return Bar(
        name="PPS-disciplined node, RMS",
        wanted="≤ 2 µs",
        got="; ".join(f"{row['scenario']}: {row['rms_s'] * 1e6:.2f}" for row in calm),
        met=all(row["rms_s"] <= 2e-6 for row in calm),
    )


def exchange_bar(by_name: ByName) -> Bar:
    """What exchanges alone achieve where the network is at its best."""
    quiet = by_name[f"path {QUIET_LAN.name}", "network: coeval"]
    return Bar(
        name="exchange on a quiet LAN, median",
        wanted="≤ 100 µs",
        got=f"{quiet['median_s'] * 1e6:.1f}",
        met=quiet["median_s"] <= 100e-6,
    )


def jump_bar(by_name: ByName) -> Bar:
    """How soon a step of the clock is told."""
    jump = [by_name[JUMP.name, source] for source in CHOICES]
    return Bar(
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


def false_jumps_bar(by_name: ByName) -> Bar:
    """How often a step is told where there is none."""
    calm = [by_name[scenario.name, source] for scenario in CALM for source in CHOICES]
    false = [
        f"{row['scenario']}, {row['source']}: {row['false_jumps_per_day']}"
        for row in calm
        if row["false_jumps_per_day"] > 0
    ]
    return Bar(
        name="false jumps a simulated day, calm",
        wanted="< 1",
        got="; ".join(false) or "none",
        met=all(row["false_jumps_per_day"] < 1 for row in calm),
    )


def holdover_bar(by_name: ByName) -> Bar:
    """Whether the interval grows as the error does while nothing is measured."""
    lost = by_name[GPS_LOST.name, "hardware"]
    return Bar(
        name="holdover: GPS lost, hardware alone, error inside the interval",
        wanted="≥ 93%",
        got=f"{lost['coverage95']}",
        met=(lost["coverage95"] or 0) >= 93.0,
    )


def joint_bar(by_name: ByName, names: Sequence[str]) -> Bar:
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


def mixed_bar(by_name: ByName) -> Bar:
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


def coverage_bar(by_name: ByName, names: Sequence[str]) -> Bar:
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
