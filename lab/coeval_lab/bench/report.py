"""A benchmark's rows as a table, JSON, a page and a picture."""

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from coeval.errors import BadConfig
from coeval_lab.bench.bars import Bar
from coeval_training.commit import current_commit


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """How a benchmark's rows are shown."""

    title: str
    """Above the table on a terminal."""
    columns: tuple[str, ...]
    """Columns of the table, in order."""
    names: tuple[str, ...]
    """The columns that name a line, set flush left."""
    explanation: str
    """What the columns mean, for the page."""
    plot: Callable[[Sequence[dict[str, Any]], Path], None]
    """Draws the rows into a PNG file."""
    caption: str
    """What the picture shows."""
    sections: Mapping[str, str] = field(default_factory=dict)
    """Further tables: their title by the `section` of their rows. Their columns are the rows'."""
    only_on_page: tuple[str, ...] = ()
    """Sections too long for a terminal."""


def commit() -> str:
    """The commit of this checkout, as it stands beside numbers."""
    return current_commit(num_digits=12)


def text(value: object) -> str:
    """A cell for people: unknown is a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)


def print_rows(rows: Sequence[dict[str, Any]], bars: Sequence[Bar], page: Page) -> None:
    """The table, then the bars, to the terminal."""
    console = Console(width=max(Console().width, 190))
    printed = [row for row in rows if row.get("section") not in page.only_on_page]
    for title, own, columns in tables_of(printed, page):
        table = Table(title=title)
        shown = [column for column in columns if column != "note"]
        for column in shown:
            table.add_column(column, justify="left" if column in page.names else "right")
        for row in own:
            table.add_row(*(text(row.get(column)) for column in shown))
        console.print(table)
    verdicts = Table(title="bars")
    for column in ("bar", "wanted", "got", "met"):
        verdicts.add_column(column)
    for bar in bars:
        verdicts.add_row(bar.name, bar.wanted, bar.got, "[green]yes" if bar.met else "[red]no")
    console.print(verdicts)


def tables_of(
    rows: Sequence[dict[str, Any]], page: Page
) -> list[tuple[str, list[dict[str, Any]], tuple[str, ...]]]:
    """Title, rows and columns of the page's table and of each further one that has rows."""
    found = [(page.title, [row for row in rows if "section" not in row], page.columns)]
    for section in dict.fromkeys(row["section"] for row in rows if "section" in row):
        own = [row for row in rows if row.get("section") == section]
        columns = dict.fromkeys(column for row in own for column in row)
        hidden = ("section", "commit")
        shown = tuple(column for column in columns if column not in hidden)
        found.append((page.sections.get(section, section), own, shown))
    return found


def markdown(rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(text(row.get(c)) for c in columns) + " |" for row in rows]
    return "\n".join(lines)


class Partial:
    """The rows measured so far, kept in the report's folder: a run that is stopped leaves them."""

    def __init__(self, folder: Path | None) -> None:
        self._path = None if folder is None else folder / "partial.jsonl"
        self.commit = commit()
        """The commit at which the measurement began."""
        self.remove()

    def keep(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows to the file."""
        if self._path is not None:
            with self._path.open("a") as file:
                file.writelines(json.dumps(row | {"commit": self.commit}) + "\n" for row in rows)

    def remove(self) -> None:
        """Forget them: the report holds them all."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def stamped(name: str, rows: Sequence[dict[str, Any]], *, began_at: str) -> dict[str, Any]:
    """A benchmark's document, its commit beside every row; one measured earlier keeps its own.

    A tree that changed while it was measured is named by both commits: cells start one by one and
    run what is there then.
    """
    ended_at = commit()
    stamp = began_at if ended_at == began_at else f"{began_at}..{ended_at}"
    return {"bench": name, "commit": stamp, "rows": [{"commit": stamp} | row for row in rows]}


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of the report in a folder, each with its commit; none where there is no report."""
    path = folder / "rows.json"
    found: list[dict[str, Any]] = json.loads(path.read_text())["rows"] if path.exists() else []
    return found


def chosen_parts(asked: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The parts of a benchmark that are measured, in their own order; nothing asked: all.

    Raises:
        BadConfig: one that is asked for is none.
    """
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise BadConfig(f"--sections: no section {unknown[0]!r}; there are: {', '.join(known)}")
    return tuple(name for name in known if name in (asked or known))


def with_parts_again(
    before: Sequence[dict[str, Any]],
    again: Sequence[dict[str, Any]],
    *,
    chosen: Sequence[str],
    known: Sequence[str],
    part_of: Callable[[dict[str, Any]], str],
) -> list[dict[str, Any]]:
    """A report's rows with those of the parts that were measured again in their place."""
    kept = [row for row in before if part_of(row) not in chosen]
    return sorted([*kept, *again], key=lambda row: known.index(part_of(row)))


def write_report(
    folder: Path,
    document: dict[str, Any],
    *,
    command: str,
    seed: int,
    minutes: float,
    bars: Sequence[Bar],
    page: Page,
) -> None:
    """Write README.md, rows.json and plot.png of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = document["rows"]
    (folder / "rows.json").write_text(json.dumps(document, indent=1) + "\n")
    verdicts = [
        {"bar": bar.name, "wanted": bar.wanted, "got": bar.got, "met": bar.met} for bar in bars
    ]
    (folder / "README.md").write_text(
        f"# bench {document['bench']}, {datetime.now(UTC):%Y-%m-%d}\n\n"
        f"Command: `{command}`; seed {seed}; commit {document['commit']}; {minutes:.0f} min; "
        f"Python {platform.python_version()}, {platform.machine()}, two shared cores.\n\n"
        f"{page.explanation}\n\n"
        f"## Bars\n\n{markdown(verdicts, ('bar', 'wanted', 'got', 'met'))}\n\n"
        + "\n\n".join(
            f"## {'Table' if columns is page.columns else title}\n\n{markdown(own, columns)}"
            for title, own, columns in tables_of(rows, page)
        )
        + f"\n\n![{page.caption}](plot.png)\n"
    )
    page.plot(rows, folder / "plot.png")
