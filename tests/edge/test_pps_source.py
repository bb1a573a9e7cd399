"""PPS through RFC 2783. No machine that runs these tests has a PPS pin, so `ioctl` is invented.

The invented kernel answers in the bytes of uapi/linux/pps.h, written out here once more; what a
real kernel answers is tested in `tests/kernel`.
"""

import errno
import os
import struct
from pathlib import Path

import pytest

from coeval.errors import BadConfig, CoevalError
from coeval.pulse_names import PulseNames
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.kernel_clocks import KernelClock
from coeval_edge.sources.errors import (
    SourceAbsent,
    SourceForbidden,
    SourceLost,
    SourceSilent,
    SourceUnfit,
)
from coeval_edge.sources.pps import PpsConfig, PpsSource, open_pps
from coeval_edge.sources.pps_device import PpsDevice, PpsEdge

REQUESTS = {0x00A1: "get", 0x00A2: "set", 0x00A3: "capabilities", 0x00A4: "fetch"}
ASSERT_ONLY, BOTH = 0x1151, 0x1173
START_UTC_NS = 1_750_000_000 * NS_PER_S


class InventedKernel:
    """A PPS device in virtual time: pulses come when the program waits for them."""

    def __init__(self, path: Path, pulses_ns: list[int], *, capabilities: int = ASSERT_ONLY):
        path.touch()
        self.path = path
        self.capabilities = capabilities
        self.mode = 0x11
        self.pulses_ns = pulses_ns
        self.now_ns = START_UTC_NS
        self.raw_behind_ns = START_UTC_NS - 500 * NS_PER_S
        self.edge_field = "assert"
        self.refuse: dict[str, int] = {}
        self.interrupted = 0

    def ioctl(self, fd: int, request: int, data: bytearray) -> int:
        assert fd >= 0
        assert (request >> 8 & 0xFF, request >> 16 & 0x3FFF) == (ord("p"), struct.calcsize("P"))
        what = REQUESTS[request & 0xFF]
        if what in self.refuse:
            raise OSError(self.refuse[what], os.strerror(self.refuse[what]))
        match what:
            case "capabilities":
                data[:] = struct.pack("=i", self.capabilities)
            case "get":
                data[:] = struct.pack("=iiqiIqiI", 1, self.mode, 0, 0, 0, 0, 0, 0)
            case "set":
                self.mode = struct.unpack_from("=i", data, 4)[0]
            case "fetch":
                self._fetch(data)
        return 0

    def _fetch(self, data: bytearray) -> None:
        seconds, nanoseconds, flags = struct.unpack_from("=qiI", data, 48)
        assert flags == 0, "a wait without an end would never notice that the device is gone"
        timeout_ns = seconds * NS_PER_S + nanoseconds
        if timeout_ns:
            if self.interrupted:
                self.interrupted -= 1
                raise InterruptedError(errno.EINTR, "a signal")
            coming = [pulse for pulse in self.pulses_ns if pulse > self.now_ns]
            if not coming or coming[0] > self.now_ns + timeout_ns:
                self.now_ns += timeout_ns
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
            self.now_ns = coming[0] + 30_000
        past = [pulse for pulse in self.pulses_ns if pulse <= self.now_ns]
        stamp = divmod(past[-1], NS_PER_S) if past else (0, 0)
        pulse, none = (len(past), *stamp), (0, 0, 0)
        first, second = (pulse, none) if self.edge_field == "assert" else (none, pulse)
        struct.pack_into("=II", data, 0, first[0], second[0])
        struct.pack_into("=qiIqiI", data, 8, *first[1:], 0, *second[1:], 0)

    def read_clock(self, clock: int) -> int:
        return self.now_ns - self.raw_behind_ns if clock == KernelClock.RAW else self.now_ns

    def open(self, edge: PpsEdge = "assert") -> PpsDevice:
        return PpsDevice(
            self.path, edge=edge, ioctl=self.ioctl, monotonic=lambda: self.now_ns / NS_PER_S
        )


def seconds(*numbers: float) -> list[int]:
    return [START_UTC_NS + round(number * NS_PER_S) for number in numbers]


@pytest.fixture
def kernel(tmp_path: Path) -> InventedKernel:
    return InventedKernel(tmp_path / "pps0", seconds(*range(1, 40)))


def source(
    kernel: InventedKernel,
    *,
    utc_error_ns: int | None = 50_000_000,
    names: PulseNames | None = None,
) -> PpsSource:
    return PpsSource(
        kernel.open(),
        read_clock=kernel.read_clock,
        utc_error_ns=lambda: utc_error_ns,
        names=names,
    )


def test_every_pulse_is_read_once_with_its_number_and_stamp(kernel: InventedKernel) -> None:
    with kernel.open() as device:
        pulses = [device.wait(3.0) for _ in range(5)]
    assert [pulse.sequence for pulse in pulses] == [1, 2, 3, 4, 5]
    assert [pulse.t_realtime_ns for pulse in pulses] == seconds(1, 2, 3, 4, 5)
    assert all(pulse.num_overwritten == 0 for pulse in pulses)


def test_a_pulse_from_before_the_opening_is_not_read(kernel: InventedKernel) -> None:
    kernel.now_ns = seconds(7.5)[0]
    with kernel.open() as device:
        assert device.wait(3.0).sequence == 8


def test_a_pulse_that_came_between_two_calls_is_read_at_once(kernel: InventedKernel) -> None:
    with kernel.open() as device:
        device.wait(3.0)
        kernel.now_ns = seconds(2.4)[0]
        assert device.wait(3.0).t_realtime_ns == seconds(2)[0]
        assert kernel.now_ns == seconds(2.4)[0]


def test_pulses_nobody_read_in_time_are_counted(kernel: InventedKernel) -> None:
    with kernel.open() as device:
        device.wait(3.0)
        kernel.now_ns = seconds(6.4)[0]
        pulse = device.wait(3.0)
    assert (pulse.sequence, pulse.num_overwritten) == (6, 4)


def test_the_sequence_goes_on_through_its_overflow(kernel: InventedKernel) -> None:
    with kernel.open() as device:
        device._sequence = 2**32 - 1
        kernel.pulses_ns = []
        assert device.wait(3.0).num_overwritten == 0


def test_a_signal_does_not_end_the_wait(kernel: InventedKernel) -> None:
    with kernel.open() as device:
        kernel.interrupted = 2
        assert device.wait(3.0).sequence == 1


def test_no_pulse_in_time_is_named_with_what_to_look_at(kernel: InventedKernel) -> None:
    kernel.pulses_ns = []
    with (
        kernel.open() as device,
        pytest.raises(SourceSilent, match=r"no assert edge in 3 s; .*fix"),
    ):
        device.wait(3.0)
    assert kernel.now_ns == pytest.approx(START_UTC_NS + 3 * NS_PER_S, abs=10)


def test_a_device_that_is_unplugged_is_lost_not_silent(kernel: InventedKernel) -> None:
    """The kernel only lets the wait time out: the open file outlives the device."""
    with kernel.open() as device:
        device.wait(3.0)
        kernel.pulses_ns = kernel.pulses_ns[:1]
        kernel.path.unlink()
        with pytest.raises(SourceLost, match="is gone: unplugged"):
            device.wait(3.0)


def test_another_device_under_the_same_name_is_not_taken_for_the_old_one(
    kernel: InventedKernel,
) -> None:
    with kernel.open() as device:
        kernel.pulses_ns = []
        another = kernel.path.with_name("another")
        another.touch()
        another.rename(kernel.path)
        with pytest.raises(SourceLost):
            device.wait(1.0)


@pytest.mark.parametrize("code", [errno.ENODEV, errno.EIO])
def test_a_kernel_that_says_the_device_is_gone_is_believed(
    kernel: InventedKernel, code: int
) -> None:
    with kernel.open() as device:
        kernel.refuse["fetch"] = code
        with pytest.raises(SourceLost, match=r"cannot read .*; open it anew"):
            device.wait(1.0)


def test_a_device_without_the_wanted_edge_is_refused_by_its_capabilities(
    kernel: InventedKernel,
) -> None:
    with pytest.raises(SourceUnfit, match=r"does not capture clear edges.*0x1151.*edge = 'assert'"):
        kernel.open("clear")


def test_a_device_that_cannot_wait_is_refused(kernel: InventedKernel) -> None:
    kernel.capabilities = ASSERT_ONLY & ~0x100
    with pytest.raises(SourceUnfit, match="PPS_CANWAIT"):
        kernel.open()


def test_clear_edges_are_captured_where_the_device_can(kernel: InventedKernel) -> None:
    kernel.capabilities, kernel.edge_field = BOTH, "clear"
    with kernel.open("clear") as device:
        assert kernel.mode == 0x13
        assert device.wait(3.0).t_realtime_ns == seconds(1)[0]


def test_an_edge_that_is_captured_already_needs_no_privilege(kernel: InventedKernel) -> None:
    kernel.refuse["set"] = errno.EPERM
    with kernel.open() as device:
        assert device.wait(3.0).sequence == 1


def test_changing_the_mode_without_the_right_to_says_which_right(kernel: InventedKernel) -> None:
    kernel.capabilities, kernel.refuse = BOTH, {"set": errno.EPERM}
    with pytest.raises(SourceForbidden, match="CAP_SYS_TIME"):
        kernel.open("clear")


def test_a_failed_opening_leaves_no_file_open(kernel: InventedKernel) -> None:
    before = set(os.listdir("/proc/self/fd"))
    kernel.capabilities = 0
    with pytest.raises(SourceUnfit):
        kernel.open()
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_device_that_is_not_there_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(SourceAbsent, match=r"cannot open .*pps7.*dtoverlay=pps-gpio"):
        open_pps(PpsConfig(device=tmp_path / "pps7"))


def test_another_kind_of_device_is_named_so() -> None:
    with pytest.raises(SourceUnfit, match=r"/dev/null.*it is no PPS device"):
        open_pps(PpsConfig(device=Path("/dev/null")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_device_that_may_not_be_read_says_how_to_allow_it(tmp_path: Path) -> None:
    (tmp_path / "pps0").touch(mode=0o000)
    with pytest.raises(SourceForbidden, match="udev rule"):
        open_pps(PpsConfig(device=tmp_path / "pps0"))


def test_errno_13_is_forbidden(kernel: InventedKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(SourceForbidden, match=r"pps0: Permission denied; .*udev rule"):
        kernel.open()


def test_good_pulses_are_evidence_of_utc_on_the_node_s_clock(kernel: InventedKernel) -> None:
    line = source(kernel)
    readings = [line.read(3.0) for _ in range(10)]
    samples = [reading.sample for reading in readings if reading is not None]
    assert samples[:3] == [None] * 3  # the grid is being found
    for number, sample in enumerate(samples[3:], start=4):
        assert sample is not None
        assert sample.t_utc_ns == START_UTC_NS + number * NS_PER_S
        assert abs(sample.t_node_ns - (500 + number) * NS_PER_S) <= 1
        assert 0 < sample.sigma_ns < 1_000_000
    assert line.health.state == "locked"


def test_without_a_clock_that_is_roughly_utc_no_second_is_named(kernel: InventedKernel) -> None:
    line = source(kernel, utc_error_ns=None)
    readings = [line.read(3.0) for _ in range(8)]
    assert readings[-1] is not None
    assert readings[-1].judged.verdict == "good"
    assert readings[-1].t_utc_ns is None
    assert readings[-1].sample is None


def test_a_step_of_the_system_s_clock_moves_no_pulse_on_the_node_s(kernel: InventedKernel) -> None:
    line = source(kernel)
    for _ in range(8):
        line.read(3.0)
    step_ns = 1234 * NS_PER_S + 300_000_000
    kernel.now_ns += step_ns
    kernel.raw_behind_ns += step_ns
    kernel.pulses_ns = kernel.pulses_ns[:8] + [stamp + step_ns for stamp in kernel.pulses_ns[8:]]
    readings = [line.read(3.0) for _ in range(4)]
    assert readings[0] is None
    assert line.num_unplaced == 1
    for number, reading in enumerate(readings[1:], start=10):
        assert reading is not None
        assert reading.judged.verdict == "good"
        assert abs(reading.judged.t_node_ns - (500 + number) * NS_PER_S) <= 1
    assert "1 around steps of the clock not used" in str(line)


def test_a_line_gone_silent_says_so(kernel: InventedKernel) -> None:
    kernel.pulses_ns = seconds(1, 2, 3, 4, 5)
    line = source(kernel)
    for _ in range(5):
        line.read(3.0)
    for _ in range(3):
        with pytest.raises(SourceSilent):
            line.read(3.0)
    assert line.health.state == "silent"
    assert "pps0 (assert): no pulses: look at the wiring" in str(line)


def test_pulses_read_too_late_are_told_apart_from_pulses_missed(kernel: InventedKernel) -> None:
    line = source(kernel)
    for _ in range(5):
        line.read(3.0)
    del kernel.pulses_ns[8:10]
    kernel.now_ns = seconds(8.2)[0]
    late, after_gap = line.read(3.0), line.read(3.0)
    assert late is not None
    assert after_gap is not None
    assert (late.num_overwritten, late.judged.num_missed) == (2, 0)
    assert (after_gap.num_overwritten, after_gap.judged.num_missed) == (0, 2)
    assert line.num_overwritten == 2


@pytest.mark.parametrize("edge", ["rising", "", "ASSERT"])
def test_an_unknown_edge_is_refused_by_the_configuration(edge: str) -> None:
    with pytest.raises(BadConfig, match="edge must be 'assert' or 'clear'"):
        PpsConfig(edge=edge)


def test_every_error_of_a_source_is_one_the_program_reports_in_a_line() -> None:
    for kind in (SourceAbsent, SourceForbidden, SourceUnfit, SourceLost, SourceSilent):
        assert issubclass(kind, CoevalError)


SECONDS_AWAY = 7200
"""What the receiver of these tests calls a second, from what the invented system does."""


def read_named(kernel: InventedKernel, names: PulseNames, utc_error_ns: int | None) -> list[object]:
    """Ten pulses, each followed by its receiver's sentence; their seconds after START."""
    line, found = source(kernel, utc_error_ns=utc_error_ns, names=names), []
    for k in range(1, 11):
        reading = line.read(3.0)
        assert reading is not None
        found.append(reading.t_utc_ns and (reading.t_utc_ns - START_UTC_NS) // NS_PER_S)
        told_ns = START_UTC_NS + (k + SECONDS_AWAY) * NS_PER_S
        names.sentence(NodeNs(reading.judged.t_node_ns + 300_000_000), told_ns)
    assert line.state == (
        "locked, seconds named" if found[-1] else "locked, but nothing names the second"
    )
    assert line.num_contradicted == (0 if utc_error_ns is None else 4)
    return found


def test_a_receiver_s_sentences_name_seconds_where_no_clock_knows_utc(
    kernel: InventedKernel,
) -> None:
    found = read_named(kernel, PulseNames(), None)
    assert found == [None] * 6 + [k + SECONDS_AWAY for k in (7, 8, 9, 10)]


def test_a_pulse_that_the_receiver_and_the_system_name_differently_is_not_used(
    kernel: InventedKernel,
) -> None:
    found = read_named(kernel, PulseNames(), 50_000_000)
    assert found == [None] * 3 + [4, 5, 6] + [None] * 4
