"""Renders a scene as stills every one or two seconds, from the video's camera or another one."""

from collections.abc import Iterator

import numpy as np

from coeval.samples import Frame
from coeval.time import NS_PER_S
from coeval_training.scenes.latent import Latent
from coeval_training.scenes.picture import Painter
from coeval_training.scenes.screen import ScreenPainter
from coeval_training.scenes.video import frames_at

_BATCH = 32


def stills(latent: Latent) -> Iterator[Frame]:
    """Stills in time order, 0.5–1 Hz, at uneven intervals."""
    rng = latent.rng("stills")
    if latent.kind == "desktop":
        painter: Painter | ScreenPainter = ScreenPainter(latent, "stills")
    elif rng.random() < 0.5:
        painter = Painter(latent, "video")
    else:
        painter = Painter(latent, "stills", moved=True)
    interval_s = rng.uniform(1.0, 2.0)
    uneven = rng.uniform(0.05, 0.3)
    num = int(latent.duration_s / interval_s * 1.5) + 4
    steps = interval_s * np.clip(1 + uneven * rng.standard_normal(num), 0.3, 2.0)
    t_ns = np.round((rng.uniform(0, interval_s) + np.cumsum(steps)) * NS_PER_S).astype(np.int64)
    t_ns = t_ns[t_ns < latent.duration_s * NS_PER_S]
    for first in range(0, len(t_ns), _BATCH):
        yield from frames_at(painter, t_ns[first : first + _BATCH])
