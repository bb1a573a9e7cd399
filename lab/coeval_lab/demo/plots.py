"""The demo's pictures: streams before and after, and the estimates closing in on the truth."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from coeval.interval import NORMAL_95
from coeval.time import NS_PER_S
from coeval_lab.colours import OF_MODALITY, UNKNOWN
from coeval_lab.demo.activity import activity
from coeval_lab.demo.run import DemoResult
from coeval_lab.demo.watch import Statement

NODE_COLOURS = ("#F58518", "#54A24B", "#B279A2", "#E45756", "#72B7B2", "#4C78A8")
CLOSE_UP_S = 16.0
INK, FAINT = "#222222", "#888888"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": "#DDDDDD",
    "figure.dpi": 130,
    "savefig.facecolor": "white",
}

Array = NDArray[np.float64]


def to_reference_s(said: Statement, t_node_s: Array) -> Array:
    """Node times in s as the stated clock puts them on the timeline."""
    assert said.offset_s is not None
    holds_s = said.t_ref_ns / NS_PER_S
    since_s = (t_node_s - holds_s - said.offset_s) / (1.0 + (said.skew_ppm or 0.0) * 1e-6)
    return holds_s + since_s


def busiest_s(t_s: Array, moved: Array, *, length_s: float) -> float:
    """Where the span with most activity begins."""
    good = ~np.isnan(t_s)
    t_s, moved = t_s[good], moved[good]
    if len(t_s) < 2:
        return float(t_s[0]) if len(t_s) else 0.0
    num = max(round(length_s / float(np.median(np.diff(t_s)))), 1)
    sums = np.convolve(moved, np.ones(min(num, len(moved))), mode="valid")
    return float(t_s[int(sums.argmax())])


def plot_streams(result: DemoResult, path: Path) -> None:
    """Every stream's activity as its node stamped it and on the timeline, whole and close up."""
    scenery, watch = result.scenery, result.watch
    reference = scenery.clocks.reference
    t0_s = scenery.clocks.first_reading_s
    drawn = [
        (stream, *activity(list(heard.blocks)))
        for stream in scenery.streams
        if (heard := watch.streams.get((stream.node, stream.id))) is not None
    ]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 1.6 + 1.05 * max(len(drawn), 2)), layout="constrained")
        panels = figure.subplots(2, 2, sharey=True)
        from_s = t0_s
        for stream, t_s, moved in drawn:
            if stream.node == reference:
                from_s = busiest_s(t_s, moved, length_s=CLOSE_UP_S)
                break
        for row, (stream, t_s, moved) in enumerate(reversed(drawn)):
            said = watch.latest(stream.node)
            is_placed = stream.node == reference or (said is not None and said.offset_s is not None)
            colour = OF_MODALITY[stream.modality] if is_placed else UNKNOWN
            after_s = t_s
            if said is not None and said.offset_s is not None:
                after_s = to_reference_s(said, t_s)
            for column, times in enumerate((t_s, after_s)):
                for axes in panels[:, column] if column == 0 or is_placed else ():
                    axes.fill_between(times - t0_s, row, row + 0.86 * moved, color=colour, lw=0)
            if not is_placed:
                panels[0, 1].text(0.5 * scenery.length_s, row + 0.3, "no offset known", color=FAINT)
        names = [f"{stream.node}  {stream.id}" for stream, *_ in reversed(drawn)]
        for axes in panels.flat:
            axes.set_yticks(np.arange(len(drawn)) + 0.35, names)
            axes.tick_params(axis="y", length=0)
            axes.spines["left"].set_visible(False)
            axes.grid(axis="x")
            axes.set_axisbelow(True)
        shifts = [error.offset_s for error in scenery.clocks.errors.values()]
        low, high = min(shifts) - shifts[0], max(shifts) - shifts[0]
        for axes in panels[0]:
            axes.set_xlim(low - 1, scenery.length_s + high + 1)
            axes.axvspan(from_s - t0_s, from_s - t0_s + CLOSE_UP_S, color="#EEEEEE", zorder=0)
        for axes in panels[1]:
            axes.set_xlim(from_s - t0_s, from_s - t0_s + CLOSE_UP_S)
            axes.set_xlabel(f"s on each stamp, from the recording's start by {reference}'s clock")
        for axes in panels[:, 0]:
            axes.set_title(f"before: as stamped by {len(shifts)} wrong clocks")
        for axes in panels[:, 1]:
            axes.set_title(f"after: on one timeline, {reference}'s")
        figure.savefig(path)


def plot_convergence(result: DemoResult, path: Path) -> None:
    """Offset and skew of every node against the truth, as material came in."""
    clocks = result.scenery.clocks
    start_s = clocks.first_reading_s
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 6.4), layout="constrained")
        offsets, skews = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        reach_ms, reach_ppm = [20.0], [50.0]
        for colour, node in zip(NODE_COLOURS * 10, result.verdicts, strict=False):
            statements = list(result.watch.statements.get(node, ()))
            rows = [
                (
                    said.t_ref_ns / NS_PER_S - start_s,
                    (said.offset_s - true.offset_s) * 1e3,
                    said.ci95_s * 1e3,
                    (said.skew_ppm or 0.0) - true.skew_ppm,
                    said.skew_ci95_ppm or np.nan,
                )
                for said in statements
                if said.offset_s is not None
                and said.ci95_s is not None
                and (true := clocks.at(node, said.t_ref_ns)) is not None
            ]
            if not rows:
                offsets.plot([], [], color=colour, label=f"{node}: no offset found")
                continue
            t_s, error_ms, ci95_ms, skew_error, skew_ci95 = np.array(rows).T
            draw_band(offsets, t_s, error_ms, ci95_ms, colour=colour, label=label_of(result, node))
            draw_band(skews, t_s, skew_error, skew_ci95, colour=colour, label=None)
            for axes in (offsets, skews):
                axes.axvline(t_s[0], color=colour, lw=0.8, ls=":")
            reach_ms.append(float(np.percentile(np.abs(error_ms) + ci95_ms, 90)))
            settled = skew_ci95[len(skew_ci95) // 3 :]
            reach_ppm.append(float(np.nanmax(settled)) if np.isfinite(settled).any() else 0.0)
        for axes, reach in ((offsets, reach_ms), (skews, reach_ppm)):
            axes.axhline(0.0, color=INK, lw=1.2, ls="--")
            axes.set_ylim(-1.25 * max(reach), 1.25 * max(reach))
            axes.grid(axis="y")
        truth_ci95_ms = NORMAL_95 * clocks.sigma_s * 1e3
        offsets.axhspan(-truth_ci95_ms, truth_ci95_ms, color="#EEEEEE", zorder=0)
        offsets.set_xlim(0, None)
        offsets.set_title(
            f"Offset against {clocks.reference}: estimate − truth, with the stated 95% band "
            "(grey: the truth's own)"
        )
        offsets.set_ylabel("ms")
        offsets.legend(frameon=False, loc="upper right")
        skews.set_title("Skew: estimate − truth")
        skews.set_ylabel("ppm")
        skews.set_xlabel("s of the recording replayed (dotted: first lock)")
        figure.savefig(path)


def draw_band(
    axes: Any, t: Array, error: Array, half_width: Array, *, colour: str, label: str | None
) -> None:
    """A line with its interval around it."""
    axes.fill_between(t, error - half_width, error + half_width, color=colour, alpha=0.18, lw=0)
    axes.plot(t, error, color=colour, lw=2, marker="o", ms=3, label=label)


def label_of(result: DemoResult, node: str) -> str:
    """What a node came to, for the legend."""
    verdict = result.verdicts[node]
    if verdict.offset_s is None or verdict.ci95_s is None or verdict.true_offset_s is None:
        return f"{node}: {verdict.status}"
    return (
        f"{node}: found {verdict.offset_s:+.3f} s ± {verdict.ci95_s * 1e3:.0f} ms, "
        f"truth {verdict.true_offset_s:+.3f} s"
    )
