"""Logs become lines of text at the times in front of them."""

from pathlib import Path

import pytest

from coeval.errors import BadRecording
from coeval.samples import TextLine
from coeval_edge.importers import import_recording
from coeval_edge.recording_samples import read_samples

TEN_NS = 1_763_978_400_000_000_000
"""2025-11-24 10:00:00 UTC."""


def imported(tmp_path: Path, text: str) -> tuple[list[tuple[int, str]], list[str]]:
    """Times and texts of a log's lines, and what was noted."""
    (tmp_path / "a.log").write_text(text, encoding="utf-8")
    recording, notes = import_recording([tmp_path / "a.log"], tmp_path / "out")
    (stream,) = recording.manifest.streams
    assert stream.modality == "text"
    said = [s for s in read_samples(recording, stream) if isinstance(s, TextLine)]
    return [(int(line.t_node_ns), line.text) for line in said], notes


@pytest.mark.parametrize(
    ("stamps", "t_ns"),
    [
        (("2025-11-24 10:00:00,250", "2025-11-24 10:00:01"), [TEN_NS + 250_000_000, None]),
        (("[2025-11-24T11:00:00+01:00]", "[2025-11-24T11:00:01+01:00]"), [TEN_NS, None]),
        (("24.11.2025 10:00:00 -", "24.11.2025 10:00:01 -"), [TEN_NS, None]),
        (("1763978400:", "1763978401:"), [TEN_NS, None]),
        (("1763978400000", "1763978401000"), [TEN_NS, None]),
        (("[    0.250000]", "[   12.000000]"), [250_000_000, 12_000_000_000]),
        (("23:59:59", "00:00:01"), [86_399_000_000_000, 86_401_000_000_000]),
    ],
)
def test_times_in_front_of_lines_are_read(
    tmp_path: Path, stamps: tuple[str, str], t_ns: list[int | None]
) -> None:
    first, second = t_ns
    lines, _ = imported(tmp_path, f"{stamps[0]} door opens\n{stamps[1]} дверь закрыта\n")
    expected = TEN_NS + 10**9 if second is None else second
    assert lines == [(first, "door opens"), (expected, "дверь закрыта")]


def test_stamps_of_syslog_are_of_a_year_that_is_noted(tmp_path: Path) -> None:
    lines, notes = imported(tmp_path, "Nov 24 10:00:00 host sshd: hello\nNov  4 10:00:01 x: y\n")
    assert [text for _, text in lines] == ["x: y", "host sshd: hello"]
    assert lines[1][0] - lines[0][0] == (20 * 86_400 - 1) * 10**9
    assert "a.log: no year in its stamps; taken for 2000" in notes


def test_what_follows_without_a_time_belongs_to_the_line_before(tmp_path: Path) -> None:
    text = "begin of file\n1.0 failed:\n  at line 3\n2.0 again\n3.0 and again\n"
    lines, notes = imported(tmp_path, text)
    assert lines[0] == (10**9, "failed: at line 3")
    assert "a.log: 1 lines before the first time left out" in notes


@pytest.mark.parametrize("text", ["hello\nthere\n", "", "\n\n", "1.0 a\nb\nc\n"])
def test_lines_without_times_are_refused_with_what_is_expected(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadRecording, match=r"expected (a time in front|lines with their times)"):
        imported(tmp_path, text)
