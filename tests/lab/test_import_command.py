"""A recording in a store is what its nodes would have sent, with the clocks that it tells."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from coeval.cli import run
from coeval.errors import BadConfig, BadRecording
from coeval.hops import EMBEDDING_DIM, HOP_NS
from coeval.time import NS_PER_S
from coeval_aggregator.export import recording as exported
from coeval_aggregator.export.content import Content
from coeval_aggregator.store.alignment import align_rows
from coeval_aggregator.store.opening import open_reader
from coeval_aggregator.store.reading import Reader

OFFSET_S = 3.0
LENGTH_S = 60


def write_recording(folder: Path, *, evidence: bool = True) -> Path:
    """Embeddings of two nodes, one of which is 3 s fast; both saw the same pulses of UTC."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(LENGTH_S * NS_PER_S // HOP_NS, EMBEDDING_DIM))
    nodes: dict[str, dict[str, object]] = {}
    for node, offset_s in (("cam", 0.0), ("wrist", OFFSET_S)):
        with (folder / f"{node}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["t", *(f"e{k}" for k in range(EMBEDDING_DIM))])
            for k, row in enumerate(rows):
                writer.writerow([f"{offset_s + k * HOP_NS / NS_PER_S:.2f}", *row.round(3)])
        with (folder / f"pps-{node}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["t_node", "t_ref", "sigma_s"])
            writer.writerows([f"{k + offset_s}", k, 1e-6] for k in range(LENGTH_S))
        nodes[node] = {"evidence": {"pps": f"pps-{node}.csv"}} if evidence else {}
    made_of = {"stream": "mic", "modality": "audio", "descriptor": {"modality": "audio"}}
    streams = [
        {
            "id": f"{node}-mic",
            "node": node,
            "modality": "metadata",
            "file": f"{node}.csv",
            "embedding": made_of,
        }
        for node in nodes
    ]
    manifest = {"format": "coeval-recording/1", "name": "walk", "nodes": nodes, "streams": streams}
    (folder / "recording.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def imported(tmp_path: Path, rec: Path, *more: str) -> Reader:
    url = f"sqlite:///{tmp_path}/store.db"
    with pytest.raises(SystemExit) as ended:
        run(["import", str(rec), "--store", url, *more])
    assert ended.value.code in (None, 0)
    return open_reader(url)


def content_of(reader: Reader) -> Content:
    (session,) = reader.sessions()
    return Content(reader=reader, session=session, timeline=reader.timelines(session)[-1])


def test_streams_lie_on_the_timeline_that_their_evidence_tells(tmp_path: Path) -> None:
    reader = imported(tmp_path, write_recording(tmp_path / "rec"))
    content = content_of(reader)
    assert content.session.name == "walk"
    assert content.timeline is not None
    t_ref_ns = np.arange(1, 50) * NS_PER_S + HOP_NS // 2
    rows = align_rows(reader, content.session, content.timeline, t_ref_ns=t_ref_ns)
    assert set(rows) == {"cam/mic", "wrist/mic"}
    assert all(each.is_there.all() for each in rows.values())
    assert np.allclose(rows["cam/mic"].rows, rows["wrist/mic"].rows)
    assert rows["wrist/mic"].modality == "audio"
    assert 0 < (rows["wrist/mic"].ci95_s or 0) < 0.01
    reader.close()


def test_importing_again_changes_nothing(tmp_path: Path) -> None:
    rec = write_recording(tmp_path / "rec")
    first = imported(tmp_path, rec)
    before = [
        len(page.hops) for run in content_of(first).runs() for page in first.all_embeddings(run)
    ]
    first.close()
    again = imported(tmp_path, rec)
    assert len(again.timelines(again.sessions()[0])) == 1
    after = [
        len(page.hops) for run in content_of(again).runs() for page in again.all_embeddings(run)
    ]
    assert before == after
    again.close()


def test_what_was_exported_comes_back_the_same(tmp_path: Path) -> None:
    reader = imported(tmp_path, write_recording(tmp_path / "rec"))
    content = content_of(reader)
    (tmp_path / "out").mkdir()
    exported.write(content, tmp_path / "out")
    (tmp_path / "second").mkdir()
    again = imported(tmp_path / "second", tmp_path / "out")
    for one, two in zip(content.runs(), content_of(again).runs(), strict=True):
        assert (one.node, one.stream, one.modality) == (two.node, two.stream, two.modality)
        rows = [
            np.concatenate([p.rows for p in r.all_embeddings(run)])
            for r, run in ((reader, one), (again, two))
        ]
        assert np.array_equal(*rows)
    assert len(list(content_of(again).clocks())) == 2
    for each in (reader, again):
        each.close()


def test_a_recording_of_one_node_has_its_own_timeline(tmp_path: Path) -> None:
    rec = write_recording(tmp_path / "rec", evidence=False)
    path = rec / "recording.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["streams"] = manifest["streams"][:1]
    del manifest["nodes"]["wrist"]
    path.write_text(json.dumps(manifest), encoding="utf-8")
    reader = imported(tmp_path, rec, "--session", "alone")
    content = content_of(reader)
    assert (content.session.name, content.timeline and content.timeline.reference) == (
        "alone",
        "cam",
    )
    reader.close()


def test_mistakes_are_named(tmp_path: Path) -> None:
    rec = write_recording(tmp_path / "rec")
    store = ["--store", f"sqlite:///{tmp_path}/store.db"]
    with pytest.raises(BadConfig, match="'roof' is no node of this recording; it has cam, wrist"):
        run(["import", str(rec), "--reference", "roof", *store])
    with pytest.raises(BadConfig, match="session must be"):
        run(["import", str(rec), "--session", "a/b", *store])
    path = rec / "recording.json"
    text = path.read_text(encoding="utf-8").replace('"modality": "audio"', '"modality": "smell"')
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadRecording, match=r"embedding\.modality must be one of .*, got 'smell'"):
        run(["import", str(rec), *store])
