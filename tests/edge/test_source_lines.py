"""Sources that print lines: files that grow and rotate, a serial port, and what their times are."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coeval.errors import BadConfig
from coeval.samples import MetadataBlock, TextLine
from coeval.time import NodeNs
from coeval_edge.live import LiveStreams, SourcesConfig
from coeval_edge.replay import Reading
from coeval_edge.sources.errors import SourceAbsent, SourceLost, SourceUnfit
from coeval_edge.sources.file_tail import FileTail, FileTailConfig
from coeval_edge.sources.lines import LONGEST_LINE, LineParser, LineSplitter
from coeval_edge.sources.serial_port import SerialConfig, SerialPort

from .terminal import arrive


class SteppingClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_ns = 1_000_000_000

    def __call__(self) -> NodeNs:
        self.now_ns += 1000
        return NodeNs(self.now_ns)


@given(
    lines=st.lists(st.text("abc å0", max_size=12), max_size=8),
    cuts=st.lists(st.integers(0, 60), max_size=6),
)
def test_lines_are_the_same_however_the_bytes_come(lines: list[str], cuts: list[int]) -> None:
    data = "".join(f"{line}\n" for line in lines).encode()
    splitter, found = LineSplitter(), []
    edges = sorted({0, *(min(cut, len(data)) for cut in cuts), len(data)})
    for low, high in zip(edges, edges[1:], strict=False):  # noqa: RUF007
        found += [line for line, _ in splitter.push(data[low:high])]
    assert found == lines


def test_an_endless_line_is_cut_and_not_kept() -> None:
    splitter = LineSplitter()
    lines = splitter.push(b"x" * (2 * LONGEST_LINE + 5))
    assert [len(line) for line, _ in lines] == [LONGEST_LINE, LONGEST_LINE]


def test_every_number_of_a_line_is_a_channel() -> None:
    parser = LineParser("metadata")
    (sample,) = parser.parse("ax=-1.5, ay: 2e-3; n7 T=.25", 100)
    assert isinstance(sample, MetadataBlock)
    assert sample.values.tolist() == [[-1.5, 2e-3, 0.25]]
    for line, t_ns in (("1 2", 200), ("no numbers", 300), ("1 2 3", 100), ("   ", 400)):
        assert parser.parse(line, t_ns) == []
    assert parser.counts == {
        "used": 1,
        "other_count": 1,
        "no_numbers": 1,
        "backwards": 1,
        "empty": 1,
    }


def test_lines_appended_to_a_file_are_read_from_its_end_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("old\n")
    clock = SteppingClock()
    tail = FileTail(FileTailConfig(path=path, poll_s=0.01, modality="text"), clock_ns=clock)
    assert tail.read(0.0) == []
    with path.open("a") as file:
        file.write("door opened\nhalf a li")
    (line,) = tail.read(0.0)
    assert isinstance(line, TextLine)
    assert line.text == "door opened"
    # Read somewhere within the 10 ms since it was written: half of that on average.
    assert clock.now_ns - line.t_node_ns == 5_000_000
    with path.open("a") as file:
        file.write("ne\n")
    assert [s.text for s in tail.read(0.0) if isinstance(s, TextLine)] == ["half a line"]
    tail.close()


def test_a_rotated_and_a_truncated_file_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("")
    tail = FileTail(FileTailConfig(path=path, poll_s=0.001, modality="text"))
    path.rename(tmp_path / "log.1")
    path.write_text("new file\n")
    texts = [s.text for _ in range(3) for s in tail.read(0.0) if isinstance(s, TextLine)]
    assert texts == ["new file"]
    path.write_text("cut\n")
    texts = [s.text for _ in range(3) for s in tail.read(0.0) if isinstance(s, TextLine)]
    assert texts == ["cut"]
    tail.close()


def test_a_file_that_comes_later_is_read_from_its_begin(tmp_path: Path) -> None:
    path = tmp_path / "log"
    tail = FileTail(FileTailConfig(path=path, modality="text"))
    assert tail.read(0.0) == []
    path.write_text("first\n")
    assert [s.text for s in tail.read(0.0) if isinstance(s, TextLine)] == ["first"]
    tail.close()


def test_arrival_is_named_as_the_last_resort_it_is(tmp_path: Path) -> None:
    tail = FileTail(FileTailConfig(path=tmp_path / "log", poll_s=0.02))
    told = tail.timing.describe()
    assert told["origin"] == "arrival"
    assert told["latency_s"] == pytest.approx(0.01)
    assert told["sigma_s"] == pytest.approx(0.02 / 12**0.5)


@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    """A pair of connected terminals: the device's end, and the port's name."""
    device, port = os.openpty()
    yield device, os.ttyname(port)
    for end in (device, port):
        try:
            os.close(end)
        except OSError:
            continue


def test_a_serial_line_is_as_old_as_its_bytes_on_the_wire(pty: tuple[int, str]) -> None:
    device, name = pty
    clock = SteppingClock()
    port = SerialPort(SerialConfig(port=name, baud=9600, modality="metadata"), clock_ns=clock)
    os.write(device, b"1.0 2.0\r\n3.0 4.0\r\n")
    samples = []
    while len(samples) < 2:
        samples += port.read(1.0)
    first, second = samples[-2:]
    assert isinstance(first, MetadataBlock)
    assert isinstance(second, MetadataBlock)
    assert np.concatenate([first.values, second.values]).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    # Nine bytes came after the first line's end: 10 bits each at 9600 baud.
    assert int(second.t_node_ns[0] - first.t_node_ns[0]) == pytest.approx(
        9 * 10 / 9600 * 1e9, abs=3
    )
    port.close()


def test_what_is_no_text_at_this_speed_is_named(pty: tuple[int, str]) -> None:
    device, name = pty
    side = os.open(name, os.O_RDWR | os.O_NOCTTY)
    port = SerialPort(SerialConfig(port=name, baud=9600, modality="text"))
    for text in ("21,5 °C draußen\n" * 60, "naïve café\n" * 80):  # a text of other languages
        arrive(device, side, text.encode("latin-1"))
        assert port.read(1.0)
    arrive(device, side, b"\xfe\x80\x9c\x00\x80" * 130)
    with pytest.raises(SourceUnfit, match=f"{name}: what comes is no text at 9600 baud: set baud"):
        port.read(1.0)
    port.close()
    os.close(side)


def test_a_port_that_is_not_there_and_one_that_is_lost_are_named(pty: tuple[int, str]) -> None:
    with pytest.raises(SourceAbsent, match="coeval doctor"):
        SerialPort(SerialConfig(port="/dev/ttyNOTHING"))
    device, name = pty
    port = SerialPort(SerialConfig(port=name))
    os.close(device)
    with pytest.raises(SourceLost, match="still plugged in"):
        port.read(0.05)
    port.close()


def test_a_lost_source_is_closed_and_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coeval_edge.live.REOPEN_S", 0.01)
    path = tmp_path / "log"
    path.write_text("")
    tail = FileTailConfig(path=path, modality="text")
    live = LiveStreams(SourcesConfig(file={"door": tail}), "cam")
    (stream,) = live._streams
    failures = iter([SourceLost("gone"), SourceLost("still gone")])

    def lost(_timeout_s: float) -> list[TextLine]:
        raise next(failures)

    monkeypatch.setattr(stream.source, "read", lost)
    stop, found = threading.Event(), []

    def put(reading: object) -> bool:
        found.append(reading)
        stop.set()
        return True

    opens = FileTail.__init__

    def opens_and_is_back(tail: FileTail, config: FileTailConfig) -> None:
        opens(tail, config)
        path.write_text("back\n")

    monkeypatch.setattr(FileTail, "__init__", opens_and_is_back)
    live._follow(stream, put, stop)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("line", "modality", "values"),
    [
        ("door {} opened", "text", None),
        ("{}.5 9.81", "metadata", [[0.5, 9.81]]),
        ("state {} of machine {}", "text", None),
        ('{{"T": {}.5, "H": 40}}', "metadata", [[0.5, 40.0]]),
    ],
)
def test_lines_that_nobody_labelled_are_kept_until_they_tell(
    line: str, modality: str, values: list[list[float]] | None
) -> None:
    parser = LineParser(None)
    assert parser.parse(line.format(0, 0), 10) == []
    assert parser.modality is None
    samples = [s for k in range(1, 60) for s in parser.parse(line.format(k, k), 10 + k)]
    assert (parser.modality, len(samples)) == (modality, 60)
    first = samples[0]
    if isinstance(first, MetadataBlock):
        assert first.values.tolist() == values
        assert first.t_node_ns.tolist() == [10]
    else:
        assert isinstance(first, TextLine)
        assert (first.text, first.t_node_ns) == (line.format(0, 0), 10)


def test_a_quiet_source_is_known_seconds_after_its_first_line() -> None:
    parser = LineParser(None)
    parser.parse("door opened", 0)
    assert parser.settle(4 * 10**9) == []
    (line,) = parser.settle(5 * 10**9)
    assert isinstance(line, TextLine)
    assert parser.recognition is not None
    assert parser.recognition.modality == "text"


def test_a_stream_that_is_recognised_is_told_and_opened_again_as_what_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log"
    path.write_text("")
    live = LiveStreams(SourcesConfig(file={"wrist": FileTailConfig(path=path)}), "n")
    assert (live.names, live.streams) == (["wrist"], [])
    path.write_text("".join(f"{k / 7:.3f} {9.8 + k % 3 / 50} 0.1\n" for k in range(80)))
    stop, found = threading.Event(), []

    def put(reading: Reading) -> bool:
        found.append(reading)
        return len(found) < 50

    with caplog.at_level("INFO"):
        live._follow(live._streams[0], put, stop)
    assert {reading.stream.modality for reading in found} == {"metadata"}
    assert "stream recognised node=n stream=wrist modality=metadata" in caplog.text
    _, recognition = live.met("wrist")
    assert recognition is not None
    live.close()


def test_a_stream_named_twice_is_refused(tmp_path: Path) -> None:
    tail = FileTailConfig(path=tmp_path / "log")
    with pytest.raises(BadConfig, match="two streams are called 'x'"):
        SourcesConfig(file={"x": tail}, serial={"x": SerialConfig(port="/dev/null")})
