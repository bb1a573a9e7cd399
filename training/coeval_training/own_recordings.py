"""Recordings of one's own as training material: streams on one timeline, cut where they overlap."""

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coeval.errors import BadConfig, BadRecording
from coeval.features import make_extractor
from coeval.hops import HOP_NS, Hops
from coeval.samples import MetadataBlock, Sample, TextLine
from coeval.time import ClockLine, NodeNs
from coeval_edge.recording import MANIFEST_FILE, Recording, open_recording
from coeval_edge.recording_samples import read_samples
from coeval_training.data import SLOTS, StreamRows, longest, restamp
from coeval_training.known_clocks import Align, begin_ns, known_clocks
from coeval_training.material import Material

LEAST_HOPS = 200
"""Streams that overlap by less than 10 s teach nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRecording:
    """One recording, read."""

    name: str
    """Its name."""
    licence: str
    """Of its data."""
    material: Material
    """Rows of its streams on one timeline, by slot that could take them."""
    how: str
    """Where its clocks are known from."""
    left_out: dict[str, str]
    """By node, or `node/stream`: why it is not used."""


def find_recordings(folder: Path) -> list[Path]:
    """The recordings in a folder, at any depth, or the folder itself where it is one.

    Raises:
        BadConfig: there is none.
    """
    if not folder.exists():
        raise BadConfig(f"--recordings {folder}: no such folder")
    if (folder / MANIFEST_FILE).is_file():
        return [folder]
    # `rglob` does not follow links to folders, `*` does.
    manifests = {*folder.glob(f"*/{MANIFEST_FILE}"), *folder.rglob(MANIFEST_FILE)}
    found = sorted(path.parent for path in manifests)
    if not found:
        raise BadConfig(
            f"--recordings {folder}: expected folders with a {MANIFEST_FILE}, found none; "
            "make some with `coeval recording import`"
        )
    return found


def read_own(
    folder: Path, *, seed: int, say: Callable[[str], None], align: Align | None = None
) -> list[OwnRecording]:
    """Read every recording of a folder that can be learnt from; says which, which not, and why.

    Raises:
        BadConfig: none of them can.
    """
    usable: list[OwnRecording] = []
    for k, path in enumerate(find_recordings(folder)):
        try:
            own = read_one(open_recording(path), seed=seed + k, align=align)
        except BadRecording as exc:
            say(f"{path.name}: not used: {exc}")
            continue
        num_streams = len({id(rows) for streams in own.material.values() for rows in streams})
        for name, why in own.left_out.items():
            say(f"{own.name}: {name} not used: {why}")
        if not own.material:
            say(f"{own.name}: not used: no two streams of different kinds overlap by 10 s")
            continue
        say(f"{own.name}: {num_streams} streams used, synchronous by {own.how}")
        usable.append(own)
    if not usable:
        raise BadConfig(f"--recordings {folder}: none of the recordings can be learnt from")
    return usable


def read_one(recording: Recording, *, seed: int, align: Align | None = None) -> OwnRecording:
    """Rows of a recording's streams on its timeline.

    Raises:
        BadRecording: a stream cannot be read.
    """
    manifest = recording.manifest
    clocks = known_clocks(recording, align=align)
    rng = np.random.default_rng([seed, 17])
    left_out = dict(clocks.left_out)
    found: list[tuple[str, StreamRows]] = []
    for stream in manifest.streams:
        if stream.node not in clocks.lines:
            continue
        phase_ns = int(rng.integers(0, HOP_NS))
        extractor = make_extractor(stream.modality)
        parts: list[Hops] = []
        for sample in on_timeline(
            read_samples(recording, stream),
            clocks.lines[stream.node],
            until_ref_ns=clocks.until_ref_ns.get(stream.node),
        ):
            parts += extractor.push(restamp(sample, phase_ns))
        parts += extractor.flush()
        run = longest(parts) if parts else None
        if run is None or len(run.rows) < LEAST_HOPS:
            left_out[f"{stream.node}/{stream.id}"] = "shorter than 10 s without a gap"
            continue
        start_hops = (run.t0_node_ns - phase_ns) / HOP_NS
        found.append((stream.modality, StreamRows(start_hops=start_hops, rows=run.rows)))
    found = [
        (modality, rows)
        for modality, rows in found
        if any(overlap_hops(rows, other) >= LEAST_HOPS for _, other in found if other is not rows)
    ]
    material: Material = {}
    for slot, modality in SLOTS.items():
        rows_of_slot = [rows for kind, rows in found if kind == modality]
        if rows_of_slot:
            material[slot] = rows_of_slot
    if not has_pair(material):  # two sounds, say: none that training knows
        material = {}
    return OwnRecording(
        name=manifest.name,
        licence=manifest.licence or "not stated",
        material=material,
        how=clocks.how,
        left_out=left_out,
    )


def on_timeline(
    samples: Iterator[Sample], line: ClockLine, *, until_ref_ns: int | None
) -> Iterator[Sample]:
    """Samples with the instants of the timeline in place of their node's, until its clock steps."""
    for sample in samples:
        if until_ref_ns is not None and line.to_ref(NodeNs(begin_ns(sample))) >= until_ref_ns:
            return
        if isinstance(sample, MetadataBlock):
            at_ns = sample.t_node_ns
            away_ns = np.rint((at_ns - at_ns[0]) * (line.skew_ppb * 1e-9)).astype(np.int64)
            moved_ns = at_ns - at_ns[0] - away_ns + int(line.to_ref(NodeNs(int(at_ns[0]))))
            kept = slice(None)
            if until_ref_ns is not None:
                kept = slice(int(np.searchsorted(moved_ns, until_ref_ns)))
            yield MetadataBlock(t_node_ns=moved_ns[kept], values=sample.values[kept])
            continue
        begin = NodeNs(int(line.to_ref(sample.t_node_ns)))
        if isinstance(sample, TextLine):
            end = sample.t_end_node_ns
            yield dataclasses.replace(
                sample,
                t_node_ns=begin,
                t_end_node_ns=None if end is None else NodeNs(int(line.to_ref(end))),
            )
            continue
        yield dataclasses.replace(sample, t_node_ns=begin)


def overlap_hops(a: StreamRows, b: StreamRows) -> float:
    """Time in which both streams are, in hops."""
    begin = max(a.start_hops, b.start_hops)
    return min(a.start_hops + len(a.rows), b.start_hops + len(b.rows)) - begin


def has_partner(material: Material, slot: str, rows: StreamRows) -> bool:
    """Whether a stream of another slot overlaps one of this slot by enough to be learnt from."""
    return any(
        other is not rows and overlap_hops(rows, other) >= LEAST_HOPS
        for name, streams in material.items()
        if name != slot
        for other in streams
    )


def has_pair(material: Material) -> bool:
    """Whether there are two streams that can be learnt from together."""
    return any(
        has_partner(material, slot, rows) for slot, streams in material.items() for rows in streams
    )


def draw_own_scene(
    material: Material, rng: np.random.Generator, *, longest_hops: int
) -> dict[str, StreamRows]:
    """One scene of a recording: for each slot another stream, all cut to about the same time.

    Args:
        material: of one recording, with a pair (`has_pair`).
        rng: draws streams and time.
        longest_hops: length of the scene.
    """
    scene: dict[str, StreamRows] = {}
    for slot in rng.permutation(list(material)):
        taken = list(scene.values())
        free = [
            rows
            for rows in material[slot]
            if not any(rows is other for other in taken)
            and (
                overlap_hops(rows, taken[0]) >= LEAST_HOPS
                if taken
                else has_partner(material, slot, rows)
            )
        ]
        if free:
            scene[str(slot)] = free[rng.integers(len(free))]
    begin = max(rows.start_hops for rows in scene.values())
    end = min(rows.start_hops + len(rows.rows) for rows in scene.values())
    if end - begin < LEAST_HOPS:  # all overlap the first, but not each other
        (first, one), (second, other) = list(scene.items())[:2]
        scene = {first: one, second: other}
        begin = max(one.start_hops, other.start_hops)
        end = min(rows.start_hops + len(rows.rows) for rows in scene.values())
    at = begin + rng.uniform(0, max(end - begin - longest_hops, 0))
    cut: dict[str, StreamRows] = {}
    for slot, rows in scene.items():
        first_row = max(int(at - rows.start_hops), 0)
        cut[slot] = StreamRows(
            start_hops=rows.start_hops + first_row,
            rows=rows.rows[first_row : first_row + longest_hops],
        )
    return cut
