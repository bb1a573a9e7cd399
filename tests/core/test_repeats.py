"""Samples that repeat the ones before, and how unlike the past that is."""

import dataclasses
import math

import numpy as np
import pytest

from coeval.repeats import LARGEST_SURPRISE, RepeatWatch
from coeval.samples import AudioBlock, Frame, MetadataBlock, Sample, TextLine
from coeval.time import NS_PER_S, NodeNs

ONCE_A_DAY = math.log(86_400.0)
OF_SIX_STREAMS = math.log(2 * 6) + ONCE_A_DAY
"""What an alarm takes in a session of six, each of which may alarm by two measures."""
RNG = np.random.default_rng(1)


def frames(num: int, *, first: int = 0, same: bool = False, rate_hz: float = 25.0) -> list[Sample]:
    pictures = RNG.integers(0, 255, (num, 48, 64)).astype(np.uint8)
    if same:
        pictures[:] = pictures[0]
    return [
        Frame(t_node_ns=NodeNs(round((first + k) * NS_PER_S / rate_hz)), grey=picture)
        for k, picture in enumerate(pictures)
    ]


def readings(values: np.ndarray, *, first: int = 0, rate_hz: float = 50.0) -> MetadataBlock:
    t_ns = np.round((first + np.arange(len(values))) * NS_PER_S / rate_hz).astype(np.int64)
    return MetadataBlock(t_node_ns=t_ns, values=values.astype(np.float64))


def stills(num: int, *, first: int = 0, same: bool = False) -> list[Sample]:
    return frames(num, first=first, same=same, rate_hz=0.7)


def shown(*samples: Sample) -> RepeatWatch:
    watch = RepeatWatch()
    for sample in samples:
        watch.push(sample)
    return watch


def test_pictures_that_differ_are_no_surprise() -> None:
    assert shown(*frames(200)).surprise == 0.0


def test_a_camera_that_freezes_after_a_minute_is_once_a_day_within_a_second_and_a_half() -> None:
    watch = shown(*frames(1500), *frames(38, first=1500, same=True))
    assert watch.surprise > ONCE_A_DAY


def test_the_same_is_much_less_surprising_of_a_camera_known_for_five_seconds() -> None:
    watch = shown(*frames(125), *frames(38, first=125, same=True))
    assert watch.surprise < ONCE_A_DAY / 2


def test_one_still_that_is_the_same_bit_for_bit_is_enough_of_a_camera_with_noise() -> None:
    known = stills(40)
    again = dataclasses.replace(known[-1], t_node_ns=NodeNs(round(40 * NS_PER_S / 0.7)))
    assert shown(*known, again).surprise > OF_SIX_STREAMS


def test_a_gauge_with_noise_that_is_stuck_is_found_within_a_second() -> None:
    values = np.concatenate([RNG.normal(size=(500, 2)), np.ones((10, 2))])
    assert shown(readings(values, rate_hz=10.0)).surprise > OF_SIX_STREAMS


def test_a_sender_that_hesitates_for_less_than_half_a_second_is_no_surprise() -> None:
    assert shown(*frames(1500), *frames(12, first=1500, same=True)).surprise < ONCE_A_DAY


def test_a_stall_that_passed_is_usual_from_then_on() -> None:
    watch = shown(*frames(1500), *frames(25, first=1500, same=True))
    assert watch.surprise > OF_SIX_STREAMS
    for frame in [*frames(100, first=1525), *frames(25, first=1625, same=True)]:
        watch.push(frame)
    assert watch.surprise < ONCE_A_DAY


def test_coarse_readings_that_stay_by_chance_are_no_surprise() -> None:
    values = np.round(RNG.normal(0, 1.0, (3000, 1)))
    watch = RepeatWatch()
    worst = 0.0
    for k, row in enumerate(values):
        watch.push(readings(row[None], first=k, rate_hz=10.0))
        worst = max(worst, watch.surprise)
    assert worst < ONCE_A_DAY


def test_a_movement_without_noise_may_come_to_rest() -> None:
    way = np.concatenate([np.cumsum(np.linspace(1, 2, 500)), np.full(10, 751.0)])
    assert shown(readings(way[:, None], rate_hz=10.0)).surprise < ONCE_A_DAY


def test_a_sign_of_life_of_a_sensor_that_tells_changes_only_is_no_surprise() -> None:
    values = RNG.normal(size=(200, 1))
    block = readings(np.concatenate([values, values[-1:]]), rate_hz=2.0)
    block.t_node_ns[-1] += 60 * NS_PER_S
    assert shown(block).surprise < ONCE_A_DAY


def test_a_sensor_that_rests_now_and_then_does_not_surprise_by_resting() -> None:
    watch = RepeatWatch()
    for k in range(20):
        moving, resting = RNG.normal(size=(100, 2)), np.zeros((100, 2))
        watch.push(readings(np.concatenate([moving, resting]), first=200 * k))
    assert 0.0 < watch.surprise < 2.0


def test_a_rest_much_longer_than_any_before_surprises_a_little_more_each_time_it_doubles() -> None:
    watch = RepeatWatch()
    for k in range(20):
        watch.push(
            readings(np.concatenate([RNG.normal(size=(100, 2)), np.zeros((100, 2))]), first=200 * k)
        )
    watch.push(readings(np.zeros((300, 2)), first=4000))
    before = watch.surprise
    watch.push(readings(np.zeros((400, 2)), first=4300))
    assert watch.surprise - before == pytest.approx(math.log(2), abs=0.1)


def test_readings_in_blocks_of_any_size_say_the_same() -> None:
    values = np.concatenate([RNG.normal(size=(3000, 3)), np.ones((60, 3))])
    whole = shown(readings(values)).surprise
    parts = shown(
        *(readings(values[k : k + 7], first=k) for k in range(0, len(values), 7))
    ).surprise
    assert whole == pytest.approx(parts)
    assert whole > 0


def test_one_channel_that_moves_is_enough_to_be_new() -> None:
    values = np.ones((500, 3))
    values[:, 1] = RNG.normal(size=500)
    assert shown(readings(values)).surprise == 0.0


def test_no_reading_again_and_again_repeats_no_reading() -> None:
    values = np.concatenate([RNG.normal(size=(3000, 1)), np.full((200, 1), np.nan)])
    assert shown(readings(values)).surprise > ONCE_A_DAY


def test_digital_silence_surprises_where_there_was_always_noise() -> None:
    noise = AudioBlock(
        t_node_ns=NodeNs(0),
        rate_hz=16_000.0,
        pcm=RNG.normal(0, 0.01, 16_000 * 60).astype(np.float32),
    )
    zeros = AudioBlock(
        t_node_ns=NodeNs(60 * NS_PER_S), rate_hz=16_000.0, pcm=np.zeros(16_000, np.float32)
    )
    assert shown(noise).surprise == 0.0
    assert shown(noise, zeros).surprise > ONCE_A_DAY


def test_a_run_that_ended_and_was_no_fault_is_expected_from_then_on() -> None:
    way = np.cumsum(RNG.uniform(1, 2, 600))
    once = np.concatenate([way[:500], np.full(6, way[499])])
    twice = np.concatenate([once, way[500:], np.full(6, way[599])])
    assert 0 < shown(readings(twice[:, None])).surprise < shown(readings(once[:, None])).surprise


def test_a_fault_is_not_learned_from() -> None:
    fault = frames(1000, first=1500, same=True)
    watch = shown(
        *frames(1500), *fault, *frames(1500, first=2500), *frames(60, first=4000, same=True)
    )
    assert watch.surprise > ONCE_A_DAY


def test_a_rest_that_comes_a_second_time_is_no_fault_the_third_time() -> None:
    watch = RepeatWatch()
    surprises = []
    for k in range(3):
        moving, resting = RNG.normal(size=(3000, 2)), np.zeros((250, 2))
        watch.push(readings(np.concatenate([moving, resting]), first=3250 * k))
        surprises.append(watch.surprise)
    assert min(surprises[:2]) > ONCE_A_DAY
    assert surprises[2] < ONCE_A_DAY


def test_lines_of_text_are_nothing_to_judge() -> None:
    line = TextLine(t_node_ns=NodeNs(0), t_end_node_ns=None, text="ok")
    assert shown(line, line, line).surprise == 0.0


def test_surprise_is_bounded_and_an_empty_block_is_nothing() -> None:
    watch = shown(readings(np.zeros((0, 2))))
    assert watch.surprise == 0.0
    watch = shown(*frames(1500), *frames(5000, first=1500, same=True))
    assert watch.surprise <= LARGEST_SURPRISE
