"""How much `coeval bench align` measures, on which material, and which trials it draws.

Every method is given the trials drawn here: ours and the peers' differ in nothing but the answer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from coeval.time import NS_PER_S
from coeval_lab.bench.cells import NUM_KINDS, Draw, draw_trials
from coeval_lab.bench.material import Stream, degraded, recorded
from coeval_training.material import TRAINED_ON

SOUNDS = (
    "able_frenchsong",
    "phone_call_sample",
    "mfa_acoustic_corpus",
    "ami_trn07",
    "ami_tst00",
    "gopro_hero7",
)
SPEECH = (
    ("able_frenchsong", "text"),
    ("phone_call_sample", "text"),
    ("mfa_acoustic_corpus", "text"),
    ("ami_trn07", "speaker_turns"),
    ("mdn_friday_film", "text"),
)
REAL_PAIRS = (
    ("video-metadata", "gopro_karma", "video", "gyro"),
    ("video-metadata", "gopro_karma", "video", "accl"),
    ("video-metadata", "donkeycar_tub", "video", "control"),
    ("audio-video", "gopro_karma", "audio", "video"),
    ("audio-video", "grid_bbaf2n", "audio", "video"),
    ("audio-video", "grid_lrwp9a", "audio", "video"),
    ("metadata-metadata", "comma2k19_example", "can_speed", "can_wheels"),
    ("metadata-metadata", "comma2k19_example", "accel", "frame_velocity"),
    ("metadata-metadata", "comma2k19_example", "gyro", "frame_orientation"),
    ("metadata-metadata", "px4_cubeorange", "imu", "attitude"),
    ("metadata-metadata", "px4_appended", "imu", "attitude"),
    ("metadata-metadata", "neon_multipart_2025", "imu", "gaze"),
    ("metadata-metadata", "twistnsync_two_gyros", "mcu_gyro", "smartphone_gyro"),
    ("metadata-metadata", "gopro_hero7", "gyro", "accl"),
    ("text-metadata", "neon_multipart_2025", "log", "imu"),
    ("audio-text, heart", "heart_pcg_ecg_1", "audio", "ecg_events"),
    ("image-metadata", "drone_brighton", "images", "telemetry"),
    ("image-metadata", "cuav_flight_2018", "images", "attitude"),
    ("video-video", "caliscope_4cam", "cam_0", "cam_1"),
)
ABSTAIN = (
    ("video-metadata, stabilised", "gopro_hero7", "video", "gyro"),
    ("audio-text, near-continuous speech", "ami_tst00", "audio", "speaker_turns"),
)
CLEAN, NOISY = "audio-audio, clean", "audio-audio, reverb + 0 dB noise"
LEAST_MATERIAL = 0.8
"""A window is tried where it is less than this share of the material."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much is measured."""

    recordings: Path
    """Folder of real recordings; cells whose recording is absent are left out and named."""
    seed: int
    """Seeds every draw."""
    trials: int
    """Trials of a pair of modalities and window, over all recordings, at least."""
    num_scenes: int
    """Generated held-out scenes of 60 s."""
    num_long_scenes: int
    """Generated held-out scenes of 10 minutes (stills)."""
    num_skew_trials: int
    """Trials of the long skew cells."""
    windows_s: tuple[float | None, ...]
    """Lengths of pieces; None: the whole recording."""
    with_peers: bool
    """Whether the peers run."""


FULL = Plan(
    recordings=Path("../shared/recordings"),
    seed=1,
    trials=200,
    num_scenes=200,
    num_long_scenes=20,
    num_skew_trials=28,
    windows_s=(10.0, 30.0, 60.0, None),
    with_peers=True,
)
QUICK = replace(
    FULL,
    trials=2,
    num_scenes=4,
    num_long_scenes=0,
    num_skew_trials=2,
    windows_s=(None,),
    with_peers=False,
)


def plan_of(
    *, quick: bool, seed: int, recordings: Path | None = None, with_peers: bool = True
) -> Plan:
    """What to measure."""
    plan = replace(QUICK if quick else FULL, seed=seed)
    if not with_peers:
        plan = replace(plan, with_peers=False)
    if recordings is not None:
        plan = replace(plan, recordings=recordings)
    return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class RealPair:
    """Two streams of a recording, or a sound and another of it."""

    pair: str
    """The modalities, as the table names them."""
    recording: str
    """Name of the recording."""
    first: str
    """Id of the stream that serves as reference."""
    second: str
    """Id of the other stream."""

    @property
    def name(self) -> str:
        """How the table names the material."""
        same = self.first == self.second
        return self.recording if same else f"{self.recording} {self.first}-{self.second}"

    @property
    def held_out(self) -> bool:
        """Whether the encoders never saw the recording."""
        return self.recording not in TRAINED_ON


def listed_pairs() -> list[RealPair]:
    """Every real pair, those of one pair of modalities after each other."""
    sounds = [
        RealPair(pair=pair, recording=name, first="audio", second="audio")
        for pair in (CLEAN, NOISY)
        for name in SOUNDS
    ]
    speech = [
        RealPair(pair="audio-text", recording=name, first="audio", second=text)
        for name, text in SPEECH
    ]
    others = [
        RealPair(pair=pair, recording=name, first=first, second=second)
        for pair, name, first, second in REAL_PAIRS
    ]
    return [*sounds, *speech, *others]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One recording's pair in one window, with its trials."""

    material: RealPair
    """What is compared."""
    window_s: float | None
    """Length of a piece; None: whole."""
    first: Stream
    """The reference's stream."""
    second: Stream
    """The other stream."""
    draws: Sequence[Draw]
    """Its trials."""

    @property
    def window(self) -> str:
        """How the table names the window."""
        return window_name(self.window_s)


def cells_of(plan: Plan, pair: str, *, only: RealPair | None = None) -> list[Cell]:
    """Every recording and window of a pair of modalities that is there, with its trials.

    `only`: the one to take, listed or not. Each recording gets the same number of trials of a
    window, so many that all have at least `plan.trials` together; where there are enough, whole
    rounds of every offset with every skew.
    """
    there = [
        (material, *streams_of(plan, material))
        for material in (listed_pairs() if only is None else [only])
        if material.pair == pair and is_there(plan, material.recording)
    ]
    cells: list[Cell] = []
    for window_s in plan.windows_s:
        fitting = [
            found for found in there if window_s is None or window_s < longest_window_s(*found[1:])
        ]
        for material, first, second in fitting:
            rng = np.random.default_rng([plan.seed, *pair.encode(), *material.name.encode()])
            count = trials_each(plan, len(fitting))
            draws = draw_trials(first, second, rng, window_s=window_s, count=count)
            cells.append(
                Cell(material=material, window_s=window_s, first=first, second=second, draws=draws)
            )
    return cells


def trials_each(plan: Plan, num_recordings: int) -> int:
    """Trials of one recording, so that all together have enough."""
    each = math.ceil(plan.trials / num_recordings)
    return each if each < NUM_KINDS // 2 else NUM_KINDS * math.ceil(each / NUM_KINDS)


def is_there(plan: Plan, name: str) -> bool:
    """Whether a recording is there to be measured."""
    return (plan.recordings / name / "recording.json").exists()


def stream_of(plan: Plan, name: str, stream: str) -> Stream:
    """A decoded stream of a recording."""
    return recorded(plan.recordings / name, stream, held_out=name not in TRAINED_ON)


def streams_of(plan: Plan, material: RealPair) -> tuple[Stream, Stream]:
    """Both streams of a pair, decoded; another copy of a sound, where it is a sound with itself."""
    first = stream_of(plan, material.recording, material.first)
    second = stream_of(plan, material.recording, material.second)
    if material.pair in (CLEAN, NOISY):
        # One recorder heard both: their truth is exact.
        first, second = replace(first, sigma_s=0.0), replace(second, sigma_s=0.0)
    if material.pair == NOISY:
        second = degraded(second, seed=plan.seed + SOUNDS.index(material.recording))
    return first, second


def longest_window_s(a: Stream, b: Stream) -> float:
    """Length that a window must stay below."""
    return LEAST_MATERIAL * (min(a.stop_ns, b.stop_ns) - max(a.start_ns, b.start_ns)) / NS_PER_S


def window_name(window_s: float | None) -> str:
    """How the table names a window."""
    return "whole" if window_s is None else f"{window_s:.0f} s"
