"""Writes a recording with every stamp on the reference timeline (`coeval align --out`)."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from coeval.manifest import Manifest
from coeval.time import ClockLine
from coeval_edge.recording import Recording
from coeval_edge.rewrite import rewrite
from coeval_edge.time_map import correction

logger = logging.getLogger(__name__)

Segments = Sequence[tuple[int, ClockLine]]
"""Node time in ns from which each line holds, in time order."""


def write_aligned(
    recording: Recording,
    lines: Mapping[str, ClockLine | Segments],
    out: Path,
    *,
    reference: str,
) -> Recording:
    """Write a copy whose stamps are on the reference timeline.

    A node without a line (unsure, unrelated) is copied as it is and marked `"aligned": false`
    in the node's entry: its data is not lost, and nobody takes it for aligned. The copy states
    no truth: that of the original spoke of clocks that are no longer in it.

    Args:
        recording: what was aligned.
        lines: each node's clock against the reference (offset = node − reference), one line or
            one a segment where the clock jumped. The reference node needs none.
        out: folder of the copy; must not exist, or be empty.
        reference: the node whose clock is the timeline.

    Returns:
        The copy.

    Raises:
        BadRecording: no such node, a file is wrong, or `out` cannot be written.
    """
    maps = {}
    for node_id, line in lines.items():
        recording.manifest.streams_of(node_id)
        segments: Segments = [(0, line)] if isinstance(line, ClockLine) else line
        if node_id != reference and segments:
            maps[node_id] = correction(segments)

    def marked(manifest: Manifest) -> Manifest:
        nodes = {
            node.id: replace(
                node,
                extra=dict(node.extra) | {"aligned": node.id in maps or node.id == reference},
            )
            for node in manifest.nodes.values()
        }
        extra = dict(manifest.extra) | {"aligned_to": reference}
        return replace(manifest, nodes=nodes, truth=None, extra=extra)

    copy, num_held = rewrite(recording, out, maps=maps, edit=marked)
    for stream_id, num in num_held.items():
        logger.warning("stamps held in order stream=%s num=%d reason=jump", stream_id, num)
    return copy
