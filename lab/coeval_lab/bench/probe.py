"""`coeval bench probe`: how far the probe's stamps are from the truth, on an emulated board.

The image that ships runs on an emulated RP2040; pulses and edges come at known times by a crystal
that is off by a known rate. Beside it stand the figures that others publish of their devices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, pstdev

from coeval_edge.probe_image import probe_image
from coeval_lab import colours
from coeval_lab.bench.bars import Bar
from coeval_lab.bench.ranges import Range, draw_ranges
from coeval_lab.bench.report import Page
from coeval_lab.bench.rows import Row, Say
from coeval_lab.probe_emulator import cases
from coeval_lab.probe_emulator.board import changed_program
from coeval_lab.probe_emulator.cases import Case, Outcome, run_case

OURS = "coeval, emulated"
LOSES_TWO_CYCLES = changed_program((2, 0xA042))
"""An edge that costs a tick: `mov y, y` in place of a count."""

PUBLISHED: tuple[Row, ...] = (
    {
        "by": "brucland/RP2040, PIO input capture",
        "case": "published",
        "note": "counts at 62.5 MHz, two cycles more an event (README at 2ac85f6)",
    },
    {
        "by": "mungewell/pico-irig",
        "case": "published",
        "max_ns": 10.0,
        "note": "start of a state machine after PPS, measured (precision_trigger.md at 40fada3)",
    },
    {"by": "dgatf, PIO capture", "case": "published", "note": "resolution 272 ns; not read again"},
    {"by": "PicoPET", "case": "published", "note": "interval counter of 16 ns; not read again"},
    {
        "by": "Harp clock synchroniser",
        "case": "published",
        "max_ns": 42_000.0,
        "note": "device to device ±42 µs; not read again",
    },
    {
        "by": "ESP32",
        "case": "published",
        "max_ns": 5_000.0,
        "note": "±5 µs; not read again",
    },
)
"""As their authors state them, by methods of their own, on silicon; none was measured here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is emulated."""

    cases: tuple[Case, ...]
    """With the firmware's program."""


def plan_of(
    *, quick: bool, seed: int, recordings: Path | None = None, with_peers: bool = True
) -> Plan:
    """What to emulate; recordings and peers play no part."""
    del recordings, with_peers
    ppms = (-50.0, 50.0) if quick else (-50.0, -20.0, 0.0, 37.3, 50.0)
    chosen = [cases.steady(ppm, seed=seed) for ppm in ppms]
    chosen += [cases.bad_pulses(seed=seed), cases.burst(seed=seed)]
    chosen += [cases.rush(seconds=1.0 if quick else 5.0, seed=seed)]
    if not quick:
        chosen += [cases.wandering(seed=seed), cases.wrap(seed=seed), cases.holdover(seed=seed)]
    return Plan(cases=tuple(chosen))


def row_of(outcome: Outcome, *, name: str, by: str = OURS, note: str = "") -> Row:
    """An outcome as a line."""
    errors = outcome.errors_ns
    return {
        "by": by,
        "case": name,
        "events": outcome.num_events,
        "mean_ns": round(fmean(errors), 1) if errors else None,
        "sd_ns": round(pstdev(errors), 1) if errors else None,
        "max_ns": round(max(map(abs, errors)), 1) if errors else None,
        "lost": outcome.num_lost,
        "within": outcome.is_within,
        "note": note,
    }


def run(
    plan: Plan,
    *,
    say: Say,
    keep: Callable[[Sequence[Row]], None] = lambda _: None,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[list[Row], list[Bar]]:
    """Every case, one with a program that loses two cycles an edge, and what others publish."""
    image = probe_image()
    rows: list[Row] = []
    for k, case in enumerate(plan.cases):
        say(case.name)
        outcome = run_case(image, case)
        note = "held to 3 sigma as stated" if case.is_holdover else "held to ±32 ns"
        rows.append(row_of(outcome, name=case.name, note=note))
        keep(rows[-1:])
        progress((k + 1) / (len(plan.cases) + 1))
    say("a program that loses two cycles an edge")
    outcome = run_case(image, plan.cases[0], program=LOSES_TWO_CYCLES)
    note = "what 2 cycles lost an edge do, one edge after another"
    rows.append(row_of(outcome, name=plan.cases[0].name, by="2 cycles lost an edge", note=note))
    keep(rows[-1:])
    return [*rows, *PUBLISHED], bars_of(rows)


def bars_of(rows: Sequence[Row]) -> list[Bar]:
    """What is promised of the probe."""
    ours = [row for row in rows if row["by"] == OURS]
    lost = sum(row["lost"] for row in ours)
    num = sum(row["events"] for row in ours)
    missed = [row["case"] for row in ours if not row["within"]]
    broken = [row for row in rows if row["by"] != OURS]
    return [
        Bar(
            name="every edge within two ticks of the truth; in holdover within 3 sigma as stated",
            wanted="all cases",
            got="all" if not missed else f"not: {', '.join(missed)}",
            met=not missed,
        ),
        Bar(name="no edge lost", wanted="0", got=f"{lost} of {num}", met=lost == 0),
        Bar(
            name="a program that loses two cycles an edge is noticed",
            wanted="outside ±32 ns",
            got=", ".join(f"{row['max_ns']} ns" for row in broken),
            met=all(not row["within"] for row in broken),
        ),
    ]


def plot_errors(rows: Sequence[Row], path: Path) -> None:
    """Mean, standard deviation and largest error of each line."""
    ranges = [
        Range(
            name=f"{row['by']} · {row['case']}",
            colour=colours.OURS if row["by"] == OURS else colours.THEIRS,
            ends=(row["sd_ns"], row["max_ns"]) if row.get("sd_ns") else None,
            dot=row["max_ns"],
        )
        for row in rows
        if row.get("max_ns")
    ]
    says = "error: standard deviation to largest (ns); dashed: two ticks"
    figure = draw_ranges(ranges, says=says, width_in=9)
    figure.axes[0].axvline(cases.MOST_ERROR_NS, color="grey", lw=1, ls="--")
    figure.savefig(path, dpi=110)


PAGE = Page(
    title="error of the probe's stamps: stated − true time of an edge since its pulse",
    columns=("by", "case", "events", "mean_ns", "sd_ns", "max_ns", "lost", "note"),
    names=("by", "case"),
    explanation=(
        "The image that ships (`coeval_edge/firmware/probe.uf2`) on an emulated RP2040 that boots "
        "it through the real boot ROM; its PIO is stepped cycle by cycle around every edge. Pulses "
        "and edges come at known true times; the crystal is off by the rate in the case's name. "
        "`events`: edges that happened; errors are of those after the first four pulses; `lost`: "
        "edges that were not told. A tick is 16 ns, so a perfect clock has a standard deviation of "
        "4.6 ns. Published figures are their authors' own, by other methods, on silicon; ours are "
        "not: what an emulator cannot show is in firmware/README.md."
    ),
    plot=plot_errors,
    caption="errors of the probe's stamps",
)
