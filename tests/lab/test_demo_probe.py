"""`coeval demo --probe`: an emulated probe feels a short recording's hand; its truth is known."""

import json
import math

import numpy as np
import pytest

from coeval.errors import BadConfig
from coeval.samples import MetadataBlock, TextLine
from coeval.time import NS_PER_S
from coeval_edge.recording import Recording, open_recording
from coeval_edge.recording_samples import read_samples
from coeval_lab.demo.pico import MOTION, NODE, PRESSES, apart, hand_of, with_probe

pytest.importorskip("rp2040py", reason="rp2040py is absent: pip install 'coeval[bench]'")
pytest.importorskip("cobs", reason="cobs is absent: pip install 'coeval[probe]'")

START_S, LENGTH_S = 100.0, 4.0
PRESSES_S = [100.5, 101.25, 101.4, 103.0]


def place(t_s: float) -> tuple[float, float]:
    """A pointer that swings."""
    return 300 + 200 * math.sin(3 * (t_s - START_S)), 200 + 50 * math.cos(2 * (t_s - START_S))


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    folder = tmp_path_factory.mktemp("short")
    times_s = START_S + np.arange(0, LENGTH_S, 0.02)
    rows = [f"{t:.6f},{place(t)[0]:.3f},{place(t)[1]:.3f}" for t in times_s]
    (folder / "pointer.csv").write_text("\n".join(["t,x,y", *rows]) + "\n")
    events = [f"{t},key a" for t in PRESSES_S] + ["103.2,say nothing"]
    (folder / "events.csv").write_text("\n".join(["t,text", *events]) + "\n")
    streams = [
        {"id": "pointer", "node": "desk", "modality": "metadata", "file": "pointer.csv"},
        {"id": "events", "node": "desk", "modality": "text", "file": "events.csv"},
    ]
    manifest = {
        "format": "coeval-recording/1",
        "name": "short",
        "nodes": {"desk": {}},
        "streams": streams,
        "truth": {"nodes": {"desk": {"offset_s": 0.0, "skew_ppm": 0.0}}},
    }
    (folder / "recording.json").write_text(json.dumps(manifest))
    return open_recording(folder)


@pytest.fixture(scope="module")
def felt(short: Recording, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return with_probe(short, tmp_path_factory.mktemp("felt"))


def test_the_probe_is_a_node_more_whose_truth_is_known(felt: Recording) -> None:
    assert list(felt.manifest.nodes) == ["desk", NODE]
    assert [stream.id for stream in felt.manifest.streams_of(NODE)] == [MOTION, PRESSES]
    assert felt.manifest.truth is not None
    assert felt.manifest.truth.nodes[NODE].offset_s == 0.0


def test_presses_are_stamped_when_they_were(felt: Recording) -> None:
    samples = list(read_samples(felt, felt.manifest.stream(PRESSES)))
    times_s = [s.t_node_ns / NS_PER_S for s in samples if isinstance(s, TextLine)]
    assert times_s == pytest.approx(PRESSES_S, abs=1e-3)


def test_the_sensor_turns_as_the_pointer_moves(felt: Recording) -> None:
    blocks = [s for s in read_samples(felt, felt.manifest.stream(MOTION))]
    times_s = np.concatenate([b.t_node_ns for b in blocks if isinstance(b, MetadataBlock)]) * 1e-9
    values = np.concatenate([b.values for b in blocks if isinstance(b, MetadataBlock)])
    inside = (times_s > START_S + 0.2) & (times_s < START_S + LENGTH_S - 0.3)
    expected = 200 * 3 * np.cos(3 * (times_s - START_S)) / 8.0 * math.pi / 180
    assert np.abs(values[inside, 3] - expected[inside]).max() < 0.05 * np.abs(expected).max()
    assert inside.sum() > 300


def test_a_recording_without_a_hand_is_refused(short: Recording, felt: Recording) -> None:
    del short
    with pytest.raises(BadConfig, match=r"--probe: .*leave out --recording"):
        hand_of(felt)


def test_presses_too_close_for_an_edge_of_their_own_are_one() -> None:
    assert apart([2.0, 1.0, 1.00005, 1.2]) == [1.0, 1.2, 2.0]
