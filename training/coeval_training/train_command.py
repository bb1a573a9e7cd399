"""`coeval train`: train the encoders from scratch, or go on after an interruption."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from coeval.errors import BadConfig
from coeval_training.curves import plot_curves
from coeval_training.material import TRAINED_ON, present_recordings
from coeval_training.train import TrainConfig
from coeval_training.train import train as run_training

DEFAULTS = TrainConfig()


def train(
    out: Annotated[
        Path, typer.Option(help="Keeps scenes, checkpoint, log and curves; resumes from there.")
    ] = Path("runs/encoders"),
    recordings: Annotated[
        Path | None,
        typer.Option(help="Folder of real recordings; those named in material.py are used."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = DEFAULTS.steps,
    scenes: Annotated[int, typer.Option(min=16, help="Generated scenes.")] = DEFAULTS.num_scenes,
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
    """Train the five encoders on generated scenes and on real recordings."""
    console = Console(stderr=True)
    if recordings is None and Path("../shared/recordings").is_dir():
        recordings = Path("../shared/recordings")
    if recordings is not None and not present_recordings(recordings):
        raise BadConfig(
            f"--recordings {recordings}: holds none of the recordings to train on "
            f"({', '.join(TRAINED_ON)}); leave it out to train on generated scenes only"
        )
    columns = (
        TextColumn("training"),
        BarColumn(),
        "{task.percentage:>3.0f}%",
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("train", total=1.0, state="rendering scenes")
        checkpoint = run_training(
            TrainConfig(
                steps=steps,
                num_scenes=scenes,
                seed=seed,
                correspondence_weight=correspondence_weight,
                forgetting_weight=forgetting_weight,
            ),
            out,
            recordings_folder=recordings,
            workers=workers,
            say=lambda line: bar.console.print(line, highlight=False),
            progress=lambda share, loss: bar.update(
                task, completed=share, state=f"loss {loss:.2f}"
            ),
        )
    console.print(f"checkpoint: {checkpoint}; curves: {plot_curves(out)}")
    console.print("next: coeval export-encoders")
