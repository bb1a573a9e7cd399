"""From recordings to tracks: what is no content is kept out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from coeval.errors import EncoderMismatch
from coeval.preprocessing import DEFAULT_STEPS, Preprocessing, Step
from coeval.samples import TextLine
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.recording import open_recording
from coeval_lab.tracks import encoder_paths, track_from, tracks_of, without_gaps

from ..edge.encoder_sets import renamed
from .staging import write_bumps


def test_half_a_second_without_a_sample_ends_a_run_and_less_does_not() -> None:
    rows = np.ones((60, 3), np.float32)
    rows[20:29], rows[40:50] = 0.0, 0.0
    assert without_gaps(rows) == [(0, 40), (50, 60)]


def test_a_stream_that_never_shows_anything_has_no_runs() -> None:
    assert without_gaps(np.zeros((40, 3), np.float32)) == []
    assert without_gaps(np.ones((40, 3), np.float32)) == [(0, 40)]


def test_steps_are_switched_by_name_off_after_on() -> None:
    assert DEFAULT_STEPS.switched(on=[Step.wide], off=[Step.noise]) == Preprocessing(
        wide=True, noise=False
    )
    assert not DEFAULT_STEPS.switched(on=[Step.wide], off=[Step.wide]).wide


@pytest.fixture
def bumps(tmp_path: Path) -> Path:
    root = tmp_path / "bumps"
    root.mkdir()
    write_bumps(root, noise=0.05)
    return root


def test_steps_that_are_switched_off_make_other_embeddings(bumps: Path) -> None:
    recording = open_recording(bumps)
    as_ever, changed = (
        tracks_of(recording, preprocessing=DEFAULT_STEPS.switched(off=off))[0]
        for off in ([], [Step.standardise])
    )
    assert not np.allclose(as_ever.embeddings[0].rows, changed.embeddings[0].rows)


def test_other_encoders_are_taken_of_a_folder_and_must_be_of_one_set(
    bumps: Path, tmp_path: Path
) -> None:
    recording = open_recording(bumps)
    (tmp_path / "metadata.onnx").write_bytes(renamed("metadata", "a1"))
    (tmp_path / "text.onnx").write_bytes(renamed("text", "b2"))
    (shipped, _), (other, _) = tracks_of(recording), tracks_of(recording, encoders=tmp_path)
    assert np.array_equal(shipped.embeddings[0].rows, other.embeddings[0].rows)  # renamed only
    with pytest.raises(EncoderMismatch, match="metadata of a1, text of b2"):
        encoder_paths({"metadata", "text"}, tmp_path)
    with pytest.raises(EncoderMismatch, match=r"audio\.onnx: cannot be read"):
        encoder_paths({"audio"}, tmp_path)


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
