"""What is known of the clocks of a recording of one's own: the labels of training without labels.

Streams of one node share its clock. Those of several are as synchronous as the recording's truth
says; without one that is sure enough `coeval align` is asked, and only nodes that it locked are
used.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coeval.samples import MetadataBlock, Sample
from coeval.time import NS_PER_S, ClockLine, RefNs
from coeval_edge.recording import Recording
from coeval_edge.recording_samples import read_samples

MOST_SIGMA_S = 0.05
"""A truth, or half an interval's width, that is less sure teaches wrong lags: a hop is 50 ms."""

Align = Callable[[Path], Mapping[str, Any] | str]
"""From a recording's folder to what `coeval align --json` prints, or why it prints nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownClocks:
    """Which nodes of a recording can be learnt from, and which not."""

    lines: Mapping[str, ClockLine]
    """By node: offset = node − reference, positive: fast; at least one."""
    until_ref_ns: Mapping[str, int]
    """By node whose clock stepped: the first step, up to which its line holds."""
    how: str
    """Where this is known from."""
    left_out: Mapping[str, str]
    """By node that cannot be used: why."""


def known_clocks(recording: Recording, *, align: Align | None = None) -> KnownClocks:
    """Find out which clocks of a recording are known.

    Args:
        recording: an open recording.
        align: asks `coeval align`; None: by running it.

    Raises:
        BadRecording: a stream cannot be read.
    """
    manifest = recording.manifest
    nodes = [node for node in manifest.nodes if manifest.streams_of(node)]
    if len(nodes) == 1:
        return KnownClocks(
            lines={nodes[0]: line_of(RefNs(0), 0.0, 0.0)},
            until_ref_ns={},
            how="one node, one clock",
            left_out={},
        )
    truth = manifest.truth
    if truth is not None and truth.sigma_s is not None and truth.sigma_s <= MOST_SIGMA_S:
        return by_truth(recording, nodes)
    reference = nodes[0]
    answer = (align or run_align)(recording.root)
    if isinstance(answer, str):
        return only(reference, nodes, how="coeval align", why=f"coeval align: {answer}")
    return by_alignment(recording, nodes, answer)


def line_of(t0_ref_ns: RefNs, offset_s: float, skew_ppm: float) -> ClockLine:
    """A clock that is so wrong at an instant."""
    return ClockLine(t0_ref_ns=t0_ref_ns, offset_ns=offset_s * NS_PER_S, skew_ppb=skew_ppm * 1e3)


def only(reference: str, nodes: list[str], *, how: str, why: str) -> KnownClocks:
    """The reference alone: the others cannot be used."""
    return KnownClocks(
        lines={reference: line_of(RefNs(0), 0.0, 0.0)},
        until_ref_ns={},
        how=how,
        left_out={node: why for node in nodes if node != reference},
    )


def by_truth(recording: Recording, nodes: list[str]) -> KnownClocks:
    """Clocks as the recording's `truth` states them."""
    truth = recording.manifest.truth
    assert truth is not None
    start_ns = (
        min(first_ns(recording, node) for node in nodes)
        if truth.start_s is None
        else round(truth.start_s * NS_PER_S)
    )
    known = {node: told for node in nodes if (told := truth.nodes.get(node)) is not None}
    return KnownClocks(
        lines={
            node: line_of(RefNs(start_ns), told.offset_s, told.skew_ppm)
            for node, told in known.items()
        },
        until_ref_ns={
            node: start_ns + round(told.jumps[0].at_s * NS_PER_S)
            for node, told in known.items()
            if told.jumps
        },
        how=f"the recording's truth ({truth.how})",
        left_out={node: "the truth does not name it" for node in nodes if node not in known},
    )


def by_alignment(recording: Recording, nodes: list[str], answer: Mapping[str, Any]) -> KnownClocks:
    """Clocks as `coeval align --json` states them."""
    reference = str(answer["reference"])
    t0_ns = RefNs(first_ns(recording, reference))
    lines = {reference: line_of(t0_ns, 0.0, 0.0)}
    until_ref_ns: dict[str, int] = {}
    left_out: dict[str, str] = {}
    for node, told in answer["nodes"].items():
        if node not in nodes:
            continue
        if told["status"] != "locked":
            left_out[node] = f"coeval align says {told['status']}"
        elif told["ci95_s"] is None or told["ci95_s"] > 2 * MOST_SIGMA_S:
            left_out[node] = f"coeval align is sure of it to {told['ci95_s']} s only"
        else:
            lines[node] = line_of(t0_ns, told["offset_s"], told["skew_ppm"])
            if told["jumps"]:
                until_ref_ns[node] = round(told["jumps"][0]["at_s"] * NS_PER_S)
    return KnownClocks(
        lines=lines, until_ref_ns=until_ref_ns, how="coeval align", left_out=left_out
    )


def first_ns(recording: Recording, node: str) -> int:
    """The first stamp of a node.

    Raises:
        BadRecording: a stream cannot be read.
    """
    firsts = []
    for stream in recording.manifest.streams_of(node):
        sample = next(iter(read_samples(recording, stream)), None)
        if sample is not None:
            firsts.append(begin_ns(sample))
    return min(firsts, default=0)


def begin_ns(sample: Sample) -> int:
    """The first instant of a sample."""
    return int(sample.t_node_ns[0] if isinstance(sample, MetadataBlock) else sample.t_node_ns)


def run_align(folder: Path) -> Mapping[str, Any] | str:
    """Run `coeval align --json` on a recording, as a user would: training knows no aligner."""
    command = "import sys; from coeval.cli import main; sys.argv[0] = 'coeval'; main()"
    done = subprocess.run(
        [sys.executable, "-c", command, "align", str(folder), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return lines[-1] if lines else f"failed with {done.returncode}"
    answer: Mapping[str, Any] = json.loads(done.stdout)
    return answer
