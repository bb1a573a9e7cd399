"""The demo's probe: the real firmware on an emulated board feels and sees what a recording shows.

A board with a motion sensor is on the hand that moves the recording's pointer, and its input 1 on
what the hand presses. The firmware that ships runs on it, the real driver reads its serial port,
and what comes out of the driver is a node more of the recording.
"""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coeval.errors import BadConfig
from coeval.samples import MetadataBlock, Sample, TextLine
from coeval.time import NS_PER_S
from coeval_edge.probe_image import probe_image
from coeval_edge.recording import MANIFEST_FILE, Recording, open_recording
from coeval_edge.recording_samples import read_samples
from coeval_edge.recording_times import recording_start_ns
from coeval_edge.replay import recording_end_ns
from coeval_edge.sources.probe import FILTER_S, MOTION_UNITS, REGISTER_S, ProbeConfig, ProbeSource
from coeval_edge.sources.probe_link import ProbeLink
from coeval_lab.probe_emulator.cable import Cable
from coeval_lab.probe_emulator.cases import Case, CaseRun
from coeval_lab.probe_emulator.motion_sensor import MotionSensor

NODE, MOTION, PRESSES = "pico", "motion", "presses"
POINTER, EVENTS = "pointer", "events"
AHEAD_S = 3.0
"""The board is switched on before the recording begins: its counter must be placed first."""
CRYSTAL_PPM = 23.0
PIXELS_PER_DEGREE = 8.0
"""Of a hand that turns to move the pointer, as an air mouse does."""
ONE_G, ROOM = 8192, -3920
GYRO_PER_DPS = 65.5
LARGEST = 32_767
PRESSED = ("key ", "button ")
LEAST_APART_S = 1e-4

Say = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hand:
    """What the recording knows of a hand; seconds of the recording's clock."""

    times_s: np.ndarray
    """Of the pointer's places, increasing."""
    rates_dps: np.ndarray
    """Turning rates at those times, shape (n, 2): right, down."""
    presses_s: Sequence[float]
    """When it pressed something."""

    def words(self, t_s: float) -> tuple[int, ...]:
        """The sensor's registers at a time: accelerometer, temperature, gyroscope."""
        rates = [float(np.interp(t_s, self.times_s, self.rates_dps[:, k])) for k in (0, 1)]
        raw = [max(min(round(rate * GYRO_PER_DPS), LARGEST), -LARGEST) for rate in rates]
        return (0, 0, ONE_G, ROOM, raw[0], raw[1], 0)


def hand_of(recording: Recording) -> Hand:
    """What a recording knows of a hand.

    Raises:
        BadConfig: it has no pointer or no events.
    """
    streams = {stream.id: stream for stream in recording.manifest.streams}
    if not {POINTER, EVENTS} <= set(streams) or NODE in recording.manifest.nodes:
        raise BadConfig(
            f"--probe: a probe feels a stream {POINTER!r} and sees a stream {EVENTS!r} of the "
            f"recording, which has {', '.join(streams)}; leave out --recording"
        )
    times, places, presses = [], [], []
    for sample in read_samples(recording, streams[POINTER]):
        if isinstance(sample, MetadataBlock):
            times.append(sample.t_node_ns / NS_PER_S)
            places.append(sample.values[:, :2])
    for sample in read_samples(recording, streams[EVENTS]):
        if isinstance(sample, TextLine) and sample.text.startswith(PRESSED):
            presses.append(sample.t_node_ns / NS_PER_S)
    times_s, places_px = np.concatenate(times), np.concatenate(places)
    rates = np.gradient(places_px, times_s, axis=0) / PIXELS_PER_DEGREE
    return Hand(times_s=times_s, rates_dps=rates, presses_s=apart(presses))


def apart(times_s: Sequence[float]) -> list[float]:
    """Times without those that come too soon after another for an edge of their own."""
    kept: list[float] = []
    for t_s in sorted(times_s):
        if not kept or t_s - kept[-1] > LEAST_APART_S:
            kept.append(t_s)
    return kept


def with_probe(recording: Recording, folder: Path, *, say: Say = lambda _: None) -> Recording:
    """A recording with one node more: what an emulated probe felt and saw of it.

    Args:
        recording: with a pointer and events.
        folder: an empty one; gets links to the recording's files, and the probe's own.
        say: told now and then what share is done.

    Raises:
        BadConfig: the recording has no pointer or no events.
        EmulatorAbsent: `rp2040py` is not installed.
    """
    hand = hand_of(recording)
    start_s = recording_start_ns(recording) / NS_PER_S
    length_s = recording_end_ns(recording) / NS_PER_S - start_s
    samples = emulate(hand, start_s=start_s, length_s=length_s, say=say)
    for entry in recording.root.iterdir():
        if entry.name != MANIFEST_FILE:
            os.symlink(entry.resolve(), folder / entry.name)
    write_motion(folder / f"{NODE}_{MOTION}.csv", samples)
    write_presses(folder / f"{NODE}_{PRESSES}.csv", samples)
    manifest = json.loads((recording.root / MANIFEST_FILE).read_text(encoding="utf-8"))
    manifest["nodes"][NODE] = {}
    manifest["streams"] += [
        {
            "id": MOTION,
            "node": NODE,
            "modality": "metadata",
            "file": f"{NODE}_{MOTION}.csv",
            "units": MOTION_UNITS,
        },
        {
            "id": PRESSES,
            "node": NODE,
            "modality": "text",
            "file": f"{NODE}_{PRESSES}.csv",
        },
    ]
    manifest["truth"]["nodes"][NODE] = {"offset_s": 0.0, "skew_ppm": 0.0}
    (folder / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    return open_recording(folder)


def emulate(hand: Hand, *, start_s: float, length_s: float, say: Say) -> list[Sample]:
    """What the real driver makes of what the real firmware says, on the recording's clock."""

    def of_recording(t_s: float) -> float:
        """A true time of the board's run on the recording's clock."""
        return start_s + t_s - AHEAD_S

    until_s = AHEAD_S + length_s
    presses = [t_s - start_s + AHEAD_S for t_s in hand.presses_s]
    case = Case(
        name="demo",
        ppm=CRYSTAL_PPM,
        until_s=until_s,
        pulses=[float(k) for k in range(int(until_s))],
        edges=[[t_s for t_s in presses if 0.0 < t_s < until_s]],
    )
    run = CaseRun(probe_image(), case)
    late_s = FILTER_S + REGISTER_S  # as old as the driver takes a reading to be
    MotionSensor(
        run.board.chip.i2c[0],
        readings=lambda: hand.words(of_recording(run.time_of(run.board.cycle)) - late_s),
    )
    cable = Cable(run, node_ns=lambda t_s: of_recording(t_s) * NS_PER_S)
    link = ProbeLink(cable.name, clock_ns=cable.clock)
    motion = ProbeSource(ProbeConfig(port=cable.name, what="motion"), link)
    presses_source = ProbeSource(ProbeConfig(port=cable.name, text="press"), link)
    samples: list[Sample] = []
    try:
        for t_s in cable.deliver(until_s):
            samples += motion.read(1.0)
            samples += presses_source.read(0.0)
            say(t_s / until_s)
    finally:
        motion.close()
        presses_source.close()
        cable.close()
    return samples


def write_motion(path: Path, samples: Sequence[Sample]) -> None:
    """The motion's rows from the recording's start on."""
    lines = ["t," + ",".join(MOTION_UNITS)]
    for sample in samples:
        if isinstance(sample, MetadataBlock) and sample.t_node_ns[0] >= 0:
            values = ",".join(f"{value:.5g}" for value in sample.values[0])
            lines.append(f"{sample.t_node_ns[0] / NS_PER_S:.9f},{values}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_presses(path: Path, samples: Sequence[Sample]) -> None:
    """The edges as events."""
    lines = ["t,text"]
    lines += [
        f"{sample.t_node_ns / NS_PER_S:.9f},{sample.text}"
        for sample in samples
        if isinstance(sample, TextLine) and sample.t_node_ns >= 0
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
