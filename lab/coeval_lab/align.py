"""Offline alignment: a recording in, every node's clock against the reference out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from coeval.align import align_tracks
from coeval.errors import BadConfig
from coeval.estimates import NodeEstimate, SessionEstimate
from coeval.preprocessing import DEFAULT_STEPS, Preprocessing
from coeval.time import NS_PER_S, ClockLine
from coeval.tracks import StreamTrack
from coeval_edge.recording import Recording
from coeval_lab.evidence_files import evidence_of
from coeval_lab.tracks import tracks_of

DECODING_SHARE = 0.7
"""Share of the progress bar that reading and embedding take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alignment:
    """What `coeval align` prints and plots."""

    estimate: SessionEstimate
    """The nodes' clocks."""
    tracks: Sequence[StreamTrack]
    """What was compared."""
    elapsed_s: float
    """Wall time it took."""


def align_recording(
    recording: Recording,
    *,
    method: str = "joint",
    reference: str | None = None,
    max_offset_s: float = 60.0,
    encoders: Path | None = None,
    preprocessing: Preprocessing = DEFAULT_STEPS,
    progress: Callable[[float], None] = lambda _: None,
) -> Alignment:
    """Align a recording by its content and its evidence files.

    Args:
        recording: an open recording.
        method: evidence to use: joint, hardware, network or content.
        reference: the node whose clock is the timeline; None: the first one listed.
        max_offset_s: how far from equal stamps offsets are searched.
        encoders: folder of other encoders than those that ship.
        preprocessing: which steps run before features describe samples.
        progress: called with the share done, 0…1.

    Raises:
        BadConfig: the reference is no node of the recording.
        BadRecording: a file cannot be read.
        EncoderMismatch: the encoders cannot be used.
        NotEnoughEvidence: the reference has no stream.
    """
    nodes = list(recording.manifest.nodes)
    if reference is None:
        reference = nodes[0]
    if reference not in nodes:
        raise BadConfig(
            f"--reference {reference!r} is no node of this recording; it has {', '.join(nodes)}"
        )
    started = time.monotonic()
    evidence = evidence_of(recording, method=method)
    tracks = tracks_of(
        recording,
        progress=lambda share: progress(DECODING_SHARE * share),
        encoders=encoders,
        preprocessing=preprocessing,
    )
    # A node without streams has no content, but hardware may still know its clock.
    with_streams = {track.node for track in tracks}
    bare = [
        StreamTrack(node=node, stream="", modality="metadata", embeddings=())
        for node in nodes
        if node not in with_streams and node != reference
    ]
    estimate = align_tracks(
        [*tracks, *bare],
        reference=reference,
        evidence=evidence.lines,
        steps=evidence.steps,
        content=method in ("joint", "content"),
        max_offset_s=max_offset_s,
        progress=lambda share: progress(DECODING_SHARE + (1 - DECODING_SHARE) * share),
    )
    return Alignment(estimate=estimate, tracks=tracks, elapsed_s=time.monotonic() - started)


def seconds(ns: float | None) -> float | None:
    """Nanoseconds as seconds for people and JSON; unknown stays unknown."""
    return None if ns is None else round(ns / NS_PER_S, 9)


def node_to_json(node: NodeEstimate) -> dict[str, Any]:
    """One node's estimate in the shape of `coeval align --json`."""
    return {
        "status": node.status,
        "offset_s": seconds(node.line.offset_ns) if node.line else None,
        "skew_ppm": round(node.line.skew_ppb * 1e-3, 4) if node.line else None,
        "ci95_s": seconds(node.ci95_ns),
        "skew_ci95_ppm": None
        if node.skew_ci95_ppb is None
        else round(node.skew_ci95_ppb * 1e-3, 4),
        "jumps": [
            {"at_s": seconds(jump.t_ref_ns), "jump_s": seconds(jump.delta_ns)}
            for jump in node.jumps
        ],
        "evidence": list(node.evidence),
    }


def alignment_to_json(alignment: Alignment) -> dict[str, Any]:
    """The shape of `coeval align --json`."""
    estimate = alignment.estimate
    found: dict[str, Any] = {
        "reference": estimate.reference,
        "nodes": {name: node_to_json(node) for name, node in estimate.nodes.items()},
        "elapsed_s": round(alignment.elapsed_s, 3),
    }
    empty = [
        {
            "node": track.node,
            "stream": track.stream,
            "reason": stretch.reason,
            "from_s": seconds(stretch.start_node_ns),
            "to_s": seconds(stretch.end_node_ns),
        }
        for track in alignment.tracks
        for stretch in track.irrelevant
    ]
    return found | ({"irrelevant": empty} if empty else {})


def node_segments(estimate: SessionEstimate) -> dict[str, list[tuple[int, ClockLine]]]:
    """Each placed node's lines by the node time from which they hold, a new one at each jump."""
    segments: dict[str, list[tuple[int, ClockLine]]] = {}
    for name, node in estimate.nodes.items():
        if node.line is None:
            continue
        line = node.line
        segments[name] = [(int(line.to_node(line.t0_ref_ns)) - NS_PER_S * 10**6, line)]
        for jump in node.jumps:
            after = replace(line, offset_ns=line.offset_ns + jump.delta_ns)
            begins = int(min(line.to_node(jump.t_ref_ns), after.to_node(jump.t_ref_ns)))
            segments[name].append((begins, after))
            line = after
    return segments
