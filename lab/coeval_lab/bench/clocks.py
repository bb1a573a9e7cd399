"""`coeval bench time`: hardware, network, content and all together, in simulated time.

Every run draws clocks, networks and errors from a seed; the same seed serves every choice of
sources, so that lines of one scenario can be compared. Errors are those of the offset of node n
against the reference, second by second, after a warm-up.
"""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

from coeval_lab.bench.bars import Bar
from coeval_lab.bench.clock_bars import bars_of
from coeval_lab.bench.clock_cost import cost_rows
from coeval_lab.bench.clock_paths import path_rows
from coeval_lab.bench.clock_plan import (
    CALM,
    CHOICES,
    FAULTS,
    WARM_UP_S,
    Plan,
    plan_of,
    seen_by,
)
from coeval_lab.bench.clock_runs import scenario_rows
from coeval_lab.bench.ranges import Range, draw_ranges
from coeval_lab.bench.report import Page
from coeval_lab.bench.rows import Row, Say
from coeval_lab.simulation.scenario import Scenario
from coeval_lab.simulation.stamps import BUSY_WIFI, QUIET_LAN, UNEVEN_LAN

__all__ = ["PAGE", "plan_of", "run"]

WORKERS = 2


def plot_errors(rows: Sequence[Row], path: Path) -> None:
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


def run(
    plan: Plan,
    *,
    say: Say,
    keep: Callable[[Sequence[Row]], None] = lambda _: None,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[list[Row], list[Bar]]:
    """Every scenario with every choice of sources, the paths with the baselines, and the bars."""
    scenarios = [(scenario, plan.calm_runs) for scenario in CALM]
    scenarios += [(scenario, plan.fault_runs) for scenario in FAULTS]
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
