"""A skewed copy reads as a clock with that error would have stamped it, and says so."""

import json

import numpy as np
import pytest

from coeval.errors import BadConfig, BadRecording
from coeval.manifest import NodeTruth, TruthJump
from coeval.time import NS_PER_S, ClockLine, RefNs
from coeval_edge.aligned import write_aligned
from coeval_edge.recording import open_recording
from coeval_edge.recording_samples import read_metadata, read_samples, read_waveform
from coeval_edge.recording_times import recording_start_ns
from coeval_edge.skew import ClockError, compose, error_map, skew_recording

TRUTH = {"nodes": {"n": {"offset_s": 0.0, "skew_ppm": 0.0}}, "sigma_s": 0.001, "how": "one clock"}
ERROR = ClockError(offset_s=3.217, skew_ppm=41.0)
JUMPING = ClockError(offset_s=-3.217, skew_ppm=-500.0, jump=TruthJump(at_s=1.0, by_s=0.25))


def wrong_ns(t_ns, error, *, start_ns):
    """The convention, written down once more."""
    since_ns = np.asarray(t_ns) - start_ns
    wrong = np.asarray(t_ns) + error.offset_s * 1e9 + error.skew_ppm * 1e-6 * since_ns
    if error.jump is not None:
        wrong = wrong + np.where(since_ns >= error.jump.at_s * 1e9, error.jump.by_s * 1e9, 0)
    return wrong


def stamps(recording, stream_id):
    stream = recording.manifest.stream(stream_id)
    if stream.modality == "metadata":
        return read_metadata(recording, stream)[0]
    if stream.modality == "audio":
        t_ns = [
            block.t_node_ns + np.arange(len(block.pcm)) / block.rate_hz * NS_PER_S
            for block in read_waveform(recording, stream).blocks()
        ]
        return np.concatenate(t_ns)
    return np.array([sample.t_node_ns for sample in read_samples(recording, stream)])


@pytest.fixture
def scene(maker):
    """Every modality on one node, stamped by one clock from −0.5 s on; and a second node."""
    rng = np.random.default_rng(1)
    rows = "".join(f"{k / 100 - 0.5:.9f},{rng.normal():.3f}\n" for k in range(400))
    maker.text("imu.csv", f"t,x\n{rows}")
    maker.text("other.csv", f"t,x\n{rows}")
    maker.text("log.csv", "t,t_end,text\n0.5,0.75,one\n0.5,,two\n2.5,3,three\n")
    maker.picture("pics/a.png", 50)
    maker.text("stills.csv", "t,file\n0.25,pics/a.png\n2.25,pics/a.png\n")
    maker.sound("mic.wav", rng.normal(0, 0.1, 24_000).astype(np.float32), rate_hz=8000)
    maker.video("a.mkv", range(0, 250, 8), rate_hz=10)
    maker.text("a.csv", "t\n" + "".join(f"{k / 10:.1f}\n" for k in range(32)))
    maker.text("pps.csv", "t_node,t_ref,sigma_s\n0,100,0.001\n1,101,0.001\n")
    return maker.open(
        {"id": "imu", "modality": "metadata", "file": "imu.csv"},
        {"id": "log", "modality": "text", "file": "log.csv"},
        {"id": "stills", "modality": "image", "file": "stills.csv"},
        {"id": "mic", "modality": "audio", "file": "mic.wav", "t0_s": 0.125},
        {"id": "stamped", "modality": "video", "file": "a.mkv", "timestamps": "a.csv"},
        {"id": "counted", "modality": "video", "file": "a.mkv", "t0_s": 0.0, "rate_hz": 10.0},
        {"id": "bare", "modality": "video", "file": "a.mkv"},
        {"id": "other", "node": "m", "modality": "metadata", "file": "other.csv"},
        nodes={"n": {"evidence": {"pps": "pps.csv"}}, "m": {}},
        truth=TRUTH,
    )


STREAMS = ("imu", "log", "stills", "mic", "stamped", "counted", "bare")


@pytest.mark.parametrize("error", [ERROR, JUMPING], ids=["steady", "jumping"])
def test_every_modality_is_stamped_as_the_wrong_clock_would_have(scene, tmp_path, error):
    start_ns = recording_start_ns(scene)
    assert start_ns == -NS_PER_S // 2
    copy = skew_recording(scene, tmp_path / "out", errors={"n": error})
    for stream_id in STREAMS:
        expected = wrong_ns(stamps(scene, stream_id), error, start_ns=start_ns)
        np.testing.assert_allclose(stamps(copy, stream_id), expected, atol=2, err_msg=stream_id)
    np.testing.assert_array_equal(stamps(copy, "other"), stamps(scene, "other"))


def test_the_samples_themselves_stay_as_they_were(scene, tmp_path):
    copy = skew_recording(scene, tmp_path / "out", errors={"n": JUMPING})
    for stream_id in ("mic", "imu"):
        stream, same = scene.manifest.stream(stream_id), copy.manifest.stream(stream_id)
        assert scene.path(stream.file).stat().st_size > 0
        if stream_id == "mic":
            before, after = read_waveform(scene, stream).pcm, read_waveform(copy, same).pcm
        else:
            before, after = read_metadata(scene, stream)[1], read_metadata(copy, same)[1]
        np.testing.assert_array_equal(before, after)
    ends = [line.t_end_node_ns for line in read_samples(copy, copy.manifest.stream("log"))]
    assert ends[1] is None


def test_hardware_evidence_is_stamped_by_the_wrong_clock_too(scene, tmp_path):
    copy = skew_recording(scene, tmp_path / "out", errors={"n": ERROR})
    text = copy.path(copy.manifest.nodes["n"].evidence["pps"]).read_text()
    assert text == "t_node,t_ref,sigma_s\n3.2170205,100,0.001\n4.2170615,101,0.001\n"


def test_the_truth_says_what_was_done(scene, tmp_path):
    copy = skew_recording(scene, tmp_path / "out", errors={"n": JUMPING})
    truth = copy.manifest.truth
    assert truth is not None
    assert truth.nodes["n"] == NodeTruth(
        offset_s=-3.217, skew_ppm=-500.0, jumps=(TruthJump(at_s=1.0, by_s=0.25),)
    )
    assert truth.start_s == -0.5
    assert truth.sigma_s == 0.001
    assert "n made wrong by -3.217 s, -500 ppm, +0.25 s after 1 s" in truth.how


def test_two_errors_one_after_the_other_add_up_in_the_truth(scene, tmp_path):
    once = skew_recording(scene, tmp_path / "once", errors={"n": JUMPING})
    more = ClockError(offset_s=40.0, skew_ppm=300.0, jump=TruthJump(at_s=5.6, by_s=1.5))
    twice = skew_recording(once, tmp_path / "twice", errors={"n": more})
    truth = twice.manifest.truth
    assert truth is not None
    known = truth.nodes["n"]
    t_ns = stamps(scene, "imu")
    since_s = t_ns / NS_PER_S - truth.start_s
    expected_s = t_ns / NS_PER_S + known.offset_s + known.skew_ppm * 1e-6 * since_s
    for jump in known.jumps:
        expected_s = expected_s + np.where(since_s >= jump.at_s, jump.by_s, 0.0)
    assert len(known.jumps) == 2
    np.testing.assert_allclose(stamps(twice, "imu") / NS_PER_S, expected_s, atol=1e-8)


def test_composing_with_nothing_changes_nothing():
    known = NodeTruth(offset_s=1.5, skew_ppm=20.0, jumps=(TruthJump(at_s=4.0, by_s=0.1),))
    same = compose(known, ClockError(offset_s=0.0), start_s=3.0, error_start_s=1.0)
    assert same == known


def test_where_no_truth_was_known_the_copy_states_the_error_and_no_sigma(maker, tmp_path):
    maker.text("a.csv", "t,x\n1,1\n2,2\n")
    recording = maker.open({"modality": "metadata", "file": "a.csv"})
    truth = skew_recording(recording, tmp_path / "out", errors={"n": ERROR}).manifest.truth
    assert truth is not None
    assert truth.sigma_s is None
    assert truth.nodes["n"].offset_s == 3.217
    assert "unknown" in truth.how


def test_files_that_two_nodes_share_part_ways(maker, tmp_path):
    maker.text("a.csv", "t,x\n1,1\n2,2\n")
    recording = maker.open(
        {"id": "a", "modality": "metadata", "file": "a.csv"},
        {"id": "b", "node": "m", "modality": "metadata", "file": "a.csv"},
    )
    copy = skew_recording(recording, tmp_path / "out", errors={"n": ClockError(offset_s=5.0)})
    assert stamps(copy, "a").tolist() == [6 * NS_PER_S, 7 * NS_PER_S]
    assert stamps(copy, "b").tolist() == [1 * NS_PER_S, 2 * NS_PER_S]


def test_a_steady_audio_clock_needs_no_extra_file(scene, tmp_path):
    copy = skew_recording(scene, tmp_path / "out", errors={"n": ERROR})
    mic = copy.manifest.stream("mic")
    assert mic.timestamps is None
    assert mic.rate_hz == 8000 / (1 + 41e-6)
    assert mic.t0_s == pytest.approx(0.125 + 3.217 + 41e-6 * 0.625, abs=1e-9)


def test_a_node_that_is_not_there_is_refused_before_anything_is_written(scene, tmp_path):
    with pytest.raises(BadRecording, match="no node 'belt'; its nodes are n, m"):
        skew_recording(scene, tmp_path / "out", errors={"belt": ERROR})
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(scene, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("mine")
    with pytest.raises(BadRecording, match="is there already"):
        skew_recording(scene, out, errors={"n": ERROR})
    assert (out / "precious").read_text() == "mine"


def test_an_empty_folder_will_do(scene, tmp_path):
    (tmp_path / "out").mkdir()
    skew_recording(scene, tmp_path / "out", errors={"n": ERROR})
    assert (tmp_path / "out" / "recording.json").is_file()


def test_nothing_half_written_is_left_when_a_file_turns_out_wrong(maker, tmp_path):
    maker.text("a.csv", "t,x\n1,1\n2,2\n")
    maker.text("b.csv", "t,x\n1,1\nnoon,2\n")
    recording = maker.open(
        {"id": "a", "modality": "metadata", "file": "a.csv"},
        {"id": "b", "modality": "metadata", "file": "b.csv"},
    )
    target = tmp_path / "place"
    target.mkdir()
    with pytest.raises(BadRecording, match=r"b\.csv, line 3"):
        skew_recording(recording, target / "out", errors={"n": ERROR})
    assert list(target.iterdir()) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset_s": float("nan")},
        {"offset_s": 0.0, "skew_ppm": 1e5},
        {"offset_s": 0.0, "jump": TruthJump(at_s=1.0, by_s=-0.25)},
        {"offset_s": 0.0, "jump": TruthJump(at_s=-1.0, by_s=0.25)},
    ],
)
def test_errors_that_no_clock_has_are_refused(wrong):
    with pytest.raises(BadConfig):
        ClockError(**wrong)


def test_the_map_keeps_epoch_nanoseconds():
    start_ns = 1_700_000_000_000_000_001
    made = error_map(ClockError(offset_s=1.0), start_ns=start_ns)
    assert made.apply_one(start_ns + 5) == start_ns + 5 + NS_PER_S


@pytest.mark.parametrize("error", [ERROR, JUMPING], ids=["steady", "jumping"])
def test_writing_aligned_undoes_the_error(scene, tmp_path, error):
    start_ns = recording_start_ns(scene)
    wrong = skew_recording(scene, tmp_path / "wrong", errors={"n": error})
    line = ClockLine(
        t0_ref_ns=RefNs(start_ns), offset_ns=error.offset_s * 1e9, skew_ppb=error.skew_ppm * 1e3
    )
    lines = line
    if error.jump is not None:
        later = ClockLine(
            t0_ref_ns=RefNs(start_ns),
            offset_ns=(error.offset_s + error.jump.by_s) * 1e9,
            skew_ppb=error.skew_ppm * 1e3,
        )
        jump_ns = later.to_node(RefNs(start_ns + round(error.jump.at_s * 1e9)))
        lines = [(0, line), (jump_ns, later)]
    aligned = write_aligned(wrong, {"n": lines}, tmp_path / "aligned", reference="m")
    for stream_id in (*STREAMS, "other"):
        np.testing.assert_allclose(
            stamps(aligned, stream_id), stamps(scene, stream_id), atol=3, err_msg=stream_id
        )
    manifest = json.loads((tmp_path / "aligned" / "recording.json").read_text())
    assert "truth" not in manifest
    assert manifest["aligned_to"] == "m"
    assert manifest["nodes"]["n"]["aligned"] is True
    assert manifest["nodes"]["m"]["aligned"] is True


def test_a_node_without_a_line_is_copied_and_marked_not_aligned(scene, tmp_path):
    aligned = write_aligned(scene, {}, tmp_path / "aligned", reference="m")
    assert aligned.manifest.nodes["n"].extra["aligned"] is False
    np.testing.assert_array_equal(stamps(aligned, "imu"), stamps(scene, "imu"))


def test_an_estimated_jump_a_little_late_keeps_time_going_forwards(maker, tmp_path, caplog):
    times = [k / 100 + (0.25 if k >= 100 else 0.0) for k in range(200)]
    maker.text("a.csv", "t,x\n" + "".join(f"{t:.2f},{k}\n" for k, t in enumerate(times)))
    maker.text("b.csv", "t,x\n0,1\n")
    recording = maker.open(
        {"id": "ref", "node": "m", "modality": "metadata", "file": "b.csv"},
        {"id": "a", "modality": "metadata", "file": "a.csv"},
    )
    before = ClockLine(t0_ref_ns=RefNs(0), offset_ns=0.0, skew_ppb=0.0)
    after = ClockLine(t0_ref_ns=RefNs(0), offset_ns=0.25e9, skew_ppb=0.0)
    late_ns = 1_300_000_000  # the clock jumped at 1.25
    lines = {"n": [(0, before), (late_ns, after)]}
    aligned = write_aligned(recording, lines, tmp_path / "aligned", reference="m")
    t_ns, values, _ = read_metadata(aligned, aligned.manifest.stream("a"))
    assert (np.diff(t_ns) > 0).all()
    assert len(values) == 200
    assert "stamps held in order stream=a" in caplog.text
    assert open_recording(tmp_path / "aligned").manifest == aligned.manifest
