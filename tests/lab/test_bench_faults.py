"""Faults that the benchmark injects into samples."""

import numpy as np
import pytest

from coeval.hops import HOP_NS
from coeval.repeats import RepeatWatch
from coeval.samples import AudioBlock, Frame, MetadataBlock, Sample, TextLine
from coeval.time import NS_PER_S, NodeNs
from coeval_aggregator.fusion import Mode
from coeval_lab.bench.anomaly import delays_of, spells, told_apart
from coeval_lab.bench.fault_material import Track, follow
from coeval_lab.bench.faults import FAULTS, Fault
from coeval_lab.bench.fusion import Trials, behind
from coeval_lab.bench.material import first_ns, last_ns
from coeval_training.ranks import auroc, reciprocal_rank

ONSET_NS = 10 * NS_PER_S


def frames(seed: int) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [
        Frame(t_node_ns=NodeNs(k * NS_PER_S // 5), grey=rng.integers(0, 255, (48, 64), np.uint8))
        for k in range(100)
    ]


def readings(seed: int) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [
        MetadataBlock(
            t_node_ns=np.arange(50) * NS_PER_S // 50 + k * NS_PER_S,
            values=rng.normal(size=(50, 3)),
        )
        for k in range(20)
    ]


def sound(seed: int) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [
        AudioBlock(
            t_node_ns=NodeNs(k * NS_PER_S // 2),
            rate_hz=1000.0,
            pcm=rng.normal(0, 0.1, 500).astype(np.float32),
        )
        for k in range(40)
    ]


def lines(seed: int) -> list[Sample]:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 20, 40))
    return [
        TextLine(t_node_ns=NodeNs(round(t * NS_PER_S)), t_end_node_ns=None, text=f"{seed} {k}")
        for k, t in enumerate(times)
    ]


MATERIAL = {"video": frames, "image": frames, "metadata": readings, "audio": sound, "text": lines}
CASES = [
    pytest.param(fault, modality, id=f"{fault.name}-{modality}")
    for fault in FAULTS
    for modality in fault.modalities
]


@pytest.mark.parametrize(("fault", "modality"), CASES)
def test_stamps_stay_in_order(fault: Fault, modality: str) -> None:
    make = MATERIAL[modality]
    changed = fault.inject(make(1), make(2), ONSET_NS, np.random.default_rng(1))
    begins = [first_ns(sample) for sample in changed]
    assert begins == sorted(begins)
    assert all(last_ns(sample) <= last_ns(make(1)[-1]) + NS_PER_S for sample in changed)


@pytest.mark.parametrize(("fault", "modality"), CASES)
def test_nothing_changes_before_the_fault_begins(fault: Fault, modality: str) -> None:
    make = MATERIAL[modality]
    changed = fault.inject(make(1), make(2), ONSET_NS, np.random.default_rng(1))
    before = [sample for sample in make(1) if last_ns(sample) < ONSET_NS]
    assert len(before) >= 10
    for was, now in zip(before, changed, strict=False):
        for name in ("grey", "values", "pcm", "text"):
            if hasattr(was, name):
                np.testing.assert_array_equal(getattr(now, name), getattr(was, name))


@pytest.mark.parametrize(("fault", "modality"), CASES)
def test_something_changes_afterwards(fault: Fault, modality: str) -> None:
    make = MATERIAL[modality]
    changed = fault.inject(make(1), make(2), ONSET_NS, np.random.default_rng(1))
    after = [sample for sample in make(1) if first_ns(sample) >= ONSET_NS]
    now = [sample for sample in changed if first_ns(sample) >= ONSET_NS]
    is_same = len(now) == len(after) and all(
        first_ns(a) == first_ns(b)
        and all(
            np.array_equal(getattr(a, name), getattr(b, name))
            for name in ("grey", "values", "pcm", "text")
            if hasattr(a, name)
        )
        for a, b in zip(after, now, strict=True)
    )
    assert not is_same


def test_a_desynchronised_stream_shows_another_moment() -> None:
    fault = next(fault for fault in FAULTS if fault.name == "desync")
    changed = fault.inject(frames(1), [], ONSET_NS, np.random.default_rng(1))
    original = {sample.grey.tobytes(): sample for sample in frames(1) if isinstance(sample, Frame)}
    late_s = {
        round((first_ns(sample) - first_ns(original[sample.grey.tobytes()])) / NS_PER_S, 3)
        for sample in changed
        if isinstance(sample, Frame) and first_ns(sample) > ONSET_NS
    }
    assert len(late_s) == 1
    assert 0.5 <= abs(late_s.pop()) <= 5.0


def test_auroc_counts_pairs_in_order_and_ties_half() -> None:
    assert auroc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert auroc(np.array([1.0]), np.array([1.0])) == 0.5
    assert auroc(np.array([0.0, 2.0]), np.array([1.0])) == 0.5
    assert auroc(np.zeros(0), np.array([1.0])) is None


def test_alarms_close_together_are_one() -> None:
    run = np.full(400, -1.0, np.float32)
    run[[10, 30, 200]] = 1.0
    assert spells(run) == 2


def test_a_moment_that_is_found_first_has_rank_one() -> None:
    moments = np.eye(8, dtype=np.float32)
    assert reciprocal_rank(moments, moments) == 1.0
    assert reciprocal_rank(moments, np.roll(moments, 1, axis=0)) < 0.7


def test_a_frozen_camera_surprises_its_node_from_the_frame_after_the_first_that_repeats() -> None:
    rng = np.random.default_rng(1)
    clip: list[Sample] = [
        Frame(t_node_ns=NodeNs(k * 40_000_000), grey=rng.integers(0, 255, (48, 64), np.uint8))
        for k in range(1600)
    ]
    frozen = next(fault for fault in FAULTS if fault.name == "frozen camera")
    onset_ns = 60 * NS_PER_S
    broken = frozen.inject(clip, [], onset_ns, rng)
    surprise = np.zeros(1280, np.float32)
    follow(RepeatWatch(), broken, surprise, start_ns=0)
    assert not surprise[: onset_ns // HOP_NS].any()
    assert surprise[onset_ns // HOP_NS + 40] > np.log(86_400)


def test_readings_are_followed_hop_by_hop_however_long_their_blocks_are() -> None:
    values = np.random.default_rng(1).normal(size=(500, 2))
    values[400:] = values[399]
    block = MetadataBlock(t_node_ns=(np.arange(500) * 10_000_000).astype(np.int64), values=values)
    surprise = np.zeros(100, np.float32)
    follow(RepeatWatch(), [block], surprise, start_ns=0)
    assert not surprise[:80].any()
    assert (np.diff(surprise[80:]) > 0).all()


def track(rows: np.ndarray) -> Track:
    return Track(
        name="log",
        modality="text",
        rows=rows,
        covered=np.ones(len(rows), np.float32),
        surprise=np.zeros(len(rows), np.float32),
    )


def test_a_fault_can_be_known_from_the_first_hop_that_differs_on() -> None:
    calm = np.zeros((100, 16), np.float32)
    late = calm.copy()
    late[60:70] = 1.0
    knowable = told_apart(track(calm), track(late))
    assert not knowable[:60].any()
    assert knowable[60:].all()
    assert not told_apart(track(calm), track(calm)).any()


def test_delays_are_of_those_that_are_found_and_shares_of_all() -> None:
    told = delays_of([1.0, 2.0, 12.0, np.inf], "_hourly")
    assert told["within_2s_hourly"] == 50.0
    assert told["detected_hourly"] == 75.0
    assert told["median_delay_hourly_s"] == 2.0
    assert told["p90_delay_hourly_s"] == 10.0
    assert delays_of([np.inf], "")["median_delay_s"] is None


def trials(hybrid: list[float], late: list[float]) -> Trials:
    """Of sessions in which only the moment was searched for."""
    ranks: dict[Mode, list[list[float]]] = {
        "early": [[0.0]] * len(late),
        "late": [[rank] for rank in late],
        "hybrid": [[rank] for rank in hybrid],
    }
    events: dict[Mode, list[np.ndarray]] = {mode: [np.zeros(2)] * len(late) for mode in ranks}
    return Trials(
        found=[{} for _ in late],
        events=events,
        happened=[np.array([True, False])] * len(late),
        activities=events,
        activity=[np.array([0.0, 1.0], np.float32)] * len(late),
        ranks=ranks,
    )


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_lead_that_changes_sides_from_session_to_session_is_no_certain_one() -> None:
    rng = np.random.default_rng(1)
    late = rng.uniform(0, 1, 24)
    even = late + rng.normal(0, 0.1, 24)
    ahead = behind(trials(list(even - even.mean() + late.mean() - 0.001), list(late)))
    assert [lead.is_certain for lead in ahead] == [False]
    (worse,) = behind(trials(list(late - 0.05), list(late)))
    assert worse.is_certain
    assert worse.text.startswith("moment: late by 0.050 (")
    assert behind(trials(list(late + 0.05), list(late))) == []
