"""The node's PPS and GPIO code on the interfaces of a real kernel, Debian's stock 6.12 for arm64.

Pins are emulated, and so are their interrupts: numbers, clocks, timeouts and errors are tested
here, accuracy is not (edges come 0.1–2 ms late, and as late as it likes on a loaded machine). A
stamp is held against the node's clock just before and just after its edge, which bound it whatever
the load. PPS devices are on the pins 0 and 4; 1, 2, 5 and 6 are free. The last test takes the chip
away.
"""

import itertools
import time
from typing import Any

import pytest

from .machine import GuestError, Machine

pytestmark = pytest.mark.kernel

NS_PER_S = 1_000_000_000
MS = 1_000_000
SLACK_NS = MS
"""Of putting another clock's stamp on the node's: the two are read one after the other."""
PPS, SECOND_PPS = "/dev/pps0", "/dev/pps1"

Bounds = tuple[int, int]
"""The node's clock before and after an edge."""


def read_pulses(
    machine: Machine,
    do: str,
    gaps_s: list[float],
    *,
    name: str = "line",
    line: int = 0,
    **keys: Any,
) -> tuple[list[Any], list[Bounds]]:
    """Pulses that the guest reads one by one, each so long after the one before or later, and the
    bounds of each. The guest has read a pulse before its pin falls: a driver may look at it."""
    found: list[Any] = []
    bounds: list[Bounds] = []
    due_s = time.monotonic()
    for gap_s in gaps_s:
        due_s += gap_s
        time.sleep(max(due_s - time.monotonic() - 0.1, 0))
        before_ns = machine.settle()
        answer = machine.start(do, name=name, **keys)
        time.sleep(max(due_s - time.monotonic(), 0))
        machine.pin(line, 1)
        found += answer()
        bounds.append((before_ns, machine.settle()))
        machine.pin(line, 0)
        machine.settle()
    return found, bounds


def are_within(times_ns: list[int], bounds: list[Bounds], *, slack_ns: int = SLACK_NS) -> bool:
    """Whether every instant lies between its bounds."""
    return all(
        before_ns - slack_ns <= t_ns <= after_ns + slack_ns
        for t_ns, (before_ns, after_ns) in zip(times_ns, bounds, strict=True)
    )


# The kernel itself


def test_the_kernel_is_the_stock_one_that_has_pps_on_gpio(machine: Machine) -> None:
    assert machine.guest[1].startswith("6.12.")
    assert machine.call("listing", pattern="/dev/pps*") == [PPS, SECOND_PPS]
    assert machine.call("listing", pattern="/dev/gpiochip*") == ["/dev/gpiochip0"]


# PPS


def test_pulses_come_with_their_numbers_in_order_and_stamps_of_the_edges(machine: Machine) -> None:
    machine.call("pps_open", name="line", path=PPS)
    found, bounds = read_pulses(machine, "pps_wait", [0.6, 0.5, 0.7, 0.5, 1.1])
    ahead_ns = machine.call("clocks")["realtime_ahead_ns"]
    machine.call("pps_close", name="line")
    first = found[0]["sequence"]
    assert [pulse["sequence"] for pulse in found] == list(range(first, first + 5))
    assert all(pulse["num_overwritten"] == 0 for pulse in found)
    assert are_within([pulse["t_realtime_ns"] - ahead_ns for pulse in found], bounds)
    assert all(pulse["t_realtime_ns"] <= pulse["woke_realtime_ns"] for pulse in found)


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
    for _ in range(4):
        machine.pulse(0)
    (pulse,) = machine.call("pps_wait", name="line", timeout_s=0.0)
    assert pulse["num_overwritten"] == 3
    machine.call("pps_close", name="line")


def test_no_pulse_is_a_timeout_of_the_kernel_by_its_name(machine: Machine) -> None:
    machine.call("pps_open", name="line", path=PPS)
    before = machine.call("clocks")["node_ns"]
    with pytest.raises(GuestError, match=r"SourceSilent.*no assert edge in 1.5 s"):
        machine.call("pps_wait", name="line", timeout_s=1.5)
    waited_ns = machine.call("clocks")["node_ns"] - before
    assert 1.49 * NS_PER_S < waited_ns < 100 * NS_PER_S
    machine.call("pps_close", name="line")


def test_readings_are_on_the_node_s_clock_and_a_missing_pulse_is_a_gap_there(
    machine: Machine,
) -> None:
    machine.call("pps_open", name="line", path=PPS)
    found, bounds = read_pulses(machine, "pps_read", [0.5, 1.0, 2.0, 1.0])
    machine.call("pps_close", name="line")
    assert are_within([reading["t_node_ns"] for reading in found], bounds)
    assert found[2]["t_node_ns"] - found[1]["t_node_ns"] > 1.5 * NS_PER_S
    assert all(reading["t_node_ns"] <= reading["woke_node_ns"] for reading in found)


def test_a_step_of_the_system_s_clock_loses_one_pulse_and_moves_none(machine: Machine) -> None:
    machine.call("pps_open", name="line", path=PPS)
    before, before_bounds = read_pulses(machine, "pps_read", [0.5])
    began = machine.call("clocks")
    machine.call("step_realtime", seconds=-4321.5)
    stepped = machine.call("clocks")
    took_ns = stepped["node_ns"] - began["node_ns"]
    step_ns = stepped["realtime_ahead_ns"] - began["realtime_ahead_ns"]
    assert step_ns == pytest.approx(-4321.5 * NS_PER_S, abs=took_ns)
    (around, after), (_, bounds) = read_pulses(machine, "pps_read", [0.5, 1.0])
    assert around is None
    assert machine.call("pps_state", name="line")["num_unplaced"] == 1
    machine.call("pps_close", name="line")
    times_ns = [before[0]["t_node_ns"], after["t_node_ns"]]
    assert are_within(times_ns, [*before_bounds, bounds])


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
    settled_ns = [before]
    for level in (1, 0) * 3:
        time.sleep(0.1)
        machine.pin(1, level)
        settled_ns.append(machine.settle())
    found = machine.call("gpio_read", name="strobe", count=6)
    edges = found["edges"]
    assert [edge["rising"] for edge in edges] == [True, False] * 3
    bounds = list(itertools.pairwise(settled_ns))
    assert are_within([edge["t_node_ns"] for edge in edges], bounds)
    assert all(14_000 <= edge["sigma_ns"] < 1_000_000 for edge in edges)
    assert (found["num_overrun"], found["num_unplaced"]) == (0, 0)
    machine.call("gpio_close", name="strobe")


def test_one_event_stamped_by_both_clocks_is_one_instant_on_the_node_s(machine: Machine) -> None:
    """Two pins driven together, as a shared line reaches two nodes: the samples pair."""
    machine.call("gpio_open", name="first", line="1", clock="monotonic")
    machine.call("gpio_open", name="second", line="2", clock="realtime")
    settled_ns = []
    for _ in range(4):
        for level in (1, 0):
            machine.pin(1, level)
            machine.pin(2, level)
            settled_ns.append(machine.settle())
    first = machine.call("gpio_read", name="first", count=4)["edges"]
    second = machine.call("gpio_read", name="second", count=4)["edges"]
    first_ns = [edge["t_node_ns"] for edge in first]
    bounds = list(zip(first_ns, settled_ns[::2], strict=True))
    assert are_within([edge["t_node_ns"] for edge in second], bounds)
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
        machine.pulse(1)
    found = machine.call("gpio_read", name="strobe", count=40, timeout_s=1.0)
    assert len(found["edges"]) == 16
    assert found["num_overrun"] == 24
    machine.pulse(1)
    found = machine.call("gpio_read", name="strobe", count=1)
    assert len(found["edges"]) == 1
    assert found["num_overrun"] == 24
    machine.call("gpio_close", name="strobe")


def test_a_contact_that_bounces_gives_one_edge_at_its_first_touch(machine: Machine) -> None:
    for _ in range(20):  # a bounce that the machine was held up in is none
        machine.call("gpio_open", name="button", line="5", edge="both")
        machine.call("gpio_open", name="calm", line="6", edge="both", debounce_us=1_000_000)
        settled_ns = []
        for level in (1, 0, 1, 0, 1):
            machine.pin(5, level)
            machine.pin(6, level)
            settled_ns.append(machine.settle())
        raw = machine.call("gpio_read", name="button", count=5)["edges"]
        calm = machine.call("gpio_read", name="calm", count=1)
        more = machine.call("gpio_read", name="calm", count=1, timeout_s=0.5)
        for name in ("button", "calm"):
            machine.call("gpio_close", name=name)
        machine.pin(5, 0)
        machine.pin(6, 0)
        machine.settle()
        if all(b - a < NS_PER_S / 2 for a, b in itertools.pairwise(settled_ns)):
            break
    else:
        pytest.skip(f"this machine is too loaded to emulate a bounce: {settled_ns}")
    (edge,) = calm["edges"]
    assert edge["rising"]
    assert (more["edges"], more["num_bounces"]) == ([], 4)
    assert are_within([edge["t_node_ns"]], [(raw[0]["t_node_ns"], settled_ns[0])])


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
