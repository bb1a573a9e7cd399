"""Stills against what other streams show: where they lock, and where they must not."""

import math

import numpy as np
import pytest

from coeval.align import StreamTrack, align_tracks
from coeval.hops import HOP_NS, Hops
from coeval.line import LagGrid
from coeval.samples import Frame
from coeval.shown import shown_by
from coeval.signals import SignalTrack
from coeval.still_track import SHIFT_SCALE_PX, StillTrack, still_track
from coeval.stills import believed, delayed, stills_surface
from coeval.time import NS_PER_S, NodeNs

GRID = LagGrid(lowest_ns=-400 * HOP_NS, step_ns=HOP_NS // 2, num_lags=1601)
SECONDS = 240
RATE_HZ = 50


def wandering(seed: int) -> np.ndarray:
    """Three quantities that change within a second, at RATE_HZ, shape (n, 3)."""
    noise = np.random.default_rng(seed).standard_normal((SECONDS * RATE_HZ, 3))
    kernel = np.hanning(RATE_HZ)
    smooth = [np.convolve(channel, kernel, "same") for channel in noise.T]
    return np.stack(smooth, axis=1) / np.std(smooth)


def stills_of(quantities: np.ndarray, *, late_s: float = 0.0) -> StillTrack:
    """Stills 1–2 s apart whose pictures mix the quantities, on a clock that is ahead."""
    rng = np.random.default_rng(7)
    times = np.cumsum(rng.uniform(1.0, 1.6, 170))
    times = times[times < SECONDS - 1]
    seen = quantities[(times * RATE_HZ).astype(int)]
    pictures = 0.5 + 0.05 * seen @ rng.standard_normal((3, 192))
    pictures += 0.05 * rng.standard_normal(pictures.shape)
    n = len(times)
    return StillTrack(
        t_node_ns=((times + late_s) * NS_PER_S).astype(np.int64),
        pictures=pictures.astype(np.float32),
        changes=rng.standard_normal((n - 1, 24)).astype(np.float32),
        shifts=np.zeros((n - 1, 2), np.float32),
    )


def channels_of(quantities: np.ndarray) -> SignalTrack:
    """The quantities as a sensor reads them, mixed."""
    rng = np.random.default_rng(8)
    values = quantities @ rng.standard_normal((3, 4))
    values += 0.1 * rng.standard_normal(values.shape)
    return SignalTrack(t_node_ns=np.arange(len(values)) * (NS_PER_S // RATE_HZ), values=values)


@pytest.mark.parametrize("stills_first", [True, False])
def test_stills_find_the_lag_of_what_shows_the_same(stills_first: bool) -> None:
    quantities = wandering(1)
    shown = shown_by("metadata", (), channels_of(quantities))
    assert shown is not None
    surface = stills_surface(
        stills_of(quantities, late_s=2.0), shown, GRID, stills_first=stills_first
    )
    assert surface is not None
    best = surface.scores[0].argmax()
    expected_s = -2.0 if stills_first else 2.0
    assert GRID.at(int(best)) * 1e-9 == pytest.approx(expected_s, abs=0.1)
    assert surface.scores.max() > math.log(GRID.num_lags) + 10


def test_stills_of_another_scene_are_not_taken_for_related() -> None:
    shown = shown_by("metadata", (), channels_of(wandering(2)))
    assert shown is not None
    for seed in range(3, 8):
        surface = stills_surface(stills_of(wandering(seed)), shown, GRID, stills_first=True)
        assert surface is None or surface.scores.max() < math.log(GRID.num_lags) + 2.5


def test_a_few_stills_say_nothing() -> None:
    quantities = wandering(1)
    whole = stills_of(quantities)
    few = StillTrack(
        t_node_ns=whole.t_node_ns[:20],
        pictures=whole.pictures[:20],
        changes=whole.changes[:19],
        shifts=whole.shifts[:19],
    )
    shown = shown_by("metadata", (), channels_of(quantities))
    assert shown is not None
    assert stills_surface(few, shown, GRID, stills_first=True) is None


def test_a_stuck_sensor_shows_nothing() -> None:
    still = channels_of(wandering(1))
    stuck = SignalTrack(t_node_ns=still.t_node_ns, values=np.ones_like(still.values))
    shown = shown_by("metadata", (), stuck)
    assert shown is not None
    assert stills_surface(stills_of(wandering(1)), shown, GRID, stills_first=True) is None


def test_a_turned_camera_shows_as_a_shift() -> None:
    world = np.random.default_rng(3).integers(0, 255, (60, 90)).astype(np.uint8)
    frames = [
        Frame(t_node_ns=NodeNs(k * NS_PER_S), grey=world[6 : 6 + 48, left : left + 64])
        for k, left in enumerate((10, 17, 5))
    ]
    track = still_track(frames)
    assert track is not None
    shifts_px = np.sinh(track.shifts) * SHIFT_SCALE_PX
    np.testing.assert_allclose(shifts_px, [[-7, 0], [12, 0]], atol=0.1)


def test_a_view_of_something_else_has_no_shift() -> None:
    rng = np.random.default_rng(4)
    frames = [
        Frame(
            t_node_ns=NodeNs(k * NS_PER_S),
            grey=rng.integers(0, 255, (48, 64)).astype(np.uint8),
        )
        for k in range(2)
    ]
    track = still_track(frames)
    assert track is not None
    assert not track.shifts.any()


def test_a_single_still_or_one_that_goes_back_in_time_is_no_track() -> None:
    grey = np.zeros((48, 64), np.uint8)
    frames = [Frame(t_node_ns=NodeNs(t), grey=grey) for t in (5, 5, 3)]
    assert still_track(frames) is None


def test_lines_of_a_log_fade_after_they_came() -> None:
    rows = np.zeros((100, 38), np.float32)
    rows[:, -1] = 1.0
    rows[40, 0] = 1.0
    shown = shown_by("text", [Hops(t0_node_ns=NodeNs(0), rows=rows)], None)
    assert shown is not None
    begun = shown.at[:, 1]
    assert not begun[:40].any()
    assert begun[40] > begun[60] > 0


def test_scores_are_scaled_down_where_wrong_lags_score_too() -> None:
    scores = np.zeros(1601, np.float32)
    scores[[300, 900]] = 60.0, 50.0
    trusted = believed(scores, GRID)
    assert trusted.max() == pytest.approx(60 / 50 * math.log(1601), rel=1e-3)


def test_an_unknown_delay_widens_a_peak_and_keeps_its_place() -> None:
    scores = (40.0 - 2.0 * (np.arange(101) - 50.0) ** 2).astype(np.float32)
    late = delayed(scores, 4.0)
    assert late.argmax() == 50
    assert late[50] - late[54] < 0.1 * (scores[50] - scores[54])


def test_a_sensor_of_a_moment_is_not_compared() -> None:
    moment = SignalTrack(t_node_ns=np.arange(20) * 1_000_000, values=np.ones((20, 2)))
    assert shown_by("metadata", (), moment) is None


def test_stills_lock_a_session_whose_embeddings_say_nothing() -> None:
    quantities = wandering(1)
    noise = np.random.default_rng(5).standard_normal((2, SECONDS * 20, 16)).astype(np.float32)
    runs = [[Hops(t0_node_ns=NodeNs(0), rows=rows)] for rows in 0.01 * noise]
    tracks = [
        StreamTrack(
            node="wrist",
            stream="imu",
            modality="metadata",
            embeddings=runs[0],
            signals=channels_of(quantities),
        ),
        StreamTrack(
            node="cam",
            stream="stills",
            modality="image",
            embeddings=runs[1],
            stills=stills_of(quantities, late_s=2.0),
        ),
    ]
    cam = align_tracks(tracks, reference="wrist", max_offset_s=20.0).nodes["cam"]
    assert cam.line is not None
    assert cam.ci95_ns is not None
    assert cam.line.offset_ns == pytest.approx(2.0 * NS_PER_S, abs=cam.ci95_ns)
