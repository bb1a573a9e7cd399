"""From recordings to tracks: what is no content is kept out."""

from dataclasses import replace

import numpy as np

from coeval.samples import TextLine
from coeval.time import NS_PER_S, NodeNs
from coeval_lab.tracks import track_from, without_gaps


def test_half_a_second_without_a_sample_ends_a_run_and_less_does_not() -> None:
    rows = np.ones((60, 3), np.float32)
    rows[20:29], rows[40:50] = 0.0, 0.0
    assert without_gaps(rows) == [(0, 40), (50, 60)]


def test_a_stream_that_never_shows_anything_has_no_runs() -> None:
    assert without_gaps(np.zeros((40, 3), np.float32)) == []
    assert without_gaps(np.ones((40, 3), np.float32)) == [(0, 40)]


def test_a_log_is_compared_by_when_its_lines_were_written() -> None:
    lines = [
        TextLine(t_node_ns=NodeNs(k * NS_PER_S), t_end_node_ns=None, text="click")
        for k in (1, 3, 4, 4, 7, 9)
    ]
    more = [replace(line, t_node_ns=NodeNs(line.t_node_ns + 10 * NS_PER_S)) for line in lines]
    track = track_from(
        [*lines, *more],
        node="log",
        stream="log",
        modality="text",
        waveform=(),
        with_rows=False,
        with_speech=False,
    )
    assert track.instants is not None
    assert (track.instants // NS_PER_S).tolist() == [1, 3, 4, 7, 9, 11, 13, 14, 17, 19]
