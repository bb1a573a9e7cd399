"""`coeval train`: train the encoders that ship from scratch, or fine-tune on own recordings.

Either goes on after an interruption.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from coeval.errors import BadConfig, CoevalError
from coeval_training.curves import plot_curves
from coeval_training.fine_tune import FINE_TUNE, fine_tune
from coeval_training.own_recordings import read_own
from coeval_training.train import TrainConfig
from coeval_training.train import train as run_training
from coeval_training.tuning_outcome import Outcome, read_outcome

DEFAULTS = TrainConfig()
SHIPPED_RUN, OWN_RUN = Path("runs/encoders"), Path("runs/own")
SHIPPED_RECORDINGS = Path("../shared/recordings")
"""Where the recordings that the shipped encoders were trained on lie, if they are there."""


def train(
    out: Annotated[
        Path | None,
        typer.Option(
            help="Keeps scenes, checkpoint, log and curves; resumes from there. Default: "
            f"{SHIPPED_RUN}, or {OWN_RUN} for own recordings.",
            show_default=False,
        ),
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(
            help="Your recordings to fine-tune on, or a folder of them. Without it the encoders "
            "that ship are trained again.",
            show_default=False,
        ),
    ] = None,
    begin: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="With your recordings, where to begin: shipped, scratch, a checkpoint or a folder "
            "of ONNX files. Default: shipped.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=f"Optimiser steps. Default: {DEFAULTS.steps}; fine-tuning: {FINE_TUNE.steps}.",
            show_default=False,
        ),
    ] = None,
    scenes: Annotated[
        int | None,
        typer.Option(
            min=16,
            help=f"Generated scenes. Default: {DEFAULTS.num_scenes}; fine-tuning: "
            f"{FINE_TUNE.num_scenes}.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of weights, crops and order.")
    ] = DEFAULTS.seed,
    correspondence_weight: Annotated[
        float, typer.Option(min=0.0, help="Of the lag loss; 0: autoencoders alone.")
    ] = DEFAULTS.correspondence_weight,
    forgetting_weight: Annotated[
        float, typer.Option(min=0.0, help="Of the autoencoder term; 0: without it.")
    ] = DEFAULTS.forgetting_weight,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that render scenes.")
    ] = os.cpu_count() or 1,
) -> None:
    """Train the five encoders: those that ship, or better ones for your recordings."""
    console = Console(stderr=True)
    is_own = begin is not None or recordings is not None
    config = FINE_TUNE if is_own and begin != "scratch" else DEFAULTS
    config = replace(
        config,
        steps=config.steps if steps is None else steps,
        num_scenes=config.num_scenes if scenes is None else scenes,
        seed=seed,
        correspondence_weight=correspondence_weight,
        forgetting_weight=forgetting_weight,
    )
    if not is_own:
        folder = out or SHIPPED_RUN
        with resumable(folder):
            checkpoint = with_bar(
                console,
                lambda say, progress, rendered: run_training(
                    config,
                    folder,
                    recordings_folder=SHIPPED_RECORDINGS if SHIPPED_RECORDINGS.is_dir() else None,
                    workers=workers,
                    say=say,
                    progress=progress,
                    rendered=rendered,
                ),
            )
        console.print(f"checkpoint: {checkpoint}; curves: {plot_curves(folder)}")
        console.print("next: coeval export-encoders")
        return
    if recordings is None:
        raise BadConfig("--from: say on which recordings of yours, with --recordings FOLDER")
    own = read_own(
        recordings, seed=seed, say=lambda line: console.print(line, highlight=False, soft_wrap=True)
    )
    folder = out or OWN_RUN
    with resumable(folder):
        checkpoint = with_bar(
            console,
            lambda say, progress, rendered: fine_tune(
                config,
                folder,
                own,
                begin=begin or "shipped",
                workers=workers,
                say=say,
                progress=progress,
                rendered=rendered,
            ),
        )
    outcome = read_outcome(folder)
    show(outcome, console)
    console.print(f"checkpoint: {checkpoint}; curves: {plot_curves(folder)}")
    models = folder / "models"
    console.print(
        f"{'next' if outcome.is_better else 'to try them all the same'}: coeval export-encoders "
        f"--checkpoint {checkpoint} --out {models}, then coeval align REC --encoders {models}, or "
        f"coeval ship {models} --session NAME",
        highlight=False,
        soft_wrap=True,
    )


def show(outcome: Outcome, console: Console) -> None:
    """Right lags before and after, on what is the user's own and on generated scenes."""
    table = Table(title="within 100 ms, % of what was not trained on: before → after")
    for column in ("pair", "your recordings", "generated scenes"):
        table.add_column(column)
    kinds = (outcome.own, outcome.generated)
    for pair in dict.fromkeys(pair for kind in kinds for pair in kind.by_pair):
        told = (kind.by_pair.get(pair) for kind in kinds)
        table.add_row(
            pair, *("–" if two is None else f"{two[0]:.0f} → {two[1]:.0f}" for two in told)
        )
    means = (f"{kind.before:.0f} → {kind.after:.0f}" if kind.by_pair else "–" for kind in kinds)
    table.add_section()
    table.add_row("mean", *means)
    console.print(table)
    console.print(outcome.verdict, highlight=False, soft_wrap=True)


@contextmanager
def resumable(folder: Path) -> Iterator[None]:
    """Say what an interruption leaves, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        kept = "its last checkpoint" if (folder / "checkpoint.pt").exists() else "what is rendered"
        raise CoevalError(
            f"interrupted; the same command goes on from {kept} in {folder}"
        ) from None


def with_bar(
    console: Console,
    run: Callable[
        [Callable[[str], None], Callable[[float, float], None], Callable[[float], None]], Path
    ],
) -> Path:
    """Run a training beneath a progress bar; `run` is given `say`, `progress` and `rendered`."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        "{task.percentage:>3.0f}%",
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console) as bar:
        scenes = bar.add_task("rendering scenes", total=1.0, state="", visible=False)
        task = bar.add_task("training", total=1.0, state="")

        def say(line: str) -> None:
            bar.console.print(line, highlight=False, soft_wrap=True)

        def progress(share: float, loss: float) -> None:
            bar.update(task, completed=share, state=f"loss {loss:.2f}")

        def rendered(share: float) -> None:
            if not bar.tasks[scenes].visible:
                say("rendering scenes, some seconds each; they are kept for the next run")
            bar.update(scenes, completed=share, visible=True)

        return run(say, progress, rendered)
