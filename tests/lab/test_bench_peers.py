"""The peers of the benchmark: asked over a pipe, given our trials, judged by our sign."""

import json
import re
import stat
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from coeval.samples import AudioBlock, MetadataBlock, TextLine
from coeval.signals import SignalTrack
from coeval.time import NodeNs
from coeval.tracks import StreamTrack
from coeval_lab.bench.cells import Draw
from coeval_lab.bench.events import event_times
from coeval_lab.bench.material import Clock, Stream
from coeval_lab.bench.peer_cells import (
    ask,
    ask_events,
    ask_subtitles,
    pieces,
    trial_of,
    wav_pair,
    write_srt,
)
from coeval_lab.bench.peers import (
    REQUIREMENTS,
    WORKER,
    PeerAnswer,
    PeerFailed,
    PeerWorker,
    install_peers,
)
from coeval_lab.bench.syncwise import syncwise_offset, syncwise_trial

S = 1_000_000_000
OWN_PYTHON = Path(sys.executable)
"""Runs the worker without the peers: enough for the protocol."""


def test_a_job_is_answered_with_its_number_and_its_cost() -> None:
    with PeerWorker(OWN_PYTHON) as worker:
        answer = worker.ask("echo", {"offset_s": -1.25})
        assert (answer.offset_s, answer.error) == (-1.25, None)
        assert answer.cpu_s >= 0


def test_jobs_are_answered_in_order_by_one_process() -> None:
    with PeerWorker(OWN_PYTHON) as worker:
        answers = [worker.ask("echo", {"offset_s": k / 8}).offset_s for k in range(50)]
    assert answers == [k / 8 for k in range(50)]


def test_a_peer_that_fails_gives_a_reason_and_the_next_one_is_still_asked() -> None:
    with PeerWorker(OWN_PYTHON) as worker:
        failed = worker.ask("nobody", {})
        assert failed.offset_s is None
        assert failed.error == "KeyError: 'nobody'"
        assert worker.errors == {"nobody": [failed.error]}
        assert worker.ask("echo", {"offset_s": 2.0}).offset_s == 2.0


def test_every_peer_has_a_version_or_is_said_to_be_missing() -> None:
    with PeerWorker(OWN_PYTHON) as worker:
        versions = worker.versions()
    assert set(versions) == {requirement.split("==")[0] for requirement in REQUIREMENTS}
    for version in versions.values():
        assert version.startswith("missing: ") or re.match(r"\d", version)


def test_what_is_no_number_is_answered_as_null() -> None:
    done = subprocess.run(
        [sys.executable, str(WORKER)],
        input='{"peer": "echo", "offset_s": null}\n{"peer": "echo"}\n',
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["offset_s"], first["error"]) == (None, None)
    assert (second["offset_s"], second["error"]) == (None, "KeyError: 'offset_s'")


def script(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_a_worker_that_ends_is_named_with_its_job(tmp_path: Path) -> None:
    python = script(tmp_path / "python", "#!/bin/sh\nread job\n")
    with (
        PeerWorker(python) as worker,
        pytest.raises(PeerFailed, match=r"worker ended while echo worked on \{'offset_s': 1\}"),
    ):
        worker.ask("echo", {"offset_s": 1})


def test_the_worker_does_not_outlive_its_block(tmp_path: Path) -> None:
    python = script(
        tmp_path / "python", f'#!/bin/sh\necho $$ > {tmp_path}/pid\nexec {sys.executable} "$@"\n'
    )
    with PeerWorker(python) as worker:
        worker.ask("echo", {"offset_s": 1})
        pid = (tmp_path / "pid").read_text().strip()
        assert Path("/proc", pid).exists()
    assert not Path("/proc", pid).exists()


def test_installed_peers_of_these_versions_are_not_installed_again(tmp_path: Path) -> None:
    stamp = tmp_path / "installed.txt"
    stamp.write_text("\n".join(REQUIREMENTS))
    install_peers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["installed.txt"]


def test_an_environment_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PeerFailed) as error:
        install_peers(tmp_path / "file" / "venv")
    assert "failed: " in str(error.value)
    assert "\n" not in str(error.value)


CLOCK = Clock(offset_ns=2.25e9, skew_ppm=100.0, t0_ns=10 * S)
DRAW = Draw(clock=CLOCK, start_ns=10 * S, stop_ns=50 * S)


def test_an_answer_is_compared_with_the_true_offset_at_the_middle() -> None:
    # The clock is fast by 2.25 s + 20 s · 100 ppm at the middle; the files begin 0.25 s apart.
    right = trial_of(2.252 - 0.25, 1.0, DRAW, begins_ns=0.25e9)
    assert right.error_ms == pytest.approx(0.0, abs=1e-6)
    late = trial_of(2.252 - 0.25 + 0.03, 1.0, DRAW, begins_ns=0.25e9)
    assert late.error_ms == pytest.approx(30.0)
    assert (late.cpu_s, late.material_s, late.ci95_ms) == (1.0, 40.0, None)
    assert trial_of(None, 1.0, DRAW, begins_ns=0.0).error_ms is None


def sound(seconds: float) -> Stream:
    pcm = np.random.default_rng(1).uniform(-0.5, 0.5, round(16_000 * seconds)).astype(np.float32)
    block = AudioBlock(t_node_ns=NodeNs(0), rate_hz=16_000, pcm=pcm)
    return Stream(name="sound", modality="audio", samples=[block], sound=[block])


def read_wav(path: Path) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    with wave.open(str(path), "rb") as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32767.0


def test_peers_hear_the_very_pieces_of_our_own_trial(tmp_path: Path) -> None:
    stream = sound(8.0)
    draw = Draw(clock=Clock(offset_ns=2.25e9), start_ns=S, stop_ns=5 * S)
    (mine,), (other,) = pieces(stream, stream, draw)
    assert (mine.t_node_ns, len(mine.pcm)) == (S, 64_000)
    assert other.t_node_ns == 1.2 * S + 2.25 * S
    first, second = wav_pair(stream, stream, draw, tmp_path)
    assert (first[1], second[1]) == (mine.t_node_ns, other.t_node_ns)
    heard, heard_late = read_wav(first[0]), read_wav(second[0])
    # What is heard at x in the first file is heard at x + offset − (second − first) in the second.
    lag = round((2.25 - (second[1] - first[1]) / S) * 16_000)
    assert lag == -3200
    inside = slice(100, 56_000)  # the resampler's own edges left out
    np.testing.assert_allclose(heard[3200:][inside], heard_late[inside], atol=0.02)


def test_a_peer_that_answers_by_our_sign_is_right(tmp_path: Path) -> None:
    stream = sound(8.0)
    draw = Draw(clock=Clock(offset_ns=2.25e9), start_ns=S, stop_ns=5 * S)
    first, second = wav_pair(stream, stream, draw, tmp_path)

    class Correlator(PeerWorker):
        """Finds the lag of the two files that it is given, by plain correlation."""

        def ask(self, peer: str, job: object) -> PeerAnswer:
            assert peer == "correlator"
            assert isinstance(job, dict)
            a, b = read_wav(Path(job["first"])), read_wav(Path(job["second"]))
            size = 2 * max(len(a), len(b))
            score = np.fft.irfft(np.fft.rfft(b, size) * np.conj(np.fft.rfft(a, size)), size)
            lag = (int(score.argmax()) + size // 2) % size - size // 2
            return PeerAnswer(offset_s=lag / 16_000, cpu_s=0.5, error=None)

    trial = ask(Correlator(OWN_PYTHON), "correlator", draw, first, second)
    assert trial.error_ms == pytest.approx(0.0, abs=0.1)


def test_subtitles_are_written_as_players_read_them(tmp_path: Path) -> None:
    lines = [
        TextLine(t_node_ns=NodeNs(3_661 * S + 5_000_000), t_end_node_ns=None, text="hello"),
        TextLine(t_node_ns=NodeNs(3_700 * S), t_end_node_ns=NodeNs(3_701 * S), text="again"),
    ]
    write_srt(tmp_path / "a.srt", lines, 0)
    assert (tmp_path / "a.srt").read_text() == (
        "1\n01:01:01,005 --> 01:01:02,005\nhello\n\n2\n01:01:40,000 --> 01:01:41,000\nagain\n"
    )


@pytest.mark.parametrize("offset_s", [2.25, -30.5])
def test_subtitles_before_the_sound_keep_their_distance(tmp_path: Path, offset_s: float) -> None:
    """A peer that reads the first line's place in both files answers the true offset."""
    stream = sound(40.0)
    spoken_s = [12.0, 15.0, 33.0]
    lines = [
        TextLine(t_node_ns=NodeNs(round(t_s * S)), t_end_node_ns=None, text=f"line {t_s}")
        for t_s in spoken_s
    ]
    text = Stream(name="text", modality="text", samples=lines, sigma_s=0.04)
    clock = Clock(offset_ns=offset_s * S)
    draw = Draw(clock=clock, start_ns=5 * S, stop_ns=40 * S)

    class Reader(PeerWorker):
        """Knows when the first line is spoken in the sound, and reads when the file says so."""

        def ask(self, peer: str, job: object) -> PeerAnswer:
            assert peer == "ffsubsync"
            assert isinstance(job, dict)
            shown = re.search(r"(\d+):(\d+):(\d+),(\d+) -->", Path(job["second"]).read_text())
            assert shown is not None
            hours, minutes, seconds, ms = map(int, shown.groups())
            shown_s = hours * 3600 + minutes * 60 + seconds + ms / 1000
            return PeerAnswer(offset_s=shown_s - (spoken_s[0] - 5.0), cpu_s=0.5, error=None)

    trial = ask_subtitles(Reader(OWN_PYTHON), stream, text, draw, tmp_path)
    assert trial.error_ms == pytest.approx(0.0, abs=1.0)
    assert trial.truth_sigma_ms == pytest.approx(40.0)


def motion(seconds: float, seed: int) -> "tuple[np.ndarray, np.ndarray]":
    """Times at 100 Hz and a magnitude that varies over tenths of a second."""
    rng = np.random.default_rng(seed)
    t_s = np.arange(0, seconds, 0.01)
    noise = rng.standard_normal(len(t_s) + 40)
    return t_s, np.abs(np.convolve(noise, np.hanning(41), mode="valid"))


@pytest.mark.parametrize("offset_s", [-3.3, 0.0, 4.52])
def test_the_syncwise_baseline_finds_a_known_lag(offset_s: float) -> None:
    t_s, moved = motion(60.0, seed=2)
    rng = np.random.default_rng(3)
    found = syncwise_offset(
        t_s,
        moved,
        t_s + offset_s,
        moved + rng.normal(0, 0.3 * moved.std(), len(moved)),
        max_offset_s=6.0,
    )
    assert found == pytest.approx(offset_s, abs=0.04)


def test_the_syncwise_baseline_has_no_answer_without_a_whole_window_or_without_motion() -> None:
    t_s, moved = motion(6.0, seed=2)
    assert syncwise_offset(t_s, moved, t_s, moved, max_offset_s=2.0) is None
    t_s, moved = motion(30.0, seed=2)
    assert syncwise_offset(t_s, np.ones_like(moved), t_s, moved, max_offset_s=2.0) is None


def test_the_syncwise_baseline_is_judged_by_our_sign() -> None:
    t_s, moved = motion(40.0, seed=5)
    t_ns = np.round(t_s * S).astype(np.int64)
    draw = Draw(clock=Clock(offset_ns=-4.5e9, t0_ns=0), start_ns=0, stop_ns=40 * S)
    tracks = tuple(
        StreamTrack(
            node=node,
            stream=node,
            modality="metadata",
            embeddings=(),
            signals=SignalTrack(t_node_ns=times, values=moved[:, None]),
        )
        for node, times in (("a", t_ns), ("b", t_ns - round(4.5 * S)))
    )
    trial = syncwise_trial((tracks[0], tracks[1]), draw, shared_cpu_s=1.0)
    assert trial.error_ms == pytest.approx(0.0, abs=40.0)
    assert trial.cpu_s > 1.0


def test_sounds_begin_where_the_level_rises() -> None:
    t_s = np.arange(0, 10, 1 / 16_000)
    pcm = np.random.default_rng(1).normal(0, 1e-3, len(t_s))
    for begin_s in (2.0, 4.5, 8.0):
        pcm[(t_s >= begin_s) & (t_s < begin_s + 0.5)] *= 100
    block = AudioBlock(t_node_ns=NodeNs(3 * S), rate_hz=16_000, pcm=pcm.astype(np.float32))
    found = event_times([block], since_ns=S)
    np.testing.assert_allclose(found, [4.0, 6.5, 10.0], atol=0.03)


def test_readings_have_events_where_they_change_most() -> None:
    t_ns = np.arange(0, 10 * S, S // 50)
    values = np.random.default_rng(2).normal(0, 0.01, (len(t_ns), 2))
    values[t_ns >= 3 * S, 0] += 5.0
    values[t_ns >= 7 * S, 1] -= 4.0
    block = MetadataBlock(t_node_ns=t_ns, values=values)
    np.testing.assert_allclose(event_times([block], since_ns=0), [3.0, 7.0], atol=0.03)


def test_lines_have_events_where_they_begin_and_silence_has_none() -> None:
    line = TextLine(t_node_ns=NodeNs(3 * S), t_end_node_ns=None, text="hello")
    assert event_times([line], since_ns=S).tolist() == [2.0]
    quiet = AudioBlock(t_node_ns=NodeNs(0), rate_hz=16_000, pcm=np.zeros(16_000, np.float32))
    assert event_times([quiet], since_ns=0).tolist() == []
    assert event_times([], since_ns=0).tolist() == []


def test_the_peer_of_events_gets_the_moments_of_our_own_trial() -> None:
    begins_s = (12.0, 15.5, 33.0)
    lines = [
        TextLine(t_node_ns=NodeNs(round(t * S)), t_end_node_ns=None, text="x") for t in begins_s
    ]
    stream = Stream(name="text", modality="text", samples=lines, sigma_s=0.04)
    draw = Draw(clock=Clock(offset_ns=2.25e9), start_ns=5 * S, stop_ns=40 * S)

    class Reader(PeerWorker):
        """Subtracts the first event from the first event."""

        def ask(self, peer: str, job: object) -> PeerAnswer:
            assert peer == "nearest-advocate"
            assert isinstance(job, dict)
            return PeerAnswer(offset_s=job["second"][0] - job["first"][0], cpu_s=0.5, error=None)

    trial = ask_events(Reader(OWN_PYTHON), stream, stream, draw)
    assert trial.error_ms == pytest.approx(0.0, abs=1e-3)
    assert trial.truth_sigma_ms == pytest.approx(40.0)
