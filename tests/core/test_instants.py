"""Streams that one trigger samples: the pattern of their instants tells the lag, or none does."""

import numpy as np
import pytest

from coeval.align import align_tracks
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.instants import LEAST_INSTANTS, instants_of, instants_surface
from coeval.line import LagGrid
from coeval.samples import IntArray
from coeval.segments import cut_instants
from coeval.time import NS_PER_S, NodeNs
from coeval.tracks import StreamTrack

GRID = LagGrid(lowest_ns=-400 * HOP_NS, step_ns=HOP_NS // 2, num_lags=1601)
S = NS_PER_S


def triggers(seed: int, *, num: int = 40) -> IntArray:
    """Moments 1 to 5 s apart."""
    seconds = np.cumsum(np.random.default_rng(seed).uniform(1.0, 5.0, num))
    return np.round(seconds * S).astype(np.int64)


def missing_some(instants: IntArray, seed: int, *, late_s: float = 0.0) -> IntArray:
    """A tenth left out, each stamped a little off by a clock that is fast."""
    rng = np.random.default_rng(seed)
    kept = instants[rng.random(len(instants)) >= 0.1]
    off_ns = rng.normal(late_s * S, 0.01 * S, len(kept))
    return kept + np.round(off_ns).astype(np.int64)


@pytest.mark.parametrize("late_s", [3.21, -7.46])
def test_one_trigger_tells_the_lag_though_each_stream_misses_some(late_s: float) -> None:
    moments = triggers(1)
    a, b = missing_some(moments, 2), missing_some(moments, 3, late_s=late_s)
    surface = instants_surface(a, b, GRID)
    assert surface is not None
    total = surface.scores.sum(axis=0)
    assert GRID.at(int(total.argmax())) / S == pytest.approx(late_s, abs=0.03)
    assert total.max() > 30.0


def test_instants_that_have_nothing_in_common_say_next_to_nothing() -> None:
    for seed in range(10, 30):
        surface = instants_surface(triggers(seed), triggers(seed + 50), GRID)
        assert surface is None or surface.scores.sum(axis=0).max() < 4.0


def test_even_intervals_say_nothing_wherever_one_is_missing() -> None:
    timer = np.arange(60) * 2 * S
    for k in range(20, 25):
        surface = instants_surface(np.delete(timer, k), np.delete(timer, 30), GRID)
        assert surface is None or surface.scores.sum(axis=0).max() < 2.0


def test_streams_that_are_few_or_fast_are_not_taken_for_triggered() -> None:
    assert instants_of(np.arange(LEAST_INSTANTS - 1) * S) is None
    assert instants_of(np.arange(100) * (S // 10)) is None
    twice = np.repeat(np.arange(LEAST_INSTANTS) * S, 2)
    found = instants_of(twice)
    assert found is not None
    assert len(found) == LEAST_INSTANTS


def test_instants_go_to_one_side_of_a_step_and_too_few_to_none() -> None:
    instants = np.arange(20) * S
    before, after = cut_instants(instants, 15 * S)
    assert before is not None
    assert before.tolist() == instants[:15].tolist()
    assert after is None


def test_a_log_and_the_pictures_that_it_names_are_aligned_by_when_they_were_made() -> None:
    rng = np.random.default_rng(5)
    moments = triggers(6, num=60)
    nothing = rng.normal(0, 0.01, (5000, EMBEDDING_DIM)).astype(np.float32)
    tracks = [
        StreamTrack(
            node=node,
            stream=node,
            modality=modality,
            embeddings=[Hops(t0_node_ns=NodeNs(late_s * S), rows=nothing[::sign])],
            instants=missing_some(moments, seed, late_s=late_s),
        )
        for node, modality, seed, late_s, sign in (
            ("cam", "image", 7, 0, 1),
            ("log", "text", 8, 4, -1),
        )
    ]
    found = align_tracks(tracks, reference="cam").nodes["log"]
    assert found.line is not None
    assert found.line.offset_ns / S == pytest.approx(4.0, abs=0.05)
