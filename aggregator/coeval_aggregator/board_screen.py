"""The board as a terminal shows it: nodes, streams, the last events."""

import json
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from coeval_aggregator.board import Board, NodeSeen, number_of, text_of

BARS = "▁▂▃▄▅▆▇█"
UNKNOWN = "–"
STYLES = {"reference": "cyan", "locked": "green", "unsure": "yellow", "unrelated": "red"}
LONGEST_EVENT = 160


def screen(board: Board, *, title: str) -> RenderableType:
    """Everything on the board."""
    nodes = Table(title=title, title_justify="left", expand=True)
    for name in ("node", "is", "clock", "offset", "skew", "evidence", "held over"):
        nodes.add_column(name)
    for name, node in sorted(board.nodes.items()):
        nodes.add_row(*node_cells(name, node))
    streams = Table(expand=True)
    for name in ("stream", "senses", "activity"):
        streams.add_column(name)
    for (node_name, stream_name), stream in sorted(board.streams.items()):
        note = "" if stream.irrelevant is None else f"  carries nothing: {stream.irrelevant}"
        streams.add_row(
            plain(f"{node_name}/{stream_name}"),
            plain(stream.modality or UNKNOWN),
            plain(bars(stream.moves) + note),
        )
    events = [
        plain(json.dumps(event, ensure_ascii=False)[:LONGEST_EVENT]) for event in board.events
    ]
    return Group(nodes, streams, *warnings(board), Text("last events", style="bold"), *events)


def warnings(board: Board) -> list[Text]:
    """What a reader must not miss."""
    said: list[str] = []
    if board.aggregator != "online":
        said.append(f"the aggregator is {board.aggregator or 'not heard of'}: clocks may be old")
    said += [f"degraded: {each}" for each in board.degraded]
    loose = [
        name
        for name in sorted({node for node, _ in board.streams})
        if name not in board.nodes or number_of(board.nodes[name].clock.get("offset_s")) is None
    ]
    if loose:
        said.append(f"not known to be synchronised: {', '.join(loose)}")
    return [plain(each, style="bold red") for each in said]


def node_cells(name: str, node: NodeSeen) -> list[Text]:
    """A node's row; what is unknown is a dash."""
    clock = node.clock
    status = text_of(clock.get("status"))
    kinds = clock.get("evidence")
    held_s = number_of(clock.get("holdover_s"))
    return [
        plain(name),
        plain(node.state or UNKNOWN),
        plain(status or UNKNOWN, style=STYLES.get(status or "", "")),
        plain(within(number_of(clock.get("offset_s")), number_of(clock.get("ci95_s")), "s", 6)),
        plain(
            within(
                number_of(clock.get("skew_ppm")), number_of(clock.get("skew_ci95_ppm")), "ppm", 2
            )
        ),
        plain(" ".join(map(str, kinds)) if isinstance(kinds, list) else UNKNOWN),
        plain(UNKNOWN if held_s is None else f"{held_s:.0f} s"),
    ]


def within(value: float | None, ci95: float | None, unit: str, digits: int) -> str:
    """A value with its 95 % interval; offsets: positive: the node is fast."""
    if value is None:
        return UNKNOWN
    width = "?" if ci95 is None else f"{ci95:.{digits}f}"
    return f"{value:+.{digits}f} ± {width} {unit}"


def bars(moves: Iterable[float]) -> str:
    """Activity as bars, the newest at the right; the highest is the stream's own most."""
    moved = list(moves)
    most = max(moved, default=0.0)
    if not most > 0.0:
        return BARS[0] * len(moved)
    return "".join(BARS[round(each / most * (len(BARS) - 1))] for each in moved)


def plain(text: str, *, style: str = "") -> Text:
    """Text without markup, and without control characters that would move the cursor."""
    return Text("".join(c if c.isprintable() else "�" for c in text), style=style)
