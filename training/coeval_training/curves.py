"""A picture of a training run: the loss, and the share of watched scenes found, by pair."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

BOUNDS_MS = (40, 100)


def plot_curves(folder: Path) -> Path:
    """Draw `log.jsonl` of a run as `curves.png` beside it."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    figure, (loss, *shares) = plt.subplots(1, 3, figsize=(16, 5), layout="constrained")
    loss.plot([row["step"] for row in rows], [row["loss"] for row in rows], color="black")
    loss.set_ylabel("loss of the last batch (nats)")
    colours = plt.get_cmap("tab20")
    for axes, bound_ms in zip(shares, BOUNDS_MS, strict=True):
        for k, pair in enumerate(rows[-1]["pairs"]):
            there = [row for row in rows if pair in row["pairs"]]
            within = [row["pairs"][pair][f"within_{bound_ms}ms"] for row in there]
            steps = [row["step"] for row in there]
            axes.plot(steps, within, label=pair, color=colours(k % 20), linewidth=1.5)
        axes.set_ylabel(f"watched scenes within {bound_ms} ms (%)")
        axes.set_ylim(0, 101)
    for axes in (loss, *shares):
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    shares[0].legend(ncols=2, fontsize=8, loc="lower right")
    path = folder / "curves.png"
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
