"""CSV files of other programs: the column of time and its unit, the channels, the text.

What a file's names do not say is guessed from what is in its columns, where that is sure, and every
guess is noted.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from coeval.errors import BadRecording
from coeval.recognition import SURE, recognise_channels
from coeval.recognition.table import FULL_SHARE
from coeval.samples import IntArray, TextLine
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.importers.foreign_table import TEXT_NAMES, read_foreign_table
from coeval_edge.importers.time_column import END_NAMES, find_stamps, stamps, stated_stamps
from coeval_edge.recording_writer import RecordingWriter
from coeval_edge.tables import MISSING


def import_file(path: Path, writer: RecordingWriter) -> None:
    """Add a CSV or TSV file: its numeric columns, and its text where it has a column of that.

    Raises:
        BadRecording: no column of time in it, or a stamp that is none.
    """
    table = read_foreign_table(path, notes=writer.notes)
    names, columns, lines = table.names, table.columns, table.lines
    if not lines:
        raise BadRecording(f"{path}: no rows, only a header")
    time = find_stamps(columns, path=path, notes=writer.notes)
    t_ns = stamps(time.texts, lines=lines, unit_ns=time.unit_ns, where=f"{path}")
    if len(lines) > 2 and (t_ns == t_ns[0]).all():
        raise BadRecording(
            f"{path}: all {len(lines)} rows have the time {time.texts[0]!r}, of the column "
            f"{', '.join(sorted(time.used))}; name the column of time 't' (seconds)"
        )
    node = writer.add_node(path.stem)
    text_name = next((name for name in names if name.lower() in TEXT_NAMES), None)
    end_name = None
    if text_name is not None:
        end_name = next((name for name in names if name.lower() in END_NAMES), None)
    others = [name for name in names if name not in {*time.used, text_name, end_name}]
    channels = channels_of(others, columns, path=path, notes=writer.notes)
    if text_name is not None:
        ends = [""] * len(lines) if end_name is None else columns[end_name]
        ends_ns = stated_stamps(ends, lines=lines, unit_ns=time.unit_ns, where=f"{path}")
        said = [
            TextLine(t_node_ns=NodeNs(int(t)), t_end_node_ns=t_end, text=text)
            for t, t_end, text in zip(t_ns, ends_ns, columns[text_name], strict=True)
        ]
        writer.add_text(node, f"{path.stem}_text" if channels else path.stem, said)
    if channels:
        values = np.stack(list(channels.values()), axis=1)
        units = guessed_units(values, list(channels), t_ns=t_ns, path=path, notes=writer.notes)
        writer.add_metadata(
            node, path.stem, t_ns=t_ns, values=values, columns=list(channels), units=units
        )


def channels_of(
    names: Sequence[str], columns: Mapping[str, list[str]], *, path: Path, notes: list[str]
) -> dict[str, NDArray[np.float64]]:
    """The columns that hold numbers; what is left out is noted in `notes`."""
    channels: dict[str, NDArray[np.float64]] = {}
    for name in names:
        texts = columns[name]
        if not any(text.strip() for text in texts):
            notes.append(f"{path.name}: column {name!r} left out, it is empty")
            continue
        values, odd = numbers(texts)
        if len(odd) > (1 - FULL_SHARE) * len(texts) or np.isnan(values).all():
            why = "it is not numeric" if odd else "it has no reading"
            notes.append(f"{path.name}: column {name!r} left out, {why}")
            continue
        if odd:
            notes.append(
                f"{path.name}: column {name!r}: {len(odd)} of {len(texts)} fields are no numbers, "
                f"as {odd[0]!r}; taken for missing"
            )
        channels[name] = values
    return channels


def guessed_units(
    values: NDArray[np.float64], names: list[str], *, t_ns: IntArray, path: Path, notes: list[str]
) -> dict[str, str]:
    """Units of the channels by column, where names or physics tell; noted in `notes`."""
    steps_ns = np.diff(t_ns)
    going = steps_ns[steps_ns > 0]
    rate_hz = NS_PER_S / float(np.median(going)) if len(going) else None
    units: dict[str, str] = {}
    for channel in recognise_channels(values, names=names, rate_hz=rate_hz):
        if channel.kind is None or channel.confidence < SURE:
            continue
        what = channel.kind if channel.units is None else f"{channel.kind} in {channel.units}"
        notes.append(f"{path.name}: {', '.join(channel.columns)} taken for {what}: {channel.why}")
        if channel.units is not None:
            units |= dict.fromkeys(channel.columns, channel.units)
    return units


def numbers(texts: Sequence[str]) -> tuple[NDArray[np.float64], list[str]]:
    """A column as numbers, missing ones NaN, true/false 1/0; and the fields that are none."""
    known = {missing: np.nan for missing in MISSING} | {"true": 1.0, "false": 0.0}
    values, odd = np.empty(len(texts)), []
    for row, text in enumerate(texts):
        try:
            values[row] = float(text)
        except ValueError:
            value = known.get(text.strip().lower())
            if value is None:
                odd.append(text)
            values[row] = np.nan if value is None else value
    return values, odd
