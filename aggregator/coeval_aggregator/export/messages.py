"""A session as messages in the order of time: what MCAP and JSON lines are made of."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from coeval.interval import NORMAL_95
from coeval.time import NS_PER_S
from coeval_aggregator.export.content import Content
from coeval_aggregator.store.reading import RunRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Something at an instant."""

    t_ref_ns: int
    """When, on the timeline."""
    topic: str
    """About what: `/node/stream`, `/clock/node`, `/tick` or `/event`."""
    value: dict[str, Any]
    """What."""


def messages(content: Content) -> Iterator[Message]:
    """Everything with a place on the timeline, in its order."""
    sources = [
        *(embedding_messages(content, run) for run in content.runs()),
        clock_messages(content),
        told_messages("/tick", content.ticks()),
        told_messages("/event", content.events()),
    ]
    return heapq.merge(*sources, key=lambda message: message.t_ref_ns)


def embedding_messages(content: Content, run: RunRow) -> Iterator[Message]:
    """A run's embeddings; none where its clock is unknown."""
    topic = f"/{run.name}"
    for page in content.pages(run):
        if page.t_ref_ns is None or page.ci95_ns is None:
            return
        norms = np.linalg.norm(page.rows, axis=1)
        columns = (page.t_ref_ns, page.t_node_ns, page.ci95_ns, norms, page.rows)
        for t_ref_ns, t_node_ns, ci95_ns, norm, row in zip(
            *(column.tolist() for column in columns), strict=True
        ):
            value = {
                "t_ref_ns": t_ref_ns,
                "t_node_ns": t_node_ns,
                "ci95_s": ci95_ns / NS_PER_S,
                "norm": round(norm, 4),
                "embedding": row,
            }
            yield Message(t_ref_ns=t_ref_ns, topic=topic, value=value)


def clock_messages(content: Content) -> Iterator[Message]:
    """How good every clock was known, when."""
    for row in content.clocks():
        offset_ns, skew_ppb = row["offset_ns"], row["skew_ppb"]
        variance = row["var_offset_ns2"]
        value = {
            "t_ref_ns": row["t_ref_ns"],
            "status": row["status"],
            "offset_s": None if offset_ns is None else offset_ns / NS_PER_S,
            "skew_ppm": None if skew_ppb is None else skew_ppb * 1e-3,
            "ci95_s": None if variance is None else NORMAL_95 * variance**0.5 / NS_PER_S,
            "evidence": row["evidence"],
            "jumps": [{"at_s": at / NS_PER_S, "jump_s": by / NS_PER_S} for at, by in row["jumps"]],
        }
        yield Message(t_ref_ns=row["t_ref_ns"], topic=f"/clock/{row['node']}", value=value)


def told_messages(topic: str, rows: Iterator[dict[str, Any]]) -> Iterator[Message]:
    """Ticks or events that have a place on the timeline."""
    for row in rows:
        if row["t_ref_ns"] is not None:
            yield Message(t_ref_ns=row["t_ref_ns"], topic=topic, value=row)
