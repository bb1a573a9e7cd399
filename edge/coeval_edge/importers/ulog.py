"""PX4 flight logs (ULog), by pyulog: every numeric topic, and the autopilot's messages.

Stamps are microseconds since the autopilot's boot: one node, one clock.
"""

from pathlib import Path

import numpy as np
from pyulog import ULog

from coeval.errors import BadRecording
from coeval.samples import TextLine
from coeval.time import NodeNs
from coeval_edge.recording_writer import RecordingWriter

NS_PER_US = 1000


def import_file(path: Path, writer: RecordingWriter) -> None:
    """Add a flight log.

    Raises:
        BadRecording: it is no ULog file, or broken.
    """
    try:
        with path.open("rb") as file:  # opened here: pyulog leaves one open that it cannot read
            log = ULog(file)
    except Exception as exc:  # pyulog raises whatever struct, numpy and its own checks do
        raise BadRecording(f"{path}: cannot be read as ULog: {exc}") from exc
    node = writer.add_node(path.stem)
    for topic in log.data_list:
        name = f"{topic.name}_{topic.multi_id}" if topic.multi_id else topic.name
        columns = [column for column in topic.data if column != "timestamp"]
        columns = [column for column in columns if topic.data[column].dtype.kind in "iufb"]
        if not columns:
            writer.notes.append(f"{name}: left out, it has no numeric field")
            continue
        values = np.stack([topic.data[column].astype(np.float64) for column in columns], axis=1)
        t_ns = topic.data["timestamp"].astype(np.int64) * NS_PER_US
        writer.add_metadata(node, name, t_ns=t_ns, values=values, columns=columns)
    lines = [
        TextLine(
            t_node_ns=NodeNs(message.timestamp * NS_PER_US),
            t_end_node_ns=None,
            text=f"{message.log_level_str()}: {message.message}",
        )
        for message in log.logged_messages
    ]
    if lines:
        writer.add_text(node, "log", lines)
    if log.file_corruption:
        writer.notes.append(f"{path.name}: the log is damaged in places; what was readable is in")
    if log.dropouts:
        lost_s = sum(dropout.duration for dropout in log.dropouts) / 1000
        writer.notes.append(f"{path.name}: the logger dropped {lost_s:g} s of data")
