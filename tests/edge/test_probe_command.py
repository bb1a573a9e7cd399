"""`coeval probe`: list, monitor and flash, on a terminal pair and an invented drive."""

import binascii
import json
import math
import os
import threading
import tty
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from coeval.errors import BadConfig, CoevalError
from coeval_edge import probe_command
from coeval_edge.probe_command import app, follow, listen
from coeval_edge.probe_flash import INFO_FILE, check_image, copy_image, find_drive, is_drive
from coeval_edge.probe_image import manifest, probe_image
from coeval_edge.probe_monitor import Monitor
from coeval_edge.sources.errors import SourceAbsent, SourceUnfit
from coeval_edge.sources.probe_wire import ProbeStream, Record

cobs = pytest.importorskip("cobs.cobs", reason="cobs is absent: pip install 'coeval[probe]'")

VECTORS = json.loads((Path(__file__).parents[1] / "vectors/probe.json").read_text())["records"]
FRAMES = b"".join(bytes.fromhex(vector["frame"]) for vector in VECTORS)
ONE_OF_EACH = [VECTORS[k] for k in (0, 2, 5, 8, 9)]
SAID = b"".join(bytes.fromhex(vector["frame"]) for vector in ONE_OF_EACH)
INFO = "UF2 Bootloader v3.0\nModel: Raspberry Pi RP2\nBoard-ID: RPI-RP2\n"


@pytest.fixture
def port() -> Iterator[str]:
    """A port at which a probe says one of each record, over and over."""
    device, side = os.openpty()
    tty.setraw(side)
    os.set_blocking(device, False)  # nobody reads for ever
    ended = threading.Event()

    def speak() -> None:
        while not ended.wait(0.02):
            with suppress(BlockingIOError):
                os.write(device, SAID)

    speaker = threading.Thread(target=speak)
    speaker.start()
    yield os.ttyname(side)
    ended.set()
    speaker.join()
    os.close(device)
    os.close(side)


@pytest.fixture(autouse=True)
def _no_probe_on_usb(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_command, "usb_probes", list)


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, arguments)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout, result.stderr


# list


def test_a_probe_on_a_named_port_is_listed(port: str) -> None:
    code, out, _ = run("list", "--port", port, "--json")
    (probe,) = json.loads(out)["probes"]
    assert code == 0
    assert (probe["port"], probe["board"], probe["imu"]) == (port, "e6614c311b7e6f35", 0x68)
    assert (probe["firmware"], probe["pps"], probe["problem"]) == ("1.2.3", "locked", None)


@pytest.mark.parametrize("how", [(), ("--json",)])
def test_a_named_port_that_cannot_be_used_is_listed_with_its_problem_and_fails(
    how: tuple[str, ...],
) -> None:
    code, out, _ = run("list", "--port", "/dev/ttyNOPROBE", *how)
    assert code == 1
    said = " ".join(out.replace("│", " ").split())
    assert "/dev/ttyNOPROBE" in said
    assert "No such file or directory; plug it in" in said


def test_a_port_that_is_named_by_a_link_too_is_listed_once(
    port: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "usb-Coeval_probe"
    link.symlink_to(port)
    monkeypatch.setattr(probe_command, "usb_probes", lambda: [str(link)])
    code, out, _ = run("list", "--port", port, "--json")
    (probe,) = json.loads(out)["probes"]
    assert (code, probe["port"], probe["problem"]) == (0, port, None)


def test_no_probe_at_all_says_what_to_do() -> None:
    code, _, err = run("list")
    assert code == 1
    assert "coeval probe flash" in err


def test_a_silent_port_is_no_probe() -> None:
    device, side = os.openpty()
    found = listen(os.ttyname(side), baud=921_600, seconds=0.05)
    os.close(device)
    os.close(side)
    assert "no hello within 0.05 s" in found.problem


# monitor


def test_the_monitor_gives_a_line_a_record(port: str) -> None:
    _, out, _ = run("monitor", "--port", port, "--for", "0.3", "--json")
    kinds = [json.loads(line)["record"] for line in out.splitlines()]
    assert kinds[:5] == [vector["kind"] for vector in ONE_OF_EACH]


def test_a_port_that_cannot_be_monitored_is_told_without_a_table(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SourceAbsent, match="/dev/ttyNOPROBE: No such file"):
        run("monitor", "--port", "/dev/ttyNOPROBE")
    assert capfd.readouterr().out == ""


def heard() -> Monitor:
    monitor, stream = Monitor("/dev/x"), ProbeStream()
    records: list[Record] = [record for record, _ in stream.push(FRAMES)]
    for record in records[:10]:
        monitor.take(record, now_s=1.0)
    monitor.wire = stream.counts
    return monitor


def test_the_monitor_shows_state_pulses_edges_and_losses() -> None:
    lines = dict(heard()._lines())
    assert lines["state"].startswith("locked, ±5 ns, crystal -12.345 ppm, 27.3 °C")
    assert lines["pulses"].startswith("good 270  missed 1  spurious 2  doubled 3")
    assert lines["input 1"] == "second 0 + 0 ns ± 65 µs or more"
    assert lines["input 2"] == "tick 0, no time: no pulses"
    assert lines["motion"].startswith("-4.00, +0.00, +1.00 g")
    assert "lost" in lines["losses"]
    assert "watchdog" in lines["board"]


def test_rates_are_of_the_last_seconds() -> None:
    monitor = heard()
    (edge,) = [r for r, _ in ProbeStream().push(b"\0" + bytes.fromhex(VECTORS[5]["frame"]))]
    for k in range(50):
        monitor.take(edge, now_s=100 + k / 10)
    assert monitor.rates() == {"edges 1": 10.0}


def test_rates_end_where_nothing_comes() -> None:
    monitor = heard()
    monitor.forget(now_s=7.0)
    assert monitor.rates() == {}


def test_the_monitor_tells_that_a_probe_is_gone() -> None:
    device, side = os.openpty()
    monitor = Monitor(os.ttyname(side))
    told = follow(os.ttyname(side), 921_600, monitor, until_s=math.inf)
    assert next(told) == []
    os.write(device, b"\0" + SAID)
    assert next(told)
    os.close(device)
    os.close(side)
    assert next(told) == []
    assert "is it plugged in?" in dict(monitor._lines())["problem"]
    told.close()


def test_the_monitor_ends_where_the_protocol_is_another() -> None:
    device, side = os.openpty()
    tty.setraw(side)
    told = follow(os.ttyname(side), 921_600, Monitor("x"), until_s=math.inf)
    hello = bytes((1, 1, 0, 0, 9))
    record = hello + binascii.crc_hqx(hello, 0xFFFF).to_bytes(2, "big")
    assert next(told) == []
    os.write(device, b"\0" + cobs.encode(record) + b"\0")
    with pytest.raises(SourceUnfit, match="protocol version 9"):
        next(told)
    os.close(device)
    os.close(side)


def test_which_probe_is_asked_for_where_there_are_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_command, "usb_probes", lambda: ["/dev/a", "/dev/b"])
    with pytest.raises(BadConfig, match=r"which probe.*/dev/a, /dev/b"):
        run("monitor", "--for", "0")


# flash


def drive(folder: Path, info: str = INFO) -> Path:
    folder.mkdir()
    (folder / INFO_FILE).write_text(info)
    return folder


def test_the_image_that_ships_is_copied_to_the_drive(tmp_path: Path) -> None:
    target = drive(tmp_path / "RPI-RP2")
    code, out, _ = run("flash", "--drive", str(target), "--wait", "0")
    assert code == 0
    assert manifest()["version"] in out
    assert (target / "probe.uf2").read_bytes() == probe_image()


def test_another_board_s_drive_is_refused_by_name(tmp_path: Path) -> None:
    target = drive(tmp_path / "RP2350", INFO.replace("RPI-RP2", "RP2350"))
    with pytest.raises(CoevalError, match=r"Board-ID: RP2350.*another board"):
        run("flash", "--drive", str(target))
    assert not (target / "probe.uf2").exists()


def test_without_a_drive_it_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(CoevalError, match="BOOTSEL"):
        find_drive([tmp_path / "RPI-RP2"], timeout_s=0.0, by_label=tmp_path)


def test_a_drive_that_is_not_mounted_is_told_how_to_be(tmp_path: Path) -> None:
    (tmp_path / "RPI-RP2").touch()
    with pytest.raises(CoevalError, match="udisksctl mount"):
        find_drive([tmp_path / "nowhere"], timeout_s=0.0, by_label=tmp_path)


def test_a_drive_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    passed = [0.0]

    def sleep(seconds: float) -> None:
        passed[0] += seconds
        if passed[0] > 3:
            drive(tmp_path / "RPI-RP2")

    found = find_drive([tmp_path / "RPI-RP2"], timeout_s=10.0, now_s=lambda: passed[0], sleep=sleep)
    assert is_drive(found)


def test_what_is_no_image_for_this_chip_is_refused(tmp_path: Path) -> None:
    image = bytearray(probe_image())
    with pytest.raises(BadConfig, match="no blocks of 512"):
        check_image(bytes(image[:-1]), where="x")
    with pytest.raises(BadConfig, match="block 1 is none"):
        check_image(bytes(image[:512]) + bytes(512), where="x")
    image[28] ^= 1
    (tmp_path / "other.uf2").write_bytes(image)
    with pytest.raises(BadConfig, match="another chip"):
        run("flash", "--image", str(tmp_path / "other.uf2"), "--drive", str(tmp_path))


def test_a_drive_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    target = drive(tmp_path / "RPI-RP2")
    (target / "probe.uf2").mkdir()
    with pytest.raises(CoevalError, match="cannot be written"):
        copy_image(probe_image(), target)


def test_a_wrong_port_to_restart_is_named() -> None:
    with pytest.raises(CoevalError, match="/dev/ttyNOPROBE"):
        run("flash", "--port", "/dev/ttyNOPROBE")
