"""Rows about the relevance filter: faults found, how late, what is marked that should not be."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from coeval.relevance import Relevance, RelevanceWatch, Stretch
from coeval.samples import Modality, Sample
from coeval.time import NS_PER_S
from coeval_edge.recording import open_recording
from coeval_edge.recording_samples import read_samples
from coeval_edge.replay import PIECE_NS, pieces
from coeval_lab.bench.relevance_faults import FAULTS, Fault, first_ns
from coeval_lab.bench.rows import Row
from coeval_training.data import FIRST_HELD_OUT_SEED, SLOTS
from coeval_training.material import TRAINED_ON
from coeval_training.scenes import generate_scene

SCENE_S = 180.0
FAULT_S = 90.0
EDGE_NS = NS_PER_S
"""A mark within a second of a fault's edges is no false one: sound is judged by halves of one."""
MOST_SCENES = 40
FIRST_SEED = FIRST_HELD_OUT_SEED + 400_000


class RelevancePlan(Protocol):
    """How much is measured."""

    @property
    def recordings(self) -> Path:
        """Folder of real recordings."""

    @property
    def num_scenes(self) -> int:
        """Generated scenes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What the filter made of one stream with one fault."""

    delay_s: float | None
    """From the fault's begin until it was marked; None: it was not."""
    return_s: float | None
    """From its end until the stream was relevant again."""
    named: bool
    """Whether it was given the right name."""
    false_s: float
    """Marked time outside the fault."""


def watched(
    samples: Sequence[Sample], modality: Modality
) -> tuple[list[Stretch], list[tuple[int, str]]]:
    """The spans that are marked, and when each change became known; samples as a node has them."""
    watch = RelevanceWatch(modality)
    changes: list[Relevance] = []
    last_ns = first_ns(samples[0])
    for sample in samples:
        for t_ns in range(last_ns, first_ns(sample), PIECE_NS):
            changes += watch.advance(t_ns)
        for piece in pieces(sample):
            changes += watch.push(piece)
        last_ns = first_ns(sample)
    return watch.finish(), [(change.t_node_ns, change.state) for change in changes]


def outside_s(stretches: Sequence[Stretch], span: tuple[int, int]) -> float:
    """Marked seconds outside a span."""
    total = 0
    for stretch in stretches:
        marked = stretch.end_node_ns - stretch.start_node_ns
        inside = min(stretch.end_node_ns, span[1]) - max(stretch.start_node_ns, span[0])
        total += marked - max(inside, 0)
    return total / NS_PER_S


def one_fault(
    fault: Fault, samples: Sequence[Sample], natural: Sequence[Stretch], *, seed: int
) -> Found:
    """What becomes of a scene's stream with a fault in its middle.

    Args:
        fault: the fault.
        samples: the stream without it.
        natural: what of that is marked; it counts as no false mark here, and is listed by itself.
        seed: the scene's.
    """
    rng = np.random.default_rng([seed, 41])
    begin = round(rng.uniform(30, SCENE_S - FAULT_S - 20) * NS_PER_S)
    span = (begin, begin + round(FAULT_S * NS_PER_S))
    stretches, known = watched(list(fault.put(samples, span, rng)), SLOTS[fault.slot])
    hits = [s for s in stretches if min(s.end_node_ns, span[1]) - max(s.start_node_ns, span[0]) > 0]
    marks = [t for t, state in known if state == "irrelevant" and span[0] < t <= span[1] + EDGE_NS]
    returns = [t for t, state in known if state == "relevant" and t >= span[1] - EDGE_NS]
    edge = (span[0] - 2 * EDGE_NS, span[1] + 2 * EDGE_NS)
    return Found(
        delay_s=(marks[0] - span[0]) / NS_PER_S if marks else None,
        return_s=(returns[0] - span[1]) / NS_PER_S if marks and returns else None,
        named=any(stretch.reason == fault.reason for stretch in hits),
        false_s=max(outside_s(stretches, edge) - outside_s(natural, edge), 0.0),
    )


def scene_rows(seeds: Sequence[int]) -> Iterator[Row]:
    """Rows of generated scenes: one a fault, and one a stream without any."""
    for slot, modality in SLOTS.items():
        faults = [fault for fault in FAULTS if fault.slot == slot]
        found: dict[str, list[Found]] = {fault.name: [] for fault in faults}
        marked: list[str] = []
        num_streams, marked_s = 0, 0.0
        for seed in seeds:
            samples = list(generate_scene(seed, duration_s=SCENE_S).render(slot))
            if not samples:
                continue
            num_streams += 1
            natural, _ = watched(samples, modality)
            marked += [f"{seed}: {described(stretch)}" for stretch in natural]
            marked_s += outside_s(natural, (0, 0))
            for fault in faults:
                found[fault.name].append(one_fault(fault, samples, natural, seed=seed))
        for fault in faults:
            yield fault_row(fault, found[fault.name])
        yield {
            "kind": "relevance",
            "stream": slot,
            "fault": "none",
            "source": f"held-out scenes, {SCENE_S:.0f} s",
            "trials": num_streams,
            "hours": round(num_streams * SCENE_S / 3600, 2),
            "marked": len(marked),
            "marked_s": round(marked_s, 1),
            "note": "; ".join(marked),
        }


def fault_row(fault: Fault, found: Sequence[Found]) -> Row:
    """One line of the table."""
    delays = [one.delay_s for one in found if one.delay_s is not None]
    returns = [one.return_s for one in found if one.return_s is not None]
    return {
        "kind": "relevance",
        "stream": fault.slot,
        "fault": fault.name,
        "reason": fault.reason,
        "source": f"held-out scenes, {SCENE_S:.0f} s, fault of {FAULT_S:.0f} s",
        "trials": len(found),
        "found": share(len(delays), len(found)),
        "named": share(sum(one.named for one in found), len(found)),
        "delay_s": None if not delays else round(float(np.median(delays)), 1),
        "latest_s": None if not delays else round(max(delays), 1),
        "return_s": None if not returns else round(max(returns), 2),
        "false_s": round(sum(one.false_s for one in found), 1),
    }


def described(stretch: Stretch) -> str:
    """A span for people."""
    begin, end = stretch.start_node_ns / NS_PER_S, stretch.end_node_ns / NS_PER_S
    return f"{stretch.reason} {begin:.0f}–{end:.0f} s"


def recording_rows(folder: Path) -> Iterator[Row]:
    """One row for all held-out recordings, and one for each that is marked anywhere."""
    num_streams, total_s = 0, 0.0
    marked: list[Row] = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name in TRAINED_ON or not (path / "recording.json").exists():
            continue
        recording = open_recording(path)
        for stream in recording.manifest.streams:
            samples = list(read_samples(recording, stream))
            stretches, _ = watched(samples, stream.modality)
            num_streams += 1
            total_s += (first_ns(samples[-1]) - first_ns(samples[0])) / NS_PER_S
            if stretches:
                marked.append(
                    {
                        "kind": "relevance",
                        "stream": f"{path.name}/{stream.id}",
                        "fault": "none injected",
                        "source": "held-out recording",
                        "note": "; ".join(map(described, stretches)),
                    }
                )
    if num_streams:
        yield {
            "kind": "relevance",
            "stream": "all",
            "fault": "none injected",
            "source": "held-out recordings",
            "trials": num_streams,
            "hours": round(total_s / 3600, 2),
            "marked": len(marked),
        }
    yield from marked


def relevance_rows(plan: RelevancePlan, *, first_seed: int = FIRST_SEED) -> Iterator[Row]:
    """All rows about the relevance filter."""
    yield from scene_rows([first_seed + k for k in range(min(plan.num_scenes, MOST_SCENES))])
    yield from recording_rows(plan.recordings)


def share(part: int, whole: int) -> float | None:
    """A share in %; None of nothing."""
    return round(100.0 * part / whole, 1) if whole else None
