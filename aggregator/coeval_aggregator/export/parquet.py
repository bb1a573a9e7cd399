"""A session as a folder of Parquet files: embeddings, clocks, ticks, events."""

import itertools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from coeval_aggregator.export import tables
from coeval_aggregator.export.content import ROWS_A_PAGE, Content

RowsToBatch = Callable[[pa.Schema, list[dict[str, Any]]], pa.RecordBatch]


def write(content: Content, folder: Path) -> None:
    """Write the files into an existing folder.

    Raises:
        OSError: the disk refuses.
    """
    runs = content.runs()
    schema = tables.embedding_schema(content, runs)
    with pq.ParquetWriter(folder / "embeddings.parquet", schema, compression="zstd") as writer:
        for run in runs:
            for page in content.pages(run):
                writer.write_batch(tables.embedding_batch(schema, run, page))
    clocks, told = tables.clock_schema(content), tables.told_schema(content)
    for name, rows, columns, to_batch in (
        ("clocks", content.clocks(), clocks, tables.clock_batch),
        ("ticks", content.ticks(), told, tables.told_batch),
        ("events", content.events(), told, tables.told_batch),
    ):
        write_rows(folder / f"{name}.parquet", rows, columns, to_batch)


def write_rows(
    path: Path, rows: Iterable[dict[str, Any]], schema: pa.Schema, to_batch: RowsToBatch
) -> None:
    """Write rows, some thousand at a time."""
    rows = iter(rows)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(itertools.islice(rows, ROWS_A_PAGE)):
            writer.write_batch(to_batch(schema, some))
