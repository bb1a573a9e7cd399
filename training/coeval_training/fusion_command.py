"""`coeval train-fusion`: train the fusion network, set its alarms' rates, export it."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import coeval_aggregator
from coeval.folders import make_folder
from coeval_training.fusion_calibrate import (
    CALM_S,
    CALM_SCENES,
    FIRST_CALM_SEED,
    calm_scores,
    rates_of,
)
from coeval_training.fusion_card import write_fusion_card
from coeval_training.fusion_curves import plot_fusion_curves
from coeval_training.fusion_data import Embedder
from coeval_training.fusion_export import export_fusion
from coeval_training.fusion_train import FusionConfig, borrowed_scenes
from coeval_training.fusion_train import train_fusion as run_training

DEFAULTS = FusionConfig()


def train_fusion(
    out: Annotated[
        Path, typer.Option(help="Keeps scenes and the checkpoint; resumes from there.")
    ] = Path("runs/fusion"),
    encoder_scenes: Annotated[
        Path, typer.Option(help="Scenes kept by `coeval train`; made where absent.")
    ] = Path("runs/encoders/scenes"),
    models: Annotated[
        Path | None, typer.Option(help="Folder of fusion.onnx; default: inside the package.")
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(help="Folder of real recordings; those named in material.py are used."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = DEFAULTS.steps,
    scenes: Annotated[int, typer.Option(min=4, help="Generated scenes.")] = DEFAULTS.num_scenes,
    calm_scenes: Annotated[
        int, typer.Option(min=8, help="Calm scenes that set the alarms' rates.")
    ] = CALM_SCENES,
    seed: Annotated[int, typer.Option(min=0, help="Seed of weights, sessions and order.")] = 1,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that render scenes.")
    ] = os.cpu_count() or 1,
) -> None:
    """Train the fusion network on the shipped encoders' embeddings, and set its alarms' rates."""
    console = Console(stderr=True)
    if recordings is None and Path("../shared/recordings").is_dir():
        recordings = Path("../shared/recordings")
    folder = models or Path(coeval_aggregator.__path__[0]) / "models"
    make_folder(folder, name="--out")
    embedder = Embedder()
    columns = (TextColumn("fusion"), BarColumn(), "{task.percentage:>3.0f}%", TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("train", total=1.0)
        network, about = run_training(
            FusionConfig(steps=steps, num_scenes=scenes, seed=seed),
            out,
            encoder_scenes=encoder_scenes,
            recordings=recordings,
            workers=workers,
            embedder=embedder,
            say=lambda line: bar.console.print(line, highlight=False),
            progress=lambda share: bar.update(task, completed=share),
        )
    calm = borrowed_scenes(
        out / "calm",
        range(FIRST_CALM_SEED, FIRST_CALM_SEED + calm_scenes),
        embedder,
        scene_s=CALM_S,
        workers=workers,
    )
    rates = rates_of(calm_scores(network, calm, seed=seed))
    about["calm_scenes"] = calm_scenes
    path = folder / "fusion.onnx"
    export_fusion(network, path, about=about, rates=rates)
    console.print(f"fusion: {path} ({path.stat().st_size / 1e3:.0f} kB)", highlight=False)
    console.print(f"curves: {plot_fusion_curves(out)}", highlight=False)
    console.print(f"card: {write_fusion_card(folder, about, rates)}", highlight=False)
