"""The node's PPS and GPIO code on the interfaces of a real kernel, Debian's stock 6.12 for arm64.

Pins are emulated, and so are their interrupts: numbers, clocks, timeouts and errors are tested
here, accuracy is not (edges come 0.1–2 ms late, tens of ms on a loaded machine). PPS devices are on
the pins 0 and 4; 1, 2, 5 and 6 are free. The last test takes the chip away.
"""

import itertools
import time
from typing import Any

import pytest

from .machine import GuestError, Machine

pytestmark = pytest.mark.kernel

NS_PER_S = 1_000_000_000
LATE_S = 0.4
"""An edge comes, and a program wakes, within this of what this machine did."""
LATE_NS = LATE_S * NS_PER_S
PPS, SECOND_PPS = "/dev/pps0", "/dev/pps1"


def pulses(machine: Machine, line: int, gaps_s: list[float]) -> None:
    """Pulses of a pin that nobody waits for, each so long after the one before."""
    for gap_s in gaps_s:
        time.sleep(gap_s)
        machine.pulse(line)


def read_pulses(
    machine: Machine,
    do: str,
    gaps_s: list[float],
    *,
    name: str = "line",
    line: int = 0,
    **keys: Any,
) -> tuple[list[Any], list[float]]:
    """Pulses that the guest reads one by one, and when they rose by this machine's clock."""
    found: list[Any] = []
    rose_s: list[float] = []
    due_s = time.monotonic()
    for gap_s in gaps_s:
        due_s += gap_s
        answer = machine.start(do, name=name, **keys)
        time.sleep(max(due_s - time.monotonic(), 0))
        rose_s.append(machine.pulse(line))
        found += answer()
    return found, rose_s


def gaps(times: list[int] | list[float]) -> list[float]:
    """From each to the next."""
    return [after - before for before, after in itertools.pairwise(times)]


# The kernel itself


def test_the_kernel_is_the_stock_one_that_has_pps_on_gpio(machine: Machine) -> None:
    assert machine.guest[1].startswith("6.12.")
    assert machine.call("listing", pattern="/dev/pps*") == [PPS, SECOND_PPS]
    assert machine.call("listing", pattern="/dev/gpiochip*") == ["/dev/gpiochip0"]


# PPS


def test_pulses_come_with_their_numbers_in_order_and_stamps_of_the_edges(machine: Machine) -> None:
    machine.call("pps_open", name="line", path=PPS)
    found, rose_s = read_pulses(machine, "pps_wait", [0.6, 0.5, 0.7, 0.5, 1.1])
    first = found[0]["sequence"]
    assert [pulse["sequence"] for pulse in found] == list(range(first, first + 5))
    assert all(pulse["num_overwritten"] == 0 for pulse in found)
    gaps_s = [gap_ns / NS_PER_S for gap_ns in gaps([pulse["t_realtime_ns"] for pulse in found])]
    assert gaps_s == pytest.approx(gaps(rose_s), abs=LATE_S)
    for pulse in found:
        assert 0 <= pulse["woke_realtime_ns"] - pulse["t_realtime_ns"] < LATE_NS
    machine.call("pps_close", name="line")


def test_pps_gpio_states_assert_edges_only_and_clear_ones_are_refused(machine: Machine) -> None:
    assert machine.call("pps_open", name="line", path=PPS) == {"capabilities": 0x1151}
    machine.call("pps_close", name="line")
    with pytest.raises(GuestError, match=r"does not capture clear edges \(capabilities 0x1151\)"):
        machine.call("pps_open", name="line", path=PPS, edge="clear")


def test_a_pulse_before_the_opening_is_not_taken_for_a_new_one(machine: Machine) -> None:
    machine.pulse(0)
    machine.call("pps_open", name="line", path=PPS)
    with pytest.raises(GuestError, match="SourceSilent"):
        machine.call("pps_wait", name="line", timeout_s=0.4)
    machine.call("pps_close", name="line")


def test_pulses_that_nobody_read_are_counted_and_the_last_one_is_had_at_once(
    machine: Machine,
) -> None:
    machine.call("pps_open", name="line", path=PPS)
    pulses(machine, 0, [0.1] * 4)
    before_s = time.monotonic()
    (pulse,) = machine.call("pps_wait", name="line", timeout_s=30)
    assert time.monotonic() - before_s < 10
    assert pulse["num_overwritten"] == 3
    machine.call("pps_close", name="line")


def test_no_pulse_is_a_timeout_of_the_kernel_by_its_name(machine: Machine) -> None:
    machine.call("pps_open", name="line", path=PPS)
    before = machine.call("clocks")["node_ns"]
    with pytest.raises(GuestError, match=r"SourceSilent.*no assert edge in 1.5 s"):
        machine.call("pps_wait", name="line", timeout_s=1.5)
    waited_ns = machine.call("clocks")["node_ns"] - before
    assert 1.49 * NS_PER_S < waited_ns < 1.5 * NS_PER_S + 3 * LATE_NS
    machine.call("pps_close", name="line")


def test_readings_are_on_the_node_s_clock_and_a_missing_pulse_is_a_gap_there(
    machine: Machine,
) -> None:
    machine.call("pps_open", name="line", path=PPS)
    found, rose_s = read_pulses(machine, "pps_read", [0.5, 1.0, 2.0, 1.0])
    gaps_s = [gap_ns / NS_PER_S for gap_ns in gaps([reading["t_node_ns"] for reading in found])]
    assert gaps_s == pytest.approx(gaps(rose_s), abs=LATE_S)
    assert gaps_s[1] == pytest.approx(2.0, abs=LATE_S)
    for reading in found:
        assert 0 <= reading["woke_node_ns"] - reading["t_node_ns"] < LATE_NS
    machine.call("pps_close", name="line")


def test_a_step_of_the_system_s_clock_loses_one_pulse_and_moves_none(machine: Machine) -> None:
    machine.call("pps_open", name="line", path=PPS)
    (before,), _ = read_pulses(machine, "pps_read", [0.5])
    ahead = machine.call("clocks")["realtime_ahead_ns"]
    machine.call("step_realtime", seconds=-4321.5)
    stepped = machine.call("clocks")["realtime_ahead_ns"]
    assert stepped - ahead == pytest.approx(-4321.5 * NS_PER_S, abs=LATE_NS)
    (around, after), _ = read_pulses(machine, "pps_read", [0.5, 1.0])
    assert around is None
    assert machine.call("pps_state", name="line")["num_unplaced"] == 1
    assert 1.4 < (after["t_node_ns"] - before["t_node_ns"]) / NS_PER_S < 10
    assert 0 <= after["woke_node_ns"] - after["t_node_ns"] < LATE_NS
    machine.call("pps_close", name="line")


def test_a_second_is_named_once_the_kernel_is_told_that_its_time_is_utc(machine: Machine) -> None:
    machine.call("pps_open", name="line", path=PPS)
    assert machine.call("say_synchronised", max_error_us=None) is None
    found, _ = read_pulses(machine, "pps_read", [1.0] * 5)
    assert all(reading["t_utc_ns"] is None for reading in found)
    error_ns = machine.call("say_synchronised", max_error_us=1000)
    assert 1_000_000 <= error_ns < 10_000_000
    named: list[dict[str, int]] = []
    for _ in range(5):
        found, _ = read_pulses(machine, "pps_read", [1.0] * 4)
        named += [reading for reading in found if reading["t_utc_ns"] is not None]
        if named:
            break
    else:
        pytest.skip("this machine is too loaded to emulate a pulse within 2 ms of its second")
    ahead_ns = machine.call("clocks")["realtime_ahead_ns"]
    for reading in named:
        assert reading["verdict"] == "good"
        assert reading["t_utc_ns"] % NS_PER_S == 0
        assert abs(reading["t_node_ns"] + ahead_ns - reading["t_utc_ns"]) <= NS_PER_S // 2
    machine.call("say_synchronised", max_error_us=None)
    machine.call("pps_close", name="line")


def test_a_receiver_s_sentences_name_the_pulses_where_no_clock_knows_utc(
    machine: Machine,
) -> None:
    first_utc_s = 1_795_000_000
    assert machine.call("say_synchronised", max_error_us=None) is None
    for _ in range(3):
        machine.call("gnss_open", name="line", path=PPS)
        found, _ = read_pulses(machine, "gnss_read", [1.0] * 10, first_utc_s=first_utc_s)
        machine.call("gnss_close", name="line")
        named = [reading for reading in found if reading["t_utc_ns"] is not None]
        if named:
            break
    else:
        pytest.skip("this machine is too loaded to emulate a pulse within 2 ms of its second")
    for reading in named:
        since_s = round((reading["t_node_ns"] - found[0]["t_node_ns"]) / NS_PER_S)
        assert reading["t_utc_ns"] == (first_utc_s + since_s) * NS_PER_S
        (fix_ns,) = reading["fixes_ns"]
        assert fix_ns == reading["t_node_ns"]  # its own second is that of the pulse


def test_a_device_is_refused_to_a_user_without_the_right_and_given_to_one_with_it(
    machine: Machine,
) -> None:
    told = machine.call("as_nobody", what="pps_open", name="line", path=PPS)
    assert told["error"] == "SourceForbidden"
    assert "udev rule" in told["says"]
    machine.call("chmod", path=PPS, mode=0o444)
    told = machine.call("as_nobody", what="pps_open", name="line", path=PPS)
    assert told == {"ok": {"capabilities": 0x1151}}


def test_what_is_no_pps_device_or_not_there_is_named(machine: Machine) -> None:
    with pytest.raises(GuestError, match=r"SourceUnfit.*gpiochip0.*it is no PPS device"):
        machine.call("pps_open", name="line", path="/dev/gpiochip0")
    with pytest.raises(GuestError, match=r"SourceAbsent.*pps9: No such file"):
        machine.call("pps_open", name="line", path="/dev/pps9")


def test_a_device_that_captures_both_edges_is_set_to_the_wanted_one_by_who_may(
    machine: Machine,
) -> None:
    """A terminal with the PPS line discipline, as a serial receiver's DCD pin is read."""
    machine.call("tty_attach", name="receiver")
    (device,) = set(machine.call("listing", pattern="/dev/pps*")) - {PPS, SECOND_PPS}
    machine.call("pps_set_mode", path=device, mode=0x11)
    machine.call("chmod", path=device, mode=0o444)
    told = machine.call("as_nobody", what="pps_open", name="serial", path=device, edge="clear")
    assert told["error"] == "SourceForbidden"
    assert "CAP_SYS_TIME" in told["says"]
    told = machine.call("pps_open", name="serial", path=device, edge="clear")
    assert told["capabilities"] & 0x3 == 0x3
    told = machine.call("as_nobody", what="pps_open", name="serial", path=device, edge="clear")
    assert "ok" in told  # it is captured now, so no privilege is needed
    machine.call("tty_unplug", name="receiver")
    with pytest.raises(GuestError, match=r"SourceLost: .* is gone: unplugged"):
        machine.call("pps_wait", name="serial", timeout_s=0.5)
    machine.call("pps_close", name="serial")


def test_a_device_whose_driver_is_unbound_is_lost_and_comes_back_anew(machine: Machine) -> None:
    driver = "/sys/bus/platform/drivers/pps-gpio"
    machine.call("pps_open", name="second", path=SECOND_PPS)
    read_pulses(machine, "pps_wait", [0.3], name="second", line=4)
    machine.call("write", path=f"{driver}/unbind", text="pps-4")
    with pytest.raises(GuestError, match=r"SourceLost: /dev/pps1 is gone: unplugged, or its dri"):
        machine.call("pps_wait", name="second", timeout_s=0.5)
    machine.call("pps_close", name="second")
    machine.call("write", path=f"{driver}/bind", text="pps-4")
    machine.call("pps_open", name="second", path=SECOND_PPS)
    (pulse,), _ = read_pulses(machine, "pps_wait", [0.3], name="second", line=4)
    assert pulse["num_overwritten"] == 0
    machine.call("pps_close", name="second")


# GPIO


@pytest.mark.parametrize("clock", ["monotonic", "realtime"])
def test_edges_are_stamped_on_the_node_s_clock_whatever_clock_the_kernel_used(
    machine: Machine, clock: str
) -> None:
    machine.call("gpio_open", name="strobe", line="1", edge="both", clock=clock)
    before = machine.call("clocks")["node_ns"]
    answer = machine.start("gpio_read", name="strobe", count=6)
    for _ in range(3):
        time.sleep(0.3)
        machine.pulse(1, width_s=0.2)
    found = answer()
    edges = found["edges"]
    assert [edge["rising"] for edge in edges] == [True, False] * 3
    times = [edge["t_node_ns"] for edge in edges]
    assert times == sorted(times)
    assert before < times[0]
    assert times[-1] <= found["read_node_ns"]
    for rise_ns, fall_ns in zip(times[::2], times[1::2], strict=True):
        assert fall_ns - rise_ns == pytest.approx(0.2 * NS_PER_S, abs=LATE_NS / 2)
    assert all(14_000 <= edge["sigma_ns"] < 1_000_000 for edge in edges)
    assert (found["num_overrun"], found["num_unplaced"]) == (0, 0)
    machine.call("gpio_close", name="strobe")


def test_one_event_stamped_by_both_clocks_is_one_instant_on_the_node_s(machine: Machine) -> None:
    """Two pins driven together, as a shared line reaches two nodes: the samples pair."""
    machine.call("gpio_open", name="first", line="1", clock="monotonic")
    machine.call("gpio_open", name="second", line="2", clock="realtime")
    for _ in range(4):
        for level in (1, 0):
            machine.pin(1, level)
            machine.pin(2, level)
        time.sleep(0.1)
    first = machine.call("gpio_read", name="first", count=4)["edges"]
    second = machine.call("gpio_read", name="second", count=4)["edges"]
    apart_ns = [b["t_node_ns"] - a["t_node_ns"] for a, b in zip(first, second, strict=True)]
    assert all(abs(each) < LATE_NS / 3 for each in apart_ns)
    assert sorted(apart_ns)[1] < 20_000_000
    for name in ("first", "second"):
        machine.call("gpio_close", name=name)


@pytest.mark.parametrize(("edge", "expected"), [("rising", True), ("falling", False)])
def test_the_kernel_sends_only_the_edges_asked_for(
    machine: Machine, edge: str, expected: bool
) -> None:
    machine.call("gpio_open", name="strobe", line="1", edge=edge)
    for _ in range(3):
        machine.pulse(1)
    found = machine.call("gpio_read", name="strobe", count=6, timeout_s=1.0)
    assert [each["rising"] for each in found["edges"]] == [expected] * 3
    machine.call("gpio_close", name="strobe")


def test_edges_beyond_the_kernel_s_buffer_are_counted_and_the_newest_are_kept(
    machine: Machine,
) -> None:
    machine.call("gpio_open", name="strobe", line="1", buffer_events=16)
    for _ in range(40):
        machine.pulse(1, width_s=0.008)
        time.sleep(0.008)
    found = machine.call("gpio_read", name="strobe", count=40, timeout_s=1.0)
    assert len(found["edges"]) == 16
    assert found["num_overrun"] == 24
    machine.pulse(1)
    found = machine.call("gpio_read", name="strobe", count=1)
    assert len(found["edges"]) == 1
    assert found["num_overrun"] == 24
    machine.call("gpio_close", name="strobe")


def test_a_contact_that_bounces_gives_one_edge_at_its_first_touch(machine: Machine) -> None:
    machine.call("gpio_open", name="button", line="5", edge="both")
    machine.call("gpio_open", name="calm", line="6", edge="both", debounce_us=400_000)
    for level in (1, 0, 1, 0, 1):
        machine.pin(5, level)
        machine.pin(6, level)
        time.sleep(0.01)
    raw = machine.call("gpio_read", name="button", count=5)["edges"]
    calm = machine.call("gpio_read", name="calm", count=2, timeout_s=3.0)
    (edge,) = calm["edges"]
    assert edge["rising"]
    assert calm["num_bounces"] == 4
    assert abs(edge["t_node_ns"] - raw[0]["t_node_ns"]) < LATE_NS / 3
    for name in ("button", "calm"):
        machine.call("gpio_close", name=name)
    machine.pin(5, 0)
    machine.pin(6, 0)


def test_a_step_of_the_system_s_clock_loses_edges_of_that_clock_only(machine: Machine) -> None:
    machine.call("gpio_open", name="steady", line="1", clock="monotonic")
    machine.call("gpio_open", name="stepped", line="2", clock="realtime")
    for line in (1, 2):
        machine.pulse(line)
    machine.call("step_realtime", seconds=4321.5)
    steady = machine.call("gpio_read", name="steady", count=1)
    stepped = machine.call("gpio_read", name="stepped", count=1, timeout_s=1.0)
    assert (len(steady["edges"]), steady["num_unplaced"]) == (1, 0)
    assert (len(stepped["edges"]), stepped["num_unplaced"]) == (0, 1)
    for name in ("steady", "stepped"):
        machine.call("gpio_close", name=name)


def test_a_hardware_engine_that_is_not_there_is_named_with_what_to_use(machine: Machine) -> None:
    with pytest.raises(GuestError, match=r"SourceUnfit.*use monotonic"):
        machine.call("gpio_open", name="strobe", line="1", clock="hte")


def test_a_line_that_the_kernel_uses_itself_is_busy(machine: Machine) -> None:
    with pytest.raises(GuestError, match=r"SourceBusy: cannot watch line 0 .*kernel PPS source"):
        machine.call("gpio_open", name="strobe", line="0")


@pytest.mark.parametrize("line", ["8", "99999", "GPIO17"])
def test_a_line_that_the_chip_does_not_have_is_named(machine: Machine, line: str) -> None:
    with pytest.raises(GuestError, match=r"SourceAbsent: .*gpioinfo"):
        machine.call("gpio_open", name="strobe", line=line)


def test_what_is_no_gpio_chip_is_refused(machine: Machine) -> None:
    with pytest.raises(GuestError, match="SourceUnfit: cannot watch line 1 of /dev/pps0"):
        machine.call("gpio_open", name="strobe", line="1", chip=PPS)


def test_a_chip_is_refused_to_a_user_without_the_right(machine: Machine) -> None:
    told = machine.call("as_nobody", what="gpio_open", name="strobe", line="1")
    assert told["error"] == "SourceForbidden"
    assert "on a Pi: gpio" in told["says"]


def test_a_chip_that_is_unplugged_is_lost_to_every_line_and_pulse(machine: Machine) -> None:
    """The last test: the machine has only one chip."""
    machine.call("gpio_open", name="strobe", line="1")
    machine.call("pps_open", name="line", path=PPS)
    machine.call("write", path="/sys/bus/amba/drivers/pl061_gpio/unbind", text="9030000.pl061")
    with pytest.raises(GuestError, match=r"SourceLost: cannot read line 1 .*open the line anew"):
        machine.call("gpio_read", name="strobe", count=1, timeout_s=1.0)
    with pytest.raises(GuestError, match=r"SourceLost: /dev/pps0 is gone"):
        machine.call("pps_wait", name="line", timeout_s=0.5)
    with pytest.raises(GuestError, match="SourceAbsent"):
        machine.call("gpio_open", name="again", line="1")
