"""What is known of one stream's content: embeddings, and what is raw where the caller has it."""

from collections.abc import Sequence
from dataclasses import dataclass

from coeval.hops import Hops
from coeval.relevance import Stretch
from coeval.samples import AudioBlock, IntArray, Modality
from coeval.signals import SignalTrack
from coeval.speech import SpeechActivity, TextSpans
from coeval.still_track import StillTrack


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTrack:
    """What is known of one stream's content."""

    node: str
    """The node whose clock stamped it."""
    stream: str
    """The stream's id."""
    modality: Modality
    """Its modality."""
    embeddings: Sequence[Hops]
    """Runs of embeddings, in time order."""
    signals: SignalTrack | None = None
    """Raw channels, where the caller has them."""
    waveform: Sequence[AudioBlock] = ()
    """Raw sound at its own rate, pieces in time order, where the caller has it."""
    stills: StillTrack | None = None
    """What stills show, where the caller has them."""
    rows: Sequence[Hops] = ()
    """Runs of feature rows, where the caller has them and there are stills to compare them with."""
    speech: SpeechActivity | None = None
    """How speech-like a sound is, where the caller has it."""
    spans: TextSpans | None = None
    """When lines of text begin and end, where the caller has them."""
    irrelevant: Sequence[Stretch] = ()
    """Where it carries nothing, and why."""
    instants: IntArray | None = None
    """When it was sampled, where that may have been triggered by what another stream shares."""


def node_span(tracks: Sequence[StreamTrack]) -> tuple[int, int]:
    """First and last instant of a node's embeddings on its clock."""
    return (
        min(track.embeddings[0].t0_node_ns for track in tracks),
        max(track.embeddings[-1].end_node_ns for track in tracks),
    )
