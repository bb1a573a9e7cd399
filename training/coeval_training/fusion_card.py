"""The card that ships beside the fusion network: data, split, losses, what its alarms can claim."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coeval.alarm_rate import AlarmRate
from coeval_training.fusion_calibrate import CALM_S, FIRST_CALM_SEED
from coeval_training.fusion_scenes import FIRST_FUSION_SEED
from coeval_training.material import TRAINED_ON
from coeval_training.model_card import grouped

CARD = """# Fusion

One network for early, late and hybrid fusion of any number of streams: the last 3.2 s of every
stream's embeddings, what is usual for it, and how well the streams agree → one vector of 64 numbers
and a score for every stream, four times a second. Made by `make models` from `training/`, licence
Apache-2.0.

## Trained on

- {num_scenes} generated scenes of the encoders' own training, and {num_long_scenes} of
  {long_scene_s:.0f} s with sensors that die (seeds from {first}), embedded by the encoders named
  below.
- {recordings}

No labels: streams are killed, frozen, shifted by 0.3 to 5 s or swapped for another scene's
(the network says which); streams that are left out are told from the rest; two halves of a
session's streams find the same moment. Seed {seed}, {steps} steps. Last losses: {losses}.

## Encoders

{encoders}

Embeddings of other encoders are refused.

## Alarms

Counted on {calm_scenes} calm generated scenes of {calm_s:.0f} s (seeds from {calm}; nothing was
trained on them and no benchmark uses them), each as one session and as two. A rate above the
guaranteed one is counted; a rarer one is the tail's extrapolation.

| mode | modality | calm stream hours | guaranteed alarms a day | score at one a day | tail shape |
|---|---|---|---|---|---|
{rates}

## Limits

Calm means generated scenes: a session of another kind may alarm at another rate. A stream
is judged after 10 s; what is usual for it is a memory of 40 s, so
that a fault which has lasted longer becomes usual.
"""


def write_fusion_card(
    folder: Path, about: Mapping[str, Any], rates: Mapping[str, Mapping[Any, AlarmRate]]
) -> Path:
    """Write `MODEL_CARD.md` beside `fusion.onnx`."""
    config = about["config"]
    lines = (
        f"| {mode} | {modality} | {rate.calm_hours:.1f} | {rate.guaranteed_per_day:.1f} | "
        f"{rate.threshold(1.0):.2f} | {rate.shape:.2f} |"
        for mode, by_modality in rates.items()
        for modality, rate in by_modality.items()
    )
    names = about.get("recordings", [])
    listed = "; ".join(f"{name} ({TRAINED_ON[name]})" for name in names)
    card = CARD.format(
        num_scenes=config["num_scenes"],
        num_long_scenes=config["num_long_scenes"],
        long_scene_s=config["long_scene_s"],
        first=grouped(FIRST_FUSION_SEED),
        recordings=f"Real recordings: {listed}." if names else "No real recordings.",
        seed=config["seed"],
        steps=config["steps"],
        losses=", ".join(f"{name} {value:.3f}" for name, value in about["losses"].items()),
        encoders="\n".join(f"- {m}: `{sha256}`" for m, sha256 in about["encoders"].items()),
        calm_scenes=about["calm_scenes"],
        calm_s=CALM_S,
        calm=grouped(FIRST_CALM_SEED),
        rates="\n".join(lines),
    )
    path = folder / "MODEL_CARD.md"
    path.write_text(card)
    return path
