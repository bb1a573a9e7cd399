"""`coeval bench probe`: its lines and bars, from invented outcomes; the board itself is tested in
tests/firmware."""

import dataclasses
from pathlib import Path

import pytest

from coeval_lab.bench import probe
from coeval_lab.bench.report import markdown
from coeval_lab.probe_emulator.cases import Case, Outcome

CASE = Case(name="invented", ppm=0.0, until_s=6.0, pulses=[], edges=[[5.0, 5.5]])
GOOD = Outcome(
    case=CASE,
    records=[],
    errors_ns=[-10.0, 14.0],
    sigmas_ns=[6, 6],
    num_events=2,
    num_lost=0,
    num_unplaced=0,
)


def test_a_line_has_the_errors_statistics() -> None:
    row = probe.row_of(GOOD, name="invented")
    assert {key: row[key] for key in ("case", "events", "mean_ns", "sd_ns", "max_ns", "lost")} == {
        "case": "invented",
        "events": 2,
        "mean_ns": 2.0,
        "sd_ns": 12.0,
        "max_ns": 14.0,
        "lost": 0,
    }


@pytest.mark.parametrize(
    "outcome",
    [
        dataclasses.replace(GOOD, errors_ns=[0.0, 32.5]),
        dataclasses.replace(GOOD, num_lost=1),
        dataclasses.replace(GOOD, num_unplaced=1),
    ],
)
def test_an_edge_that_is_off_lost_or_without_a_time_misses_the_bar(outcome: Outcome) -> None:
    broken = probe.row_of(dataclasses.replace(GOOD, errors_ns=[900.0]), name="x", by="broken")
    met = [bar.met for bar in probe.bars_of([probe.row_of(outcome, name="x"), broken])]
    assert not all(met)
    assert all(bar.met for bar in probe.bars_of([probe.row_of(GOOD, name="x"), broken]))


def test_a_broken_program_that_nobody_notices_misses_the_bar() -> None:
    rows = [probe.row_of(GOOD, name="x"), probe.row_of(GOOD, name="x", by="broken")]
    assert not probe.bars_of(rows)[-1].met


def test_in_holdover_an_edge_is_held_to_what_the_probe_states() -> None:
    held = dataclasses.replace(CASE, is_holdover=True)
    far = dataclasses.replace(GOOD, case=held, errors_ns=[900.0], sigmas_ns=[301])
    assert far.is_within
    assert not dataclasses.replace(far, sigmas_ns=[299]).is_within


def test_the_page_shows_ours_beside_published_figures(tmp_path: Path) -> None:
    rows = [probe.row_of(GOOD, name="invented"), *probe.PUBLISHED]
    table = markdown(rows, probe.PAGE.columns)
    assert "pico-irig" in table
    probe.PAGE.plot(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_quick_leaves_out_what_takes_minutes_of_simulated_time() -> None:
    quick = probe.plan_of(quick=True, seed=1)
    full = probe.plan_of(quick=False, seed=1)
    assert sum(case.until_s for case in quick.cases) < 60 < sum(c.until_s for c in full.cases)
