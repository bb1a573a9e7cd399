"""What chrony says becomes evidence with chrony's own error, or nothing."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from coeval_edge.chrony import ask_chrony, parse_tracking, statement_of
from coeval_edge.kernel_clocks import KernelClock, measure_difference

SYNCHRONISED = (
    "A29FC87B,162.159.200.123,4,1700000000.123456789,0.000123000,-0.000010000,0.000045000,"
    "-12.345,0.001,0.030,0.012000000,0.002500000,64.2,Normal"
)
LOST = "00000000,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised"
S = 1_000_000_000


def test_a_synchronised_clock_is_a_statement_with_its_bound() -> None:
    tracking = parse_tracking(SYNCHRONISED + "\n")
    assert tracking is not None
    assert (tracking.stratum, tracking.source, tracking.unusable) == (4, "162.159.200.123", None)
    assert tracking.bound_s == pytest.approx(0.0085)

    def read(clock: int) -> int:
        return 50 * S if clock == time.CLOCK_MONOTONIC_RAW else 1_700_000_000 * S

    statement = statement_of(tracking, read=read)
    assert statement is not None
    assert statement.t_node_ns == 50 * S
    # The system's clock is slow by 123 µs: UTC is that much later.
    assert statement.t_utc_ns == 1_700_000_000 * S + 123_000
    assert statement.sigma_ns == pytest.approx(45_000)
    assert statement.bias_sigma_ns == pytest.approx(8.5e6 / 3**0.5)


@pytest.mark.parametrize(
    "line",
    [LOST, SYNCHRONISED.replace("Normal", "Not synchronised"), SYNCHRONISED.replace(",4,", ",16,")],
)
def test_a_clock_that_follows_nobody_says_nothing(line: str) -> None:
    tracking = parse_tracking(line)
    assert tracking is not None
    assert tracking.unusable == "not synchronised"
    assert statement_of(tracking) is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "506 Cannot talk to daemon",
        SYNCHRONISED + ",more",
        SYNCHRONISED.replace("0.000123000", "soon"),
        SYNCHRONISED.replace("0.002500000", "nan"),
        SYNCHRONISED.replace("0.012000000", "-1"),
    ],
)
def test_what_is_no_tracking_line_is_none(line: str) -> None:
    assert parse_tracking(line) is None


def test_without_chrony_nothing_is_said() -> None:
    assert ask_chrony(("no-such-program",)) is None
    assert ask_chrony(("false",)) is None


def free_port() -> int:
    """A UDP port that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def chronyd(folder: Path, *lines: str) -> Iterator[list[str]]:
    """A real chronyd that leaves this machine's clock alone; the command that asks it."""
    folder.mkdir(mode=0o700)
    config = folder / "chrony.conf"
    asked = free_port()
    own = ["bindcmdaddress 127.0.0.1", f"cmdport {asked}", f"pidfile {folder}/pid"]
    config.write_text("\n".join([*own, *lines]) + "\n", encoding="utf-8")
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            ["chronyd", "-d", "-x", "-U", "-f", str(config)], stdout=log, stderr=log
        )
        try:
            yield ["chronyc", "-h", "127.0.0.1", "-p", str(asked)]
        finally:
            process.terminate()
            process.wait()


@pytest.mark.skipif(
    shutil.which("chronyd") is None or shutil.which("chronyc") is None,
    reason="chrony is not installed",
)
def test_a_real_chrony_that_follows_another_ties_the_node_to_utc(tmp_path: Path) -> None:
    """Two chronyds on loopback: one serves this machine's time, the other follows it."""
    port = free_port()
    with ExitStack() as stack:
        stack.enter_context(
            chronyd(
                tmp_path / "a",
                "local stratum 5",
                "allow 127.0.0.1",
                f"port {port}",
                "bindaddress 127.0.0.1",
            )
        )
        asks = stack.enter_context(
            chronyd(tmp_path / "b", f"server 127.0.0.1 port {port} iburst minpoll -2", "port 0")
        )
        until_s = time.monotonic() + 120.0
        tracking = ask_chrony(asks)
        while tracking is None or tracking.unusable is not None:
            if time.monotonic() > until_s:
                log = (tmp_path / "b" / "log").read_text()
                pytest.skip(f"this machine does not let chronyd follow another: {log[-200:]!r}")
            time.sleep(0.2)
            tracking = ask_chrony(asks)
        statement = statement_of(tracking)
        assert statement is not None
        assert tracking.stratum == 6
        now = measure_difference(KernelClock.REALTIME)
        utc_ns = statement.t_utc_ns + (now.t_node_ns - statement.t_node_ns)
        spread_ns = (statement.sigma_ns**2 + statement.bias_sigma_ns**2) ** 0.5
        allowed_ns = 3 * spread_ns + 1_000_000 + now.error_ns
        assert abs(utc_ns - (now.t_node_ns + now.difference_ns)) <= allowed_ns
