"""`coeval import`: a recording into a store, as if its nodes had sent it live."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from coeval.errors import BadConfig
from coeval.topics import Topics
from coeval_aggregator.export_command import url_of
from coeval_aggregator.store.config import DEFAULT_STORE
from coeval_aggregator.store.opening import open_store
from coeval_aggregator.store.records import Kept
from coeval_edge.recording import open_recording
from coeval_lab.import_records import clocks_of, evidence_records, import_tracks, records_of

RECORDS_A_BATCH = 2000


def import_(
    recording: Annotated[
        Path, typer.Argument(metavar="REC", help="Recording folder (recording.json and files).")
    ],
    session: Annotated[
        str | None, typer.Option(help="Session to import into; by default the recording's name.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="Node whose clock is the timeline; default: the first.")
    ] = None,
    max_offset: Annotated[
        float, typer.Option(min=0.1, max=3600.0, help="Search content offsets up to this, s.")
    ] = 60.0,
    store: Annotated[
        str | None, typer.Option(help=f"Where it goes; {DEFAULT_STORE} by default.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML of the aggregator, which names its store.")
    ] = None,
) -> None:
    """Put a recording into a store: embeddings, evidence, and the clocks that they tell."""
    opened = open_recording(recording)
    name = session or opened.manifest.name
    Topics(session=name)  # checks it
    chosen = reference or next(iter(opened.manifest.nodes))
    if chosen not in opened.manifest.nodes:
        known = ", ".join(opened.manifest.nodes)
        raise BadConfig(f"--reference {chosen!r} is no node of this recording; it has {known}")
    target = open_store(url_of(store, config))
    console = Console(stderr=True)
    columns = (
        TextColumn("importing"),
        BarColumn(),
        "{task.percentage:>3.0f}%",
        TimeElapsedColumn(),
    )
    try:
        with Progress(
            *columns, console=console, transient=True, disable=not console.is_terminal
        ) as bar:
            task = bar.add_task("import", total=1.0)
            tracks = import_tracks(
                opened, progress=lambda share: bar.update(task, completed=0.6 * share)
            )
            records = records_of(opened, tracks)
            records += evidence_records(opened)
            records += clocks_of(opened, tracks, reference=chosen, max_offset_s=max_offset)
            num_blocks = 0
            for k in range(0, len(records), RECORDS_A_BATCH):
                batch = tuple(records[k : k + RECORDS_A_BATCH])
                kept = Kept(session=name, utc_ns=time.time_ns(), records=batch)
                num_blocks += target.write([kept]).num_blocks
                bar.update(task, completed=0.8 + 0.2 * k / len(records))
    finally:
        target.close()
    console.print(f"session {name}: {num_blocks} new blocks", highlight=False, markup=False)
