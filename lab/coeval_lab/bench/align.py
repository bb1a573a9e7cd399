"""`coeval bench align`: offsets and skews from content, on real recordings and held-out scenes."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

from coeval_lab.bench.align_bars import bars_of
from coeval_lab.bench.align_plan import CLEAN, NOISY, Plan, plan_of
from coeval_lab.bench.bars import Bar
from coeval_lab.bench.metrics import row_of
from coeval_lab.bench.peer_cells import event_peers, sound_peers, subtitle_peers
from coeval_lab.bench.processes import PROCESSES, as_done, in_process
from coeval_lab.bench.ranges import Range, draw_ranges
from coeval_lab.bench.real_cells import abstaining, real_pair, unrelated
from coeval_lab.bench.report import Page
from coeval_lab.bench.rows import Row, Say
from coeval_lab.bench.scene_cells import long_scenes, scenes, skews, speed
from coeval_lab.colours import OURS, THEIRS

__all__ = ["PAGE", "plan_of", "run"]

LEAST_SHOWN_MS = 1e-4
"""A logarithmic axis has no zero."""


def plot_pairs(rows: Sequence[Row], path: Path) -> None:
    """Median and 95th percentile of each line's accepted trials."""
    ranges = [
        Range(
            name=f"{row['pair']} · {row['method']} · {row['source']}",
            colour=OURS if row["method"] == "coeval" else THEIRS,
            ends=(max(row["median_ms"], LEAST_SHOWN_MS), max(row["p95_ms"], LEAST_SHOWN_MS)),
            dot=max(row["median_ms"], LEAST_SHOWN_MS),
        )
        for row in rows
        if row.get("median_ms") is not None
    ]
    says = "error of accepted trials: median (dot) to 95th percentile (ms)"
    draw_ranges(ranges, says=says, width_in=10).savefig(path, dpi=110)


PAGE = Page(
    title="share within a tolerance: % of accepted; locked, wrong: % of trials",
    columns=(
        "pair",
        "method",
        "source",
        "trials",
        "locked",
        "median_ms",
        "p95_ms",
        "within_20ms",
        "within_40ms",
        "within_100ms",
        "within_300ms",
        "right",
        "wrong",
        "coverage95",
        "truth_sigma_ms",
        "skew_err_ppm",
        "cpu_s_per_min",
        "held_out",
        "note",
    ),
    names=("pair", "method", "source"),
    explanation=(
        "`locked`, `right` and `wrong` are % of trials: accepted, accepted within 100 ms, and "
        "accepted further off than that (than 300 ms with stills, than three times what the truth "
        "itself may be off). `within` are % of accepted trials. `coverage95` is the share of "
        "accepted trials whose error lies in the stated 95% interval widened by the truth's own "
        "spread. `held_out`: the encoders never saw the recording or scene. Of real recordings "
        "every 42 trials hold each offset (±2, ±5, ±30 s, made fractional) with each skew (0, "
        "±20, ±150, ±500 ppm); `all` is a pair's recordings together. The peers get our trials, "
        "those that read files the first 14 of each recording; as they know no skew they are "
        "compared with the truth at the middle of the piece."
    ),
    plot=plot_pairs,
    caption="median error by pair",
)


PEERS = "peers: "
CellRows = Callable[[Plan], Iterator[Row]]

CELLS: tuple[tuple[str, CellRows], ...] = (
    (CLEAN, partial(real_pair, pair=CLEAN)),
    (NOISY, partial(real_pair, pair=NOISY)),
    ("audio-text", partial(real_pair, pair="audio-text")),
    *(
        (pair, partial(real_pair, pair=pair))
        for pair in (
            "video-metadata",
            "audio-video",
            "metadata-metadata",
            "text-metadata",
            "audio-text, heart",
            "image-metadata",
            "video-video",
        )
    ),
    ("pairs that must abstain", abstaining),
    ("unrelated and silent pairs", unrelated),
    ("generated scenes", scenes),
    ("generated scenes of 10 minutes", long_scenes),
    ("skew", skews),
    ("speed", speed),
    (f"{PEERS}{CLEAN}", partial(sound_peers, pair=CLEAN)),
    (f"{PEERS}{NOISY}", partial(sound_peers, pair=NOISY)),
    (f"{PEERS}subtitles", subtitle_peers),
    (f"{PEERS}events", event_peers),
)
"""What is measured, in the order of the table."""
LONGEST = (
    "generated scenes of 10 minutes",
    "generated scenes",
    "skew",
    NOISY,
    "video-metadata",
    f"{PEERS}{NOISY}",
)
"""Started first, so that no worker waits for another's last cell."""


def run(
    plan: Plan,
    *,
    say: Say,
    keep: Callable[[Sequence[Row]], None] = lambda _: None,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[list[Row], list[Bar]]:
    """Every cell, and how the bars stand.

    A cell that fails is a line of the table that says why; all others are kept.

    Args:
        plan: how much to measure.
        say: called with the name of each cell that is done.
        keep: called with the rows of each cell as soon as it is done.
        progress: called with the share done, 0…1.
    """
    if not plan.recordings.is_dir():
        say(f"no real recordings at {plan.recordings}: generated scenes only")
    cells = [cell for cell in CELLS if plan.with_peers or not cell[0].startswith(PEERS)]
    order = sorted(cells, key=lambda cell: cell[0] not in LONGEST)
    found: dict[str, list[Row]] = {}
    jobs = [(name, partial(rows_of_process, name, cell, plan)) for name, cell in order]
    for name, rows in as_done(jobs):
        found[name] = rows
        keep(rows)
        why = "".join(f"; {row['note']}" for row in rows if row["method"] == FAILED)
        say(f"{len(found)} of {len(cells)} done: {name}{why}")
        progress(len(found) / len(cells))
    every_row = [row for name, _ in cells for row in found[name]]
    return every_row, bars_of(every_row)


FAILED = "failed"
PROCESSES.set_forkserver_preload([__name__])  # imports cost more than a small cell


def rows_of_process(name: str, cell: CellRows, plan: Plan) -> list[Row]:
    """A cell's lines, from a process of its own."""
    try:
        return in_process(rows_of_cell, name, cell, plan)
    except BrokenProcessPool as exc:
        return [failed_row(name, f"its process ended: {exc}")]


def rows_of_cell(name: str, cell: CellRows, plan: Plan) -> list[Row]:
    """A cell's lines; what fails ends the cell with a line that says so."""
    rows: list[Row] = []
    try:
        for row in cell(plan):
            rows.append(row)
    except Exception as exc:  # whatever it is, an hour's other cells are not lost for it
        traceback.print_exc()
        rows.append(failed_row(name, f"{type(exc).__name__}: {exc}"))
    return rows


def failed_row(name: str, why: str) -> Row:
    """The line of a cell that could not be measured."""
    return row_of([], pair=name, method=FAILED, source="–", note=f"failed: {why}")
