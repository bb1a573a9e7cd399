"""A clock's material cut at an instant: nothing doubled, nothing lost but the hop of the cut."""

import numpy as np
import pytest

from coeval.hops import HOP_NS, Hops
from coeval.samples import AudioBlock
from coeval.segments import clock_of, cut_hops, cut_signals, cut_sound, segment_name
from coeval.signals import SignalTrack
from coeval.time import NodeNs

S = 1_000_000_000


def test_every_segment_knows_its_clock_and_the_first_is_the_node_itself() -> None:
    assert segment_name("cam", 0) == "cam"
    assert segment_name("cam", 2) != segment_name("cam", 1) != "cam"
    assert {clock_of(segment_name("a@1", k)) for k in range(3)} == {"a@1"}


def test_a_run_loses_the_hop_of_the_cut_only() -> None:
    run = Hops(t0_node_ns=NodeNs(10 * HOP_NS), rows=np.arange(20, dtype=np.float32)[:, None])
    before, after = cut_hops(run, 14 * HOP_NS + 3)
    assert before is not None
    assert after is not None
    assert before.rows[:, 0].tolist() == [0, 1, 2, 3]
    assert after.t0_node_ns == 15 * HOP_NS
    assert after.rows[:, 0].tolist() == list(range(5, 20))


@pytest.mark.parametrize(
    ("at_hop", "num_before", "num_after"), [(3, 0, 20), (10, 0, 20), (30, 20, 0)]
)
def test_a_run_beside_the_cut_stays_whole(at_hop: int, num_before: int, num_after: int) -> None:
    run = Hops(t0_node_ns=NodeNs(10 * HOP_NS), rows=np.zeros((20, 1), np.float32))
    lengths = [0 if part is None else len(part.rows) for part in cut_hops(run, at_hop * HOP_NS)]
    assert lengths == [num_before, num_after]


def test_readings_go_to_one_side_and_a_single_one_is_none() -> None:
    track = SignalTrack(t_node_ns=np.arange(5) * S, values=np.arange(5.0)[:, None])
    before, after = cut_signals(track, 3 * S)
    assert before is not None
    assert after is not None
    assert before.values[:, 0].tolist() == [0, 1, 2]
    assert after.t_node_ns.tolist() == [3 * S, 4 * S]
    assert cut_signals(track, 4 * S)[1] is None


def test_sound_goes_on_at_the_sample_of_the_cut() -> None:
    block = AudioBlock(t_node_ns=NodeNs(S), rate_hz=1000.0, pcm=np.arange(100, dtype=np.float32))
    before, after = cut_sound(block, S + 40_000_000)
    assert before is not None
    assert after is not None
    assert (len(before.pcm), after.pcm[0], after.t_node_ns) == (40, 40.0, S + 40_000_000)
    assert cut_sound(block, S - 1)[0] is None
