"""What is exported is what was stored, in its place, and other programs read it."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from coeval.cli import run
from coeval.errors import BadConfig
from coeval.hops import HOP_NS
from coeval.time import NS_PER_S
from coeval_aggregator.export import jsonl, mcap, parquet, recording
from coeval_aggregator.export.content import Content
from coeval_edge.evidence_tables import read_time_samples
from coeval_edge.recording import open_recording
from coeval_edge.recording_samples import read_samples

NUM = 400
"""Embeddings of each stream."""


def test_parquet_opens_in_pandas_and_says_its_units(content: Content, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    import pyarrow.parquet as pq

    (tmp_path / "out").mkdir()
    parquet.write(content, tmp_path / "out")
    frame = pandas.read_parquet(tmp_path / "out/embeddings.parquet")
    cam = frame[frame.node == "cam"]
    wrist = frame[frame.node == "wrist"]
    assert (cam.t_ref_ns == np.arange(NUM) * HOP_NS).all()
    assert [row[0] for row in cam.embedding] == list(range(NUM))
    shift_ns = wrist.t_node_ns.to_numpy() - wrist.t_ref_ns.to_numpy()
    assert np.abs(shift_ns - 5 * NS_PER_S).max() < 5_000
    assert frame[frame.node == "roof"].t_ref_ns.isna().all()
    schema = pq.read_schema(tmp_path / "out/embeddings.parquet")
    assert schema.field("t_ref_ns").metadata[b"unit"] == b"ns"
    assert schema.metadata[b"coeval.session"] == b"s"


def test_parquet_opens_in_duckdb(content: Content, tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    (tmp_path / "out").mkdir()
    parquet.write(content, tmp_path / "out")
    with duckdb.connect() as connection:
        counted = connection.sql(
            f"SELECT node, count(*), sum(embedding[1]) FROM '{tmp_path}/out/embeddings.parquet' "
            "GROUP BY node ORDER BY node"
        ).fetchall()
        clocks = connection.sql(f"SELECT offset_ns FROM '{tmp_path}/out/clocks.parquet'").fetchall()
    total = sum(range(NUM))
    assert counted == [(node, NUM, total) for node in ("cam", "roof", "wrist")]
    assert clocks == [(5e9,)] * 3


def test_mcap_is_read_by_its_library_with_schemas_and_clock_quality(
    content: Content, tmp_path: Path
) -> None:
    from mcap.reader import make_reader

    mcap.write(content, tmp_path / "s.mcap")
    with (tmp_path / "s.mcap").open("rb") as file:
        messages = list(make_reader(file).iter_messages())
    by_topic: dict[str, list[Any]] = {}
    for schema, channel, message in messages:
        assert schema.encoding == "jsonschema"
        value = json.loads(message.data)
        assert set(value) <= set(json.loads(schema.data)["properties"]) | OPEN_TOPICS[channel.topic]
        by_topic.setdefault(channel.topic, []).append((message.log_time, value))
    assert {topic: len(found) for topic, found in by_topic.items()} == {
        "/cam/mic": NUM,
        "/wrist/mic": NUM,
        "/clock/wrist": 3,
        "/tick": 1,
        "/event": 1,
    }
    assert by_topic["/clock/wrist"][0][1]["ci95_s"] == pytest.approx(1.96e-3, rel=1e-3)
    times = [log_time for log_time, _ in by_topic["/cam/mic"]]
    assert (np.diff(times) == HOP_NS).all()


OPEN_TOPICS: dict[str, set[str]] = {
    "/cam/mic": set(),
    "/wrist/mic": set(),
    "/clock/wrist": set(),
    "/tick": set(),
    "/event": {"number", "told_utc_ns", "timeline"},
}


def test_json_lines_come_in_the_order_of_the_timeline(content: Content) -> None:
    file = io.StringIO()
    jsonl.write(content, file)
    session, *lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert session["session"] == "s"
    times = [line["t_ref_ns"] for line in lines if "topic" in line]
    assert times == sorted(times)
    assert len(times) == 2 * NUM + 3 + 2


def test_a_stretch_is_cut_on_the_timeline_and_leaves_unknown_clocks_out(content: Content) -> None:
    part = replace(content, from_ns=NS_PER_S, to_ns=2 * NS_PER_S)
    file = io.StringIO()
    jsonl.write(part, file)
    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    topics = [line["topic"] for line in lines if "topic" in line]
    assert topics.count("/cam/mic") == 20
    assert topics.count("/wrist/mic") in (19, 20, 21)
    assert topics.count("/tick") == 1
    assert "roof/mic" not in {line.get("stream") for line in lines}


def test_a_recording_is_read_by_the_node_with_its_evidence(
    content: Content, tmp_path: Path
) -> None:
    (tmp_path / "rec").mkdir()
    recording.write(content, tmp_path / "rec")
    opened = open_recording(tmp_path / "rec")
    assert list(opened.manifest.nodes) == ["cam", "roof", "wrist"]
    stream = opened.manifest.stream("wrist-mic")
    assert stream.extra["embedding"]["modality"] == "audio"
    blocks = list(read_samples(opened, stream))
    assert sum(len(block.values) for block in blocks) == NUM
    assert int(blocks[0].t_node_ns[1]) == HOP_NS
    samples = read_time_samples(opened, "cam")
    assert {kind: len(found) for kind, found in samples.items()} == {
        "pps": 1,
        "exchange": 1,
        "edges": 1,
    }
    assert samples["pps"][0].t_node_ns == 1_000_000_001
    assert samples["edges"][0].t_node_ns == -5


def test_two_runs_of_a_node_become_two_nodes(url: str, content: Content, tmp_path: Path) -> None:
    from coeval_aggregator.store.opening import open_store

    from ..store.making import block, kept

    store = open_store(url)
    store.write([kept(block(0, boot_id=2), utc_ns=1_800_000_000 * NS_PER_S)])
    store.close()
    (tmp_path / "rec").mkdir()
    recording.write(content, tmp_path / "rec")
    nodes = list(open_recording(tmp_path / "rec").manifest.nodes)
    assert nodes == ["cam", "cam~2", "roof", "wrist"]


def test_progress_goes_from_nothing_to_all(content: Content) -> None:
    shares: list[float] = []
    jsonl.write(replace(content, progress=shares.append), io.StringIO())
    assert shares
    assert 0.9 < max(shares) <= 1.1


@pytest.mark.parametrize("name", ["mcap", "parquet", "json", "recording"])
def test_the_command_writes_every_format_and_never_over_another_file(
    url: str, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "out"
    arguments = ["export", "s", "--format", name, "--store", url, "--out", str(out)]
    with pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code in (None, 0)
    assert out.exists()
    with pytest.raises(BadConfig, match="is there already"):
        run(arguments)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["nobody"], "no session 'nobody' in the store; there are: s"),
        (["s", "--timeline", "99"], "no timeline 99; there are: 1"),
        (["s", "--from", "5", "--to", "5"], "--from must lie before --to, got 5 and 5"),
        (["s", "--store", "sqlite:///nowhere.db"], r"nowhere\.db: no such file"),
        (["s", "--store", "none"], "nothing is kept there"),
    ],
)
def test_a_wrong_question_is_answered_by_name(url: str, more: list[str], said: str) -> None:
    store = [] if "--store" in more else ["--store", url]
    with pytest.raises(BadConfig, match=said):
        run(["export", *more, *store, "--out", "never"])


def test_folders_on_the_way_are_made_or_named(url: str, tmp_path: Path) -> None:
    arguments = ["export", "s", "--store", url, "--out"]
    with pytest.raises(SystemExit) as ended:
        run([*arguments, str(tmp_path / "new" / "a.mcap")])
    assert ended.value.code in (None, 0)
    (tmp_path / "file").touch()
    with pytest.raises(
        BadConfig, match=r"--out .*: cannot be made: .*file is a file; choose another"
    ):
        run([*arguments, str(tmp_path / "file" / "a.mcap")])


def test_json_goes_to_the_standard_output_where_asked(url: str) -> None:
    command = [sys.executable, "-m", "coeval", "export", "s", "--format", "json"]
    code = "import sys; from coeval.cli import main; sys.argv[0] = 'coeval'; main()"
    command = [sys.executable, "-c", code, *command[3:], "--store", url, "--out", "-"]
    said = subprocess.run(command, capture_output=True, check=True, text=True)
    assert json.loads(said.stdout.splitlines()[0])["session"] == "s"
