"""The whole estimate on invented embeddings: what is known is found, what is not stays unknown."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from coeval.align import align_tracks
from coeval.errors import NotEnoughEvidence
from coeval.evidence import UTC
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.placing import PairLine
from coeval.samples import AudioBlock
from coeval.time import NodeNs
from coeval.tracks import StreamTrack

S = 1_000_000_000


def content(num_hops: int, seed: int) -> np.ndarray:
    """Embeddings of a scene: smooth rows with bursts, shape (num_hops, 16)."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((num_hops, EMBEDDING_DIM))
    smooth = sum(np.roll(rows, k, axis=0) for k in range(3)) / 1.7
    return smooth * np.repeat(rng.random(-(-num_hops // 40)) ** 2, 40)[:num_hops, None]


def seen(
    rows: np.ndarray, node: str, offset_hops: int, *, noise: float, seed: int, gain: float = 0.5
) -> StreamTrack:
    """A node's stream of the scene, `offset_hops` fast."""
    noisy = gain * (rows + noise * np.random.default_rng(seed).standard_normal(rows.shape))
    hops = Hops(t0_node_ns=NodeNs(offset_hops * HOP_NS), rows=noisy.astype(np.float32))
    return StreamTrack(node=node, stream=f"{node}-s", modality="audio", embeddings=[hops])


def three_nodes(noise: float = 1.0) -> list[StreamTrack]:
    rows = content(2400, 1)
    return [
        seen(rows, "cam", 0, noise=noise, seed=2),
        seen(rows, "wrist", 64, noise=noise, seed=3),
        seen(content(2400, 99), "stranger", 10, noise=noise, seed=4),
    ]


def test_a_fast_node_gets_a_positive_offset_and_a_stranger_none() -> None:
    estimate = align_tracks(three_nodes(), reference="cam")
    wrist, stranger = estimate.nodes["wrist"], estimate.nodes["stranger"]
    assert wrist.status == "locked"
    assert wrist.line is not None
    assert wrist.ci95_ns is not None
    assert abs(wrist.line.offset_ns - 3.2 * S) <= wrist.ci95_ns
    assert wrist.evidence == ("content",)
    assert stranger.status == "unsure"
    assert stranger.line is None
    assert stranger.ci95_ns is None


def heard(track: StreamTrack, seed: int) -> StreamTrack:
    """The stream with a sound of its own: noise that swells and fades."""
    rng = np.random.default_rng(seed)
    loud = np.repeat(rng.random(120) ** 2, 8_000)
    pcm = (loud * rng.standard_normal(len(loud))).astype(np.float32)
    block = AudioBlock(t_node_ns=track.embeddings[0].t0_node_ns, rate_hz=16_000.0, pcm=pcm)
    return replace(track, waveform=[block])


def test_a_node_whose_sound_shares_nothing_is_unrelated_and_has_no_offset() -> None:
    cam, wrist, stranger = three_nodes()
    tracks = [heard(cam, 1), wrist, heard(stranger, 2)]
    nodes = align_tracks(tracks, reference="cam").nodes
    assert (nodes["wrist"].status, nodes["stranger"].status) == ("locked", "unrelated")
    assert nodes["stranger"].line is None


def test_another_reference_turns_the_sign() -> None:
    estimate = align_tracks(three_nodes(), reference="wrist")
    cam = estimate.nodes["cam"]
    assert cam.line is not None
    assert cam.line.offset_ns == pytest.approx(-3.2 * S, abs=0.03 * S)


def test_a_silent_stream_is_unsure() -> None:
    rows = content(1200, 1)
    tracks = [
        seen(rows, "cam", 0, noise=0.1, seed=1),
        seen(np.zeros_like(rows), "dead", 0, noise=0.0, seed=2),
    ]
    assert align_tracks(tracks, reference="cam").nodes["dead"].line is None


def test_a_stream_too_short_to_tell_is_unsure() -> None:
    rows = content(2400, 1)
    tracks = [seen(rows, "cam", 0, noise=0.5, seed=1), seen(rows[:20], "b", 0, noise=0.5, seed=2)]
    assert align_tracks(tracks, reference="cam").nodes["b"].status == "unsure"


def part(rows: np.ndarray, first: int, last: int) -> np.ndarray:
    """What a sensor sees that notices only some of what happens."""
    seen_rows = np.zeros_like(rows)
    seen_rows[:, first:last] = rows[:, first:last]
    return seen_rows


def test_pairs_too_weak_alone_place_a_node_together() -> None:
    rows = content(1200, 7)
    strong = [
        seen(part(rows, 0, 7), "a", 0, noise=0.1, seed=1, gain=0.4),
        seen(part(rows, 5, 12), "b", 40, noise=0.1, seed=2, gain=0.4),
        seen(part(rows, 9, 16), "c", -30, noise=0.1, seed=5, gain=0.4),
    ]
    for noise in np.arange(1.0, 12.0, 0.25):
        weak = seen(rows, "w", 90, noise=float(noise), seed=3, gain=0.4)
        alone = [align_tracks([one, weak], reference=one.node).nodes["w"].line for one in strong]
        together = align_tracks([*strong, weak], reference="a").nodes["w"].line
        if alone == [None, None, None] and together is not None:
            assert together.offset_ns == pytest.approx(4.5 * S, abs=0.05 * S)
            return
    pytest.fail("no noise at which only the joint step places the node")


def stepping(
    rows: np.ndarray, node: str, steps: Sequence[tuple[int, int]], *, noise: float, seed: int
) -> StreamTrack:
    """A node's stream of the scene whose clock steps: (at hop, by hops), in time order."""
    whole = seen(rows, node, 0, noise=noise, seed=seed).embeddings[0].rows
    edges = [0, *(at for at, _ in steps), len(rows)]
    fast = np.cumsum([0, *(by for _, by in steps)])
    runs = [
        Hops(t0_node_ns=NodeNs(int(first + ahead) * HOP_NS), rows=whole[first:last])
        for first, last, ahead in zip(edges, edges[1:], fast, strict=False)
    ]
    return StreamTrack(node=node, stream=f"{node}-s", modality="audio", embeddings=runs)


def test_a_step_of_the_reference_is_a_step_of_all_others_the_other_way() -> None:
    rows = content(2400, 8)
    tracks = [
        stepping(rows, "cam", [(1100, 8)], noise=0.5, seed=1),
        seen(rows, "wrist", 20, noise=0.5, seed=2),
        seen(rows, "belt", -40, noise=0.5, seed=3),
    ]
    nodes = align_tracks(tracks, reference="cam").nodes
    for name, offset_s in (("wrist", 1.0), ("belt", -2.0)):
        found = nodes[name]
        assert found.line is not None
        assert found.line.offset_ns == pytest.approx(offset_s * S, abs=0.03 * S)
        (jump,) = found.jumps
        assert jump.delta_ns == pytest.approx(-0.4 * S, abs=0.03 * S)
        assert jump.t_ref_ns == pytest.approx(55 * S, abs=5 * S)


def test_only_the_clock_that_stepped_is_blamed_whichever_is_the_reference() -> None:
    rows = content(2400, 8)
    tracks = [
        seen(rows, "cam", 0, noise=0.5, seed=1),
        stepping(rows, "wrist", [(900, -7)], noise=0.5, seed=2),
        seen(rows, "belt", 60, noise=0.5, seed=3),
    ]
    for reference in ("cam", "belt"):
        nodes = align_tracks(tracks, reference=reference).nodes
        steps = {name: [jump.delta_ns / S for jump in node.jumps] for name, node in nodes.items()}
        assert steps.pop("wrist") == [pytest.approx(-0.35, abs=0.03)]
        assert set(map(tuple, steps.values())) == {()}


def test_two_steps_of_one_clock_are_both_found_in_time_order() -> None:
    rows = content(3600, 8)
    tracks = [
        seen(rows, "cam", 0, noise=0.4, seed=1),
        stepping(rows, "wrist", [(1000, 10), (2300, -16)], noise=0.4, seed=2),
    ]
    found = align_tracks(tracks, reference="cam").nodes["wrist"]
    assert [jump.delta_ns / S for jump in found.jumps] == pytest.approx([0.5, -0.8], abs=0.03)
    assert [jump.t_ref_ns / S for jump in found.jumps] == pytest.approx([50, 115], abs=5)
    assert found.line is not None
    assert found.line.offset_ns == pytest.approx(0.0, abs=0.03 * S)


def test_a_step_of_a_clock_is_reported_and_not_taken_for_skew() -> None:
    rows = content(2400, 8)
    stepped = [
        Hops(t0_node_ns=NodeNs(20 * HOP_NS), rows=(0.5 * rows[:1200]).astype(np.float32)),
        Hops(t0_node_ns=NodeNs(1226 * HOP_NS), rows=(0.5 * rows[1200:]).astype(np.float32)),
    ]
    tracks = [
        seen(rows, "cam", 0, noise=0.5, seed=1),
        StreamTrack(node="b", stream="s", modality="audio", embeddings=stepped),
    ]
    found = align_tracks(tracks, reference="cam").nodes["b"]
    assert found.line is not None
    assert found.line.offset_ns == pytest.approx(1.0 * S, abs=0.03 * S)
    (jump,) = found.jumps
    assert jump.delta_ns == pytest.approx(0.3 * S, abs=0.05 * S)
    assert jump.t_ref_ns == pytest.approx(60 * S, abs=10 * S)


def test_clocks_of_other_epochs_are_compared_from_their_beginnings() -> None:
    rows = content(1200, 1)
    epoch_hops = 1_700_000_000 * 20
    tracks = [
        seen(rows, "a", 0, noise=0.5, seed=1),
        seen(rows, "b", epoch_hops + 50, noise=0.5, seed=2),
    ]
    found = align_tracks(tracks, reference="a").nodes["b"]
    assert found.line is not None
    assert found.line.offset_ns - epoch_hops * HOP_NS == pytest.approx(2.5 * S, abs=0.03 * S)


def utc_lines(offsets_s: Sequence[tuple[str, float]]) -> list[PairLine]:
    return [
        PairLine(
            first=UTC,
            second=node,
            kind="hardware",
            t_second_ns=60e9 + offset * S,
            lag_ns=offset * S,
            skew_ppm=0.0,
            covariance=np.diag([1e6, 0.01]),
        )
        for node, offset in offsets_s
    ]


def test_hardware_evidence_ties_a_node_whose_content_says_nothing() -> None:
    evidence = utc_lines([("cam", 0.1), ("stranger", 0.6)])
    estimate = align_tracks(three_nodes(), reference="cam", evidence=evidence)
    stranger = estimate.nodes["stranger"]
    assert stranger.line is not None
    assert stranger.line.offset_ns == pytest.approx(0.5 * S, abs=1e4)
    assert stranger.evidence == ("hardware",)


def test_hardware_and_content_together_are_named_together() -> None:
    evidence = utc_lines([("cam", 0.0), ("wrist", 3.2)])
    wrist = align_tracks(three_nodes(), reference="cam", evidence=evidence).nodes["wrist"]
    assert wrist.evidence == ("content", "hardware")
    assert wrist.ci95_ns is not None
    assert wrist.ci95_ns < 1e5


def test_without_content_only_other_evidence_counts() -> None:
    estimate = align_tracks(three_nodes(), reference="cam", content=False)
    assert all(node.line is None for node in estimate.nodes.values())


def test_a_reference_that_is_not_there_is_named() -> None:
    with pytest.raises(NotEnoughEvidence, match="'nobody'"):
        align_tracks(three_nodes(), reference="nobody")


def test_progress_ends_at_one() -> None:
    shares: list[float] = []
    align_tracks(three_nodes(), reference="cam", progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def repeated(rows: np.ndarray, hops: int, share: float) -> np.ndarray:
    """Content that echoes itself, as strokes and steps do."""
    return rows + share * np.roll(rows, hops, axis=0)


def test_two_equal_echoes_are_not_taken_for_a_step_from_one_to_the_other() -> None:
    for seed in (2, 7, 10):
        rows = content(2400, seed)
        cam = seen(rows, "cam", 0, noise=1.0, seed=2 + seed)
        wrist = seen(repeated(rows, 5, 1.0), "wrist", 64, noise=1.0, seed=3 + seed)
        assert align_tracks([cam, wrist], reference="cam").nodes["wrist"].jumps == ()


def test_a_node_that_cannot_be_told_from_its_echo_is_unsure() -> None:
    rows = content(560, 1)
    for share, status in ((0.3, "locked"), (1.0, "unsure")):
        cam = seen(rows, "cam", 0, noise=1.0, seed=2)
        wrist = seen(repeated(rows, 5, share), "wrist", 64, noise=1.0, seed=3)
        estimate = align_tracks([cam, wrist], reference="cam")
        assert estimate.nodes["wrist"].status == status
