"""Arrow tables of a session, with units in their metadata: what Parquet files and the API hold."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from coeval_aggregator.export.content import Content, Page
from coeval_aggregator.store.reading import RunRow

SIGN = "offset = node - reference; positive: the node is fast"


def unit(name: str, kind: pa.DataType, unit_name: str, what: str) -> pa.Field:
    """A column that says its unit and what it is."""
    return pa.field(name, kind, metadata={"unit": unit_name, "description": what})


def facts_of(content: Content) -> dict[str, str]:
    """What is said of a whole file."""
    timeline = content.timeline
    return {
        "coeval.session": content.session.name,
        "coeval.timeline": json.dumps(
            None
            if timeline is None
            else {"number": timeline.id, "reference": timeline.reference, "boot": timeline.boot}
        ),
        "coeval.sign": SIGN,
    }


def embedding_schema(content: Content, runs: Sequence[RunRow]) -> pa.Schema:
    """Columns of embeddings."""
    dims = {run.dim for run in runs}
    vector = pa.list_(pa.float32(), dims.pop() or -1) if len(dims) == 1 else pa.list_(pa.float32())
    fields = [
        pa.field("node", pa.dictionary(pa.int32(), pa.string())),
        pa.field("stream", pa.dictionary(pa.int32(), pa.string())),
        pa.field("modality", pa.dictionary(pa.int32(), pa.string())),
        pa.field("boot", pa.dictionary(pa.int32(), pa.string())),
        unit("t_ref_ns", pa.int64(), "ns", "beginning of the hop on the timeline; null: unknown"),
        unit("ci95_ns", pa.float64(), "ns", "half-width of the 95 % interval of t_ref_ns"),
        unit("t_node_ns", pa.int64(), "ns", "beginning of the hop on the node's own clock"),
        unit("embedding", vector, "1", "what the encoder made of the hop"),
    ]
    descriptors = {run.name: run.descriptor for run in runs}
    facts = facts_of(content) | {"coeval.streams": json.dumps(descriptors)}
    return pa.schema(fields, metadata=facts)


def embedding_batch(schema: pa.Schema, run: RunRow, page: Page) -> pa.RecordBatch:
    """One page of a run."""
    num = len(page.rows)
    index = pa.array(np.zeros(num, np.int32))
    names = [
        pa.DictionaryArray.from_arrays(index, pa.array([name], pa.string()))
        for name in (run.node, run.stream, run.modality, run.boot)
    ]
    nothing = pa.nulls(num)
    vector = schema.field("embedding").type
    flat = pa.array(page.rows.astype(np.float32, copy=False).ravel())
    if pa.types.is_fixed_size_list(vector):
        vectors: pa.Array = pa.FixedSizeListArray.from_arrays(flat, vector.list_size)
    else:
        offsets = np.arange(num + 1, dtype=np.int32) * page.rows.shape[1]
        vectors = pa.ListArray.from_arrays(pa.array(offsets), flat)
    columns = [
        *names,
        nothing.cast(pa.int64()) if page.t_ref_ns is None else pa.array(page.t_ref_ns),
        nothing.cast(pa.float64()) if page.ci95_ns is None else pa.array(page.ci95_ns),
        pa.array(page.t_node_ns),
        vectors,
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def clock_schema(content: Content) -> pa.Schema:
    """Columns of the history of the clocks."""
    real, whole = pa.float64(), pa.int64()
    return pa.schema(
        [
            pa.field("node", pa.string()),
            pa.field("boot", pa.string()),
            unit("t_ref_ns", whole, "ns", "instant of the timeline at which the offset holds"),
            unit("stated_utc_ns", whole, "ns", "when it was estimated, UTC"),
            pa.field("status", pa.string()),
            unit("covers_from_ns", whole, "ns", "where its material begins, on the timeline"),
            unit("offset_ns", real, "ns", SIGN + "; null: unknown"),
            unit("skew_ppb", real, "ppb", "rate of the node minus one; positive: fast"),
            unit("var_offset_ns2", real, "ns^2", "variance of the offset"),
            unit("cov_offset_skew", real, "ns ppb", "covariance of offset and skew"),
            unit("var_skew_ppb2", real, "ppb^2", "variance of the skew"),
            unit("jumps", pa.string(), "ns", "JSON: [t_ref_ns, change of the offset] of each step"),
            pa.field("evidence", pa.list_(pa.string())),
        ],
        metadata=facts_of(content),
    )


def clock_batch(schema: pa.Schema, rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """Rows of the history."""
    return pa.RecordBatch.from_pylist(
        [row | {"jumps": json.dumps(row["jumps"])} for row in rows], schema=schema
    )


def told_schema(content: Content) -> pa.Schema:
    """Columns of ticks and events: when, and the message as JSON."""
    return pa.schema(
        [
            unit("t_ref_ns", pa.int64(), "ns", "instant of the timeline; null: unknown"),
            pa.field("kind", pa.string()),
            pa.field("node", pa.string()),
            unit("anomaly", pa.float64(), "1", "anomaly score of a tick; null: not computed"),
            pa.field("message", pa.string()),
        ],
        metadata=facts_of(content),
    )


def told_batch(schema: pa.Schema, rows: Sequence[dict[str, Any]]) -> pa.RecordBatch:
    """Ticks or events."""
    return pa.RecordBatch.from_pylist(
        [
            {
                "t_ref_ns": row["t_ref_ns"],
                "kind": row.get("event", "tick"),
                "node": row.get("node"),
                "anomaly": row.get("anomaly"),
                "message": json.dumps(row),
            }
            for row in rows
        ],
        schema=schema,
    )
