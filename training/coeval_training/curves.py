"""A picture of a training run: the loss, and the share of watched scenes found, by pair."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PANELS = (
    ("pairs", 40, "watched scenes within 40 ms (%)"),
    ("pairs", 100, "watched scenes within 100 ms (%)"),
    ("own", 100, "own recordings' ends within 100 ms (%)"),
)
"""What is measured on, to how many ms, and what the panel is called."""


def plot_curves(folder: Path) -> Path:
    """Draw `log.jsonl` of a run as `curves.png` beside it."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    panels = [panel for panel in PANELS if rows[-1].get(panel[0])]
    figure, (loss, *shares) = plt.subplots(
        1, 1 + len(panels), figsize=(5.3 * (1 + len(panels)), 5), layout="constrained"
    )
    trained = [row for row in rows if row["loss"] is not None]
    loss.plot(*zip(*((row["step"], row["loss"]) for row in trained), strict=True), "k.-")
    loss.set_ylabel("loss of the last batch (nats)")
    colours = plt.get_cmap("tab20")
    for axes, (name, bound_ms, title) in zip(shares, panels, strict=True):
        for k, pair in enumerate(rows[-1][name]):
            there = [row for row in rows if pair in row.get(name, {})]
            within = [row[name][pair][f"within_{bound_ms}ms"] for row in there]
            steps = [row["step"] for row in there]
            axes.plot(steps, within, ".-", label=pair, color=colours(k % 20), linewidth=1.5)
        axes.set_ylabel(title)
        axes.set_ylim(0, 101)
        axes.legend(ncols=2, fontsize=8, loc="lower right")
    for axes in (loss, *shares):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    path = folder / "curves.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
