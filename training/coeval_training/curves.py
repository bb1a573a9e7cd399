"""A picture of a training run: the share of held-out scenes within 100 ms, by pair."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def plot_curves(folder: Path) -> Path:
    """Draw `log.jsonl` of a run as `curves.png` beside it."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    figure, axes = plt.subplots(figsize=(9, 5), layout="constrained")
    colours = plt.get_cmap("tab20")
    for k, pair in enumerate(rows[-1]["pairs"]):
        steps = [row["step"] for row in rows if pair in row["pairs"]]
        within = [row["pairs"][pair]["within_100ms"] for row in rows if pair in row["pairs"]]
        axes.plot(steps, within, label=pair, color=colours(k % 20), linewidth=1.5)
    axes.set_xlabel("step")
    axes.set_ylabel("held-out scenes within 100 ms (%)")
    axes.set_ylim(0, 101)
    axes.grid(alpha=0.3)
    axes.legend(ncols=2, fontsize=8, loc="lower right")
    path = folder / "curves.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
