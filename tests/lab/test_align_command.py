"""`coeval align`: what it prints and writes, which evidence it listens to, and its mistakes."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from coeval.manifest import TruthJump
from coeval_edge.recording import open_recording
from coeval_edge.skew import ClockError, skew_recording

SHARED = Path(__file__).parents[3] / "shared"
LENGTH_S = 40
EPOCH_S = 1_700_000_000
PNG = b"\x89PNG\r\n\x1a\n"

Align = Callable[..., tuple[int, str, str]]
"""Runs `coeval align`; its exit code, stdout and stderr."""

WRIST_BY_CONTENT_S, WRIST_BY_PPS_S, WRIST_BY_EXCHANGE_S = 2.4, 3.2, -1.5
"""Offsets of `wrist` that each kind of evidence claims, all different on purpose."""


def write_readings(path: Path, *, offset_s: float, length_s: int) -> None:
    """Bumps that every node feels at the same time, stamped by a clock that is fast."""
    rng = np.random.default_rng(7)
    t_s = np.arange(0, length_s, 0.01)
    felt = np.zeros((3, len(t_s)))
    for at_s in np.cumsum(rng.exponential(0.7, 2 * length_s)):
        shape = np.exp(-0.5 * ((t_s - at_s) / rng.uniform(0.03, 0.2)) ** 2)
        felt += rng.normal(0, 2, 3)[:, None] * shape
    felt += np.random.default_rng(len(path.stem)).normal(0, 0.05, felt.shape)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["t", "x", "y", "z"])
        for t, values in zip(t_s + offset_s, felt.T, strict=True):
            writer.writerow([f"{t:.2f}", *(f"{value:.4f}" for value in values)])


def pps(offset_s: float, *, skew_ppm: float = 0.0) -> str:
    rows = [f"{k + offset_s + skew_ppm * 1e-6 * k:.9f},{EPOCH_S + k},1e-6" for k in range(LENGTH_S)]
    return "\n".join(["t_node,t_ref,sigma_s", *rows]) + "\n"


def exchange(offset_s: float) -> str:
    """Two-way exchanges with a server, 2 ms each way."""
    rows = [
        f"{t + offset_s:.6f},{t + 0.002:.6f},{t + 0.0021:.6f},{t + offset_s + 0.0041:.6f}"
        for t in np.arange(0, LENGTH_S, 0.5)
    ]
    return "\n".join(["t1,t2,t3,t4", *rows]) + "\n"


def edges(offset_s: float) -> str:
    """Irregular edges of one electrical line."""
    times = np.cumsum(np.random.default_rng(5).uniform(0.3, 1.7, LENGTH_S))
    return "\n".join(["t,line", *(f"{t + offset_s:.9f},trigger" for t in times)]) + "\n"


def make(
    root: Path,
    *,
    evidence: Mapping[str, Mapping[str, str]] | None = None,
    names: tuple[str, str] = ("cam", "wrist"),
    length_s: int = LENGTH_S,
) -> Path:
    """Two nodes, one sensor each; `evidence` is the text of the files by node and kind."""
    root.mkdir()
    nodes: dict[str, dict[str, object]] = {}
    for name, offset_s in zip(names, (0.0, WRIST_BY_CONTENT_S), strict=True):
        write_readings(root / f"{name}.csv", offset_s=offset_s, length_s=length_s)
        nodes[name] = {}
    for node, files in (evidence or {}).items():
        for kind, text in files.items():
            (root / f"{node}_{kind}.csv").write_text(text, encoding="utf-8")
        nodes.setdefault(node, {})["evidence"] = {kind: f"{node}_{kind}.csv" for kind in files}
    manifest = {
        "format": "coeval-recording/1",
        "name": "made",
        "nodes": nodes,
        "streams": [
            {"id": f"imu-{n}", "node": n, "modality": "metadata", "file": f"{n}.csv"} for n in names
        ],
        "truth": {"nodes": {names[1]: {"offset_s": 99.0, "skew_ppm": 0.0}}},
    }
    (root / "recording.json").write_text(json.dumps(manifest), encoding="utf-8")
    return root


@pytest.fixture
def align(coeval: Align) -> Align:
    return partial(coeval, "align")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return make(tmp_path / "rec")


@pytest.fixture
def contradictory(tmp_path: Path) -> Path:
    """Each kind of evidence claims another offset, so that the answer tells which was heard."""
    evidence = {
        "cam": {"pps": pps(0.0), "exchange": exchange(0.0)},
        "wrist": {"pps": pps(WRIST_BY_PPS_S), "exchange": exchange(WRIST_BY_EXCHANGE_S)},
    }
    return make(tmp_path / "rec", evidence=evidence)


def test_the_json_has_the_shape_that_programs_rely_on(align: Align, recording: Path) -> None:
    code, out, err = align(recording, "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert set(answer) == {"reference", "nodes", "elapsed_s"}
    assert answer["reference"] == "cam"
    assert answer["elapsed_s"] > 0
    assert set(answer["nodes"]) == {"wrist"}
    wrist = answer["nodes"]["wrist"]
    assert set(wrist) == {
        *("status", "offset_s", "skew_ppm", "ci95_s", "jumps", "evidence"),
        "skew_ci95_ppm",  # beyond the design: a skew is worth nothing without it
    }
    assert (wrist["status"], wrist["jumps"], wrist["evidence"]) == ("locked", [], ["content"])
    assert wrist["offset_s"] == pytest.approx(WRIST_BY_CONTENT_S, abs=0.02)
    assert 0 < wrist["ci95_s"] < 0.05
    assert abs(wrist["skew_ppm"]) < wrist["skew_ci95_ppm"]


def test_json_alone_goes_to_stdout_of_the_process(recording: Path) -> None:
    command = [sys.executable, "-c", "from coeval.cli import main; main()", "align"]
    done = subprocess.run(
        [*command, str(recording), "--json", "--out", str(recording.parent / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    assert json.loads(done.stdout)["nodes"]["wrist"]["status"] == "locked"
    assert done.stderr == f"aligned recording: {recording.parent / 'out'}\n"


def test_people_get_a_table_with_the_sign_explained(align: Align, recording: Path) -> None:
    code, out, _ = align(recording)
    assert code == 0
    assert "positive: the node is fast" in out
    assert "wrist" in out
    assert re.search(r"\+2\.(39|40)\d{4} ", out)


def test_another_reference_turns_the_sign(align: Align, recording: Path) -> None:
    _, out, _ = align(recording, "--json", "--reference", "wrist")
    answer = json.loads(out)
    assert answer["reference"] == "wrist"
    assert answer["nodes"]["cam"]["offset_s"] == pytest.approx(-WRIST_BY_CONTENT_S, abs=0.02)


@pytest.mark.parametrize(
    ("method", "offset_s", "evidence"),
    [
        ("hardware", WRIST_BY_PPS_S, ["hardware"]),
        ("network", WRIST_BY_EXCHANGE_S, ["network"]),
        ("content", WRIST_BY_CONTENT_S, ["content"]),
    ],
)
def test_each_method_listens_to_its_own_evidence_only(
    align: Align, contradictory: Path, method: str, offset_s: float, evidence: list[str]
) -> None:
    code, out, _ = align(contradictory, "--json", "--method", method)
    wrist = json.loads(out)["nodes"]["wrist"]
    assert (code, wrist["status"], wrist["evidence"]) == (0, "locked", evidence)
    assert wrist["offset_s"] == pytest.approx(offset_s, abs=0.02)
    assert abs(wrist["offset_s"] - offset_s) <= wrist["ci95_s"]


def test_joint_is_the_default_and_takes_the_surest_evidence_of_all(
    align: Align, tmp_path: Path
) -> None:
    evidence = {
        "cam": {"pps": pps(0.0), "exchange": exchange(0.0)},
        "wrist": {
            "pps": pps(WRIST_BY_CONTENT_S, skew_ppm=41.0),
            "exchange": exchange(WRIST_BY_CONTENT_S),
        },
    }
    root = make(tmp_path / "rec", evidence=evidence)
    _, out, _ = align(root, "--json")
    wrist = json.loads(out)["nodes"]["wrist"]
    assert wrist["evidence"] == ["content", "hardware", "network"]
    assert wrist["offset_s"] == pytest.approx(WRIST_BY_CONTENT_S, abs=5e-6)
    assert wrist["skew_ppm"] == pytest.approx(41.0, abs=0.2)
    assert wrist["ci95_s"] < 1e-5


def test_content_that_contradicts_the_hardware_is_said(align: Align, tmp_path: Path) -> None:
    second_off = {"cam": {"pps": pps(0.0)}, "wrist": {"pps": pps(WRIST_BY_CONTENT_S + 1.0)}}
    _, out, err = align(make(tmp_path / "wrong", evidence=second_off), "--json")
    assert json.loads(out)["nodes"]["wrist"]["evidence"] == ["hardware"]
    assert "content of cam and wrist contradicts" in err
    assert re.search(r"by content wrist is -(1\.00|0\.99)\d s from what is stated", err)
    right = {"cam": {"pps": pps(0.0)}, "wrist": {"pps": pps(WRIST_BY_CONTENT_S)}}
    assert align(make(tmp_path / "right", evidence=right), "--json")[2] == ""


def test_the_table_says_how_sure_a_skew_is_and_gives_names_in_full(
    align: Align, tmp_path: Path
) -> None:
    name = "wrist-of-the-left-arm-with-a-long-name"
    _, out, _ = align(make(tmp_path / "rec", names=("cam", name)))
    assert re.search(r"[+-]\d+ ± \d+ ", out)
    first_column = "".join(row.split("│")[1].strip() for row in out.splitlines() if "│" in row)
    assert first_column == name


def test_one_node_alone_is_told_that_there_is_nothing_to_align(
    align: Align, recording: Path
) -> None:
    manifest = json.loads((recording / "recording.json").read_text(encoding="utf-8"))
    manifest |= {"nodes": {"cam": {}}, "streams": manifest["streams"][:1], "truth": None}
    (recording / "recording.json").write_text(json.dumps(manifest), encoding="utf-8")
    code, out, _ = align(recording)
    assert code == 0
    assert "one node, so one clock: nothing to align" in " ".join(out.split())


def test_a_node_without_streams_is_not_told_that_its_content_is_too_little(
    align: Align, recording: Path
) -> None:
    manifest = json.loads((recording / "recording.json").read_text(encoding="utf-8"))
    manifest["nodes"]["probe"] = {}
    (recording / "recording.json").write_text(json.dumps(manifest), encoding="utf-8")
    said = " ".join(align(recording)[1].split())
    assert "no offset for probe: no stream and no evidence" in said
    assert "content does not tell" not in said


def test_edges_of_a_line_that_two_nodes_share_are_hardware_evidence(
    align: Align, tmp_path: Path
) -> None:
    evidence = {"cam": {"edges": edges(0.0)}, "wrist": {"edges": edges(7.25)}}
    _, out, _ = align(make(tmp_path / "rec", evidence=evidence), "--json", "--method", "hardware")
    wrist = json.loads(out)["nodes"]["wrist"]
    assert wrist["evidence"] == ["hardware"]
    assert wrist["offset_s"] == pytest.approx(7.25, abs=1e-4)
    assert 1e-6 < wrist["ci95_s"] < 1e-4


def test_nodes_that_fit_each_other_but_not_the_reference_are_named(
    align: Align, tmp_path: Path
) -> None:
    rec = make(tmp_path / "rec")
    manifest = json.loads((rec / "recording.json").read_text())
    rng = np.random.default_rng(3)
    rows = [f"{k / 50:.2f},{value:.4f}" for k, value in enumerate(rng.normal(0, 1, 50 * LENGTH_S))]
    (rec / "other.csv").write_text("\n".join(["t,x", *rows]) + "\n")
    manifest["nodes"] = {"other": {}} | manifest["nodes"]
    other = {"id": "other", "node": "other", "modality": "metadata", "file": "other.csv"}
    manifest["streams"].append(other)
    (rec / "recording.json").write_text(json.dumps(manifest))
    code, out, _ = align(rec)
    assert code == 0
    assert "cam and wrist fit each other, only not other: see --reference cam" in out


@pytest.mark.parametrize(("method", "lacks"), [("hardware", "pps, edges"), ("network", "exchange")])
def test_without_evidence_there_is_no_number_and_a_word_about_it(
    align: Align, recording: Path, method: str, lacks: str
) -> None:
    code, out, _ = align(recording, "--json", "--method", method)
    assert code == 0
    assert json.loads(out)["nodes"]["wrist"] == {
        "status": "unsure",
        "offset_s": None,
        "skew_ppm": None,
        "ci95_s": None,
        "skew_ci95_ppm": None,
        "jumps": [],
        "evidence": [],
    }
    _, out, _ = align(recording, "--method", method)
    assert f"no offset for wrist: no {method} evidence ({lacks})" in " ".join(out.split())


def test_a_sensor_that_was_stuck_is_named_where_nothing_is_found(
    align: Align, tmp_path: Path
) -> None:
    root = make(tmp_path / "rec", length_s=100)
    rows = (root / "wrist.csv").read_text(encoding="utf-8").splitlines()
    held = rows[60].split(",", 1)[1]
    stuck = rows[:60] + [f"{row.split(',', 1)[0]},{held}" for row in rows[60:]]
    (root / "wrist.csv").write_text("\n".join(stuck) + "\n", encoding="utf-8")
    _, out, _ = align(root, "--json")
    found = json.loads(out)
    assert found["nodes"]["wrist"]["status"] == "unsure"
    (stretch,) = found["irrelevant"]
    assert (stretch["node"], stretch["stream"], stretch["reason"]) == (
        "wrist",
        "imu-wrist",
        "stuck",
    )
    assert stretch["from_s"] == pytest.approx(3.0, abs=0.05)
    _, out, _ = align(root)
    assert "wrist/imu-wrist carries nothing: stuck 3–102 s" in out


def test_a_node_without_streams_is_placed_by_its_hardware(align: Align, tmp_path: Path) -> None:
    evidence = {"cam": {"pps": pps(0.0)}, "probe": {"pps": pps(0.125)}}
    root = make(tmp_path / "rec", evidence=evidence)
    _, out, _ = align(root, "--json")
    nodes = json.loads(out)["nodes"]
    assert set(nodes) == {"wrist", "probe"}
    assert nodes["probe"]["offset_s"] == pytest.approx(0.125, abs=1e-5)
    assert nodes["probe"]["evidence"] == ["hardware"]
    code, _, err = align(root, "--json", "--reference", "probe")
    assert (code, err.count("\n")) == (1, 1)
    assert "reference node 'probe' has no stream" in err


def test_out_is_a_recording_on_the_reference_timeline(
    align: Align, contradictory: Path, tmp_path: Path
) -> None:
    out_path = tmp_path / "new" / "aligned"
    code, _, err = align(contradictory, "--method", "hardware", "--out", out_path)
    assert code == 0
    assert err == f"aligned recording: {out_path}\n"
    aligned = open_recording(out_path)
    assert aligned.manifest.truth is None
    assert aligned.manifest.extra["aligned_to"] == "cam"
    assert [node.extra["aligned"] for node in aligned.manifest.nodes.values()] == [True, True]
    before, after = (
        np.loadtxt(root / "wrist.csv", delimiter=",", skiprows=1)
        for root in (contradictory, out_path)
    )
    np.testing.assert_allclose(after[:, 0], before[:, 0] - WRIST_BY_PPS_S, atol=5e-6)
    np.testing.assert_array_equal(after[:, 1:], before[:, 1:])
    assert (out_path / "cam.csv").read_bytes() == (contradictory / "cam.csv").read_bytes()


def test_an_aligned_recording_aligns_to_no_offset(
    align: Align, recording: Path, tmp_path: Path
) -> None:
    align(recording, "--out", tmp_path / "out")
    _, out, _ = align(tmp_path / "out", "--json")
    wrist = json.loads(out)["nodes"]["wrist"]
    assert wrist["status"] == "locked"
    assert abs(wrist["offset_s"]) < 0.01


def test_a_step_of_a_clock_is_stated_and_taken_out(align: Align, tmp_path: Path) -> None:
    steady = open_recording(make(tmp_path / "steady", length_s=200))
    step = ClockError(offset_s=0.0, jump=TruthJump(at_s=100.0, by_s=0.75))
    skew_recording(steady, tmp_path / "rec", errors={"wrist": step})
    _, out, _ = align(tmp_path / "rec", "--json", "--out", tmp_path / "out")
    wrist = json.loads(out)["nodes"]["wrist"]
    assert wrist["offset_s"] == pytest.approx(WRIST_BY_CONTENT_S, abs=0.02)  # before the step
    (jump,) = wrist["jumps"]
    assert set(jump) == {"at_s", "jump_s"}
    assert jump["jump_s"] == pytest.approx(0.75, abs=0.02)
    assert jump["at_s"] == pytest.approx(100.0, abs=10.0)
    t_cam_s, t_wrist_s = (
        np.loadtxt(tmp_path / "out" / f"{node}.csv", delimiter=",", skiprows=1)[:, 0]
        for node in ("cam", "wrist")
    )
    away = abs(t_cam_s - 100.0) > 10.0
    assert abs(t_wrist_s - t_cam_s)[away].max() < 0.02


@pytest.mark.parametrize(("kind", "within_s"), [("pps", 1e-6), ("exchange", 2e-3)])
def test_a_step_that_hardware_or_network_shows_is_stated_as_sharply_as_they_know_it(
    align: Align, tmp_path: Path, kind: str, within_s: float
) -> None:
    text = {"pps": pps, "exchange": exchange}[kind]
    steady = make(
        tmp_path / "steady", evidence={"cam": {kind: text(0.0)}, "wrist": {kind: text(3.2)}}
    )
    step = ClockError(offset_s=1.0, jump=TruthJump(at_s=20.0, by_s=0.3))
    skew_recording(open_recording(steady), tmp_path / "rec", errors={"wrist": step})
    wrist = json.loads(align(tmp_path / "rec", "--json")[1])["nodes"]["wrist"]
    assert wrist["offset_s"] == pytest.approx(4.2, abs=within_s)
    (jump,) = wrist["jumps"]
    assert jump["jump_s"] == pytest.approx(0.3, abs=within_s)


def test_a_node_of_unknown_offset_is_copied_as_it_is_and_named(
    align: Align, recording: Path, tmp_path: Path
) -> None:
    code, _, err = align(recording, "--method", "network", "--out", tmp_path / "out")
    assert code == 0
    assert "copied unchanged, not aligned: wrist" in err
    copy = open_recording(tmp_path / "out")
    assert copy.manifest.nodes["wrist"].extra["aligned"] is False
    assert (tmp_path / "out/wrist.csv").read_bytes() == (recording / "wrist.csv").read_bytes()


def test_plot_writes_a_png_into_a_new_folder(align: Align, recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.png"
    code, _, err = align(recording, "--json", "--plot", path)
    assert (code, err) == (0, f"report: {path}\n")
    assert path.read_bytes().startswith(PNG)
    assert [p.name for p in path.parent.iterdir()] == ["report.png"]


@pytest.mark.parametrize("option", ["--out", "--plot"])
def test_a_place_that_may_not_be_written_is_told_before_anything_is_read(
    option: str, align: Align, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    code, _, err = align(tmp_path / "nowhere", option, tmp_path / "a.png")
    assert code == 2
    assert f"{option} {tmp_path}/a.png: cannot be written, you have no right" in err


def test_names_with_markup_or_formulas_in_them_are_only_names(align: Align, tmp_path: Path) -> None:
    root = make(tmp_path / "rec", names=("cam[red]", "wrist $x_$"))
    code, out, err = align(root, "--method", "network", "--plot", tmp_path / "a.png")
    assert code == 0, err
    assert "against cam[red]" in out
    assert (tmp_path / "a.png").read_bytes().startswith(PNG)


def spoil(file: str, text: str | bytes) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / file).write_bytes(text if isinstance(text, bytes) else text.encode())

    return write


def edit_stream(**changes: str) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        manifest = json.loads((root / "recording.json").read_text())
        manifest["streams"][1] |= changes
        (root / "recording.json").write_text(json.dumps(manifest))

    return edit


def leave(_: Path) -> None:
    """Nothing is wrong with the recording."""


@pytest.mark.parametrize(
    ("spoiled", "arguments", "code", "said"),
    [
        (leave, ("{dir}/nowhere",), 1, "nowhere: no such folder"),
        (
            leave,
            ("{rec}", "--reference", "hat"),
            2,
            "'hat' is no node of this recording; it has cam",
        ),
        (leave, ("{rec}", "--plot", "{dir}/a.jpg"), 2, "expected a file ending in .png"),
        (leave, ("{rec}", "--plot", "{dir}/folder.png"), 2, "is a folder"),
        (leave, ("{rec}", "--plot", "{rec}/cam.csv/a.png"), 2, "cannot be written"),
        (leave, ("{rec}", "--out", "{rec}"), 1, "is there already; give a new or empty folder"),
        (leave, ("{rec}", "--out", "{rec}/cam.csv"), 1, "is there already"),
        (spoil("recording.json", "{"), ("{rec}",), 1, "recording.json"),
        (spoil("wrist.csv", "x,y\n1,2\n"), ("{rec}",), 1, "wrist.csv: no column 't'"),
        (spoil("wrist.csv", ""), ("{rec}",), 1, "wrist.csv: the file is empty"),
        (spoil("wrist.csv", "t,x\n1,2\nnan,3\n"), ("{rec}",), 1, "wrist.csv, line 3: column 't'"),
        (spoil("wrist.csv", "t,x\n2,2\n1,3\n"), ("{rec}",), 1, "line 3: time 1.0 is 1 s before"),
        (spoil("wrist_pps.csv", "t_node,t_ref\n"), ("{rec}",), 1, "no column 'sigma_s'"),
        (edit_stream(modality="smell"), ("{rec}",), 1, "unknown modality 'smell'"),
        (edit_stream(modality="video"), ("{rec}",), 1, "wrist.csv"),
        (edit_stream(file="gone.csv"), ("{rec}",), 1, "no file 'gone.csv'"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
@pytest.mark.parametrize("form", ["json", "table"])
def test_a_mistake_is_one_line_and_nothing_is_written(
    align: Align,
    contradictory: Path,
    tmp_path: Path,
    spoiled: Callable[[Path], None],
    arguments: tuple[str, ...],
    code: int,
    said: str,
    form: str,
) -> None:
    spoiled(contradictory)
    (tmp_path / "folder.png").mkdir()
    places = {"rec": contradictory, "dir": tmp_path}
    given = [argument.format_map(places) for argument in arguments]
    if "--out" not in given:
        given += ["--out", str(tmp_path / "out")]
    if form == "json":
        given.append("--json")
    before = sorted(path for path in tmp_path.rglob("*"))
    got, out, err = align(*given)
    assert got == code, err
    assert said in err
    assert err.startswith("coeval: ")
    assert err.count("\n") == 1
    assert out == ""
    assert sorted(path for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("--method", "guess"),
        ("--max-offset", "nan"),
        ("--max-offset", "inf"),
        ("--max-offset", "0"),
        ("--max-offset", "far"),
        ("--frob",),
    ],
    ids=" ".join,
)
def test_a_wrong_option_is_a_usage_error(
    align: Align, recording: Path, arguments: tuple[str, ...]
) -> None:
    code, out, err = align(recording, *arguments)
    assert (code, out) == (2, "")
    assert arguments[0] in err
    assert "Traceback" not in err


def test_offsets_beyond_the_search_are_not_found_nearby(align: Align, recording: Path) -> None:
    _, out, _ = align(recording, "--json", "--max-offset", "1")
    assert json.loads(out)["nodes"]["wrist"]["status"] == "unsure"


@pytest.fixture
def shared() -> Path:
    if not (SHARED / "recordings").is_dir():
        pytest.skip("needs ../shared/recordings, which is not here")
    return SHARED / "recordings"


@pytest.mark.shared
@pytest.mark.parametrize("offset_s", [0.0, 3.217])
def test_a_moving_camera_and_its_gyro_are_locked_within_60_ms(
    align: Align, shared: Path, tmp_path: Path, offset_s: float
) -> None:
    error = ClockError(offset_s=offset_s, skew_ppm=20.0)
    karma = open_recording(shared / "gopro_karma")
    wrong = skew_recording(karma, tmp_path / "wrong", errors={"gyro": error})
    _, out, _ = align(wrong.root, "--json")
    gyro = json.loads(out)["nodes"]["gyro"]
    assert (gyro["status"], gyro["evidence"]) == ("locked", ["content"])
    assert gyro["offset_s"] == pytest.approx(offset_s, abs=0.06)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "node"), [("gopro_hero7", "gyro"), ("ami_tst00", "speaker_turns")]
)
def test_content_that_does_not_tell_is_unsure(
    align: Align, shared: Path, name: str, node: str
) -> None:
    code, out, _ = align(shared / name, "--json")
    found = json.loads(out)["nodes"][node]
    assert code == 0
    assert (found["status"], found["offset_s"], found["ci95_s"]) == ("unsure", None, None)
