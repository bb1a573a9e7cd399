"""The model card that ships beside the encoders: data, licences, split, metrics, limits."""

from collections.abc import Mapping
from pathlib import Path

from coeval_training.adapt import Adaptation
from coeval_training.checkpoint import read_checkpoint
from coeval_training.data import FIRST_HELD_OUT_SEED, FIRST_WATCHED_SEED
from coeval_training.material import TRAINED_ON
from coeval_training.precision import Precision
from coeval_training.train import BOUNDS_MS

NAME = "MODEL_CARD.md"
MADE = "Made by `make models` from\n`training/`, licence Apache-2.0."
FINE_TUNED = "Made by\n`coeval train --recordings`, which began from {began_from}."

CARD = """# Encoders

Five small causal encoders (text, image, video, audio, metadata): features → dilated convolutions
and local attention → one 16-dimensional embedding every 50 ms. {made}

## Trained on

- {num_scenes} generated scenes of {scene_s:.0f} s (`coeval_training.scenes`, seeds from 0), each
  stretched and disturbed anew whenever it is drawn.
- {recordings}

Losses: softmax over the lags of the embeddings' cross-correlation, all pairs of streams of a scene,
with wrong partners as further classes, of weight {correspondence_weight} (pairs with stills count
{stills_weight}); an autoencoder term of weight {forgetting_weight}. Seed {seed}, {steps} steps.

## Split

By recording and by scene, never by window. Progress was watched on seeds {watched} and up;
benchmarks use seeds {held_out} and up and the recordings not named above.

## {num_validation} watched generated scenes, 58 s, highest lag, no rejection

| pair | median ms | within 40 ms, % | within 100 ms, % | within 300 ms, % |
|---|---|---|---|---|
{results}

## Limits

Speech from one synthesiser; few real recordings, all short; no stabilised video; a minute of stills
says next to nothing. `docs/validation` has the measured table on real recordings.
"""


def grouped(number: int) -> str:
    """Digits in groups of three."""
    return f"{number:,}".replace(",", " ")


def recordings_line(names: list[str], share: float, licences: Mapping[str, str]) -> str:
    """The recordings that were trained on, with their licences."""
    if not names:
        return "No real recordings."
    licences = TRAINED_ON | dict(licences)
    listed = "".join(f"\n  - {name}: {licences.get(name, 'not stated')}" for name in names)
    return f"Real recordings ({share:g} of the scenes of a batch, on average):{listed}"


KEPT_AS = """
## Precision

Weights are kept as {precision} (docs/decisions/0021 and 0052); what is said above was measured with
fp32.
"""


def copy_model_card(source: Path, folder: Path, *, precision: Precision) -> Path | None:
    """The card of encoders whose weights are kept smaller; None: those have none."""
    before, after = source / NAME, folder / NAME
    if not before.is_file():
        return None
    after.write_text(before.read_text() + KEPT_AS.format(precision=precision))
    return after


ADAPTED = """
## Adapted

The last layers were refined by `coeval adapt` on {history}: {num_windows} windows of
20 s. On time of it that was not learnt from the true lags became likelier by {gain:.2f} nats a
window ({sigmas:.1f} standard errors); what is said above was measured before.

| pair | windows | within 100 ms before, % | after, % |
|---|---|---|---|
{pairs}
"""


def adapt_model_card(source: Path, folder: Path, found: Adaptation, *, history: str) -> Path | None:
    """The card of encoders that were adapted to a session; None: those before have none."""
    before, after = source / NAME, folder / NAME
    if not before.is_file():
        return None
    pairs = "\n".join(
        f"| {pair.pair} | {pair.num_windows} | {pair.within_100ms_before:.0f} "
        f"| {pair.within_100ms_after:.0f} |"
        for pair in found.pairs
    )
    told = ADAPTED.format(
        history=history,
        num_windows=found.num_windows,
        gain=found.gain_nats,
        sigmas=found.gain_sigmas,
        pairs=pairs,
    )
    after.write_text(before.read_text() + told)
    return after


def write_model_card(checkpoint: Path, folder: Path, *, precision: Precision = "fp32") -> Path:
    """Write `MODEL_CARD.md` into the folder of the ONNX files.

    Raises:
        BadCheckpoint: the checkpoint is none.
    """
    state = read_checkpoint(checkpoint)
    config = state["config"]
    rows = (
        f"| {pair} | {row['median_ms']:.0f} | "
        + " | ".join(f"{row[f'within_{bound_ms}ms']:.0f}" for bound_ms in BOUNDS_MS)
        + " |"
        for pair, row in state["results"].items()
    )
    card = CARD.format(
        made=FINE_TUNED.format(began_from=state["began_from"]) if "began_from" in state else MADE,
        num_scenes=config["num_scenes"],
        scene_s=config["scene_s"],
        recordings=recordings_line(
            state.get("recordings", list(TRAINED_ON)),
            config["recordings_per_step"],
            state.get("licences", {}),
        ),
        correspondence_weight=config["correspondence_weight"],
        stills_weight=config["stills_weight"],
        forgetting_weight=config["forgetting_weight"],
        num_validation=config["num_validation"],
        seed=config["seed"],
        steps=config["steps"],
        watched=grouped(FIRST_WATCHED_SEED),
        held_out=grouped(FIRST_HELD_OUT_SEED),
        results="\n".join(rows),
    )
    path = folder / NAME
    path.write_text(card if precision == "fp32" else card + KEPT_AS.format(precision=precision))
    return path
