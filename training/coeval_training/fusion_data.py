"""Training material of the fusion network: sessions of some streams, some of them with a fault.

Everything happens to embeddings, so that thousands of sessions come from a few hundred scenes.
Faults here are of four kinds: dead (rendered), frozen, shifted in time, swapped for another
scene's. What else may happen to a stream is left for the evaluation, so that it is no test of
memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coeval.fusion_input import RECENT_HOPS, TICK_HOPS, SessionInputs, TickInputs
from coeval.hops import EMBEDDING_DIM
from coeval.samples import MODALITIES, FloatArray, Modality
from coeval_edge.encoder import CONTEXT_HOPS, Encoder
from coeval_training.fusion_scenes import FusionRows

MOST_STREAMS = 6
WARM_HOPS = 200
"""No tick is learned from before (10 s)."""
SHORTEST_SHIFT_HOPS, LONGEST_SHIFT_HOPS = 6, 100
"""A stream shifted by less is not called faulty (0.3 to 5 s)."""
KEPT_TICKS = 96
"""Ticks kept of a session: neighbours say much the same."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbeddedStream:
    """One stream of a scene on the scene's own hops."""

    modality: Modality
    """What it senses."""
    rows: FloatArray
    """Embeddings as they come off the wire, shape (T, E); zeros where there are none."""
    covered: FloatArray
    """1 where there is a row, shape (T,)."""
    held_from: int
    """First hop of `held`."""
    held: FloatArray
    """Embeddings had the sensor died, shape (H, E); H may be 0."""


def on_the_wire(embeddings: FloatArray) -> FloatArray:
    """As blocks carry them: rounded to float16."""
    return embeddings.astype(np.float16).astype(np.float32)


class Embedder:
    """The shipped encoders, each loaded once."""

    def __init__(self, encoders: dict[Modality, Encoder] | None = None) -> None:
        self._encoders = encoders or {modality: Encoder.load(modality) for modality in MODALITIES}

    @property
    def sha256(self) -> dict[Modality, str]:
        """Hash of each encoder's file, as trained."""
        return {modality: encoder.original_sha256 for modality, encoder in self._encoders.items()}

    def __call__(self, stream: FusionRows, *, num_hops: int) -> EmbeddedStream:
        """Embeddings of a stream on its scene's hops."""
        encoder = self._encoders[stream.modality]
        embeddings = on_the_wire(encoder.encode(stream.rows))
        start = round(stream.start_hops)
        rows = np.zeros((num_hops, EMBEDDING_DIM), np.float32)
        covered = np.zeros(num_hops, np.float32)
        low, high = max(start, 0), min(start + len(embeddings), num_hops)
        rows[low:high] = embeddings[low - start : high - start]
        covered[low:high] = 1.0
        held, at = np.zeros((0, EMBEDDING_DIM), np.float32), 0
        if len(stream.held):
            context = stream.rows[max(stream.held_from - CONTEXT_HOPS, 0) : stream.held_from]
            tail = encoder.encode(np.concatenate([context, stream.held]))[len(context) :]
            at = start + stream.held_from
            held = on_the_wire(tail)[: max(num_hops - at, 0)]
        return EmbeddedStream(
            modality=stream.modality, rows=rows, covered=covered, held_from=at, held=held
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingSession:
    """The ticks of one session as the network sees them, with what is wrong."""

    modality: np.ndarray
    """Index into MODALITIES, shape (S,)."""
    inputs: TickInputs
    """N ticks, float16 to save memory."""
    faulty: np.ndarray
    """Whether the stream is faulty, shape (N, S)."""
    by_itself: np.ndarray
    """Whether it is so by itself: dead or frozen, shape (N, S)."""
    told: np.ndarray
    """Whether that is learned from: not in the first moments of a fault, shape (N, S)."""


def shifted(stream: EmbeddedStream, from_hop: int, by_hops: int) -> tuple[FloatArray, FloatArray]:
    """The stream as it would be if it showed, from a hop on, what was `by_hops` earlier."""
    at = np.arange(len(stream.rows))
    at = np.where(at >= from_hop, np.clip(at - by_hops, 0, len(at) - 1), at)
    return stream.rows[at], stream.covered[at]


def with_fault(
    stream: EmbeddedStream, other: EmbeddedStream | None, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray, int, int, str]:
    """The stream with a fault from some hop on.

    Returns:
        Rows, coverage, the first faulty hop, the hop at which it is over, the fault's name.
    """
    num_hops = len(stream.rows)
    begin = int(rng.integers(WARM_HOPS + 100, num_hops - 100))
    pick = rng.random()
    if pick < 0.3 and len(stream.held) > 100:
        rows = stream.rows.copy()
        end = stream.held_from + len(stream.held)
        rows[stream.held_from : end] = stream.held
        return rows, stream.covered, stream.held_from, end, "dead"
    if pick < 0.4:
        rows = stream.rows.copy()
        rows[begin:] = rows[begin - 1]
        return rows, stream.covered, begin, num_hops, "frozen"
    if pick < 0.65 and other is not None:
        rows, covered = stream.rows.copy(), stream.covered.copy()
        start = int(rng.integers(0, len(other.rows)))
        taken = (np.arange(num_hops - begin) + start) % len(other.rows)  # a short one goes round
        rows[begin:], covered[begin:] = other.rows[taken], other.covered[taken]
        return rows, covered, begin, num_hops, "swapped"
    low, high = np.log(SHORTEST_SHIFT_HOPS), np.log(LONGEST_SHIFT_HOPS)
    by = round(float(np.exp(rng.uniform(low, high)))) * int(rng.choice([-1, 1]))
    rows, covered = shifted(stream, begin, by)
    return rows, covered, begin, num_hops, "shifted"


def make_session(
    scene: Sequence[EmbeddedStream],
    others: Sequence[EmbeddedStream],
    rng: np.random.Generator,
    *,
    fault_share: float = 0.75,
) -> TrainingSession:
    """Some streams of a scene, one or two of them perhaps with a fault.

    Args:
        scene: all streams of the scene.
        others: streams of other scenes, to be swapped in.
        rng: decides everything.
        fault_share: share of sessions with a fault.
    """
    most = min(len(scene), MOST_STREAMS)
    num_streams = most if rng.random() < 0.35 else int(rng.integers(min(2, most), most + 1))
    chosen = [scene[k] for k in rng.permutation(len(scene))[:num_streams]]
    num_hops = len(chosen[0].rows) // TICK_HOPS * TICK_HOPS
    num_ticks = num_hops // TICK_HOPS
    ends = (np.arange(num_ticks) + 1) * TICK_HOPS
    rows, covered = [s.rows for s in chosen], [s.covered for s in chosen]
    faulty = np.zeros((num_ticks, num_streams), np.bool_)
    by_itself = np.zeros((num_ticks, num_streams), np.bool_)
    told = np.repeat(ends[:, None] > WARM_HOPS, num_streams, axis=1)
    num_faults = int(rng.random() < fault_share) * (1 + int(rng.random() < 0.15))
    for s in rng.permutation(num_streams)[:num_faults].tolist():
        same = [o for o in others if o.modality == chosen[s].modality]
        other = same[rng.integers(len(same))] if same else None
        rows[s], covered[s], begin, end, name = with_fault(chosen[s], other, rng)
        during = (ends > begin) & (ends <= end)
        fresh = (ends > begin) & (ends <= begin + TICK_HOPS)
        after = ends > end
        # Of two streams that no longer agree, neither is known to be the one that is wrong.
        blamed = range(num_streams) if num_streams == 2 and name in ("shifted", "swapped") else [s]
        for each in blamed:
            faulty[during, each] = True
            by_itself[during, each] = name in ("dead", "frozen")
            told[fresh | after, each] = False
        told[after] = False
    inputs = SessionInputs([s.modality for s in chosen]).push(
        np.stack(rows)[:, :num_hops], np.stack(covered)[:, :num_hops]
    )
    first = WARM_HOPS // TICK_HOPS
    num_kept = min(KEPT_TICKS, num_ticks - first)
    kept = np.sort(first + rng.choice(num_ticks - first, num_kept, replace=False))
    inputs, told = inputs.take(kept), told[kept]
    told &= inputs.covered[:, :, -1] > 0
    return TrainingSession(
        modality=np.array([MODALITIES.index(s.modality) for s in chosen]),
        inputs=halved(inputs),
        faulty=faulty[kept],
        by_itself=by_itself[kept],
        told=told,
    )


def halved(inputs: TickInputs) -> TickInputs:
    """The same in float16."""
    return TickInputs(
        **{name: getattr(inputs, name).astype(np.float16) for name in TickInputs.__slots__}
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FusionBatch:
    """B ticks of sessions of up to S streams; streams that are not there are masked."""

    modality: np.ndarray
    """Shape (B, S)."""
    present: FloatArray
    """1 where there is a stream with a row at the tick, shape (B, S)."""
    inputs: TickInputs
    """B ticks."""
    faulty: FloatArray
    """Shape (B, S)."""
    by_itself: FloatArray
    """Shape (B, S)."""
    told: FloatArray
    """Shape (B, S)."""


def draw_ticks(
    sessions: Sequence[TrainingSession], rng: np.random.Generator, *, num_sessions: int, ticks: int
) -> FusionBatch:
    """Ticks of some sessions, at least WARM_HOPS after their start."""
    picked = [sessions[k] for k in rng.choice(len(sessions), num_sessions)]
    S, B = MOST_STREAMS, num_sessions * ticks
    shapes = {"recent": (S, RECENT_HOPS, EMBEDDING_DIM), "covered": (S, RECENT_HOPS)}
    arrays: dict[str, FloatArray] = {}
    for name in TickInputs.__slots__:
        like = getattr(picked[0].inputs, name).shape
        shape = shapes.get(name, (S, like[-1]))
        arrays[name] = np.zeros((B, *shape), np.float32)
    modality = np.zeros((B, S), np.int64)
    present, faulty, by_itself, told = (np.zeros((B, S), np.float32) for _ in range(4))
    for k, session in enumerate(picked):
        at = rng.choice(len(session.faulty), ticks, replace=False)
        b, s = slice(k * ticks, (k + 1) * ticks), len(session.modality)
        for name in TickInputs.__slots__:
            value = getattr(session.inputs, name)[at]
            arrays[name][b, :s] = value
        modality[b, :s] = session.modality
        present[b, :s] = session.inputs.covered[at][:, :, -1]
        faulty[b, :s], told[b, :s] = session.faulty[at], session.told[at]
        by_itself[b, :s] = session.by_itself[at]
    return FusionBatch(
        modality=modality,
        present=present,
        inputs=TickInputs(**arrays),
        faulty=faulty,
        by_itself=by_itself,
        told=told,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Agreements:
    """How every stream of every tick agrees with the others, and whether it is faulty."""

    joint: FloatArray
    """Shape (n, JOINT_DIM)."""
    modality: np.ndarray
    """Shape (n,)."""
    num_streams: FloatArray
    """Shape (n,)."""
    faulty: FloatArray
    """Shape (n,)."""


def agreements_of(sessions: Sequence[TrainingSession]) -> Agreements:
    """All that can be learned from of some sessions."""
    joint, modality, num_streams, faulty = [], [], [], []
    for session in sessions:
        ticks, streams = np.nonzero(session.told)
        joint.append(session.inputs.joint[ticks, streams].astype(np.float32))
        modality.append(session.modality[streams])
        num_streams.append((session.inputs.covered[ticks, :, -1] > 0).sum(axis=1))
        faulty.append(session.faulty[ticks, streams])
    return Agreements(
        joint=np.concatenate(joint),
        modality=np.concatenate(modality),
        num_streams=np.concatenate(num_streams).astype(np.float32),
        faulty=np.concatenate(faulty).astype(np.float32),
    )
