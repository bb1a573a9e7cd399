"""What a node says of a stream and its encoder, before any of its blocks is sent."""

from collections.abc import Mapping
from typing import Protocol

from coeval.adapted import Adapted
from coeval.features import WARM_UP_HOPS, feature_spec
from coeval.hops import EMBEDDING_DIM, HOP_NS
from coeval.manifest import StreamSpec
from coeval.preprocessing import Preprocessing
from coeval.samples import Modality
from coeval.time import NS_PER_S
from coeval_edge.pipeline import HopEncoder


class NamedEncoder(HopEncoder, Protocol):
    """An encoder that says which one it is."""

    @property
    def sha256(self) -> str:
        """Hash of the encoder's file, hexadecimal."""

    @property
    def encoder_set(self) -> str:
        """Name of the encoders that it was trained with."""

    @property
    def adapted(self) -> Adapted | None:
        """What it was made from by adapting it to a session; None: it was not."""

    @property
    def reduced_from(self) -> str | None:
        """Hash of the fp32 file whose weights it keeps smaller; None: they are as trained."""


def describe(
    spec: StreamSpec,
    *,
    encoder: NamedEncoder,
    preprocessing: Preprocessing,
    boot_id: int,
    stamps: str,
    timing: dict[str, object] | None,
) -> dict[str, object]:
    """A stream's descriptor; `timing` is null where the stamps are a recording's."""
    features = feature_spec(spec.modality)
    return {
        "stream": spec.id,
        "modality": spec.modality,
        "hop_ns": HOP_NS,
        "dim": EMBEDDING_DIM,
        "encoder": encoder_facts(spec.modality, encoder, first_seq=0),
        "features": {
            "version": features.version,
            "dim": features.dim,
            "sha256": features.sha256,
        },
        "preprocessing": {
            "steps": preprocessing.steps(spec.modality),
            "warm_up_s": WARM_UP_HOPS[spec.modality] * HOP_NS / NS_PER_S,
        },
        "units": dict(spec.units) if isinstance(spec.units, Mapping) else spec.units,
        "timestamps": stamps,
        "timing": timing,
        "boot": f"{boot_id:016x}",
    }


def encoder_facts(
    modality: Modality, encoder: NamedEncoder, *, first_seq: int
) -> dict[str, object]:
    """What a descriptor says of an encoder, and from which block on it is the one."""
    return {
        "id": f"{modality}-{encoder.sha256[:12]}",
        "sha256": encoder.sha256,
        "set": encoder.encoder_set,
        "from_seq": first_seq,
        "adapted": None if encoder.adapted is None else encoder.adapted.to_json(),
        "reduced_from": encoder.reduced_from,
    }
