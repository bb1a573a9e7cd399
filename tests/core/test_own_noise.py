"""Streams with noise of their own are told from those that may rest."""

import itertools

import numpy as np
import pytest

from coeval.own_noise import PictureNoise, ReadingNoise

RNG = np.random.default_rng(1)


def of_pictures(pictures: np.ndarray) -> float | None:
    noise = PictureNoise()
    for before, picture in itertools.pairwise(pictures):
        noise.push(picture, before)
    return noise.chance(0)


def of_readings(rows: np.ndarray) -> float | None:
    noise = ReadingNoise(rows.shape[1])
    new = (rows[1:] != rows[:-1]).any(axis=1)
    noise.push(rows[1:][new], rows[:-1][new])
    return noise.chance(int((~new).sum()))


def test_a_camera_has_noise_in_every_picture() -> None:
    wall = RNG.integers(20, 200, (48, 64))
    pictures = (wall + RNG.normal(0, 1.0, (40, 48, 64))).astype(np.uint8)
    assert of_pictures(pictures) == 0.0


def test_a_screen_on_which_letters_appear_has_none() -> None:
    pictures = np.full((40, 48, 64), 230, np.uint8)
    for k in range(40):
        pictures[k:, 10, k] = 30
    assert of_pictures(pictures) is None


def test_of_few_pictures_nothing_is_known() -> None:
    assert of_pictures(RNG.integers(0, 255, (6, 48, 64)).astype(np.uint8)) is None


def test_a_gauge_with_noise_never_gives_the_same_twice_by_chance() -> None:
    readings = np.sin(np.arange(2000) / 50)[:, None] + RNG.normal(0, 0.01, (2000, 1))
    assert of_readings(readings) == pytest.approx(0.5 / 2000, rel=0.01)


def test_of_coarse_steps_the_same_is_likelier_and_less_so_of_two_channels() -> None:
    readings = np.round(RNG.normal(0, 2.0, (4000, 2)))
    one, two = of_readings(readings[:, :1]), of_readings(readings)
    assert one is not None
    assert two is not None
    assert two < one < 0.25


def test_a_hand_on_a_mouse_has_no_noise_and_neither_has_a_switch() -> None:
    way = np.cumsum(np.sin(np.arange(3000) / 40) + 1.5)[:, None]
    switch = (np.arange(3000) // 100 % 2)[:, None].astype(float)
    assert of_readings(way) is None
    assert of_readings(switch) is None


def test_one_channel_with_noise_is_enough_beside_one_that_rests() -> None:
    rows = np.column_stack([np.ones(500), RNG.normal(size=500)])
    assert of_readings(rows) is not None


def test_readings_in_blocks_say_the_same_as_in_one() -> None:
    rows = RNG.normal(size=(301, 2))
    parts = ReadingNoise(2)
    for k in range(0, 300, 7):
        parts.push(rows[1:][k : k + 7], rows[:-1][k : k + 7])
    assert parts.chance(0) == of_readings(rows)
