"""Rows on relevance and recognition: faults do what they say, and counts are of what was asked."""

from pathlib import Path

import numpy as np
import pytest

from coeval.samples import AudioBlock, Frame, MetadataBlock, Sample, TextLine
from coeval.time import NS_PER_S, NodeNs
from coeval_lab.bench.recognition import Tally, dressed, sensor_verdicts, windows_of
from coeval_lab.bench.recognition_truth import Sensor
from coeval_lab.bench.relevance import fault_row, one_fault, outside_s, recording_rows, watched
from coeval_lab.bench.relevance_faults import FAULTS, Fault, first_ns

RNG = np.random.default_rng(6)
SPAN = (20 * NS_PER_S, 40 * NS_PER_S)


def at(seconds: float) -> NodeNs:
    return NodeNs(round(seconds * NS_PER_S))


def stream(slot: str) -> list[Sample]:
    """A minute of a sensor that is well."""
    if slot == "video":
        return [
            Frame(t_node_ns=at(k / 10), grey=RNG.integers(0, 255, (48, 64)).astype(np.uint8))
            for k in range(600)
        ]
    if slot == "audio":
        return [
            AudioBlock(
                t_node_ns=at(k / 2),
                rate_hz=16_000,
                pcm=(0.1 * RNG.standard_normal(8000)).astype(np.float32),
            )
            for k in range(120)
        ]
    if slot == "text":
        times = np.cumsum(RNG.exponential(1.0, 60))
        return [
            TextLine(t_node_ns=at(t), t_end_node_ns=None, text=f"door {t:.1f}")
            for t in times.tolist()
        ]
    return [
        MetadataBlock(
            t_node_ns=at(k) + np.arange(50) * (NS_PER_S // 50), values=RNG.normal(size=(50, 3))
        )
        for k in range(60)
    ]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_changes_its_span_and_nothing_else(fault: Fault) -> None:
    samples = stream(fault.slot)
    broken = list(fault.put(samples, SPAN, np.random.default_rng(1)))

    def outside(each: Sample) -> bool:
        return not SPAN[0] - NS_PER_S <= first_ns(each) < SPAN[1]

    before, after = [s for s in samples if outside(s)], [s for s in broken if outside(s)]
    assert [repr(each) for each in before] == [repr(each) for each in after]
    assert [repr(each) for each in samples] != [repr(each) for each in broken]
    assert [first_ns(s) for s in broken] == sorted(first_ns(s) for s in broken)


def test_a_stuck_sensor_is_measured_as_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coeval_lab.bench.relevance.SCENE_S", 180.0)
    fault = next(fault for fault in FAULTS if fault.name == "stuck sensor")
    t_ns = np.arange(180 * 50) * (NS_PER_S // 50)
    samples: list[Sample] = [MetadataBlock(t_node_ns=t_ns, values=RNG.normal(size=(9000, 3)))]
    row = fault_row(fault, [one_fault(fault, samples, [], seed=1)])
    assert (row["found"], row["named"], row["false_s"]) == (100.0, 100.0, 0.0)
    assert 5.0 <= row["delay_s"] <= 6.0
    assert outside_s(watched(samples, "metadata")[0], (0, 0)) == 0.0


@pytest.mark.parametrize(
    ("slot", "modality"), [("text", "text"), ("imu", "metadata"), ("audio", "audio")]
)
def test_windows_are_asked_about_however_they_are_dressed(slot: str, modality: str) -> None:
    tally = Tally()
    for piece in windows_of(stream(slot))[:3]:
        for window in dressed(piece):
            tally.add(modality, window, where=slot)  # type: ignore[arg-type]
    *_, total = tally.rows("made")
    assert (total["modality"], total["wrong"]) == ("all", 0.0)
    assert total["windows"] >= 6


def test_a_sensor_is_right_wrong_or_unsure() -> None:
    t_ns = np.arange(400) * 10_000_000
    felt = np.array([0.5, 0.5, 9.78]) + 0.05 * RNG.standard_normal((400, 3))
    values = np.concatenate([felt, RNG.normal(size=(400, 1)).cumsum(axis=0)], axis=1)
    truth = [Sensor(kind="accelerometer", units="m/s^2")] * 2
    truth += [Sensor(kind="gyroscope", units="rad/s"), Sensor(kind="temperature")]
    verdicts = [verdict for verdict, _ in sensor_verdicts(t_ns, values, truth)]
    assert verdicts == ["right", "right", "wrong", "unsure"]


def test_a_folder_without_recordings_gives_no_rows(tmp_path: Path) -> None:
    assert list(recording_rows(tmp_path)) == []
    assert list(recording_rows(tmp_path / "absent")) == []
