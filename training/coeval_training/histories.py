"""What a session remembers, from a recording or the aggregator's store: embeddings and clocks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coeval.errors import BadConfig
from coeval.features import make_extractor
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops, join
from coeval.samples import MODALITIES, Modality
from coeval.time import NS_PER_S, NodeNs, RefNs
from coeval_aggregator.export.content import find_session, find_timeline
from coeval_aggregator.store.clock_history import ClockHistory
from coeval_aggregator.store.reading import Reader, RunRow
from coeval_edge.encoder import Encoder
from coeval_edge.recording import open_recording
from coeval_edge.recording_samples import read_samples
from coeval_training.adapt import HistoryStream
from coeval_training.known_clocks import MOST_SIGMA_S, Align, known_clocks

MOST_NS = 2 * 3600 * NS_PER_S
"""The newest so much of a stored session is learnt from: minutes of work, and what is so now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """A session's streams, and what is not among them."""

    streams: dict[str, HistoryStream]
    """By name."""
    left_out: dict[str, str]
    """By node or stream: why."""
    what: str
    """Of what it is the history, for people."""


def recorded_history(
    folder: Path, encoders: dict[Modality, Path], *, align: Align | None = None
) -> History:
    """A recording's streams, embedded, where its clocks are known.

    Args:
        folder: the recording.
        encoders: files to embed with.
        align: asks `coeval align`; None: by running it.

    Raises:
        BadRecording: it cannot be read.
        EncoderMismatch: an encoder cannot be used.
    """
    recording = open_recording(folder)
    clocks = known_clocks(recording, align=align)
    streams: dict[str, HistoryStream] = {}
    left_out = dict(clocks.left_out)
    for stream in recording.manifest.streams:
        line = clocks.lines.get(stream.node)
        if line is None:
            continue
        extractor = make_extractor(stream.modality)
        parts: list[Hops] = []
        for sample in read_samples(recording, stream):
            parts += extractor.push(sample)
        parts += extractor.flush()
        encoder = Encoder.load(stream.modality, encoders[stream.modality])
        until_ref_ns = clocks.until_ref_ns.get(stream.node)
        until_ns = None if until_ref_ns is None else int(line.to_node(RefNs(until_ref_ns)))
        runs = [
            cut
            for run in join(parts)
            for cut in before(
                Hops(t0_node_ns=run.t0_node_ns, rows=encoder.encode(run.rows)), until_ns
            )
        ]
        if runs:
            streams[f"{stream.node}/{stream.id}"] = HistoryStream(
                modality=stream.modality, runs=runs, clock=line
            )
    name = recording.manifest.name
    return History(streams=streams, left_out=left_out, what=f"recording {name}, by {clocks.how}")


def before(run: Hops, until_ns: int | None) -> list[Hops]:
    """The part of a run before a reading of its clock; nothing where there is none."""
    num = len(run.rows)
    if until_ns is not None:
        num = min(max((until_ns - run.t0_node_ns) // HOP_NS, 0), num)
    return [Hops(t0_node_ns=run.t0_node_ns, rows=run.rows[:num])] if num else []


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredClock:
    """A clock by the surest of all estimates that were ever stored."""

    history: ClockHistory
    """The estimates."""

    def to_ref(self, t_node_ns: NodeNs, /) -> RefNs:
        """The instant of the timeline at which the clock read that."""
        return RefNs(int(self.history.to_ref(np.array([t_node_ns])).t_ns[0]))

    def to_node(self, t_ref_ns: RefNs, /) -> NodeNs:
        """What the clock read at an instant of the timeline."""
        return NodeNs(int(self.history.to_node(np.array([t_ref_ns])).t_ns[0]))


def stored_history(reader: Reader, session: str, *, encoder_set: str) -> History:
    """A stored session's streams on its newest timeline, where its clocks were known.

    Args:
        reader: the aggregator's store.
        session: its name.
        encoder_set: only embeddings of these encoders are taken.

    Raises:
        BadConfig: no such session, or no clock of it was ever known.
    """
    found = find_session(reader, session)
    timeline = find_timeline(reader, found, None)
    if timeline is None:
        raise BadConfig(f"session {session!r}: no clock of it was ever estimated; nothing to adapt")
    streams: dict[str, HistoryStream] = {}
    left_out: dict[str, str] = {}
    for run in reader.runs(found):
        history = reader.history(timeline, node=run.node, boot=run.boot)
        modality = next((m for m in MODALITIES if m == run.modality), None)
        told = run.descriptor.get("encoder", {})
        if modality is None or run.hop_ns != HOP_NS or run.dim != EMBEDDING_DIM:
            left_out[run.name] = "its embeddings are not this version's"
        elif told.get("set") != encoder_set:
            left_out[run.name] = f"its encoder is of set {told.get('set') or 'unknown'}"
        elif history is None:
            left_out[run.name] = "its clock was not known on the newest timeline"
        else:
            runs = known_runs(reader, run, history, first_seq=int(told.get("from_seq", 0)))
            if runs:
                # The newest run of a stream comes last, and takes its place.
                streams[run.name] = HistoryStream(
                    modality=modality, runs=runs, clock=StoredClock(history=history)
                )
            else:
                left_out[run.name] = f"its clock was never known to {MOST_SIGMA_S:g} s"
    return History(
        streams=streams,
        left_out={name: why for name, why in left_out.items() if name not in streams},
        what=f"session {session}, timeline {timeline.id}",
    )


def known_runs(reader: Reader, run: RunRow, history: ClockHistory, *, first_seq: int) -> list[Hops]:
    """Embeddings of a run's present encoder, where its clock is known well enough."""
    begin_ns, span = reader.begin_of(run, seq=first_seq), reader.span(run)
    if begin_ns is None or span is None:
        return []
    begin_ns = max(begin_ns, span[1] - MOST_NS)
    kept = reader.embeddings(run, from_node_ns=begin_ns, to_node_ns=span[1] + NS_PER_S * 3600)
    sigma_ns = history.to_ref(kept.hops * HOP_NS).sigma_ns
    there = np.flatnonzero(sigma_ns <= MOST_SIGMA_S * NS_PER_S)
    hops, rows = kept.hops[there], kept.rows[there]
    pieces = np.split(np.arange(len(hops)), np.flatnonzero(np.diff(hops) > 1) + 1)
    return [
        Hops(t0_node_ns=NodeNs(int(hops[piece[0]]) * HOP_NS), rows=rows[piece])
        for piece in pieces
        if len(piece)
    ]
