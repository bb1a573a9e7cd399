"""Preprocessing: what is taken out of samples before features describe them.

Each step is a file: a small streaming object or a plain function, run by the extractor of its
modality, in training and on the node alike. A step is on by default where it was seen to pay
(docs/decisions/0024); the encoders are trained with each of them on and off.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum

from coeval.samples import Modality


class Step(StrEnum):
    """The steps, as they are called in configurations."""

    noise = "noise"
    spikes = "spikes"
    wide = "wide"
    light = "light"
    cleanup = "cleanup"
    standardise = "standardise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """Which steps run."""

    noise: bool = True
    """Audio: steady noise is gated out of every band (`noise_gate`)."""
    spikes: bool = True
    """Metadata: single impossible readings are replaced by their neighbours' mean (`spikes`)."""
    wide: bool = False
    """Metadata: many channels become a few principal ones (`wide`)."""
    light: bool = True
    """Video and stills: what exposure and flicker do to the whole picture is no motion."""
    cleanup: bool = True
    """Text: escape codes, tags, time stamps and ids are no words (`clean_text`)."""
    standardise: bool = True
    """Audio, metadata, video: rows are divided by their own running spread."""

    def steps(self, modality: Modality) -> tuple[str, ...]:
        """Names of the steps that run on a modality's streams."""
        return tuple(name for name in STEPS[modality] if getattr(self, name))

    def switched(self, *, on: Collection[Step] = (), off: Collection[Step] = ()) -> "Preprocessing":
        """The same with some steps switched on, then some off."""
        changes = dict.fromkeys(on, True) | dict.fromkeys(off, False)
        return replace(self, **{step.value: is_on for step, is_on in changes.items()})


STEPS: dict[Modality, tuple[str, ...]] = {
    "text": ("cleanup",),
    "image": ("light",),
    "video": ("light", "standardise"),
    "audio": ("noise", "standardise"),
    "metadata": ("spikes", "wide", "standardise"),
}
"""The steps of each modality, in the order in which they run."""

DEFAULT_STEPS = Preprocessing()
"""What runs unless a configuration says otherwise."""
