"""How much `coeval bench encoders` measures, on which material, and by which methods."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coeval.errors import BadConfig

Row = dict[str, Any]

LEARNED = "learned"
"""The shipped encoders in the product's own chain for a pair; the best lag, believed or not."""
JOINT = "learned, joint"
"""The same after the joint step: all streams of a scene together."""
EMBEDDINGS = "learned, embeddings alone"
"""Without what the chain takes from raw signals, sounds, stills and speech."""
ACTIVITY = "activity + GCC-PHAT"
CCA = "CCA"
RAW = "raw signals"
SYNCWISE = "SyncWISE (reimplemented)"
VARIANTS = {
    "autoencoder-only": "autoencoder without the contrastive loss",
    "no-autoencoder": "contrastive without the autoencoder",
    "both": "both losses, trained as short as these two",
}
"""Encoders trained by other losses: name of their folder, and of their lines."""
BASELINES = (ACTIVITY, CCA, RAW, SYNCWISE, VARIANTS["autoencoder-only"], VARIANTS["no-autoencoder"])
"""What the learned method must beat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    recordings: Path
    """Folder of real recordings; those that are absent are left out."""
    seed: int
    """Seeds every draw."""
    num_scenes: int
    """Generated held-out scenes of 60 s."""
    num_long_scenes: int
    """Generated held-out scenes of 10 minutes, for stills."""
    num_training_scenes: int
    """Generated scenes of training seeds from which CCA learns."""
    trials: int
    """Trials of a real pair in a window."""
    windows_s: tuple[float | None, ...]
    """Lengths of pieces of recordings; None: the whole recording."""
    speed_s: float
    """Length of the streams whose cost is measured."""
    speed_repeats: int
    """Timings of each part, of which the fastest counts."""
    is_quick: bool
    """Whether the parts of others are to be quick, too."""
    baselines: Path | None = None
    """Folder of encoders trained by other losses, a folder each; what it lacks is trained."""
    folds: int = 0
    """Recordings trained on that are left out of a training of their own, one at a time."""
    parts: tuple[str, ...] = ()
    """Only these are measured; empty: all."""


FULL = Plan(
    recordings=Path("../shared/recordings"),
    seed=1,
    num_scenes=100,
    num_long_scenes=16,
    num_training_scenes=40,
    trials=8,
    windows_s=(60.0, None),
    speed_s=60.0,
    speed_repeats=9,
    is_quick=False,
)
QUICK = replace(
    FULL,
    num_scenes=6,
    num_long_scenes=1,
    num_training_scenes=4,
    trials=1,
    windows_s=(None,),
    speed_s=10.0,
    speed_repeats=3,
    is_quick=True,
)


def plan_of(
    *,
    quick: bool,
    seed: int,
    recordings: Path | None = None,
    with_peers: bool = True,
    baselines: Path | None = None,
    folds: int = 0,
    sections: Sequence[str] = (),
) -> Plan:
    """What to measure; there are no peers to leave out.

    Raises:
        BadConfig: there is nowhere to keep the encoders of the folds.
    """
    del with_peers
    if folds and baselines is None:
        raise BadConfig("--folds trains encoders; say where to keep them by --baselines DIR")
    plan = replace(QUICK if quick else FULL, seed=seed, baselines=baselines, folds=folds)
    plan = replace(plan, parts=tuple(sections))
    if recordings is not None:
        plan = replace(plan, recordings=recordings)
    return plan
