"""Raw signals and sounds: sharper than embeddings where two streams share physics."""

from dataclasses import replace

import numpy as np
import pytest

from coeval.line import LagGrid, LineFit, Surface, fit_peak, search_lines
from coeval.samples import AudioBlock
from coeval.signal_line import regress_signals
from coeval.signals import SignalTrack, refine_by_signals, signal_surface
from coeval.time import NodeNs
from coeval.waveform import refine_by_waveform, share_nothing, sound_surface

S = 1_000_000_000
GRID = LagGrid(lowest_ns=-20 * S, step_ns=25_000_000, num_lags=1601)


def motion(seconds: float, rate_hz: float, seed: int) -> np.ndarray:
    """Three channels of band-limited motion, shape (n, 3)."""
    rng = np.random.default_rng(seed)
    n = round(seconds * rate_hz)
    spectrum = np.fft.rfft(rng.standard_normal((n, 3)), axis=0)
    hz = np.fft.rfftfreq(n, 1 / rate_hz)
    spectrum[(hz < 0.2) | (hz > 6)] = 0
    return np.fft.irfft(spectrum, n, axis=0)


def track(values: np.ndarray, rate_hz: float, t0_ns: int = 0) -> SignalTrack:
    times = t0_ns + np.round(np.arange(len(values)) * S / rate_hz).astype(np.int64)
    return SignalTrack(t_node_ns=times, values=values)


def lag_of(a: SignalTrack, b: SignalTrack) -> LineFit | None:
    surface = signal_surface(a, b, grid=GRID)
    if surface is None:
        return None
    return fit_peak(search_lines([surface], GRID, t_mid_ns=15e9, span_s=30.0), GRID)


def test_a_rotated_sensor_at_another_rate_is_found_with_the_right_sign() -> None:
    x = motion(30, 200, 1)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((3, 3)))[0]
    noisy = x[::4] @ turn + 0.2 * np.random.default_rng(3).standard_normal((1500, 3)) * x.std()
    fit = lag_of(track(x, 200), track(noisy, 50, t0_ns=round(3.21 * S)))
    assert fit is not None
    assert fit.lag_ns * 1e-9 == pytest.approx(3.21, abs=0.01)
    assert fit.z > 8


def test_a_signal_and_its_integral_are_not_biased() -> None:
    x = motion(30, 100, 4)
    fit = lag_of(track(x, 100), track(np.cumsum(x, axis=0) / 100, 100, t0_ns=S))
    assert fit is not None
    assert fit.lag_ns * 1e-9 == pytest.approx(1.0, abs=0.015)


def rough(lag_ns: float) -> LineFit:
    """A line that is 8 ms and 30 ppm off at most."""
    return LineFit(
        t_mid_ns=60e9,
        lag_ns=lag_ns,
        skew_ppm=0.0,
        covariance=np.diag([8e6**2, 30.0**2]),
        peak=50.0,
        z=20.0,
        margin=10.0,
        lags_tried=1,
    )


@pytest.mark.parametrize("skew_ppm", [0.0, 25.0, -25.0])
def test_two_minutes_of_noisy_signals_show_skew_to_a_few_ppm(skew_ppm: float) -> None:
    x = motion(120, 200, 5)
    turn = np.linalg.qr(np.random.default_rng(6).standard_normal((3, 3)))[0]
    noise = 0.5 * np.random.default_rng(7).standard_normal((6000, 3)) * x.std()
    other = track(x[::4] @ turn + noise, 50)
    stamps = np.round(other.t_node_ns * (1 + skew_ppm * 1e-6)).astype(np.int64) + 2 * S
    line = regress_signals(
        track(x, 200),
        SignalTrack(t_node_ns=stamps, values=other.values),
        rough(2e9 + skew_ppm * 1e-6 * 60e9 + 3e6),
        start_ns=0.0,
        stop_ns=120e9,
    )
    assert line is not None
    assert line.skew_ppm == pytest.approx(skew_ppm, abs=6.0)
    assert abs(line.skew_ppm - skew_ppm) <= 4 * line.covariance[1, 1] ** 0.5


def test_unrelated_signals_give_no_line() -> None:
    a, b = track(motion(60, 100, 8), 100), track(motion(60, 100, 9), 100)
    line = regress_signals(a, b, rough(0.0), start_ns=0.0, stop_ns=60e9)
    assert line is None or line.covariance[1, 1] ** 0.5 > 30.0


def test_unrelated_signals_hardly_ever_look_related() -> None:
    believed = 0
    for seed in range(30):
        fit = lag_of(track(motion(30, 100, 100 + seed), 100), track(motion(30, 60, seed), 60))
        believed += fit is not None and fit.peak > np.log(1600) + 2.5 and fit.z > 6.5
    assert believed == 0


def test_still_signals_say_nothing() -> None:
    assert (
        signal_surface(track(np.ones((900, 2)), 30), track(motion(30, 30, 1), 30), grid=GRID)
        is None
    )


def test_refined_signals_come_closer() -> None:
    x = motion(60, 100, 6)
    a, b = track(x, 100), track(x, 100, t0_ns=round(2.0037 * S))
    rough = LineFit(
        t_mid_ns=30e9,
        lag_ns=1.95e9,
        skew_ppm=0.0,
        covariance=np.diag([1e15, 250.0**2]),
        peak=20.0,
        z=9.0,
        margin=4.0,
        lags_tried=1000,
    )
    fine = refine_by_signals(a, b, rough, span_s=60.0)
    assert fine is not None
    assert fine.lag_ns * 1e-9 == pytest.approx(2.0037, abs=0.002)


def speechlike(seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    level = np.repeat(rng.random(round(seconds * 10)) ** 3, 1600)
    return (0.3 * level * rng.standard_normal(len(level))).astype(np.float32)


def sounds(
    seconds: float, offset_s: float, skew_ppm: float, *, noise: float = 0.0
) -> tuple[AudioBlock, AudioBlock]:
    pcm = speechlike(seconds, 1)
    rng = np.random.default_rng(2)
    heard = pcm + noise * pcm.std() * rng.standard_normal(len(pcm)).astype(np.float32)
    first = AudioBlock(t_node_ns=NodeNs(0), rate_hz=16_000.0, pcm=pcm)
    second = AudioBlock(
        t_node_ns=NodeNs(round(offset_s * S)), rate_hz=16_000 / (1 + skew_ppm * 1e-6), pcm=heard
    )
    return first, second


def line(lag_s: float, t_mid_s: float, skew_ppm: float = 0.0) -> LineFit:
    return LineFit(
        t_mid_ns=t_mid_s * S,
        lag_ns=lag_s * S,
        skew_ppm=skew_ppm,
        covariance=np.diag([(20e6) ** 2, 150.0**2]),
        peak=50.0,
        z=12.0,
        margin=8.0,
        lags_tried=4000,
    )


@pytest.mark.parametrize("skew_ppm", [0.0, 41.0, -500.0])
def test_sounds_are_placed_within_ten_microseconds(skew_ppm: float) -> None:
    a, b = sounds(60, 2.345678, skew_ppm)
    at_middle = 2.345678 + skew_ppm * 1e-6 * 30
    fit = refine_by_waveform([a], [b], line(at_middle + 0.03, 30.0), start_ns=0.0, stop_ns=60e9)
    assert fit is not None
    at_30_s = fit.lag_ns + fit.skew_ppm * 1e-6 * (30e9 - fit.t_mid_ns)
    assert at_30_s * 1e-9 == pytest.approx(at_middle, abs=10e-6)
    assert fit.skew_ppm == pytest.approx(skew_ppm, abs=1.0)


def test_sounds_with_as_much_noise_are_placed_within_a_tenth_of_a_millisecond() -> None:
    a, b = sounds(60, -1.5, 20.0, noise=1.0)
    fit = refine_by_waveform([a], [b], line(-1.48, 30.0), start_ns=0.0, stop_ns=60e9)
    assert fit is not None
    assert fit.lag_ns * 1e-9 == pytest.approx(-1.5 + 20e-6 * fit.t_mid_ns * 1e-9, abs=1e-4)


def test_different_sounds_are_not_sharpened() -> None:
    a, _ = sounds(30, 0.0, 0.0)
    other = AudioBlock(t_node_ns=NodeNs(0), rate_hz=16_000.0, pcm=speechlike(30, 9))
    assert refine_by_waveform([a], [other], line(0.0, 15.0), start_ns=0.0, stop_ns=30e9) is None


def test_silence_is_not_sharpened() -> None:
    a, _ = sounds(30, 0.0, 0.0)
    quiet = AudioBlock(t_node_ns=NodeNs(0), rate_hz=16_000.0, pcm=np.zeros(480_000, np.float32))
    assert refine_by_waveform([a], [quiet], line(0.0, 15.0), start_ns=0.0, stop_ns=30e9) is None
    assert sound_surface([a], [quiet], grid=GRID) is None


def test_ten_noisy_seconds_are_found_by_the_sound_itself() -> None:
    a, b = sounds(10, 7.3, 0.0, noise=1.0)
    surface = sound_surface([a], [b], grid=GRID)
    assert surface is not None
    fit = fit_peak(search_lines([surface], GRID, t_mid_ns=5e9, span_s=10.0), GRID)
    assert fit is not None
    assert fit.lag_ns * 1e-9 == pytest.approx(7.3, abs=0.03)


def test_among_a_handful_of_lags_nothing_stands_out() -> None:
    """Right after the start only few lags have common material: a peak there is no evidence."""
    scores = np.zeros((1, GRID.num_lags), np.float32)
    scores[0, 500:505] = (1.0, 30.0, 2.0, 0.5, 0.7)
    surface = Surface(mids_ns=np.array([5e9]), length_ns=1e10, scores=scores)
    assert fit_peak(search_lines([surface], GRID, t_mid_ns=5e9, span_s=1.0), GRID) is None


def nothing_shared(a: AudioBlock, b: AudioBlock) -> bool:
    surface = sound_surface([a], [b], grid=GRID)
    assert surface is not None
    return share_nothing(surface)


def test_sounds_of_two_scenes_share_nothing() -> None:
    a, _ = sounds(40, 0.0, 0.0)
    other = AudioBlock(t_node_ns=NodeNs(0), rate_hz=16_000.0, pcm=speechlike(40, 9))
    assert nothing_shared(a, other)


def test_a_sound_under_twice_as_much_noise_is_not_said_to_be_of_another_scene() -> None:
    assert not nothing_shared(*sounds(40, -3.1, 60.0, noise=2.0))


def test_two_windows_of_sound_are_no_evidence_of_another_scene() -> None:
    a, _ = sounds(10, 0.0, 0.0)
    other = AudioBlock(t_node_ns=NodeNs(0), rate_hz=16_000.0, pcm=speechlike(40, 9))
    assert not nothing_shared(a, other)


def paused(values: np.ndarray, rate_hz: float, gaps_s: list[tuple[float, float]]) -> SignalTrack:
    """Readings on a level that drifts, none in the gaps."""
    whole = track(values + np.arange(len(values))[:, None] / len(values), rate_hz)
    t_s = whole.t_node_ns / S
    kept = np.all([(t_s < begin) | (t_s >= end) for begin, end in gaps_s], axis=0)
    return SignalTrack(t_node_ns=whole.t_node_ns[kept], values=whole.values[kept])


def test_strangers_that_pause_together_are_not_matched_on_their_pauses() -> None:
    for seed in range(6):
        a = paused(motion(40, 100, 2 * seed), 100, [(8, 14), (22, 27)])
        b = paused(motion(40, 100, 2 * seed + 1), 100, [(8.1, 14.1), (22.1, 27.1)])
        fit = lag_of(a, b)
        assert fit is None or fit.z < 6.5


def test_related_signals_are_found_across_pauses_of_their_own() -> None:
    x = motion(60, 100, 1)
    a, b = paused(x, 100, [(8, 14)]), paused(x, 100, [(21, 30), (41, 44)])
    fit = lag_of(a, replace(b, t_node_ns=b.t_node_ns + 3 * S))
    assert fit is not None
    assert fit.lag_ns * 1e-9 == pytest.approx(3.0, abs=0.01)
    assert fit.z > 8


@pytest.mark.parametrize("seconds", [4.0, 8.0])
def test_the_interval_of_a_short_noisy_sound_holds_its_lag(seconds: float) -> None:
    held, trials = 0, 20
    for seed in range(trials):
        rng = np.random.default_rng(seed)
        pcm = speechlike(seconds, seed)
        noisy = pcm + pcm.std() * rng.standard_normal(len(pcm)).astype(np.float32)
        first = AudioBlock(t_node_ns=NodeNs(0), rate_hz=16_000.0, pcm=pcm)
        second = replace(first, t_node_ns=NodeNs(2_345_678), pcm=noisy)
        stop_ns = seconds * S
        rough = line(0.0, seconds / 2)
        fit = refine_by_waveform([first], [second], rough, start_ns=0.0, stop_ns=stop_ns)
        assert fit is not None
        miss_ns = fit.lag_ns + fit.skew_ppm * 1e-6 * -fit.t_mid_ns - 2_345_678
        reach = np.array([1.0, -1e-6 * fit.t_mid_ns])
        held += abs(miss_ns) <= 1.96 * np.sqrt(reach @ fit.covariance @ reach)
    assert held >= 0.85 * trials
