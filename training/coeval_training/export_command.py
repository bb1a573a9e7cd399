"""`coeval export-encoders`: the trained encoders as the ONNX files that the nodes run."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import coeval_edge
from coeval.errors import BadConfig
from coeval_training.embedding_kinds import SHIPPED, fit_kept_scenes, write
from coeval_training.export import export_all
from coeval_training.model_card import write_model_card
from coeval_training.precision import Precision


def export(
    checkpoint: Annotated[Path, typer.Option(help="Made by `coeval train`.")] = Path(
        "runs/encoders/checkpoint.pt"
    ),
    out: Annotated[
        Path | None, typer.Option(help="Folder of the ONNX files; default: inside the package.")
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="How weights are kept; fp16: a third fewer bytes, as fast.")
    ] = "fp32",
) -> None:
    """Write the encoders as ONNX, with parity checked and a model card beside them."""
    if not checkpoint.exists():
        raise BadConfig(f"--checkpoint {checkpoint}: no such file; make it with `coeval train`")
    folder = out or Path(coeval_edge.__path__[0]) / "models"
    paths = export_all(checkpoint, folder, precision=precision)
    console = Console(stderr=True)
    for modality, path in paths.items():
        console.print(f"{modality}: {path} ({path.stat().st_size / 1e3:.0f} kB)", highlight=False)
    console.print(f"model card: {write_model_card(checkpoint, folder)}", highlight=False)
    kinds = fit_kept_scenes(checkpoint.parent / "scenes", encoders=folder)
    if kinds is None:
        console.print("no scenes beside the checkpoint: embeddings are not recognised anew")
    else:
        path = write(kinds) if out is None else write(kinds, folder / SHIPPED.name)
        console.print(f"recognition of embeddings: {path}", highlight=False)
