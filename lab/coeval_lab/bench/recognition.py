"""Rows about recognition: unlabelled windows of streams, nothing given but their content.

Neither names of files nor headers are shown. A window is right, wrong, or said to be unsure.
"""

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np

from coeval.hops import Hops
from coeval.manifest import StreamSpec
from coeval.recognition import Recognition, recognise_channels
from coeval.samples import AudioBlock, Frame, MetadataBlock, Modality, Sample, TextLine
from coeval.time import NS_PER_S
from coeval_aggregator.recognise import recognise_embeddings
from coeval_edge.recognise import recognise_bytes
from coeval_edge.recording import Recording, open_recording
from coeval_edge.recording_samples import read_metadata, read_samples
from coeval_lab.bench.recognition_truth import SENSORS, Sensor
from coeval_lab.bench.relevance_faults import first_ns
from coeval_lab.bench.rows import Row
from coeval_lab.tracks import track_from
from coeval_training.data import FIRST_HELD_OUT_SEED, SLOTS
from coeval_training.material import TRAINED_ON
from coeval_training.scenes import generate_scene

Window = tuple[str, bytes]
"""How it is dressed, and its bytes."""

WINDOW_S = 5.0
EMBEDDED_HOPS = 400
"""Windows of embeddings last 20 s."""
MOST_WINDOWS = 40
"""Of one stream, spread over it: long recordings do not count more."""
FIRST_SEED = FIRST_HELD_OUT_SEED + 500_000
SCENE_S = 60.0
MOST_SCENES = 40
UNSURE = "unsure"


class RecognitionPlan(Protocol):
    """How much is measured."""

    @property
    def recordings(self) -> Path:
        """Folder of real recordings."""

    @property
    def num_scenes(self) -> int:
        """Generated scenes."""


def windows_of(samples: Sequence[Sample], window_s: float = WINDOW_S) -> list[list[Sample]]:
    """Pieces of a stream, at most MOST_WINDOWS, spread over it."""
    pieces: dict[int, list[Sample]] = {}
    length_ns = round(window_s * NS_PER_S)
    begin_ns = first_ns(samples[0])
    for sample in samples:
        if isinstance(sample, MetadataBlock):
            part = (sample.t_node_ns - begin_ns) // length_ns
            for k in np.unique(part).tolist():
                inside = part == k
                pieces.setdefault(int(k), []).append(
                    MetadataBlock(t_node_ns=sample.t_node_ns[inside], values=sample.values[inside])
                )
        else:
            pieces.setdefault((first_ns(sample) - begin_ns) // length_ns, []).append(sample)
    chosen = [piece for piece in pieces.values() if is_long_enough(piece)]
    step = max(len(chosen) / MOST_WINDOWS, 1.0)
    return [chosen[int(k * step)] for k in range(int(len(chosen) / step))]


def is_long_enough(samples: Sequence[Sample]) -> bool:
    """Whether a piece is more than the rest at a stream's end: half a second of sound or film."""
    if isinstance(samples[0], AudioBlock):
        return sum(len(s.pcm) for s in samples if isinstance(s, AudioBlock)) >= 8000
    return len(samples) >= 5 or not isinstance(samples[0], Frame)


def dressed(samples: Sequence[Sample]) -> Iterator[Window]:
    """A window in the ways in which such a stream comes."""
    first = samples[0]
    if isinstance(first, MetadataBlock):
        yield from _dressed_readings([s for s in samples if isinstance(s, MetadataBlock)])
    elif isinstance(first, TextLine):
        lines = [s for s in samples if isinstance(s, TextLine)]
        yield "lines", "\n".join(line.text for line in lines).encode()
        yield (
            "table",
            b"".join(
                _row(seconds(s.t_node_ns), '"' + s.text.replace('"', '""') + '"') for s in lines
            ),
        )
    elif isinstance(first, AudioBlock):
        blocks = [s for s in samples if isinstance(s, AudioBlock)]
        pcm = np.concatenate([block.pcm for block in blocks])
        whole = np.round(np.clip(pcm, -1, 1) * 32767).astype("<i2")
        yield "wav", _wav(whole, round(blocks[0].rate_hz))
        yield "samples without a header", whole.tobytes()
        rate_hz = blocks[0].rate_hz
        numbers = (
            _row(f"{k / rate_hz:.7f}", f"{v:.5f}") for k, v in enumerate(pcm[:8000].tolist())
        )
        yield "table", b"".join(numbers)
    else:
        frames = [s for s in samples if isinstance(s, Frame)]
        if len(frames) > 1:
            yield "film", _film(frames)


def _dressed_readings(blocks: Sequence[MetadataBlock]) -> Iterator[Window]:
    times = np.concatenate([block.t_node_ns for block in blocks]).tolist()
    values = np.concatenate([block.values for block in blocks])
    texts = [[_number(value) for value in row] for row in values.tolist()]
    yield "table", b"".join(_row(seconds(t), *row) for t, row in zip(times, texts, strict=True))
    yield "lines of numbers", "\n".join(" ".join(filter(None, row)) for row in texts).encode()
    objects = (
        {"ts": t // 1_000_000} | {f"c{k}": v for k, v in enumerate(row) if v == v}
        for t, row in zip(times, values.tolist(), strict=True)
    )
    yield "JSON", "\n".join(map(json.dumps, objects)).encode()


def _number(value: float) -> str:
    return "" if value != value else f"{value:.9g}"


def _row(*fields: str) -> bytes:
    return (",".join(fields) + "\n").encode()


def seconds(t_ns: int) -> str:
    """Nanoseconds as seconds."""
    return f"{t_ns / NS_PER_S:.6f}"


def _wav(pcm: np.ndarray, rate_hz: int) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="wav") as container:
        stream = container.add_stream("pcm_s16le", rate=rate_hz, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(pcm[None]), "s16", "mono")
        frame.sample_rate = rate_hz
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return target.getvalue()


def _film(frames: Sequence[Frame]) -> bytes:
    target = io.BytesIO()
    with av.open(target, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(25))
        height, width = frames[0].grey.shape
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames[:50]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame.grey, format="gray")))
        container.mux(stream.encode(None))
    return target.getvalue()


def still_files(recording: Recording, stream: StreamSpec) -> Iterator[Window]:
    """The pictures of a stream of stills, as the files they are."""
    table = recording.path(stream.file).read_text(encoding="utf-8").splitlines()
    for line in table[1 : 1 + MOST_WINDOWS]:
        yield "picture", recording.path(line.split(",")[1].strip()).read_bytes()


def answer(data: bytes) -> str:
    """The modality that the bytes are recognised as."""
    found: Recognition = recognise_bytes(data)[0]
    return found.modality or UNSURE


class Tally:
    """What windows were taken for."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str, str]] = Counter()
        """By the true modality, how it was dressed, and the answer."""
        self.wrong: list[str] = []
        """Windows that were not right, and what they were taken for."""

    def add(self, modality: Modality, window: Window, *, where: str) -> None:
        """Ask about one window."""
        form, data = window
        said = answer(data)
        self.counts[modality, form, said] += 1
        if said != modality:
            self.wrong.append(f"{where} ({form}): {said}")

    def rows(self, source: str) -> Iterator[Row]:
        """One row a modality and way of dressing, and one for all."""
        groups = sorted({(modality, form) for modality, form, _ in self.counts})
        for modality, form in groups:
            answers = {a: n for (m, f, a), n in self.counts.items() if (m, f) == (modality, form)}
            yield self._row(modality, form, answers, right=answers.get(modality, 0), source=source)
        total = Counter[str]()
        for (modality, _, said), num in self.counts.items():
            total["right" if said == modality else said if said == UNSURE else "wrong"] += num
        if total:
            row = self._row("all", "all", dict(total), right=total["right"], source=source)
            examples = Counter(self.wrong).most_common(12)
            yield row | {"note": "; ".join(f"{text} × {num}" for text, num in examples)}

    @staticmethod
    def _row(modality: str, form: str, answers: dict[str, int], *, right: int, source: str) -> Row:
        num = sum(answers.values())
        return {
            "kind": "recognition",
            "modality": modality,
            "form": form,
            "source": source,
            "windows": num,
            "right": round(100.0 * right / num, 2),
            "unsure": round(100.0 * answers.get(UNSURE, 0) / num, 2),
            "wrong": round(100.0 * (num - right - answers.get(UNSURE, 0)) / num, 2),
            "answers": answers,
        }


def recording_rows(folder: Path) -> Iterator[Row]:
    """Windows of every stream of every held-out recording."""
    tally = Tally()
    for path in held_out(folder):
        recording = open_recording(path)
        for stream in recording.manifest.streams:
            where = f"{path.name}/{stream.id}"
            if stream.modality == "image":
                for window in still_files(recording, stream):
                    tally.add("image", window, where=where)
                continue
            for piece in windows_of(list(read_samples(recording, stream))):
                for window in dressed(piece):
                    tally.add(stream.modality, window, where=where)
    yield from tally.rows(f"held-out recordings, windows of {WINDOW_S:.0f} s")


def scene_rows(seeds: Sequence[int]) -> Iterator[Row]:
    """Windows of generated scenes."""
    tally = Tally()
    for seed in seeds:
        scene = generate_scene(seed, duration_s=SCENE_S)
        for slot, modality in SLOTS.items():
            samples = list(scene.render(slot)) if slot != "stills" else []
            for piece in windows_of(samples)[::3] if samples else []:
                for window in dressed(piece):
                    tally.add(modality, window, where=f"{seed}/{slot}")
    yield from tally.rows(f"held-out scenes, windows of {WINDOW_S:.0f} s")


def sensor_rows(folder: Path) -> Iterator[Row]:
    """What senses the channels of held-out recordings, names hidden: right, wrong or unsure."""
    for name, truth in SENSORS.items():
        path = folder / name.split("/")[0]
        if path.name in TRAINED_ON or not (path / "recording.json").exists():
            continue
        recording = open_recording(path)
        stream = recording.manifest.stream(name.split("/")[1])
        t_ns, values, _ = read_metadata(recording, stream)
        length_ns = round(2 * WINDOW_S * NS_PER_S)
        part = (t_ns - t_ns[0]) // length_ns
        pieces = [part == k for k in np.unique(part)[:MOST_WINDOWS]]
        counts: Counter[str] = Counter()
        said: Counter[str] = Counter()
        for inside in [piece for piece in pieces if piece.sum() >= 4] or [part >= 0]:
            for verdict, text in sensor_verdicts(t_ns[inside], values[inside], truth):
                counts[verdict] += 1
                if verdict != "right":
                    said[text] += 1
        num = sum(counts.values())
        yield {
            "kind": "recognition of sensors",
            "modality": name,
            "form": "table, names hidden",
            "source": f"held-out recording, windows of {2 * WINDOW_S:.0f} s",
            "windows": num,
            "right": round(100.0 * counts["right"] / num, 1),
            "unsure": round(100.0 * counts[UNSURE] / num, 1),
            "wrong": round(100.0 * counts["wrong"] / num, 1),
            "note": "; ".join(f"{text} × {n}" for text, n in said.most_common(4)),
        }


def sensor_verdicts(
    t_ns: np.ndarray, values: np.ndarray, truth: Sequence[Sensor]
) -> Iterator[tuple[str, str]]:
    """For every channel, whether what was said is right; a channel of no known kind must be left
    unsure."""
    step_ns = float(np.median(np.diff(t_ns))) if len(t_ns) > 1 else 0.0
    names = [f"c{k}" for k in range(values.shape[1])]
    rate_hz = NS_PER_S / step_ns if step_ns > 0 else None
    said: dict[str, tuple[str | None, str | None]] = {}
    for channel in recognise_channels(values, names=names, rate_hz=rate_hz):
        said |= {column: (channel.kind, channel.units) for column in channel.columns}
    for k, sensor in enumerate(truth):
        kind, units = said[names[k]]
        text = f"c{k}: {kind} {units or ''} for {sensor.kind} {sensor.units or ''}".strip()
        if kind is None:
            yield ("right" if sensor.kind is None else UNSURE), text
        elif kind != sensor.kind or (units is not None and units != sensor.units):
            yield "wrong", text
        else:
            yield "right", text


class Embedded:
    """What windows of embeddings were taken for."""

    def __init__(self) -> None:
        self.counts: Counter[tuple[str, str]] = Counter()
        """By the true modality and the answer."""
        self.wrong: list[str] = []
        """Windows that were taken for something else."""

    def add(self, samples: Sequence[Sample], modality: Modality, *, where: str) -> None:
        """Embed a stream as a node does, and ask about its windows."""
        track = track_from(
            samples,
            node="n",
            stream="s",
            modality=modality,
            waveform=(),
            with_rows=False,
            with_speech=False,
        )
        for run in track.embeddings:
            for first in range(0, len(run.rows) - EMBEDDED_HOPS + 1, EMBEDDED_HOPS):
                piece = Hops(t0_node_ns=run.t0_node_ns, rows=run.rows[first:][:EMBEDDED_HOPS])
                said = recognise_embeddings([piece]).modality or UNSURE
                self.counts[modality, said] += 1
                if said not in (modality, UNSURE):
                    self.wrong.append(f"{where}: {said}")

    def rows(self, source: str) -> Iterator[Row]:
        """One row a modality."""
        for modality in sorted({modality for modality, _ in self.counts}):
            answers = {said: n for (m, said), n in self.counts.items() if m == modality}
            num = sum(answers.values())
            yield {
                "kind": "recognition of embeddings",
                "modality": modality,
                "form": "embeddings alone",
                "source": source,
                "windows": num,
                "right": round(100.0 * answers.get(modality, 0) / num, 2),
                "unsure": round(100.0 * answers.get(UNSURE, 0) / num, 2),
                "wrong": round(
                    100.0 * (num - answers.get(modality, 0) - answers.get(UNSURE, 0)) / num, 2
                ),
                "answers": answers,
                "note": "; ".join(w for w in self.wrong if w.split(": ")[0])[:400],
            }


def embedding_rows(folder: Path, seeds: Sequence[int]) -> Iterator[Row]:
    """Which encoder made embeddings: windows of held-out recordings and scenes."""
    real, made = Embedded(), Embedded()
    for path in held_out(folder):
        recording = open_recording(path)
        for stream in recording.manifest.streams:
            samples = list(read_samples(recording, stream))
            real.add(samples, stream.modality, where=f"{path.name}/{stream.id}")
    yield from real.rows(f"held-out recordings, windows of {WINDOW_S * 4:.0f} s")
    for seed in seeds:
        scene = generate_scene(seed, duration_s=SCENE_S)
        for slot, modality in SLOTS.items():
            if samples := list(scene.render(slot)):
                made.add(samples, modality, where=f"{seed}/{slot}")
    yield from made.rows(f"held-out scenes, windows of {WINDOW_S * 4:.0f} s")


def held_out(folder: Path) -> list[Path]:
    """The recordings that nothing was trained or tuned on."""
    return [
        path
        for path in (sorted(folder.iterdir()) if folder.is_dir() else [])
        if path.name not in TRAINED_ON and (path / "recording.json").exists()
    ]


def recognition_rows(plan: RecognitionPlan, *, first_seed: int = FIRST_SEED) -> Iterator[Row]:
    """All rows about recognition."""
    yield from recording_rows(plan.recordings)
    yield from scene_rows([first_seed + k for k in range(min(plan.num_scenes, MOST_SCENES))])
    yield from sensor_rows(plan.recordings)
    yield from embedding_rows(
        plan.recordings,
        [first_seed + k for k in range(min(plan.num_scenes, MOST_SCENES))],
    )
