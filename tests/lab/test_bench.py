"""`coeval bench`: its arithmetic against sums by hand, its trials against their own clocks."""

import itertools
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from coeval.estimates import NodeEstimate, SessionEstimate
from coeval.samples import AudioBlock, Frame, MetadataBlock, TextLine
from coeval.time import ClockLine, NodeNs, RefNs
from coeval_lab.bench import align as bench_align
from coeval_lab.bench import align_plan, scene_cells
from coeval_lab.bench.align_bars import against, bars_of
from coeval_lab.bench.align_plan import CLEAN, NOISY
from coeval_lab.bench.bars import Bar, every
from coeval_lab.bench.cells import (
    NUM_KINDS,
    OFFSETS_S,
    SKEWS_PPM,
    Draw,
    draw_trials,
    judge,
    our_trial,
    tracks_of_trial,
)
from coeval_lab.bench.material import Clock, Stream, cropped, degraded, recorded, silent, stamped
from coeval_lab.bench.metrics import Trial, row_of
from coeval_lab.bench.report import Partial
from coeval_lab.bench.report import stamped as stamped_by

S = 1_000_000_000

ERRORS_MS = (1.0, -2.0, 3.0, -4.0, 5.0, -15.0, 30.0, 70.0, -150.0, 410.0)

COLUMNS = {
    *("pair", "method", "trials", "locked", "median_ms", "p95_ms", "within_20ms", "within_40ms"),
    *("within_100ms", "within_300ms", "wrong", "coverage95", "cpu_s_per_min"),
}
"""What the JSON of every benchmark promises of a row."""


def row(trials: list[Trial], pair: str = "audio-text") -> dict[str, Any]:
    return row_of(trials, pair=pair, method="coeval", source="made up")


def test_errors_within_tolerances_median_and_p95_are_those_of_a_sum_by_hand() -> None:
    trials = [Trial(error_ms=error) for error in ERRORS_MS]
    found = row(trials)
    assert found["median_ms"] == 10.0  # between 5 and 15
    assert found["p95_ms"] == 293  # 0.55 of the way from 150 to 410
    shares = [found[f"within_{limit}ms"] for limit in (20, 40, 100, 300)]
    assert shares == [60.0, 70.0, 80.0, 90.0]


def test_rejected_trials_lower_locked_and_nothing_else() -> None:
    trials = [Trial(error_ms=error) for error in ERRORS_MS]
    few, more = row(trials), row(trials + [Trial(error_ms=None)] * 6)
    assert (more["trials"], more["locked"]) == (16, 62.5)
    assert (few["trials"], few["locked"]) == (10, 100.0)
    for column in ("median_ms", "p95_ms", "within_100ms"):
        assert more[column] == few[column]
    assert (few["wrong"], more["wrong"]) == (20.0, 12.5)  # of all trials


def test_an_accepted_pair_of_strangers_is_wrong_however_small_its_lag() -> None:
    trials = [Trial(error_ms=0.1, related=False), Trial(error_ms=None, related=False)]
    found = row(trials)
    assert (found["locked"], found["wrong"]) == (50.0, 50.0)
    assert found["median_ms"] is None
    assert found["within_20ms"] is None


@pytest.mark.parametrize(
    ("pair", "truth_sigma_ms", "wrong"),
    [
        ("audio-text", 0.0, 20.0),  # beyond 100 ms
        ("image-metadata", 0.0, 10.0),  # beyond 300 ms
        ("stills-imu", 0.0, 10.0),
        ("audio-text", 60.0, 10.0),  # beyond three times what the truth itself may be off
        ("audio-text", 150.0, 0.0),
    ],
)
def test_wrong_is_what_is_off_by_more_than_the_pair_and_its_truth_allow(
    pair: str, truth_sigma_ms: float, wrong: float
) -> None:
    trials = [Trial(error_ms=error, truth_sigma_ms=truth_sigma_ms) for error in ERRORS_MS]
    assert row(trials, pair)["wrong"] == wrong


def test_coverage_is_the_share_of_intervals_that_hold_the_error() -> None:
    trials = [
        Trial(error_ms=4.0, ci95_ms=5.0),
        Trial(error_ms=-5.0, ci95_ms=5.0),
        Trial(error_ms=5.1, ci95_ms=5.0),
        Trial(error_ms=5.1, ci95_ms=5.0, truth_sigma_ms=0.2),
        Trial(error_ms=1.0),  # states no interval: neither in nor out
        Trial(error_ms=None, ci95_ms=5.0),
        Trial(error_ms=0.0, ci95_ms=5.0, related=False),
    ]
    assert row(trials)["coverage95"] == 75.0


def test_skew_error_and_cost_a_minute_are_those_of_a_sum_by_hand() -> None:
    trials = [
        Trial(error_ms=0.0, skew_error_ppm=-3.0, cpu_s=1.0, material_s=30.0),
        Trial(error_ms=0.0, skew_error_ppm=1.0, cpu_s=2.0, material_s=60.0),
        Trial(error_ms=None, cpu_s=3.0, material_s=30.0),
    ]
    found = row(trials)
    assert found["skew_err_ppm"] == 2.0
    assert found["cpu_s_per_min"] == 3.0  # 6 s in 2 minutes, the rejected one's cost included


def test_what_was_not_measured_is_none_and_never_zero() -> None:
    found = row([])
    assert found["trials"] == 0
    measured = set(found) - {"pair", "method", "source", "trials", "note"}
    assert {column: found[column] for column in measured} == dict.fromkeys(measured)
    assert set(found) >= COLUMNS


def line_estimate(offset_ms: float, skew_ppm: float, t0_s: int) -> SessionEstimate:
    node = NodeEstimate(
        status="locked",
        line=ClockLine(
            t0_ref_ns=RefNs(t0_s * S), offset_ns=offset_ms * 1e6, skew_ppb=skew_ppm * 1e3
        ),
        ci95_ns=7e6,
        skew_ci95_ppb=1.0,
        jumps=(),
        evidence=("content",),
    )
    return SessionEstimate(reference="a", nodes={"b": node}, pairs=())


def test_an_estimate_is_judged_where_its_offset_holds() -> None:
    clock = Clock(offset_ns=2e9, skew_ppm=100.0, t0_ns=10 * S)
    estimate = line_estimate(2004.0, 103.0, t0_s=50)  # the clock is fast by 2.004 s at 50 s
    trial = judge(estimate, "b", clock, cpu_s=1.5, material_s=60.0, truth_sigma_s=0.05)
    assert trial.error_ms == pytest.approx(0.0, abs=1e-6)
    assert trial.skew_error_ppm == pytest.approx(3.0)
    assert (trial.ci95_ms, trial.truth_sigma_ms) == (7.0, 50.0)


STREAM_S = 40


def bumps(name: str = "bumps", *, seed: int = 3) -> Stream:
    """Readings at 100 Hz in blocks of a second; streams of one name felt the same."""
    rng = np.random.default_rng(seed)
    t_s = np.arange(0, STREAM_S, 0.01)
    felt = np.zeros((len(t_s), 3))
    for at_s in np.cumsum(rng.exponential(0.7, 120)):
        shape = np.exp(-0.5 * ((t_s - at_s) / rng.uniform(0.03, 0.2)) ** 2)
        felt += shape[:, None] * rng.normal(0, 2, 3)
    t_ns = np.round(t_s * S).astype(np.int64)
    blocks = [
        MetadataBlock(t_node_ns=t_ns[k : k + 100], values=felt[k : k + 100])
        for k in range(0, len(t_ns), 100)
    ]
    return Stream(name=name, modality="metadata", samples=blocks)


def sound(*, seconds: float = 8.0, rate_hz: int = 16_000) -> Stream:
    rng = np.random.default_rng(4)
    pcm = (0.1 * rng.standard_normal(round(seconds * rate_hz))).astype(np.float32)
    half = rate_hz // 2
    blocks = [
        AudioBlock(t_node_ns=NodeNs(k * S // rate_hz), rate_hz=rate_hz, pcm=pcm[k : k + half])
        for k in range(0, len(pcm), half)
    ]
    whole = AudioBlock(t_node_ns=NodeNs(0), rate_hz=rate_hz, pcm=pcm)
    return Stream(name="sound", modality="audio", samples=blocks, sound=[whole])


CLOCK = Clock(offset_ns=2_345_678_901.0, skew_ppm=150.0, t0_ns=5 * S)
DRAW = Draw(clock=CLOCK, start_ns=5 * S, stop_ns=25 * S)


def test_a_clock_reads_its_offset_at_its_start_and_gains_by_its_skew() -> None:
    assert CLOCK.reads(5 * S) == 5 * S + 2_345_678_901
    assert CLOCK.reads(1_005 * S) == 1_005 * S + 2_345_678_901 + 150_000_000


def test_the_injected_offset_and_skew_are_in_every_reading_to_the_nanosecond() -> None:
    stream = bumps()
    first, second = tracks_of_trial(stream, stream, DRAW)
    assert first.signals is not None
    assert second.signals is not None
    true_ns = np.concatenate([block.t_node_ns for block in stream.samples])  # type: ignore[union-attr]
    mine = true_ns[(true_ns >= 5 * S) & (true_ns < 25 * S)]
    np.testing.assert_array_equal(first.signals.t_node_ns, mine)
    late = true_ns[(true_ns >= 6 * S) & (true_ns < 26 * S)]  # 5% of the piece later
    np.testing.assert_array_equal(
        second.signals.t_node_ns, [CLOCK.reads(t_ns) for t_ns in late.tolist()]
    )
    assert (first.node, second.node) == ("a", "b")


def test_the_injected_clock_is_in_the_sound_too() -> None:
    stream = sound()
    draw = replace(DRAW, start_ns=S, stop_ns=5 * S)
    first, second = tracks_of_trial(stream, stream, draw)
    (mine,), (other,) = first.waveform, second.waveform
    assert (mine.t_node_ns, mine.rate_hz) == (S, 16_000)
    assert other.t_node_ns == CLOCK.reads(1.2 * S)
    end_ns = other.t_node_ns + len(other.pcm) / other.rate_hz * S
    assert end_ns == pytest.approx(CLOCK.reads(5.2 * S), abs=2)
    np.testing.assert_array_equal(other.pcm, stream.sound[0].pcm[19_200 : 19_200 + 64_000])


def test_text_and_pictures_are_stamped_by_the_clock() -> None:
    line = TextLine(t_node_ns=NodeNs(6 * S), t_end_node_ns=NodeNs(8 * S), text="x")
    seen = stamped(line, CLOCK)
    assert isinstance(seen, TextLine)
    assert (seen.t_node_ns, seen.t_end_node_ns) == (CLOCK.reads(6 * S), CLOCK.reads(8 * S))
    assert seen.text == "x"
    open_ended = stamped(replace(line, t_end_node_ns=None), CLOCK)
    assert isinstance(open_ended, TextLine)
    assert open_ended.t_end_node_ns is None
    frame = stamped(Frame(t_node_ns=NodeNs(7 * S), grey=np.zeros((2, 2), np.uint8)), CLOCK)
    assert isinstance(frame, Frame)
    assert frame.t_node_ns == CLOCK.reads(7 * S)


def test_a_piece_is_cut_to_the_sample() -> None:
    (piece,) = cropped(sound().sound, round(1.25 * S), round(1.5 * S))
    assert isinstance(piece, AudioBlock)
    assert (piece.t_node_ns, len(piece.pcm)) == (1.25 * S, 4000)
    readings = cropped(bumps().samples, round(1.25 * S), round(2.5 * S))
    times = np.concatenate([b.t_node_ns for b in readings if isinstance(b, MetadataBlock)])
    assert (times[0], times[-1], len(times)) == (1.25 * S, 2.49 * S, 125)


def draws_of(seed: int, *, window_s: float | None, count: int) -> list[Draw]:
    stream = bumps()
    rng = np.random.default_rng(seed)
    return draw_trials(stream, stream, rng, window_s=window_s, count=count)


def test_draws_are_fractional_within_the_material_and_repeat_by_seed() -> None:
    stream = bumps()
    draws = draws_of(1, window_s=10.0, count=200)
    assert draws_of(1, window_s=10.0, count=9) == draws[:9]
    for draw in draws:
        assert draw.stop_ns - draw.start_ns == 10 * S
        assert stream.start_ns <= draw.start_ns
        assert draw.stop_ns <= stream.stop_ns
        assert draw.clock.t0_ns == draw.start_ns
    assert len({draw.clock.offset_ns for draw in draws}) == len(draws)


def test_a_round_of_draws_holds_every_listed_offset_with_every_listed_skew_once() -> None:
    drawn = [
        (min(OFFSETS_S, key=lambda s: abs(s - draw.clock.offset_ns / S)), draw.clock.skew_ppm)
        for draw in draws_of(2, window_s=None, count=NUM_KINDS)
    ]
    assert sorted(drawn) == sorted(itertools.product(OFFSETS_S, SKEWS_PPM))


def test_a_window_longer_than_the_material_is_all_of_it() -> None:
    stream = bumps()
    (draw,) = draws_of(1, window_s=600.0, count=1)
    assert (draw.start_ns, draw.stop_ns) == (stream.start_ns, stream.stop_ns)


@pytest.mark.parametrize(("num_recordings", "each"), [(1, 210), (2, 126), (5, 42), (40, 5)])
def test_a_pairs_recordings_share_its_trials_in_whole_rounds(
    num_recordings: int, each: int
) -> None:
    assert align_plan.trials_each(align_plan.FULL, num_recordings) == each


def test_a_trial_finds_the_clock_that_it_injected() -> None:
    stream = bumps()
    clock = Clock(offset_ns=-5.123e9, skew_ppm=20.0)
    draw = Draw(clock=clock, start_ns=0, stop_ns=stream.stop_ns)
    trial = our_trial(stream, stream, draw)
    assert trial.error_ms is not None
    assert abs(trial.error_ms) < 20
    assert trial.ci95_ms is not None
    assert trial.material_s == pytest.approx(STREAM_S, abs=0.02)
    assert trial.cpu_s > 0


@pytest.mark.parametrize("other", ["stranger", "silent"])
def test_a_stranger_and_a_stuck_sensor_are_rejected(other: str) -> None:
    stream = bumps()
    second = bumps(seed=99) if other == "stranger" else silent(stream)
    draw = replace(DRAW, start_ns=0, stop_ns=stream.stop_ns)
    trial = our_trial(stream, second, draw, related=False)
    assert (trial.error_ms, trial.related) == (None, False)


def test_reverberation_and_noise_do_not_move_the_sound() -> None:
    clean = sound()
    noisy = degraded(clean, seed=1)
    a, b = clean.sound[0].pcm, noisy.sound[0].pcm
    assert noisy.sound[0].t_node_ns == clean.sound[0].t_node_ns
    spectrum = np.fft.rfft(b, 2 * len(a)) * np.conj(np.fft.rfft(a, 2 * len(a)))
    assert int(np.fft.irfft(spectrum).argmax()) == 0
    share = float(np.corrcoef(a, b)[0, 1])
    assert share == pytest.approx(0.5, abs=0.1)  # half direct, half tail, as much noise as both
    assert len(noisy.samples) == len(clean.samples)


def test_one_clock_against_another_is_both_errors_together() -> None:
    first, second = Clock(offset_ns=1e9, skew_ppm=100.0), Clock(offset_ns=-2e9, skew_ppm=-50.0)
    t_ns = 40 * S
    relative = scene_cells.relative(first, second, first.reads(t_ns))
    assert first.reads(t_ns) + relative.offset_ns == pytest.approx(second.reads(t_ns), abs=2)
    later_ns = 400 * S
    assert relative.reads(first.reads(later_ns)) == pytest.approx(second.reads(later_ns), abs=2)
    assert relative.skew_ppm == pytest.approx(-150.0, abs=0.02)


def test_a_bar_is_decided_by_its_worst_line_and_missed_by_none() -> None:
    rows = [
        {"pair": "a", "source": "x", "median_ms": 4.0},
        {"pair": "b", "source": "y", "median_ms": 11.0},
    ]

    def bar(lines: list[dict[str, object]]) -> Bar:
        return every("promise", lines, "median_ms", "≤ 10 ms", lambda value: value <= 10)

    assert bar(rows) == Bar(name="promise", wanted="≤ 10 ms", got="1 of 2; b (y): 11.0", met=False)
    assert bar(rows[:1]).met
    assert not bar([{"pair": "c", "source": "z", "median_ms": None}]).met
    assert bar([]) == Bar(name="promise", wanted="≤ 10 ms", got="not measured", met=False)


def test_bars_of_nothing_are_all_missed() -> None:
    bars = bars_of([])
    assert len(bars) >= 15
    assert not any(bar.met for bar in bars)


def write_recording(root: Path, *, offset_s: float = 0.0) -> Path:
    """Sound of 6 s whose clock is known to be fast."""
    root.mkdir(parents=True)
    pcm = np.rint(sound(seconds=6.0).sound[0].pcm * 32767).astype(np.int16)
    with av.open(str(root / "audio.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), "s16", "mono")
        frame.sample_rate = 16_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    manifest = {
        "format": "coeval-recording/1",
        "name": root.name,
        "nodes": {"mic": {}},
        "streams": [
            {"id": "audio", "node": "mic", "modality": "audio", "file": "audio.wav", "t0_s": 100.0}
        ],
        "truth": {"nodes": {"mic": {"offset_s": offset_s, "skew_ppm": 0}}, "sigma_s": 0.02},
    }
    (root / "recording.json").write_text(json.dumps(manifest))
    return root


def test_material_is_put_right_by_its_recordings_truth(tmp_path: Path) -> None:
    root = write_recording(tmp_path / "r", offset_s=1.5)
    stream = recorded(root, "audio", held_out=False)
    assert stream.start_ns == pytest.approx(98.5 * S, abs=1000)
    assert stream.stop_ns == pytest.approx(104.5 * S, abs=1000)
    assert stream.sound[0].t_node_ns == pytest.approx(98.5 * S, abs=1000)
    assert (stream.sigma_s, stream.held_out, stream.name) == (0.02, False, "r/audio")


@pytest.fixture
def bench(
    monkeypatch: pytest.MonkeyPatch, coeval: Callable[..., tuple[int, str, str]]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `coeval bench`, of which only the cell of two sounds, in this process."""

    cells = [cell for cell in bench_align.CELLS if cell[0] in (CLEAN, NOISY)]
    monkeypatch.setattr(bench_align, "CELLS", cells)
    monkeypatch.setattr(bench_align, "rows_of_process", bench_align.rows_of_cell)
    return partial(coeval, "bench")


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    write_recording(tmp_path / "recordings" / align_plan.SOUNDS[0])
    return tmp_path / "recordings"


def test_the_json_of_a_bench_has_the_promised_keys(
    bench: Callable[..., tuple[int, str, str]], recordings: Path, tmp_path: Path
) -> None:
    out_path = tmp_path / "new" / "report"
    code, out, err = bench(
        *("align", "--quick", "--json", "--no-peers", "--seed", "3"),
        *("--recordings", recordings, "--out", out_path),
    )
    assert code == 0, err
    answer = json.loads(out)
    assert set(answer) == {"bench", "commit", "rows"}
    assert answer["bench"] == "align"
    assert answer["commit"]
    for found in answer["rows"]:
        assert set(found) >= COLUMNS
        assert (found["method"], found["trials"]) == ("coeval", align_plan.QUICK.trials)
        assert found["commit"] == answer["commit"]
        assert all(math.isfinite(v) for v in found.values() if isinstance(v, float))
    name = align_plan.SOUNDS[0]
    assert [(found["pair"], found["source"]) for found in answer["rows"]] == [
        (pair, source) for pair in (CLEAN, NOISY) for source in (f"{name}, whole", "all, whole")
    ]
    assert json.loads((out_path / "rows.json").read_text())["rows"] == answer["rows"]
    readme = (out_path / "README.md").read_text()
    assert "seed 3" in readme
    assert "| audio-audio, clean | coeval |" in readme
    assert (out_path / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert not (out_path / "partial.jsonl").exists()


def broken(_: align_plan.Plan) -> Iterator[dict[str, Any]]:
    yield row([Trial(error_ms=1.0)])
    raise ValueError("the disk is made of cheese")


def test_a_cell_that_fails_is_named_and_keeps_what_it_had(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bench_align, "CELLS", [("the cell", broken)])
    monkeypatch.setattr(bench_align, "rows_of_process", bench_align.rows_of_cell)
    said: list[str] = []
    plan = replace(align_plan.QUICK, with_peers=False)
    (kept, failed), _ = bench_align.run(plan, say=said.append)
    assert (kept["pair"], failed["pair"], failed["trials"]) == ("audio-text", "the cell", 0)
    assert failed["note"] == "failed: ValueError: the disk is made of cheese"
    assert failed["note"] in said[-1]


def test_a_cell_whose_process_is_killed_is_named_too() -> None:
    leave: Any = os._exit  # called with the "plan" in the cell's own process
    exit_code: Any = 3
    (failed,) = bench_align.rows_of_process("the cell", leave, exit_code)
    assert failed["note"].startswith("failed: its process ended")


def test_rows_measured_so_far_outlive_a_run_that_is_stopped(tmp_path: Path) -> None:
    partial = Partial(tmp_path)
    partial.keep([row([Trial(error_ms=1.0)])])
    partial.keep([row([Trial(error_ms=2.0)])])
    lines = (tmp_path / "partial.jsonl").read_text().splitlines()
    assert [json.loads(line)["median_ms"] for line in lines] == [1.0, 2.0]
    assert {json.loads(line)["commit"] for line in lines} == {partial.commit}


def test_a_tree_that_changed_while_it_was_measured_is_named_by_both_commits() -> None:
    document = stamped_by("align", [{"pair": "a"}], began_at="abc-dirty")
    assert document["commit"].startswith("abc-dirty..")
    assert document["rows"][0]["commit"] == document["commit"]


def test_a_peer_is_beaten_only_by_a_number_no_worse_than_its_own() -> None:
    rows = [
        {"pair": "p", "source": "s", "method": "coeval", "right": 40.0, "median_ms": None},
        {"pair": "p", "source": "s", "method": "peer", "right": 41.0, "median_ms": 3.0},
    ]
    assert not against(rows, "peer", "p", "s", "right").met
    assert not against(rows, "peer", "p", "s", "median_ms").met
    assert against([rows[0] | {"right": 41.0}, rows[1]], "peer", "p", "s", "right").met
    assert not against(rows[:1], "peer", "p", "s", "right").met


def test_without_json_the_table_and_the_bars_are_printed(
    bench: Callable[..., tuple[int, str, str]], recordings: Path
) -> None:
    code, out, _ = bench("align", "--quick", "--no-peers", "--recordings", recordings)
    assert code == 0
    assert "audio-audio, clean" in out
    assert "not measured" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("frob",), "no benchmark 'frob'; there are: align, time, table, encoders"),
        (("align", "--recordings", "{dir}/nowhere"), "nowhere: no such folder"),
        (("align", "--out", "{dir}/file/report"), "file is a file; choose another folder"),
    ],
)
def test_a_mistake_is_one_line_before_anything_is_measured(
    bench: Callable[..., tuple[int, str, str]],
    tmp_path: Path,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    (tmp_path / "file").touch()
    code, out, err = bench(*(argument.format(dir=tmp_path) for argument in arguments))
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1
