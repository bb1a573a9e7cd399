"""The demo's two pictures: streams before and after, and the estimates closing in on the truth."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from coeval.align import StreamTrack
from coeval_lab.align_plot import COLOURS, activity
from coeval_lab.demo import Watch

NODE_COLOURS = ("#4C78A8", "#F58518", "#54A24B", "#B279A2", "#E45756", "#72B7B2")


def plot_streams(watch: Watch, tracks: Sequence[StreamTrack], path: Path) -> None:
    """Every stream's activity as its node stamped it, and on the reference's timeline."""
    drawn = [track for track in tracks if track.embeddings]
    figure, (before, after) = plt.subplots(
        1, 2, figsize=(13, 1.3 + 0.62 * len(drawn)), sharey=True, layout="constrained"
    )
    reference = watch.clocks[watch.reference].offset_s
    for row, track in enumerate(drawn):
        times, strength = activity(track)
        colour = COLOURS[track.modality]
        before.fill_between(
            times + watch.clocks[track.node].offset_s,
            row,
            row + 0.88 * strength,
            color=colour,
            lw=0,
        )
        report = watch.last(track.node)
        if track.node == watch.reference:
            shift, label = 0.0, "reference"
        elif report is not None and report.error_s is not None:
            shift, label = (
                -report.error_s,
                f"{report.offset_s:+.3f} s, off by {report.error_s * 1e3:+.0f} ms",
            )
        else:
            after.text(1.01, row + 0.3, "unsure", transform=after.get_yaxis_transform(), fontsize=9)
            continue
        after.fill_between(
            times + reference + shift, row, row + 0.88 * strength, color=colour, lw=0
        )
        after.text(1.01, row + 0.3, label, transform=after.get_yaxis_transform(), fontsize=9)
    before.set_yticks(
        np.arange(len(drawn)) + 0.4, [f"{track.node} / {track.stream}" for track in drawn]
    )
    before.set_title("as stamped by three wrong clocks")
    after.set_title(f"on one timeline (clock of {watch.reference})")
    low = min(axes.get_xlim()[0] for axes in (before, after))
    high = max(axes.get_xlim()[1] for axes in (before, after))
    for axes in (before, after):
        axes.set_xlim(low, high)
        axes.set_xlabel("s")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def plot_convergence(watch: Watch, path: Path) -> None:
    """Error of every node's offset with its 95% band, against the time of the demo."""
    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    drawn = 0.02
    for colour, node in zip(NODE_COLOURS * 10, watch.clocks, strict=False):
        known = [
            (report.at_s, report.error_s * 1e3, report.ci95_s * 1e3)
            for report in watch.reports.get(node, [])
            if report.error_s is not None and report.ci95_s is not None and node != watch.reference
        ]
        if not known:
            continue
        t, error, ci = (np.array(column) for column in zip(*known, strict=True))
        axes.fill_between(t, error - ci, error + ci, color=colour, alpha=0.2, lw=0)
        axes.plot(t, error, color=colour, lw=2, label=node)
        drawn = max(drawn, float(np.percentile(np.abs(error) + ci, 95)))
    axes.axhline(0.0, color="black", lw=1, ls="--", label="truth")
    axes.set_ylim(-1.2 * drawn, 1.2 * drawn)
    axes.set_xlabel("seconds since the demo began")
    axes.set_ylabel("estimate − truth (ms), band: 95%")
    axes.set_title(f"offsets against {watch.reference}, closing in on the truth")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
