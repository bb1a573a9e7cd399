"""`coeval bench page`: how smoothly the page draws, in a real Chromium.

Broker, the aggregator's server of the page, and a process that publishes as many live streams as
are wanted; the browser's own frames are counted, aligned and as stamped.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from coeval.broker_address import BrokerAddress
from coeval_aggregator.api.config import ApiConfig
from coeval_aggregator.api.page import PageConfig
from coeval_aggregator.api.server import serving
from coeval_aggregator.view import SessionView, View
from coeval_lab.bench.bars import Bar
from coeval_lab.bench.page_load import SESSION
from coeval_lab.bench.report import Page
from coeval_lab.bench.rows import Row, Say
from coeval_lab.broker import RunningBroker, start_broker
from coeval_lab.chromium import browsing

WANTED_STREAMS, WANTED_FPS = 50, 30.0
WIDTH, HEIGHT = 1440, 900
VIEWS = {"Aligned": "aligned", "As stamped": "as stamped"}
SETTLING_MS = 3000
MEASURED = ("fps_median", "fps_p5", "fps_slowest_s", "longest_frame_ms", "cpu_ms_a_frame")
COUNT_FRAMES = """
(forMs) => new Promise((done) => {
  const times = [];
  const take = (now) => {
    times.push(now);
    if (now - times[0] < forMs) requestAnimationFrame(take); else done(times);
  };
  requestAnimationFrame(take);
})
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is measured."""

    streams: tuple[int, ...]
    """How many streams are live, one after the other."""
    seconds: float
    """How long the frames of each view are counted."""


def plan_of(
    *, quick: bool, seed: int, recordings: Path | None = None, with_peers: bool = True
) -> Plan:
    """What to measure; nothing is drawn by a seed, and recordings and peers play no part."""
    del seed, recordings, with_peers
    return Plan(streams=(10, 50) if quick else (10, 50, 100), seconds=4.0 if quick else 20.0)


@contextmanager
def publishing(broker: RunningBroker, num_streams: int) -> Iterator[None]:
    """Live streams, for as long as the `with` block lasts."""
    command = [sys.executable, "-m", "coeval_lab.bench.page_load", broker.url, str(num_streams)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """What was counted of one view."""

    view: str
    """Which."""
    times_ms: Sequence[float]
    """When each frame was drawn."""
    cpu_s: float
    """Processor time of the browser meanwhile."""


def frames_of(num_streams: int, *, seconds: float) -> Iterator[Frames]:
    """The frames of each view.

    Raises:
        CoevalError: there is no browser or no broker.
    """
    view = View(
        is_connected=True, sessions={SESSION: SessionView(facts={"reference": None}, clocks={})}
    )
    with start_broker() as broker:
        page = PageConfig(broker=BrokerAddress.parse(broker.url), prefix="coeval", session=SESSION)
        with (
            serving(ApiConfig(listen="127.0.0.1:0"), lambda: view, None, page=page) as address,
            browsing(address, width=WIDTH, height=HEIGHT) as browser,
            publishing(broker, num_streams),
        ):
            lanes = browser.page.locator("#labels li:not(.all)")
            lanes.nth(num_streams - 1).wait_for(state="attached")
            for button, name in VIEWS.items():
                browser.page.get_by_role("radio", name=button).click()
                browser.page.wait_for_timeout(SETTLING_MS)
                before_s = browser.cpu_s()
                times_ms = browser.page.evaluate(COUNT_FRAMES, seconds * 1000)
                cpu_s = browser.cpu_s() - before_s
                yield Frames(view=name, times_ms=times_ms, cpu_s=cpu_s)


def row_of(num_streams: int, frames: Frames, *, load: float) -> Row:
    """What the times of frames say; unknown where there are fewer than three."""
    times_ms = np.asarray(frames.times_ms)
    row: Row = {"streams": num_streams, "view": frames.view, "frames": len(times_ms)}
    row |= {"load_1min": round(load, 1)}
    if len(times_ms) < 3:
        return row | dict.fromkeys(MEASURED)
    steps_ms = np.diff(times_ms)
    values = (
        round(1000 / float(np.median(steps_ms)), 1),
        round(1000 / float(np.percentile(steps_ms, 95)), 1),
        slowest_second(times_ms),
        round(float(steps_ms.max()), 1),
        round(frames.cpu_s * 1000 / len(times_ms), 1),
    )
    return row | dict(zip(MEASURED, values, strict=True))


def slowest_second(times_ms: np.ndarray) -> int:
    """Fewest frames in any whole second that begins with a frame."""
    begins = times_ms[times_ms <= times_ms[-1] - 1000.0]
    if not len(begins):
        return len(times_ms)
    counts = np.searchsorted(times_ms, begins + 1000.0) - np.searchsorted(times_ms, begins)
    return int(counts.min())


def run(
    plan: Plan,
    *,
    say: Say,
    keep: Callable[[Sequence[Row]], None] = lambda _: None,
    progress: Callable[[float], None] = lambda _: None,
) -> tuple[list[Row], list[Bar]]:
    """Count the frames of every number of streams in every view."""
    rows: list[Row] = []
    total = len(plan.streams) * len(VIEWS)
    for num_streams in plan.streams:
        for frames in frames_of(num_streams, seconds=plan.seconds):
            row = row_of(num_streams, frames, load=os.getloadavg()[0])
            say(f"{num_streams} streams {frames.view}: {row['fps_median']} frames/s")
            rows.append(row)
            keep([row])
            progress(len(rows) / total)
    return rows, bars_of(rows)


def bars_of(rows: Sequence[Row]) -> list[Bar]:
    """What is promised of the page."""
    found = [row for row in rows if row["streams"] == WANTED_STREAMS]
    slowest = [row["fps_slowest_s"] for row in found]
    told = ", ".join(f"{row['view']} {row['fps_slowest_s']}" for row in found)
    met = bool(slowest) and all(fps is not None and fps >= WANTED_FPS for fps in slowest)
    return [
        Bar(
            name=f"frames in the slowest second at {WANTED_STREAMS} streams",
            wanted=f">= {WANTED_FPS:g}",
            got=told or "not measured",
            met=met,
        )
    ]


def plot_frames(rows: Sequence[Row], path: Path) -> None:
    """Frames a second against streams: median, 5th percentile and the slowest second."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, len(VIEWS), sharey=True)
    columns = {
        "fps_median": "median",
        "fps_p5": "5th percentile",
        "fps_slowest_s": "slowest second",
    }
    for axes, view in zip(panels, VIEWS.values(), strict=True):
        own = [row for row in rows if row["view"] == view and row["fps_median"] is not None]
        for column, label in columns.items():
            axes.plot(
                [row["streams"] for row in own], [row[column] for row in own], "o-", label=label
            )
        axes.axhline(WANTED_FPS, color="grey", lw=1, ls="--")
        axes.set_title(view, fontsize=10)
        axes.set_xlabel("live streams")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("frames a second")
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


PAGE = Page(
    title="frames a second of the page in Chromium",
    columns=(
        "streams",
        "view",
        *MEASURED,
        "frames",
        "load_1min",
    ),
    names=("streams", "view"),
    explanation=(
        "The page in headless Chromium without a GPU, 1440 × 900, a view of 60 s that is full from "
        "the beginning. Broker, server, publisher and browser share the machine's two cores; "
        "`load_1min` is its load then, with whatever else ran. Every stream sends two blocks of "
        "ten embeddings a second; four ticks a second move a score in every lane; every clock is "
        "told once a second; an anomaly of three streams begins and ends every 20 s. `fps_median`, "
        "`fps_p5`: of single frames; `fps_slowest_s`: frames in the slowest second; "
        "`longest_frame_ms`: the longest wait for one frame; `cpu_ms_a_frame`: processor time of "
        "all the browser's processes, which says what a frame costs on a busy machine too. A "
        "browser draws 60 at most."
    ),
    plot=plot_frames,
    caption="frames a second against live streams",
)
