"""`coeval demo`: the whole system on one machine, against a truth that is known."""

import json
import signal
import sys
import tempfile
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from coeval.folders import make_folder
from coeval_edge.recording import Recording, open_recording
from coeval_lab.demo.run import DemoResult, check_speed, choose_page, make_scenery, run_demo
from coeval_lab.demo.table import Scenery, live_table, plain_line
from coeval_lab.demo.verdict import say, verdict_to_json
from coeval_lab.demo.watch import Watch

SHIPPED = Path(__file__).parent / "recording"
DEFAULT_SPEED, QUICK_SPEED = 1.5, 8.0
PLAIN_EVERY_S = 5.0
SVG_WIDTH = 124
"""Columns of the picture of the table."""


class Screen:
    """Shows the demo as it runs: a live table on a terminal, else a line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None
        self._next_s = 0.0

    def __enter__(self) -> "Screen":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, scenery: Scenery, watch: Watch, elapsed_s: float) -> None:
        """Show what there is."""
        if self._live is not None:
            width = self._console.width
            table = live_table(scenery, watch, elapsed_s=elapsed_s, width=width)
            self._live.update(table, refresh=True)
        elif elapsed_s >= self._next_s:
            self._next_s = elapsed_s + PLAIN_EVERY_S
            line = plain_line(scenery, watch, elapsed_s=elapsed_s)
            self._console.print(line, soft_wrap=True, highlight=False)


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Run on until Ctrl-C, the recording again and again.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for pictures and logs.")] = Path("coeval-demo"),
    as_json: Annotated[bool, typer.Option("--json", help="Verdict as JSON to stdout.")] = False,
    speed: Annotated[
        float | None,
        typer.Option(help=f"1: real time; {DEFAULT_SPEED:g} by default.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Chooses the clocks' errors.")] = 1,
    recording: Annotated[
        Path | None,
        typer.Option(metavar="REC", help="Replay this recording, not the one that ships."),
    ] = None,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="One node more: an emulated Pico on the hand."),
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help=f"{QUICK_SPEED:g} times real time: ends in seconds.")
    ] = False,
) -> None:
    """Replay real streams through wrong clocks and watch Coeval put them on one timeline.

    Starts a broker, an aggregator and a node for each node of a recording, and ends by itself.
    Exit code 0 where every clock was found within its stated interval, else 1.
    """
    if speed is None:
        speed = QUICK_SPEED if quick else DEFAULT_SPEED
    check_speed(speed)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    console = Console(stderr=as_json)
    opened = open_recording(recording or SHIPPED)
    with ExitStack() as stack:
        if probe:
            opened = add_probe(opened, stack, console)
        scenery = make_scenery(opened, seed=seed, is_looping=keep)
        logs = out / "logs"
        make_folder(logs, name="--out")
        page = choose_page()
        console.print(f"page: http://{page}/", highlight=False)
        screen = stack.enter_context(Screen(console))
        result = run_demo(opened, scenery, speed=speed, logs=logs, show=screen.show, page=page)
    pictures = write_pictures(result, out)
    tell(result, console, pictures=pictures, seed=seed)
    if as_json:
        typer.echo(json.dumps(result_to_json(result, pictures=pictures, seed=seed, speed=speed)))
    if not result.has_passed:
        raise typer.Exit(1)


def add_probe(recording: Recording, stack: ExitStack, console: Console) -> Recording:
    """The recording with what an emulated probe felt of it, for as long as the stack lasts."""
    from coeval_lab.demo.pico import with_probe  # an emulator, only where it is asked for

    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coeval-probe-")))
    columns = (TextColumn("an emulated probe feels the recording"), BarColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=True) as bar:
        task = bar.add_task("emulating", total=1.0)
        return with_probe(recording, folder, say=lambda share: bar.update(task, completed=share))


def write_pictures(result: DemoResult, out: Path) -> list[Path]:
    """Write what the demo showed as pictures; their paths."""
    from coeval_lab.demo.plots import plot_convergence, plot_streams  # matplotlib takes a second

    paths = [out / "streams.png", out / "convergence.png", out / "demo.svg"]
    plot_streams(result, paths[0])
    plot_convergence(result, paths[1])
    canvas = Console(record=True, width=SVG_WIDTH, file=StringIO())
    canvas.print(
        live_table(result.scenery, result.watch, elapsed_s=result.elapsed_s, width=SVG_WIDTH)
    )
    canvas.save_svg(str(paths[2]), title="coeval demo")
    return paths


def tell(result: DemoResult, console: Console, *, pictures: list[Path], seed: int) -> None:
    """Print the verdict for people."""
    console.print(f"seed {seed}: clocks were made wrong by", highlight=False)
    for node, error in result.scenery.clocks.errors.items():
        is_reference = node == result.scenery.clocks.reference
        note = "  (the reference: its clock is the timeline)" if is_reference else ""
        console.print(
            f"  {node}: {error.offset_s:+.3f} s, {error.skew_ppm:+.1f} ppm{note}", highlight=False
        )
    for verdict in result.verdicts.values():
        style = "green" if verdict.has_passed else "red"
        console.print(say(verdict), style=style, highlight=False, soft_wrap=True)
    console.print(
        f"{result.elapsed_s:.0f} s, broker {result.broker}; pictures: "
        + ", ".join(map(str, pictures)),
        highlight=False,
        soft_wrap=True,
    )


def result_to_json(
    result: DemoResult, *, pictures: list[Path], seed: int, speed: float
) -> dict[str, object]:
    """The verdict as JSON; offsets are node − reference, positive: the node is fast."""
    clocks = result.scenery.clocks
    return {
        "passed": result.has_passed,
        "reference": clocks.reference,
        "nodes": {node: verdict_to_json(verdict) for node, verdict in result.verdicts.items()},
        "made_wrong_by": {
            node: {"offset_s": error.offset_s, "skew_ppm": error.skew_ppm}
            for node, error in clocks.errors.items()
        },
        "streams": {
            stream.id: {
                "node": stream.node,
                "modality": stream.modality,
                "heard_s": round(heard.length_s, 2) if heard else 0.0,
            }
            for stream in result.scenery.streams
            for heard in [result.watch.streams.get((stream.node, stream.id))]
        },
        "truth_sigma_s": clocks.sigma_s,
        "broker": result.broker,
        "seed": seed,
        "speed": speed,
        "elapsed_s": round(result.elapsed_s, 2),
        "pictures": [str(path) for path in pictures],
    }
