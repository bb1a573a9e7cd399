"""From recordings to tracks: what is no content is kept out."""

import numpy as np

from coeval_lab.tracks import without_gaps


def test_half_a_second_without_a_sample_ends_a_run_and_less_does_not() -> None:
    rows = np.ones((60, 3), np.float32)
    rows[20:29], rows[40:50] = 0.0, 0.0
    assert without_gaps(rows) == [(0, 40), (50, 60)]


def test_a_stream_that_never_shows_anything_has_no_runs() -> None:
    assert without_gaps(np.zeros((40, 3), np.float32)) == []
    assert without_gaps(np.ones((40, 3), np.float32)) == [(0, 40)]
