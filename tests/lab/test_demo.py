"""`coeval demo`: its true clocks, its verdict, what it shows, and the whole of it as a process."""

import itertools
import json
import math
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coeval.broker_address import BrokerAddress
from coeval.cli import main
from coeval.errors import BadConfig, BadRecording, CoevalError
from coeval.estimates import NodeEstimate
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.manifest import Manifest, TruthJump
from coeval.time import ClockLine, NodeNs, RefNs
from coeval.topics import Topics
from coeval.wire import Block, encode_block
from coeval_aggregator.clocks import NodeClock
from coeval_edge import node_command
from coeval_edge.config import NodeConfig
from coeval_edge.encoder import shipped_model
from coeval_edge.recording import Recording, open_recording
from coeval_edge.recording_times import recording_start_ns
from coeval_edge.skew import ClockError, skew_recording
from coeval_lab.broker import free_port, start_broker
from coeval_lab.check_command import check_file
from coeval_lab.demo.activity import BARS, activity, sparkline
from coeval_lab.demo.children import Children
from coeval_lab.demo.clocks import (
    LARGEST_OFFSET_S,
    LARGEST_SKEW_PPM,
    LEAST_OFFSET_S,
    LEAST_SKEW_PPM,
    TrueClocks,
    draw_errors,
)
from coeval_lab.demo.command import SHIPPED
from coeval_lab.demo.plots import to_reference_s
from coeval_lab.demo.run import check_speed, make_scenery, node_arguments, write_aggregator_config
from coeval_lab.demo.table import clock_cells, plain_line
from coeval_lab.demo.verdict import NodeVerdict, judge, say, verdict_to_json
from coeval_lab.demo.watch import Heard, Statement, Watch, parse_statement

S = 1_000_000_000
PNG = b"\x89PNG\r\n\x1a\n"
PATIENCE_S = 600

# --- true clocks ---------------------------------------------------------------------------------

EVENTS_S = [7.0, 8.25, 20.5, 43.0, 71.5, 100.0]
"""True instants at which every node of `perfect` stamped something."""


@pytest.fixture
def perfect(tmp_path: Path) -> Recording:
    """Two nodes whose right clocks stamped the same events."""
    root = tmp_path / "perfect"
    root.mkdir()
    for node in ("cam", "wrist"):
        rows = "".join(f"{t_s},{k}\n" for k, t_s in enumerate(EVENTS_S))
        (root / f"{node}.csv").write_text("t,x\n" + rows)
    right = {"offset_s": 0.0, "skew_ppm": 0.0}
    manifest = {
        "format": "coeval-recording/1",
        "name": "events",
        "nodes": {"cam": {}, "wrist": {}},
        "streams": [
            {"id": node, "node": node, "modality": "metadata", "file": f"{node}.csv"}
            for node in ("cam", "wrist")
        ],
        "truth": {"nodes": {"cam": right, "wrist": right}, "sigma_s": 0.004, "how": "one clock"},
    }
    (root / "recording.json").write_text(json.dumps(manifest))
    return open_recording(root)


def stamps_ns(recording: Recording, node: str) -> list[int]:
    table = np.loadtxt(recording.root / f"{node}.csv", delimiter=",", skiprows=1, dtype=str)
    return [round(float(text) * 1e6) * 1000 for text in table[:, 0]]


@pytest.mark.parametrize(
    "before",
    [
        {},
        {"cam": ClockError(offset_s=1.5, skew_ppm=-200.0)},
        {
            "cam": ClockError(offset_s=-3.0, skew_ppm=40.0),
            "wrist": ClockError(offset_s=2.0, skew_ppm=300.0, jump=TruthJump(at_s=30.0, by_s=0.75)),
        },
    ],
    ids=["right clocks", "a wrong reference", "wrong clocks and a step"],
)
def test_true_clocks_are_what_two_skewed_copies_stamp_at_one_instant(
    perfect: Recording, tmp_path: Path, before: dict[str, ClockError]
) -> None:
    known = skew_recording(perfect, tmp_path / "known", errors=before) if before else perfect
    errors = {
        "cam": ClockError(offset_s=4.827, skew_ppm=21.5),
        "wrist": ClockError(offset_s=-7.666, skew_ppm=-534.0),
    }
    shown = skew_recording(known, tmp_path / "shown", errors=errors)
    clocks = TrueClocks(
        known.manifest, errors, reference="cam", start_s=recording_start_ns(known) / S
    )
    cam_ns, wrist_ns = stamps_ns(shown, "cam"), stamps_ns(shown, "wrist")
    for t_cam_ns, t_wrist_ns in zip(cam_ns, wrist_ns, strict=True):
        true = clocks.at("wrist", t_cam_ns)
        assert true is not None
        assert true.offset_s == pytest.approx((t_wrist_ns - t_cam_ns) / S, abs=3e-6)
    rate = (wrist_ns[-1] - wrist_ns[-2]) / (cam_ns[-1] - cam_ns[-2])
    end = clocks.at("wrist", cam_ns[-1])
    assert end is not None
    assert end.skew_ppm == pytest.approx((rate - 1) * 1e6, abs=0.2)


def test_the_reference_is_never_off_itself(perfect: Recording) -> None:
    errors = draw_errors(["cam", "wrist"], seed=3)
    clocks = TrueClocks(perfect.manifest, errors, reference="cam", start_s=7.0)
    true = clocks.at("cam", 50 * S)
    assert true is not None
    assert (true.offset_s, true.skew_ppm) == pytest.approx((0.0, 0.0), abs=1e-9)
    assert clocks.first_reading_s == 7.0 + errors["cam"].offset_s
    assert clocks.sigma_s == 0.004


def test_a_clock_that_the_recording_does_not_know_stays_unknown(perfect: Recording) -> None:
    errors = draw_errors(["cam", "wrist"], seed=3)
    manifest = perfect.manifest
    assert manifest.truth is not None
    half = replace(
        manifest, truth=replace(manifest.truth, nodes={"cam": manifest.truth.nodes["cam"]})
    )
    for unknowing in (half, replace(manifest, truth=None)):
        clocks = TrueClocks(unknowing, errors, reference="cam", start_s=7.0)
        assert clocks.at("wrist", 50 * S) is None
    assert (
        TrueClocks(replace(manifest, truth=None), errors, reference="cam", start_s=0).sigma_s == 0
    )


def test_errors_are_drawn_by_the_seed_within_their_bounds_and_to_both_sides() -> None:
    nodes = ["a", "b", "c"]
    assert draw_errors(nodes, seed=5) == draw_errors(nodes, seed=5)
    assert draw_errors(nodes, seed=5) != draw_errors(nodes, seed=6)
    errors = [error for seed in range(100) for error in draw_errors(nodes, seed=seed).values()]
    offsets = np.array([error.offset_s for error in errors])
    skews = np.array([error.skew_ppm for error in errors])
    assert ((abs(offsets) >= LEAST_OFFSET_S) & (abs(offsets) <= LARGEST_OFFSET_S)).all()
    assert ((abs(skews) >= LEAST_SKEW_PPM) & (abs(skews) <= LARGEST_SKEW_PPM)).all()
    assert 0.4 < (offsets > 0).mean() < 0.6
    assert 0.4 < (skews > 0).mean() < 0.6
    assert all(error.jump is None for error in errors)


# --- statements and the verdict ------------------------------------------------------------------


def statement(**changes: Any) -> Statement:
    said: dict[str, Any] = {
        "heard_s": 0.0,
        "t_ref_ns": 60 * S,
        "status": "locked",
        "offset_s": 2.0,
        "ci95_s": 0.03,
        "skew_ppm": 10.0,
        "skew_ci95_ppm": 5.0,
        "evidence": ("content",),
    }
    return Statement(**said | changes)


def test_what_the_aggregator_states_is_parsed_and_what_it_does_not_know_stays_none() -> None:
    line = ClockLine(t0_ref_ns=RefNs(0), offset_ns=2.5e9, skew_ppb=30_000.0)
    known = NodeEstimate(
        status="locked",
        line=line,
        ci95_ns=5e6,
        skew_ci95_ppb=2000.0,
        jumps=(),
        evidence=("content", "hardware"),
    )
    clock = NodeClock(status="locked", known=known, locked_s=100.0)
    payload = clock.statement("wrist", reference="cam", t_ref_ns=RefNs(10 * S), now_s=100.0)
    said = parse_statement(json.loads(json.dumps(payload)), now_s=7.0)
    assert said.offset_s == pytest.approx(2.5 + 10 * 30e-6, abs=1e-9)
    assert (said.heard_s, said.t_ref_ns, said.status) == (7.0, 10 * S, "locked")
    assert said.evidence == ("content", "hardware")
    unknown = NodeClock(status="unsure", known=None, locked_s=None)
    payload = unknown.statement("wrist", reference="cam", t_ref_ns=RefNs(0), now_s=0.0)
    said = parse_statement(json.loads(json.dumps(payload)), now_s=0.0)
    assert (said.offset_s, said.ci95_s, said.skew_ppm, said.skew_ci95_ppm) == (None,) * 4
    assert said.status == "unsure"


@pytest.mark.parametrize("lacks", ["offset_s", "status", "t_ref_ns", "evidence"])
def test_a_statement_that_lacks_something_is_none_at_all(lacks: str) -> None:
    payload = {
        **dict.fromkeys(("offset_s", "ci95_s", "skew_ppm", "skew_ci95_ppm")),
        "t_ref_ns": 1,
        "status": "unsure",
        "evidence": [],
    }
    del payload[lacks]
    with pytest.raises(KeyError, match=lacks):
        parse_statement(payload, now_s=0.0)


@pytest.fixture
def clocks(perfect: Recording) -> TrueClocks:
    """The reference is right, `wrist` is fast by 2 s at 7 s, and by 10 ppm."""
    errors = {"cam": ClockError(offset_s=0.0), "wrist": ClockError(offset_s=2.0, skew_ppm=10.0)}
    return TrueClocks(perfect.manifest, errors, reference="cam", start_s=7.0)


TRUE_S = 2.0 + 53 * 10e-6
"""Offset of `wrist` at 60 s."""


@pytest.mark.parametrize(
    ("changes", "passed"),
    [
        ({"offset_s": TRUE_S + 0.029}, True),
        ({"offset_s": TRUE_S - 0.031}, False),
        ({"offset_s": TRUE_S - 0.0305, "ci95_s": 0.03}, True),  # the truth has a spread of its own
        ({"status": "unsure", "offset_s": TRUE_S}, False),
        ({"offset_s": None}, False),
        ({"status": "unrelated", "offset_s": None, "ci95_s": None}, False),
    ],
)
def test_a_node_passes_if_locked_with_the_truth_within_the_stated_interval(
    clocks: TrueClocks, changes: dict[str, Any], passed: bool
) -> None:
    # 30 ms stated and 1.96 · 4 ms of the truth's own: 31.01 ms are allowed.
    given = {"ci95_s": 0.0299} | changes
    verdict = judge("wrist", [statement(**given)], clocks, first_t_ref_ns=7 * S)
    assert verdict.has_passed is passed
    assert verdict.true_offset_s == pytest.approx(TRUE_S, abs=1e-9)
    assert say(verdict).startswith("PASS" if passed else "FAIL")


def test_the_last_statement_counts_and_the_first_lock_is_remembered(clocks: TrueClocks) -> None:
    said = [
        statement(t_ref_ns=10 * S, status="unsure", offset_s=None, ci95_s=None),
        statement(t_ref_ns=22 * S, offset_s=2.5),
        statement(t_ref_ns=60 * S, offset_s=TRUE_S + 0.01),
    ]
    verdict = judge("wrist", said, clocks, first_t_ref_ns=7 * S)
    assert verdict.locked_after_s == pytest.approx(15.0)
    assert verdict.error_s == pytest.approx(0.01, abs=1e-9)
    assert verdict.allowed_s == pytest.approx(math.hypot(0.03, 1.96 * 0.004))
    assert say(verdict) == (
        "PASS  wrist: offset +2.0105 s, truth +2.0005 s, error +10.0 ms of ±31.0 ms allowed; "
        "skew +10 ± 5 ppm, truth +10"
    )


def test_a_node_of_which_nothing_was_said_is_silent_and_fails(clocks: TrueClocks) -> None:
    verdict = judge("wrist", [], clocks, first_t_ref_ns=0)
    assert say(verdict) == "FAIL  wrist: silent, no offset stated"
    told = verdict_to_json(verdict)
    assert (told["status"], told["passed"]) == ("silent", False)
    unknown = set(told) - {"status", "passed", "evidence"}
    assert {key: told[key] for key in unknown} == dict.fromkeys(unknown)


def test_a_lock_passes_where_nobody_knows_the_truth_and_says_so(perfect: Recording) -> None:
    errors = draw_errors(["cam", "wrist"], seed=1)
    clocks = TrueClocks(replace(perfect.manifest, truth=None), errors, reference="cam", start_s=7.0)
    verdict = judge("wrist", [statement()], clocks, first_t_ref_ns=0)
    assert verdict.has_passed
    assert (verdict.true_offset_s, verdict.error_s) == (None, None)
    assert say(verdict) == "PASS  wrist: offset +2.0000 s, truth unknown; skew +10 ± 5 ppm"


def test_a_verdict_is_json(clocks: TrueClocks) -> None:
    verdict: NodeVerdict = judge("wrist", [statement()], clocks, first_t_ref_ns=0)
    told = json.loads(json.dumps(verdict_to_json(verdict), allow_nan=False))
    assert "node" not in told
    assert (told["offset_s"], told["evidence"], told["passed"]) == (2.0, ["content"], True)


# --- what is shown -------------------------------------------------------------------------------


def block(first_hop: int, levels: list[float]) -> Hops:
    rows = np.zeros((len(levels), EMBEDDING_DIM), np.float32)
    rows[:, 0] = levels
    return Hops(t0_node_ns=NodeNs(first_hop * HOP_NS), rows=rows)


def test_activity_is_how_far_embeddings_move_scaled_to_one() -> None:
    levels = [0.0] * 50 + [3.0] * 50
    t_s, moved = activity([block(0, levels[:30]), block(30, levels[30:])])
    good = ~np.isnan(t_s)
    assert good.sum() == 100
    np.testing.assert_allclose(np.diff(t_s[good]), HOP_NS / S)
    assert t_s[0] == pytest.approx(HOP_NS / S / 2)
    assert int(np.nanargmax(moved)) == 50
    assert np.nanmin(moved) == 0.0
    assert np.nanmax(moved) == 1.0


def test_a_gap_is_no_activity_and_breaks_the_line() -> None:
    t_s, moved = activity([block(0, [0.0, 1.0, 0.0]), block(100, [9.0, 9.0])])
    assert np.isnan(t_s).tolist() == [False, False, False, True, False, False, True]
    assert np.isnan(moved).tolist() == np.isnan(t_s).tolist()
    assert moved[4] == 0.0  # the step from 0 to 9 lies in the gap: nobody saw it
    assert t_s[4] == pytest.approx(100.5 * HOP_NS / S)


@pytest.mark.parametrize("blocks", [[], [block(0, [])]], ids=["no block", "an empty one"])
def test_no_embeddings_are_no_activity(blocks: list[Hops]) -> None:
    t_s, moved = activity(blocks)
    assert (len(t_s), len(moved)) == (0, 0)
    assert sparkline(blocks, width=5) == " " * 5


def test_one_embedding_and_a_still_sensor_are_calm() -> None:
    assert np.nanmax(activity([block(0, [4.0])])[1]) == 0.0
    assert np.nanmax(activity([block(0, [4.0] * 100)])[1]) == 0.0


def test_the_sparkline_shows_the_newest_at_the_right() -> None:
    calm, busy = [0.0] * 200, [0.0, 5.0] * 20
    line = sparkline([block(0, calm), block(200, busy)], width=8)
    assert line == BARS[0] * 4 + BARS[-1] * 4
    assert sparkline([block(150, calm[:10]), block(200, busy)], width=8)[-4:] == BARS[-1] * 4
    assert sparkline([block(0, [0.0] * 9)], width=8) == " " * 8  # not one whole bar yet
    assert len(sparkline([block(k, [float(k)]) for k in range(5000)], width=8)) == 8


@pytest.fixture
def watch() -> Watch:
    """A watch that is connected to nothing."""
    made = Watch.__new__(Watch)
    made.statements, made.streams = {}, {}
    made._topics = Topics(session="demo")
    return made


def test_unknown_clocks_are_shown_as_dashes(perfect: Recording, watch: Watch) -> None:
    scenery = make_scenery(perfect, seed=1, is_looping=False)
    unsure = statement(
        status="unsure", offset_s=None, ci95_s=None, skew_ppm=None, skew_ci95_ppm=None, evidence=()
    )
    cells = [str(cell) for cell in clock_cells("wrist", unsure, scenery.clocks)]
    assert cells[1:4] == ["–", "–", "–"]
    assert cells[5] == "unsure"
    assert plain_line(scenery, watch, elapsed_s=2.0) == "  2.0 s  replayed   0.0 s  wrist waiting"


def test_a_plain_line_states_offset_truth_and_error(perfect: Recording, watch: Watch) -> None:
    scenery = make_scenery(perfect, seed=1, is_looping=False)
    true = scenery.clocks.at("wrist", 60 * S)
    assert true is not None
    said = statement(offset_s=true.offset_s + 0.0125)
    watch.statements["wrist"] = [said]  # type: ignore[assignment]
    watch.streams["wrist", "wrist"] = Heard(num_hops=100)
    line = plain_line(scenery, watch, elapsed_s=2.0)
    assert f"true {true.offset_s:+.4f}" in line
    assert "error +12.5 ± 30.0 ms" in line
    assert "replayed   5.0 s" in line


def test_a_stream_is_drawn_where_its_stated_clock_puts_it() -> None:
    said = statement(t_ref_ns=60 * S, offset_s=2.0, skew_ppm=100.0)
    t_ref_s = np.array([0.0, 60.0, 120.0])
    t_node_s = t_ref_s + 2.0 + 100e-6 * (t_ref_s - 60.0)
    np.testing.assert_allclose(to_reference_s(said, t_node_s), t_ref_s, atol=1e-9)


# --- what is heard -------------------------------------------------------------------------------


def payload_of(said: dict[str, object]) -> bytes:
    usual: dict[str, object] = {
        "t_ref_ns": 5 * S,
        "status": "locked",
        "offset_s": 1.5,
        "ci95_s": 0.01,
        "skew_ppm": 3.0,
        "skew_ci95_ppm": 1.0,
        "evidence": ["content"],
    }
    return json.dumps(usual | said).encode()


def wire_block(count: int) -> bytes:
    rows = np.ones((count, EMBEDDING_DIM), np.float32)
    return encode_block(
        Block(
            boot_id=1,
            seq=0,
            t0_node_ns=NodeNs(0),
            hop_ns=HOP_NS,
            clock_node_ns=None,
            embeddings=rows,
        )
    )


def test_clocks_and_blocks_are_taken_in_by_node_and_stream(watch: Watch) -> None:
    watch.handle("coeval/demo/clock/wrist", payload_of({}), now_s=3.0)
    watch.handle("coeval/demo/bin/wrist/imu", wire_block(10), now_s=3.0)
    watch.handle("coeval/demo/bin/wrist/imu", wire_block(30), now_s=3.0)
    latest = watch.latest("wrist")
    assert latest is not None
    assert (latest.offset_s, latest.heard_s) == (1.5, 3.0)
    assert watch.streams["wrist", "imu"].length_s == pytest.approx(40 * HOP_NS / S)
    assert watch.latest("cam") is None


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("clock/wrist", b""),
        ("clock/wrist", b"\xff\xfe"),
        ("clock/wrist", b"[" * 100_000),
        ("clock/wrist", b"[]"),
        ("clock/wrist", b"7"),
        ("clock/wrist", b'{"status": "locked"}'),
        ("clock/wrist", payload_of({"offset_s": "far"})),
        ("clock/wrist", payload_of({"offset_s": {}})),
        ("clock/wrist", payload_of({"t_ref_ns": None})),
        ("clock/wrist", payload_of({"t_ref_ns": math.inf})),
        ("clock/wrist", payload_of({"evidence": 3})),
        ("bin/wrist/imu", b"COEV"),
        ("bin/wrist/imu", b"COEV\x09" + b"\0" * 100),
        ("bin/wrist/imu", wire_block(3)[:-1]),
        ("bin/wrist", wire_block(3)),
        ("nothing/of/ours", b"x"),
    ],
)
def test_a_message_that_cannot_be_used_is_passed_over(
    watch: Watch, topic: str, payload: bytes
) -> None:
    watch.handle(f"coeval/demo/{topic}", payload, now_s=0.0)
    assert watch.latest("wrist") is None
    assert not watch.streams


def test_a_broker_that_does_not_answer_is_named() -> None:
    port = free_port()
    address = BrokerAddress.parse(f"mqtt://127.0.0.1:{port}")
    with pytest.raises(CoevalError, match=rf"broker at .*127\.0\.0\.1:{port} does not answer"):
        Watch(address, Topics(session="demo"))


@pytest.mark.broker
def test_the_watch_hears_what_is_said_on_a_real_broker() -> None:
    topics = Topics(session="demo")
    with start_broker() as broker:
        heard = Watch(BrokerAddress.parse(broker.url), topics)
        try:
            publisher = heard._client
            publisher.publish(topics.clock("wrist"), payload_of({}), qos=1, retain=True)
            publisher.publish(topics.block("wrist", "imu"), wire_block(20), qos=1)
            for _ in range(PATIENCE_S * 4):
                heard.take(for_s=0.25)
                if heard.latest("wrist") is not None and heard.streams:
                    break
        finally:
            heard.close()
    latest = heard.latest("wrist")
    assert latest is not None
    assert latest.offset_s == 1.5
    assert heard.streams["wrist", "imu"].num_hops == 20


# --- what is started -----------------------------------------------------------------------------


def test_the_aggregators_file_passes_the_check(tmp_path: Path) -> None:
    path = write_aggregator_config(
        tmp_path, broker="mqtt://127.0.0.1:1884", reference='so "called"\\cam'
    )
    assert check_file(path) == "aggregator of session 'demo'"


def test_a_node_is_told_its_wrong_clock_though_it_is_negative(
    perfect: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenery = make_scenery(perfect, seed=1, is_looping=False)
    error = ClockError(offset_s=-7.666, skew_ppm=-34.0)
    scenery.clocks.errors = {"cam": error, "wrist": error}
    configs: list[NodeConfig] = []

    class Told:
        """Stands for the node: remembers what it was told to be."""

        def __init__(self, config: NodeConfig) -> None:
            configs.append(config)

        def run(self, _stop: object) -> object:
            raise CoevalError("this node only listens")

    monkeypatch.setattr(node_command, "Node", Told)
    for is_looping in (False, True):
        arguments = node_arguments(
            perfect, "wrist", replace(scenery, is_looping=is_looping), "mqtt://127.0.0.1:1884", 2.5
        )
        monkeypatch.setattr(sys, "argv", ["coeval", *arguments])
        with pytest.raises(SystemExit):
            main()
        config = configs.pop()
        assert (config.id, config.session, config.broker) == (
            "wrist",
            "demo",
            "mqtt://127.0.0.1:1884",
        )
        replay = config.replay
        assert (replay.offset_s, replay.skew_ppm, replay.speed) == (-7.666, -34.0, 2.5)
        assert (replay.loop, replay.recording) == (is_looping, perfect.root)


def test_scenery_is_all_streams_of_the_reference_first(perfect: Recording) -> None:
    scenery = make_scenery(perfect, seed=1, is_looping=False)
    assert [stream.node for stream in scenery.streams] == ["cam", "wrist"]
    assert scenery.clocks.reference == "cam"
    assert scenery.length_s == pytest.approx(EVENTS_S[-1] - EVENTS_S[0], abs=1.0)
    assert set(scenery.clocks.errors) == {"cam", "wrist"}


def edited(recording: Recording, edit: Callable[[Manifest], Manifest]) -> Recording:
    return replace(recording, manifest=edit(recording.manifest))


def test_one_node_alone_is_no_demo(perfect: Recording) -> None:
    alone = edited(
        perfect,
        lambda m: replace(m, nodes={"cam": m.nodes["cam"]}, streams=m.streams[:1], truth=None),
    )
    with pytest.raises(BadRecording, match="two nodes or more"):
        make_scenery(alone, seed=1, is_looping=False)


def test_a_node_that_would_take_the_aggregators_name_is_refused(perfect: Recording) -> None:
    clash = edited(
        perfect, lambda m: replace(m, nodes=dict(m.nodes) | {"aggregator": m.nodes["cam"]})
    )
    with pytest.raises(BadConfig, match="aggregator"):
        make_scenery(clash, seed=1, is_looping=False)


@pytest.mark.parametrize("speed", [0.0, -1.0, math.inf, math.nan])
def test_a_speed_that_never_ends_or_begins_is_refused(speed: float) -> None:
    with pytest.raises(BadConfig, match="--speed must be a number above 0"):
        check_speed(speed)


def test_a_process_that_fails_is_told_by_its_last_line(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        children.start("wrist", ["check", str(tmp_path / "no.toml")])
        children._running["wrist"].wait(PATIENCE_S)
        with pytest.raises(CoevalError) as error:
            children.is_running("wrist")
    assert str(error.value) == (
        f"wrist ended with code 2: {tmp_path}/no.toml: no such file "
        f"(all of it: {tmp_path}/wrist.log)"
    )


def test_processes_end_with_the_block_whatever_ends_it(tmp_path: Path) -> None:
    started = []

    def interrupted() -> None:
        with Children(tmp_path) as children:
            children.start(
                "aggregator", ["aggregator", "--broker", f"mqtt://127.0.0.1:{free_port()}"]
            )
            started.append(children._running["aggregator"])
            assert children.is_running("aggregator")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert started[0].poll() is not None


# --- the whole of it -----------------------------------------------------------------------------

COEVAL = [sys.executable, "-c", "from coeval.cli import main; main()"]
MARK = "COEVAL_DEMO_TEST"


@pytest.fixture
def marked() -> dict[str, str]:
    """An environment by which every process of a demo is known, however deep it was started."""
    return os.environ | {MARK: uuid.uuid4().hex}


def processes_of(environment: dict[str, str]) -> list[str]:
    """The command lines of the processes that run in an environment."""
    wanted = f"{MARK}={environment[MARK]}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append((folder / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it ended meanwhile
            continue
    return found


needs_models = pytest.mark.skipif(
    not shipped_model("metadata").is_file(), reason="the encoders that ship are not made yet"
)


@pytest.mark.broker
@needs_models
def test_the_demo_finds_every_clock_within_its_interval_and_leaves_nothing_running(
    tmp_path: Path, marked: dict[str, str]
) -> None:
    done = subprocess.run(
        [*COEVAL, "demo", "--quick", "--json", "--out", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        check=False,
        env=marked,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert processes_of(marked) == []
    result = json.loads(done.stdout)
    assert result["passed"] is True
    assert (result["reference"], set(result["nodes"])) == ("screen", {"desk", "probe"})
    for node, verdict in result["nodes"].items():
        made_wrong = result["made_wrong_by"][node]["offset_s"]
        reference = result["made_wrong_by"]["screen"]["offset_s"]
        assert (verdict["status"], verdict["evidence"]) == ("locked", ["content"])
        assert abs(verdict["error_s"]) <= verdict["allowed_s"]
        assert verdict["offset_s"] == pytest.approx(made_wrong - reference, abs=0.2)
        assert verdict["ci95_s"] < 0.2
    heard = {name: stream["heard_s"] for name, stream in result["streams"].items()}
    assert len(heard) == 6
    assert min(heard.values()) > 90
    pictures = [Path(picture) for picture in result["pictures"]]
    assert [picture.name for picture in pictures] == ["streams.png", "convergence.png", "demo.svg"]
    for picture in pictures[:2]:
        assert picture.read_bytes().startswith(PNG)
    assert "locked" in pictures[2].read_text()
    logs = {path.name for path in (tmp_path / "out/logs").iterdir()}
    assert logs == {"aggregator.log", "screen.log", "desk.log", "probe.log"}
    for path in (tmp_path / "out/logs").iterdir():
        assert "Traceback" not in path.read_text()
    assert "PASS  desk" in done.stderr


@pytest.mark.broker
@needs_models
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, 130)]
)
def test_a_demo_that_is_stopped_leaves_nothing_running(
    tmp_path: Path, marked: dict[str, str], number: int, code: int
) -> None:
    demo = subprocess.Popen(
        [*COEVAL, "demo", "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=marked,
    )
    assert demo.stdout is not None
    assert demo.stdout.readline().startswith("page: http://127.0.0.1:")
    assert "replayed" in demo.stdout.readline()
    assert len(processes_of(marked)) >= 5  # itself, an aggregator and three nodes
    demo.send_signal(number)
    _, said = demo.communicate(timeout=PATIENCE_S)
    assert demo.returncode == code
    assert "Traceback" not in said
    assert processes_of(marked) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--speed", "0"), 2, "--speed must be a number above 0 (1: real time), got 0"),
        (("--speed", "nan"), 2, "--speed must be a number above 0"),
        (("--recording", "{dir}/nowhere"), 1, "nowhere: no such folder"),
        (("--recording", "{dir}/alone"), 1, "compares the clocks of two nodes or more"),
    ],
    ids=["speed 0", "speed nan", "no recording", "one node"],
)
def test_a_mistake_is_one_line_and_makes_no_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone/log.csv").write_text("t,text\n1.0,begin\n")
    (tmp_path / "alone/recording.json").write_text(
        json.dumps(
            {
                "format": "coeval-recording/1",
                "name": "alone",
                "nodes": {"a": {}},
                "streams": [{"id": "log", "node": "a", "modality": "text", "file": "log.csv"}],
            }
        )
    )
    before = signal.getsignal(signal.SIGTERM)
    given = [argument.format(dir=tmp_path) for argument in arguments]
    monkeypatch.setattr(sys, "argv", ["coeval", "demo", *given, "--out", str(tmp_path / "out")])
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        signal.signal(signal.SIGTERM, before)
    told = capsys.readouterr()
    assert ended.value.code == code
    assert said in told.err
    assert (told.err.count("\n"), told.out) == (1, "")
    assert not (tmp_path / "out").exists()


def test_the_recording_that_ships_is_small_and_its_truth_is_stated() -> None:
    shipped = open_recording(SHIPPED)
    size = sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file())
    assert size < 6e6
    modalities = {stream.modality for stream in shipped.manifest.streams}
    assert modalities == {"text", "image", "video", "audio", "metadata"}
    scenery = make_scenery(shipped, seed=1, is_looping=False)
    assert 60 <= scenery.length_s <= 120
    assert shipped.manifest.truth is not None
    for node, other in itertools.pairwise(shipped.manifest.nodes):
        assert {node, other} <= set(shipped.manifest.truth.nodes)
