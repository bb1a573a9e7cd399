"""Disturbances spoil the values and never the times; nothing at strength 0; the same every time."""

import numpy as np
import pytest

from coeval.samples import AudioBlock, Frame, MetadataBlock, Sample, TextLine
from coeval.time import NodeNs
from coeval_training.data import SLOTS, scene_rows, some_steps
from coeval_training.disturb import KIND_OF, KINDS, Kind, disturb
from coeval_training.scenes import generate_scene

S = 1_000_000_000


def clean(kind: Kind) -> list[Sample]:
    """A few samples that the kind can spoil."""
    rng = np.random.default_rng(0)
    grey = rng.integers(40, 200, (48, 64)).astype(np.uint8)
    tone = np.full(1600, 0.1, np.float32)
    seconds = [NodeNs(k * S) for k in range(40)]
    of_kind: dict[Kind, list[Sample]] = {
        "noise": [AudioBlock(t_node_ns=t, rate_hz=16_000.0, pcm=tone) for t in seconds],
        "light": [Frame(t_node_ns=t, grey=grey) for t in seconds],
        "junk": [TextLine(t_node_ns=t, t_end_node_ns=None, text="door") for t in seconds],
        "spikes": [
            MetadataBlock(
                t_node_ns=t + np.arange(50) * 20_000_000, values=rng.standard_normal((50, 6))
            )
            for t in seconds
        ],
    }
    return of_kind[kind]


def values(sample: Sample) -> object:
    """What the sample says, without when."""
    if isinstance(sample, TextLine):
        return sample.text
    if isinstance(sample, AudioBlock):
        return sample.pcm.tolist()
    return sample.grey.tolist() if isinstance(sample, Frame) else repr(sample.values.tolist())


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_spoilt_and_times_are_not(kind: Kind) -> None:
    before = clean(kind)
    after = list(disturb(before, kind, np.random.default_rng(3)))
    assert any(values(a) != values(b) for a, b in zip(before, after, strict=True))
    for a, b in zip(before, after, strict=True):
        assert np.array_equal(a.t_node_ns, b.t_node_ns)


@pytest.mark.parametrize("kind", KINDS)
def test_strength_0_changes_nothing_that_matters(kind: Kind) -> None:
    before = clean(kind)
    after = disturb(before, kind, np.random.default_rng(3), 0.0)
    assert [values(a) for a in before] == [values(b) for b in after]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_disturbs_alike(kind: Kind) -> None:
    first, second = (
        [values(s) for s in disturb(clean(kind), kind, np.random.default_rng(7))] for _ in "ab"
    )
    assert first == second


def test_every_modality_can_be_disturbed_and_go_without_its_steps() -> None:
    assert set(KIND_OF) == set(SLOTS.values())
    drawn = [some_steps("video", np.random.default_rng(k)) for k in range(200)]
    assert 0.05 < np.mean([not steps.light for steps in drawn]) < 0.25
    assert all(steps.noise for steps in drawn)


def test_a_scenes_rows_are_varied_unless_asked_not_to_be() -> None:
    scene = generate_scene(5, duration_s=6.0)
    plain = scene_rows(scene, 5, varied=False)
    differs = [
        not np.array_equal(rows.rows, plain[slot].rows)
        for slot, rows in scene_rows(scene, 5).items()
    ]
    assert any(differs)
