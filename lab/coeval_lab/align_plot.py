"""A picture of an alignment: every stream's activity before and after."""

from contextlib import suppress
from io import BytesIO
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from coeval.errors import CoevalError
from coeval.hops import HOP_NS
from coeval.lag import densify
from coeval.time import NodeNs
from coeval.tracks import StreamTrack
from coeval_lab.align import Alignment
from coeval_lab.colours import OF_MODALITY, UNKNOWN


def activity(track: StreamTrack) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Node time in s of each hop, and how much the embedding stands out, 0…1."""
    dense = densify(list(track.embeddings))
    times = (dense.first_hop + np.arange(len(dense.rows)) + 0.5) * HOP_NS * 1e-9
    strength = np.linalg.norm(dense.rows, axis=1).astype(np.float64)
    return times, np.clip(strength / (np.percentile(strength, 99) + 1e-9), 0, 1)


def plot_alignment(alignment: Alignment, path: Path) -> None:
    """Write the report as PNG: left as stamped, right on the reference timeline.

    Raises:
        CoevalError: it cannot be written; a file that was there is as it was.
    """
    estimate, tracks = alignment.estimate, [t for t in alignment.tracks if t.embeddings]
    figure = Figure(figsize=(13, 1.2 + 0.55 * max(len(tracks), 2)), layout="constrained")
    before, after = figure.subplots(1, 2, sharey=True)
    origin_s = min(track.embeddings[0].t0_node_ns for track in tracks) * 1e-9 if tracks else 0.0
    for row, track in enumerate(tracks):
        times, strength = activity(track)
        node = estimate.nodes.get(track.node)
        line = node.line if node else None
        is_placed = track.node == estimate.reference or line is not None
        colour = OF_MODALITY[track.modality] if is_placed else UNKNOWN
        before.fill_between(times - origin_s, row, row + 0.9 * strength, color=colour, lw=0)
        if line is not None:
            times = np.array([line.to_ref(NodeNs(round(t * 1e9))) * 1e-9 for t in times])
        if is_placed:
            after.fill_between(times - origin_s, row, row + 0.9 * strength, color=colour, lw=0)
        label = "reference" if track.node == estimate.reference else "no offset known"
        if line is not None and node is not None and node.ci95_ns is not None:
            label = f"{line.offset_ns * 1e-9:+.3f} s ± {node.ci95_ns * 1e-6:.1f} ms"
        after.text(1.01, row + 0.3, label, transform=after.get_yaxis_transform(), fontsize=8)
    names = [f"{track.node}/{track.stream}" for track in tracks]
    before.set_yticks(np.arange(len(tracks)) + 0.4, names, parse_math=False)
    before.set_title("as stamped by each node")
    after.set_title(f"on the timeline of {estimate.reference}", parse_math=False)
    for axes in (before, after):
        axes.set_xlabel("s")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", alpha=0.3)
    picture = BytesIO()
    figure.savefig(picture, format="png", dpi=130)
    write_whole(path, picture.getvalue())


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that appears under its name when it is complete, or not at all.

    Raises:
        CoevalError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as exc:
        raise CoevalError(f"{path}: cannot be written: {exc.strerror}") from exc
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
