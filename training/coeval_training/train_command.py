"""`coeval train`: train the encoders that ship from scratch, or fine-tune on own recordings.

Either goes on after an interruption.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from coeval.errors import BadConfig
from coeval_training.curves import plot_curves
from coeval_training.fine_tune import FINE_TUNE, fine_tune
from coeval_training.material import present_recordings
from coeval_training.own_recordings import read_own
from coeval_training.train import TrainConfig
from coeval_training.train import train as run_training

DEFAULTS = TrainConfig()
SHIPPED_RUN, OWN_RUN = Path("runs/encoders"), Path("runs/own")


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
            help="Your recordings to fine-tune on. Where it holds those that the shipped encoders "
            "were trained on, and without --from: to train these again.",
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
    is_own = begin is not None or (recordings is not None and not present_recordings(recordings))
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
        default = Path("../shared/recordings")
        listed = default if recordings is None and default.is_dir() else recordings
        folder = out or SHIPPED_RUN
        checkpoint = with_bar(
            console,
            lambda say, progress: run_training(
                config,
                folder,
                recordings_folder=listed,
                workers=workers,
                say=say,
                progress=progress,
            ),
        )
        console.print(f"checkpoint: {checkpoint}; curves: {plot_curves(folder)}")
        console.print("next: coeval export-encoders")
        return
    if recordings is None:
        raise BadConfig("--from: say on which recordings of yours, with --recordings FOLDER")
    own = read_own(recordings, seed=seed, say=lambda line: console.print(line, highlight=False))
    folder = out or OWN_RUN
    checkpoint = with_bar(
        console,
        lambda say, progress: fine_tune(
            config,
            folder,
            own,
            begin=begin or "shipped",
            workers=workers,
            say=say,
            progress=progress,
        ),
    )
    console.print(f"checkpoint: {checkpoint}; curves: {plot_curves(folder)}")
    models = folder / "models"
    console.print(
        f"next: coeval export-encoders --checkpoint {checkpoint} --out {models}, then "
        f"coeval ship {models}"
    )


def with_bar(
    console: Console,
    run: Callable[[Callable[[str], None], Callable[[float, float], None]], Path],
) -> Path:
    """Run a training beneath a progress bar; `run` is given `say` and `progress`."""
    columns = (
        TextColumn("training"),
        BarColumn(),
        "{task.percentage:>3.0f}%",
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("train", total=1.0, state="rendering scenes")
        return run(
            lambda line: bar.console.print(line, highlight=False),
            lambda share, loss: bar.update(task, completed=share, state=f"loss {loss:.2f}"),
        )
