"""Preprocessing: what is taken out is gone, what is meant stays, pieces make no difference."""

from dataclasses import fields

import numpy as np
import pytest

from coeval.features import WARM_UP_HOPS, make_extractor
from coeval.features.picture import global_change
from coeval.features.running import RunningNorm
from coeval.features.text import BEGINS
from coeval.hops import Hops, join
from coeval.preprocessing import STEPS, Preprocessing
from coeval.preprocessing.clean_text import clean_line
from coeval.preprocessing.noise_gate import LEAST_GAIN, NoiseGate
from coeval.preprocessing.spikes import SpikeFilter
from coeval.preprocessing.wide import NUM_KEPT, WideReduction
from coeval.samples import AudioBlock, Frame, MetadataBlock, Modality, Sample, TextLine
from coeval.time import NodeNs

S = 1_000_000_000


def rows_of(modality: Modality, samples: list[Sample], **steps: bool) -> Hops:
    extractor = make_extractor(modality, Preprocessing(**steps))
    parts: list[Hops] = []
    for sample in samples:
        parts += extractor.push(sample)
    return max(join(parts + extractor.flush()), key=lambda part: len(part.rows))


def readings(
    num: int, channels: int = 3, *, rate_hz: float = 100.0, seed: int = 0
) -> MetadataBlock:
    rng = np.random.default_rng(seed)
    t = np.round(np.arange(num) * S / rate_hz).astype(np.int64)
    return MetadataBlock(t_node_ns=t, values=rng.standard_normal((num, channels)))


def pieces(block: MetadataBlock, seed: int) -> list[MetadataBlock]:
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(block.t_node_ns), 60))
    return [
        MetadataBlock(t_node_ns=t, values=v)
        for t, v in zip(np.split(block.t_node_ns, cuts), np.split(block.values, cuts), strict=True)
    ]


def filtered(block: MetadataBlock) -> np.ndarray:
    spikes = SpikeFilter(block.values.shape[1])
    parts = [spikes.push(p.t_node_ns, p.values)[1] for p in pieces(block, 1)]
    return np.concatenate([*parts, spikes.flush()[1]])


def test_a_single_impossible_reading_becomes_its_neighbours_mean() -> None:
    block = readings(200)
    block.values[100, 1] = 500.0
    cleaned = filtered(block)
    assert cleaned[100, 1] == pytest.approx(block.values[[99, 101], 1].mean())
    block.values[100, 1] = cleaned[100, 1]
    np.testing.assert_array_equal(cleaned, block.values)


@pytest.mark.parametrize("shape", [(500.0, 500.0), (500.0, -400.0), (500.0, 300.0, 100.0)])
def test_an_impact_of_two_readings_or_more_stays(shape: tuple[float, ...]) -> None:
    block = readings(200)
    block.values[100 : 100 + len(shape), 1] = shape
    np.testing.assert_array_equal(filtered(block), block.values)


def test_the_peak_of_a_fast_movement_after_a_calm_stays() -> None:
    block = readings(200)
    block.values[98:103, 1] = (0.0, 130.0, 360.0, 120.0, 0.0)
    np.testing.assert_array_equal(filtered(block), block.values)


def test_a_step_a_slow_meter_and_a_button_are_left_alone() -> None:
    step, meter, button = readings(200), readings(200, rate_hz=1.0), readings(200)
    step.values[100:] += 500.0
    meter.values[100] = 500.0
    button.values[:] = 0.0
    button.values[100] = 1.0
    for block in (step, meter, button):
        np.testing.assert_array_equal(filtered(block), block.values)


def test_a_slow_meters_reading_does_not_wait_for_the_next() -> None:
    spikes = SpikeFilter(1)
    block = readings(3, 1, rate_hz=0.1)
    given = [
        len(spikes.push(block.t_node_ns[k : k + 1], block.values[k : k + 1])[0]) for k in range(3)
    ]
    assert given == [0, 2, 1]


@pytest.mark.parametrize("channels", [3, 40])
def test_readings_in_pieces_of_any_size_give_the_same_rows(channels: int) -> None:
    block = readings(1500, channels)
    block.values[::97, 1] += 400.0
    block.values[::41, 2] = np.nan
    whole = rows_of("metadata", [block], wide=True)
    for seed in range(3):
        apart = rows_of("metadata", list(pieces(block, seed)), wide=True)
        assert apart.t0_node_ns == whole.t0_node_ns
        np.testing.assert_allclose(apart.rows, whole.rows, atol=1e-4)


def test_infinities_and_the_unthinkably_large_are_missing_readings() -> None:
    block = readings(400)
    block.values[50::7, 0] = np.inf
    block.values[51::7, 1] = -1e200
    for on in (True, False):
        assert np.isfinite(rows_of("metadata", [block], spikes=on).rows).all()


def test_wide_metadata_keeps_what_its_channels_have_in_common() -> None:
    rng = np.random.default_rng(0)
    latent = np.cumsum(rng.standard_normal((3000, 3)), axis=0)
    values = latent @ rng.standard_normal((3, 200)) * 10.0 ** rng.uniform(-3, 3, 200)
    values[:, 50:100] = 7.0
    reduced = WideReduction(200).push(values)[1000:]
    assert reduced.shape[1] == NUM_KEPT
    moved, wanted = np.diff(reduced, axis=0), np.diff(latent[1000:], axis=0)
    rest = wanted - moved @ np.linalg.lstsq(moved, wanted, rcond=None)[0]
    assert rest.var() < 0.01 * wanted.var()


def test_few_channels_are_left_as_they_are() -> None:
    block = readings(1000, NUM_KEPT)
    on, off = (rows_of("metadata", [block], wide=wide) for wide in (True, False))
    np.testing.assert_array_equal(on.rows, off.rows)


def picture(x: float, *, gain: float = 1.0, offset: float = 0.0) -> np.ndarray:
    """A texture seen from x pixels, shape (48, 64)."""
    u, v = (np.arange(64) + x)[None, :], np.arange(48)[:, None]
    waves = np.sin(0.31 * u + 0.17 * v) + np.sin(0.13 * u - 0.29 * v) + np.cos(0.09 * u)
    return ((0.45 + 0.1 * waves) * gain + offset).astype(np.float32)


@pytest.mark.parametrize(("gain", "offset"), [(1.2, 0.0), (0.85, 0.0), (1.0, 0.1), (1.1, -0.08)])
def test_gain_and_offset_are_told_from_motion(gain: float, offset: float) -> None:
    after = picture(-1.5, gain=gain, offset=offset)[None]
    on = global_change(picture(0)[None], after, light=True)
    off = global_change(picture(0)[None], after, light=False)
    np.testing.assert_allclose(on.motion[0, :2] * 64, [1.5, 0.0], atol=0.1)
    assert on.residual[0] < 0.25 * off.residual[0]


def video(gains: np.ndarray) -> list[Sample]:
    """Frames at 25 Hz of a scene that stands still."""
    grey = [np.round(255 * picture(0, gain=gain)).astype(np.uint8) for gain in gains]
    return [Frame(t_node_ns=NodeNs(k * S // 25), grey=g) for k, g in enumerate(grey)]


def test_flicker_is_neither_motion_nor_change_but_brightness() -> None:
    lit = video(1.0 + 0.05 * np.sin(np.arange(400) * 0.9))
    on, off = (
        rows_of("video", lit, light=light, standardise=False).rows[40:-2] for light in (1, 0)
    )
    steady = rows_of("video", video(np.ones(400)), standardise=False).rows[40:-2]
    brighter = 6
    assert np.abs(on[:, :4]).max() < 0.1 < np.abs(off[:, :4]).max()
    assert on[:, 5].std() < 0.3 * off[:, 5].std()
    assert np.abs(on[:, brighter]).max() > 10 * np.abs(steady[:, brighter]).max()
    np.testing.assert_allclose(on[:, brighter], off[:, brighter], atol=1e-5)


def levels_of(num: int, level: float, seed: int = 0) -> np.ndarray:
    """Log powers of noise, shape (hops, 4, 2)."""
    rng = np.random.default_rng(seed)
    return level + np.log(rng.chisquare(8, (num, 4, 2)) / 8)


def test_the_gate_closes_on_steady_noise_and_opens_for_what_is_louder() -> None:
    gate = NoiseGate(2)
    gains = gate.push(levels_of(200, -8.0), np.ones(200, bool))
    assert (gains[:20] == 1.0).all()
    assert gains[100:].mean() < 0.5
    louder = gate.push(levels_of(10, -4.0, seed=1), np.ones(10, bool))
    assert louder.min() > 0.9


def test_the_gate_follows_a_step_of_the_noise_within_its_memory() -> None:
    gate = NoiseGate(2)
    gate.push(levels_of(200, -10.0), np.ones(200, bool))
    gains = gate.push(levels_of(200, -7.0, seed=1), np.ones(200, bool))
    assert gains[:60].mean() > 0.9
    assert gains[100:].mean() < 0.5


def test_silence_that_is_no_sound_does_not_lower_the_floor() -> None:
    gate, covered = NoiseGate(2), np.ones(300, bool)
    covered[150:160] = False
    levels = levels_of(300, -8.0)
    levels[150:160] = 0.0
    gains = gate.push(levels, covered)
    assert (gains[150:160] == 1.0).all()
    assert gains[165:].mean() == pytest.approx(gains[100:150].mean(), abs=0.1)
    assert gains.min() == pytest.approx(LEAST_GAIN)


def test_the_gate_in_pieces_is_the_gate_of_the_whole() -> None:
    levels, covered = levels_of(300, -8.0), np.ones(300, bool)
    gate = NoiseGate(2)
    apart = [gate.push(levels[k : k + 7], covered[k : k + 7]) for k in range(0, 300, 7)]
    np.testing.assert_allclose(np.concatenate(apart), NoiseGate(2).push(levels, covered))


@pytest.mark.parametrize(
    ("line", "cleaned"),
    [
        ("\x1b[31;1mERROR\x1b[0m  disk \x1b]0;title\x07full", "ERROR disk full"),
        ('<font color="#ff0000"><i>Hallo</i></font> Welt', "Hallo Welt"),
        (r"{\an8}{\i1}¿Qué pasa?{\i0}", "¿Qué pasa?"),
        ("2026-03-01T12:00:05.123Z pump on", "pump on"),
        ("2026-03-01 12:00:05,123 +02:00 INFO Насос включён", "INFO Насос включён"),
        ("Mar  1 12:00:05 host sshd[4711]: session opened", "host sshd[0]: session opened"),
        ("[   12.345678] usb 1-2: new device", "usb 0-0: new device"),
        ("1714550400.123 door opens", "door opens"),
        ("req 550e8400-e29b-41d4-a716-446655440000 at 0xDEADBEEF done", "req at done"),
        ("commit 3fa94c1d07 by aa:bb:cc:dd:ee:ff", "commit by"),
        ("ｄｏｏｒ　ｏｐｅｎｓ\u200b", "door opens"),
        ("ドアが開く", "ドアが開く"),
        ("الباب يفتح 42 مرة", "الباب يفتح 0 مرة"),
        ("Fish &amp; chips", "Fish & chips"),
        ("a < b and c > d", "a < b and c > d"),
        ("temperature 21.5 °C", "temperature 0 °C"),
        ("speaker MEE009 took 35ms", "speaker MEE009 took 0ms"),
        ("decade facade added", "decade facade added"),
        ("♪ ♪", "♪ ♪"),
        ("12:00:05", ""),
        ("--- ... \x1b[0m", ""),
    ],
)
def test_a_line_is_left_with_what_it_says(line: str, cleaned: str) -> None:
    assert clean_line(line) == cleaned


def text_rows(lines: list[str], **steps: bool) -> np.ndarray:
    spoken = [
        TextLine(t_node_ns=NodeNs(k * S), t_end_node_ns=None, text=t) for k, t in enumerate(lines)
    ]
    return rows_of("text", list(spoken), **steps).rows


def test_a_counter_does_not_make_every_line_new() -> None:
    counted = text_rows([f"12:00:{k:02d} pump on, run {k}" for k in range(10)])
    np.testing.assert_allclose(counted, text_rows(["pump on, run 7"] * 10), atol=1e-6)


def test_an_empty_line_says_nothing_and_a_repeated_one_says_it_again() -> None:
    lines = ["stop", "12:00:01", "stop", "stop"]
    assert text_rows(lines)[:, BEGINS].sum() == pytest.approx(3.0)
    assert text_rows(lines, cleanup=False)[:, BEGINS].sum() == pytest.approx(4.0)


def test_rows_that_are_not_standardised_are_centred_only() -> None:
    rows = 5.0 + 0.5 * np.random.default_rng(0).standard_normal((400, 2))
    out = RunningNorm(2, memory_hops=200, floor=0.1, standardise=False).push(rows, np.ones(400))
    assert out[200:].mean() == pytest.approx(0.0, abs=0.1)
    assert out[200:].std() == pytest.approx(0.5, abs=0.05)


def test_rows_one_by_one_or_all_at_once_are_normalised_alike() -> None:
    rng = np.random.default_rng(0)
    rows, weights = rng.standard_normal((300, 4)), (rng.random(300) < 0.9).astype(float)
    whole = RunningNorm(4, memory_hops=100, floor=0.1).push(rows, weights)
    norm = RunningNorm(4, memory_hops=100, floor=0.1)
    apart = [norm.push(rows[k : k + 1], weights[k : k + 1]) for k in range(300)]
    np.testing.assert_allclose(np.concatenate(apart), whole, atol=1e-6)


def test_a_stream_is_warm_when_its_memory_is_full() -> None:
    extractor = make_extractor("metadata")
    block = readings(100 * 12)
    hops = WARM_UP_HOPS["metadata"]
    seen = 0
    for piece in pieces(block, 0):
        seen += sum(len(rows.rows) for rows in extractor.push(piece))
        assert extractor.is_warm == (seen >= hops)
    assert seen > hops


def test_every_switch_belongs_to_a_modality_and_switches_it() -> None:
    names = [field.name for field in fields(Preprocessing)]
    on, off = (Preprocessing(**dict.fromkeys(names, is_on)) for is_on in (True, False))
    for modality, steps in STEPS.items():
        assert on.steps(modality) == steps
        assert off.steps(modality) == ()


def test_reducing_wide_metadata_is_left_to_whoever_asks_for_it() -> None:
    assert "wide" not in Preprocessing().steps("metadata")


def test_sound_with_a_steady_hiss_shows_its_quiet_bands_less() -> None:
    pcm = 0.01 * np.random.default_rng(0).standard_normal(16_000 * 12)
    block = AudioBlock(t_node_ns=NodeNs(0), rate_hz=16_000.0, pcm=pcm.astype(np.float32))
    on, off = (rows_of("audio", [block], noise=noise) for noise in (True, False))
    np.testing.assert_array_equal(on.rows[:18], off.rows[:18])
    assert not np.allclose(on.rows[100:], off.rows[100:])
