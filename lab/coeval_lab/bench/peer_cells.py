"""The peers on the same trials as ours: the same pieces, offsets and noise."""

import tempfile
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from coeval.samples import AudioBlock, FloatArray, TextLine
from coeval.time import NS_PER_S
from coeval.waveform import sound_at
from coeval_lab.bench.align_plan import Cell, Plan, cells_of
from coeval_lab.bench.cells import Draw, constant_trial
from coeval_lab.bench.events import event_times
from coeval_lab.bench.material import SAMPLE_RATE_HZ, Stream, cropped, stamped
from coeval_lab.bench.metrics import Trial, row_of
from coeval_lab.bench.peers import PeerWorker, install_peers
from coeval_lab.bench.real_cells import rows_of_cells
from coeval_lab.bench.rows import Row

AUDIO_PEERS = ("audalign", "syncstart", "audio-offset-finder")
SUBTITLES_PEER = "ffsubsync"
EVENTS_PEER = "nearest-advocate"
SPEECH_PAIR = "audio-text"
EVENT_PAIRS = (SPEECH_PAIR, "audio-text, heart", "metadata-metadata")
"""Pairs both of whose streams can be seen as lists of events."""
DEAR_TRIALS = 14
"""Peers that read files cost more than ours: they get the first trials of each recording, which
hold each skew twice and each offset."""
REACH_S = 60.0
"""As far as ours searches."""

Answerer = Callable[[PeerWorker, Cell, Draw, Path], dict[str, Trial]]
"""Asks peers about one trial; answers by peer."""


def sound_peers(plan: Plan, pair: str) -> Iterator[Row]:
    """The peers that correlate sounds, on our trials of whole sounds."""
    whole = replace(plan, windows_s=(None,))
    yield from peer_rows(whole, pair, AUDIO_PEERS, ask_about_sounds, most_trials=DEAR_TRIALS)


def subtitle_peers(plan: Plan) -> Iterator[Row]:
    """ffsubsync on our trials of whole recordings of speech."""
    whole = replace(plan, windows_s=(None,))
    yield from peer_rows(
        whole, SPEECH_PAIR, (SUBTITLES_PEER,), ask_about_subtitles, most_trials=DEAR_TRIALS
    )


def event_peers(plan: Plan) -> Iterator[Row]:
    """nearest_advocate on our trials of streams that can be seen as events."""
    for pair in EVENT_PAIRS:
        yield from peer_rows(plan, pair, (EVENTS_PEER,), ask_about_events)


def peer_rows(
    plan: Plan,
    pair: str,
    peers: Sequence[str],
    answer: Answerer,
    *,
    most_trials: int | None = None,
) -> Iterator[Row]:
    """Lines of peers on one pair of modalities; one that is not installed says why.

    The peers know neither skew nor intervals nor rejection by content.
    """
    if not plan.with_peers:
        return
    install_peers()
    with tempfile.TemporaryDirectory() as folder, PeerWorker() as worker:
        versions = worker.versions()
        missing = {peer for peer in peers if versions.get(peer, "missing").startswith("missing")}
        for peer in sorted(missing):
            yield row_of([], pair=pair, method=peer, source="–", note=versions.get(peer, "missing"))
        found: dict[str, list[tuple[Cell, list[Trial]]]] = {peer: [] for peer in peers}
        cells = cells_of(plan, pair)
        if cells:
            answer(worker, cells[0], cells[0].draws[0], Path(folder))  # its start costs no trial
            worker.errors.clear()
        for cell in cells:
            for peer in peers:
                found[peer].append((cell, []))
            for draw in cell.draws[:most_trials]:
                for peer, trial in answer(worker, cell, draw, Path(folder)).items():
                    found[peer][-1][1].append(trial)
        for peer in peers:
            if peer not in missing:
                note = versions[peer]
                if failed := worker.errors.get(peer):
                    note += f"; failed {len(failed)} times: {failed[0]}"
                yield from rows_of_cells(pair, peer, found[peer], note=note)


def ask_about_sounds(worker: PeerWorker, cell: Cell, draw: Draw, folder: Path) -> dict[str, Trial]:
    """What the peers of sounds answer on one trial."""
    first, second = wav_pair(cell.first, cell.second, draw, folder)
    return {peer: ask(worker, peer, draw, first, second) for peer in AUDIO_PEERS}


def ask_about_subtitles(
    worker: PeerWorker, cell: Cell, draw: Draw, folder: Path
) -> dict[str, Trial]:
    """What ffsubsync answers on one trial."""
    return {SUBTITLES_PEER: ask_subtitles(worker, cell.first, cell.second, draw, folder)}


def ask_about_events(worker: PeerWorker, cell: Cell, draw: Draw, folder: Path) -> dict[str, Trial]:
    """What nearest_advocate answers on one trial."""
    del folder
    return {EVENTS_PEER: ask_events(worker, cell.first, cell.second, draw)}


def ask_events(worker: PeerWorker, a: Stream, b: Stream, draw: Draw) -> Trial:
    """One answer about the moments at which something begins in either stream."""
    late = int(0.05 * (draw.stop_ns - draw.start_ns))
    second = [
        stamped(sample, draw.clock)
        for sample in cropped(b.samples, draw.start_ns + late, draw.stop_ns + late)
    ]
    began_s = time.process_time()
    first_s, second_s = (
        event_times(samples, since_ns=draw.start_ns)
        for samples in (cropped(a.samples, draw.start_ns, draw.stop_ns), second)
    )
    own_s = time.process_time() - began_s
    sigma_s = max(a.sigma_s, b.sigma_s)
    if not len(first_s) or not len(second_s):
        return constant_trial(None, own_s, draw, truth_sigma_s=sigma_s)
    job = {"first": first_s.tolist(), "second": second_s.tolist(), "reach_s": REACH_S}
    answer = worker.ask(EVENTS_PEER, job)
    return constant_trial(answer.offset_s, own_s + answer.cpu_s, draw, truth_sigma_s=sigma_s)


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


def trial_of(
    offset_s: float | None,
    cpu_s: float,
    draw: Draw,
    *,
    begins_ns: float,
    truth_sigma_s: float = 0.0,
) -> Trial:
    """An answer between files, the second of which begins `begins_ns` after the first."""
    found = None if offset_s is None else offset_s + begins_ns / NS_PER_S
    return constant_trial(found, cpu_s, draw, truth_sigma_s=truth_sigma_s)


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
    return trial_of(
        answer.offset_s,
        answer.cpu_s,
        draw,
        begins_ns=base_ns - start_ns,
        truth_sigma_s=max(a.sigma_s, b.sigma_s),
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
