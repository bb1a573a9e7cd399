"""From the rings to an estimate of every node's clock: the one place that calls the aligner."""

from collections.abc import Sequence
from dataclasses import dataclass

from coeval.align import SessionEstimate, StreamTrack, align_tracks
from coeval.hops import Hops
from coeval.samples import Modality


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackSnapshot:
    """One stream's embeddings, copied so that a worker may take its time."""

    node: str
    """The node."""
    stream: str
    """The stream."""
    modality: Modality
    """What it senses."""
    runs: list[Hops]
    """Embeddings in time order, one element between gaps."""


def estimate_clocks(
    snapshots: Sequence[TrackSnapshot], *, reference: str, max_offset_s: float
) -> SessionEstimate:
    """Offset and skew of every node against the reference node; positive: the node is fast.

    Raises:
        NotEnoughEvidence: no stream of the reference, or nothing to compare it with.
    """
    tracks = [
        StreamTrack(node=s.node, stream=s.stream, modality=s.modality, embeddings=s.runs)
        for s in snapshots
    ]
    return align_tracks(tracks, reference=reference, max_offset_s=max_offset_s)
