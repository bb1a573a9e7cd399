"""A probe on a terminal pair, by an invented clock: what the driver makes of what it says."""

import binascii
import dataclasses
import math
import os
import random
import struct
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from coeval.errors import BadConfig
from coeval.evidence_wire import PpsSample, TimeSample
from coeval.pulse_names import PulseNames
from coeval.samples import MetadataBlock, TextLine
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.config import load_node_config
from coeval_edge.kernel_clocks import KernelClock
from coeval_edge.live import ClockLinks, LiveStreams, SourcesConfig
from coeval_edge.sources.errors import SourceAbsent, SourceBusy, SourceLost, SourceUnfit
from coeval_edge.sources.probe import ProbeConfig, ProbePulses, ProbeSource
from coeval_edge.sources.probe_link import ADAPTER_NS, STATUS_BYTES, ProbeLink, is_usb
from coeval_edge.sources.probe_wire import PpsState, Pulse, Verdict
from coeval_edge.sources.pulse_stamps import PulseLine, PulseStamps

from .terminal import arrive

cobs = pytest.importorskip("cobs.cobs", reason="cobs is absent: pip install 'coeval[probe]'")

HZ = 62_500_000
BOOT_NS = 5_000 * NS_PER_S + 123_456_789
"""The node's clock at tick 0."""
BAUD = 921_600
LATE_NS = STATUS_BYTES * 10 * NS_PER_S / BAUD + ADAPTER_NS / 2


class Probe:
    """The device's end of a terminal pair, and the node's clock; its crystal is 20 ppm fast."""

    def __init__(self) -> None:
        self.device, port = os.openpty()
        tty.setraw(port)
        self.name, self.port = os.ttyname(port), port
        self.now_ns, self.sequence = BOOT_NS, 0

    def clock(self) -> NodeNs:
        return NodeNs(self.now_ns)

    def tick(self, t_s: float) -> int:
        return math.floor(t_s * HZ * (1 + 20e-6))

    def frame(self, kind: int, body: bytes, *, layout: int = 1) -> bytes:
        record = struct.pack("<BBH", kind, layout, self.sequence) + body
        self.sequence = (self.sequence + 1) % 2**16
        return cobs.encode(record + binascii.crc_hqx(record, 0xFFFF).to_bytes(2, "big")) + b"\0"

    def hello(self, *, protocol: int = 1, board: bytes = b"\xe6" * 8) -> bytes:
        fields = (protocol, 1, 0, 0, board, HZ, b"\x5a" * 8, 2, 0x68, 10_000, 0)
        return self.frame(1, struct.pack("<B3B8sI8sBBHB", *fields))

    def status(self, t_s: float) -> bytes:
        return self.frame(
            5, struct.pack("<QBHihHIII6I", self.tick(t_s), 1, 5, 0, 2500, 0, *[0] * 9)
        )

    def edge(self, t_s: float, *, number: int = 1) -> bytes:
        return self.frame(3, struct.pack("<BBQIIH", number, 1, self.tick(t_s), 7, 5, 6))

    def pulse(self, t_s: float, *, verdict: int = 0) -> bytes:
        return self.frame(2, struct.pack("<QBBIiiH", self.tick(t_s), verdict, 1, 9, 3, 20_000, 5))

    def motion(self, t_s: float) -> bytes:
        values = (8192, 0, -8192, 655, 0, -655, -3920)
        return self.frame(4, struct.pack("<BBQIIH7h", 0x68, 1, self.tick(t_s), 7, 5, 6, *values))

    def send(self, data: bytes, *, at_s: float) -> None:
        """Bytes of which the last arrives so long after tick 0."""
        self.now_ns = BOOT_NS + round(at_s * NS_PER_S)
        arrive(self.device, self.port, data)

    def greet(self, source: ProbeSource, *, until_s: float = 3.0) -> None:
        """Say hello and a status every quarter of a second."""
        self.send(self.hello(), at_s=0.25)
        source.read(1.0)
        for k in range(1, round(4 * until_s) + 1):
            self.send(self.status(k / 4), at_s=k / 4 + LATE_NS * 1e-9)
            source.read(1.0)


@pytest.fixture
def probe() -> Iterator[Probe]:
    probe = Probe()
    yield probe
    for end in (probe.device, probe.port):
        try:
            os.close(end)
        except OSError:
            continue


Open = Callable[..., ProbeSource]


@pytest.fixture
def open_probe(probe: Probe) -> Iterator[Open]:
    opened: list[ProbeSource] = []

    def open_(*, link: ProbeLink | None = None, **keys: object) -> ProbeSource:
        config = ProbeConfig(port=probe.name, **keys)  # type: ignore[arg-type]
        if link is None:
            link = ProbeLink(probe.name, clock_ns=probe.clock)
        opened.append(ProbeSource(config, link))
        return opened[-1]

    yield open_
    for source in opened:
        source.close()


# Streams


def test_an_edge_is_placed_when_it_happened_however_late_it_is_told(
    probe: Probe, open_probe: Open
) -> None:
    source = open_probe(text="strobe")
    probe.greet(source)
    probe.send(probe.edge(2.9), at_s=3.4)
    (line,) = source.read(1.0)
    assert isinstance(line, TextLine)
    assert line.text == "strobe"
    assert line.t_node_ns == pytest.approx(BOOT_NS + 2.9 * NS_PER_S, abs=50_000)
    assert source.timing.origin == "hardware"


def test_edges_of_the_other_input_are_the_other_stream_s(probe: Probe, open_probe: Open) -> None:
    link = ProbeLink(probe.name, clock_ns=probe.clock)
    first, second = open_probe(link=link), open_probe(link=link, input=2, text="two")
    probe.greet(first)
    probe.send(probe.edge(3.0) + probe.edge(3.1, number=2) + probe.edge(3.2), at_s=3.3)
    assert [len(first.read(1.0)), len(second.read(0.0))] == [2, 1]


def test_edges_as_numbers_are_a_rate_at_the_middle_of_two(probe: Probe, open_probe: Open) -> None:
    source = open_probe(modality="metadata")
    probe.greet(source)
    probe.send(probe.edge(2.0) + probe.edge(2.25) + probe.edge(2.75), at_s=3.0)
    rows = [row for row in source.read(1.0) if isinstance(row, MetadataBlock)]
    rates = np.concatenate([row.values for row in rows])
    assert rates[:, 0] == pytest.approx([4.0, 2.0], rel=1e-4)
    middle_ns = np.concatenate([row.t_node_ns for row in rows]) - BOOT_NS
    assert middle_ns / NS_PER_S == pytest.approx([2.125, 2.5], abs=1e-4)


def test_motion_comes_in_units_less_the_filter_s_delay(probe: Probe, open_probe: Open) -> None:
    source = open_probe(what="motion")
    probe.greet(source)
    probe.send(probe.motion(3.0), at_s=3.1)
    (row,) = source.read(1.0)
    assert isinstance(row, MetadataBlock)
    expected = [9.80665, 0.0, -9.80665, 10 * math.pi / 180, 0.0, -10 * math.pi / 180, 25.0]
    assert row.values[0] == pytest.approx(expected, abs=1e-3)
    assert list(source.units) == [
        *("accel_x", "accel_y", "accel_z", "gyro_x", "gyro_y", "gyro_z", "temperature")
    ]
    assert row.t_node_ns[0] == pytest.approx(BOOT_NS + 2.9946 * NS_PER_S, abs=50_000)


def test_nothing_is_placed_before_the_line_is_known(probe: Probe, open_probe: Open) -> None:
    link = ProbeLink(probe.name, clock_ns=probe.clock)
    source = open_probe(link=link)
    probe.send(probe.hello() + probe.edge(0.1) + probe.status(0.2) + probe.edge(0.3), at_s=0.4)
    assert source.read(1.0) == []
    assert link.counts["unplaced"] == 2


def test_a_probe_that_began_anew_is_placed_anew(probe: Probe, open_probe: Open) -> None:
    link = ProbeLink(probe.name, clock_ns=probe.clock)
    source = open_probe(link=link)
    probe.greet(source)
    for k in range(5):
        probe.send(probe.status(k / 4 + 0.1), at_s=10 + k / 4 + LATE_NS * 1e-9)
        source.read(1.0)
    probe.send(probe.edge(1.0), at_s=11.3)
    (line,) = source.read(1.0)
    assert isinstance(line, TextLine)
    assert line.t_node_ns == pytest.approx(BOOT_NS + 10.9 * NS_PER_S, abs=50_000)
    assert link.counts["restarted"] == 1


# Bad input


def test_half_frames_noise_and_wrong_sums_cost_no_more_than_themselves(
    probe: Probe, open_probe: Open
) -> None:
    link = ProbeLink(probe.name, clock_ns=probe.clock)
    source = open_probe(link=link)
    probe.greet(source)
    wrong = bytearray(probe.edge(2.0))
    wrong[6] ^= 0x10
    half, noise = probe.edge(2.1)[:9], bytes(range(1, 200))
    good = probe.edge(2.2)
    probe.send(bytes(wrong) + noise + b"\0" + half + b"\0" + good, at_s=3.1)
    assert len(source.read(1.0)) == 1
    counts = link.wire_counts
    assert (counts["crc"] + counts["cobs"], counts["long"], counts["lost"]) == (2, 1, 2)


def test_a_frame_in_pieces_is_one_frame(probe: Probe, open_probe: Open) -> None:
    source = open_probe()
    probe.greet(source)
    frame = probe.edge(3.0)
    for byte in frame[:-1]:
        probe.send(bytes([byte]), at_s=3.1)
        assert source.read(1.0) == []
    probe.send(frame[-1:], at_s=3.1)
    assert len(source.read(1.0)) == 1


@pytest.mark.parametrize(("protocol", "todo"), [(0, "reflash it"), (2, "update Coeval")])
def test_another_version_is_refused_by_name(
    probe: Probe, open_probe: Open, protocol: int, todo: str
) -> None:
    source = open_probe()
    probe.send(probe.hello(protocol=protocol), at_s=0.1)
    with pytest.raises(SourceUnfit, match=f"protocol version {protocol}, this program 1; {todo}"):
        source.read(1.0)


def test_another_device_is_told_from_a_probe(probe: Probe, open_probe: Open) -> None:
    source = open_probe()
    line = b"$GPRMC,120000.00,A,4807.038,N,01131.000,E,0.1,0,251126,,,A*00\r\n"
    probe.send(line * 40, at_s=1.0)
    with pytest.raises(SourceUnfit, match="without a record of a probe"):
        source.read(1.0)


def test_a_silent_port_says_what_may_be_wrong(probe: Probe, open_probe: Open) -> None:
    source = open_probe()
    probe.now_ns += 6 * NS_PER_S
    with pytest.raises(SourceLost, match="coeval probe flash"):
        source.read(0.0)


def test_an_unplugged_probe_is_lost_to_all_its_streams_and_found_again(
    probe: Probe, open_probe: Open
) -> None:
    link = ProbeLink(probe.name, clock_ns=probe.clock)
    first, second = open_probe(link=link), open_probe(link=link, input=2)
    probe.greet(first)
    probe.send(probe.edge(3.0)[:7], at_s=3.1)
    first.read(1.0)
    os.close(probe.device)
    for source in (first, second):
        with pytest.raises(SourceLost):
            source.read(1.0)
        source.close()
    os.close(probe.port)
    with pytest.raises(SourceAbsent):
        open_probe(link=link)


def test_a_port_that_another_program_holds_is_named(open_probe: Open) -> None:
    open_probe()
    with pytest.raises(SourceBusy, match="another program has it open"):
        open_probe()


def test_usb_is_known_by_the_device_behind_the_name(tmp_path: Path) -> None:
    (tmp_path / "ttyACM0").touch()
    (tmp_path / "usb-Coeval_Coeval_probe_E6-if00").symlink_to("ttyACM0")
    assert is_usb(str(tmp_path / "usb-Coeval_Coeval_probe_E6-if00"))
    assert not is_usb("/dev/ttyAMA0")


def test_a_port_that_is_not_there_is_named() -> None:
    link = ProbeLink("/dev/ttyNOPROBE")
    with pytest.raises(SourceAbsent, match="/dev/ttyNOPROBE"):
        ProbeSource(ProbeConfig(port="/dev/ttyNOPROBE"), link)


# Evidence

FIRST_UTC_NS = 1_764_072_000 * NS_PER_S


class Clocks:
    """The kernel's clocks, of which the system's is 0.2 s off UTC."""

    now_ns = BOOT_NS

    def read(self, clock: int) -> int:
        ahead_ns = FIRST_UTC_NS - BOOT_NS + NS_PER_S // 5
        return self.now_ns + (ahead_ns if clock == KernelClock.REALTIME else 0)


def pulse(**fields: object) -> Pulse:
    """A good pulse."""
    good = Pulse(
        sequence=1,
        tick=0,
        verdict=Verdict.GOOD,
        state=PpsState.LOCKED,
        second=4,
        residual_ns=3,
        rate_ppb=0,
        sigma_ns=5,
    )
    return dataclasses.replace(good, **fields)  # type: ignore[arg-type]


def pulses(
    told: list[TimeSample], *, error_ns: int | None, names: PulseNames | None = None
) -> ProbePulses:
    return ProbePulses(
        "/dev/x",
        names=names,
        hand=told.extend,
        utc_error_ns=lambda: error_ns,
        read_clock=Clocks().read,
    )


def test_a_good_pulse_that_the_system_s_clock_names_is_evidence() -> None:
    told: list[TimeSample] = []
    pulses(told, error_ns=10_000_000).take(pulse(), NodeNs(BOOT_NS), 30_000.0)
    (sample,) = told
    assert isinstance(sample, PpsSample)
    assert (sample.t_node_ns, sample.t_utc_ns, sample.by) == (BOOT_NS, FIRST_UTC_NS, "probe")
    assert sample.sigma_ns == pytest.approx(30_000, rel=1e-3)
    assert sample.bias_sigma_ns == pytest.approx(288_675, rel=1e-3)


@pytest.mark.parametrize("verdict", [Verdict.SPURIOUS, Verdict.DOUBLED, Verdict.SEARCHING])
def test_what_the_probe_rejected_is_no_evidence(verdict: Verdict) -> None:
    told: list[TimeSample] = []
    pulses(told, error_ns=10_000_000).take(pulse(verdict=verdict), NodeNs(BOOT_NS), 30_000.0)
    assert told == []


def test_a_pulse_that_nothing_names_is_no_evidence() -> None:
    told: list[TimeSample] = []
    for error_ns in (None, 400_000_000):
        pulses(told, error_ns=error_ns).take(pulse(), NodeNs(BOOT_NS), 30_000.0)
    assert told == []


def test_a_receiver_s_sentences_name_a_probe_s_pulses() -> None:
    names, told = PulseNames(), []
    taker = pulses(told, error_ns=None, names=names)
    for k in range(5):
        taker.take(pulse(), NodeNs(BOOT_NS + k * NS_PER_S), 30_000.0)
        sentence_ns = NodeNs(BOOT_NS + k * NS_PER_S + NS_PER_S // 4)
        names.sentence(sentence_ns, FIRST_UTC_NS + k * NS_PER_S)
    seconds = [sample.t_utc_ns for sample in told if isinstance(sample, PpsSample)]
    assert seconds == [FIRST_UTC_NS + k * NS_PER_S for k in (3, 4)]


def test_each_pulse_reaches_the_evidence_once_though_two_streams_read(
    probe: Probe, open_probe: Open
) -> None:
    seen: list[tuple[Verdict, int]] = []

    def take(pulse: Pulse, t_node_ns: NodeNs, _sigma_ns: float) -> None:
        seen.append((pulse.verdict, t_node_ns))

    link = ProbeLink(probe.name, clock_ns=probe.clock, on_pulse=take)
    first, second = open_probe(link=link), open_probe(link=link, what="motion")
    probe.greet(first)
    probe.send(probe.pulse(3.0) + probe.pulse(3.3, verdict=2), at_s=3.4)
    first.read(1.0), second.read(0.0)
    assert [verdict for verdict, _ in seen] == [Verdict.GOOD, Verdict.SPURIOUS]
    assert seen[0][1] == pytest.approx(BOOT_NS + 3 * NS_PER_S, abs=50_000)


# With a line of the node's that sees the same pulses


def test_pulses_that_the_node_stamps_too_place_edges_to_microseconds(
    probe: Probe, open_probe: Open
) -> None:
    rng, stamps = random.Random(3), PulseStamps()
    link = ProbeLink(probe.name, clock_ns=probe.clock, stamps=stamps)
    source = open_probe(link=link, pps="roof")
    probe.greet(source)
    for second in range(4, 12):
        stamps.push(NodeNs(BOOT_NS + second * NS_PER_S + round(rng.gauss(0, 2000))))
        late_s = LATE_NS * 1e-9 + rng.uniform(-4e-4, 4e-4)
        probe.send(probe.pulse(second) + probe.status(second + 0.01), at_s=second + 0.01 + late_s)
        source.read(1.0)
    probe.send(probe.edge(11.4), at_s=11.5)
    (line,) = source.read(1.0)
    assert isinstance(line, TextLine)
    assert line.t_node_ns == pytest.approx(BOOT_NS + 11.4 * NS_PER_S, abs=8_000)
    assert (link.counts["by_pulses"], link.counts["by_arrivals"]) == (1, 0)
    assert source.timing.describe()["sigma_s"] == pytest.approx(5e-6)


def test_without_pulses_for_a_while_arrivals_place_edges_again(
    probe: Probe, open_probe: Open
) -> None:
    stamps = PulseStamps()
    link = ProbeLink(probe.name, clock_ns=probe.clock, stamps=stamps)
    source = open_probe(link=link, pps="roof")
    probe.greet(source, until_s=12.0)
    for second in range(3, 7):
        stamps.push(NodeNs(BOOT_NS + second * NS_PER_S))
        probe.send(probe.pulse(second), at_s=12.1)
        source.read(1.0)
    probe.send(probe.edge(10.9) + probe.edge(11.1), at_s=12.2)
    assert len(source.read(1.0)) == 2
    assert (link.counts["by_pulses"], link.counts["by_arrivals"]) == (1, 1)


def test_a_pulse_that_only_one_of_the_two_saw_ties_nothing() -> None:
    stamps = PulseStamps()
    assert stamps.near(NodeNs(BOOT_NS)) is None
    stamps.push(NodeNs(BOOT_NS))
    assert stamps.near(NodeNs(BOOT_NS + 3_000_000)) == BOOT_NS
    assert stamps.near(NodeNs(BOOT_NS + NS_PER_S)) is None


def test_a_wild_kernel_stamp_does_not_bend_the_line() -> None:
    line = PulseLine(HZ)
    for second in range(12):
        wild_ns = 1_500_000 if second == 8 else 0
        line.push(second * HZ, BOOT_NS + second * NS_PER_S + 300 * (second % 3) + wild_ns)
    assert line.t_ns(int(11.5 * HZ)) == pytest.approx(BOOT_NS + 11.5 * NS_PER_S, abs=2_000)
    assert line.sigma_ns(int(11.5 * HZ)) < 3_000


# Configuration


def test_two_streams_share_one_probe_by_either_name_and_two_probes_do_not(
    probe: Probe, tmp_path: Path
) -> None:
    other, link = Probe(), tmp_path / "usb-Coeval_probe"
    link.symlink_to(probe.name)
    config = SourcesConfig(
        probe={
            "strobe": ProbeConfig(port=probe.name),
            "wrist": ProbeConfig(port=str(link), what="motion"),
            "door": ProbeConfig(port=other.name),
        }
    )
    streams = LiveStreams(config, "cam", links=ClockLinks())
    modalities = {spec.id: spec.modality for spec, _ in streams.streams}
    streams.close()
    assert modalities == {"strobe": "text", "wrist": "metadata", "door": "text"}
    for end in (other.device, other.port):
        os.close(end)


NODE = '[node]\nid = "cam"\n[node.sources.probe.strobe]\nport = "/dev/ttyACM0"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (NODE + 'what = "edge"\n', "sources.probe.strobe.what must be one of edges, motion"),
        (NODE.replace("/dev/ttyACM0", ""), "port must name the probe's device"),
        (NODE + "input = 0\n", "input must be 1…8, got 0"),
        (NODE + 'pps = "roof"\n', r"sources.probe.strobe.pps: no \[node.time.pps.roof\]"),
        (NODE + 'pps = "roof"\nnmea = "gnss"\n', "nmea belongs to the table of the line"),
        (NODE + 'nmea = "gnss"\n', r"sources.probe.strobe.nmea: no \[node.sources.nmea.gnss\]"),
        (NODE + "pins = 3\n", "unknown key node.sources.probe.strobe.pins"),
        (
            NODE + '[node.sources.probe.b]\nport = "/dev/ttyACM0"\nbaud = 115200\n',
            "must give the same baud, nmea and pps",
        ),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "node.toml"
    path.write_text(text)
    with pytest.raises(BadConfig, match=said):
        load_node_config(path)


def test_who_it_is_and_what_is_lost_is_logged_once(
    probe: Probe, open_probe: Open, caplog: pytest.LogCaptureFixture
) -> None:
    link = ProbeLink(probe.name, clock_ns=probe.clock)
    first, second = open_probe(link=link), open_probe(link=link, what="motion")
    with caplog.at_level("INFO", logger="coeval_edge.sources.probe_link"):
        probe.greet(first)
        probe.sequence += 5
        probe.send(probe.hello() + probe.edge(3.0), at_s=3.1)
        first.read(1.0)
        second.read(0.0)
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(" ", 2)[2].split("=")[0] for line in said] == ["board", "lost"]
    assert said[1].endswith("lost=5")
