"""`coeval demo`: three nodes with wrong clocks fall into line before your eyes."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from coeval.errors import BadConfig
from coeval_edge.recording import open_recording
from coeval_lab.broker import RunningBroker
from coeval_lab.demo import Watch, false_clocks, run_demo

STATUS_STYLE = {"locked": "green", "reference": "cyan", "unsure": "yellow", "unrelated": "red"}


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Run on until Ctrl-C.")] = False,
    out: Annotated[Path, typer.Option(help="Folder for the two pictures.")] = Path("coeval-demo"),
    as_json: Annotated[bool, typer.Option("--json", help="Verdict as JSON to stdout.")] = False,
    speed: Annotated[float, typer.Option(min=0.1, help="1: real time.")] = 2.0,
    quick: Annotated[bool, typer.Option("--quick", help="Replay four times as fast.")] = False,
    seed: Annotated[int, typer.Option(help="Seeds how wrong the clocks are.")] = 7,
    recording: Annotated[
        Path | None, typer.Option(help="A recording of your own; its clocks must be right.")
    ] = None,
) -> None:
    """Replay a real recording through wrong clocks and watch the aggregator find them."""
    opened = open_recording(recording or Path(str(files("coeval_lab").joinpath("demo_recording"))))
    if len(opened.manifest.nodes) < 2:
        raise BadConfig(f"--recording {opened.root}: the demo needs two nodes, it has one")
    clocks = false_clocks(list(opened.manifest.nodes), seed=seed)
    console = Console(stderr=as_json)
    console.print(
        "Each node replays its part of one recording through a clock that is wrong on purpose; "
        "the aggregator sees embeddings only.",
        highlight=False,
    )
    with Live(console=console, refresh_per_second=4, auto_refresh=False) as live:

        def show(watch: Watch, broker: RunningBroker) -> None:
            if console.is_terminal:
                live.update(clock_table(watch, broker.kind), refresh=True)

        try:
            watch = run_demo(
                opened, clocks, speed=4 * speed if quick else speed, keep=keep, show=show
            )
        except KeyboardInterrupt:
            raise typer.Exit(0 if keep else 130) from None
        live.update(clock_table(watch, "done"), refresh=True)
    verdict = verdict_of(watch)
    from coeval_lab.demo_plots import plot_convergence, plot_streams  # slow import, wanted late
    from coeval_lab.tracks import tracks_of

    out.mkdir(parents=True, exist_ok=True)
    plot_streams(watch, tracks_of(opened), out / "streams.png")
    plot_convergence(watch, out / "convergence.png")
    if as_json:
        typer.echo(json.dumps(verdict))
    print_verdict(verdict, console)
    console.print(f"pictures: {out / 'streams.png'}, {out / 'convergence.png'}", highlight=False)
    if not verdict["passed"]:
        raise typer.Exit(1)


def clock_table(watch: Watch, broker: str) -> Table:
    """Every node: what is true, what is estimated, how sure."""
    table = Table(title=f"clocks against {watch.reference} · broker: {broker}")
    for heading in (
        "node",
        "status",
        "true offset s",
        "estimate s",
        "error ms",
        "± 95% ms",
        "skew ppm (true)",
        "evidence",
    ):
        table.add_column(heading, justify="left" if heading in ("node", "status") else "right")
    for node in watch.clocks:
        report = watch.last(node)
        if node == watch.reference:
            table.add_row(node, "[cyan]reference[/]", *["–"] * 6)
        elif report is None:
            table.add_row(node, "waiting", *["–"] * 6)
        else:
            error_s, ci95_s = report.error_s, report.ci95_s
            table.add_row(
                node,
                f"[{STATUS_STYLE.get(report.status, 'white')}]{report.status}[/]",
                f"{report.true_offset_s:+.4f}",
                "–" if report.offset_s is None else f"{report.offset_s:+.4f}",
                "–" if error_s is None else f"{error_s * 1e3:+.1f}",
                "–" if ci95_s is None else f"{ci95_s * 1e3:.1f}",
                "–"
                if report.skew_ppm is None
                else f"{report.skew_ppm:+.0f} ({report.true_skew_ppm:+.0f})",
                ", ".join(report.evidence) or "–",
            )
    return table


def verdict_of(watch: Watch) -> dict[str, Any]:
    """Per node: whether it locked and the truth lies in its interval."""
    nodes: dict[str, Any] = {}
    for node in watch.clocks:
        if node == watch.reference:
            continue
        report = watch.last(node)
        error_s = report.error_s if report else None
        ci95_s = report.ci95_s if report else None
        nodes[node] = {
            "status": report.status if report else "silent",
            "offset_s": report.offset_s if report else None,
            "true_offset_s": report.true_offset_s if report else None,
            "error_s": error_s,
            "ci95_s": ci95_s,
            "skew_ppm": report.skew_ppm if report else None,
            "true_skew_ppm": report.true_skew_ppm if report else None,
            "passed": error_s is not None and ci95_s is not None and abs(error_s) <= ci95_s,
        }
    return {
        "reference": watch.reference,
        "nodes": nodes,
        "passed": all(node["passed"] for node in nodes.values()),
    }


def print_verdict(verdict: dict[str, Any], console: Console) -> None:
    """The verdict in words."""
    for name, node in verdict["nodes"].items():
        if node["error_s"] is None:
            console.print(f"[red]FAIL[/] {name}: {node['status']}, no offset", highlight=False)
            continue
        mark = "[green]PASS[/]" if node["passed"] else "[red]FAIL[/]"
        console.print(
            f"{mark} {name}: {node['offset_s']:+.4f} s, truth {node['true_offset_s']:+.4f} s, "
            f"off by {node['error_s'] * 1e3:+.1f} ms, stated ± {node['ci95_s'] * 1e3:.1f} ms",
            highlight=False,
        )
