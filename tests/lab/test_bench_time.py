"""`coeval bench time`: the sums, the baselines and the shape of its rows."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from coeval.clock_findings import Finding
from coeval.evidence import SERVER
from coeval_lab.bench.clock_cost import cost_row
from coeval_lab.bench.clock_paths import path_rows
from coeval_lab.bench.clock_plan import (
    CALM,
    CHOICES,
    FAULTS,
    GPS_LOST,
    JUMP,
    LIE,
    NETWORK_CUT,
    plan_of,
    seen_by,
)
from coeval_lab.bench.clock_runs import Run, error_columns, row_of, scenario_rows, simulate
from coeval_lab.bench.time_baselines import BASELINES, Estimator
from coeval_lab.simulation.scenario import SOURCES, Scenario, SimulatedSession
from coeval_lab.simulation.stamps import QUIET_LAN

SHORT = replace(CALM[1], seconds=90.0)


def test_errors_are_summed_as_by_hand() -> None:
    columns = error_columns(np.array([3e9, -4e9, 0.0, 0.0]))
    assert columns == {"rms_s": 2.5, "median_s": 1.5, "p95_s": 3.85, "max_s": 4.0}
    assert error_columns(np.array([]))["rms_s"] is None


def test_a_lines_coverage_and_false_jumps_are_counted() -> None:
    told = Finding(kind="jump", clock="n", source="x", t_second_ns=0, size_ns=1.0)
    life = Run(
        errors_ns=np.array([1.0, 3.0]),
        halves_ns=np.array([2.0, 2.0]),
        is_blind=np.zeros(2, np.bool_),
        later_errors_ns=np.array([]),
        later_halves_ns=np.array([]),
        findings=((10.0, told),),
        jump_samples=None,
    )
    row = row_of(replace(SHORT, seconds=86_400.0), "joint", [life])
    assert row["coverage95"] == 50.0
    assert row["false_jumps_per_day"] == 1.0


@pytest.mark.parametrize("make", BASELINES.values(), ids=BASELINES)
def test_a_baseline_finds_an_offset_with_our_sign(make: type[Estimator]) -> None:
    session = SimulatedSession(Scenario(name="x", path=QUIET_LAN), seed=4)
    estimator = make()
    assert estimator.at(0) is None
    for _, exchange in session.exchanges("n"):
        estimator.push(exchange)
    at = np.array([299.0])
    found = estimator.at(session.reads("n", at)[0])
    assert found is not None
    truth = session.truth_ns(299.0, second="n", first=SERVER)
    assert found == pytest.approx(truth, abs=QUIET_LAN.delay_ns)


def test_rows_have_the_promised_keys_and_are_json() -> None:
    rows = [row for source in CHOICES for row in scenario_rows(SHORT, source, 2, 1)]
    rows += path_rows(QUIET_LAN, 1, 1)
    assert [row["source"] for row in rows[:4]] == ["hardware", "network", "content", "joint"]
    for row in rows:
        assert set(row) >= {
            "scenario", "source", "rms_s", "p95_s", "max_s", "coverage95", "runs"
        }  # fmt: skip
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows


def test_the_joint_estimate_is_as_good_as_the_best_source_on_a_calm_day() -> None:
    lives = {
        sources: [simulate(SHORT, seed=seed, sources=sources) for seed in range(6)]
        for sources in (("hardware",), SOURCES)
    }
    rms = {
        sources: math.sqrt(np.mean(np.concatenate([life.errors_ns for life in runs]) ** 2))
        for sources, runs in lives.items()
    }
    assert rms[SOURCES] <= 1.05 * rms["hardware",]
    assert rms[SOURCES] <= 2_500


def test_a_jump_is_told_within_three_samples_and_a_lie_does_not_move_the_clock() -> None:
    told = simulate(JUMP, seed=1, sources=SOURCES)
    assert told.jump_samples is not None
    assert told.jump_samples < 3
    kept = simulate(LIE, seed=1, sources=SOURCES)
    assert np.abs(kept.errors_ns).max() < 1e6
    assert {found.kind for _, found in kept.findings} >= {"source_stepped"}


def test_quick_is_a_part_of_full() -> None:
    quick, full = plan_of(quick=True, seed=5), plan_of(quick=False, seed=5)
    assert (quick.seed, full.seed) == (5, 5)
    assert full.calm_runs * len(CALM) >= 1000 > quick.calm_runs * len(CALM)


def test_seconds_of_which_no_sample_could_tell_are_counted_apart() -> None:
    life = Run(
        errors_ns=np.array([1.0, 50.0, 50.0, 1.0]),
        halves_ns=np.array([2.0, 2.0, 60.0, 2.0]),
        is_blind=np.array([False, True, False, False]),
        later_errors_ns=np.array([]),
        later_halves_ns=np.array([]),
        findings=(),
        jump_samples=2,
    )
    row = row_of(replace(SHORT, jump_at_s=70.0), "content", [life])
    assert (row["coverage95"], row["coverage95_with_blind"], row["blind_s"]) == (100.0, 75.0, 1.0)


@pytest.mark.parametrize("source", list(CHOICES))
def test_a_source_alone_sees_the_same_whatever_happens_to_the_others(source: str) -> None:
    for scenario in FAULTS:
        whole = replace(scenario, seconds=160.0)
        both = [
            list(SimulatedSession(each, seed=3).evidence(CHOICES[source]))
            for each in (whole, seen_by(whole, source))
        ]
        assert both[0] == both[1]
    alike = {seen_by(scenario, "content") for scenario in (CALM[1], GPS_LOST, NETWORK_CUT)}
    assert len(alike) == 1


def test_a_session_s_cost_and_its_pairs_are_told() -> None:
    row = cost_row(6, seed=1)
    assert (row["pairs"], row["pairs_chosen"]) == (15, 12)
    assert row["us_per_sample"] > 0
