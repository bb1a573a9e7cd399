"""A physically shifted copy of a recording: clocks that are wrong by a known amount.

Convention, for every function here: t_node = t + offset + skew·1e-6·(t − t_start), plus the
jump from t_start + jump_at on; t_start is the earliest stamp of the recording. Offset, skew and
jump are node − truth; positive: the node is fast.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from coeval.errors import BadConfig
from coeval.manifest import Manifest, NodeTruth, Truth, TruthJump
from coeval_edge.recording import Recording
from coeval_edge.recording_times import recording_start_ns
from coeval_edge.rewrite import rewrite
from coeval_edge.stamps import seconds_to_ns, to_text
from coeval_edge.time_map import TimeMap, TimePiece


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockError:
    """What to make a node's clock wrong by."""

    offset_s: float
    """At the recording's start; positive: the node is fast."""
    skew_ppm: float = 0.0
    """Rate minus one; positive: fast."""
    jump: TruthJump | None = None
    """A step forwards, if any."""

    def __post_init__(self) -> None:
        if not abs(self.skew_ppm) <= 10_000:
            raise BadConfig(f"skew must be within ±10 000 ppm, got {self.skew_ppm:g}")
        if not abs(self.offset_s) <= 1e9:
            raise BadConfig(f"offset must be within ±1e9 s, got {self.offset_s:g}")
        if self.jump is not None and not (self.jump.at_s >= 0 and 0 < self.jump.by_s <= 1e9):
            raise BadConfig(
                f"jump must be a positive number of seconds at a time from 0 on, got "
                f"{self.jump.by_s:g} at {self.jump.at_s:g}: a clock that steps back stamps two "
                "samples alike, which the format does not hold"
            )


def error_map(error: ClockError, *, start_ns: int) -> TimeMap:
    """The map from true time to what the wrong clock reads."""
    offset_ns = seconds_to_ns(error.offset_s)
    rate_error = error.skew_ppm * 1e-6
    first = TimePiece(
        from_ns=start_ns, in_ns=start_ns, out_ns=start_ns + offset_ns, rate_error=rate_error
    )
    if error.jump is None:
        return TimeMap(pieces=(first,))
    at_ns = start_ns + seconds_to_ns(error.jump.at_s)
    before_ns = TimeMap(pieces=(first,)).apply_one(at_ns)
    after_ns = before_ns + seconds_to_ns(error.jump.by_s)
    second = TimePiece(from_ns=at_ns, in_ns=at_ns, out_ns=after_ns, rate_error=rate_error)
    return TimeMap(pieces=(first, second))


def compose(
    known: NodeTruth, error: ClockError, *, start_s: float, error_start_s: float
) -> NodeTruth:
    """The error of a clock that was wrong already and is made wrong once more.

    Args:
        known: the error before; its offset holds at `start_s`.
        error: what is added, to the stamps as they were.
        start_s: true time at which offsets hold.
        error_start_s: stamp at which the added offset holds.
    """
    skew, added = known.skew_ppm * 1e-6, error.skew_ppm * 1e-6
    offset_s = known.offset_s + error.offset_s
    offset_s += added * (start_s - error_start_s + known.offset_s)
    jumps = [TruthJump(at_s=jump.at_s, by_s=jump.by_s * (1.0 + added)) for jump in known.jumps]
    if error.jump is not None:
        at_stamp_s = error_start_s + error.jump.at_s - start_s - known.offset_s
        at_s = at_stamp_s / (1.0 + skew)
        for jump in known.jumps:
            if at_s >= jump.at_s:
                at_s = max(at_s - jump.by_s / (1.0 + skew), jump.at_s)
        jumps.append(TruthJump(at_s=at_s, by_s=error.jump.by_s))
    return NodeTruth(
        offset_s=round(offset_s, 12),
        skew_ppm=known.skew_ppm + error.skew_ppm + known.skew_ppm * error.skew_ppm * 1e-6,
        jumps=tuple(sorted(jumps, key=lambda jump: jump.at_s)),
    )


def skewed_truth(truth: Truth | None, errors: Mapping[str, ClockError], *, start_ns: int) -> Truth:
    """What is known of the clocks after errors were added.

    Where nothing was known of a node, its error is what was added, `sigma_s` is unknown, and
    `how` says so.
    """
    start_s = float(to_text(start_ns))
    if truth is None:
        truth = Truth(nodes={}, sigma_s=None, how="no truth before")
    at_s = start_s if truth.start_s is None else truth.start_s
    nodes, sigma_s, notes = dict(truth.nodes), truth.sigma_s, [truth.how]
    for node_id, error in errors.items():
        note = f"{node_id} made wrong by {error.offset_s:+g} s, {error.skew_ppm:+g} ppm"
        if error.jump is not None:
            note += f", {error.jump.by_s:+g} s after {error.jump.at_s:g} s"
        known = nodes.get(node_id)
        if known is None:
            known, sigma_s = NodeTruth(offset_s=0.0, skew_ppm=0.0), None
            note += " (what it was wrong by before is unknown)"
        nodes[node_id] = compose(known, error, start_s=at_s, error_start_s=start_s)
        notes.append(note)
    how = "; ".join(note for note in notes if note)
    return replace(truth, nodes=nodes, sigma_s=sigma_s, how=how, start_s=at_s)


def skew_recording(
    recording: Recording, out: Path, *, errors: Mapping[str, ClockError]
) -> Recording:
    """Write a copy in which the clocks of some nodes are wrong by known amounts.

    Args:
        recording: what to copy.
        out: folder of the copy; must not exist, or be empty.
        errors: by node.

    Returns:
        The copy, its `truth` brought up to date.

    Raises:
        BadRecording: no such node, a file is wrong, or `out` cannot be written.
    """
    for node_id in errors:
        recording.manifest.streams_of(node_id)
    start_ns = recording_start_ns(recording)
    maps = {node: error_map(error, start_ns=start_ns) for node, error in errors.items()}

    def with_truth(manifest: Manifest) -> Manifest:
        truth = skewed_truth(manifest.truth, errors, start_ns=start_ns)
        return replace(manifest, truth=truth)

    copy, _ = rewrite(recording, out, maps=maps, edit=with_truth)
    return copy
