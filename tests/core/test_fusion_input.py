import numpy as np
import pytest

from coeval.fusion_input import (
    LEAST_STIR,
    RECENT_HOPS,
    TICK_HOPS,
    WINDOWS_TICKS,
    SessionInputs,
    TickInputs,
)
from coeval.hops import EMBEDDING_DIM
from coeval.samples import FloatArray, Modality
from coeval.shifted import FAR_HOPS

HOPS = 400
KINDS: tuple[Modality, ...] = ("video", "audio", "metadata")


def content(seed: int, num_hops: int = HOPS) -> FloatArray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.3, (num_hops, EMBEDDING_DIM)).astype(np.float32)


def pushed(*streams: FloatArray) -> TickInputs:
    rows = np.stack(streams)
    return SessionInputs(KINDS[: len(streams)]).push(rows, np.ones(rows.shape[:2], np.float32))


def agreement(inputs: TickInputs, stream: int) -> float:
    """How far the same moment is above all others, by the longest window, at the last tick."""
    return float(inputs.joint[-1, stream, 3 * len(WINDOWS_TICKS) - 1])


def test_streams_of_one_moment_agree() -> None:
    same = content(1)
    assert agreement(pushed(same, same), 0) > 3.0


def test_a_stream_that_is_late_disagrees() -> None:
    same = content(1)
    assert agreement(pushed(same, np.roll(same, 30, axis=0)), 0) < -3.0


def test_a_stream_that_is_early_disagrees_as_much() -> None:
    same = content(1)
    assert agreement(pushed(same, np.roll(same, -30, axis=0)), 0) < -3.0


def test_a_stream_less_than_the_nearest_other_moment_off_is_not_called_late() -> None:
    same = content(1)
    assert agreement(pushed(same, np.roll(same, FAR_HOPS - 5, axis=0)), 0) > 3.0


def test_of_three_streams_the_late_one_disagrees_most() -> None:
    same = content(1)
    inputs = pushed(same, np.roll(same, 40, axis=0), same)
    assert agreement(inputs, 1) < min(agreement(inputs, 0), agreement(inputs, 2))


def evidence_against(inputs: TickInputs, stream: int) -> tuple[float, float]:
    """The tests for a stream that moved and for one that is unrelated, at the last tick."""
    apart, moved = inputs.joint[-1, stream, -2:]
    return float(moved), float(apart)


def test_streams_of_one_moment_pass_both_tests() -> None:
    moved, apart = evidence_against(pushed(content(1), content(1)), 0)
    assert moved < 1.0
    assert apart < 1.0


def test_a_stream_that_moves_half_way_adds_up_evidence_against_itself() -> None:
    same = content(1)
    rows = same.copy()
    rows[300:] = same[270:370]
    quiet, found = (
        evidence_against(pushed(same, same), 1)[0],
        evidence_against(pushed(same, rows), 1)[0],
    )
    assert found > quiet + 3.0


def test_a_stream_of_another_scene_half_way_adds_up_evidence_against_itself() -> None:
    rows = content(1)
    rows[300:] = content(2)[300:]
    assert evidence_against(pushed(content(1), rows), 1)[1] > 3.0


def test_evidence_against_a_stream_is_forgotten_when_all_is_well_again() -> None:
    rows, same = content(1, 1600), content(1, 1600)
    rows[300:400] = content(2)[300:400]
    assert evidence_against(pushed(same, rows), 1)[1] < 1.0


def test_hops_in_pieces_give_the_ticks_of_all_at_once() -> None:
    rows = np.stack([content(1), content(2)])
    covered = np.ones(rows.shape[:2], np.float32)
    whole = SessionInputs(KINDS[:2]).push(rows, covered)
    session = SessionInputs(KINDS[:2])
    parts = [session.push(rows[:, k : k + 50], covered[:, k : k + 50]) for k in range(0, HOPS, 50)]
    for name in TickInputs.__slots__:
        pieces = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(pieces, getattr(whole, name), rtol=1e-4, atol=1e-5)


def test_streams_named_in_another_order_keep_their_past() -> None:
    a, b = content(1), content(2)
    covered = np.ones((2, HOPS // 2), np.float32)
    half = HOPS // 2
    session = SessionInputs(KINDS[:2])
    session.push(np.stack([a, b])[:, :half], covered)
    turned = session.rearranged([1, 0], KINDS[1::-1]).push(np.stack([b, a])[:, half:], covered)
    straight = pushed(a, b)
    np.testing.assert_allclose(turned.joint[-1, 0], straight.joint[-1, 1], rtol=1e-4)
    np.testing.assert_allclose(turned.history[-1, 1], straight.history[-1, 0], rtol=1e-4)
    np.testing.assert_allclose(turned.shifted[-1], straight.shifted[-1, ::-1], rtol=1e-3)


def test_a_new_stream_begins_without_a_past() -> None:
    session = SessionInputs(KINDS[:1])
    session.push(content(1)[None], np.ones((1, HOPS), np.float32))
    joined = session.rearranged([0, None], KINDS[:2])
    inputs = joined.push(np.stack([content(1), content(2)])[:, :TICK_HOPS], np.ones((2, TICK_HOPS)))
    assert inputs.history[0, 0, -1] > 0.4
    assert inputs.history[0, 1, -1] == pytest.approx(TICK_HOPS / 800)
    assert not inputs.covered[0, 1, : RECENT_HOPS - TICK_HOPS].any()


def test_a_frozen_stream_stirs_far_less_than_is_usual_for_it() -> None:
    rows = content(1)
    rows[-20:] = rows[-21]
    assert (pushed(rows).stir[-1, 0, -19:] < -4.0).all()


def test_rounding_on_the_wire_is_no_stir() -> None:
    row = content(1)[0]
    step = float(np.square(row.astype(np.float16).astype(np.float32) - row).mean())
    assert step < LEAST_STIR


def test_hops_that_are_not_there_teach_nothing() -> None:
    rows = np.stack([content(1)])
    covered = np.ones((1, HOPS), np.float32)
    covered[:, 200:] = 0.0
    with_gap = SessionInputs(KINDS[:1]).push(rows, covered)
    before = pushed(content(1)[:200])
    np.testing.assert_allclose(with_gap.history[-1], before.history[-1], rtol=1e-5)
    assert not with_gap.recent[-1].any()


def test_a_partner_that_goes_raises_nothing_against_those_that_stay() -> None:
    same = content(1, 1200)
    rows, covered = np.stack([same, same, same]), np.ones((3, 1200), np.float32)
    covered[2, 600:] = 0.0
    left = SessionInputs(KINDS[:3]).push(rows, covered)
    for stream in (0, 1):
        assert max(evidence_against(left, stream)) < 1.0


def test_the_last_partner_that_goes_raises_nothing_either() -> None:
    same = content(1, 1200)
    covered = np.ones((2, 1200), np.float32)
    covered[1, 600:] = 0.0
    left = SessionInputs(KINDS[:2]).push(np.stack([same, same]), covered)
    assert max(evidence_against(left, 0)) < 1.0


def test_a_partner_that_is_no_longer_named_raises_nothing_either() -> None:
    same = content(1, 1200)
    covered = np.ones((3, 600), np.float32)
    session = SessionInputs(KINDS[:3])
    session.push(np.stack([same, same, same])[:, :600], covered)
    left = session.rearranged([0, 1], KINDS[:2]).push(np.stack([same, same])[:, 600:], covered[:2])
    assert max(*evidence_against(left, 0), *evidence_against(left, 1)) < 1.0


def test_streams_that_fall_quiet_together_are_not_called_unrelated() -> None:
    same = content(1, 1200)
    same[600:] = 0.0
    assert max(evidence_against(pushed(same, same), 0)) < 1.0


def test_a_stream_that_was_late_from_the_beginning_did_not_move() -> None:
    same, other = content(1, 1600), content(2, 1600)
    late = np.roll(same, 30, axis=0) + other
    moved, _ = evidence_against(pushed(same + other, late), 1)
    assert moved < 3.0


def test_windows_forget_what_is_older() -> None:
    same = content(1, 1000)
    rows = same.copy()
    rows[600:] = content(2, 1000)[600:]
    inputs = pushed(same, rows)
    shortest, longest = inputs.joint[-1, 0, [0, len(WINDOWS_TICKS) - 1]]
    assert abs(shortest) < 3.0
    assert abs(longest) < 3.0
    assert inputs.joint[100, 0, len(WINDOWS_TICKS) - 1] > 5.0
