"""A receiver's stream and its pulse's line, tied together in one node."""

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from coeval.broker_address import BrokerAddress
from coeval.evidence_wire import PpsSample, TimeSample
from coeval.pps import Judged, PpsHealth
from coeval.pulse_names import PulseNames
from coeval.time import NS_PER_S, NodeNs
from coeval.topics import Topics
from coeval_edge.clock_keeper import ClockKeeper, TimeConfig
from coeval_edge.live import ClockLinks, SourcesConfig
from coeval_edge.sources.errors import SourceSilent
from coeval_edge.sources.nmea import NmeaConfig
from coeval_edge.sources.pps import PpsConfig, PpsReading
from coeval_edge.sources.probe import ProbeConfig
from coeval_edge.sources.pulse_stamps import PulseStamps


class InventedLine:
    """Good pulses that only sentences can name."""

    def __init__(self, names: PulseNames | None, num: int) -> None:
        self.device = threading.Lock()  # a context, as the real one is
        self.state = "locked"
        self._names, self._num, self._k = names, num, 0

    def read(self, _timeout_s: float) -> PpsReading:
        if self._k == self._num:
            raise SourceSilent("no more")
        t_ns = NodeNs(self._k * NS_PER_S)
        assert self._names is not None
        second_ns = self._names.pulse(t_ns)
        self._names.sentence(NodeNs(t_ns + NS_PER_S // 4), (100 + self._k) * NS_PER_S)
        self._k += 1
        judged = Judged(t_node_ns=t_ns, verdict="good", sigma_ns=1000.0)
        return PpsReading(judged=judged, t_utc_ns=second_ns, sigma_ns=1000.0, num_overwritten=0)

    @property
    def health(self) -> PpsHealth:
        return PpsHealth(state="locked", rate_hz=1.0, counts={})


def test_a_line_s_pulses_are_named_by_the_receiver_that_its_table_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names, handed, all_came = {"gnss": PulseNames()}, [], threading.Event()

    def hand(samples: Sequence[TimeSample]) -> None:
        handed.extend(samples)
        if len(handed) == 3:
            all_came.set()

    monkeypatch.setattr(
        "coeval_edge.clock_keeper.open_pps", lambda _config, names: InventedLine(names, 6)
    )
    line = PpsConfig(device=Path("/dev/pps7"), nmea="gnss")
    keeper = ClockKeeper(
        TimeConfig(exchange=False, chrony=False, ptp=False, pps={"roof": line}),
        address=BrokerAddress.parse("mqtt://127.0.0.1:1"),
        topics=Topics(session="s"),
        node="van",
        boot_id=1,
        hand=hand,
        names=names,
    )
    keeper.start()
    assert all_came.wait(300.0)
    keeper.close()
    expected = [
        PpsSample(t_node_ns=k * NS_PER_S, t_utc_ns=(100 + k) * NS_PER_S, sigma_ns=1000.0)
        for k in (3, 4, 5)
    ]
    assert handed == expected


def test_good_pulses_of_a_line_are_left_for_the_probe_that_sees_them_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    came = threading.Event()

    class Left(PulseStamps):
        def push(self, t_node_ns: NodeNs) -> None:
            super().push(t_node_ns)
            if t_node_ns == 3 * NS_PER_S:
                came.set()

    left = Left()
    monkeypatch.setattr(
        "coeval_edge.clock_keeper.open_pps",
        lambda _config, names: InventedLine(names or PulseNames(), 4),
    )
    keeper = ClockKeeper(
        TimeConfig(exchange=False, chrony=False, ptp=False, pps={"roof": PpsConfig()}),
        address=BrokerAddress.parse("mqtt://127.0.0.1:1"),
        topics=Topics(session="s"),
        node="van",
        boot_id=1,
        hand=lambda _samples: None,
        stamps={"roof": left},
    )
    keeper.start()
    assert came.wait(300.0)
    keeper.close()
    assert left.near(NodeNs(NS_PER_S + 1000)) == NS_PER_S


def test_a_probe_is_opened_with_the_stamps_of_its_line_alone() -> None:
    stamps = PulseStamps()
    sources = SourcesConfig(
        probe={"a": ProbeConfig(port="/dev/a", pps="roof"), "b": ProbeConfig(port="/dev/b")}
    )
    openers = sources.openers(ClockLinks(stamps={"roof": stamps}))
    links = {name: opener.args[1] for name, _, opener in openers}  # type: ignore[attr-defined]
    assert (links["a"]._stamps, links["b"]._stamps) == (stamps, None)


def test_a_receiver_is_opened_with_the_names_of_its_pulse_alone() -> None:
    names = PulseNames()
    gnss = NmeaConfig(port="/dev/ttyAMA0")
    sources = SourcesConfig(nmea={"gnss": gnss, "spare": gnss})
    links = ClockLinks(names={"gnss": names})
    given = {name: opener.keywords["names"] for name, _, opener in sources.openers(links)}  # type: ignore[attr-defined]
    assert given == {"gnss": names, "spare": None}
