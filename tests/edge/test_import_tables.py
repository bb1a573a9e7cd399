"""CSV files of other programs and subtitles become streams with exact times."""

import sys

import pytest

from coeval.errors import BadRecording, CoevalError
from coeval_edge.importers import import_recording
from coeval_edge.recording_samples import read_metadata, read_samples


def written(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def imported(tmp_path, *files, **options):
    recording, notes = import_recording(list(files), tmp_path / "out", **options)
    return recording, notes


@pytest.mark.parametrize(
    ("header", "stamp", "t_ns"),
    [
        ("t", "1.25", 1_250_000_000),
        ("timestamp [ns]", "1700000000123456789", 1_700_000_000_123_456_789),
        ("time_ms", "1500.5", 1_500_500_000),
        ("Time (us)", "1500", 1_500_000),
        ("timestamp", "1700000000.123456789", 1_700_000_000_123_456_789),
        ("timestamp", "1700000000123", 1_700_000_000_123_000_000),
        ("epoch", "1700000000123456", 1_700_000_000_123_456_000),
        ("time", "2023-11-14T22:13:20.5Z", 1_700_000_000_500_000_000),
        ("time", "2023-11-14 23:13:20+01:00", 1_700_000_000_000_000_000),
    ],
)
def test_the_unit_of_time_is_found(tmp_path, header, stamp, t_ns):
    path = written(tmp_path, "a.csv", f"x,{header}\n7,{stamp}\n")
    recording, _ = imported(tmp_path, path)
    times, values, columns = read_metadata(recording, recording.manifest.streams[0])
    assert times.tolist() == [t_ns]
    assert values.tolist() == [[7.0]]
    assert columns == ("x",)


def test_a_file_without_header_and_suffix_is_imported_and_every_guess_is_noted(tmp_path):
    rows = [f"{k / 100:.2f},0.{k % 7},9.8{k % 9},0.1{k % 5},{k % 3}" for k in range(300)]
    path = written(tmp_path, "unknown", "\n".join(rows) + "\n")
    recording, notes = imported(tmp_path, path)
    (stream,) = recording.manifest.streams
    times, _, columns = read_metadata(recording, stream)
    assert (len(times), columns) == (300, ("c1", "c2", "c3", "c4"))
    assert stream.units == {"c1": "m/s^2", "c2": "m/s^2", "c3": "m/s^2"}
    assert notes[0] == "unknown: column 'c0' taken for the time in s, by its values"
    assert notes[1].startswith("unknown: c1, c2, c3 taken for accelerometer in m/s^2: its length")


def test_text_and_numbers_in_one_file_become_two_streams_of_one_node(tmp_path):
    path = written(tmp_path, "log.csv", "t;event;level;note\n2;b;1;x\n1;a;true;y\n")
    recording, notes = imported(tmp_path, path)
    text, numbers = recording.manifest.streams
    assert [line.text for line in read_samples(recording, text)] == ["a", "b"]
    assert read_metadata(recording, numbers)[1].tolist() == [[1.0], [1.0]]
    assert text.node == numbers.node == "log"
    assert notes == [
        "log.csv: column 'note' left out, it is not numeric",
        "log: time went back 1 times; sorted",
    ]


def test_rows_of_one_time_and_infinite_readings_are_noted(tmp_path):
    path = written(tmp_path, "a.csv", "t,x\n1,1\n1,2\n2,inf\n3,3\n")
    recording, notes = imported(tmp_path, path)
    times, values, _ = read_metadata(recording, recording.manifest.streams[0])
    assert len(times) == 3
    assert values[0, 0] == 1.0
    assert "1 rows repeat a time" in notes[0]
    assert "1 infinite readings" in notes[1]


def test_several_files_are_several_nodes(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    written(folder, "left hand.csv", "t,x\n1,1\n")
    written(folder, "right.csv", "t,x\n1,1\n")
    written(folder, "readme.md", "no data")
    recording, _ = imported(tmp_path, folder)
    assert list(recording.manifest.nodes) == ["left_hand", "right"]
    assert [stream.id for stream in recording.manifest.streams] == ["left_hand", "right"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a,b\n1,2\n", "no column of time among a, b"),
        ("t,x\n1,2\n2\n", "line 3: 1 fields"),
        ("t,x\nsoon,2\n", "line 2: time 'soon' cannot be read"),
        ("t,x\n1,2\nnan,2\n", "line 3: time 'nan' cannot be read"),
        ("t,x\n123456789012,2\n", "unit of column 't' is unclear"),
        ("t,x\n", "no rows"),
        ("t,x\n1,a\n", "nothing in it can be imported; .*column 'x' left out"),
        ("", "the file is empty"),
    ],
)
def test_a_table_that_is_none_is_refused_and_leaves_nothing(tmp_path, text, says):
    path = written(tmp_path, "a.csv", text)
    with pytest.raises(BadRecording, match=says):
        imported(tmp_path, path)
    assert [item.name for item in tmp_path.iterdir()] == ["a.csv"]


SRT = (
    "1\n00:00:01,500 --> 00:00:02,750\nHello\nthere\n\n"
    "2\n00:01:00,000 --> 00:01:01,000\n<i>Bye</i>\n"
)
VTT = "WEBVTT\n\n00:01.500 --> 00:02.750\nHello\nthere\n\n00:01:00.000 --> 00:01:01.000\nBye\n"


@pytest.mark.parametrize(("name", "text"), [("film.srt", SRT), ("film.vtt", VTT)])
def test_subtitles_become_lines_with_begin_and_end(tmp_path, name, text):
    recording, notes = imported(tmp_path, written(tmp_path, name, text))
    (stream,) = recording.manifest.streams
    lines = [
        (line.t_node_ns, line.t_end_node_ns, line.text) for line in read_samples(recording, stream)
    ]
    assert lines == [
        (1_500_000_000, 2_750_000_000, "Hello there"),
        (60_000_000_000, 61_000_000_000, "Bye"),
    ]
    assert notes == []


def test_subtitles_that_are_none_are_refused(tmp_path):
    with pytest.raises(BadRecording, match=r"film\.srt"):
        imported(tmp_path, written(tmp_path, "film.srt", "no subtitles here"))


def test_a_suffix_that_nobody_knows_is_refused_with_what_to_do(tmp_path):
    with pytest.raises(BadRecording, match=r"suffix '\.bin' .*--format"):
        imported(tmp_path, written(tmp_path, "a.bin", "x"))


def test_a_missing_library_answers_with_the_line_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pysubs2", None)
    monkeypatch.delitem(sys.modules, "coeval_edge.importers.subtitles", raising=False)
    with pytest.raises(CoevalError, match=r"'pysubs2'.*pip install 'coeval\[import\]'"):
        imported(tmp_path, written(tmp_path, "film.srt", SRT))
