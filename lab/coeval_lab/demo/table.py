"""The live table of the demo: every stream, what its clock is said to be, and what it truly is."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from coeval.manifest import StreamSpec
from coeval_lab.demo.activity import sparkline
from coeval_lab.demo.clocks import TrueClocks
from coeval_lab.demo.watch import Heard, Statement, Watch

STATUS_STYLE = {
    "locked": "bold green",
    "reference": "bold blue",
    "unsure": "yellow",
    "unrelated": "red",
    "waiting": "dim",
}
WIDE = 120
"""Columns of a terminal that has room for everything."""
SPARK_WIDTH = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenery:
    """What does not change while the demo runs."""

    streams: Sequence[StreamSpec]
    """Streams, those of one node together, the reference's first."""
    clocks: TrueClocks
    """The true clocks."""
    length_s: float
    """Length of the recording."""
    is_looping: bool
    """Whether the replay begins again at the end."""
    title: str
    """What is shown."""


def number(value: float | None, form: str, *, scale: float = 1.0) -> str:
    """A number in a form, or a dash where it is unknown."""
    return "–" if value is None else format(value * scale, form)


def clock_cells(node: str, said: Statement | None, clocks: TrueClocks) -> list[str | Text]:
    """Cells of a node's clock: truth, estimate, error, interval, skew, status, evidence."""
    if node == clocks.reference:
        given = clocks.errors[node]
        own = f"own clock {given.offset_s:+.2f} s, {given.skew_ppm:+.0f} ppm wrong"
        return ["0", "0", "", "", "", Text("reference", STATUS_STYLE["reference"]), own]
    true = clocks.at(node, said.t_ref_ns) if said else None
    error_s = said.offset_s - true.offset_s if said and said.offset_s is not None and true else None
    good = said is not None and error_s is not None and said.ci95_s is not None
    is_inside = good and said is not None and abs(error_s or 0.0) <= (said.ci95_s or 0.0)
    status = said.status if said else "waiting"
    skew = "–"
    if said is not None and said.skew_ppm is not None:
        skew = f"{said.skew_ppm:+.0f} ± {number(said.skew_ci95_ppm, '.0f')}"
    return [
        number(true.offset_s if true else None, "+.4f"),
        Text(number(said.offset_s if said else None, "+.4f"), "bold"),
        Text(number(error_s, "+.1f", scale=1e3), "green" if is_inside else "yellow"),
        number(said.ci95_s if said else None, ".1f", scale=1e3),
        f"{number(true.skew_ppm if true else None, '+.0f')} / {skew}",
        Text(status, STATUS_STYLE.get(status, "")),
        ", ".join(said.evidence) if said else "",
    ]


def live_table(scenery: Scenery, watch: Watch, *, elapsed_s: float, width: int) -> Group:
    """The table as it stands now.

    Args:
        scenery: what does not change.
        watch: what was heard so far.
        elapsed_s: since the demo began.
        width: columns of the terminal.
    """
    is_wide = width >= WIDE
    table = Table(title=scenery.title, title_style="bold", expand=False)
    for heading in ("node", "stream", "modality"):
        table.add_column(heading, no_wrap=True)
    if is_wide:
        table.add_column("activity", no_wrap=True, width=SPARK_WIDTH)
    for heading in ("true s", "found s", "error ms", "±95% ms", "skew ppm\ntrue / found"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    if is_wide:
        table.add_column("evidence")
    previous = None
    for stream in scenery.streams:
        heard = watch.streams.get((stream.node, stream.id), Heard())
        row: list[str | Text] = ["", stream.id, stream.modality]
        if is_wide:
            row.append(Text(sparkline(list(heard.blocks), width=SPARK_WIDTH), "cyan"))
        if stream.node != previous:
            if previous is not None:
                table.add_section()
            row[0] = Text(stream.node, "bold")
            cells = clock_cells(stream.node, watch.latest(stream.node), scenery.clocks)
            row += cells if is_wide else cells[:-1]
            previous = stream.node
        table.add_row(*row)
    return Group(table, progress_line(scenery, watch, elapsed_s=elapsed_s))


def progress_line(scenery: Scenery, watch: Watch, *, elapsed_s: float) -> Table:
    """How far the replay is."""
    heard_s = max((heard.length_s for heard in watch.streams.values()), default=0.0)
    line = Table.grid(padding=(0, 1))
    if scenery.is_looping:
        line.add_row(f"replayed {heard_s:.0f} s in {elapsed_s:.0f} s; Ctrl-C ends it")
        return line
    line.add_row(
        ProgressBar(total=scenery.length_s, completed=min(heard_s, scenery.length_s), width=40),
        f"replayed {min(heard_s, scenery.length_s):.0f} of {scenery.length_s:.0f} s "
        f"in {elapsed_s:.0f} s",
    )
    return line


def plain_line(scenery: Scenery, watch: Watch, *, elapsed_s: float) -> str:
    """The table in one line, where there is no terminal."""
    parts = []
    for node in dict.fromkeys(stream.node for stream in scenery.streams):
        if node == scenery.clocks.reference:
            continue
        true, found, error, ci95, _, status, _ = map(
            str, clock_cells(node, watch.latest(node), scenery.clocks)
        )
        part = f"{node} {status}"
        if found != "–":
            part += f" {found} s (true {true}, error {error} ± {ci95} ms)"
        parts.append(part)
    heard_s = max((heard.length_s for heard in watch.streams.values()), default=0.0)
    return f"{elapsed_s:5.1f} s  replayed {heard_s:5.1f} s  " + "; ".join(parts)
