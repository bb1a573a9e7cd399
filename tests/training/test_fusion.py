"""The fusion network in training: material, learning, export."""

from pathlib import Path

import numpy as np
import pytest
import torch

from coeval.alarm_rate import fit_alarm_rate
from coeval.samples import FloatArray, Frame, MetadataBlock, Modality
from coeval.time import NodeNs
from coeval_aggregator.fusion import Fusion as Run
from coeval_training.export import LostParity
from coeval_training.fusion_data import (
    EmbeddedStream,
    draw_ticks,
    make_session,
    shifted,
    with_fault,
)
from coeval_training.fusion_export import Shipped, check_parity, export_fusion, random_streams
from coeval_training.fusion_model import VECTOR_DIM, Fusion
from coeval_training.fusion_scenes import dead, fusion_rows
from coeval_training.fusion_shares import best_share, weigh
from coeval_training.fusion_train import FusionConfig, halves, losses_of, set_scale

KINDS: tuple[Modality, ...] = ("video", "audio", "metadata", "text")


def scene(seed: int, *, hops: int = 800) -> list[EmbeddedStream]:
    """Streams that show one content, each with noise of its own."""
    rng = np.random.default_rng(seed)
    content = rng.normal(0, 0.3, (hops, 16))
    return [
        EmbeddedStream(
            modality=kind,
            rows=(content + rng.normal(0, 0.1, (hops, 16))).astype(np.float32),
            covered=np.ones(hops, np.float32),
            held_from=0,
            held=np.zeros((0, 16), np.float32),
        )
        for kind in KINDS
    ]


def network(seed: int = 0) -> Fusion:
    torch.manual_seed(seed)
    return Fusion()


def test_a_shifted_stream_shows_what_was_earlier() -> None:
    stream = scene(1)[0]
    rows, _ = shifted(stream, 400, 30)
    np.testing.assert_array_equal(rows[:400], stream.rows[:400])
    np.testing.assert_array_equal(rows[450], stream.rows[420])


def test_every_fault_changes_the_stream_from_its_first_hop_on_and_not_before() -> None:
    stream, other = scene(1)[0], scene(2)[0]
    names = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows, _, begin, end, name = with_fault(stream, other, rng)
        names.add(name)
        np.testing.assert_array_equal(rows[:begin], stream.rows[:begin])
        assert not np.array_equal(rows[begin:end], stream.rows[begin:end])
    assert names == {"frozen", "swapped", "shifted"}


def test_a_stream_that_is_swapped_in_may_be_shorter() -> None:
    stream, short = scene(1)[0], scene(2, hops=120)[0]
    names = {with_fault(stream, short, np.random.default_rng(k))[-1] for k in range(20)}
    assert "swapped" in names


def test_a_session_says_which_stream_is_faulty() -> None:
    others = scene(2)
    sessions = [
        make_session(scene(1), others, np.random.default_rng(k), fault_share=1.0) for k in range(12)
    ]
    assert all(session.faulty.any() for session in sessions)
    assert all((session.faulty.any(axis=0)).sum() <= 2 for session in sessions)


def test_a_calm_session_has_no_faulty_tick() -> None:
    session = make_session(scene(1), [], np.random.default_rng(1), fault_share=0.0)
    assert not session.faulty.any()
    assert session.told.any()


def test_two_streams_that_no_longer_agree_are_both_blamed() -> None:
    pair = scene(1)[:2]
    blamed = []
    for k in range(30):
        session = make_session(pair, [], np.random.default_rng(k), fault_share=1.0)
        blamed.append(int(session.faulty.any(axis=0).sum()))
    assert 2 in blamed


def test_halves_are_never_empty_and_never_share_a_stream() -> None:
    present = torch.ones(50, 6)
    first, second = halves(present, torch.Generator().manual_seed(1))
    assert (first.sum(1) > 0).all()
    assert (second.sum(1) > 0).all()
    assert ((first + second) == present).all()


def test_a_stream_that_is_not_there_changes_nothing() -> None:
    net = network().eval()
    streams = random_streams(2, 4, seed=1)
    present = torch.tensor([[1.0, 1.0, 1.0, 0.0]] * 2)
    one = net(streams._replace(present=present))
    recent = streams.recent.clone()
    recent[:, 3] = 5.0
    other = net(streams._replace(present=present, recent=recent))
    torch.testing.assert_close(one.vectors, other.vectors)
    torch.testing.assert_close(one.scores[:, :, :3], other.scores[:, :, :3])


def test_late_fusion_looks_at_each_stream_alone() -> None:
    net = network().eval()
    streams = random_streams(1, 3, seed=1)._replace(present=torch.ones(1, 3))
    recent = streams.recent.clone()
    recent[:, 2] += 1.0
    before, after = net.look(streams).late, net.look(streams._replace(recent=recent)).late
    torch.testing.assert_close(before[:, :2], after[:, :2])
    assert not torch.allclose(before[:, 2], after[:, 2])


def test_early_fusion_looks_at_all_streams_together() -> None:
    net = network().eval()
    streams = random_streams(1, 3, seed=1)._replace(present=torch.ones(1, 3))
    recent = streams.recent.clone()
    recent[:, 2] += 1.0
    looks, moved = net.look(streams), net.look(streams._replace(recent=recent))
    before = net.together(looks, streams.present)
    after = net.together(moved, streams.present)
    assert not torch.allclose(before[:, :2], after[:, :2])


def test_the_part_that_tells_faults_apart_gets_the_whole_share() -> None:
    rng = np.random.default_rng(1)
    faulty = rng.random(2000) < 0.2
    telling, noise = faulty + 0.1 * rng.normal(size=2000), rng.normal(size=2000)
    early_knows = np.stack([telling, noise], axis=1).astype(np.float32)
    assert best_share(early_knows, faulty) > 0.5
    assert best_share(early_knows[:, ::-1], faulty) < 0.5


def test_two_parts_that_know_different_things_share() -> None:
    rng = np.random.default_rng(1)
    faulty = rng.random(4000) < 0.2
    both = (faulty[:, None] + rng.normal(size=(4000, 2))).astype(np.float32)
    assert 0.2 <= best_share(both, faulty) <= 0.8


def test_where_late_is_as_good_early_gets_nothing() -> None:
    scores = np.repeat(np.arange(100, dtype=np.float32)[:, None], 2, axis=1)
    assert best_share(scores, np.arange(100) > 50) == 0.0


def test_hybrid_holds_the_vectors_of_early_and_of_late() -> None:
    net = network()
    weigh(net, [make_session(scene(k), scene(k + 50), np.random.default_rng(k)) for k in range(8)])
    early, late, hybrid = net(random_streams(2, 3, seed=1)).vectors.unbind(1)
    assert (net.share > 0).all()
    assert not early[:, VECTOR_DIM:].any()
    assert not late[:, :VECTOR_DIM].any()
    torch.testing.assert_close(hybrid[:, :VECTOR_DIM], net.share[0] * early[:, :VECTOR_DIM])
    torch.testing.assert_close(hybrid[:, VECTOR_DIM:], net.share[1] * late[:, VECTOR_DIM:])


def test_what_a_stream_shows_is_not_asked_whether_it_agrees() -> None:
    net = network().eval()
    streams = random_streams(1, 3, seed=1)._replace(present=torch.ones(1, 3))
    elsewhere = streams._replace(joint=streams.joint + 1.0)
    torch.testing.assert_close(net(streams).own, net(elsewhere).own)


def test_a_few_steps_learn_which_stream_is_shifted() -> None:
    config = FusionConfig(steps=1)
    sessions = [make_session(scene(k), scene(k + 50), np.random.default_rng(k)) for k in range(12)]
    net = network()
    set_scale(net, [scene(1)])
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3)
    judged = []
    for step in range(25):
        rng = np.random.default_rng(step)
        batch = draw_ticks(sessions, rng, num_sessions=6, ticks=6)
        loss, parts = losses_of(net, batch, config, torch.Generator().manual_seed(step))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        judged.append(parts["judge_late"])
    assert np.mean(judged[-5:]) < 0.8 * np.mean(judged[:5])


def test_the_exported_file_answers_as_the_network_does(tmp_path: Path) -> None:
    calm: list[FloatArray] = [np.random.default_rng(1).exponential(1.0, 4000).astype(np.float32)]
    rate = fit_alarm_rate(calm)
    net, path = network().eval(), tmp_path / "fusion.onnx"
    export_fusion(net, path, about={"encoders": {"video": "ab"}}, rates={"hybrid": {"video": rate}})
    run = Run.load(path)
    assert run.encoders == {"video": "ab"}
    assert run.rates["hybrid"]["video"].threshold(1.0) == pytest.approx(rate.threshold(1.0), 1e-2)


def test_a_file_that_answers_something_else_is_not_exported(tmp_path: Path) -> None:
    path = tmp_path / "fusion.onnx"
    export_fusion(network(0).eval(), path, about={"encoders": {}}, rates={})
    with pytest.raises(LostParity, match="exported vectors"):
        check_parity(Shipped(network(1)).eval(), path)


def test_a_dead_camera_repeats_its_last_picture() -> None:
    first, second = (
        Frame(t_node_ns=NodeNs(k), grey=np.full((48, 64), k, np.uint8)) for k in (1, 2)
    )
    after = dead(second, first)
    assert isinstance(after, Frame)
    assert after.t_node_ns == 2
    assert (after.grey == 1).all()


def test_dead_channels_repeat_their_last_readings() -> None:
    first, second = (
        MetadataBlock(t_node_ns=np.array([k, k + 1]), values=np.full((2, 3), float(k)))
        for k in (1, 5)
    )
    after = dead(second, first)
    assert isinstance(after, MetadataBlock)
    assert (after.values == 1.0).all()


def test_a_dead_sensor_differs_from_the_living_one_only_after_it_died() -> None:
    rows = fusion_rows(800_001, 20.0)["imu"]
    living = rows.rows[rows.held_from : rows.held_from + len(rows.held)]
    assert len(rows.held) > 20
    assert not np.allclose(living[-10:], rows.held[-len(living) :][-10:])
