"""`coeval recording`: describe a recording, make a shifted copy, import other formats."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as RichTable

from coeval.errors import BadConfig
from coeval.manifest import Manifest, Truth, TruthJump, manifest_to_json
from coeval_edge.describe import StreamSummary, summarise
from coeval_edge.importers import FORMATS, import_recording
from coeval_edge.recording import open_recording
from coeval_edge.skew import ClockError, skew_recording
from coeval_edge.stamps import to_text

app = typer.Typer(
    help="Describe recordings, make shifted copies, import other formats.", no_args_is_help=True
)

RecordingFolder = Annotated[Path, typer.Argument(metavar="REC", help="Folder of the recording.")]
NewFolder = Annotated[Path, typer.Argument(metavar="OUT", help="New or empty folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.")]


@app.command()
def info(rec: RecordingFolder, as_json: AsJson = False) -> None:
    """Describe a recording: streams, rates, spans, licence, what is known of its clocks."""
    recording = open_recording(rec)
    manifest = recording.manifest
    summaries = [summarise(recording, stream) for stream in manifest.streams]
    if as_json:
        typer.echo(json.dumps(_info_json(manifest, summaries), ensure_ascii=False, indent=1))
        return
    console = Console()
    console.print(f"[bold]{_plain(manifest.name)}[/bold]")
    console.print(_streams_table(summaries))
    console.print(f"licence  {_plain(manifest.licence or 'not stated')}")
    if manifest.source is not None:
        source = manifest.source if isinstance(manifest.source, str) else None
        console.print(f"source   {_plain(source or json.dumps(manifest.source))}")
    for line in _truth_lines(manifest.truth):
        console.print(_plain(line))


@app.command()
def skew(
    rec: RecordingFolder,
    out: NewFolder,
    node: Annotated[str, typer.Option(help="The node whose clock is made wrong.")],
    offset: Annotated[
        float, typer.Option(metavar="S", help="Seconds at the start; positive: fast.")
    ] = 0.0,
    skew_ppm: Annotated[
        float, typer.Option(metavar="PPM", help="Rate error; positive: fast.")
    ] = 0.0,
    jump_at: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds after the start of a jump.")
    ] = None,
    jump: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds the clock jumps forwards by.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write a copy in which one node's clock is wrong, and say so in the copy's truth."""
    if (jump_at is None) != (jump is None):
        raise BadConfig("--jump and --jump-at go together: give both or neither")
    step = None
    if jump_at is not None and jump is not None:
        step = TruthJump(at_s=jump_at, by_s=jump)
    error = ClockError(offset_s=offset, skew_ppm=skew_ppm, jump=step)
    copy = skew_recording(open_recording(rec), out, errors={node: error})
    if as_json:
        truth = manifest_to_json(copy.manifest)["truth"]
        typer.echo(json.dumps({"out": str(out), "truth": truth}, ensure_ascii=False))
        return
    typer.echo(f"wrote {out}", err=True)
    for line in _truth_lines(copy.manifest.truth):
        typer.echo(line, err=True)


@app.command("import")
def import_(
    src: Annotated[
        list[Path], typer.Argument(metavar="SRC...", help="Files to import, or a folder of them.")
    ],
    out: NewFolder,
    format: Annotated[str, typer.Option("--format", help=f"auto, {', '.join(FORMATS)}.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Import other formats as a recording: each file becomes a node with its own clock."""
    recording, notes = import_recording(src, out, format=format)
    for note in notes:
        typer.echo(note, err=True)
    if as_json:
        streams = manifest_to_json(recording.manifest)["streams"]
        typer.echo(json.dumps({"out": str(out), "streams": streams, "notes": notes}))
        return
    num = len(recording.manifest.streams)
    typer.echo(f"wrote {out}: {num} stream{'s' if num > 1 else ''}", err=True)


def _plain(text: str) -> str:
    """Text of others, so that rich takes no markup in it."""
    return text.replace("[", "\\[")


def _units(summary: StreamSummary) -> str:
    units = summary.stream.units
    if units is None or isinstance(units, str):
        return units or ""
    return ", ".join(dict.fromkeys(units.values()))


def _streams_table(summaries: list[StreamSummary]) -> RichTable:
    table = RichTable(box=None, padding=(0, 1))
    for name in ("stream", "node", "modality"):
        table.add_column(name, overflow="fold")  # an id cut short is of no use
    for name in ("samples", "Hz", "from s", "to s"):
        table.add_column(name, justify="right", overflow="fold")
    table.add_column("units")
    for summary in summaries:
        rate_hz = summary.rate_hz
        table.add_row(
            _plain(summary.stream.id),
            _plain(summary.stream.node),
            summary.stream.modality,
            str(summary.num_samples),
            "" if rate_hz is None else f"{rate_hz:.6g}",
            f"{summary.t_first_ns / 1e9:.3f}",
            f"{summary.t_last_ns / 1e9:.3f}",
            _plain(_units(summary)),
        )
    return table


def _truth_lines(truth: Truth | None) -> list[str]:
    if truth is None:
        return ["truth    not stated"]
    sigma = "unknown" if truth.sigma_s is None else f"{truth.sigma_s * 1e3:g} ms"
    lines = [f"truth    ±{sigma} (1σ): {truth.how}"]
    for node_id, node in truth.nodes.items():
        jumps = "".join(f", jump {j.by_s:+g} s after {j.at_s:.6g} s" for j in node.jumps)
        lines.append(
            f"         {node_id}: offset {node.offset_s:+.6f} s, "
            f"skew {node.skew_ppm:+.3f} ppm{jumps}"
        )
    return lines


def _info_json(manifest: Manifest, summaries: list[StreamSummary]) -> dict[str, object]:
    listed = manifest_to_json(manifest)
    streams = [
        {
            "id": summary.stream.id,
            "node": summary.stream.node,
            "modality": summary.stream.modality,
            "samples": summary.num_samples,
            "rate_hz": summary.rate_hz,
            "t_first_s": float(to_text(summary.t_first_ns)),
            "t_last_s": float(to_text(summary.t_last_ns)),
            "units": summary.stream.units,
        }
        for summary in summaries
    ]
    return {
        "name": manifest.name,
        "licence": manifest.licence,
        "source": manifest.source,
        "nodes": list(manifest.nodes),
        "streams": streams,
        "truth": listed.get("truth"),
    }
