"""`coeval bench aggregator`: a small part of it measures what it says."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from coeval.errors import BadConfig
from coeval_lab.bench import aggregator_outage
from coeval_lab.bench.aggregator import QUICK, SECTIONS, Plan, merged, plan_of
from coeval_lab.bench.aggregator_bars import bars_of, plot_costs
from coeval_lab.bench.aggregator_ingest import ingest_rows
from coeval_lab.bench.aggregator_live import live_row, slope_of
from coeval_lab.bench.aggregator_load import Load, Material, scene_material
from coeval_lab.bench.aggregator_lsl import lsl_rows
from coeval_lab.bench.aggregator_mqtt import PUBACK, PUBLISH, message_of, publish_packet, split
from coeval_lab.bench.aggregator_outage import outage_row
from coeval_lab.bench.aggregator_process import Seen
from coeval_lab.bench.aggregator_reading import reading_rows
from coeval_lab.bench.bars import Bar
from coeval_lab.bench.report import rows_of, stamped
from coeval_lab.broker import find_mosquitto
from coeval_lab.postgres import find_postgres


def say(_: str) -> None:
    """Nobody listens."""


@pytest.fixture
def mosquitto() -> None:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed; another broker keeps no backlog")


@pytest.fixture(autouse=True)
def short_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    material = scene_material(30.0)
    monkeypatch.setattr("coeval_lab.bench.aggregator_ingest.scene_material", lambda: material)
    monkeypatch.setattr("coeval_lab.bench.aggregator_process.scene_material", lambda: material)


@pytest.mark.broker
@pytest.mark.usefixtures("mosquitto")
def test_a_backlog_is_drained_by_all_and_compared() -> None:
    broker, bare, ours = ingest_rows(20, say)
    assert [row["by"] for row in (broker, bare, ours)] == [
        "mosquitto, bare",
        "paho, bare",
        "coeval, SQLite",
    ]
    assert ours["ratio_to_bare_paho"] == pytest.approx(ours["rate"] / bare["rate"], rel=0.05)


@pytest.mark.broker
@pytest.mark.usefixtures("mosquitto")
def test_live_streams_are_stored_and_their_blocks_counted() -> None:
    row = live_row(Load.of(4), part="live", seconds=5.0, say=say, settle_s=0.0)
    assert (row["streams"], row["sessions"]) == (4, 1)
    assert row["cpu_share"] >= row["estimating_share"] >= 0
    assert "every block stored" in row["note"]


@pytest.mark.broker
@pytest.mark.usefixtures("mosquitto")
def test_an_outage_is_told_and_every_block_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_postgres() is None:
        pytest.skip("PostgreSQL is not installed")
    monkeypatch.setattr(aggregator_outage, "AFTER_S", 2.0)
    row = outage_row(Load.of(4), outage_s=4.0, say=say)
    assert (row["lost"], row["duplicated"], row["outage_s"]) == (0, 0, 4.0)
    assert row["catch_up_s"] >= 0


def test_blocks_that_are_missing_are_counted_stream_by_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Of two streams: one lacks a block, the other holds one twice; a sum would hide both.
    rows = [(1, 9, 9, 0, 9), (2, 11, 10, 0, 9)]
    database = SimpleNamespace(fetch=lambda _: rows, close=lambda: None)
    monkeypatch.setattr(aggregator_outage, "open_database", lambda _: database)
    server: Any = SimpleNamespace(url="")
    assert aggregator_outage.count(server, Load.of(2), num_each=10) == (1, 1)
    assert aggregator_outage.count(server, Load.of(3), num_each=10) == (11, 1)


def test_ten_minutes_are_read_whole() -> None:
    rows = reading_rows(say, stored_s=1800, repeats=1)
    assert {"coeval, SQLite, JSON", "coeval, SQLite, Arrow"} <= {row["by"] for row in rows}
    assert all("MISSING" not in row["note"] for row in rows)


def test_lsl_is_measured_or_says_why_not() -> None:
    (row,) = lsl_rows(2, seconds=1.0, say=say)
    assert ("cpu_share" in row) != ("not measured" in row["note"])


def test_blocks_of_the_load_are_embeddings_under_the_hashes_that_fuse() -> None:
    from coeval_aggregator.fusing import load_shipped

    material = scene_material(30.0)
    assert set(material.hashes) <= set(load_shipped().encoders.values())
    assert 0.05 < float(np.abs(material.rows.astype(np.float32)).mean()) < 10.0


def test_material_is_the_same_from_a_file(tmp_path: Path) -> None:
    material = scene_material(30.0)
    material.save(tmp_path / "scene.npz")
    read = Material.load(tmp_path / "scene.npz")
    assert (read.modalities, read.hashes) == (material.modalities, material.hashes)
    assert (read.rows == material.rows).all()


def test_streams_are_shared_out_over_sessions_of_twenty() -> None:
    assert Load.of(50).sessions == (20, 20, 10)
    assert list(Load.of(3).streams(0)) == [("n0", "x0"), ("n0", "x1"), ("n1", "x0")]
    assert [Load.of(num).total for num in Plan().streams] == [10, 50, 200, 500, 1000]


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_packets_are_cut_up_and_their_rest_is_kept(size: int) -> None:
    packet = publish_packet("a/b", bytes(size), mid=7)
    found, rest = split(packet + b"\x40\x02\x00\x07" + packet[:3])
    assert [kind for kind, _ in found] == [PUBLISH, PUBACK]
    assert message_of(found[0][1], qos=1) == (b"a/b", 7, bytes(size))
    assert rest == packet[:3]


def looks(memory_mb: list[float]) -> list[Seen]:
    """One a second."""
    return [
        Seen(t_s=float(k), cpu_s=0.0, memory_mb=each, machine_s=0.0)
        for k, each in enumerate(memory_mb)
    ]


def test_a_leak_is_told_from_warming_up() -> None:
    t_s = np.arange(2400.0)
    noise = np.random.default_rng(1).normal(size=len(t_s))
    warm = 200.0 + 150.0 * np.minimum(t_s / 500.0, 1.0) + noise
    flat = slope_of(looks(list(warm)), after_s=600.0)
    leak = slope_of(looks(list(warm + t_s * 20.0 / 3600.0)), after_s=600.0)
    assert abs(flat.mb_per_h) + flat.ci95_mb_per_h < 3.5
    assert leak.mb_per_h - leak.ci95_mb_per_h > 15.0


def test_steps_of_memory_widen_the_interval() -> None:
    steps = np.repeat([300.0, 310.0, 300.0], 600)
    mixed = np.repeat(np.random.default_rng(1).permutation(steps[::60]), 60)
    in_steps, at_random = (slope_of(looks(list(each)), after_s=0.0) for each in (steps, mixed))
    assert in_steps.ci95_mb_per_h > at_random.ci95_mb_per_h


def test_a_bar_that_was_not_measured_is_not_met() -> None:
    assert {bar.met for bar in bars_of([])} == {False}


def test_bars_are_held_to_what_was_measured() -> None:
    live = {"part": "live", "cpu_share": 0.5, "estimating_share": 0.1, "p99_ms": 100.0}
    rows: list[dict[str, Any]] = [
        live | {"streams": 200},
        live | {"streams": 100, "cpu_share": 0.31},
        live | {"streams": 10, "cpu_share": 0.125},
        {"part": "session", "streams": 5, "cpu_share": 0.1},
        {"part": "session", "streams": 20, "cpu_share": 0.8},
        {"part": "outage", "outage_s": 600.0, "lost": 0, "duplicated": 0}
        | {"told_on_mqtt": True, "told_on_health": False},
        {"part": "memory", "streams": 200, "minutes": 30.0, "first_mb": 300.0, "cpu_share": 0.7}
        | {"slope_mb_per_h": 1.0, "slope_ci95_mb_per_h": 2.0},
    ]
    met = {bar.name.split(",")[0]: bar.met for bar in bars_of(rows)}
    assert met["200 streams: of one core"]
    assert met["200 streams: ticks after the last block"]
    assert met["200 streams: memory over 30 min grows by less than 1 %"]
    assert met[
        "cost without estimates of clocks: farthest from a line through the numbers of streams"
    ]
    assert not met["cost within a session"]  # 8 times as much for 7.4
    assert not met["PostgreSQL away for ten minutes"]  # /health did not say so


def test_cost_is_held_to_a_line_and_a_process_that_is_full_is_named() -> None:
    def linear(costs: dict[int, float], *, late: tuple[int, ...] = ()) -> Bar:
        rows = [
            {"part": "live", "streams": streams, "cpu_share": cost, "estimating_share": 0.0}
            | {"p99_ms": 3000.0 if streams in late else 90.0}
            for streams, cost in costs.items()
        ]
        (bar,) = (bar for bar in bars_of(rows) if bar.name.startswith("cost without"))
        return bar

    line = {streams: 0.02 + 0.002 * streams for streams in (10, 50, 200, 500)}
    assert linear(line).met
    assert linear(line).got == "0% for 10 to 500 streams"
    assert not linear({streams: 1e-5 * streams**2 for streams in line}).met
    full = linear(line | {1000: 1.2}, late=(1000,))
    assert not full.met
    assert full.got == "0% for 10 to 500 streams; 1000: 3.0 s late, 1.20 of a core"
    assert linear({10: 0.1, 50: 0.2}).got == "not measured"


def test_a_section_measured_again_takes_its_own_rows_place(tmp_path: Path) -> None:
    first = [{"part": "ingest", "rate": 1}, {"part": "lsl", "streams": 200}]
    document = stamped("aggregator", first, began_at="old")
    (tmp_path / "rows.json").write_text(json.dumps(document))
    plan = plan_of(quick=True, seed=1, sections=["ingest"])
    rows, _ = merged(plan, rows_of(tmp_path), [{"part": "ingest", "rate": 2}])
    assert [(row["part"], row.get("rate")) for row in rows] == [("ingest", 2), ("lsl", None)]
    again = stamped("aggregator", rows, began_at="new")["rows"]
    assert again[1]["commit"] == document["rows"][1]["commit"]


def test_an_unknown_section_is_refused_by_name() -> None:
    with pytest.raises(BadConfig, match="no section 'ingset'; there are: ingest, live"):
        plan_of(quick=True, seed=1, sections=["ingset"])


def test_the_peer_can_be_left_out_and_quick_is_short() -> None:
    assert "lsl" not in plan_of(quick=False, seed=1, with_peers=False).sections
    assert plan_of(quick=True, seed=1) == replace(QUICK, sections=SECTIONS)


def test_costs_are_drawn_of_whatever_rows_there_are(tmp_path: Path) -> None:
    rows = [
        {"part": "live", "streams": 20, "cpu_share": 0.1, "estimating_share": None},
        {"part": "session", "streams": 5, "cpu_share": 0.1},
        {"part": "memory", "streams": 20, "memory_by_minute_mb": [1.0, 2.0]},
    ]
    for k, some in enumerate((rows, [])):
        plot_costs(some, tmp_path / f"{k}.png")
        assert (tmp_path / f"{k}.png").stat().st_size > 1000
