"""`coeval bench NAME`: measure, print, and keep what was measured."""

import importlib
import json
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from coeval.errors import BadConfig
from coeval.folders import make_folder
from coeval_lab.bench.ending import ending_what_was_started

BENCHES = {
    "align": "coeval_lab.bench.align",
    "time": "coeval_lab.bench.clocks",
    "table": "coeval_lab.bench.modalities",
    "encoders": "coeval_lab.bench.encoders",
    "probe": "coeval_lab.bench.probe",
    "aggregator": "coeval_lab.bench.aggregator",
    "page": "coeval_lab.bench.page",
}
"""Each a module with `plan_of`, `run` and `PAGE`."""


def bench(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of: {', '.join(BENCHES)}.")],
    quick: Annotated[bool, typer.Option(help="A small part, within a minute.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write README.md, rows.json and plot.png to this folder.")
    ] = None,
    recordings: Annotated[
        Path | None, typer.Option(help="Folder of real recordings; default ../shared/recordings.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seeds every draw.")] = 1,
    peers: Annotated[
        bool, typer.Option(help="Run the peers too (installs them into .venv-peers).")
    ] = True,
    baselines: Annotated[
        Path | None,
        typer.Option(
            help="encoders: folder of encoders of other losses; those it lacks are trained into it."
        ),
    ] = None,
    folds: Annotated[
        int,
        typer.Option(
            min=0, help="encoders: so many recordings trained on are left out of a short training."
        ),
    ] = 0,
    sections: Annotated[
        str,
        typer.Option(
            help="aggregator, encoders: only these, by commas; the others in --out stay as they "
            "were."
        ),
    ] = "",
) -> None:
    """Run a benchmark; a bar that is missed is printed, and is no failure of the command.

    With --out the rows measured so far are in partial.jsonl there until the report is written.
    """
    if name not in BENCHES:
        raise BadConfig(f"no benchmark {name!r}; there are: {', '.join(BENCHES)}")
    if recordings is not None and not recordings.is_dir():
        raise BadConfig(f"--recordings {recordings}: no such folder")
    own: dict[str, Any] = {}
    if name in ("aggregator", "encoders"):
        own = {"sections": [part for part in sections.split(",") if part]}
    elif sections:
        raise BadConfig(f"--sections is of bench aggregator and encoders, not of bench {name}")
    if name == "encoders":
        own |= {"baselines": baselines, "folds": folds}
    if name != "encoders" and (baselines is not None or folds):
        raise BadConfig(f"--baselines and --folds are of bench encoders, not of bench {name}")
    if baselines is not None:
        make_folder(baselines, name="--baselines")
    if out is not None:
        make_folder(out, name="--out")  # an hour's work is not lost for it
    module = importlib.import_module(BENCHES[name])  # heavy: only when a benchmark runs
    from coeval_lab.bench.report import Partial, print_rows, rows_of, stamped, write_report

    plan = module.plan_of(quick=quick, seed=seed, recordings=recordings, with_peers=peers, **own)
    console = Console(stderr=True)
    began = time.monotonic()
    partial = Partial(out)
    columns = (TextColumn("measuring"), BarColumn(), TextColumn("{task.percentage:.0f}%"))
    with (
        ending_what_was_started(),
        Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar,
    ):
        task = bar.add_task("measuring", total=1.0)

        def say(cell: str) -> None:
            line = f"{time.monotonic() - began:5.0f} s  {cell}"
            console.print(line, highlight=False, soft_wrap=True)

        def progress(share: float) -> None:
            bar.update(task, completed=share)

        rows, bars = module.run(plan, say=say, keep=partial.keep, progress=progress)
        if sections and out is not None:
            rows, bars = module.merged(plan, rows_of(out), rows)
        document = stamped(name, rows, began_at=partial.commit)
    if as_json:
        typer.echo(json.dumps(document))
    else:
        print_rows(rows, bars, module.PAGE)
    if out is not None:
        command = shlex.join(["coeval", *sys.argv[1:]])
        minutes = (time.monotonic() - began) / 60
        write_report(
            out,
            document,
            command=command,
            seed=seed,
            minutes=minutes,
            bars=bars,
            page=module.PAGE,
        )
        partial.remove()
        console.print(f"written: {out}", highlight=False)
