"""A GNSS receiver on a terminal pair, by an invented clock: which second a fix and a pulse are."""

import datetime
import errno
import os
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from coeval.errors import BadConfig
from coeval.evidence_wire import StatementSample
from coeval.pulse_names import PulseNames
from coeval.samples import MetadataBlock
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.config import load_node_config
from coeval_edge.live import LiveStreams, SourcesConfig
from coeval_edge.sources.errors import SourceAbsent, SourceForbidden, SourceLost, SourceUnfit
from coeval_edge.sources.nmea import NmeaConfig, NmeaReceiver
from coeval_edge.sources.nmea_sentences import Altitude, Fix, parse_sentence
from coeval_edge.sources.promptest import Promptest

from .terminal import arrive

FIRST = datetime.datetime(2026, 11, 25, 12, 0, 0, tzinfo=datetime.UTC)
FIRST_UTC_NS = int(FIRST.timestamp()) * NS_PER_S
BOOT_NS = 5_000 * NS_PER_S + 123_456_789
"""The node's clock at FIRST."""


def sentence(body: str) -> str:
    """A sentence with its checksum."""
    sum_ = 0
    for byte in body.encode():
        sum_ ^= byte
    return f"${body}*{sum_:02X}"


def rmc(k: float, *, status: str = "A", speed_kn: float = 10.0, weeks_ago: int = 0) -> str:
    """The fix of k seconds after FIRST, going east."""
    at = FIRST + datetime.timedelta(seconds=k, weeks=-weeks_ago)
    time_text = f"{at:%H%M%S}.{at.microsecond // 10_000:02d}"
    place = "4807.038,N,01131.000,E" if status == "A" else ",,,"
    mode = "A" if status == "A" else "N"
    return sentence(f"GNRMC,{time_text},{status},{place},{speed_kn},090.0,{at:%d%m%y},,,{mode}")


class Receiver:
    """The device's end of a terminal pair, and the node's clock."""

    def __init__(self) -> None:
        self.device, port = os.openpty()
        tty.setraw(port)
        self.name = os.ttyname(port)
        self.port = port
        self.now_ns = BOOT_NS

    def clock(self) -> NodeNs:
        return NodeNs(self.now_ns)

    def say(self, source: NmeaReceiver, lines: list[str], *, at_s: float) -> list[MetadataBlock]:
        """Lines whose last byte arrives so long after FIRST, and what the source makes of them."""
        self.now_ns = BOOT_NS + round(at_s * NS_PER_S)
        arrive(self.device, self.port, "".join(f"{line}\r\n" for line in lines).encode())
        return [sample for sample in source.read(1.0) if isinstance(sample, MetadataBlock)]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    for end in (receiver.device, receiver.port):
        try:
            os.close(end)
        except OSError:
            continue


Open = Callable[..., NmeaReceiver]


@pytest.fixture
def open_receiver(receiver: Receiver) -> Iterator[Open]:
    opened: list[NmeaReceiver] = []

    def open_(*, names: PulseNames | None = None, hand: object = None, **keys: object) -> object:
        config = NmeaConfig(port=receiver.name, **keys)  # type: ignore[arg-type]
        source = NmeaReceiver(config, names=names, hand=hand, clock_ns=receiver.clock)  # type: ignore[arg-type]
        opened.append(source)
        return source

    yield open_  # type: ignore[misc]
    for source in opened:
        source.close()


# Sentences


def test_a_fix_is_read_with_its_own_second_and_units() -> None:
    fix = parse_sentence(rmc(1.25))
    assert isinstance(fix, Fix)
    assert fix.t_utc_ns == FIRST_UTC_NS + 1_250_000_000
    assert (fix.latitude_deg, fix.longitude_deg) == pytest.approx((48.1173, 11.516667), abs=1e-6)
    assert fix.speed_mps == pytest.approx(5.1444, abs=1e-4)
    assert fix.whole_second_ns is None
    assert isinstance(parse_sentence(sentence("GPGGA,,,,,,0,,,545.4,M,,M,,")), Altitude)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (rmc(1.0)[:-1] + "0", "checksum"),
        ("$GPRMC,120000", "checksum"),
        ("\x00\xf8~~~", "garbage"),
        ("", "garbage"),
        (sentence("PUBX,00"), "unused"),
        (sentence("GPGSV,1,1,00"), "unused"),
        (sentence("GPXYZ,1"), "unused"),
        (sentence("GPRMC,12xx00,A,4807.0,N,01131.0,E,1,2,251126,,,A"), "broken"),
        (sentence("GPRMC,120000,A,48aa.0,N,01131.0,E,1,2,251126,,,A"), "broken"),
        (sentence("GPRMC,120000,A,4807.0,N,01131.0,E,fast,2,251126,,,A"), "broken"),
        (sentence("GPRMC,120000,A,4807.0,N,01131.0,E,nan,2,251126,,,A"), "broken"),
        (sentence("GPRMC,120000,A,4807.0,N,01131.0,E,1,2,991326,,,A"), "broken"),
        (sentence("GPRMC,256199,A,4807.0,N,01131.0,E,1,2,251126,,,A"), "broken"),
        (sentence("GPRMC,120000"), "broken"),
        (sentence("GPRMC,235960.00,A,4807.0,N,01131.0,E,1,2,311226,,,A"), "leap_second"),
        (sentence("GPRMC,,V,,,,,,,,,,N"), None),
    ],
)
def test_what_is_wrong_with_a_line_has_a_name(line: str, said: str | None) -> None:
    assert parse_sentence(line) == said


def test_a_date_of_1024_weeks_ago_names_no_second_until_it_is_said_to_be() -> None:
    old = rmc(1.0, weeks_ago=1024)
    fix, mended = parse_sentence(old), parse_sentence(old, rollovers=1)
    assert isinstance(fix, Fix)
    assert isinstance(mended, Fix)
    assert (fix.has_date, fix.whole_second_ns) == (False, None)
    assert mended.whole_second_ns == FIRST_UTC_NS + NS_PER_S


@pytest.mark.parametrize("mode", ["N", "E", "S", "M"])
def test_a_position_that_no_satellites_gave_is_no_fix(mode: str) -> None:
    line = sentence(f"GPRMC,120000,A,4807.0,N,01131.0,E,1,2,251126,,,{mode}")
    fix = parse_sentence(line)
    assert isinstance(fix, Fix)
    assert not fix.has_fix


# Without a pulse


def test_fixes_are_placed_by_the_promptest_sentences_less_the_stated_latency(
    receiver: Receiver, open_receiver: Open
) -> None:
    source = open_receiver(baud=115_200)
    late_s = [0.42, 0.30, 0.38, 0.60, 0.31]
    times = []
    for k, late in enumerate(late_s):
        (row,) = receiver.say(source, [rmc(k)], at_s=k + late)
        times.append(int(row.t_node_ns[0]))
    told = source.timing.describe()
    assert (told["origin"], told["latency_s"], told["sigma_s"]) == ("sender", 0.275, 0.13)
    wire_ns = round((len(rmc(0)) + 2) * 10 / 115_200 * 1e9 + 0.5e6)
    placed = [t - BOOT_NS - k * NS_PER_S for k, t in enumerate(times)][1:]
    assert placed == pytest.approx([300_000_000 - wire_ns - 275_000_000] * 4, abs=2)


def test_a_row_has_position_speed_and_velocities(receiver: Receiver, open_receiver: Open) -> None:
    source = open_receiver()
    gga = sentence("GNGGA,120001.00,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,")
    (row,) = receiver.say(source, [gga, rmc(1)], at_s=1.3)
    assert list(source.units) == ["latitude", "longitude", "altitude", "speed", "north", "east"]
    expected = [48.1173, 11.516667, 545.4, 5.1444, 0.0, 5.1444]
    assert row.values[0] == pytest.approx(expected, abs=1e-4)


def test_what_it_says_of_utc_is_told_now_and_then_with_a_wide_shared_error(
    receiver: Receiver, open_receiver: Open
) -> None:
    told: list[StatementSample] = []
    source = open_receiver(hand=told.extend)
    for k in range(20):
        receiver.say(source, [rmc(k)], at_s=k + 0.3)
    assert len(told) == 2
    for statement in told:
        offset_ns = statement.t_node_ns - statement.t_utc_ns - (BOOT_NS - FIRST_UTC_NS)
        assert abs(offset_ns) < 2 * statement.bias_sigma_ns
        assert (statement.by, statement.bias_sigma_ns) == ("nmea", 0.13e9)


def test_without_a_fix_or_with_an_impossible_date_nothing_is_said_of_utc(
    receiver: Receiver, open_receiver: Open
) -> None:
    told: list[StatementSample] = []
    source = open_receiver(hand=told.extend)
    assert receiver.say(source, [rmc(0, status="V")], at_s=0.3) == []
    assert len(receiver.say(source, [rmc(1, weeks_ago=1024)], at_s=1.3)) == 1
    assert told == []
    assert (source.counts["no_fix"], source.counts["old_date"]) == (1, 1)


def test_a_wild_second_is_not_told_as_utc(receiver: Receiver, open_receiver: Open) -> None:
    told: list[StatementSample] = []
    source = open_receiver(hand=told.extend)
    for k, wrong_s in enumerate([3600, 0, 0, 3600, 0, 0]):
        receiver.say(source, [rmc(k + wrong_s)], at_s=k + 0.3)
    assert told == []
    receiver.say(source, [rmc(6)], at_s=6.3)
    assert len(told) == 1


def test_a_receiver_that_stands_still_has_no_velocity(
    receiver: Receiver, open_receiver: Open
) -> None:
    source = open_receiver()
    still = sentence("GNRMC,120001.00,A,4807.038,N,01131.000,E,0.05,,251126,,,A")
    (row,) = receiver.say(source, [still], at_s=1.3)
    assert row.values[0, 4:].tolist() == [0.0, 0.0]


def test_repeated_and_backwards_seconds_are_counted_and_make_no_row(
    receiver: Receiver, open_receiver: Open
) -> None:
    source = open_receiver()
    receiver.say(source, [rmc(5)], at_s=5.3)
    assert receiver.say(source, [rmc(5)], at_s=5.35) == []
    assert receiver.say(source, [rmc(3)], at_s=6.3) == []
    assert (source.counts["repeated"], source.counts["backwards"]) == (1, 1)


def test_a_receiver_whose_time_was_set_is_placed_anew_after_three_arrivals() -> None:
    arrivals = Promptest()
    least = [arrivals.push(k * NS_PER_S, k * NS_PER_S) for k in range(5)]
    assert least == [0] * 5
    late = [arrivals.push((k + 1) * NS_PER_S, k * NS_PER_S) for k in range(6, 10)]
    assert late == [0, 0, NS_PER_S, NS_PER_S]


# With its pulse


def test_a_sentence_names_the_pulse_and_the_pulse_places_the_fix(
    receiver: Receiver, open_receiver: Open
) -> None:
    names = PulseNames()
    source = open_receiver(names=names)
    named, rows = [], []
    for k in range(6):
        named.append(names.pulse(NodeNs(BOOT_NS + k * NS_PER_S)))
        rows += receiver.say(source, [rmc(k)], at_s=k + 0.2 + 0.1 * (k % 3))
    assert named == [None, None, None, *(FIRST_UTC_NS + k * NS_PER_S for k in (3, 4, 5))]
    times = np.concatenate([row.t_node_ns for row in rows]).tolist()
    assert times == [BOOT_NS + k * NS_PER_S for k in (2, 3, 4, 5)]
    assert source.counts["no_pulse"] == 2
    assert source.timing.origin == "hardware"


def test_when_pulses_end_fixes_are_placed_by_the_latency_that_they_showed(
    receiver: Receiver, open_receiver: Open
) -> None:
    names = PulseNames()
    source = open_receiver(names=names)
    for k in range(5):
        names.pulse(NodeNs(BOOT_NS + k * NS_PER_S))
        receiver.say(source, [rmc(k)], at_s=k + 0.4)
    (row,) = receiver.say(source, [rmc(200)], at_s=200.4)
    assert int(row.t_node_ns[0]) == pytest.approx(BOOT_NS + 200 * NS_PER_S, abs=2)


def test_a_lost_fix_holds_the_names_back(receiver: Receiver, open_receiver: Open) -> None:
    names = PulseNames()
    source = open_receiver(names=names)
    for k in range(5):
        names.pulse(NodeNs(BOOT_NS + k * NS_PER_S))
        receiver.say(source, [rmc(k, status="V" if k == 4 else "A")], at_s=k + 0.4)
    assert names.pulse(NodeNs(BOOT_NS + 5 * NS_PER_S)) is None


# What can be wrong


def test_another_speed_is_named_with_the_usual_ones(
    receiver: Receiver, open_receiver: Open
) -> None:
    source = open_receiver(baud=4800)
    arrive(receiver.device, receiver.port, b"\xfe\x80\x9c" * 300 + b"\n")
    with pytest.raises(SourceUnfit, match="without a sentence of NMEA at 4800 baud: set baud"):
        source.read(1.0)


def test_a_receiver_that_is_not_there_or_unplugged_is_named(
    receiver: Receiver, open_receiver: Open
) -> None:
    with pytest.raises(SourceAbsent, match="coeval doctor"):
        NmeaReceiver(NmeaConfig(port="/dev/ttyNOTHING"))
    source = open_receiver()
    os.close(receiver.device)
    with pytest.raises(SourceLost, match="still plugged in"):
        source.read(0.05)


def test_a_port_that_this_user_may_not_use_names_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    import serial

    def refuse(*_: object, **__: object) -> None:
        raise serial.SerialException(errno.EACCES, "could not open port: Permission denied")

    monkeypatch.setattr(serial, "Serial", refuse)
    with pytest.raises(SourceForbidden, match="usermod -aG dialout"):
        NmeaReceiver(NmeaConfig(port="/dev/ttyAMA0"))


def test_a_stream_of_a_receiver_states_its_units(receiver: Receiver) -> None:
    live = LiveStreams(SourcesConfig(nmea={"gnss": NmeaConfig(port=receiver.name)}), "van")
    ((spec, timing),) = live.streams
    assert (spec.modality, timing.origin) == ("metadata", "sender")
    assert spec.units == source_units()
    live.close()


def source_units() -> dict[str, str]:
    deg, mps = "deg", "m/s"
    return {
        "latitude": deg,
        "longitude": deg,
        "altitude": "m",
        "speed": mps,
        "north": mps,
        "east": mps,
    }


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"baud": 0}, "baud must lie within"),
        ({"latency_s": 1.5}, "latency_s must lie within"),
        ({"week_rollovers": -1}, "week_rollovers must lie within"),
    ],
)
def test_a_wrong_value_names_its_key(keys: dict[str, float], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        NmeaConfig(port="/dev/ttyUSB0", **keys)  # type: ignore[arg-type]


def test_a_line_whose_receiver_is_not_configured_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    file.write_text('[node]\nid = "van"\n[node.time.pps.a]\nnmea = "gnss"\n')
    with pytest.raises(BadConfig, match=r"no \[node.sources.nmea.gnss\]"):
        load_node_config(file)
    file.write_text(
        '[node]\nid = "van"\n[node.time.pps.a]\nnmea = "gnss"\n[node.time.pps.b]\nnmea = "gnss"\n'
        '[node.sources.nmea.gnss]\nport = "/dev/ttyAMA0"\n'
    )
    with pytest.raises(BadConfig, match="'gnss' names the pulses of one line only"):
        load_node_config(file)
