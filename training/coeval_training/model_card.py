"""The model card that ships beside the encoders: data, licences, split, metrics, limits."""

from pathlib import Path

import torch

from coeval_training.data import FIRST_HELD_OUT_SEED
from coeval_training.material import TRAINED_ON

CARD = """# Encoders

Five small causal encoders (text, image, video, audio, metadata): features → dilated convolutions
and local attention → one 16-dimensional embedding every 50 ms. Made by `make models` from
`training/`, licence Apache-2.0.

## Trained on

- {num_scenes} generated scenes of {scene_s:.0f} s (`coeval_training.scenes`, seeds from 0).
- Real recordings, where they were there ({share:.0%} of the batches hold one):
{recordings}

Losses: softmax over the lags of the embeddings' cross-correlation, all pairs of streams of a scene,
with wrong partners as further classes; an autoencoder term of weight {forgetting_weight}.
Seed {seed}, {steps} steps.

## Split

By recording and by scene, never by window. Progress was watched on scenes of seeds 900 000 and up;
benchmarks use seeds from {first_held_out} and the recordings not named above.

## Held-out generated scenes, 58 s, highest lag, no rejection

| pair | median ms | within 100 ms, % |
|---|---|---|
{results}

## Limits

Speech from one synthesiser and six short real recordings; no stabilised video; stills need
minutes. `docs/validation` has the measured table on real recordings.
"""


def write_model_card(checkpoint: Path, folder: Path) -> Path:
    """Write `MODEL_CARD.md` into the folder of the ONNX files."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    config = state["config"]
    rows = (
        f"| {pair} | {row['median_ms']:.0f} | {row['within_100ms']:.0f} |"
        for pair, row in state["results"].items()
    )
    card = CARD.format(
        num_scenes=config["num_scenes"],
        scene_s=config["scene_s"],
        share=config["recordings_per_step"],
        recordings="\n".join(f"  - {name}: {licence}" for name, licence in TRAINED_ON.items()),
        forgetting_weight=config["forgetting_weight"],
        seed=config["seed"],
        steps=config["steps"],
        first_held_out=f"{FIRST_HELD_OUT_SEED:,}".replace(",", " "),
        results="\n".join(rows),
    )
    path = folder / "MODEL_CARD.md"
    path.write_text(card)
    return path
