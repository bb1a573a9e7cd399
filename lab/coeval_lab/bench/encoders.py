"""`coeval bench encoders`: the encoders against what needs none, their cost, and what is built on
them."""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from coeval_lab.bench.bars import Bar
from coeval_lab.bench.encoders_bars import PROTOTYPE, bars_of
from coeval_lab.bench.encoders_cca import learn_cca
from coeval_lab.bench.encoders_cells import (
    FIRST_LONG_SEED,
    FIRST_SEED,
    LONG_SCENE_S,
    LONG_SOURCE,
    SCENE_S,
    SCENES_SOURCE,
    Methods,
    methods_of,
    real_answers,
    real_materials,
    scene_answers,
    training_rows,
)
from coeval_lab.bench.encoders_plan import (
    JOINT,
    LEARNED,
    VARIANTS,
    Plan,
    Row,
    plan_of,
)
from coeval_lab.bench.encoders_rows import Answer, has_stills, rows_of_answers
from coeval_lab.bench.encoders_sections import SECTIONS, rows_of_section
from coeval_lab.bench.encoders_speed import SPEED, speed_rows
from coeval_lab.bench.encoders_variants import make_missing
from coeval_lab.bench.processes import PROCESSES, as_done, in_process
from coeval_lab.bench.report import Page, chosen_parts, with_parts_again
from coeval_training.data import StreamRows

__all__ = ["PAGE", "merged", "plan_of", "run"]

FAILED = "failed"
PAIRS = "pairs"
"""The part whose rows name no section, or EACH_RECORDING."""
EACH_RECORDING = "each recording"
SCENES_A_JOB, LONG_SCENES_A_JOB = 10, 2
PROCESSES.set_forkserver_preload([__name__])  # imports cost more than a small job

Job = Callable[[], list[Answer] | list[Row]]
Say = Callable[[str], None]


def run(
    plan: Plan,
    *,
    say: Say,
    keep: Callable[[Sequence[Row]], None] = lambda _: None,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[list[Row], list[Bar]]:
    """Every line of the table, and how the bars stand.

    What fails is a line of the table that says why; all else is kept.

    Args:
        plan: how much to measure.
        say: called with what is done.
        keep: called with rows as soon as they are measured.
        progress: called with the share done, 0…1.
    """
    chosen = parts_of(plan)
    if not plan.recordings.is_dir():
        say(f"no real recordings at {plan.recordings}: generated scenes only")
    if plan.baselines is None:
        say("no --baselines: no lines of encoders trained by one of the two losses only")
    else:
        make_missing(plan.baselines, plan.recordings, num_folds=plan.folds, say=say)
    if not plan.folds:
        say("no --folds: recordings trained on are told apart by held_out, and not left out")
    for section in SECTIONS:
        if not section.is_there:
            say(f"this version does not measure {section.name}")
    speed_done: list[Row] = []
    failed: list[Row] = []
    if SPEED in chosen:
        # Alone, while all is quiet.
        speed_done, failed = parted(tried("speed", partial(in_process, speed_rows, plan)))
        keep(speed_done)
        say("speed")
    jobs = section_jobs(plan, chosen)
    if PAIRS in chosen:
        jobs += pair_jobs(plan, methods_of(plan, learn_cca(training_material(plan, say))))
    answers: dict[str, list[Answer]] = {}
    rows: dict[str, list[Row]] = {}
    for done, (name, found) in enumerate(
        as_done([(name, partial(tried, name, job)) for name, job in jobs]), 1
    ):
        answers[name] = [each for each in found if isinstance(each, Answer)]
        rows[name] = [each for each in found if not isinstance(each, Answer)]
        keep([*rows[name], *rows_of_answers(answers[name])])
        why = "".join(f"; {row['note']}" for row in rows[name] if row.get("method") == FAILED)
        say(f"{done} of {len(jobs)} done: {name}{why}")
        progress(done / len(jobs))
    every_answer = [answer for name, _ in jobs for answer in answers[name]]
    others = [row for name, _ in jobs for row in rows[name]]
    table = [*table_of(every_answer), *failed, *speed_done, *others]
    return table, all_bars(table)


def parts_of(plan: Plan) -> tuple[str, ...]:
    """What is measured, in the table's order.

    Raises:
        BadConfig: one that is asked for is none.
    """
    return chosen_parts(plan.parts, known_parts())


def known_parts() -> tuple[str, ...]:
    """What this version measures, in the table's order."""
    return (PAIRS, SPEED, *(section.name for section in SECTIONS if section.is_there))


def merged(plan: Plan, before: Sequence[Row], rows: Sequence[Row]) -> tuple[list[Row], list[Bar]]:
    """A report's rows with those of the parts that were measured again in their place."""
    whole = with_parts_again(
        before, rows, chosen=parts_of(plan), known=known_parts(), part_of=part_of
    )
    return whole, all_bars(whole)


def part_of(row: Row) -> str:
    """Which part measured a row."""
    section = str(row.get("section", PAIRS))
    return PAIRS if section == EACH_RECORDING else section


def all_bars(table: Sequence[Row]) -> list[Bar]:
    """How the bars of every part stand."""
    bars = bars_of(list(table))
    for section in SECTIONS:
        own = [row for row in table if row.get("section") == section.name]
        bars += section.bars(own) if section.is_there else []
    return bars


def parted(rows: list[Answer] | list[Row]) -> tuple[list[Row], list[Row]]:
    """Rows that were measured, and the lines of what failed."""
    dicts = [row for row in rows if not isinstance(row, Answer)]
    return (
        [row for row in dicts if row.get("method") != FAILED],
        [row for row in dicts if row.get("method") == FAILED],
    )


def training_material(plan: Plan, say: Say) -> list[dict[str, StreamRows]]:
    """Rows of the training scenes from which CCA learns."""
    seeds = range(plan.num_training_scenes)
    halves = [list(seeds[k::8]) for k in range(8) if len(seeds[k::8])]
    found: list[dict[str, StreamRows]] = []
    for _, rows in as_done(
        [(f"training {k}", partial(in_process, training_rows, h)) for k, h in enumerate(halves)]
    ):
        found += rows
    say(f"CCA learns from {len(found)} training scenes")
    return found


def section_jobs(plan: Plan, chosen: Sequence[str]) -> list[tuple[str, Job]]:
    """The parts of others."""
    return [
        (section.name, partial(in_process, rows_of_section, section.name, plan))
        for section in SECTIONS
        if section.name in chosen
    ]


def pair_jobs(plan: Plan, methods: Methods) -> list[tuple[str, Job]]:
    """Every pair by every method, measured side by side, the longest first."""
    jobs: list[tuple[str, Job]] = []
    for what, first, count, seconds, a_job in (
        (LONG_SOURCE, FIRST_LONG_SEED, plan.num_long_scenes, LONG_SCENE_S, LONG_SCENES_A_JOB),
        (SCENES_SOURCE, FIRST_SEED, plan.num_scenes, SCENE_S, SCENES_A_JOB),
    ):
        for k in range(0, count, a_job):
            seeds = range(first + k, first + min(k + a_job, count))
            name = f"{what}, {k + 1} to {min(k + a_job, count)}"
            jobs.append((name, partial(in_process, scene_answers, seeds, seconds, plan, methods)))
    for material in real_materials(plan):
        name = f"{material.pair}, {material.name}"
        jobs.append((name, partial(in_process, real_answers, material, plan, methods)))
    return jobs


def tried(name: str, job: Job) -> list[Answer] | list[Row]:
    """What a job measures; where it fails, the line that says so."""
    try:
        return job()
    except Exception as exc:  # whatever it is, all the others are not lost for it
        traceback.print_exc()
        note = f"failed: {type(exc).__name__}: {exc}"
        return [{"pair": name, "method": FAILED, "source": "–", "note": note}]


def table_of(answers: Sequence[Answer]) -> list[Row]:
    """Lines of scenes; of recordings a line for all of a pair and one for each."""
    scenes = [answer for answer in answers if answer.source in (SCENES_SOURCE, LONG_SOURCE)]
    real = [answer for answer in answers if answer.source not in (SCENES_SOURCE, LONG_SOURCE)]
    together = [
        replace(answer, source=f"recordings, {answer.source.rsplit(', ', 1)[1]}") for answer in real
    ]
    together.sort(key=lambda answer: (answer.pair, answer.source))
    each = [{"section": EACH_RECORDING, **row} for row in rows_of_answers(real)]
    scenes.sort(key=lambda answer: (answer.source != SCENES_SOURCE, has_stills(answer.pair)))
    return [*rows_of_answers(scenes), *rows_of_answers(together), *each]


def plot_methods(rows: Sequence[Row], path: Path) -> None:
    """Share of all trials of 60 s scenes within 40 ms, pair by pair and method by method."""
    shown = [row for row in rows if row.get("source") == SCENES_SOURCE and "section" not in row]
    pairs = [p for p in dict.fromkeys(row["pair"] for row in shown) if p in PROTOTYPE]
    names = list(dict.fromkeys(row["method"] for row in shown))
    figure = Figure(figsize=(13, 8), layout="constrained")
    panels = figure.subplots(2, 1, sharex=True, squeeze=False)
    for axes, limit in zip(panels[:, 0], ("40", "100"), strict=True):
        for m, name in enumerate(names):
            share = {
                row["pair"]: row[f"within_{limit}ms"] for row in shown if row["method"] == name
            }
            at = [k + 0.85 * (m / max(len(names), 1) - 0.5) for k in range(len(pairs))]
            axes.bar(at, [share.get(p) or 0.0 for p in pairs], 0.8 / max(len(names), 1), label=name)
        for k, pair in enumerate(pairs):
            theirs = PROTOTYPE[pair][limit]
            label = "prototype (quoted)" if k == 0 else None
            axes.plot([k - 0.45, k + 0.4], [theirs, theirs], "k:", lw=1.2, label=label)
        axes.set_title(f"within {limit} ms, % of all trials", fontsize=9)
        axes.grid(axis="y", alpha=0.3)
    if pairs and names:
        panels[0, 0].legend(fontsize=6, ncol=4)
    panels[1, 0].set_xticks(range(len(pairs)), pairs, rotation=30, ha="right", fontsize=8)
    figure.savefig(path, dpi=110)


PAGE = Page(
    title="the best lag of every method, believed or not: shares are of all trials",
    columns=(
        "pair",
        "method",
        "source",
        "held_out",
        "trials",
        "median_ms",
        "within_20ms",
        "within_40ms",
        "within_100ms",
        "within_300ms",
        "locked",
        "num_locked",
        "wrong_of_locked",
        "truth_sigma_ms",
        "note",
    ),
    names=("pair", "method", "source"),
    explanation=(
        f"Every method gives its best lag of every trial, and every trial counts: `within` and "
        f"`median_ms` are of all trials, and no answer is a miss. `{LEARNED}` is the product's own "
        f"chain for a pair (shipped encoders, then what is raw), `{JOINT}` the same after all "
        "streams of a scene were placed together; of these two `locked` is the share that "
        "`coeval align` states, and `wrong_of_locked` the share of those beyond 100 ms (300 ms "
        "with stills, three times what the truth itself may be off). Scenes: generated, held out, "
        "offsets up to ±15 s, skews up to ±150 ppm, five kinds. Recordings: the trials of "
        "`coeval bench align`, offsets up to ±30 s, skews up to ±500 ppm; `held_out` tells those "
        "that the encoders never saw. No lag below `truth_sigma_ms` is known of a recording. All "
        "methods search ±60 s. A baseline's components or activity take the place of embeddings; "
        "`raw signals` is the product's own chain without embeddings. Encoders trained by one loss "
        f"only ({', '.join(VARIANTS)}) are compared by embeddings alone; the last of them differs "
        "from what ships in nothing but how long it was trained.\n\n"
        "Speed is CPU time, one thread, the fastest of several timings: `us_window` of one run of "
        "the encoder, `us_hop` of a hop as the node runs it (a block of ten a run), `us_hop_batch` "
        "of a hop of a file; `of_correlation` is `us_window` in units of the first peer; `core` is "
        "in % of one core. Other boards are extrapolated from this machine's figure, not measured: "
        "`core` by the ratio of single cores in 7-zip (integers), `core_by_vectors` by that in "
        "Linpack (double precision; this machine's vectors are far wider), with sources beside the "
        "constants in `lab/coeval_lab/bench/encoders_speed.py`."
    ),
    plot=plot_methods,
    only_on_page=(EACH_RECORDING,),
    caption="share of trials within 40 and 100 ms by pair and method",
    sections={
        SPEED: "Speed",
        EACH_RECORDING: "Each recording",
        **{section.name: section.title for section in SECTIONS},
    },
)
