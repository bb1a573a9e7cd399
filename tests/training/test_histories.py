"""Histories: from a recording and from a store, what is known and nothing else."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coeval.errors import BadConfig
from coeval.hops import EMBEDDING_DIM, HOP_NS
from coeval.samples import MODALITIES, FloatArray
from coeval.time import NS_PER_S, NodeNs, RefNs
from coeval_aggregator.store.opening import open_reader, open_store
from coeval_aggregator.store.reading import Reader
from coeval_aggregator.store.records import (
    BlockRecord,
    ClockRecord,
    DescriptorRecord,
    Kept,
    Timeline,
)
from coeval_edge.encoder import shipped_model
from coeval_training.histories import recorded_history, stored_history

TIMELINE = Timeline(reference="cam", boot_id=1)
PATHS = {modality: shipped_model(modality) for modality in MODALITIES}
ROWS = 10


def block(
    node: str, seq: int, value: float, *, boot_id: int = 1, offset_hops: int = 0
) -> BlockRecord:
    rows = np.full((ROWS, EMBEDDING_DIM), value, "<f2")
    return BlockRecord(
        node=node,
        stream="s",
        boot_id=boot_id,
        seq=seq,
        t0_node_ns=NodeNs((seq * ROWS + offset_hops) * HOP_NS),
        hop_ns=HOP_NS,
        num_rows=ROWS,
        dim=EMBEDDING_DIM,
        embeddings=rows.tobytes(),
    )


def described(node: str, *, name: str = "a1", from_seq: int = 0, **more: Any) -> DescriptorRecord:
    payload = {"encoder": {"sha256": "x", "set": name, "from_seq": from_seq}}
    told: dict[str, Any] = {"node": node, "stream": "s", "boot_id": 1, "modality": "audio"}
    return DescriptorRecord(**(told | more), payload=json.dumps(payload))


def clock(t_s: float, *, node: str = "wrist", sigma_s: float = 0.001) -> ClockRecord:
    """The node is half a second fast, by all that came in the 10 s before."""
    return ClockRecord(
        timeline=TIMELINE,
        node=node,
        boot_id=1,
        status="locked",
        t_ref_ns=RefNs(round(t_s * NS_PER_S)),
        covers_from_ns=RefNs(round((t_s - 10) * NS_PER_S)),
        offset_ns=0.5e9,
        skew_ppb=0.0,
        var_offset_ns2=(sigma_s * NS_PER_S) ** 2,
        cov_offset_skew=0.0,
        var_skew_ppb2=0.0,
    )


def reader_of(folder: Path, *records: Any) -> Reader:
    url = f"sqlite:///{folder / 'store.db'}"
    store = open_store(url)
    store.write([Kept(session="walk", utc_ns=1, records=records)])
    store.close()
    return open_reader(url)


def both(*, name: str = "a1", from_seq: int = 0, num: int = 20) -> list[Any]:
    records: list[Any] = [described("cam"), described("wrist", name=name, from_seq=from_seq)]
    for seq in range(num):
        records += [block("cam", seq, 1.0), block("wrist", seq, float(seq), offset_hops=10)]
    return records


def values(runs: Any) -> FloatArray:
    found: FloatArray = np.concatenate([run.rows[:, 0] for run in runs])
    return found


def test_streams_whose_clocks_were_known_come_with_their_clocks(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, *both(), clock(10.0))
    history = stored_history(reader, "walk", encoder_set="a1")
    assert set(history.streams) == {"cam/s", "wrist/s"}
    wrist = history.streams["wrist/s"]
    assert wrist.modality == "audio"
    assert len(values(wrist.runs)) == 200
    assert wrist.clock.to_ref(wrist.runs[0].t0_node_ns) == 0
    assert wrist.clock.to_node(RefNs(0)) == NS_PER_S // 2
    assert history.streams["cam/s"].clock.to_ref(NodeNs(77)) == 77
    reader.close()


def test_only_the_present_encoders_embeddings_are_taken(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, *both(from_seq=12), clock(10.0))
    history = stored_history(reader, "walk", encoder_set="a1")
    assert set(values(history.streams["wrist/s"].runs)) == set(range(12, 20))
    reader.close()


@pytest.mark.parametrize(
    ("records", "why"),
    [
        (both(name="b2"), "its encoder is of set b2"),
        (both(), "its clock was not known on the newest timeline"),
        ([*both(), clock(10.0, sigma_s=0.2)], "its clock was never known to 0.05 s"),
    ],
    ids=["set", "clock", "sigma"],
)
def test_what_cannot_be_used_is_left_out_with_the_reason(
    tmp_path: Path, records: list[Any], why: str
) -> None:
    reader = reader_of(tmp_path, *records, clock(10.0, node="cam"))
    history = stored_history(reader, "walk", encoder_set="a1")
    assert history.left_out["wrist/s"] == why
    assert set(history.streams) == {"cam/s"}
    reader.close()


def test_gaps_part_the_runs(tmp_path: Path) -> None:
    records = [each for each in both() if getattr(each, "seq", 0) not in (7, 8)]
    reader = reader_of(tmp_path, *records, clock(10.0))
    history = stored_history(reader, "walk", encoder_set="a1")
    assert [len(run.rows) for run in history.streams["wrist/s"].runs] == [70, 110]
    reader.close()


def test_a_session_that_is_not_there_or_was_never_estimated_is_named(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, *both())
    with pytest.raises(BadConfig, match="no session 'run' in the store; there are: walk"):
        stored_history(reader, "run", encoder_set="a1")
    with pytest.raises(BadConfig, match="no clock of it was ever estimated"):
        stored_history(reader, "walk", encoder_set="a1")
    reader.close()


def write_recording(root: Path) -> Path:
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        with open(root / f"{name}.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["t", "x"])
            writer.writerows([f"{t:.2f}", f"{rng.normal():.3f}"] for t in np.arange(0, 20, 0.02))
    streams = [{"id": n, "node": n, "modality": "metadata", "file": f"{n}.csv"} for n in ("a", "b")]
    manifest = {"format": "coeval-recording/1", "name": "r", "nodes": {"a": {}, "b": {}}}
    (root / "recording.json").write_text(json.dumps(manifest | {"streams": streams}))
    return root


def aligned(*jumps: dict[str, float], status: str = "locked") -> Any:
    told = {"status": status, "offset_s": 0.0, "skew_ppm": 0.0, "ci95_s": 0.01, "jumps": jumps}
    return lambda _: {"reference": "a", "nodes": {"b": told}}


def test_a_recordings_streams_are_embedded_up_to_the_first_step(tmp_path: Path) -> None:
    root = write_recording(tmp_path)
    whole = recorded_history(root, PATHS, align=aligned())
    cut = recorded_history(root, PATHS, align=aligned({"at_s": 12.0, "jump_s": 0.3}))
    lengths = {name: len(values(s.runs)) for name, s in whole.streams.items()}
    assert lengths == {"a/a": 400, "b/b": 400}
    assert {name: len(values(s.runs)) for name, s in cut.streams.items()} == {
        "a/a": 400,
        "b/b": 240,
    }
    assert "coeval align" in whole.what


def test_a_recordings_node_that_did_not_lock_is_left_out(tmp_path: Path) -> None:
    history = recorded_history(write_recording(tmp_path), PATHS, align=aligned(status="unsure"))
    assert set(history.streams) == {"a/a"}
    assert history.left_out == {"b": "coeval align says unsure"}
