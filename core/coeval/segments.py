"""A clock that stepped, taken as several clocks: one a segment between two steps.

The first segment keeps the node's name, so that a clock without a step is simply itself; the
others are named by `segment_name`. What a stream holds is cut where its node's clock stepped.
"""

from collections.abc import Sequence
from dataclasses import replace

from coeval.hops import HOP_NS, Hops
from coeval.instants import instants_of
from coeval.samples import AudioBlock, IntArray
from coeval.signals import SignalTrack
from coeval.speech import STEP_NS, SpeechActivity, TextSpans
from coeval.time import NS_PER_S, NodeNs
from coeval.tracks import StreamTrack

SEPARATOR = "\0"
"""No node's name holds it."""


def segment_name(node: str, k: int) -> str:
    """Name of a node's clock after its k-th step."""
    return f"{node}{SEPARATOR}{k}" if k else node


def clock_of(segment: str) -> str:
    """The node whose clock a segment is part of."""
    return segment.partition(SEPARATOR)[0]


def cut_tracks(
    tracks: Sequence[StreamTrack], t_node_ns: int, *, after: str
) -> tuple[list[StreamTrack], list[StreamTrack]]:
    """Streams of one clock before and after an instant of it, the latter as the segment `after`."""
    sides: tuple[list[StreamTrack], list[StreamTrack]] = ([], [])
    for track in tracks:
        runs = [cut_hops(run, t_node_ns) for run in track.embeddings]
        sounds = [cut_sound(block, t_node_ns) for block in track.waveform]
        for k, name in enumerate((track.node, after)):
            signals = None if track.signals is None else cut_signals(track.signals, t_node_ns)[k]
            speech = None if track.speech is None else cut_speech(track.speech, t_node_ns)[k]
            spans = None if track.spans is None else cut_spans(track.spans, t_node_ns)[k]
            instants = (
                None if track.instants is None else cut_instants(track.instants, t_node_ns)[k]
            )
            part = replace(
                track,
                node=name,
                embeddings=[run for pair in runs if (run := pair[k]) is not None],
                signals=signals,
                speech=speech,
                spans=spans,
                instants=instants,
                waveform=[block for pair in sounds if (block := pair[k]) is not None],
                stills=None,  # half a recording's stills say too little
                rows=(),
            )
            if part.embeddings:
                sides[k].append(part)
    return sides


def cut_hops(run: Hops, t_node_ns: int) -> tuple[Hops | None, Hops | None]:
    """A run before and after an instant; the hop that holds the instant is left out."""
    num_before = min(max((t_node_ns - run.t0_node_ns) // HOP_NS, 0), len(run.rows))
    first_after = min(max(-((run.t0_node_ns - t_node_ns) // HOP_NS), 0), len(run.rows))
    after = Hops(
        t0_node_ns=NodeNs(run.t0_node_ns + first_after * HOP_NS), rows=run.rows[first_after:]
    )
    before = Hops(t0_node_ns=run.t0_node_ns, rows=run.rows[:num_before])
    return (before if len(before.rows) else None, after if len(after.rows) else None)


def cut_signals(
    signals: SignalTrack, t_node_ns: int
) -> tuple[SignalTrack | None, SignalTrack | None]:
    """Readings before and after an instant; None where fewer than two are left."""
    is_before = signals.t_node_ns < t_node_ns
    before, after = (
        SignalTrack(t_node_ns=signals.t_node_ns[part], values=signals.values[part])
        for part in (is_before, ~is_before)
    )
    return (
        before if len(before.t_node_ns) > 1 else None,
        after if len(after.t_node_ns) > 1 else None,
    )


def cut_sound(block: AudioBlock, t_node_ns: int) -> tuple[AudioBlock | None, AudioBlock | None]:
    """A piece of sound before and after an instant."""
    place = (t_node_ns - block.t_node_ns) * block.rate_hz / NS_PER_S
    k = min(max(round(place), 0), len(block.pcm))
    t_after_ns = NodeNs(block.t_node_ns + round(k / block.rate_hz * NS_PER_S))
    before = replace(block, pcm=block.pcm[:k])
    after = replace(block, t_node_ns=t_after_ns, pcm=block.pcm[k:])
    return (before if k else None, after if k < len(block.pcm) else None)


def cut_speech(
    speech: SpeechActivity, t_node_ns: int
) -> tuple[SpeechActivity | None, SpeechActivity | None]:
    """How speech-like a sound is before and after an instant."""
    k = min(max(t_node_ns // STEP_NS - speech.first, 0), len(speech.values))
    before = replace(speech, values=speech.values[:k])
    after = SpeechActivity(first=speech.first + k, values=speech.values[k:])
    return (before if k else None, after if k < len(speech.values) else None)


def cut_instants(instants: IntArray, t_node_ns: int) -> tuple[IntArray | None, IntArray | None]:
    """Instants before and after one; None where they are too few to compare."""
    is_before = instants < t_node_ns
    return instants_of(instants[is_before]), instants_of(instants[~is_before])


def cut_spans(spans: TextSpans, t_node_ns: int) -> tuple[TextSpans | None, TextSpans | None]:
    """Lines that begin before and after an instant."""
    is_before = spans.begins_ns < t_node_ns
    before, after = (
        replace(spans, begins_ns=spans.begins_ns[part], ends_ns=spans.ends_ns[part])
        for part in (is_before, ~is_before)
    )
    return (
        before if len(before.begins_ns) else None,
        after if len(after.begins_ns) else None,
    )
