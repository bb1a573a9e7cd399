"""Renders a scene as video: jittered frame times, dropped frames, 10–30 frames a second."""

from collections.abc import Iterator
from typing import Protocol

from coeval.samples import Frame
from coeval.time import NodeNs
from coeval_training.scenes.latent import Array, Latent
from coeval_training.scenes.picture import Painter
from coeval_training.scenes.screen import ScreenPainter
from coeval_training.scenes.stamps import sample_times_ns

_RATES_HZ = (10.0, 12.5, 15.0, 20.0, 23.976, 24.0, 25.0, 29.97, 30.0)
_BATCH = 96
"""Frames painted at once: their working arrays stay in the processor's cache."""


class _Paints(Protocol):
    """What both painters do."""

    def paint(self, t_s: Array) -> Array:
        """Frames at ascending instants, shape (num, 48, 64), uint8."""
        ...


def video(latent: Latent) -> Iterator[Frame]:
    """Frames in time order, painted batch by batch."""
    rng = latent.rng("video")
    rate_hz = float(rng.choice(_RATES_HZ))
    painter: _Paints = (
        ScreenPainter(latent, "video") if latent.kind == "desktop" else Painter(latent, "video")
    )
    for t_ns in sample_times_ns(rng, latent.duration_s, rate_hz, jitter=0.03, batch=_BATCH):
        yield from frames_at(painter, t_ns)


def frames_at(painter: _Paints, t_ns: Array) -> Iterator[Frame]:
    """The frames a painter makes at these times."""
    for t, grey in zip(t_ns, painter.paint(t_ns / 1e9), strict=True):
        yield Frame(t_node_ns=NodeNs(int(t)), grey=grey)
