"""`python -m coeval_lab.desktop_session OUT`: record a desktop session as a recording."""

from pathlib import Path
from typing import Annotated

import typer

from coeval.errors import CoevalError
from coeval_lab.desktop_session.session import record


def main(
    out: Annotated[Path, typer.Argument(help="New folder for the recording.")],
    seconds: Annotated[float, typer.Option(min=10, max=600, help="How long to work.")] = 90.0,
    seed: Annotated[int, typer.Option(help="Chooses what is done, and its rhythm.")] = 20_261,
) -> None:
    """Work real programs on a virtual screen and record it all with one clock."""
    try:
        typer.echo(record(out, length_s=seconds, seed=seed), err=True)
    except CoevalError as exc:
        typer.echo(f"desktop_session: {exc}", err=True)
        raise typer.Exit(1) from exc


typer.run(main)
