"""`coeval doctor`: what this device has for telling the time of things."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from coeval.errors import BadConfig
from coeval_edge.doctor import examine
from coeval_edge.doctor_encoders import examine_encoders

STYLE = {"good": "green", "poor": "yellow", "absent": "dim"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
    root: Annotated[
        Path, typer.Option(help="Where the device's /dev, /sys and /proc are.", hidden=True)
    ] = Path("/"),
) -> None:
    """Say what this device has for telling the time of things, and what to do about the rest."""
    if not root.is_dir():
        raise BadConfig(f"--root {root}: no such folder")
    findings = [*examine(root), examine_encoders()]
    if as_json:
        typer.echo(json.dumps({"findings": [asdict(finding) for finding in findings]}))
        return
    table = Table()
    for column in ("", "", "found", "expect", "next"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        style = STYLE[finding.state]
        table.add_row(
            finding.topic,
            Text(finding.state, style),
            Text(finding.found),
            Text(finding.accuracy),
            Text(finding.advice),
        )
    Console().print(table)
