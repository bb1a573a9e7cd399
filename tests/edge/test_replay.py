"""Replay: true order, true pace, and stamps that went through the node's own clock."""

import itertools
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from coeval.errors import BadRecording
from coeval.samples import AudioBlock, MetadataBlock, TextLine
from coeval.time import NS_PER_S, ClockLine, NodeNs, RefNs
from coeval_edge.replay import PIECE_NS, Pace, ReplaySource, pieces, restamp

if TYPE_CHECKING:
    from conftest import RecordingMaker

S = NS_PER_S


class FakeStop(threading.Event):
    """Time passes only by waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 100.0

    def wait(self, timeout: float | None = None) -> bool:
        self.now_s += timeout or 0.0
        return self.is_set()


def fast() -> Pace:
    return Pace(speed=float("inf"), stop=threading.Event())


def two_streams(maker: "RecordingMaker") -> ReplaySource:
    maker.text("imu.csv", "t,x\n" + "".join(f"{2 + k / 10:.1f},{k}\n" for k in range(21)))
    maker.text("log.csv", "t,t_end,text\n1.5,,begin\n3.05,3.5,middle\n")
    maker.text("far.csv", "t,x\n0.5,1\n0.6,1\n")
    recording = maker.open(
        {"id": "imu", "node": "wrist", "modality": "metadata", "file": "imu.csv"},
        {"id": "log", "node": "wrist", "modality": "text", "file": "log.csv"},
        {"id": "far", "node": "other", "modality": "metadata", "file": "far.csv"},
    )
    return ReplaySource(recording, "wrist", offset_s=3.0, skew_ppm=1000.0)


def test_samples_of_all_streams_come_in_the_order_they_become_available(
    maker: "RecordingMaker",
) -> None:
    readings = list(two_streams(maker).readings(fast()))
    assert [r.stream.id for r in readings[:2]] == ["log", "imu"]
    assert {r.stream.id for r in readings} == {"imu", "log"}
    now = [r.now_node_ns for r in readings]
    assert now == sorted(now)


def test_stamps_are_wrong_by_offset_and_skew_from_the_recordings_start(
    maker: "RecordingMaker",
) -> None:
    readings = list(two_streams(maker).readings(fast()))
    line = readings[0].sample
    assert isinstance(line, TextLine)
    # The recording starts at 0.5 s with the other node's first stamp; 1 s later, 1 ms more.
    assert line.t_node_ns == round(1.5 * S + 3 * S + 1e-3 * S)
    t_ns = np.concatenate(
        [r.sample.t_node_ns for r in readings if isinstance(r.sample, MetadataBlock)]
    )
    true_ns = 2 * S + np.arange(21) * S // 10
    expected = true_ns + 3 * S + np.round((true_ns - S // 2) * 1e-3).astype(np.int64)
    np.testing.assert_array_equal(t_ns, expected)


def test_the_pace_is_true_time_times_speed(maker: "RecordingMaker") -> None:
    stop = FakeStop()
    pace = Pace(speed=2.0, stop=stop, monotonic_s=lambda: stop.now_s)
    source = two_streams(maker)
    seen = [(stop.now_s, r.now_node_ns) for r in source.readings(pace)]
    assert seen[0][0] == 100.0
    true_s = (source.clock.to_ref(seen[-1][1]) - 1.5 * S) / S
    assert seen[-1][0] - 100.0 == pytest.approx(true_s / 2.0)


def test_a_set_stop_ends_the_replay(maker: "RecordingMaker") -> None:
    stop = FakeStop()
    pace = Pace(speed=1.0, stop=stop, monotonic_s=lambda: stop.now_s)
    readings = two_streams(maker).readings(pace)
    next(readings)
    stop.set()
    assert list(readings) == []


def test_a_loop_goes_on_on_one_timeline(maker: "RecordingMaker") -> None:
    first = two_streams(maker)
    source = ReplaySource(first.recording, "wrist", streams=("imu",), loop=True)
    readings = list(itertools.islice(source.readings(fast()), 40))
    t_ns = np.concatenate([r.sample.t_node_ns for r in readings])  # type: ignore[union-attr]
    assert len(t_ns) > 2 * 21
    assert (np.diff(t_ns) > 0).all()
    period_ns = t_ns[21] - t_ns[0]
    assert period_ns >= 3.5 * S
    assert period_ns % (S // 20) == 0


def test_audio_keeps_its_samples_and_changes_its_rate() -> None:
    clock = ClockLine(t0_ref_ns=RefNs(0), offset_ns=5e9, skew_ppb=100e3)
    block = AudioBlock(t_node_ns=NodeNs(10 * S), rate_hz=16000.0, pcm=np.ones(8000, np.float32))
    wrong = restamp(block, clock)
    assert isinstance(wrong, AudioBlock)
    assert wrong.t_node_ns == 15 * S + 1_000_000
    assert wrong.rate_hz == pytest.approx(16000.0 / 1.0001)
    assert wrong.pcm is block.pcm


def test_epoch_stamps_lose_no_nanosecond() -> None:
    t0 = 1_790_000_000_123_456_789
    clock = ClockLine(t0_ref_ns=RefNs(t0), offset_ns=7.0, skew_ppb=0.0)
    block = MetadataBlock(t_node_ns=np.array([t0, t0 + 1]), values=np.zeros((2, 1)))
    wrong = restamp(block, clock)
    assert isinstance(wrong, MetadataBlock)
    assert wrong.t_node_ns.tolist() == [t0 + 7, t0 + 8]


def test_long_blocks_of_readings_are_cut_to_what_a_live_source_delivers() -> None:
    t_ns = np.arange(1000) * (S // 400)
    block = MetadataBlock(t_node_ns=t_ns, values=np.arange(1000.0)[:, None])
    cut = [piece for piece in pieces(block) if isinstance(piece, MetadataBlock)]
    assert all(piece.t_node_ns[-1] - piece.t_node_ns[0] < PIECE_NS for piece in cut)
    np.testing.assert_array_equal(np.concatenate([p.t_node_ns for p in cut]), t_ns)
    np.testing.assert_array_equal(np.concatenate([p.values for p in cut]), block.values)


def test_a_node_or_stream_that_is_not_there_is_named(maker: "RecordingMaker") -> None:
    recording = two_streams(maker).recording
    with pytest.raises(BadRecording, match="no node 'ankle'; its nodes are wrist, other"):
        ReplaySource(recording, "ankle")
    with pytest.raises(BadRecording, match="no stream 'far' on node 'wrist'"):
        ReplaySource(recording, "wrist", streams=("far",))
