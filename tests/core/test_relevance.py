"""Relevance: faults are named, and no silence that says something is taken for one."""

import numpy as np
import pytest

from coeval.features.picture import FRAME_HEIGHT, FRAME_WIDTH
from coeval.relevance import RelevanceWatch, Stretch
from coeval.samples import AudioBlock, Frame, MetadataBlock, TextLine
from coeval.time import NS_PER_S, NodeNs

RATE_HZ = 16_000
RNG = np.random.default_rng(5)
PICTURE = RNG.integers(40, 200, (FRAME_HEIGHT, FRAME_WIDTH)).astype(np.uint8)


def at(seconds: float) -> NodeNs:
    return NodeNs(round(seconds * NS_PER_S))


def spans(watch: RelevanceWatch) -> list[tuple[str, int, int]]:
    def whole_s(stretch: Stretch) -> tuple[str, int, int]:
        start, end = stretch.start_node_ns / NS_PER_S, stretch.end_node_ns / NS_PER_S
        return stretch.reason, round(start), round(end)

    return [whole_s(stretch) for stretch in watch.finish()]


def film(watch: RelevanceWatch, *, begin_s: float, end_s: float, noise: int) -> None:
    """Pictures at 10 Hz: of noise around one picture, or of something else each time."""
    for t in np.arange(begin_s, end_s, 0.1):
        grey = PICTURE.astype(int) + RNG.integers(-noise, noise + 1, PICTURE.shape)
        grey = np.clip(grey, 0, 255).astype(np.uint8)
        watch.push(Frame(t_node_ns=at(float(t)), grey=grey))


def hear(watch: RelevanceWatch, pcm: np.ndarray, *, begin_s: float) -> None:
    for first in range(0, len(pcm), 4000):
        t_ns = at(begin_s + first / RATE_HZ)
        block = pcm[first : first + 4000].astype(np.float32)
        watch.push(AudioBlock(t_node_ns=t_ns, rate_hz=RATE_HZ, pcm=block))


def read(watch: RelevanceWatch, values: np.ndarray, *, begin_s: float, rate_hz: float) -> None:
    t_ns = np.round((begin_s + np.arange(len(values)) / rate_hz) * NS_PER_S).astype(np.int64)
    watch.push(MetadataBlock(t_node_ns=t_ns, values=values.reshape(len(values), -1)))


def say(watch: RelevanceWatch, times_s: np.ndarray, text: str) -> None:
    for k, t in enumerate(times_s.tolist()):
        watch.push(TextLine(t_node_ns=at(t), t_end_node_ns=None, text=text.format(k)))


def noise(seconds: float, *, rms: float) -> np.ndarray:
    return rms * RNG.standard_normal(round(seconds * RATE_HZ))


@pytest.mark.parametrize(("flicker", "known_after_s"), [(0, 10), (1, 30)])
def test_a_frozen_camera_is_named_and_a_moving_one_is_back_at_once(
    flicker: int, known_after_s: int
) -> None:
    watch = RelevanceWatch("video")
    film(watch, begin_s=0, end_s=5, noise=20)
    anchor = PICTURE.copy()
    told = []
    for t in np.arange(5, 60, 0.1):
        flips = RNG.integers(-flicker, flicker + 1, PICTURE.shape)
        grey = (anchor + flips * (RNG.random(PICTURE.shape) < 0.3)).astype(np.uint8)
        told += watch.push(Frame(t_node_ns=at(float(t)), grey=grey))
    film(watch, begin_s=60, end_s=62, noise=20)
    assert (told[0].reason, round(told[0].t_node_ns / NS_PER_S)) == ("frozen", 5 + known_after_s)
    assert spans(watch) == [("frozen", 5, 60)]


def test_a_camera_at_rest_for_some_seconds_is_left_alone() -> None:
    watch = RelevanceWatch("video")
    for begin in (0, 20, 40):
        film(watch, begin_s=begin, end_s=begin + 11, noise=20)
        film(watch, begin_s=begin + 11, end_s=begin + 20, noise=0)
    assert spans(watch) == []


def test_a_change_too_slow_to_be_seen_from_frame_to_frame_adds_up() -> None:
    watch = RelevanceWatch("video")
    for t in np.arange(0, 120, 0.1):
        grey = (PICTURE - 0.3 * t).astype(np.uint8)
        watch.push(Frame(t_node_ns=at(float(t)), grey=grey))
    assert spans(watch) == []


def test_a_covered_lens_is_dark() -> None:
    watch = RelevanceWatch("video")
    film(watch, begin_s=0, end_s=5, noise=20)
    for t in np.arange(5, 30, 0.1):
        grey = RNG.integers(1, 6, PICTURE.shape).astype(np.uint8)
        watch.push(Frame(t_node_ns=at(float(t)), grey=grey))
    assert spans(watch) == [("dark", 5, 30)]


def test_stills_need_minutes() -> None:
    watch = RelevanceWatch("image")
    for k in range(40):
        grey = PICTURE if k < 7 or k > 10 else np.roll(PICTURE, k, axis=1)
        watch.push(Frame(t_node_ns=at(5.0 * k), grey=grey))
    assert spans(watch) == [("frozen", 55, 195)]


def test_digital_silence_is_named_and_pauses_between_words_are_not() -> None:
    watch = RelevanceWatch("audio")
    word, pause = noise(1, rms=0.1), np.zeros(8 * RATE_HZ)
    hear(watch, np.concatenate([word, pause, word, pause, word]), begin_s=0)
    assert watch.is_relevant
    hear(watch, np.concatenate([np.zeros(20 * RATE_HZ), word]), begin_s=19)
    assert spans(watch) == [("silent", 19, 39)]


def test_a_quiet_room_is_no_silence_and_an_unplugged_microphone_is() -> None:
    room = noise(120, rms=0.0005)
    for k in range(0, 120, 9):  # a chair, a breath
        room[k * RATE_HZ : k * RATE_HZ + 2000] *= 6
    watch = RelevanceWatch("audio")
    hear(watch, room, begin_s=0)
    assert watch.is_relevant
    hear(watch, noise(60, rms=0.0005), begin_s=120)
    ((reason, begin_s, _),) = spans(watch)
    assert (reason, begin_s <= 121) == ("silent", True)


def test_steady_loud_sound_is_never_called_silence() -> None:
    watch = RelevanceWatch("audio")
    hear(watch, noise(60, rms=0.05), begin_s=0)
    assert spans(watch) == []


def test_a_noisy_sensor_that_repeats_itself_is_stuck_within_seconds() -> None:
    watch = RelevanceWatch("metadata")
    read(watch, RNG.normal(size=(3000, 3)), begin_s=0, rate_hz=100)
    read(watch, np.ones((600, 3)), begin_s=30, rate_hz=100)
    read(watch, RNG.normal(size=(100, 3)), begin_s=36, rate_hz=100)
    assert spans(watch) == [("stuck", 30, 36)]


def test_a_mouse_that_is_moved_and_let_go_is_left_alone() -> None:
    watch = RelevanceWatch("metadata")
    at_s = 0.0
    for moved_s, rests_s in ((1.5, 8.0), (4.0, 20.0), (10.0, 30.0)):
        path = np.cumsum(RNG.normal(size=(round(60 * moved_s), 2)), axis=0)
        read(watch, path, begin_s=at_s, rate_hz=60)
        at_s += moved_s
        read(watch, np.repeat(path[-1:], round(60 * rests_s), axis=0), begin_s=at_s, rate_hz=60)
        at_s += rests_s
    assert spans(watch) == []


def test_a_sensor_that_rests_between_changes_may_rest_longer() -> None:
    watch = RelevanceWatch("metadata")
    switch = np.repeat(np.arange(30) % 2, RNG.integers(20, 80, 30)).astype(float)
    read(watch, switch, begin_s=0, rate_hz=10)
    end_s = len(switch) / 10
    read(watch, np.full(400, switch[-1]), begin_s=end_s, rate_hz=10)
    assert watch.is_relevant
    read(watch, np.full(400, switch[-1]), begin_s=end_s + 40, rate_hz=10)
    assert [reason for reason, _, _ in spans(watch)] == ["stuck"]


def test_a_slow_meter_of_coarse_steps_is_left_alone() -> None:
    watch = RelevanceWatch("metadata")
    t_s = np.arange(0, 3600, 10.0)
    degrees = np.round(20 + 2 * np.sin(t_s / 600) + 0.05 * RNG.standard_normal(len(t_s)), 1)
    read(watch, degrees, begin_s=0, rate_hz=0.1)
    assert spans(watch) == []


def test_one_channel_that_moves_keeps_a_stream_relevant() -> None:
    watch = RelevanceWatch("metadata")
    values = np.ones((3000, 3))
    values[:, 1] = RNG.normal(size=3000)
    read(watch, values, begin_s=0, rate_hz=100)
    assert spans(watch) == []


def test_a_heartbeat_is_spam_and_its_absence_says_something() -> None:
    watch = RelevanceWatch("text")
    say(watch, np.cumsum(RNG.exponential(2.0, 20)), "door {} opened")
    began_s = 60.0
    say(watch, began_s + np.arange(60) + 0.003 * RNG.random(60), "heartbeat {} ok")
    assert watch.now is not None
    assert (watch.now.state, watch.now.reason) == ("irrelevant", "spam")
    assert [change.state for change in watch.advance(at(began_s + 70))] == ["relevant"]


def test_a_flood_is_spam_until_another_line_comes() -> None:
    watch = RelevanceWatch("text")
    say(watch, np.cumsum(RNG.exponential(1 / 30, 1500)), "usb error -{}")
    assert not watch.is_relevant
    say(watch, np.array([55.0]), "door opened")
    assert watch.is_relevant


@pytest.mark.parametrize("spread", [0.04, 0.3, 1.0])
def test_steps_and_heart_beats_are_no_spam_however_regular(spread: float) -> None:
    watch = RelevanceWatch("text")
    beats = 0.8 * (1 + spread * np.clip(RNG.standard_normal(400), -3, 3))
    say(watch, np.cumsum(np.maximum(beats, 0.05)), "R-peak")
    assert spans(watch) == []


def test_no_lines_at_all_are_information() -> None:
    watch = RelevanceWatch("text")
    say(watch, np.array([1.0, 2.5]), "door opened")
    assert watch.advance(at(3600)) == []
    assert watch.is_relevant


def test_the_score_falls_from_one_to_zero() -> None:
    watch = RelevanceWatch("metadata")
    read(watch, RNG.normal(size=(3000, 1)), begin_s=0, rate_hz=100)
    scores = []
    for k in range(6):
        read(watch, np.ones((100, 1)), begin_s=30 + k, rate_hz=100)
        assert watch.now is not None
        scores.append(watch.now.score)
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 0.5
    assert scores[-1] == 0.0
