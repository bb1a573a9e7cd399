"""`coeval bench encoders`: methods on pairs whose lag is known, rows and bars by sums by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coeval.errors import BadConfig
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.samples import (
    MODALITIES,
    AudioBlock,
    FloatArray,
    Frame,
    MetadataBlock,
    Sample,
    TextLine,
)
from coeval.signals import SignalTrack
from coeval.time import NodeNs
from coeval.tracks import StreamTrack
from coeval_lab.bench import encoders, encoders_plan, encoders_sections, encoders_variants
from coeval_lab.bench.encoders_bars import PROTOTYPE, bars_of, kind_of
from coeval_lab.bench.encoders_baselines import activity_lag, activity_of, has_raw, raw_lag
from coeval_lab.bench.encoders_cca import cca_lag, learn_cca, maps_of
from coeval_lab.bench.encoders_cells import (
    LONG_SOURCE,
    SCENES_SOURCE,
    STRANGERS,
    Methods,
    scene_answers,
)
from coeval_lab.bench.encoders_learned import (
    Lag,
    believed,
    best_lag,
    compared,
    joint_offsets,
    surest,
)
from coeval_lab.bench.encoders_plan import (
    ACTIVITY,
    EMBEDDINGS,
    JOINT,
    LEARNED,
    QUICK,
    RAW,
    VARIANTS,
)
from coeval_lab.bench.encoders_rows import Answer, error_of, row_of_answers, rows_of_answers
from coeval_lab.bench.encoders_sections import (
    Section,
    anomaly_bars,
    fusion_bars,
    precision_bars,
    recognition_bars,
)
from coeval_lab.bench.encoders_speed import LINPACK, NODE, SPEED, board_rows, loads, speed_rows
from coeval_lab.bench.encoders_variants import folds_in, make_missing
from coeval_lab.bench.material import Clock, stamped
from coeval_training.data import StreamRows

S = 1_000_000_000
MS = 1_000_000
LATE_NS = 3_217_000_000
"""How fast the second clock of every made-up pair is."""


def bursts(rng: np.random.Generator, *, seconds: float = 40.0) -> np.ndarray:
    """How much goes on in every 10 ms of a made-up scene, 0 or 1."""
    going_on = np.zeros(round(100 * seconds))
    for start in np.cumsum(rng.uniform(0.4, 2.0, 200)):
        going_on[round(100 * start) : round(100 * (start + rng.uniform(0.1, 0.6)))] = 1.0
    return going_on


def seen(going_on: np.ndarray, rng: np.random.Generator) -> list[Sample]:
    """Pictures at 25 Hz that flicker while something goes on."""
    strength = 40 * going_on[::4]
    return [
        Frame(
            t_node_ns=NodeNs(k * 40 * MS),
            grey=(100 + s * rng.standard_normal((48, 64))).clip(0, 255).astype(np.uint8),
        )
        for k, s in enumerate(strength)
    ]


def heard(going_on: np.ndarray, rng: np.random.Generator) -> list[Sample]:
    """Sound that is loud while something goes on."""
    loud = 0.001 + 0.2 * np.repeat(going_on, 160)
    pcm = (loud * rng.standard_normal(len(loud))).astype(np.float32)
    return [AudioBlock(t_node_ns=NodeNs(0), rate_hz=16_000, pcm=pcm)]


def felt(going_on: np.ndarray, rng: np.random.Generator) -> list[Sample]:
    """Readings at 100 Hz that shake while something goes on."""
    values = (0.02 + going_on)[:, None] * rng.standard_normal((len(going_on), 3))
    return [MetadataBlock(t_node_ns=np.arange(len(values)) * 10 * MS, values=values)]


def told(going_on: np.ndarray) -> list[Sample]:
    """A line where something begins."""
    begins = np.flatnonzero(np.diff(going_on) > 0) + 1
    return [
        TextLine(t_node_ns=NodeNs(int(k) * 10 * MS), t_end_node_ns=None, text="door opened")
        for k in begins
    ]


def off_by(lag: Lag | None) -> float:
    """Error of an answer about a made-up pair, ms."""
    return math.inf if lag is None else abs(lag.lag_ns - LATE_NS) / MS


def late(samples: Sequence[Sample]) -> list[Sample]:
    return [stamped(sample, Clock(offset_ns=LATE_NS)) for sample in samples]


@pytest.mark.parametrize("other", ["heard", "felt", "told"])
def test_hand_made_activity_finds_the_lag_of_streams_of_one_scene(other: str) -> None:
    rng = np.random.default_rng(1)
    going_on = bursts(rng)
    views = {"heard": heard(going_on, rng), "felt": felt(going_on, rng), "told": told(going_on)}
    lag = activity_lag(activity_of(seen(going_on, rng)), activity_of(late(views[other])))
    assert off_by(lag) < 60  # a frame's change lies between two frames


def test_hand_made_activity_finds_nothing_in_streams_of_two_scenes() -> None:
    rng = np.random.default_rng(2)
    first, second = seen(bursts(rng), rng), late(heard(bursts(rng), rng))
    assert off_by(activity_lag(activity_of(first), activity_of(second))) > 300


def test_a_stream_in_which_nothing_happens_has_no_activity_lag() -> None:
    rng = np.random.default_rng(3)
    frozen = [
        Frame(t_node_ns=NodeNs(k * 40 * MS), grey=np.zeros((48, 64), np.uint8)) for k in range(500)
    ]
    assert activity_lag(activity_of(frozen), activity_of(heard(bursts(rng), rng))) is None
    assert activity_of([]) is None


def wandering(rng: np.random.Generator, num: int, columns: int = 3) -> np.ndarray:
    """Columns that change all the time and never the same way twice."""
    noise = rng.standard_normal((num + 4, columns))
    return (noise[:-4] + noise[1:-3] + noise[2:-2] + noise[3:-1] + noise[4:]) / 2


def track_of(
    name: str,
    rows: np.ndarray,
    *,
    modality: Any = "metadata",
    late_hops: int = 0,
    signals: SignalTrack | None = None,
) -> StreamTrack:
    runs = (Hops(t0_node_ns=NodeNs(late_hops * HOP_NS), rows=rows.astype(np.float32)),)
    return StreamTrack(
        node=name, stream=name, modality=modality, embeddings=runs, rows=runs, signals=signals
    )


def of_latent(latent: np.ndarray, mixing: np.ndarray, rng: np.random.Generator) -> FloatArray:
    """Rows that show a latent movement among noise."""
    rows = latent @ mixing
    return (rows + 0.5 * rng.standard_normal(rows.shape)).astype(np.float32)


def test_canonical_correlation_finds_the_lag_by_maps_learnt_on_other_scenes() -> None:
    rng = np.random.default_rng(4)
    eyes, ears = rng.standard_normal((2, 7)), rng.standard_normal((2, 5))
    scenes = []
    for _ in range(4):
        latent = wandering(rng, 600, 2)
        scenes.append(
            {
                "video": StreamRows(start_hops=0.3, rows=of_latent(latent, eyes, rng)),
                "audio": StreamRows(start_hops=3.1, rows=of_latent(latent, ears, rng)[3:]),
            }
        )
    cca = learn_cca(scenes)
    latent = wandering(rng, 800, 2)
    a = track_of("a", of_latent(latent, eyes, rng), modality="video")
    b = track_of("b", of_latent(latent, ears, rng), modality="audio", late_hops=37)
    stranger = track_of("c", of_latent(wandering(rng, 800, 2), ears, rng), modality="audio")
    lag, wrong, back = cca_lag(cca, a, b), cca_lag(cca, a, stranger), cca_lag(cca, b, a)
    assert lag is not None
    assert lag.lag_ns == pytest.approx(37 * HOP_NS, abs=HOP_NS / 5)
    assert back is not None
    assert back.lag_ns == pytest.approx(-37 * HOP_NS, abs=HOP_NS / 5)
    assert wrong is None or abs(wrong.lag_ns) > HOP_NS
    assert maps_of(cca, ("video", "text")) is None
    assert cca_lag(cca, a, replace(b, modality="text")) is None


def shaken(rng: np.random.Generator, *, late_ns: int = 0, mixing: Any = None) -> SignalTrack:
    values = wandering(rng, 4000)
    times = np.arange(len(values)) * 10 * MS + late_ns
    return SignalTrack(t_node_ns=times, values=values if mixing is None else values @ mixing)


def test_raw_signals_find_the_lag_of_channels_mixed_anew_and_none_of_strangers() -> None:
    nothing = np.zeros((800, EMBEDDING_DIM))
    mixing = np.random.default_rng(5).standard_normal((3, 3))
    first = track_of("a", nothing, signals=shaken(np.random.default_rng(6)))
    moved = shaken(np.random.default_rng(6), late_ns=LATE_NS, mixing=mixing)
    strange = shaken(np.random.default_rng(7), late_ns=LATE_NS)
    second, third = (
        track_of("b", nothing, late_hops=64, signals=signals) for signals in (moved, strange)
    )
    assert has_raw(first, second)
    assert off_by(raw_lag(first, second)) < 5
    assert off_by(raw_lag(first, third)) > 100
    assert not has_raw(first, replace(second, signals=None))
    assert raw_lag(first, replace(second, signals=None)) is None


def shared(rng: np.random.Generator, *, noise: float, late_hops: tuple[int, ...]) -> list[Any]:
    """Streams whose embeddings show one movement, each among noise of its own."""
    common = 0.6 * wandering(rng, 1000, EMBEDDING_DIM)
    return [
        track_of(f"n{k}", common + noise * rng.standard_normal(common.shape), late_hops=hops)
        for k, hops in enumerate(late_hops)
    ]


def test_the_best_lag_is_given_whether_the_product_believes_it_or_not() -> None:
    rng = np.random.default_rng(8)
    (a, b) = shared(rng, noise=0.4, late_hops=(0, 25))
    stranger = track_of("c", 0.6 * wandering(rng, 1000, EMBEDDING_DIM))
    for other, is_locked in ((b, True), (stranger, False)):
        nodes = {a.node: [a], other.node: [other]}
        work = compared(a, other)
        assert work is not None
        lag = best_lag(work, nodes)
        assert lag is not None
        stated = believed({(a.node, other.node): work}, nodes, reference=a.node)
        assert (stated[other.node].line is not None) is is_locked
        assert (abs(lag.lag_ns - 25 * HOP_NS) < HOP_NS / 2) is is_locked


def test_the_joint_step_places_every_stream_by_all_the_others() -> None:
    late_hops = (0, 25, -40)
    tracks = shared(np.random.default_rng(9), noise=0.6, late_hops=late_hops)
    nodes = {track.node: [track] for track in tracks}
    works = {}
    for k, a in enumerate(tracks):
        for b in tracks[k + 1 :]:
            work = compared(a, b)
            assert work is not None
            works[a.node, b.node] = work
    assert surest(works) in nodes
    offsets = joint_offsets(works, nodes, reference="n0", t_ns=20.0 * S)
    assert set(offsets) == {"n1", "n2"}
    for k in (1, 2):
        assert offsets[f"n{k}"] == pytest.approx(late_hops[k] * HOP_NS, abs=HOP_NS / 4)


def test_an_error_is_against_both_clocks_where_the_lag_holds() -> None:
    first, second = Clock(offset_ns=1e9), Clock(offset_ns=4e9, skew_ppm=100.0)
    lag = Lag(t_first_ns=51e9, lag_ns=3e9 + 5e6 + 7e6)  # 100 ppm of 50 s is 5 ms
    assert error_of(lag, first, second) == pytest.approx(7.0, abs=1e-3)
    assert error_of(None, first, second) == math.inf


def answer(error_ms: float, **others: Any) -> Answer:
    named = {"pair": "imu-text", "method": LEARNED, "source": SCENES_SOURCE} | others
    return Answer(error_ms=error_ms, **named)


def test_shares_are_of_all_trials_and_no_answer_is_a_miss() -> None:
    found = row_of_answers([answer(e) for e in (1.0, -30.0, 90.0, 250.0, math.inf)])
    shares = [found[f"within_{limit}ms"] for limit in (20, 40, 100, 300)]
    assert shares == [20.0, 40.0, 60.0, 80.0]
    assert (found["trials"], found["median_ms"]) == (5, 90.0)
    assert row_of_answers([answer(math.inf)])["median_ms"] is None
    assert (found["locked"], found["wrong_of_locked"]) == (None, None)


def test_wrong_is_a_share_of_what_was_locked() -> None:
    errors = (1.0, 99.0, -101.0, None)
    found = row_of_answers([answer(0.0, locked_error_ms=e, was_asked=True) for e in errors])
    assert (found["locked"], found["num_locked"], found["num_wrong"]) == (75.0, 3, 1)
    assert found["wrong_of_locked"] == 33.3
    for changed, wrong in (
        ({"pair": "imu-stills"}, 0),
        ({"truth_sigma_ms": 40.0}, 0),
        ({"related": False}, 3),
    ):
        own = [answer(0.0, locked_error_ms=e, was_asked=True, **changed) for e in errors]
        assert row_of_answers(own)["num_wrong"] == wrong


def good_rows() -> list[dict[str, Any]]:
    """Lines with which every promise is kept."""
    perfect: dict[str, Any] = {f"within_{limit}ms": 100.0 for limit in (20, 40, 100, 300)}
    perfect |= {"median_ms": 1.0, "num_locked": 100, "num_wrong": 0, "locked": 90.0}
    poor = {column: 1.0 for column in perfect} | {"num_locked": None, "num_wrong": None}
    rows: list[dict[str, Any]] = []
    for pair in PROTOTYPE:
        methods = {LEARNED: perfect, JOINT: perfect, ACTIVITY: poor, EMBEDDINGS: poor}
        for method, numbers in methods.items():
            for source in (SCENES_SOURCE, LONG_SOURCE):
                rows.append({"pair": pair, "method": method, "source": source, **numbers})
    rows.append(
        {"pair": STRANGERS, "method": LEARNED, "source": SCENES_SOURCE}
        | {"locked": 0.0, "num_locked": 0, "num_wrong": 0}
    )
    encoder = {"pair": "encoder: text", "method": "fp32", "kilobytes": 300.0}
    node = {"pair": NODE, "method": "without decoding", "core": 4.0}
    return rows + [{"section": SPEED, **row} for row in (encoder, node)]


def missed(rows: Sequence[dict[str, Any]]) -> list[str]:
    return [bar.name for bar in bars_of(rows) if not bar.met]


def test_good_numbers_keep_every_promise() -> None:
    assert missed(good_rows()) == []


@pytest.mark.parametrize(
    ("pair", "method", "source", "column", "value", "promise"),
    [
        ("imu-text", LEARNED, SCENES_SOURCE, "within_40ms", 79.0, "text pairs, 60 s, pair by pair"),
        ("video-imu", JOINT, SCENES_SOURCE, "within_40ms", 94.0, "video pairs, 60 s, after"),
        ("imu-audio", LEARNED, SCENES_SOURCE, "within_40ms", 94.0, "metadata pairs, 60 s, pair"),
        ("imu-stills", JOINT, LONG_SOURCE, "within_300ms", 89.0, "stills, 10 min"),
        ("imu-stills", JOINT, SCENES_SOURCE, "within_300ms", 59.0, "stills, 60 s"),
        ("imu-text", LEARNED, SCENES_SOURCE, "num_wrong", 20, "locked pair by pair"),
        (STRANGERS, LEARNED, SCENES_SOURCE, "locked", 1.1, "streams of two scenes"),
        ("imu-text", ACTIVITY, SCENES_SOURCE, "within_40ms", 100.1, "imu-text, held-out"),
        ("imu-stills", ACTIVITY, LONG_SOURCE, "within_300ms", 100.1, "imu-stills, held-out"),
        ("imu-text", EMBEDDINGS, SCENES_SOURCE, "within_40ms", 100.1, "the product's chain"),
        ("imu-audio", LEARNED, SCENES_SOURCE, "median_ms", 3.4, "imu-audio: the prototype's"),
        ("video-text", JOINT, SCENES_SOURCE, "within_100ms", 86.0, "video-text: the prototype's"),
        (NODE, "without decoding", None, "core", 15.1, "a node of video"),
        ("encoder: text", "fp32", None, "kilobytes", 1000.1, "each encoder"),
    ],
)
def test_one_bad_number_breaks_its_promise(
    pair: str, method: str, source: str | None, column: str, value: float, promise: str
) -> None:
    rows = good_rows()
    named = (pair, method, source)
    (row,) = [r for r in rows if (r["pair"], r["method"], r.get("source")) == named]
    row[column] = value
    assert any(name.startswith(promise) for name in missed(rows))


def test_promises_of_nothing_are_all_missed() -> None:
    assert missed([]) == [bar.name for bar in bars_of([])]


def test_a_pair_is_held_to_the_weakest_of_its_streams() -> None:
    kinds = {p: kind_of(p) for p in ("video-text", "video-imu", "imu-audio", "text-stills")}
    assert list(kinds.values()) == ["text", "video", "metadata", "stills"]


def test_a_scene_is_answered_by_every_method_on_every_pair() -> None:
    methods = Methods(cca={}, variants={})
    rows = rows_of_answers(scene_answers([930_001], 60.0, QUICK, methods))
    learned = {row["pair"] for row in rows if row["method"] == LEARNED}
    assert learned == set(PROTOTYPE)
    assert {row["pair"] for row in rows if row["method"] == JOINT} == learned
    raw = {row["pair"] for row in rows if row["method"] == RAW}
    assert {"video-imu", "audio-text", "imu-machine"} <= raw
    assert "imu-audio" not in raw
    (sure,) = (r for r in rows if (r["pair"], r["method"]) == ("video-imu", LEARNED))
    assert sure["within_40ms"] == 100.0


def test_a_run_keeps_what_it_has_when_a_part_fails(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_scenes(*_: object) -> list[Answer]:
        raise ValueError("the scene is made of cheese")

    monkeypatch.setattr(encoders, "in_process", lambda work, *arguments: work(*arguments))
    monkeypatch.setattr(encoders, "speed_rows", lambda _: [{"section": SPEED, "pair": NODE}])
    monkeypatch.setattr(encoders, "training_rows", lambda _: [])
    monkeypatch.setattr(encoders, "scene_answers", no_scenes)
    monkeypatch.setattr(encoders, "SECTIONS", ())
    plan = replace(QUICK, recordings=tmp_path, num_long_scenes=0)
    said: list[str] = []
    shares: list[float] = []
    rows, bars = encoders.run(plan, say=said.append, progress=shares.append)
    failed = [row for row in rows if row["method" if "method" in row else "pair"] == "failed"]
    assert [row["note"] for row in failed] == ["failed: ValueError: the scene is made of cheese"]
    assert {"section": SPEED, "pair": NODE} in rows
    assert not any(bar.met for bar in bars)
    assert shares[-1] == 1.0
    encoders.plot_methods(rows, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").exists()


def test_parts_measured_again_take_the_place_of_their_rows_alone(tmp_path: Path) -> None:
    plan = replace(QUICK, recordings=tmp_path, parts=("recognition",))
    named = {"section": "recognition", "modality": "all", "source": "held-out recordings"}
    old, new = (named | {"right": share} for share in (1.0, 99.0))
    others = [*rows_of_answers([answer(1.0)]), {"section": SPEED, "pair": NODE}]
    rows, _ = encoders.merged(plan, [*others, old], [new])
    assert rows == [*others, new]


def test_a_part_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    plan = replace(QUICK, recordings=tmp_path, parts=("anomalies",))
    with pytest.raises(BadConfig, match="no section 'anomalies'; there are: pairs, speed, anomaly"):
        encoders.run(plan, say=lambda _: None)


def anomaly_row(**others: Any) -> dict[str, Any]:
    return {
        "pair": "all streams",
        "fault": "desync",
        "method": "hybrid",
        "source": "held-out scenes",
        "in_bar": True,
        "auroc": 0.99,
        "within_2s": 97.0,
        "detected": 100.0,
        "median_delay_s": 1.0,
        "calm_hours": 2.0,
        "calm_alarms": 0,
    } | others


@pytest.mark.parametrize(
    ("others", "missed"),
    [({}, []), ({"auroc": 0.97}, [0]), ({"within_2s": 94.0}, [1]), ({"calm_alarms": 2}, [2])],
)
def test_each_promise_on_anomalies_has_a_number_that_breaks_it(
    others: dict[str, Any], missed: list[int]
) -> None:
    bars = anomaly_bars([anomaly_row(**others), anomaly_row(auroc=0.1, in_bar=False)])
    assert [k for k, bar in enumerate(bars) if not bar.met] == missed


def test_hybrid_must_not_be_behind_anywhere() -> None:
    level = {"method": "hybrid", "behind": "", "behind_by_chance": ""}
    rows = [{"pair": p} | level for p in ("a", "b")]
    assert [bar.met for bar in fusion_bars(rows)] == [True]
    assert [bar.met for bar in fusion_bars([rows[0] | {"behind": "event: late by 0.002"}])] == [
        False
    ]


@pytest.mark.parametrize(("right", "is_met"), [(99.0, True), (98.99, False)])
def test_recognition_is_judged_by_all_windows_of_held_out_recordings(
    right: float, is_met: bool
) -> None:
    row = {"modality": "all", "source": "held-out recordings, windows of 5 s", "right": right}
    scenes = row | {"source": "held-out scenes", "right": 100.0}
    assert [bar.met for bar in recognition_bars([row, scenes])] == [is_met]


@pytest.mark.parametrize(("within", "is_met"), [(79.5, True), (78.0, False)])
def test_a_precision_that_is_offered_may_not_cost_accuracy(within: float, is_met: bool) -> None:
    rows = [
        {"method": "fp32", "within_40ms": 80.0},
        {"method": "fp16", "within_40ms": within},
        {"method": "int8", "within_40ms": within},
        {"method": "fp32 beside int8", "within_40ms": within},
        {"method": "int8 static", "within_40ms": 20.0},
        {"method": "fp16", "bytes": 1},
    ]
    assert [bar.met for bar in precision_bars(rows)] == [is_met] * 3


def test_parts_that_were_not_measured_keep_no_promise() -> None:
    for bars in (anomaly_bars, fusion_bars, recognition_bars, precision_bars):
        assert not any(bar.met for bar in bars([]))


def test_a_part_names_itself_in_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    own = Section(
        name="own",
        title="Own",
        module="coeval_lab.bench.bars",
        measure=lambda module, plan: [{"pair": module.__name__, "seed": plan.seed}],
    )
    monkeypatch.setattr(encoders_sections, "SECTIONS", (own,))
    rows = encoders_sections.rows_of_section("own", QUICK)
    assert rows == [{"section": "own", "pair": "coeval_lab.bench.bars", "seed": 1}]
    assert own.is_there
    assert not replace(own, module="coeval_lab.bench.nowhere").is_there


def test_the_cost_of_every_encoder_and_of_a_node_is_measured() -> None:
    rows = speed_rows(replace(QUICK, speed_s=2.0, speed_repeats=1))
    encoders_seen = {row["pair"] for row in rows if row["pair"].startswith("encoder")}
    assert len(encoders_seen) == 5
    for row in rows:
        assert row["section"] == SPEED
        assert all(v > 0 for v in row.values() if isinstance(v, float))
    parts = [row["core"] for row in rows if row["method"] in ("features to blocks", "160 × 120")]
    whole = next(row["core"] for row in rows if row["pair"] == NODE)
    assert max(parts[:5]) < whole <= sum(parts[:5]) * 1.0101  # each to three digits


def test_other_boards_are_taken_by_the_ratio_of_published_figures() -> None:
    rows = [{"pair": NODE, "core": 4.0}, {"pair": "peer", "gflops": 30.0}]
    found = {row["pair"]: row for row in board_rows(rows)}
    pi = found[f"{NODE}, on a Raspberry Pi 5"]
    assert pi["core_by_vectors"] == pytest.approx(4.0 * 30.0 / LINPACK["Raspberry Pi 5"], rel=0.01)
    assert "not measured" in pi["method"]


def test_the_streams_of_the_node_have_the_promised_rates() -> None:
    video, audio, imu, text, stills = loads(4.0, np.random.default_rng(1))
    assert (len(video.samples), len(stills.samples), len(text.samples)) == (100, 4, 2)
    assert sum(len(s.pcm) for s in audio.samples if isinstance(s, AudioBlock)) == 64_000
    blocks = [s for s in imu.samples if isinstance(s, MetadataBlock)]
    assert sum(len(block.t_node_ns) for block in blocks) == 800


def make_encoders(folder: Path) -> None:
    folder.mkdir(parents=True)
    for modality in MODALITIES:
        (folder / f"{modality}.onnx").touch()


def test_only_encoders_that_are_missing_are_trained(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trained: list[tuple[str, dict[str, float]]] = []

    def train_short(
        _: Path, name: str, losses: dict[str, float], recordings: Path | None
    ) -> list[Path]:
        assert recordings is None
        trained.append((name, losses))
        return []

    monkeypatch.setattr(encoders_variants, "train_short", train_short)
    make_encoders(tmp_path / "both")
    (tmp_path / "no-autoencoder").mkdir()  # an interrupted run left it empty
    said: list[str] = []
    make_missing(tmp_path, tmp_path / "nowhere", num_folds=2, say=said.append)
    assert [name for name, _ in trained] == ["autoencoder-only", "no-autoencoder"]
    assert trained[0][1]["correspondence_weight"] == 0.0
    assert trained[1][1]["forgetting_weight"] == 0.0
    assert len(said) == 2


def test_a_fold_trains_on_all_recordings_but_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    recordings, kept = tmp_path / "recordings", tmp_path / "kept"
    names = ("ami_dev00", "px4_appended", "walk")
    for name in names:
        (recordings / name).mkdir(parents=True)
        (recordings / name / "recording.json").touch()
    for name in VARIANTS:
        make_encoders(kept / name)
    seen: dict[str, list[str]] = {}

    def train_short(
        folder: Path, name: str, losses: dict[str, float], recordings: Path | None
    ) -> list[Path]:
        assert recordings is not None
        assert losses == {}
        seen[name] = sorted(path.name for path in recordings.iterdir())
        make_encoders(folder / name)
        return []

    monkeypatch.setattr(encoders_variants, "train_short", train_short)
    make_missing(kept, recordings, num_folds=1, say=lambda _: None)
    assert seen == {"without-ami_dev00": ["px4_appended", "walk"]}
    assert set(folds_in(kept)) == {"ami_dev00"}
    assert folds_in(None) == {}


def test_folds_need_a_folder_to_keep_their_encoders() -> None:
    with pytest.raises(BadConfig, match="--baselines DIR"):
        encoders_plan.plan_of(quick=True, seed=1, folds=2)
