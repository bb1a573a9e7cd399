"""Replay of what a node measured of its clock while a recording was made.

The clock's injected error goes through the node's own stamps, and through nothing else: UTC and the
other end of an exchange are not on this node.
"""

from dataclasses import replace

from coeval.evidence_wire import (
    EdgeSample,
    ExchangeSample,
    PpsSample,
    StatementSample,
    TimeSample,
)
from coeval.time import ClockLine, NodeNs, RefNs
from coeval_edge.evidence_tables import read_time_samples
from coeval_edge.recording import Recording


class ReplayedEvidence:
    """Hands out a node's samples as their time comes."""

    def __init__(
        self, recording: Recording, node: str, clock: ClockLine, *, period_ns: int | None = None
    ) -> None:
        """Read the node's evidence files.

        Args:
            recording: an open recording.
            node: one of its nodes.
            clock: the error of the replayed clock.
            period_ns: length of a round where the replay loops; None: it ends.

        Raises:
            BadRecording: a file cannot be read.
        """
        by_kind = read_time_samples(recording, node)
        samples = [sample for measured in by_kind.values() for sample in measured]
        self._samples = sorted(samples, key=stamp_of)
        self._clock, self._period_ns = clock, period_ns
        self._next, self._shift_ns = 0, 0

    def due(self, now_node_ns: NodeNs) -> list[TimeSample]:
        """The samples whose time has come on the replayed clock, once each."""
        found: list[TimeSample] = []
        while self._next < len(self._samples):
            sample = restamp(self._samples[self._next], self._clock, shift_ns=self._shift_ns)
            if stamp_of(sample) > now_node_ns:
                break
            found.append(sample)
            self._next += 1
            if self._next == len(self._samples) and self._period_ns is not None:
                self._next, self._shift_ns = 0, self._shift_ns + self._period_ns
        return found


def stamp_of(sample: TimeSample) -> int:
    """The node's own stamp of a sample: when it was complete."""
    return sample.exchange.t4_ns if isinstance(sample, ExchangeSample) else sample.t_node_ns


def restamp(sample: TimeSample, clock: ClockLine, *, shift_ns: int) -> TimeSample:
    """A sample as a wrong clock would have stamped it, `shift_ns` later.

    Args:
        sample: stamped with the recording's clock.
        clock: the error; positive offset and skew: the node is fast.
        shift_ns: how much later it happens in this round of the replay.
    """

    def stamp(t_ns: int) -> int:
        return clock.to_node(RefNs(t_ns + shift_ns))

    match sample:
        case PpsSample() | StatementSample():
            return replace(
                sample, t_node_ns=stamp(sample.t_node_ns), t_utc_ns=sample.t_utc_ns + shift_ns
            )
        case EdgeSample():
            return replace(sample, t_node_ns=stamp(sample.t_node_ns))
        case ExchangeSample():
            times = sample.exchange
            return replace(
                sample,
                exchange=replace(
                    times,
                    t1_ns=stamp(times.t1_ns),
                    t2_ns=times.t2_ns + shift_ns,
                    t3_ns=times.t3_ns + shift_ns,
                    t4_ns=stamp(times.t4_ns),
                ),
            )
