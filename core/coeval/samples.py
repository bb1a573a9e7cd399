"""What a source hands to the features: samples stamped with the node's own clock.

A sample's time is the true time of the thing sampled (the middle of an exposure, the instant
of an ADC reading), not its arrival.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from coeval.time import NodeNs

Modality = Literal["text", "image", "video", "audio", "metadata"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioBlock:
    """Consecutive mono samples."""

    t_node_ns: NodeNs
    """Time of the first sample."""
    rate_hz: float
    """Sample rate on the node's clock."""
    pcm: FloatArray
    """Samples in −1…1, shape (n,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture: of a video, or a still."""

    t_node_ns: NodeNs
    """Middle of the exposure, or the closest the source knows."""
    grey: NDArray[np.uint8]
    """Brightness, shape (height, width)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataBlock:
    """Consecutive readings of numeric channels."""

    t_node_ns: IntArray
    """Times of the readings, shape (n,), strictly increasing."""
    values: NDArray[np.float64]
    """Readings, shape (n, channels); NaN where a channel has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextLine:
    """One line of text: an event, a log line, a subtitle."""

    t_node_ns: NodeNs
    """When it happened or began."""
    t_end_node_ns: NodeNs | None
    """When it ended; None where unknown."""
    text: str
    """The line itself."""


Sample = AudioBlock | Frame | MetadataBlock | TextLine
