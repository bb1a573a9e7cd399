"""`/aligned`: streams side by side at fixed instants of the timeline, as JSON or as Arrow."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from coeval_aggregator.api.aligned_page import AlignedPage
from coeval_aggregator.export.tables import SIGN
from coeval_aggregator.store.alignment import AlignedRows

ARROW = "application/vnd.apache.arrow.stream"
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "session": {"type": "string"},
        "timeline": {
            "type": "object",
            "properties": {
                "number": {"type": "integer"},
                "reference": {"type": "string"},
                "boot": {"type": "string"},
            },
        },
        "step_s": {"type": "number"},
        "t_ref_ns": {
            "type": "array",
            "items": {"type": "integer"},
            "description": "instants of the timeline, ns",
        },
        "streams": {
            "type": "object",
            "description": "by node/stream",
            "additionalProperties": {
                "type": "object",
                "properties": {
                    "modality": {"type": ["string", "null"]},
                    "ci95_s": {
                        "type": ["number", "null"],
                        "description": "widest 95 % half-width of the clock here; null: unknown",
                    },
                    "rows": {
                        "type": "array",
                        "description": "one embedding an instant; null: none",
                        "items": {"type": ["array", "null"], "items": {"type": "number"}},
                    },
                },
            },
        },
        "next": {"type": ["string", "null"], "description": "where the range goes on"},
    },
}


def to_json(page: AlignedPage, *, following: str | None) -> bytes:
    """A page as JSON."""
    value = page.facts() | {
        "t_ref_ns": page.t_ref_ns,
        "streams": {
            name: {
                "modality": each.modality,
                "ci95_s": each.ci95_s,
                "rows": rows_to_json(each),
            }
            for name, each in page.streams.items()
        },
        "next": following,
    }
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def rows_to_json(aligned: AlignedRows) -> Any:
    """Rows, None where there is none."""
    if aligned.is_there.all() and len(aligned.rows):
        return np.ascontiguousarray(aligned.rows)
    there = aligned.is_there.tolist()
    return [row if is_there else None for row, is_there in zip(aligned.rows, there, strict=True)]


def to_arrow(page: AlignedPage) -> bytes:
    """A page as an Arrow stream: a column of instants, and one a stream."""
    fields = [pa.field("t_ref_ns", pa.int64(), metadata={"unit": "ns"})]
    columns: list[pa.Array] = [pa.array(page.t_ref_ns)]
    for name, each in page.streams.items():
        dim = each.rows.shape[1]
        kind = pa.list_(pa.float32(), dim)
        facts = {"unit": "1", "modality": each.modality or ""}
        if each.ci95_s is not None:
            facts["ci95_s"] = repr(each.ci95_s)
        fields.append(pa.field(name, kind, metadata=facts))
        flat = pa.array(np.ascontiguousarray(each.rows).ravel())
        columns.append(pa.FixedSizeListArray.from_arrays(flat, dim, mask=pa.array(~each.is_there)))
    facts = {
        "coeval.session": page.session.name,
        "coeval.reference": page.timeline.reference,
        "coeval.sign": SIGN,
    }
    schema = pa.schema(fields, metadata=facts)
    return stream_of(schema, [pa.RecordBatch.from_arrays(columns, schema=schema)])


def stream_of(schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> bytes:
    """Batches as an Arrow stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()
