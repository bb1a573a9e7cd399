"""CSV files of other programs and subtitles become streams with exact times."""

import sys
import wave

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


def test_subtitles_of_windows_are_read_and_the_guess_is_told(tmp_path):
    path = tmp_path / "film.srt"
    path.write_bytes(SRT.replace("Bye", "À bientôt").encode("cp1252"))
    recording, notes = imported(tmp_path, path)
    (stream,) = recording.manifest.streams
    assert [line.text for line in read_samples(recording, stream)][1] == "À bientôt"
    assert notes == ["film.srt: is no UTF-8; read as Windows-1252"]


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


READINGS = "".join(f"{k / 100:.2f},{k % 7},{k % 5}\n" for k in range(60))
STAMPED_NS = [k * 10_000_000 for k in range(60)]


def columns_of(recording):
    (stream,) = recording.manifest.streams
    times, values, columns = read_metadata(recording, stream)
    return times.tolist(), values, columns


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (f"# device 7\n# on wrist\n\nt,x,y\n{READINGS}", "3 lines before the header left out"),
        (f"Device: seven\nOn: wrist\nt,x,y\n{READINGS}", "2 lines before the header left out"),
        (f"t,x,y\n{READINGS}".encode("utf-16"), None),
        (f"# für\nt,x,y\n{READINGS}".encode("cp1252"), "read as Windows-1252"),
        (f"t,x,y\n{READINGS}".replace("\n", ",\n"), "column 'c3' left out, it is empty"),
        ("t,x,y\n" + READINGS.replace("\n", ",\n"), None),
        (f"t,x,y\n{READINGS}".replace("\n0.00,0,0", "\n0.00,0,0,"), "1 rows left out"),
        (f"t;x;y\n{READINGS}".replace(",", ";").replace(".", ","), None),
        (f"t,x,y\n{READINGS}0.6", "1 rows left out, the first in line 62: 1 fields"),
    ],
    ids=[
        "remarks",
        "preamble",
        "utf16",
        "cp1252",
        "ends",
        "ends of rows",
        "uneven",
        "decimal comma",
        "cut short",
    ],
)
def test_tables_are_read_as_other_programs_write_them(tmp_path, data, note):
    path = tmp_path / "a.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    recording, notes = imported(tmp_path, path)
    times, values, columns = columns_of(recording)
    expected = STAMPED_NS[1:] if note == "1 rows left out" else STAMPED_NS
    assert times == expected or times == STAMPED_NS[:-1]
    assert columns == ("x", "y")
    assert values[:, 0].tolist() == [round(t / 1e7) % 7 for t in times]
    assert note is None or any(note in line for line in notes)


def test_columns_of_one_name_are_all_kept(tmp_path):
    path = written(tmp_path, "a.csv", "t,x,x,x\n1,1,2,3\n2,4,5,6\n")
    recording, notes = imported(tmp_path, path)
    _, values, columns = columns_of(recording)
    assert (columns, values.tolist()) == (("x", "x_2", "x_3"), [[1, 2, 3], [4, 5, 6]])
    assert "a.csv: another column named 'x' is called 'x_2'" in notes


def test_a_few_fields_that_are_no_numbers_are_missing_and_many_are_no_channel(tmp_path):
    rows = [f"{k},{'ERR' if k == 7 else k},{'ERR' if k % 2 else k}" for k in range(40)]
    path = written(tmp_path, "a.csv", "\n".join(["t,x,y", *rows]) + "\n")
    recording, notes = imported(tmp_path, path)
    _, values, columns = columns_of(recording)
    assert columns == ("x",)
    assert [k for k in range(40) if values[k, 0] != values[k, 0]] == [7]
    assert "a.csv: column 'x': 1 of 40 fields are no numbers, as 'ERR'; taken for missing" in notes
    assert "a.csv: column 'y' left out, it is not numeric" in notes


@pytest.mark.parametrize(
    ("header", "rows", "t_ns"),
    [
        ("date,time", ["2023-11-14,22:13:20.5"], [1_700_000_000_500_000_000]),
        ("Datum;Zeit", ["14.11.2023;22:13:20"], [1_700_000_000_000_000_000]),
        ("time", ["2023/11/14 22:13:20"], [1_700_000_000_000_000_000]),
        ("time", ["23:59:59.25", "00:00:01"], [86_399_250_000_000, 86_401_000_000_000]),
    ],
)
def test_dates_and_times_of_day_are_stamps(tmp_path, header, rows, t_ns):
    mark = ";" if ";" in header else ","
    path = written(
        tmp_path, "a.csv", "\n".join([f"{header}{mark}x", *(f"{r}{mark}7" for r in rows)])
    )
    recording, _ = imported(tmp_path, path)
    assert columns_of(recording)[0] == t_ns


def test_a_column_that_stands_still_is_no_time(tmp_path):
    path = written(tmp_path, "a.csv", "date,x\n" + "2023-11-14,1\n" * 5)
    with pytest.raises(BadRecording, match="all 5 rows have the time '2023-11-14', of the column"):
        imported(tmp_path, path)


def test_commas_in_a_last_column_of_text_belong_to_it(tmp_path):
    path = written(tmp_path, "a.csv", "t,text\n1,hello, world\n2,so, it, is\n")
    recording, _ = imported(tmp_path, path)
    (stream,) = recording.manifest.streams
    assert [line.text for line in read_samples(recording, stream)] == ["hello, world", "so, it, is"]


def test_what_cannot_be_imported_of_a_folder_is_left_out_and_said(tmp_path):
    folder = tmp_path / "all"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.csv").write_text("t,x\n1,2\n2,3\n")
    (folder / "b.csv").write_text("t,x\n")
    (folder / "notes.pdf").write_bytes(b"%PDF-1.4\x00")
    (folder / ".hidden").write_text("")
    recording, notes = imported(tmp_path, folder)
    assert list(recording.manifest.nodes) == ["a"]
    assert [note.split(": left out: ")[0] for note in notes] == ["b.csv", "inner", "notes.pdf"]
    assert "b.csv: left out: no rows, only a header" in notes
    with pytest.raises(BadRecording, match="no rows, only a header"):
        import_recording([folder / "a.csv", folder / "b.csv"], tmp_path / "named")


def test_a_sound_without_any_sample_is_refused_when_it_is_imported(tmp_path):
    path = tmp_path / "zero.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
    with pytest.raises(BadRecording, match="does not hold any sound: it was cut short"):
        imported(tmp_path, path)
