"""Samples come out of a recording with the right values at the right node times."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from coeval.samples import AudioBlock, Frame, MetadataBlock, TextLine
from coeval.time import NS_PER_S
from coeval_edge.describe import summarise
from coeval_edge.recording import Recording, open_recording
from coeval_edge.recording_samples import read_metadata, read_samples, read_waveform
from coeval_edge.recording_times import recording_start_ns


def frames(recording: Recording, **size: int) -> list[Frame]:
    samples = list(read_samples(recording, recording.manifest.streams[0], **size))
    assert all(isinstance(sample, Frame) for sample in samples)
    return samples  # type: ignore[return-value]


def blocks(recording: Recording) -> list[AudioBlock]:
    samples = list(read_samples(recording, recording.manifest.streams[0]))
    assert all(isinstance(sample, AudioBlock) for sample in samples)
    return samples  # type: ignore[return-value]


def clicks_ns(audio: list[AudioBlock]) -> list[float]:
    """Node times of the clicks (short bumps) in audio, by centre of mass a bump."""
    times = [b.t_node_ns + np.arange(len(b.pcm)) / b.rate_hz * NS_PER_S for b in audio]
    t_ns, level = np.concatenate(times), np.abs(np.concatenate([b.pcm for b in audio]))
    loud = np.flatnonzero(level > 0.02)
    groups = np.split(loud, np.flatnonzero(np.diff(loud) > 100) + 1)
    return [float((t_ns[g] * level[g]).sum() / level[g].sum()) for g in groups]


def click_track(rate_hz: int, *, at_s: list[float], length_s: float) -> np.ndarray:
    t_s = np.arange(round(rate_hz * length_s)) / rate_hz
    bumps = [np.exp(-0.5 * ((t_s - at) / 0.002) ** 2) for at in at_s]
    return np.sum(bumps, axis=0).astype(np.float32) * 0.8


def test_epoch_stamps_keep_every_nanosecond(maker):
    maker.text("a.csv", "t,x\n1700000000.000000001,1\n1700000000.000000003,2\n")
    recording = maker.open({"modality": "metadata", "file": "a.csv"})
    t_ns, values, columns = read_metadata(recording, recording.manifest.streams[0])
    assert t_ns.tolist() == [1_700_000_000_000_000_001, 1_700_000_000_000_000_003]
    assert values.tolist() == [[1.0], [2.0]]
    assert columns == ("x",)


def test_missing_readings_are_nan_and_the_time_column_may_stand_anywhere(maker):
    maker.text("a.csv", "\ufeffx, t ,y\n1,0.5,\nnan,1.5,-2e3\n\n")
    recording = maker.open({"modality": "metadata", "file": "a.csv"})
    t_ns, values, columns = read_metadata(recording, recording.manifest.streams[0])
    assert t_ns.tolist() == [500_000_000, 1_500_000_000]
    assert columns == ("x", "y")
    np.testing.assert_array_equal(values, [[1.0, np.nan], [np.nan, -2000.0]])


def test_long_metadata_comes_in_blocks_that_join_up(maker):
    rows = "".join(f"{k}.25,{k}\n" for k in range(10_000))
    maker.text("a.csv", "t,x\n" + rows)
    recording = maker.open({"modality": "metadata", "file": "a.csv"})
    parts = list(read_samples(recording, recording.manifest.streams[0]))
    assert [len(part.values) for part in parts if isinstance(part, MetadataBlock)] == [
        4096,
        4096,
        1808,
    ]
    assert np.concatenate([part.values[:, 0] for part in parts]).tolist() == list(range(10_000))


def test_text_keeps_commas_quotes_and_simultaneous_lines(maker):
    maker.text("l.csv", 't,t_end,text\n1.0,2.5,"a, ""b"""\n1.0,,second\n')
    recording = maker.open({"modality": "text", "file": "l.csv"})
    lines = list(read_samples(recording, recording.manifest.streams[0]))
    assert lines == [
        TextLine(t_node_ns=NS_PER_S, t_end_node_ns=2_500_000_000, text='a, "b"'),
        TextLine(t_node_ns=NS_PER_S, t_end_node_ns=None, text="second"),
    ]


def test_text_needs_no_end_column(maker):
    maker.text("l.csv", "t,text\n1.0,hello\n")
    recording = maker.open({"modality": "text", "file": "l.csv"})
    (line,) = read_samples(recording, recording.manifest.streams[0])
    assert line == TextLine(t_node_ns=NS_PER_S, t_end_node_ns=None, text="hello")


def test_stills_are_grey_small_and_stamped(maker):
    maker.picture("pics/a.png", 40)
    maker.picture("pics/b.png", 200)
    maker.text("s.csv", "t,file\n5,pics/a.png\n6.5,pics/b.png\n")
    stills = frames(maker.open({"modality": "image", "file": "s.csv"}))
    assert [still.t_node_ns for still in stills] == [5_000_000_000, 6_500_000_000]
    assert [still.grey.shape for still in stills] == [(48, 64), (48, 64)]
    assert [int(still.grey.mean()) for still in stills] == [40, 200]


def test_video_times_come_from_the_timestamps_first(maker):
    maker.video("v.mkv", [20, 120, 220], rate_hz=10)
    maker.text("v.csv", "t\n7.0\n7.11\n7.19\n")
    stream = {"modality": "video", "file": "v.mkv", "timestamps": "v.csv", "rate_hz": 10, "t0_s": 1}
    pictures = frames(maker.open(stream))
    assert [p.t_node_ns for p in pictures] == [7_000_000_000, 7_110_000_000, 7_190_000_000]
    assert [p.grey.shape for p in pictures] == [(48, 64)] * 3
    brightness = [float(p.grey.mean()) for p in pictures]
    assert np.allclose(brightness, [20, 120, 220], atol=4)


def test_video_times_are_counted_where_a_rate_is_stated(maker):
    maker.video("v.mkv", [0, 50, 100], rate_hz=10)
    recording = maker.open({"modality": "video", "file": "v.mkv", "t0_s": 2.0, "rate_hz": 8.0})
    times = [p.t_node_ns for p in frames(recording)]
    assert times == [2_000_000_000, 2_125_000_000, 2_250_000_000]


def test_video_times_are_the_containers_where_nothing_else_is_known(maker):
    maker.video("v.mkv", [0, 50, 100], rate_hz=10)
    recording = maker.open({"modality": "video", "file": "v.mkv", "t0_s": 2.0})
    times = [p.t_node_ns for p in frames(recording)]
    assert times == [2_000_000_000, 2_100_000_000, 2_200_000_000]


def test_pictures_can_be_had_in_another_size(maker):
    maker.video("v.mkv", [90], rate_hz=10)
    (picture,) = frames(maker.open({"modality": "video", "file": "v.mkv"}), width=20, height=12)
    assert picture.grey.shape == (12, 20)


@pytest.mark.parametrize("rate_hz", [8000, 16_000, 44_100, 48_000])
def test_audio_is_16_khz_and_a_click_stays_where_it_was(maker, rate_hz):
    maker.sound("a.wav", click_track(rate_hz, at_s=[0.7, 1.61], length_s=2.2), rate_hz=rate_hz)
    audio = blocks(maker.open({"modality": "audio", "file": "a.wav", "t0_s": 10.0}))
    assert {block.rate_hz for block in audio} == {16_000.0}
    assert sum(len(block.pcm) for block in audio) == round(2.2 * 16_000)
    assert max(len(block.pcm) for block in audio) <= 9000
    assert audio[0].pcm.dtype == np.float32
    np.testing.assert_allclose(clicks_ns(audio), [10.7e9, 11.61e9], atol=2e3)


def test_audio_blocks_join_up_without_a_gap(maker):
    maker.sound("a.wav", click_track(44_100, at_s=[1.0], length_s=3.0), rate_hz=44_100)
    audio = blocks(maker.open({"modality": "audio", "file": "a.wav"}))
    for before, after in itertools.pairwise(audio):
        end_ns = before.t_node_ns + len(before.pcm) / before.rate_hz * NS_PER_S
        assert abs(after.t_node_ns - end_ns) <= 1


def test_channels_are_averaged(maker):
    left = np.full(8000, 0.5, np.float32)
    maker.sound("a.wav", np.stack([left, np.zeros_like(left)]), rate_hz=8000)
    recording = maker.open({"modality": "audio", "file": "a.wav"})
    waveform = read_waveform(recording, recording.manifest.streams[0])
    assert waveform.pcm.shape == (8000,)
    np.testing.assert_allclose(waveform.pcm, 0.25, atol=1e-4)


def test_a_stated_rate_is_the_rate_on_the_nodes_clock(maker):
    slow_hz = 48_000 / (1 + 400e-6)  # the node's clock runs fast, so samples seem to come late
    maker.sound("a.wav", click_track(48_000, at_s=[0.5, 2.5], length_s=3.0), rate_hz=48_000)
    recording = maker.open({"modality": "audio", "file": "a.wav", "t0_s": 1.0, "rate_hz": slow_hz})
    times = clicks_ns(blocks(recording))
    np.testing.assert_allclose(times, [1e9 + 0.5 * 1.0004e9, 1e9 + 2.5 * 1.0004e9], atol=2e3)
    waveform = read_waveform(recording, recording.manifest.streams[0])
    assert waveform.rate_hz == slow_hz
    assert waveform.t0_node_ns == NS_PER_S


def test_anchors_carry_a_jump_of_the_audio_clock(maker):
    maker.sound("a.wav", click_track(48_000, at_s=[0.5, 1.5], length_s=2.0), rate_hz=48_000)
    maker.text("a.csv", "t,sample\n5.0,0\n6.25,48000\n")
    recording = maker.open({"modality": "audio", "file": "a.wav", "timestamps": "a.csv"})
    np.testing.assert_allclose(clicks_ns(blocks(recording)), [5.5e9, 6.75e9], atol=2e3)
    stream = recording.manifest.streams[0]
    pieces = list(read_waveform(recording, stream).blocks())
    assert [(piece.t_node_ns, len(piece.pcm)) for piece in pieces] == [
        (5_000_000_000, 48_000),
        (6_250_000_000, 48_000),
    ]


def test_anchors_that_go_back_cost_samples_not_order(maker):
    maker.sound("a.wav", click_track(8000, at_s=[0.2], length_s=2.0), rate_hz=8000)
    maker.text("a.csv", "t,sample,rate_hz\n0.0,0,\n0.9,8000,8000\n")
    recording = maker.open({"modality": "audio", "file": "a.wav", "timestamps": "a.csv"})
    audio = blocks(recording)
    starts = [block.t_node_ns for block in audio]
    ends = [block.t_node_ns + len(block.pcm) / block.rate_hz * NS_PER_S for block in audio]
    assert all(start >= end - 1 for start, end in zip(starts[1:], ends, strict=False))
    assert summarise(recording, recording.manifest.streams[0]).num_samples == 15_200


def test_stamps_of_sound_blocks_are_freed_of_jitter_but_not_of_a_gap(maker):
    pcm = click_track(48_000, at_s=[0.5, 3.5], length_s=4.0)
    maker.sound("a.wav", pcm, rate_hz=48_000)
    recording = maker.open({"modality": "audio", "file": "a.wav"})
    from coeval_edge.media import sound_pieces  # the file's own blocks

    sizes = [len(piece) for piece in sound_pieces(recording.path("a.wav"), where="a")]
    firsts = np.cumsum(sizes) - sizes
    rng = np.random.default_rng(3)
    t_s = firsts / 48_000 + rng.uniform(0, 0.002, len(firsts)) + np.where(firsts > 96_000, 0.3, 0)
    maker.text("a.csv", "t\n" + "".join(f"{t:.6f}\n" for t in t_s))
    stamped = maker.open({"modality": "audio", "file": "a.wav", "timestamps": "a.csv"})
    np.testing.assert_allclose(clicks_ns(blocks(stamped)), [0.501e9, 3.801e9], atol=1e6)


def test_the_start_is_the_earliest_stamp_of_all_streams(maker):
    maker.text("a.csv", "t,x\n3,1\n4,1\n")
    maker.text("b.csv", "t,text\n-1.5,hi\n")
    recording = maker.open(
        {"id": "a", "modality": "metadata", "file": "a.csv"},
        {"id": "b", "node": "m", "modality": "text", "file": "b.csv"},
    )
    assert recording_start_ns(recording) == -1_500_000_000


def test_the_manifest_itself_may_be_named(maker):
    maker.text("a.csv", "t,x\n3,1\n")
    root = maker.manifest({"modality": "metadata", "file": "a.csv"})
    assert open_recording(root / "recording.json").root == root


@pytest.mark.shared
def test_every_shared_recording_can_be_read(shared: Path):
    folders = sorted(path.parent for path in (shared / "recordings").glob("*/recording.json"))
    assert folders
    for folder in folders:
        recording = open_recording(folder)
        for stream in recording.manifest.streams:
            assert summarise(recording, stream).num_samples > 0
