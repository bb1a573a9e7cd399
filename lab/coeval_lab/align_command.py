"""`coeval align`: files that were never synchronised, put on one timeline."""

import json
import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from coeval.errors import BadConfig, BadRecording
from coeval.estimates import NodeEstimate, SessionEstimate
from coeval.preprocessing import DEFAULT_STEPS, Step
from coeval_edge.aligned import write_aligned
from coeval_edge.recording import open_recording
from coeval_lab.align import Alignment, align_recording, alignment_to_json, node_segments
from coeval_lab.disagreements import disagreements

LARGEST_MAX_OFFSET_S = 3600.0
"""Time and memory grow with it; clocks a time zone apart are met by their recordings' starts."""
STATUS_STYLE = {"locked": "green", "unsure": "yellow", "unrelated": "red"}


class Method(StrEnum):
    """Which evidence may be used."""

    joint = "joint"
    hardware = "hardware"
    network = "network"
    content = "content"


CONTENT_HELPS = (
    "their content does not tell. Longer material with more shared events, or --max-offset if the "
    "clocks are further apart, may help."
)
WHAT_HELPS = {
    Method.joint: CONTENT_HELPS,
    Method.content: CONTENT_HELPS,
    Method.hardware: "no hardware evidence (pps, edges) ties them to the reference.",
    Method.network: "no network evidence (exchange) ties them to the reference.",
}
CONTENT_METHODS = (Method.joint, Method.content)
NOTHING_TO_ALIGN = (
    "the recording has one node, so one clock: nothing to align. Import the files of several "
    "devices together, or give their streams nodes of their own."
)


def align(
    recording: Annotated[
        Path, typer.Argument(metavar="REC", help="Recording folder (recording.json and files).")
    ],
    method: Annotated[Method, typer.Option(help="Evidence to use.")] = Method.joint,
    reference: Annotated[
        str | None, typer.Option(help="Node whose clock is the timeline; default: the first.")
    ] = None,
    max_offset: Annotated[
        float,
        typer.Option(
            min=0.1,
            max=LARGEST_MAX_OFFSET_S,
            help="Search content offsets up to this many seconds.",
        ),
    ] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="JSON to stdout.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the aligned recording to this new folder.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a PNG report to this file.")] = None,
    encoders: Annotated[
        Path | None,
        typer.Option(
            help="Folder of other encoders, of `coeval export-encoders` or `coeval adapt`.",
            show_default=False,
        ),
    ] = None,
    without: Annotated[
        list[Step] | None,
        typer.Option(
            metavar="STEP",
            help=f"Switch a step of preprocessing off ({', '.join(Step)}); may be repeated.",
        ),
    ] = None,
    with_step: Annotated[
        list[Step] | None,
        typer.Option("--with", metavar="STEP", help="Switch one on: wide is off by default."),
    ] = None,
) -> None:
    """Estimate every node's offset and skew, and say how sure they are."""
    check_targets(out, plot)
    console = Console(stderr=True)
    opened = open_recording(recording)
    columns = (TextColumn("aligning"), BarColumn(), "{task.percentage:>3.0f}%", TimeElapsedColumn())
    is_quiet = as_json or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=is_quiet) as bar:
        task = bar.add_task("align", total=1.0)
        alignment = align_recording(
            opened,
            method=method.value,
            reference=reference,
            max_offset_s=max_offset,
            encoders=encoders,
            preprocessing=DEFAULT_STEPS.switched(on=with_step or (), off=without or ()),
            progress=lambda share: bar.update(task, completed=share),
        )
    notes = [f"warning: {line}" for line in disagreements(alignment.estimate)]
    if plot is not None:
        from coeval_lab.align_plot import plot_alignment  # matplotlib only where it is asked for

        plot_alignment(alignment, plot)
        notes.append(f"report: {plot}")
    if out is not None:
        lines = node_segments(alignment.estimate)
        write_aligned(opened, lines, out, reference=alignment.estimate.reference)
        left = sorted(set(opened.manifest.nodes) - set(lines) - {alignment.estimate.reference})
        note = f"; copied unchanged, not aligned: {', '.join(left)}" if left else ""
        notes.append(f"aligned recording: {out}{note}")
    if as_json:
        typer.echo(json.dumps(alignment_to_json(alignment)))
    else:
        print_table(alignment, method=method)
    for note in notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def check_targets(out: Path | None, plot: Path | None) -> None:
    """See before the work that its outcome can be written.

    Raises:
        BadConfig: the picture's name cannot be a picture's, or one cannot be written there.
        BadRecording: the aligned recording's folder is there already.
    """
    if plot is not None:
        if plot.suffix.lower() != ".png":
            raise BadConfig(f"--plot {plot}: expected a file ending in .png")
        if plot.is_dir():
            raise BadConfig(f"--plot {plot}: is a folder; expected a file ending in .png")
        check_place(plot, option="--plot")
    if out is not None:
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise BadRecording(f"{out}: is there already; give a new or empty folder")
        check_place(out, option="--out")


def check_place(path: Path, *, option: str) -> None:
    """See that something can be made where a path is, before the work that it is to hold.

    Raises:
        BadConfig: a part of the path is a file, or a folder that may not be written to.
    """
    nearest = next(folder for folder in path.absolute().parents if folder.exists())
    if not nearest.is_dir():
        raise BadConfig(f"{option} {path}: cannot be written, {nearest} is no folder")
    if not os.access(nearest, os.W_OK):
        raise BadConfig(
            f"{option} {path}: cannot be written, you have no right to write in {nearest}; "
            "choose another place"
        )


def skew_text(node: NodeEstimate) -> str:
    """A skew with its interval, to the digit that the interval leaves."""
    if node.line is None:
        return "–"
    ppm = node.line.skew_ppb * 1e-3
    if node.skew_ci95_ppb is None:
        return f"{ppm:+z.2f}"
    ci95_ppm = node.skew_ci95_ppb * 1e-3
    digits = 0 if ci95_ppm >= 10 else 2 if ci95_ppm >= 0.1 else 4
    return f"{ppm:+z.{digits}f} ± {ci95_ppm:.{digits}f}"


def print_table(alignment: Alignment, *, method: Method) -> None:
    """The estimate for people, and what may help where there is none."""
    estimate = alignment.estimate
    table = Table(title=f"clocks against {escape(estimate.reference)} (positive: the node is fast)")
    for heading in ("node", "status", "offset s", "± 95% s", "skew ppm", "jumps", "evidence"):
        is_text = heading in ("node", "status")
        table.add_column(heading, justify="left" if is_text else "right", overflow="fold")
    for name, node in estimate.nodes.items():
        known = node.line is not None and node.ci95_ns is not None
        table.add_row(
            escape(name),
            f"[{STATUS_STYLE[node.status]}]{node.status}[/]",
            f"{node.line.offset_ns * 1e-9:+.6f}" if known and node.line else "–",
            f"{node.ci95_ns * 1e-9:.6f}" if node.ci95_ns is not None else "–",
            skew_text(node),
            ", ".join(f"{jump.delta_ns * 1e-9:+.3f}" for jump in node.jumps) or "none",
            ", ".join(node.evidence) or "none",
        )
    console = Console()
    console.print(table)
    with_content = {track.node for track in alignment.tracks}
    unsure = [name for name, node in estimate.nodes.items() if node.status != "locked"]
    bare = [name for name in unsure if name not in with_content and method in CONTENT_METHODS]
    if not estimate.nodes:
        console.print(NOTHING_TO_ALIGN, highlight=False, markup=False)
    if bare:
        console.print(
            f"no offset for {', '.join(bare)}: no stream and no evidence that ties them to the "
            "reference.",
            highlight=False,
            markup=False,
        )
    strangers = [name for name, node in estimate.nodes.items() if node.status == "unrelated"]
    if strangers:
        console.print(
            f"no offset for {', '.join(strangers)}: nothing in the sound is also in "
            f"{estimate.reference}'s. Another scene? Or --max-offset, if the clocks are further "
            "apart.",
            highlight=False,
            markup=False,
        )
    unsure = [name for name in unsure if name not in (*bare, *strangers)]
    if unsure:
        console.print(
            f"no offset for {', '.join(unsure)}: {WHAT_HELPS[method]}",
            highlight=False,
            markup=False,
        )
    if unsure and method in CONTENT_METHODS:
        for line in empty_stretches(alignment):
            console.print(line, highlight=False, markup=False, soft_wrap=True)
    for group in tied_apart(estimate):
        console.print(
            f"{' and '.join(group)} fit each other, only not {estimate.reference}: see "
            f"--reference {group[0]}",
            highlight=False,
            markup=False,
        )
    console.print(f"{alignment.elapsed_s:.1f} s", style="dim")


def empty_stretches(alignment: Alignment) -> list[str]:
    """What may be why nothing was found: where streams carry nothing, in their nodes' own time."""
    return [
        f"{track.node}/{track.stream} carries nothing: "
        + ", ".join(
            f"{stretch.reason} {stretch.start_node_ns * 1e-9:.0f}–"
            f"{stretch.end_node_ns * 1e-9:.0f} s"
            for stretch in track.irrelevant
        )
        for track in alignment.tracks
        if track.irrelevant
    ]


def tied_apart(estimate: SessionEstimate) -> list[list[str]]:
    """Groups of nodes that would be placed against each other, but not against the reference."""
    groups: list[list[str]] = []
    unplaced = [name for name, node in estimate.nodes.items() if node.line is None]
    for pair in estimate.pairs:
        if not pair.accepted or not {pair.first, pair.second} <= set(unplaced):
            continue
        met = [group for group in groups if pair.first in group or pair.second in group]
        merged = {pair.first, pair.second}.union(*met)
        groups = [group for group in groups if group not in met]
        groups.append([name for name in unplaced if name in merged])
    return groups
