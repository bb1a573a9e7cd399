"""`coeval export`: a stored session as files that other programs read."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from coeval.errors import BadConfig
from coeval.folders import make_folder
from coeval.time import NS_PER_S
from coeval_aggregator.config import load_aggregator_config
from coeval_aggregator.export.content import Content, find_session, find_timeline
from coeval_aggregator.store.config import DEFAULT_STORE, StoreConfig
from coeval_aggregator.store.opening import open_reader


class Format(StrEnum):
    """What is written."""

    mcap = "mcap"
    parquet = "parquet"
    json = "json"
    recording = "recording"


SUFFIX = {Format.mcap: ".mcap", Format.parquet: "", Format.json: ".jsonl", Format.recording: ""}


def export(
    session: Annotated[str, typer.Argument(help="Session, as in the topics.")],
    format_: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.mcap,
    out: Annotated[
        Path | None,
        typer.Option(
            help="File, or new folder; by default named after the session.", show_default=False
        ),
    ] = None,
    from_s: Annotated[
        float | None,
        typer.Option("--from", help="Begin here, s of the timeline (t_ref).", show_default=False),
    ] = None,
    to_s: Annotated[
        float | None,
        typer.Option("--to", help="End before here, s of the timeline.", show_default=False),
    ] = None,
    timeline: Annotated[
        int | None,
        typer.Option(help="Number of the timeline; by default the newest.", show_default=False),
    ] = None,
    store: Annotated[
        str | None, typer.Option(help=f"Where it is kept; {DEFAULT_STORE} by default.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML of the aggregator, which names its store.")
    ] = None,
) -> None:
    """Write a stored session as MCAP, Parquet, JSON lines or a recording."""
    if from_s is not None and to_s is not None and not from_s < to_s:
        raise BadConfig(f"--from must lie before --to, got {from_s:g} and {to_s:g}")
    target = out or Path(f"{session.replace('/', '_')}{SUFFIX[format_]}")
    check_target(target, format_)
    reader = open_reader(url_of(store, config))
    try:
        found = find_session(reader, session)
        chosen = find_timeline(reader, found, timeline)
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as bar:
            task = bar.add_task("exporting", total=1.0)
            content = Content(
                reader=reader,
                session=found,
                timeline=chosen,
                from_ns=None if from_s is None else round(from_s * NS_PER_S),
                to_ns=None if to_s is None else round(to_s * NS_PER_S),
                progress=lambda share: bar.update(task, completed=share),
            )
            folder = target if SUFFIX[format_] == "" else target.parent
            make_folder(folder, name="--out")
            write(content, target, format_)
        clocks = "no clock was estimated" if chosen is None else f"timeline {chosen.id}"
        console.print(f"{session}: {target} ({clocks})", highlight=False, markup=False)
    finally:
        reader.close()


def url_of(store: str | None, config: Path | None) -> str:
    """The store that flags or a file name.

    Raises:
        BadConfig: it is none that can be read.
    """
    url = DEFAULT_STORE if config is None else load_aggregator_config(config).store.url
    chosen = StoreConfig(url=store or url)
    if chosen.is_none:
        raise BadConfig("--store none: nothing is kept there")
    return chosen.url


def check_target(target: Path, format_: Format) -> None:
    """See before the work that its outcome can be written.

    Raises:
        BadConfig: it is there already.
    """
    if str(target) == "-" and format_ is Format.json:
        return
    is_empty_folder = SUFFIX[format_] == "" and target.is_dir() and not any(target.iterdir())
    if target.exists() and not is_empty_folder:
        raise BadConfig(f"--out {target}: is there already; name another")


def write(content: Content, target: Path, format_: Format) -> None:
    """Write in a format."""
    from coeval_aggregator.export import jsonl, mcap, parquet, recording

    if format_ is Format.json and str(target) == "-":
        jsonl.write(content, sys.stdout)
    elif format_ is Format.json:
        with target.open("w", encoding="utf-8") as file:
            jsonl.write(content, file)
    elif format_ is Format.mcap:
        mcap.write(content, target)
    else:
        (parquet if format_ is Format.parquet else recording).write(content, target)
