"""What ptp4l says becomes evidence of UTC or of its grandmaster, with bounds, or nothing."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from coeval.evidence import UTC
from coeval_edge.kernel_clocks import KernelClock, measure_difference
from coeval_edge.ptp import PtpState, PtpStatements, ask_ptp, card_clock, parse_pmc

S = 1_000_000_000
ANSWER = """sending: GET TIME_STATUS_NP
sending: GET CURRENT_DATA_SET
\t1a0376.fffe.7d3af2-0 seq 0 RESPONSE MANAGEMENT TIME_STATUS_NP 
\t\tmaster_offset              -812
\t\tingress_time               1700000000000000500
\t\tcumulativeScaledRateOffset +0.000000000
\t\tlastGmPhaseChange          0x0000'0000000000000000.0000
\t\tgmPresent                  true
\t\tgmIdentity                 bef192.fffe.af42be
sending: GET PARENT_DATA_SET
\t1a0376.fffe.7d3af2-0 seq 1 RESPONSE MANAGEMENT CURRENT_DATA_SET 
\t\tstepsRemoved     2
\t\toffsetFromMaster -812.0
\t\tmeanPathDelay    9000.0
\t1a0376.fffe.7d3af2-0 seq 2 RESPONSE MANAGEMENT PARENT_DATA_SET 
\t\tgm.ClockClass                         6
\t\tgm.ClockAccuracy                      0x21
\t\tgrandmasterIdentity                   bef192.fffe.af42be
\t1a0376.fffe.7d3af2-0 seq 3 RESPONSE MANAGEMENT TIME_PROPERTIES_DATA_SET 
\t\tcurrentUtcOffset      37
\t\tcurrentUtcOffsetValid 1
\t\tptpTimescale          1
\t\ttimeTraceable         1
\t1a0376.fffe.7d3af2-1 seq 4 RESPONSE MANAGEMENT PORT_PROPERTIES_NP 
\t\tportIdentity            1a0376.fffe.7d3af2-1
\t\tportState               SLAVE
\t\ttimestamping            SOFTWARE
\t\tinterface               eth0
\t1a0376.fffe.7d3af2-2 seq 4 RESPONSE MANAGEMENT PORT_PROPERTIES_NP 
\t\tportIdentity            1a0376.fffe.7d3af2-2
\t\tportState               MASTER
\t\ttimestamping            SOFTWARE
\t\tinterface               eth1
"""  # noqa: W291  pmc ends its headings with a space


class InventedKernel:
    """REALTIME is `ahead_ns` ahead of the node's clock."""

    def __init__(self) -> None:
        self.node_ns, self.ahead_ns = 50 * S, 1_699_999_940 * S

    def __call__(self, clock: int) -> int:
        return self.node_ns + (self.ahead_ns if clock == KernelClock.REALTIME else 0)


def parsed(text: str = ANSWER) -> PtpState:
    state = parse_pmc(text)
    assert state is not None
    return state


def test_the_answer_of_a_port_that_follows_is_read() -> None:
    state = parsed()
    assert (state.port_state, state.grandmaster, state.steps) == ("SLAVE", "bef192.fffe.af42be", 2)
    assert (state.offset_ns, state.path_delay_ns) == (-812, 9000.0)
    assert (state.utc_offset_s, state.accuracy_ns) == (37, 100)
    assert state.unusable is None


def test_a_traceable_master_ties_the_node_to_utc_within_its_bounds() -> None:
    kernel = InventedKernel()
    statements = PtpStatements(read=kernel)
    kernel.node_ns = 61 * S
    statement = statements.statement_of(parsed())
    assert statement is not None
    assert (statement.by, statement.of) == ("ptp4l", UTC)
    assert statement.t_node_ns == 60 * S + 500
    # The device is 812 ns behind the master, whose time is 37 s ahead of UTC.
    assert statement.t_utc_ns == 1_700_000_000 * S + 500 + 812 - 37 * S
    # Two links of 9 µs there and back, half of each either way, and the announced 100 ns.
    assert statement.bias_sigma_ns == pytest.approx(9100 / 3**0.5)


@pytest.mark.parametrize("line", ["ptpTimescale", "currentUtcOffsetValid", "timeTraceable"])
def test_a_master_that_does_not_claim_utc_ties_the_node_to_itself(line: str) -> None:
    kernel = InventedKernel()
    statements = PtpStatements(read=kernel)
    kernel.node_ns = 61 * S
    told = [text if line not in text else f"\t\t{line} 0" for text in ANSWER.splitlines()]
    statement = statements.statement_of(parsed("\n".join(told)))
    assert statement is not None
    assert statement.of == "@ptp-bef192.fffe.af42be"
    assert statement.t_utc_ns == 1_700_000_000 * S + 500 + 812


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("SLAVE", "LISTENING", "follows nobody"),
        ("1700000000000000500", "0", "measured nothing"),
    ],
)
def test_what_says_nothing_of_the_system_s_clock_is_named(old: str, new: str, reason: str) -> None:
    state = parsed(ANSWER.replace(old, new))
    assert reason in (state.unusable or "")
    assert PtpStatements(read=InventedKernel()).statement_of(state) is None


def test_an_offset_is_told_once_and_not_when_it_is_from_before_the_last_question() -> None:
    kernel = InventedKernel()
    early = PtpStatements(read=kernel)
    kernel.node_ns = 61 * S
    assert early.statement_of(parsed()) is not None
    assert early.statement_of(parsed()) is None
    assert PtpStatements(read=kernel).statement_of(parsed()) is None
    old = replace(parsed(), measured_ns=parsed().measured_ns + 1)
    assert early.statement_of(old) is None


def test_nothing_is_said_when_the_system_s_clock_was_stepped_after_the_measurement() -> None:
    kernel = InventedKernel()
    statements = PtpStatements(read=kernel)
    kernel.node_ns, kernel.ahead_ns = 61 * S, kernel.ahead_ns + 37 * S
    assert statements.statement_of(parsed()) is None


def test_stamps_of_a_network_card_are_put_on_the_node_s_clock_by_the_card_s_own() -> None:
    kernel = InventedKernel()
    card = 77

    def read(clock: int) -> int:
        return kernel(KernelClock.REALTIME) - 5 * S if clock == card else kernel(clock)

    opened: list[str] = []
    statements = PtpStatements(read=read, open_card=lambda name: opened.append(name) or card)
    state = replace(parsed(), timestamping="HARDWARE")
    assert statements.statement_of(state) is None  # the card was not watched before
    kernel.node_ns = 66 * S
    statement = statements.statement_of(state)
    assert statement is not None
    assert statement.t_node_ns == 65 * S + 500
    assert opened == ["eth0"]


def test_a_card_whose_clock_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    assert card_clock("eth0", root=tmp_path) is None
    (tmp_path / "sys/class/net/eth0/device/ptp/ptp0").mkdir(parents=True)
    assert card_clock("eth0", root=tmp_path) is None
    statements = PtpStatements(read=InventedKernel(), open_card=lambda _name: None)
    assert statements.statement_of(replace(parsed(), timestamping="HARDWARE")) is None


def test_a_slewed_clock_is_interpolated_between_two_questions() -> None:
    kernel = InventedKernel()
    statements = PtpStatements(read=kernel)
    # In the eleven seconds since, 550 µs were added; at the stamp, 10 of 11 of them.
    kernel.node_ns, kernel.ahead_ns = 61 * S, kernel.ahead_ns + 550_000
    statement = statements.statement_of(parsed())
    assert statement is not None
    assert statement.t_node_ns == pytest.approx(60 * S + 500 - 500_000, abs=100)
    assert statement.sigma_ns > 550_000 / 4


def test_the_scatter_is_measured_and_a_steady_drift_is_none() -> None:
    kernel = InventedKernel()
    statements = PtpStatements(read=kernel)
    said = []
    for k in range(8):
        kernel.node_ns = (61 + k) * S
        measured_ns = parsed().measured_ns + k * S
        state = replace(parsed(), measured_ns=measured_ns, offset_ns=40_000 * k)
        said.append(statements.statement_of(state))
    assert said[0] is not None
    assert said[-1] is not None
    assert said[0].sigma_ns > 20_000 > 3_000 > said[-1].sigma_ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sending: GET TIME_STATUS_NP\n",
        ANSWER.replace("stepsRemoved     2", "stepsRemoved     two"),
        ANSWER.replace("\t\tgrandmasterIdentity", "\t\tother"),
        ANSWER.replace("9000.0", "nan"),
        ANSWER.replace("MANAGEMENT PARENT_DATA_SET", "MANAGEMENT ERROR"),
    ],
)
def test_what_is_no_answer_is_none(text: str) -> None:
    assert parse_pmc(text) is None


def test_without_ptp4l_nothing_is_said(tmp_path: Path) -> None:
    assert ask_ptp(socket=tmp_path / "none") is None
    (tmp_path / "socket").touch()
    assert ask_ptp(("no-such-program",), socket=tmp_path / "socket") is None
    assert ask_ptp(("false",), socket=tmp_path / "socket") is None


CONFIG = """[global]
time_stamping software
free_running 1
priority1 {priority}
uds_address {socket}
logging_level 6
use_syslog 0
verbose 1
logAnnounceInterval -2
logSyncInterval -3
logMinDelayReqInterval -3
[{interface}]
"""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def cable(first: str, second: str) -> Iterator[None]:
    """Two network name spaces of these names, and a virtual cable between them."""
    with ExitStack() as stack:
        for space in (first, second):
            ip("netns", "add", space)
            stack.callback(ip, "netns", "del", space)
        ends = {first: "va", second: "vb"}
        ip("link", "add", "va", "netns", first, "type", "veth", "peer", "vb", "netns", second)
        for k, (space, end) in enumerate(ends.items()):
            ip("-n", space, "addr", "add", f"10.77.0.{k + 1}/24", "dev", end)
            ip("-n", space, "link", "set", end, "up")
        yield


@contextmanager
def ptp4l(folder: Path, space: str, interface: str, *, priority: int) -> Iterator[Path]:
    """A real ptp4l that leaves this machine's clock alone; its socket."""
    folder.mkdir()
    socket = folder / "socket"
    config = folder / "ptp4l.conf"
    config.write_text(CONFIG.format(priority=priority, socket=socket, interface=interface))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["ip", "netns", "exec", space, "ptp4l", "-f", str(config)], stdout=log, stderr=log
        )
        try:
            yield socket
        finally:
            process.terminate()
            process.wait()


@pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("ptp4l", "pmc", "ip")),
    reason="linuxptp or iproute2 is not installed",
)
def test_a_real_ptp4l_that_follows_another_ties_the_node_to_its_grandmaster(
    tmp_path: Path,
) -> None:
    """Two ptp4l on a virtual cable; both stamp with this machine's clock, so the truth is 0."""
    spaces = (f"coeval-a-{tmp_path.name[-8:]}", f"coeval-b-{tmp_path.name[-8:]}")
    with ExitStack() as stack:
        try:
            stack.enter_context(cable(*spaces))
        except (OSError, subprocess.CalledProcessError) as exc:
            pytest.skip(f"no network name spaces here: {exc}")
        stack.enter_context(ptp4l(tmp_path / "a", spaces[0], "va", priority=1))
        asks = stack.enter_context(ptp4l(tmp_path / "b", spaces[1], "vb", priority=200))
        statements, statement = PtpStatements(), None
        until_s = time.monotonic() + 120.0
        while statement is None:
            if time.monotonic() > until_s:
                log = (tmp_path / "b" / "log").read_text()
                pytest.skip(f"this machine does not let ptp4l follow another: {log[-200:]!r}")
            time.sleep(0.2)
            state = ask_ptp(socket=asks)
            statement = None if state is None else statements.statement_of(state)
        assert state is not None
        assert statement.of == f"@ptp-{state.grandmaster}"
        assert state.steps == 1
        now = measure_difference(KernelClock.REALTIME)
        master_ns = statement.t_utc_ns + (now.t_node_ns - statement.t_node_ns)
        spread_ns = (statement.sigma_ns**2 + statement.bias_sigma_ns**2) ** 0.5
        allowed_ns = 3 * spread_ns + 1_000_000 + now.error_ns
        assert abs(master_ns - (now.t_node_ns + now.difference_ns)) <= allowed_ns
