"""What is in a recording, counted by reading it all: what is shown is also known to be readable."""

from dataclasses import dataclass

from coeval.manifest import StreamSpec
from coeval.samples import MetadataBlock
from coeval.time import NS_PER_S
from coeval_edge.media import sound_pieces
from coeval_edge.recording import Recording
from coeval_edge.recording_samples import read_samples
from coeval_edge.recording_times import sound_clock
from coeval_edge.sound_clock import spans


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSummary:
    """One stream, counted."""

    stream: StreamSpec
    """The stream."""
    num_samples: int
    """Frames, stills, audio samples, readings or lines; at least one."""
    t_first_ns: int
    """Node time of the first sample."""
    t_last_ns: int
    """Node time of the last sample."""

    @property
    def rate_hz(self) -> float | None:
        """Mean rate; None where there is one sample, or all are of one time."""
        span_ns = self.t_last_ns - self.t_first_ns
        return (self.num_samples - 1) / span_ns * NS_PER_S if span_ns else None


def summarise(recording: Recording, stream: StreamSpec) -> StreamSummary:
    """Read a stream and count it.

    Raises:
        BadRecording: it is empty, or something in it is wrong.
    """
    if stream.modality == "audio":
        return _summarise_sound(recording, stream)
    num_samples, t_first_ns, t_last_ns = 0, 0, 0
    for sample in read_samples(recording, stream):
        if isinstance(sample, MetadataBlock):
            first_ns, last_ns = int(sample.t_node_ns[0]), int(sample.t_node_ns[-1])
        else:
            first_ns = last_ns = int(sample.t_node_ns)
        if not num_samples:
            t_first_ns = first_ns
        t_last_ns = last_ns
        num_samples += len(sample.values) if isinstance(sample, MetadataBlock) else 1
    return StreamSummary(
        stream=stream, num_samples=num_samples, t_first_ns=t_first_ns, t_last_ns=t_last_ns
    )


def _summarise_sound(recording: Recording, stream: StreamSpec) -> StreamSummary:
    path = recording.path(stream.file)
    _, clock = sound_clock(recording, stream)
    total = sum(len(piece) for piece in sound_pieces(path, where=str(path)))
    heard = [
        (piece, end)
        for piece, end in spans(clock, num_samples=total)
        if end is not None and end > piece.first_sample
    ]
    last_piece, last_end = heard[-1]
    return StreamSummary(
        stream=stream,
        num_samples=sum((end or 0) - piece.first_sample for piece, end in heard),
        t_first_ns=clock[0].t0_ns,
        t_last_ns=last_piece.t_ns((last_end or 1) - 1),
    )
