"""`/activity`: how much happens in each stream at fixed instants of the timeline, for the eye.

A number an instant in place of an embedding: what the page draws of the past.
"""

from typing import Any

import numpy as np
import orjson

from coeval.samples import IntArray
from coeval_aggregator.api.aligned_page import AlignedPage
from coeval_aggregator.store.alignment import AlignedRows

DECIMALS = 3
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "session": {"type": "string"},
        "timeline": {"type": "object"},
        "step_s": {"type": "number"},
        "from_ns": {"type": "integer", "description": "the first instant, ns of the timeline"},
        "streams": {
            "type": "object",
            "description": "by node/stream",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "modality": {"type": ["string", "null"]},
                    "activity": {
                        "type": "array",
                        "items": {"type": ["number", "null"]},
                        "description": "distance of an instant's embedding from the one a step "
                        "before; null: one of the two is not there",
                    },
                    "offset_s": {
                        "type": "array",
                        "items": {"type": "array", "items": {"type": "number"}},
                        "description": "by which offset of its clock (node − timeline; positive: "
                        "fast) it was placed, to a millisecond: number of the instant, and the "
                        "offset from it on; as stamped, it was so much later",
                    },
                },
            },
        },
        "next": {"type": ["string", "null"], "description": "where the range goes on"},
    },
}


def moves(aligned: AlignedRows) -> list[float | None]:
    """How far each row is from the one before; of the first row none is told."""
    steps = np.linalg.norm(np.diff(aligned.rows, axis=0), axis=1).astype(np.float64)
    known = aligned.is_there[1:] & aligned.is_there[:-1]
    told: list[float | None] = np.round(np.where(known, steps, 0.0), DECIMALS).tolist()
    return [move if is_known else None for move, is_known in zip(told, known, strict=True)]


def offsets(aligned: AlignedRows, t_ref_ns: IntArray) -> list[tuple[int, float]]:
    """By which offsets a page's rows were placed: from which of its instants on, and how much, s.

    The first row is the one before the page.
    """
    there = np.flatnonzero(aligned.is_there[1:])
    offset_ms = np.rint((aligned.t_node_ns - t_ref_ns)[1:][there] / 1e6)
    changes = np.flatnonzero(np.diff(offset_ms, prepend=np.inf))
    return [(int(there[k]), float(offset_ms[k]) / 1e3) for k in changes]


def to_json(page: AlignedPage, *, following: str | None) -> bytes:
    """A page as JSON; the first row of each stream is the one before the page."""
    value = page.facts() | {
        "from_ns": int(page.t_ref_ns[1]),
        "streams": {
            name: {
                "modality": each.modality,
                "activity": moves(each),
                "offset_s": offsets(each, page.t_ref_ns),
            }
            for name, each in page.streams.items()
        },
        "next": following,
    }
    return orjson.dumps(value)
