"""A session as a `coeval-recording/1`: what `coeval align` and `coeval import` read.

The store has no pictures and no sound: every stream is a table of its embeddings on its node's own
clock, and says under `embedding` what it was made of. What nodes measured of their clocks goes into
their evidence files, so that `coeval align` can estimate anew.
"""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from coeval.errors import BadBlock
from coeval.evidence import SERVER
from coeval.evidence_wire import (
    EdgeSample,
    ExchangeSample,
    PpsSample,
    TimeSample,
    decode_evidence,
)
from coeval.manifest import Manifest, NodeSpec, StreamSpec, manifest_to_json
from coeval.time import NS_PER_S
from coeval_aggregator.export.content import Content
from coeval_aggregator.store.reading import RunRow

EVIDENCE = {
    "pps": ("t_node", "t_ref", "sigma_s"),
    "exchange": ("t1", "t2", "t3", "t4"),
    "edges": ("t", "line"),
}


def write(content: Content, folder: Path) -> None:
    """Write the recording into an existing, empty folder.

    Raises:
        OSError: the disk refuses.
    """
    runs = content.runs()
    ids = node_ids(content, runs)
    streams = [write_stream(content, run, ids[run.node, run.boot], folder) for run in runs]
    evidence = write_evidence(content, ids, folder)
    reference = None if content.timeline is None else content.timeline.reference
    names = sorted(ids.values(), key=lambda name: (name != reference, name))
    manifest = Manifest(
        name=content.session.name,
        licence=None,
        source=f"a session of a Coeval store, {content.session.name}",
        nodes={name: NodeSpec(id=name, evidence=evidence.get(name, {})) for name in names},
        streams=tuple(streams),
        truth=None,
        extra={"session": content.session.name},
    )
    text = json.dumps(manifest_to_json(manifest), indent=1)
    (folder / "recording.json").write_text(text + "\n", encoding="utf-8")


def node_ids(content: Content, runs: Sequence[RunRow]) -> dict[tuple[str, str], str]:
    """A node a run of a clock: two runs of one device have two clocks. The newest has the name."""
    boots: dict[str, list[str]] = {}
    for run in sorted(runs, key=lambda run: -run.began_utc_ns):
        known = boots.setdefault(run.node, [])
        if run.boot not in known:
            known.append(run.boot)
    timeline = content.timeline
    if timeline is not None and timeline.boot in boots.get(timeline.reference, []):
        own = boots[timeline.reference]
        own.remove(timeline.boot)
        own.insert(0, timeline.boot)
    return {
        (node, boot): node if k == 0 else f"{node}~{k + 1}"
        for node, known in boots.items()
        for k, boot in enumerate(known)
    }


def write_stream(content: Content, run: RunRow, node: str, folder: Path) -> StreamSpec:
    """One stream's embeddings as a table."""
    stream_id = f"{node}-{run.stream}"
    file = f"stream-{run.id}.csv"
    with (folder / file).open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["t", *(f"e{k}" for k in range(run.dim or 0))])
        for page in content.pages(run):
            for t_ns, row in zip(page.t_node_ns.tolist(), page.rows.tolist(), strict=True):
                writer.writerow([seconds(t_ns), *(f"{value:.6g}" for value in row)])
    made_of = {
        "stream": run.stream,
        "modality": run.modality,
        "hop_ns": run.hop_ns,
        "descriptor": run.descriptor,
    }
    return StreamSpec(
        id=stream_id,
        node=node,
        modality="metadata",
        file=file,
        units="1",
        extra={"embedding": made_of},
    )


def write_evidence(
    content: Content, ids: Mapping[tuple[str, str], str], folder: Path
) -> dict[str, dict[str, str]]:
    """The evidence files of every node; their names by node and kind."""
    files: dict[str, dict[str, str]] = {}
    with ExitStack() as stack:
        writers: dict[tuple[str, str], Any] = {}
        for node, kind, row in evidence_rows(content, ids):
            if (node, kind) not in writers:
                number = list(ids.values()).index(node)
                files.setdefault(node, {})[kind] = f"{kind}-{number}.csv"
                path = folder / files[node][kind]
                out = stack.enter_context(path.open("w", encoding="utf-8", newline=""))
                writers[node, kind] = csv.writer(out)
                writers[node, kind].writerow(EVIDENCE[kind])
            writers[node, kind].writerow(row)
    return files


def evidence_rows(
    content: Content, ids: Mapping[tuple[str, str], str]
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Node, kind and row of all evidence that a file can hold.

    Statements of time services and exchanges between two nodes have no file.
    """
    for node, boot, payload in content.reader.evidence(content.session):
        node_id = ids.get((node, boot))
        if node_id is None:
            continue
        try:
            samples: Iterable[TimeSample] = decode_evidence(payload, where="stored").samples
        except BadBlock:  # of a version that knew more
            continue
        for sample in samples:
            match sample:
                case PpsSample():
                    times = seconds(sample.t_node_ns), seconds(sample.t_utc_ns)
                    yield node_id, "pps", (*times, f"{sample.sigma_ns / NS_PER_S:.3g}")
                case ExchangeSample(other=other) if other == SERVER:
                    each = sample.exchange
                    times4 = (each.t1_ns, each.t2_ns, each.t3_ns, each.t4_ns)
                    yield node_id, "exchange", tuple(map(seconds, times4))
                case EdgeSample():
                    yield node_id, "edges", (seconds(sample.t_node_ns), sample.line)


def seconds(t_ns: int) -> str:
    """Nanoseconds as seconds in text, exactly."""
    whole, part = divmod(abs(t_ns), NS_PER_S)
    return f"{'-' if t_ns < 0 else ''}{whole}.{part:09d}"
