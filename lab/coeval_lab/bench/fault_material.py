"""Sessions with injected faults: embeddings of every stream, and of each stream with each fault."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coeval.features import make_extractor
from coeval.fusion_input import TICK_HOPS
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops, join
from coeval.repeats import RepeatWatch
from coeval.samples import AudioBlock, FloatArray, MetadataBlock, Modality, Sample
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.encoder import Encoder
from coeval_edge.recording import open_recording
from coeval_edge.recording_samples import read_samples
from coeval_lab.bench.faults import FAULTS, Fault
from coeval_lab.bench.material import Clock, cropped, first_ns, last_ns, stamped
from coeval_training.data import SLOTS
from coeval_training.material import TRAINED_ON
from coeval_training.scenes import generate_scene

SCENE_S = 100.0
LONGEST_RECORDING_S = 180.0
SHORTEST_RECORDING_S = 25.0
WARM_S = 12.0
_FOREVER_NS = 1 << 62

ENCODERS: dict[Modality, Encoder] = {}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Track:
    """Embeddings of one stream on the session's hops."""

    name: str
    """Which stream."""
    modality: Modality
    """What it senses."""
    rows: FloatArray
    """Shape (T, 16), as blocks carry them."""
    covered: FloatArray
    """1 where there is a row, shape (T,)."""
    surprise: FloatArray
    """That samples repeat, as the node says with each block (`coeval.repeats`), shape (T,)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Injected:
    """One stream with one fault."""

    fault: Fault
    """What was done to it."""
    track: Track
    """What then comes off the wire."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FaultySession:
    """A calm session, and what single faults would make of it."""

    source: str
    """Scene or recording."""
    calm: dict[str, Track]
    """All streams as they are, by name."""
    injected: list[Injected]
    """Single streams with a fault that begins at `onset_hop`."""
    onset_hop: int
    """When faults begin."""
    seed: int
    """Of the scene; −1: a recording."""


def encoder_of(modality: Modality) -> Encoder:
    """The shipped encoder, loaded once."""
    if modality not in ENCODERS:
        ENCODERS[modality] = Encoder.load(modality)
    return ENCODERS[modality]


def in_pieces(sample: Sample) -> Iterator[tuple[int, Sample]]:
    """A sample in parts of no more than a hop, as a node reads them, and the hop each ends in."""
    if isinstance(sample, MetadataBlock):
        hops = sample.t_node_ns // HOP_NS
        for part in np.split(np.arange(len(hops)), np.flatnonzero(np.diff(hops)) + 1):
            if len(part):
                yield (
                    int(hops[part[0]]),
                    MetadataBlock(t_node_ns=sample.t_node_ns[part], values=sample.values[part]),
                )
    elif isinstance(sample, AudioBlock):
        size = max(round(sample.rate_hz * HOP_NS / NS_PER_S), 1)
        for k in range(0, len(sample.pcm), size):
            pcm = sample.pcm[k : k + size]
            t_ns = NodeNs(sample.t_node_ns + round(k * NS_PER_S / sample.rate_hz))
            end_ns = t_ns + len(pcm) * NS_PER_S / sample.rate_hz
            yield (
                int((end_ns - 1) // HOP_NS),
                AudioBlock(t_node_ns=t_ns, rate_hz=sample.rate_hz, pcm=pcm),
            )
    else:
        yield first_ns(sample) // HOP_NS, sample


def follow(
    watch: RepeatWatch, samples: Sequence[Sample], surprise: FloatArray, *, start_ns: int
) -> None:
    """Note hop by hop what the watch says of the samples; hops without one keep what was said."""
    first = start_ns // HOP_NS
    for sample in samples:
        for hop, piece in in_pieces(sample):
            watch.push(piece)
            surprise[max(hop - first, 0) :] = watch.surprise


def track_on_hops(
    parts: Sequence[Hops],
    name: str,
    modality: Modality,
    *,
    surprise: FloatArray,
    start_ns: int,
    num_hops: int,
) -> Track:
    """Embeddings of runs of feature rows, laid on the session's hops."""
    rows = np.zeros((num_hops, EMBEDDING_DIM), np.float32)
    covered = np.zeros(num_hops, np.float32)
    for run in join(list(parts)):
        encoded = encoder_of(modality).encode(run.rows).astype(np.float16)
        first = round((run.t0_node_ns - start_ns) / HOP_NS)
        low, high = max(first, 0), min(first + len(encoded), num_hops)
        if high > low:
            rows[low:high] = encoded[low - first : high - first]
            covered[low:high] = 1.0
    return Track(name=name, modality=modality, rows=rows, covered=covered, surprise=surprise)


def with_faults(
    samples: list[Sample],
    others: list[Sample],
    name: str,
    modality: Modality,
    faults: Sequence[Fault],
    *,
    start_ns: int,
    num_hops: int,
    onset_ns: int,
    rng: np.random.Generator,
) -> tuple[Track, list[Injected]]:
    """A stream as it is, and with each of the faults from the onset on."""
    extractor = make_extractor(modality)
    head: list[Hops] = []
    watch, known = RepeatWatch(), np.zeros(num_hops, np.float32)
    before = cropped(samples, -_FOREVER_NS, onset_ns)
    for sample in before:
        head += extractor.push(sample)
    follow(watch, before, known, start_ns=start_ns)

    def finish(rest: Sequence[Sample]) -> Track:
        own = copy.deepcopy(extractor)
        parts = list(head)
        for sample in rest:
            parts += own.push(sample)
        parts += own.flush()
        surprise = known.copy()
        follow(copy.deepcopy(watch), rest, surprise, start_ns=start_ns)
        return track_on_hops(
            parts, name, modality, surprise=surprise, start_ns=start_ns, num_hops=num_hops
        )

    calm = finish(cropped(samples, onset_ns, _FOREVER_NS))
    injected = []
    for fault in faults:
        changed = fault.inject(samples, others, onset_ns, rng)
        track = finish(cropped(changed, onset_ns, _FOREVER_NS))
        if fault.name == "dropped stream":  # a text or still extractor cannot know that it is over
            onset_hop = round((onset_ns - start_ns) / HOP_NS)
            track.covered[onset_hop:], track.rows[onset_hop:] = 0.0, 0.0
        injected.append(Injected(fault=fault, track=track))
    return calm, injected


def scene_session(
    seed: int, *, seconds: float = SCENE_S, faults: Sequence[Fault] = FAULTS
) -> FaultySession:
    """A generated scene of six streams; every fault happens to one stream that may have it,
    desynchronisation to two."""
    rng = np.random.default_rng([seed, 21])
    scene, other = (
        generate_scene(seed, duration_s=seconds),
        generate_scene(seed + 50_000, duration_s=seconds),
    )
    onset_ns = int(rng.uniform(0.45, 0.65) * seconds * NS_PER_S)
    num_hops = int(seconds * NS_PER_S / HOP_NS) // TICK_HOPS * TICK_HOPS
    chosen: dict[str, list[Fault]] = {slot: [] for slot in SLOTS}
    for fault in faults:
        able = [slot for slot, modality in SLOTS.items() if modality in fault.modalities]
        for slot in rng.permutation(able)[: 2 if fault.name == "desync" else 1]:
            chosen[str(slot)].append(fault)
    calm: dict[str, Track] = {}
    injected: list[Injected] = []
    for slot, modality in SLOTS.items():
        samples = list(scene.render(slot))
        if not samples:
            continue
        swaps = any("swapped" in fault.name for fault in chosen[slot])
        others = list(other.render(slot)) if swaps else []
        calm[slot], found = with_faults(
            samples,
            others,
            slot,
            modality,
            chosen[slot],
            start_ns=0,
            num_hops=num_hops,
            onset_ns=onset_ns,
            rng=rng,
        )
        injected += found
    return FaultySession(
        source=f"scene {scene.kind}",
        calm=calm,
        injected=injected,
        onset_hop=onset_ns // HOP_NS,
        seed=seed,
    )


def recording_sessions(
    folder: Path, *, seed: int, held_out: bool = True
) -> Iterator[FaultySession]:
    """Recordings of at least two streams and SHORTEST_RECORDING_S, every fault to every stream.

    Lines and pictures that are swapped in come from the other recordings.
    """
    names = sorted(path.parent.name for path in folder.glob("*/recording.json"))
    names = [name for name in names if (name not in TRAINED_ON) == held_out]
    read = {name: samples_of(folder / name) for name in names}
    for k, name in enumerate(names):
        streams = read[name]
        if len(streams) < 2:
            continue
        start_ns = max(first_ns(samples[0]) for _, samples in streams.values())
        stop_ns = min(last_ns(samples[-1]) for _, samples in streams.values())
        stop_ns = min(stop_ns, start_ns + round(LONGEST_RECORDING_S * NS_PER_S))
        seconds = (stop_ns - start_ns) / NS_PER_S
        if seconds < SHORTEST_RECORDING_S - 5:
            continue
        onset_ns = start_ns + round(max(0.5 * seconds, WARM_S) * NS_PER_S)
        rng = np.random.default_rng([seed, k, 22])
        num_hops = int(seconds * NS_PER_S / HOP_NS) // TICK_HOPS * TICK_HOPS
        calm: dict[str, Track] = {}
        injected: list[Injected] = []
        for stream, (modality, samples) in streams.items():
            strangers = [
                found
                for other in names
                if other != name
                for kind, found in read[other].values()
                if kind == modality
            ]
            others = strangers[rng.integers(len(strangers))] if strangers else []
            faults = [
                fault
                for fault in FAULTS
                if modality in fault.modalities and (others or "swapped" not in fault.name)
            ]
            calm[stream], found = with_faults(
                cropped(samples, start_ns, stop_ns),
                others,
                stream,
                modality,
                faults,
                start_ns=start_ns,
                num_hops=num_hops,
                onset_ns=onset_ns,
                rng=rng,
            )
            injected += found
        yield FaultySession(
            source=name,
            calm=calm,
            injected=injected,
            onset_hop=(onset_ns - start_ns) // HOP_NS,
            seed=-1,
        )


def samples_of(folder: Path) -> dict[str, tuple[Modality, list[Sample]]]:
    """All streams of a recording, decoded, their stated truth put right."""
    recording = open_recording(folder)
    truth = recording.manifest.truth
    found: dict[str, tuple[Modality, list[Sample]]] = {}
    for stream in recording.manifest.streams:
        offset_s = (
            truth.nodes[stream.node].offset_s if truth and stream.node in truth.nodes else 0.0
        )
        right = Clock(offset_ns=-offset_s * NS_PER_S)
        samples = [stamped(sample, right) for sample in read_samples(recording, stream)]
        if samples:
            found[stream.id] = (stream.modality, samples)
    return found
