"""Cells of real recordings: our method, SyncWISE beside it, and pairs that must not lock."""

import itertools
import time
from collections.abc import Iterator, Sequence

import numpy as np

from coeval.time import NS_PER_S
from coeval_lab.bench.align_plan import (
    ABSTAIN,
    REAL_PAIRS,
    SPEECH,
    Cell,
    Plan,
    cells_of,
    is_there,
    stream_of,
)
from coeval_lab.bench.cells import Draw, draw_trials, estimated, our_trial, tracks_of_trial
from coeval_lab.bench.material import Clock, Stream, silent
from coeval_lab.bench.metrics import Trial, row_of
from coeval_lab.bench.rows import Row
from coeval_lab.bench.syncwise import METHOD, syncwise_trial

NUM_UNRELATED = 200
NUM_SILENT = 42


def rows_of_cells(
    pair: str, method: str, found: Sequence[tuple[Cell, Sequence[Trial]]], *, note: str = ""
) -> Iterator[Row]:
    """Lines of a pair of modalities: each recording in each window, then all of a window."""
    by_window: dict[str, list[tuple[Cell, Sequence[Trial]]]] = {}
    for cell, trials in found:
        by_window.setdefault(cell.window, []).append((cell, trials))
        yield row_of(
            trials,
            pair=pair,
            method=method,
            source=f"{cell.material.name}, {cell.window}",
            held_out=cell.material.held_out,
            note=note,
        )
    for window, parts in by_window.items():
        yield row_of(
            [trial for _, trials in parts for trial in trials],
            pair=pair,
            method=method,
            source=f"all, {window}",
            held_out=all(cell.material.held_out for cell, _ in parts),
            note=note,
        )


def real_pair(plan: Plan, pair: str) -> Iterator[Row]:
    """All recordings of a pair of modalities; SyncWISE too where it is made for the pair."""
    ours: list[tuple[Cell, list[Trial]]] = []
    theirs: list[tuple[Cell, list[Trial]]] = []
    for cell in cells_of(plan, pair):
        trials, others = [], []
        for draw in cell.draws:
            began_s = time.process_time()
            tracks = tracks_of_trial(cell.first, cell.second, draw)
            shared_s = time.process_time() - began_s
            trials.append(estimated(tracks, cell.first, cell.second, draw, began_s=began_s))
            if pair == "video-metadata":
                sigma_s = max(cell.first.sigma_s, cell.second.sigma_s)
                others.append(
                    syncwise_trial(tracks, draw, truth_sigma_s=sigma_s, shared_cpu_s=shared_s)
                )
        ours.append((cell, trials))
        theirs.append((cell, others))
    yield from rows_of_cells(pair, "coeval", ours)
    if pair == "video-metadata":
        yield from rows_of_cells(pair, METHOD, theirs)


def abstaining(plan: Plan) -> Iterator[Row]:
    """Pairs whose content does not tell: no answer is the right one."""
    for k, (pair, name, first, second) in enumerate(ABSTAIN):
        if not is_there(plan, name):
            continue
        a, b = stream_of(plan, name, first), stream_of(plan, name, second)
        rng = np.random.default_rng([plan.seed, k, 4])
        count = min(plan.trials, NUM_SILENT)
        draws = draw_trials(a, b, rng, window_s=None, count=count)
        yield row_of(
            [our_trial(a, b, draw) for draw in draws],
            pair=pair,
            method="coeval",
            source=name,
            held_out=True,
            note="locked should be 0",
        )


def unrelated(plan: Plan) -> Iterator[Row]:
    """Streams of different recordings, and streams with nothing in them."""
    named = [("able_frenchsong", "audio"), *((name, b) for _, name, _, b in REAL_PAIRS)]
    named += [(name, text) for name, text in SPEECH]
    there = [(name, stream) for name, stream in dict.fromkeys(named) if is_there(plan, name)]
    pairs = [
        (x, y)
        for x, y in itertools.combinations(there, 2)
        if x[0].rsplit("_", 1)[0] != y[0].rsplit("_", 1)[0]
    ]
    rng = np.random.default_rng([plan.seed, 5])
    trials = []
    for k in rng.permutation(len(pairs))[: min(plan.trials, NUM_UNRELATED)]:
        a, b = (stream_of(plan, *named) for named in pairs[k])
        trials.append(our_trial(a, b, unrelated_draw(a, b, rng), related=False))
    quiet = []
    for name, stream in there[: plan.trials]:
        a = stream_of(plan, name, stream)
        draw = Draw(clock=Clock(offset_ns=2e9), start_ns=a.start_ns, stop_ns=a.stop_ns)
        quiet.append(our_trial(a, silent(a), draw, related=False))
    for pair, found in (("unrelated", trials), ("silent", quiet)):
        if found:
            yield row_of(
                found,
                pair=pair,
                method="coeval",
                source="real recordings",
                held_out=True,
                note="locked should be ≤ 1",
            )


def unrelated_draw(a: Stream, b: Stream, rng: np.random.Generator) -> Draw:
    """The whole of both streams, the second shifted to begin with the first and then off."""
    offset_ns = a.start_ns - b.start_ns + float(rng.uniform(-30, 30)) * NS_PER_S
    start, stop = min(a.start_ns, b.start_ns), max(a.stop_ns, b.stop_ns)
    return Draw(clock=Clock(offset_ns=offset_ns, t0_ns=start), start_ns=start, stop_ns=stop)
