"""Features: the one place where samples become rows, for training and for the node alike.

Streaming; a batch is the whole clip pushed through. `feature_spec` names what an encoder was
trained on; the exporter writes its hash into the ONNX file and the node refuses another.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from coeval.features import audio, image, metadata, text, video
from coeval.hops import HOP_NS, Hops
from coeval.preprocessing import DEFAULT_STEPS, Preprocessing
from coeval.samples import Modality

VERSIONS: dict[Modality, int] = {"text": 2, "image": 2, "video": 2, "audio": 2, "metadata": 3}
"""Raised whenever a modality's rows change: an encoder trained on the old ones is refused."""

DIMS: dict[Modality, int] = {
    "text": text.DIM,
    "image": image.DIM,
    "video": video.DIM,
    "audio": audio.DIM,
    "metadata": metadata.DIM,
}

WARM_UP_HOPS: dict[Modality, int] = {
    "text": 0,
    "image": 0,
    "video": video.MEMORY_HOPS,
    "audio": audio.MEMORY_HOPS,
    "metadata": metadata.MEMORY_HOPS,
}
"""Rows until a stream's usual level and spread are known; before, they are those of what came."""


class Extractor(Protocol):
    """Turns one stream's samples into rows."""

    @property
    def is_warm(self) -> bool:
        """Whether it knows the stream's usual level and spread: WARM_UP_HOPS have passed."""

    def push(self, sample: Any, /) -> list[Hops]:
        """Add a sample of the modality; take the rows it completes."""

    def advance(self, t_node_ns: int, /) -> list[Hops]:
        """Take the rows before an instant, knowing that no earlier sample is still to come."""

    def flush(self) -> list[Hops]:
        """Take the rows that are left and start anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """What an encoder expects of its rows."""

    modality: Modality
    """The modality."""
    version: int
    """Version of the features."""
    dim: int
    """Columns of a row; the last one is the coverage."""
    hop_ns: int = HOP_NS
    """Time between rows."""

    def to_json(self) -> str:
        """The specification as canonical JSON."""
        fields = {name: getattr(self, name) for name in ("modality", "version", "dim", "hop_ns")}
        return json.dumps(fields, sort_keys=True)

    @property
    def sha256(self) -> str:
        """Hash of the canonical JSON, hexadecimal."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


def feature_spec(modality: Modality) -> FeatureSpec:
    """Specification of the rows this version computes."""
    return FeatureSpec(modality=modality, version=VERSIONS[modality], dim=DIMS[modality])


def make_extractor(modality: Modality, preprocessing: Preprocessing = DEFAULT_STEPS) -> Extractor:
    """A fresh extractor for a stream of the modality."""
    makers: dict[Modality, Callable[[Preprocessing], Extractor]] = {
        "text": text.TextFeatures,
        "image": image.ImageFeatures,
        "video": video.VideoFeatures,
        "audio": audio.AudioFeatures,
        "metadata": metadata.MetadataFeatures,
    }
    return makers[modality](preprocessing)
