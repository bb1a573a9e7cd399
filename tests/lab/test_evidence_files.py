"""Evidence files of a recording: exact times in, lines between clocks out, bad rows named."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from coeval.errors import BadRecording
from coeval.evidence import SERVER, UTC
from coeval_edge.recording import Recording, open_recording
from coeval_lab.evidence_files import evidence_of

S = 1_000_000_000
EPOCH_S = 1_700_000_000


class Maker:
    """Writes recordings whose nodes carry evidence files."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self, evidence: Mapping[str, Mapping[str, str | bytes]]) -> Recording:
        """A recording of one text stream; `evidence` is the files' content by node and kind."""
        nodes: dict[str, dict[str, object]] = {}
        for node, files in evidence.items():
            for kind, content in files.items():
                data = content.encode() if isinstance(content, str) else content
                (self.root / f"{node}_{kind}.csv").write_bytes(data)
            nodes[node] = {"evidence": {kind: f"{node}_{kind}.csv" for kind in files}}
        (self.root / "log.csv").write_text("t,text\n1.0,begin\n")
        manifest = {
            "format": "coeval-recording/1",
            "name": "made",
            "nodes": nodes,
            "streams": [
                {"id": "log", "node": next(iter(nodes)), "modality": "text", "file": "log.csv"}
            ],
        }
        (self.root / "recording.json").write_text(json.dumps(manifest))
        return open_recording(self.root)


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def pps(offset_s: float, *, skew_ppm: float = 0.0, num: int = 60, sigma_s: str = "1e-6") -> str:
    rows = [f"{k + offset_s + skew_ppm * 1e-6 * k:.9f},{EPOCH_S + k},{sigma_s}" for k in range(num)]
    return "\n".join(["t_node,t_ref,sigma_s", *rows]) + "\n"


def exchange(offset_s: float, *, num: int = 80, delay_s: float = 0.002) -> str:
    rows = [
        f"{t + offset_s:.9f},{t + delay_s:.9f},{t + delay_s:.9f},{t + offset_s + 2 * delay_s:.9f}"
        for t in np.arange(num) * 0.5
    ]
    return "\n".join(["t1,t2,t3,t4", *rows]) + "\n"


def edges(offset_s: float, line: str = "trigger", *, seed: int = 5, num: int = 30) -> str:
    times = np.cumsum(np.random.default_rng(seed).uniform(0.3, 1.7, num))
    return "\n".join(["t,line", *(f"{t + offset_s:.9f},{line}" for t in times)]) + "\n"


def test_pps_gives_a_line_against_utc_however_far_the_epoch(maker: Maker) -> None:
    (line,) = evidence_of(
        maker.open({"cam": {"pps": pps(3.25, skew_ppm=41.0)}}), method="hardware"
    ).lines
    assert (line.first, line.second, line.kind) == (UTC, "cam", "hardware")
    true_at_middle_ns = (3.25 - EPOCH_S) * S + 41e-6 * 29.5 * S
    assert line.lag_ns == pytest.approx(true_at_middle_ns, abs=512)  # floats at 1.7e18: 256 ns
    assert line.t_second_ns == pytest.approx((29.5 + 3.25) * S, abs=0.01 * S)
    assert line.skew_ppm == pytest.approx(41.0, abs=0.01)


def test_the_stated_sigma_of_pps_is_the_weight_of_its_line(maker: Maker) -> None:
    evidence = {
        "fine": {"pps": pps(0.0, sigma_s="1e-6")},
        "coarse": {"pps": pps(0.0, sigma_s="1e-3")},
    }
    fine, coarse = evidence_of(maker.open(evidence), method="joint").lines
    spreads_ns = [float(np.sqrt(line.covariance[0, 0])) for line in (fine, coarse)]
    assert spreads_ns == pytest.approx([1e3 / np.sqrt(60), 1e6 / np.sqrt(60)], rel=0.05)


def test_an_exchange_gives_a_line_against_the_server_no_finer_than_its_delay(maker: Maker) -> None:
    (line,) = evidence_of(maker.open({"cam": {"exchange": exchange(-2.5)}}), method="network").lines
    assert (line.first, line.second, line.kind) == (SERVER, "cam", "network")
    assert line.lag_ns == pytest.approx(-2.5 * S, abs=10)
    assert np.sqrt(line.covariance[0, 0]) >= 0.004 * S / 4


def test_a_shared_edge_gives_a_line_for_every_pair_of_nodes_on_that_line(maker: Maker) -> None:
    evidence = {
        "a": {"edges": edges(0.0) + edges(0.0, "flash", seed=6).split("\n", 1)[1]},
        "b": {"edges": edges(2.0)},
        "c": {"edges": edges(5.5) + edges(5.5, "flash", seed=6).split("\n", 1)[1]},
        "d": {"edges": edges(9.0, "nobody else's")},
    }
    lines = evidence_of(maker.open(evidence), method="hardware").lines
    offsets_s = sorted((line.first, line.second, round(line.lag_ns / S, 6)) for line in lines)
    assert offsets_s == [
        ("a", "b", 2.0),
        ("a", "c", 5.5),
        ("a", "c", 5.5),
        ("b", "c", 3.5),
    ]


def test_each_method_reads_only_the_files_it_listens_to(maker: Maker) -> None:
    recording = maker.open(
        {
            "cam": {"pps": pps(0.0), "exchange": exchange(0.0), "edges": edges(0.0)},
            "wrist": {"edges": edges(1.0)},
        }
    )

    def kinds(method: str) -> list[tuple[str, str]]:
        return [(line.kind, line.first) for line in evidence_of(recording, method=method).lines]

    assert kinds("hardware") == [("hardware", UTC), ("hardware", "cam")]
    assert kinds("network") == [("network", SERVER)]
    assert kinds("content") == []
    assert kinds("joint") == kinds("hardware") + kinds("network")
    (maker.root / "cam_exchange.csv").write_text("broken")
    assert kinds("hardware") == [("hardware", UTC), ("hardware", "cam")]


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        (
            {"cam": {"pps": pps(0.0, num=2)}},
            "pps evidence left out node=cam reason=2 edges",
        ),
        ({"cam": {"pps": "t_node,t_ref,sigma_s\n"}}, "reason=0 edges"),
        (
            {"cam": {"exchange": exchange(0.0, num=2)}},
            "network evidence left out node=cam reason=2 usable",
        ),
        (
            {"cam": {"edges": edges(0.0)}, "wrist": {"edges": edges(0.0, seed=77, num=4)}},
            "shared edges left out line=trigger nodes=cam,wrist",
        ),
        ({"cam": {"ppps": pps(0.0)}}, "kind=ppps reason=unknown kind; known are pps, exchange"),
    ],
    ids=["two edges", "no edge", "two exchanges", "no common edge", "misspelt kind"],
)
def test_too_little_evidence_gives_no_line_and_says_so(
    maker: Maker,
    caplog: pytest.LogCaptureFixture,
    evidence: Mapping[str, Mapping[str, str]],
    said: str,
) -> None:
    with caplog.at_level(logging.WARNING):
        assert evidence_of(maker.open(evidence), method="joint").lines == []
    assert len(caplog.messages) == 1
    assert said in caplog.messages[0]


GOOD_PPS = "1.0,1700000001.0,1e-6\n2.0,1700000002.0,1e-6\n"


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("pps", "", "the file is empty; expected a header row"),
        ("pps", b"\xff\xfe\x00", "cannot be read as CSV: it is no UTF-8 text"),
        ("pps", "t_node,ref,sigma_s\n", "no column 't_ref'; the header has t_node, ref, sigma_s"),
        ("pps", "t_node,t_ref\n1.0,2.0\n", "no column 'sigma_s'"),
        ("pps", f"t_node,t_ref,sigma_s\n{GOOD_PPS}3.0,4.0\n", "line 4: 2 fields, the header has 3"),
        ("pps", f"t_node,t_ref,sigma_s\n{GOOD_PPS}x,4.0,1e-6\n", "line 4: column 't_node': 'x'"),
        ("pps", f"t_node,t_ref,sigma_s\n{GOOD_PPS}3,nan,1e-6\n", "line 4: column 't_ref': 'nan'"),
        ("pps", f"t_node,t_ref,sigma_s\n{GOOD_PPS}3,inf,1e-6\n", "line 4: column 't_ref': 'inf'"),
        ("pps", f"t_node,t_ref,sigma_s\n{GOOD_PPS}3,17e17,1e-6\n", "line 4: column 't_ref'"),
        ("pps", f"t_node,t_ref,sigma_s\n{GOOD_PPS}3,4,\n", "line 4: column 'sigma_s' is ''"),
        ("pps", f"t_node,t_ref,sigma_s\n{GOOD_PPS}3,4,0\n", "line 4: column 'sigma_s' is '0'"),
        ("pps", f"t_node,t_ref,sigma_s\n{GOOD_PPS}3,4,-1e-6\n", "column 'sigma_s' is '-1e-6'"),
        ("pps", f"t_node,t_ref,sigma_s\n{GOOD_PPS}3,4,1e-300\n", "expected 1e-10 to 1 seconds"),
        ("pps", f"t_node,t_ref,sigma_s\n{GOOD_PPS}3,4,1000\n", "expected 1e-10 to 1 seconds"),
        ("pps", f"t_node,t_ref,sigma_s\n{GOOD_PPS}3,4,inf\n", "line 4: column 'sigma_s' is 'inf'"),
        ("pps", f"t_node,t_ref,sigma_s\n{GOOD_PPS}3,4,wide\n", "holds 'wide', which is no number"),
        ("exchange", "t1,t2,t3\n1,2,3\n", "no column 't4'"),
        ("exchange", "t1,t2,t3,t4\n1,2,3,\n", "line 2: column 't4': '' is no number of seconds"),
        ("edges", "t\n1.0\n", "no column 'line'"),
        ("edges", "t,line\n,a\n", "line 2: column 't': ''"),
    ],
)
def test_a_bad_file_is_an_error_that_names_file_line_and_column(
    maker: Maker, kind: str, content: str | bytes, said: str
) -> None:
    recording = maker.open({"cam": {kind: content}})
    with pytest.raises(BadRecording) as error:
        evidence_of(recording, method="joint")
    assert str(error.value).startswith(f"cam_{kind}.csv")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named_when_the_recording_is_opened(maker: Maker) -> None:
    maker.open({"cam": {"pps": pps(0.0)}})
    (maker.root / "cam_pps.csv").unlink()
    with pytest.raises(BadRecording, match=r"evidence of node 'cam' .* no file 'cam_pps\.csv'"):
        open_recording(maker.root)
