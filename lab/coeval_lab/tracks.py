"""From a recording to the tracks that are aligned: the node's own pipeline, run on files."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coeval.errors import EncoderMismatch
from coeval.features import Extractor, make_extractor
from coeval.features.metadata import hold_missing
from coeval.features.video import VideoFeatures
from coeval.hops import HOP_NS, Hops, join
from coeval.instants import instants_of
from coeval.manifest import StreamSpec
from coeval.preprocessing import DEFAULT_STEPS, Preprocessing
from coeval.preprocessing.spikes import SpikeFilter
from coeval.relevance import RelevanceWatch
from coeval.samples import AudioBlock, FloatArray, Frame, MetadataBlock, Modality, Sample, TextLine
from coeval.signals import SignalTrack
from coeval.still_track import still_track
from coeval.time import NodeNs
from coeval.tracks import StreamTrack
from coeval_edge.encoder import Encoder
from coeval_edge.recording import Recording
from coeval_edge.recording_samples import read_samples, read_waveform
from coeval_lab.speech import speech_activity, text_spans

LEAST_SIGNAL_ROWS = 16
LEAST_GAP_HOPS = 10
"""Half a second without a sample."""
SPARSE = ("text", "image")
"""Modalities that are silent between their samples: that is no gap."""


def tracks_of(
    recording: Recording,
    *,
    progress: Callable[[float], None] | None = None,
    encoders: Path | None = None,
    preprocessing: Preprocessing = DEFAULT_STEPS,
) -> list[StreamTrack]:
    """Embeddings, raw signals and sound of every stream of a recording.

    Args:
        recording: an open recording.
        progress: called with the share of streams done, 0…1.
        encoders: folder of other encoders than those that ship.
        preprocessing: which steps run.

    Raises:
        BadRecording: a file cannot be read.
        EncoderMismatch: an encoder was made for other features, or those of the recording's
            modalities are not of one set.
    """
    streams = recording.manifest.streams
    paths = encoder_paths({stream.modality for stream in streams}, encoders)
    audio_nodes = {stream.node for stream in streams if stream.modality == "audio"}
    still_nodes = {stream.node for stream in streams if stream.modality == "image"}
    text_nodes = {stream.node for stream in streams if stream.modality == "text"}
    tracks: list[StreamTrack] = []
    for k, stream in enumerate(streams):
        track = track_of(
            recording,
            stream,
            with_waveform=len(audio_nodes) > 1,
            with_rows=bool(still_nodes - {stream.node}),
            with_speech=bool(text_nodes - {stream.node}),
            encoder=paths.get(stream.modality),
            preprocessing=preprocessing,
        )
        tracks.append(track)
        if progress is not None:
            progress((k + 1) / len(streams))
    return tracks


def encoder_paths(modalities: set[Modality], folder: Path | None) -> dict[Modality, Path]:
    """Files of a folder of encoders by modality; none where those that ship are meant.

    Raises:
        EncoderMismatch: one cannot be used, or they are not of one set.
    """
    if folder is None:
        return {}
    paths = {modality: folder / f"{modality}.onnx" for modality in sorted(modalities)}
    sets = {modality: Encoder.load(modality, path).encoder_set for modality, path in paths.items()}
    if len(set(sets.values())) > 1:
        told = ", ".join(f"{modality} of {name or 'none'}" for modality, name in sets.items())
        raise EncoderMismatch(
            f"{folder}: expected encoders of one set, got {told}; embeddings of two sets cannot be "
            "compared: export all of them again"
        )
    return paths


def track_of(
    recording: Recording,
    stream: StreamSpec,
    *,
    with_waveform: bool,
    with_rows: bool,
    with_speech: bool,
    encoder: Path | None = None,
    preprocessing: Preprocessing = DEFAULT_STEPS,
) -> StreamTrack:
    """One stream's track; waveform, rows and speech only where another node has sound, stills or
    text to compare them with."""
    waveform: tuple[AudioBlock, ...] = ()
    if stream.modality == "audio" and with_waveform:
        waveform = tuple(read_waveform(recording, stream).blocks())
    return track_from(
        read_samples(recording, stream),
        node=stream.node,
        stream=stream.id,
        modality=stream.modality,
        waveform=waveform,
        with_rows=with_rows,
        with_speech=with_speech,
        encoder=encoder,
        preprocessing=preprocessing,
    )


def track_from(
    samples: Iterable[Sample],
    *,
    node: str,
    stream: str,
    modality: Modality,
    waveform: Sequence[AudioBlock],
    with_rows: bool,
    with_speech: bool,
    encoder: Path | None = None,
    preprocessing: Preprocessing = DEFAULT_STEPS,
) -> StreamTrack:
    """The track of samples stamped by a node's clock, in time order."""
    video = VideoFeatures(preprocessing, keep_motion=True) if modality == "video" else None
    extractor: Extractor = video or make_extractor(modality, preprocessing)
    rows: list[Hops] = []
    readings: list[MetadataBlock] = []
    pictures: list[Frame] = []
    sound: list[AudioBlock] = []
    lines: list[TextLine] = []
    watch = RelevanceWatch(modality)
    for sample in samples:
        watch.push(sample)
        rows += extractor.push(sample)
        if isinstance(sample, MetadataBlock):
            readings.append(sample)
        elif isinstance(sample, Frame) and modality == "image":
            pictures.append(sample)
        elif isinstance(sample, AudioBlock) and with_speech:
            sound.append(sample)
        elif isinstance(sample, TextLine):
            lines.append(sample)
    rows += extractor.flush()
    signals = None
    if video is not None:
        signals = motion_signals(video)
    elif readings:
        signals = reading_signals(readings, preprocessing)
    return StreamTrack(
        node=node,
        stream=stream,
        modality=modality,
        embeddings=embed(
            rows, modality, encoder=None if encoder is None else Encoder.load(modality, encoder)
        ),
        signals=signals,
        waveform=waveform,
        stills=still_track(pictures),
        rows=join(rows) if with_rows else (),
        speech=speech_activity(sound) if sound else None,
        spans=text_spans(lines),
        instants=instants_of(sampled(readings, [*pictures, *lines])),
        irrelevant=watch.finish(),
    )


def sampled(
    readings: Sequence[MetadataBlock], others: Sequence[Frame | TextLine]
) -> NDArray[np.int64]:
    """When readings, stills or lines were stamped, ns."""
    alone = np.array([int(sample.t_node_ns) for sample in others], np.int64)
    return np.concatenate([*(block.t_node_ns for block in readings), alone])


def embed(rows: list[Hops], modality: Modality, *, encoder: Encoder | None = None) -> list[Hops]:
    """Embeddings of runs of feature rows; a gap in a steady stream's samples ends a run.

    What an encoder says of a gap, and of the first moments after it, would match other gaps.

    Args:
        rows: runs of rows, in time order.
        modality: of the stream.
        encoder: another encoder than the shipped one.
    """
    encoder = encoder or Encoder.load(modality)
    found: list[Hops] = []
    for run in join(rows):
        encoded = encoder.encode(run.rows)
        pieces = [(0, len(encoded))] if modality in SPARSE else without_gaps(run.rows)
        found += [
            Hops(t0_node_ns=NodeNs(run.t0_node_ns + begin * HOP_NS), rows=encoded[begin:end])
            for begin, end in pieces
        ]
    return found


def without_gaps(rows: FloatArray) -> list[tuple[int, int]]:
    """Begin and end of each stretch of rows between gaps: many rows of nothing but zeros."""
    empty = np.concatenate([[False], ~rows.any(axis=1), [False]])
    edges = np.flatnonzero(np.diff(empty.astype(np.int8)))
    gaps = [(a, b) for a, b in edges.reshape(-1, 2).tolist() if b - a >= LEAST_GAP_HOPS]
    begins, ends = [0, *(b for _, b in gaps)], [*(a for a, _ in gaps), len(rows)]
    return [(begin, end) for begin, end in zip(begins, ends, strict=True) if end > begin]


def motion_signals(features: VideoFeatures) -> SignalTrack | None:
    """Global motion of a video as channels, each rate at the middle of its two frames."""
    motion = features.motion()
    if len(motion.rates) < LEAST_SIGNAL_ROWS:
        return None
    middles = motion.starts_ns + (motion.ends_ns - motion.starts_ns) // 2
    return SignalTrack(t_node_ns=middles, values=motion.rates.astype(np.float64))


def reading_signals(
    readings: list[MetadataBlock], preprocessing: Preprocessing
) -> SignalTrack | None:
    """Numeric channels as they were read, gaps held and spikes taken out."""
    times = np.concatenate([block.t_node_ns for block in readings])
    values = hold_missing(np.concatenate([block.values for block in readings]))
    if len(times) < LEAST_SIGNAL_ROWS:
        return None
    if preprocessing.spikes:
        spikes = SpikeFilter(values.shape[1])
        _, cleaned = spikes.push(times, values)
        values = np.concatenate([cleaned, spikes.flush()[1]])
    return SignalTrack(t_node_ns=times, values=values)
