"""`coeval asyncapi`: what is said over MQTT, for machines."""

import json
from pathlib import Path
from typing import Annotated

import typer

from coeval.asyncapi import make_document
from coeval.errors import BadConfig


def asyncapi(
    out: Annotated[
        Path | None, typer.Option(help="File to write; stdout by default.", show_default=False)
    ] = None,
) -> None:
    """Write the AsyncAPI 3 document of every MQTT message, as JSON."""
    text = json.dumps(make_document(), indent=2, ensure_ascii=False) + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as exc:
        raise BadConfig(f"--out: {out} cannot be written: {exc.strerror}") from exc
