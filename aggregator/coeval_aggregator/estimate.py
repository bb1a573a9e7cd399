"""From the rings to an estimate of every node's clock: the one place that calls the aligner."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from coeval.align import align_tracks
from coeval.estimates import SessionEstimate
from coeval.evidence import is_node
from coeval.hops import Hops
from coeval.placing import PairLine
from coeval.samples import Modality
from coeval.tracks import StreamTrack


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
    snapshots: Sequence[TrackSnapshot],
    *,
    reference: str,
    max_offset_s: float,
    t_ref_ns: int,
    evidence: Sequence[PairLine] = (),
    pairs: Collection[tuple[str, str]] | None = None,
) -> SessionEstimate:
    """Offset and skew of every node against the reference node; positive: the node is fast.

    Args:
        snapshots: the streams' embeddings.
        reference: the node whose clock is the timeline.
        max_offset_s: how far from equal stamps content is searched.
        t_ref_ns: the instant of the reference at which offsets are stated.
        evidence: lines from hardware and network evidence.
        pairs: the pairs of nodes whose content to compare; None: all.

    Raises:
        NotEnoughEvidence: nothing to compare the reference with.
    """
    tracks = [
        StreamTrack(node=s.node, stream=s.stream, modality=s.modality, embeddings=s.runs)
        for s in snapshots
    ]
    streaming = {track.node for track in tracks}
    # A node may be known by its hardware alone.
    measured = {line.second for line in evidence if is_node(line.second)}
    bare = {reference, *measured} - streaming
    tracks += [
        StreamTrack(node=node, stream="", modality="metadata", embeddings=())
        for node in sorted(bare)
    ]
    return align_tracks(
        tracks,
        reference=reference,
        evidence=evidence,
        pairs=pairs,
        max_offset_s=max_offset_s,
        t0_ref_ns=t_ref_ns,
    )
