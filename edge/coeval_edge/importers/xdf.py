"""Lab Streaming Layer recordings (XDF), by pyxdf, with the clock fit done here.

XDF holds each stream's own stamps and, every few seconds, how far its host's clock was from the
recorder's. pyxdf turns a fit that failed, or was never possible, into offset 0, which looks like
a perfect clock; so it is asked for raw stamps. A stream whose offsets give a good line is put on
the recorder's clock; any other stream keeps its own clock and is a node of its own.
"""

import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyxdf
from numpy.typing import NDArray

from coeval.errors import BadRecording
from coeval.samples import IntArray, TextLine
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.recording_writer import RecordingWriter

MIN_OFFSETS = 3
"""Fewer measurements leave no residual to judge a line by."""

WORST_RESIDUAL_S = 0.005
"""Median distance from the line beyond which the offsets are not one clock's (LSL measures them
over a network by minimum round trip: well below a millisecond on a local one)."""

MAX_SKEW = 0.01
"""No clock is wrong by more than one percent; a fit that says so failed."""

Array = NDArray[np.float64]


def import_file(path: Path, writer: RecordingWriter) -> None:
    """Add an XDF file.

    Raises:
        BadRecording: it is no XDF file, or broken.
    """
    try:
        # opened here: pyxdf leaves a file open that it cannot read
        with gzip.open(path) if path.suffix == ".xdfz" else path.open("rb") as file:
            streams, _ = pyxdf.load_xdf(
                file, synchronize_clocks=False, dejitter_timestamps=False, verbose=False
            )
    except Exception as exc:  # pyxdf raises whatever struct, gzip and XML do
        raise BadRecording(f"{path}: cannot be read as XDF: {exc}") from exc
    recorder = writer.add_node("recorder")
    for stream in streams:
        info = {
            key: value[0] if isinstance(value, list) and value else None
            for key, value in stream["info"].items()
        }
        name = str(info.get("name") or info.get("type") or "stream")
        stamps_s = np.asarray(stream["time_stamps"], dtype=np.float64)
        if not len(stamps_s):
            writer.notes.append(f"{name}: left out, it has no sample")
            continue
        line = offset_line(
            np.asarray(stream.get("clock_times", []), dtype=np.float64),
            np.asarray(stream.get("clock_values", []), dtype=np.float64),
        )
        if line is None:
            node = writer.add_node(f"{info.get('hostname') or 'host'}_{name}")
            writer.notes.append(
                f"{name}: the file has no usable clock offsets; it is a node of its own, {node}"
            )
        else:
            node, stamps_s = recorder, stamps_s + line(stamps_s)
        _add(writer, node, name=name, info=info, stamps_s=stamps_s, series=stream["time_series"])


def offset_line(times_s: Array, offsets_s: Array) -> Any:
    """A robust line through clock offsets, as a function of the stream's time, or None.

    Args:
        times_s: when each offset was measured, on the stream's clock, shape (n,).
        offsets_s: recorder − stream, shape (n,).

    Returns:
        A callable from stamps to what to add to them; None where there are too few offsets,
        time went back (the host restarted), or they lie on no line.
    """
    if len(times_s) < MIN_OFFSETS or len(times_s) != len(offsets_s):
        return None
    steps_s = np.diff(times_s)
    if not np.isfinite(offsets_s).all() or not np.isfinite(times_s).all() or (steps_s <= 0).any():
        return None
    x, y = times_s - times_s[0], offsets_s - offsets_s[0]
    weights = np.ones(len(x))
    for _ in range(10):  # Huber weights, to be deaf to the odd late reply
        slope, start = np.polyfit(x, y, 1, w=np.sqrt(weights))
        residual_s = np.abs(y - start - slope * x)
        scale_s = 1.5 * float(np.median(residual_s)) + 1e-9
        weights = np.minimum(1.0, scale_s / np.maximum(residual_s, 1e-12))
    if np.median(residual_s) > WORST_RESIDUAL_S or abs(slope) > MAX_SKEW:
        return None
    return lambda stamps_s: offsets_s[0] + start + slope * (stamps_s - times_s[0])


def _add(
    writer: RecordingWriter,
    node: str,
    *,
    name: str,
    info: Mapping[str, Any],
    stamps_s: Array,
    series: Any,
) -> None:
    t_ns: IntArray = np.rint(stamps_s * NS_PER_S).astype(np.int64)
    if info.get("channel_format") == "string":
        lines = [
            TextLine(
                t_node_ns=NodeNs(int(t)), t_end_node_ns=None, text=" ".join(map(str, row)).strip()
            )
            for t, row in zip(t_ns, series, strict=True)
        ]
        writer.add_text(node, name, lines)
        return
    values = np.asarray(series, dtype=np.float64).reshape(len(t_ns), -1)
    columns, units = _channels(info, num_channels=values.shape[1])
    writer.add_metadata(node, name, t_ns=t_ns, values=values, columns=columns, units=units)


def _channels(info: Mapping[str, Any], *, num_channels: int) -> tuple[list[str], dict[str, str]]:
    """Labels and units of the channels, as the stream's description names them."""
    columns = [f"c{number}" for number in range(num_channels)]
    units: dict[str, str] = {}
    try:
        listed = info["desc"]["channels"][0]["channel"]
        described = [{key: value[0] for key, value in entry.items()} for entry in listed]
    except (KeyError, IndexError, TypeError):
        return columns, units
    for number, entry in enumerate(described[:num_channels]):
        columns[number] = str(entry.get("label") or columns[number])
        if entry.get("unit"):
            units[columns[number]] = str(entry["unit"])
    return columns, units
