"""`coeval export-encoders`: the trained encoders as the ONNX files that the nodes run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import coeval_edge
from coeval.errors import BadConfig
from coeval.samples import Modality
from coeval_training.checkpoint import read_checkpoint
from coeval_training.embedding_kinds import SHIPPED, fit_kept_scenes, write
from coeval_training.export import export_all, reduce_all
from coeval_training.model_card import copy_model_card, write_model_card
from coeval_training.precision import Precision

MODELS = Path(coeval_edge.__path__[0]) / "models"
"""The encoders that ship."""


def export(
    checkpoint: Annotated[Path, typer.Option(help="Made by `coeval train`.")] = Path(
        "runs/encoders/checkpoint.pt"
    ),
    begin: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Instead of a checkpoint: shipped, or a folder of fp32 ONNX files whose weights "
            "are to be kept smaller.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the ONNX files; default: inside the package.")
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="How weights are kept; fp16: a third fewer bytes, as fast and as accurate; int8: "
            "half the bytes and faster, offsets move by about a millisecond."
        ),
    ] = "fp32",
) -> None:
    """Write the encoders as ONNX, with parity checked and a model card beside them."""
    if begin is not None:
        reduce_encoders(MODELS if begin == "shipped" else Path(begin), out, precision)
        return
    if not checkpoint.exists():
        raise BadConfig(f"--checkpoint {checkpoint}: no such file; make it with `coeval train`")
    began_from = read_checkpoint(checkpoint).get("began_from")
    if out is None and began_from is not None:
        raise BadConfig(
            f"--checkpoint {checkpoint}: was trained on recordings of your own; say where its "
            f"encoders go, with --out {checkpoint.parent / 'models'}: without it they would "
            "replace those that are installed"
        )
    folder = out or MODELS
    paths = export_all(checkpoint, folder, precision=precision)
    console = Console(stderr=True)
    say_files(paths, console)
    card = write_model_card(checkpoint, folder, precision=precision)
    console.print(f"model card: {card}", highlight=False)
    kinds = fit_kept_scenes(checkpoint.parent / "scenes", encoders=folder)
    if kinds is None:
        console.print("no scenes beside the checkpoint: embeddings are not recognised anew")
    else:
        path = write(kinds) if out is None else write(kinds, folder / SHIPPED.name)
        console.print(f"recognition of embeddings: {path}", highlight=False)


def reduce_encoders(source: Path, out: Path | None, precision: Precision) -> None:
    """Write the encoders of a folder anew, their weights kept smaller.

    Raises:
        BadConfig: it is not said where to, or there is nothing to do.
    """
    if precision == "fp32":
        raise BadConfig("--from: say how to keep the weights, with --precision fp16 or int8")
    if out is None:
        raise BadConfig("--from: say where the smaller files go, with --out FOLDER")
    if out.resolve() == source.resolve():
        raise BadConfig(f"--out {out}: holds the fp32 encoders, which are still wanted")
    paths = reduce_all(source, out, precision=precision)
    console = Console(stderr=True)
    say_files(paths, console)
    card = copy_model_card(source, out, precision=precision)
    console.print(f"model card: {card or 'none, the source has none'}", highlight=False)


def say_files(paths: Mapping[Modality, Path], console: Console) -> None:
    """What was written, and how large it is."""
    for modality, path in paths.items():
        console.print(f"{modality}: {path} ({path.stat().st_size / 1e3:.0f} kB)", highlight=False)
