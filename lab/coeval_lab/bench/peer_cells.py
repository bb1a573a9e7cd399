"""The peers on the same trials as ours: the same pieces, offsets and noise."""

import tempfile
import wave
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coeval.samples import AudioBlock, FloatArray, TextLine
from coeval.time import NS_PER_S
from coeval.waveform import sound_at
from coeval_lab.bench.cells import Draw, draw_trial
from coeval_lab.bench.material import SAMPLE_RATE_HZ, Stream, cropped, degraded, recorded, stamped
from coeval_lab.bench.metrics import Trial, row_of
from coeval_lab.bench.peers import PeerWorker, install_peers

AUDIO_PEERS = ("audalign", "syncstart", "audio-offset-finder")
Row = dict[str, Any]


def peer_rows(
    recordings: Path,
    *,
    seed: int,
    repeats: int,
    sounds: Sequence[str],
    speech: Sequence[tuple[str, str]],
) -> Iterator[Row]:
    """Lines of every peer that is installed; one that is not says why.

    The peers know neither skew nor intervals nor rejection by content; they get whole recordings
    and a fifth of our trials, because some take seconds a call.
    """
    install_peers()
    repeats = max(repeats // 5, 1)
    with tempfile.TemporaryDirectory() as folder, PeerWorker() as worker:
        versions = worker.versions()
        for peer in (*AUDIO_PEERS, "ffsubsync"):
            if versions.get(peer, "").startswith("missing"):
                yield row_of([], pair="–", method=peer, source="–", note=versions[peer])
        for noisy in (False, True):
            pair = "audio-audio, reverb + 0 dB noise" if noisy else "audio-audio, clean"
            answers: dict[str, list[Trial]] = {peer: [] for peer in AUDIO_PEERS}
            for k, name in enumerate(n for n in sounds if (recordings / n).exists()):
                a = recorded(recordings / name, "audio", held_out=True)
                b = degraded(a, seed=seed + k) if noisy else a
                rng = np.random.default_rng([seed, k, 1, noisy])
                for _ in range(repeats):
                    draw = draw_trial(a, b, rng, window_s=None)
                    first, second = wav_pair(a, b, draw, Path(folder))
                    for peer in AUDIO_PEERS:
                        answers[peer].append(ask(worker, peer, draw, first, second))
            for peer, trials in answers.items():
                yield row_of(
                    trials, pair=pair, method=peer, source="whole", note=versions.get(peer, "")
                )
        subtitles = []
        for k, (name, stream) in enumerate(speech):
            if not (recordings / name).exists():
                continue
            a = recorded(recordings / name, "audio", held_out=True)
            b = recorded(recordings / name, stream, held_out=True)
            rng = np.random.default_rng([seed, k, 2])
            for _ in range(repeats):
                draw = draw_trial(a, b, rng, window_s=None)
                subtitles.append(ask_subtitles(worker, a, b, draw, Path(folder)))
        yield row_of(
            subtitles,
            pair="audio-text",
            method="ffsubsync",
            source="all",
            note=versions.get("ffsubsync", ""),
        )


def pieces(a: Stream, b: Stream, draw: Draw) -> tuple[list[AudioBlock], list[AudioBlock]]:
    """The spans of both sounds that our own trial sees, stamped by their clocks."""
    late = int(0.05 * (draw.stop_ns - draw.start_ns))
    first = cropped(a.sound, draw.start_ns, draw.stop_ns)
    second = cropped(b.sound, draw.start_ns + late, draw.stop_ns + late)
    moved = [stamped(block, draw.clock) for block in second]
    return (
        [block for block in first if isinstance(block, AudioBlock)],
        [block for block in moved if isinstance(block, AudioBlock)],
    )


def wav_pair(
    a: Stream, b: Stream, draw: Draw, folder: Path
) -> tuple[tuple[Path, int], tuple[Path, int]]:
    """Both pieces as 16 kHz WAV files on their node's clock, with the time of their beginnings."""
    written = []
    for name, blocks in zip(("first.wav", "second.wav"), pieces(a, b, draw), strict=True):
        start_ns = int(blocks[0].t_node_ns)
        end = blocks[-1]
        stop_ns = end.t_node_ns + len(end.pcm) / end.rate_hz * NS_PER_S
        times = np.arange(start_ns, stop_ns, NS_PER_S / SAMPLE_RATE_HZ)
        write_wav(folder / name, sound_at(blocks, times, rate_hz=SAMPLE_RATE_HZ))
        written.append((folder / name, start_ns))
    return written[0], written[1]


def write_wav(path: Path, pcm: FloatArray) -> None:
    """Mono 16-bit WAV."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE_HZ)
        file.writeframes((np.clip(pcm, -1, 1) * 32767).astype("<i2").tobytes())


def ask(
    worker: PeerWorker, peer: str, draw: Draw, first: tuple[Path, int], second: tuple[Path, int]
) -> Trial:
    """One answer about two sounds, compared with the truth at the middle of the piece."""
    answer = worker.ask(peer, {"first": str(first[0]), "second": str(second[0])})
    return trial_of(answer.offset_s, answer.cpu_s, draw, begins_ns=second[1] - first[1])


def trial_of(offset_s: float | None, cpu_s: float, draw: Draw, *, begins_ns: float) -> Trial:
    """An answer between files' beginnings as an error of the clock's offset.

    A peer knows one offset only: it is compared with the truth at the middle, its best case.
    """
    material_s = (draw.stop_ns - draw.start_ns) / NS_PER_S
    if offset_s is None:
        return Trial(error_ms=None, cpu_s=cpu_s, material_s=material_s)
    middle_ns = 0.5 * (draw.start_ns + draw.stop_ns)
    truth_ns = draw.clock.reads(middle_ns) - middle_ns
    error_ms = (offset_s * NS_PER_S + begins_ns - truth_ns) * 1e-6
    return Trial(error_ms=error_ms, cpu_s=cpu_s, material_s=material_s)


def ask_subtitles(worker: PeerWorker, a: Stream, b: Stream, draw: Draw, folder: Path) -> Trial:
    """One answer about a sound and its subtitles."""
    sound = [x for x in cropped(a.sound, draw.start_ns, draw.stop_ns) if isinstance(x, AudioBlock)]
    start_ns = int(sound[0].t_node_ns)
    times = np.arange(start_ns, draw.stop_ns, NS_PER_S / SAMPLE_RATE_HZ)
    write_wav(folder / "sound.wav", sound_at(sound, times, rate_hz=SAMPLE_RATE_HZ))
    late = int(0.05 * (draw.stop_ns - draw.start_ns))
    lines = [
        line
        for sample in cropped(b.samples, draw.start_ns + late, draw.stop_ns + late)
        if isinstance(line := stamped(sample, draw.clock), TextLine)
    ]
    # Subtitle files know no time before zero: count from a minute before the first line.
    base_ns = min(int(line.t_node_ns) for line in lines) - 60 * NS_PER_S if lines else 0
    base_ns = min(base_ns, start_ns)
    write_srt(folder / "lines.srt", lines, base_ns)
    answer = worker.ask(
        "ffsubsync", {"first": str(folder / "sound.wav"), "second": str(folder / "lines.srt")}
    )
    trial = trial_of(answer.offset_s, answer.cpu_s, draw, begins_ns=base_ns - start_ns)
    sigma_ms = max(a.sigma_s, b.sigma_s) * 1e3
    return Trial(
        error_ms=trial.error_ms,
        cpu_s=trial.cpu_s,
        material_s=trial.material_s,
        truth_sigma_ms=sigma_ms,
    )


def write_srt(path: Path, lines: Sequence[TextLine], base_ns: int) -> None:
    """Subtitles, times counted from `base_ns`."""

    def stamp(t_ns: int) -> str:
        ms = max(round((t_ns - base_ns) / 1e6), 0)
        return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02},{ms % 1000:03}"

    entries = []
    for k, line in enumerate(lines, 1):
        end_ns = line.t_end_node_ns or line.t_node_ns + NS_PER_S
        entries.append(f"{k}\n{stamp(line.t_node_ns)} --> {stamp(end_ns)}\n{line.text}\n")
    path.write_text("\n".join(entries))
