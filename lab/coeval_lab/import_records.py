"""From a recording to what a session would have left: blocks, descriptors, evidence, clocks.

A recording's nodes have no boot ids: they are made of the recording's contents, so that importing
it again changes nothing. A stream that says `embedding` was exported from a store: its rows are the
embeddings themselves.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from coeval.align import align_tracks
from coeval.errors import BadRecording, NotEnoughEvidence
from coeval.estimates import NodeEstimate
from coeval.evidence_wire import MOST_SAMPLES, EvidenceMessage, TimeSample, encode_evidence
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.manifest import StreamSpec, manifest_to_json
from coeval.samples import MODALITIES, MetadataBlock
from coeval.time import ClockLine, NodeNs, RefNs
from coeval.tracks import StreamTrack
from coeval_aggregator.clock_log import clock_record
from coeval_aggregator.store.records import (
    BlockRecord,
    ClockRecord,
    DescriptorRecord,
    EvidenceRecord,
    Record,
    Timeline,
)
from coeval_aggregator.told import Moment
from coeval_edge.encoder import Encoder
from coeval_edge.evidence_tables import read_time_samples
from coeval_edge.recording import Recording
from coeval_edge.recording_samples import read_samples
from coeval_lab.evidence_files import evidence_of
from coeval_lab.tracks import tracks_of

ROWS_A_BLOCK = 10


def boot_of(recording: Recording, node: str) -> int:
    """A boot id for a node: the same whenever the same recording is imported."""
    manifest = json.dumps(manifest_to_json(recording.manifest), sort_keys=True)
    digest = hashlib.sha256(f"{manifest}\0{node}".encode()).digest()
    return int.from_bytes(digest[:8], "little")


def import_tracks(
    recording: Recording, *, progress: Callable[[float], None] = lambda _: None
) -> list[StreamTrack]:
    """Embeddings of every stream: made by the node's pipeline, or read where they are there.

    Raises:
        BadRecording: a file cannot be read, or does not hold the embeddings that it says.
    """
    streams = recording.manifest.streams
    raw = tuple(stream for stream in streams if "embedding" not in stream.extra)
    manifest = replace(recording.manifest, streams=raw)
    made = tracks_of(replace(recording, manifest=manifest), progress=progress) if raw else []
    ready = [embedded_track(recording, stream) for stream in streams if "embedding" in stream.extra]
    return [*made, *ready]


def embedded_track(recording: Recording, stream: StreamSpec) -> StreamTrack:
    """A stream whose rows are embeddings.

    Raises:
        BadRecording: they are of another grid, or of no known modality.
    """
    facts = stream.extra["embedding"]
    modality = facts.get("modality") if isinstance(facts, dict) else None
    known = next((each for each in MODALITIES if each == modality), None)
    if not isinstance(facts, dict) or known is None:
        raise BadRecording(
            f"stream {stream.id!r}: embedding.modality must be one of {', '.join(MODALITIES)}, "
            f"got {modality!r}"
        )
    runs: list[Hops] = []
    for block in read_samples(recording, stream):
        if not isinstance(block, MetadataBlock) or block.values.shape[1] != EMBEDDING_DIM:
            raise BadRecording(f"stream {stream.id!r}: expected {EMBEDDING_DIM} columns e0…")
        if (block.t_node_ns % HOP_NS).any():
            raise BadRecording(f"stream {stream.id!r}: expected times on multiples of {HOP_NS} ns")
        cuts = np.flatnonzero(np.diff(block.t_node_ns) != HOP_NS) + 1
        for part in np.split(np.arange(len(block.values)), cuts):
            rows = block.values[part].astype(np.float32)
            runs.append(Hops(t0_node_ns=NodeNs(int(block.t_node_ns[part[0]])), rows=rows))
    return StreamTrack(
        node=stream.node,
        stream=str(facts.get("stream") or stream.id),
        modality=known,
        embeddings=runs,
    )


def records_of(recording: Recording, tracks: Sequence[StreamTrack]) -> list[Record]:
    """Descriptors and blocks."""
    records: list[Record] = []
    told = {
        (stream.node, facts.get("stream") or stream.id): facts.get("descriptor")
        for stream in recording.manifest.streams
        if isinstance(facts := stream.extra.get("embedding"), dict)
    }
    for track in tracks:
        boot_id = boot_of(recording, track.node)
        encoder = {"id": f"coeval-{track.modality}"}
        if (track.node, track.stream) not in told:
            shipped = Encoder.load(track.modality)
            encoder |= {"sha256": shipped.sha256, "set": shipped.encoder_set}
        descriptor = told.get((track.node, track.stream)) or {
            "modality": track.modality,
            "hop_ns": HOP_NS,
            "dim": EMBEDDING_DIM,
            "encoder": encoder,
            "boot": f"{boot_id:016x}",
        }
        records.append(
            DescriptorRecord(
                node=track.node,
                stream=track.stream,
                boot_id=boot_id,
                modality=track.modality,
                payload=json.dumps(descriptor),
            )
        )
        records += blocks_of(track, boot_id)
    return records


def blocks_of(track: StreamTrack, boot_id: int) -> list[BlockRecord]:
    """A track's embeddings as a node sends them."""
    parts = [
        (run.t0_node_ns + k * HOP_NS, run.rows[k : k + ROWS_A_BLOCK])
        for run in track.embeddings
        for k in range(0, len(run.rows), ROWS_A_BLOCK)
    ]
    return [
        BlockRecord(
            node=track.node,
            stream=track.stream,
            boot_id=boot_id,
            seq=seq,
            t0_node_ns=NodeNs(t0_ns),
            hop_ns=HOP_NS,
            num_rows=len(rows),
            dim=rows.shape[1],
            embeddings=rows.astype("<f2").tobytes(),
        )
        for seq, (t0_ns, rows) in enumerate(parts)
    ]


def evidence_records(recording: Recording) -> list[EvidenceRecord]:
    """The evidence files as the messages that a node would have sent."""
    records: list[EvidenceRecord] = []
    for node in recording.manifest.nodes:
        boot_id = boot_of(recording, node)
        for samples in read_time_samples(recording, node).values():
            for k in range(0, len(samples), MOST_SAMPLES):
                part: tuple[TimeSample, ...] = tuple(samples[k : k + MOST_SAMPLES])
                payload = encode_evidence(EvidenceMessage(boot_id=boot_id, samples=part))
                records.append(EvidenceRecord(node=node, boot_id=boot_id, payload=payload))
    return records


def clocks_of(
    recording: Recording, tracks: Sequence[StreamTrack], *, reference: str, max_offset_s: float
) -> list[ClockRecord]:
    """What content and evidence say of every clock, stated at the end of the reference's material.

    Where there is nothing to compare the reference with, only the timeline is there.
    """
    spans = [
        (run.t0_node_ns, run.end_node_ns)
        for track in tracks
        if track.node == reference
        for run in track.embeddings
    ]
    begin_ns = RefNs(min((begin for begin, _ in spans), default=0))
    end_ns = RefNs(max((end for _, end in spans), default=0))
    timeline = Timeline(reference=reference, boot_id=boot_of(recording, reference))
    itself = NodeEstimate(
        status="locked",
        line=ClockLine(t0_ref_ns=end_ns, offset_ns=0.0, skew_ppb=0.0),
        ci95_ns=0.0,
        skew_ci95_ppb=0.0,
        jumps=(),
        evidence=(),
        cov_offset_skew=0.0,
    )
    estimates: dict[str, NodeEstimate] = {}
    evidence = evidence_of(recording, method="joint")
    bare = set(recording.manifest.nodes) - {track.node for track in tracks}
    try:
        found = align_tracks(
            [
                *tracks,
                *(
                    StreamTrack(node=node, stream="", modality="metadata", embeddings=())
                    for node in sorted(bare)
                ),
            ],
            reference=reference,
            evidence=evidence.lines,
            steps=evidence.steps,
            max_offset_s=max_offset_s,
            t0_ref_ns=end_ns,
        )
        estimates = dict(found.nodes)
    except NotEnoughEvidence:
        estimates = {}
    records = [
        clock_record(
            estimate,
            at=Moment(timeline=timeline, t_ref_ns=end_ns),
            node=node,
            boot_id=boot_of(recording, node),
            covers_from_ns=begin_ns,
        )
        for node, estimate in {reference: itself, **estimates}.items()
    ]
    return [replace(r, status="reference") if r.node == reference else r for r in records]
