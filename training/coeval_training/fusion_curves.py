"""A picture of a training run of the fusion network: its losses, by what is learned and by mode."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from coeval_training.fusion_model import MODES

LEARNED = {"judge": "which stream is faulty", "tell": "masked streams", "match": "same moment"}


def plot_fusion_curves(folder: Path) -> Path:
    """Draw `fusion.jsonl` of a run as `fusion-curves.png` beside it."""
    rows = [json.loads(line) for line in (folder / "fusion.jsonl").read_text().splitlines()]
    figure, panels = plt.subplots(1, len(LEARNED), figsize=(12, 3.5), layout="constrained")
    for axes, (name, title) in zip(panels, LEARNED.items(), strict=True):
        for mode in MODES:
            values = [row["losses"][f"{name}_{mode}"] for row in rows]
            axes.plot([row["step"] for row in rows], values, label=mode)
        axes.set_title(title)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("training loss")
    panels[0].legend()
    path = folder / "fusion-curves.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
