"""The firmware that ships, on an emulated board: booted by the boot ROM, read by the driver."""

import statistics
from collections.abc import Sequence
from itertools import pairwise

import pytest

from coeval.evidence_wire import PpsSample, TimeSample
from coeval.samples import MetadataBlock, TextLine
from coeval.time import NS_PER_S
from coeval_edge.probe_image import manifest, probe_image
from coeval_edge.sources.probe import ProbeConfig, ProbePulses, ProbeSource
from coeval_edge.sources.probe_link import ProbeLink
from coeval_edge.sources.probe_wire import (
    Edge,
    Hello,
    Motion,
    PpsState,
    ProbeStream,
    Record,
    Status,
)
from coeval_lab.probe_emulator import cases
from coeval_lab.probe_emulator.board import CPU_HZ, Board, changed_program
from coeval_lab.probe_emulator.cable import Cable
from coeval_lab.probe_emulator.cases import Case, CaseRun, Outcome, run_case
from coeval_lab.probe_emulator.motion_sensor import MotionSensor

pytest.importorskip("rp2040py", reason="rp2040py is absent: pip install 'coeval[bench]'")
pytest.importorskip("cobs", reason="cobs is absent: pip install 'coeval[probe]'")

UF2_DATA = 32


def records_of(board: Board) -> list[Record]:
    return [record for record, _ in ProbeStream().push(board.take_sent())]


# Stamps


@pytest.mark.parametrize("ppm", [-50.0, 37.3, 50.0])
def test_every_edge_is_told_within_two_ticks_of_the_truth(ppm: float) -> None:
    outcome = run_case(probe_image(), cases.steady(ppm))
    assert outcome.is_within
    assert len(outcome.errors_ns) > 150
    assert outcome.statuses[-1].rate_ppb == pytest.approx(ppm * 1e3, abs=8)


def test_edges_are_told_through_the_wrap_of_the_counter() -> None:
    outcome = run_case(probe_image(), cases.wrap())
    edges = [record for record in outcome.records if isinstance(record, Edge)]
    assert edges[-1].at.tick > 2**32 > edges[0].at.tick
    assert outcome.is_within
    assert outcome.statuses[-1].missed == outcome.statuses[-1].spurious == 0


def test_bad_pulses_are_counted_by_name_and_move_no_edge() -> None:
    outcome = run_case(probe_image(), cases.bad_pulses())
    assert outcome.is_within
    last = outcome.statuses[-1]
    assert (last.missed, last.spurious, last.doubled, last.regridded) == (3, 3, 3, 0)
    assert last.state is PpsState.LOCKED


def test_bursts_80_ns_apart_lose_no_edge() -> None:
    outcome = run_case(probe_image(), cases.burst())
    assert (outcome.num_events, outcome.num_lost) == (1200, 0)
    assert outcome.is_within


def test_3000_edges_a_second_fit_the_wire() -> None:
    outcome = run_case(probe_image(), cases.rush(seconds=1.0))
    assert (outcome.num_events, outcome.num_lost) == (3000, 0)
    assert outcome.is_within
    assert outcome.statuses[-1].num_dropped == 0
    assert max(status.most_queued for status in outcome.statuses) < 2000


def test_more_edges_than_the_wire_takes_are_lost_visibly() -> None:
    storm = Case(
        name="storm",
        ppm=0.0,
        until_s=1.1,
        pulses=[],
        edges=[[0.1 + k * 5e-6 for k in range(2400)], []],
    )
    outcome = run_case(probe_image(), storm)
    told = sum(isinstance(record, Edge) for record in outcome.records)
    last = outcome.statuses[-1]
    assert outcome.num_lost == 2400 - told > 500
    assert outcome.wire_counts["lost"] + last.num_overrun >= outcome.num_lost


def test_holdover_of_a_minute_keeps_within_what_is_stated() -> None:
    outcome = run_case(probe_image(), cases.holdover())
    assert outcome.is_within
    states = {status.state for status in outcome.statuses[60:]}
    assert states == {PpsState.LOCKED, PpsState.HOLDOVER}
    stated = [status.sigma_ns for status in outcome.statuses if status.sigma_ns is not None]
    assert max(stated) > 50 * min(stated)
    assert outcome.statuses[-1].state is PpsState.LOCKED


def test_pulses_at_another_rate_are_named_and_give_no_time() -> None:
    ten_hz = Case(
        name="10 Hz",
        ppm=3.0,
        until_s=6.0,
        pulses=[k / 10 for k in range(60)],
        edges=[[5.0, 5.5], []],
    )
    outcome = run_case(probe_image(), ten_hz)
    assert outcome.statuses[-1].state is PpsState.WRONG_RATE
    assert (outcome.num_lost, outcome.num_unplaced) == (0, 2)


# The tests of the tests


@pytest.mark.parametrize(
    ("why", "changes"),
    [
        ("an edge costs a tick", [(2, 0xA042)]),
        ("two ticks are counted while the level is high", [(5, 0x00C3)]),
        ("a tick takes three cycles while the level is low", [(6, 0x0147)]),
        ("nothing is counted while the level is high", [(4, 0xA042)]),
    ],
)
def test_a_broken_capture_program_is_noticed(why: str, changes: list[tuple[int, int]]) -> None:
    whole = run_case(probe_image(), SHORT)
    broken = run_case(probe_image(), SHORT, program=changed_program(*changes))
    assert whole.is_within
    assert not broken.is_within, why


def bunches() -> list[float]:
    """Edges in bunches, so that what each edge costs adds up between two pulses."""
    return [second + 0.1 + k * 3e-6 for second in (4, 5) for k in range(60)]


SHORT = Case(
    name="short",
    ppm=20.0,
    until_s=6.2,
    pulses=[float(k) for k in range(7)],
    edges=[bunches(), [t + 0.5 for t in bunches()]],
)


def test_the_boot_rom_refuses_an_image_whose_boot2_has_a_wrong_checksum() -> None:
    image = bytearray(probe_image())
    image[UF2_DATA + 4] ^= 1
    with pytest.raises(Exception, match="did not start"):
        Board(bytes(image)).boot()


# What else it says


def test_hello_says_who_it_is() -> None:
    board = Board(probe_image())
    board.boot()
    board.run_until(board.cycle + CPU_HZ // 4)
    (hello,) = [record for record in records_of(board) if isinstance(record, Hello)]
    assert ".".join(map(str, hello.version)) == manifest()["version"]
    assert hello.source_id == manifest()["source_id"]
    assert (hello.protocol, hello.tick_hz, hello.num_inputs, hello.imu) == (1, 62_500_000, 2, 0)
    assert hello.reset_reason == 0


def test_a_motion_sensor_is_found_set_up_and_read_at_100_hz() -> None:
    board = Board(probe_image())
    sensor = MotionSensor(board.chip.i2c[0])
    sensor.set_readings(8192, -1, -8192, -3920, 655, 0, -655)
    board.boot()
    board.run_until(board.cycle + CPU_HZ // 2)
    records = records_of(board)
    samples = [record for record in records if isinstance(record, Motion)]
    first = samples[0]
    assert (first.sensor, first.accel, first.gyro, first.temperature) == (
        *(0x68, (8192, -1, -8192), (655, 0, -655), -3920),
    )
    assert {later.at.tick - earlier.at.tick for earlier, later in pairwise(samples)} == {625_000}
    assert len(samples) >= 25
    assert [sensor.registers[k] for k in (0x6B, 0x1A, 0x1B, 0x1C)] == [1, 3, 8, 8]


def test_a_sensor_that_is_unplugged_is_counted_and_found_again() -> None:
    board = Board(probe_image())
    sensor = MotionSensor(board.chip.i2c[0])
    board.boot()
    board.run_until(board.cycle + CPU_HZ // 2)
    sensor.is_plugged = False
    board.run_until(board.cycle + CPU_HZ // 2)
    sensor.is_plugged = True
    board.take_sent()
    board.run_until(board.cycle + CPU_HZ * 3 // 2)
    records = records_of(board)
    last = [record for record in records if isinstance(record, Status)][-1]
    assert 20 <= last.num_imu_failed <= 22
    assert len([record for record in records if isinstance(record, Motion)]) > 20


def test_the_usb_port_enumerates_and_says_the_same_as_the_serial_one() -> None:
    from rp2040py.usb.cdc import USBCDC

    board = Board(probe_image())
    host, got = USBCDC(board.chip.usb_ctrl), bytearray()
    host.on_serial_data = got.extend
    board.boot()
    board.run_until(board.cycle + 3 * CPU_HZ // 10)  # the emulated host never pauses: it is slow
    over_usb = [record for record, _ in ProbeStream().push(bytes(got))]
    over_uart = records_of(board)
    assert {type(record) for record in over_usb} == {Hello, Status}
    assert over_usb == over_uart[-len(over_usb) :]


def test_a_hang_is_ended_by_the_watchdog_and_told() -> None:
    board = Board(probe_image())
    board.boot()
    board.run_until(board.cycle + CPU_HZ // 4)
    assert records_of(board)
    board.chip.core.enabled_interrupts = 0  # no beat wakes it any more
    board.run_until(board.cycle + CPU_HZ // 100)
    board.take_sent()  # what was under way
    board.run_until(board.cycle + CPU_HZ // 2)
    assert board.take_sent() == b""
    board.run_until(board.cycle + CPU_HZ)
    records = records_of(board)
    assert [record.reset_reason for record in records if isinstance(record, Hello)] == [1]
    statuses = [record for record in records if isinstance(record, Status)]
    assert statuses[0].tick < 62_500_000  # it counts anew
    assert len(statuses) >= 2


# Through the driver


BOOT_NS = 77 * NS_PER_S
"""The node's clock at the true time 0; it is 15 ppm slow."""


def node_ns(t_s: float) -> float:
    """The node's clock at a true time."""
    return BOOT_NS + t_s * (1 - 15e-6) * NS_PER_S


@pytest.fixture(scope="module")
def through_driver() -> tuple[Cable, list[TextLine], list[MetadataBlock], list[TimeSample]]:
    """A run of 11 s whose bytes the real driver reads off a terminal."""
    case = cases.steady(28.0)
    run = CaseRun(probe_image(), case)
    sensor = MotionSensor(run.board.chip.i2c[0])
    sensor.set_readings(8192, 0, 0, -3920, 0, 0, 0)
    cable = Cable(run, node_ns=node_ns)
    told: list[TimeSample] = []
    utc_ahead_ns = 1_764_072_000 * NS_PER_S - BOOT_NS
    pulses = ProbePulses(
        cable.name,
        names=None,
        hand=told.extend,
        utc_error_ns=lambda: 1_000_000,
        read_clock=lambda clock: cable.clock() + (utc_ahead_ns if clock == 0 else 0),
    )
    link = ProbeLink(cable.name, on_pulse=pulses.take, clock_ns=cable.clock)
    edges = ProbeSource(ProbeConfig(port=cable.name, text="edge"), link)
    motion = ProbeSource(ProbeConfig(port=cable.name, what="motion"), link)
    lines: list[TextLine] = []
    rows: list[MetadataBlock] = []
    for _ in cable.deliver(case.until_s - 0.1):
        lines += [sample for sample in edges.read(1.0) if isinstance(sample, TextLine)]
        rows += [sample for sample in motion.read(0.0) if isinstance(sample, MetadataBlock)]
    for source in (edges, motion):
        source.close()
    cable.close()
    return cable, lines, rows, told


Through = tuple[Cable, Sequence[TextLine], Sequence[MetadataBlock], Sequence[TimeSample]]


def test_the_driver_places_edges_on_the_node_s_clock(through_driver: Through) -> None:
    cable, lines, _, _ = through_driver
    true_s = [t for t in cable.run.case.edges[0] if t < 10.7]
    errors = [line.t_node_ns - node_ns(t) for line, t in zip(lines, true_s, strict=False)]
    assert len(errors) > 90
    assert abs(statistics.fmean(errors)) < 150_000
    spread = [error - errors[k] for k, error in enumerate(errors[1:])]
    assert statistics.pstdev(spread) < 20_000


def test_the_driver_makes_evidence_of_the_pulses(through_driver: Through) -> None:
    _, _, _, told = through_driver
    samples = [sample for sample in told if isinstance(sample, PpsSample)]
    assert len(samples) >= 6
    for sample in samples:
        second_s = (sample.t_utc_ns - 1_764_072_000 * NS_PER_S) / NS_PER_S
        assert second_s == round(second_s)
        bound_ns = 3 * (sample.sigma_ns + sample.bias_sigma_ns)
        assert abs(sample.t_node_ns - node_ns(second_s)) < bound_ns


def test_the_driver_makes_rows_of_motion(through_driver: Through) -> None:
    _, _, rows, _ = through_driver
    assert len(rows) > 700
    assert rows[-1].values[0][0] == pytest.approx(9.80665)
    steps = [int(b.t_node_ns[0] - a.t_node_ns[0]) for a, b in pairwise(rows[-200:])]
    assert steps == pytest.approx([10_000_000] * len(steps), abs=100_000)


def test_outcomes_notice_a_lost_edge() -> None:
    case = Case(name="x", ppm=0.0, until_s=6.0, pulses=[], edges=[[5.0]])
    outcome: Outcome = cases.score(case, [], {})
    assert not outcome.is_within
    assert outcome.num_lost == 1
