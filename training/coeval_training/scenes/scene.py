"""A scene and its streams: what training and benchmarks ask for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from coeval.samples import Modality, Sample
from coeval_training.scenes import (
    world_desktop,
    world_machine,
    world_people,
    world_rig,
    world_wearable,
)
from coeval_training.scenes.audio import audio
from coeval_training.scenes.imu import imu
from coeval_training.scenes.latent import Latent, seeded
from coeval_training.scenes.machine import machine
from coeval_training.scenes.stills import stills
from coeval_training.scenes.text import text
from coeval_training.scenes.video import video

_WORLDS: dict[str, Callable[[int, float], Latent]] = {
    "wearable": world_wearable.build,
    "rig": world_rig.build,
    "machine": world_machine.build,
    "people": world_people.build,
    "desktop": world_desktop.build,
}
KINDS = tuple(_WORLDS)
"""Kinds of scenes; a scene of no given kind is one of them by chance."""

_RENDERERS: dict[str, tuple[Modality, Callable[[Latent], Iterator[Sample]]]] = {
    "video": ("video", video),
    "imu": ("metadata", imu),
    "audio": ("audio", audio),
    "machine": ("metadata", machine),
    "text": ("text", text),
    "stills": ("image", stills),
}
STREAMS = tuple(_RENDERERS)
"""Ids of the streams every scene has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneStream:
    """One sensor's view of a scene; rendered anew, and identically, each time it is asked."""

    id: str
    """One of STREAMS."""
    modality: Modality
    """What its samples are."""
    latent: Latent
    """What it renders."""

    @property
    def samples(self) -> Iterator[Sample]:
        """The samples in time order, made as they are taken; bounded memory."""
        return _RENDERERS[self.id][1](self.latent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One scene: what happens, and the six streams that may be rendered from it."""

    seed: int
    """The same seed gives the same bytes."""
    kind: str
    """One of KINDS."""
    duration_s: float
    """Length; stamps lie in 0…duration_s."""
    latent: Latent
    """What happens: the truth behind all streams."""
    streams: dict[str, SceneStream]
    """The streams by id, keys as STREAMS."""

    def render(self, stream: str) -> Iterator[Sample]:
        """Samples of one stream in time order, lazily; the others cost nothing."""
        return self.streams[stream].samples


def generate_scene(seed: int, *, duration_s: float = 60.0, kind: str | None = None) -> Scene:
    """Decide what happens in a scene; nothing is rendered yet.

    Args:
        seed: not negative; with kind and duration it determines every byte.
        duration_s: length, at least 5 s; ten minutes need little more memory than one.
        kind: one of KINDS, or None for any.

    Raises:
        ValueError: unknown kind, or a scene too short for anything to happen.
    """
    if duration_s < 5.0:
        raise ValueError(f"duration_s must be at least 5, got {duration_s}")
    if kind is None:
        kind = KINDS[int(seeded(seed, "kind").integers(len(KINDS)))]
    if kind not in _WORLDS:
        raise ValueError(f"scene kind must be one of {', '.join(KINDS)}, got {kind!r}")
    latent = _WORLDS[kind](seed, duration_s)
    streams = {
        name: SceneStream(id=name, modality=modality, latent=latent)
        for name, (modality, _) in _RENDERERS.items()
    }
    return Scene(seed=seed, kind=kind, duration_s=duration_s, latent=latent, streams=streams)
