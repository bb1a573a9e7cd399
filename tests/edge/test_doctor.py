"""`coeval doctor` on invented devices, and on this one: every line says what to do."""

import gzip
import json
import os
import sys
from pathlib import Path

import pytest

from coeval.cli import main
from coeval_edge.chrony import Tracking
from coeval_edge.doctor import Finding, examine, kernel_option

TRACKING = Tracking(
    source="192.0.2.1",
    stratum=3,
    correction_s=0.0,
    rms_offset_s=1e-5,
    root_delay_s=0.01,
    root_dispersion_s=0.001,
    leap="Normal",
)


def write(root: Path, path: str, content: str | bytes = "") -> Path:
    """A file of an invented device; device nodes are plain files here."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def by_topic(root: Path, tracking: Tracking | None = None) -> dict[str, Finding]:
    return {finding.topic: finding for finding in examine(root, ask=lambda: tracking)}


def test_an_empty_device_is_told_what_to_do_about_everything_it_lacks(tmp_path: Path) -> None:
    findings = by_topic(tmp_path)
    assert {"PPS", "GPIO", "chrony", "cameras", "audio", "IIO sensors", "clock source"} <= set(
        findings
    )
    for finding in findings.values():
        assert finding.state != "good"
        assert finding.advice, finding


def test_what_a_well_equipped_device_has_is_named(tmp_path: Path) -> None:
    write(tmp_path, "dev/pps0")
    write(tmp_path, "sys/class/pps/pps0/name", "pps@12.-1\n")
    write(tmp_path, "dev/gpiochip0")
    write(tmp_path, "dev/video0")
    write(tmp_path, "proc/asound/cards", " 0 [Device ]: USB-Audio - USB PnP Sound Device\n")
    write(tmp_path, "sys/bus/iio/devices/iio:device0/name", "mpu6050\n")
    write(tmp_path, "dev/ttyUSB0")
    write(tmp_path, "sys/bus/usb-serial/devices/ttyUSB0/latency_timer", "1\n")
    clock = "sys/devices/system/clocksource/clocksource0/current_clocksource"
    write(tmp_path, clock, "arch_sys_counter\n")
    findings = by_topic(tmp_path, TRACKING)
    assert {finding.state for finding in findings.values()} == {"good"}
    assert findings["PPS"].found == "/dev/pps0 (pps@12.-1)"
    assert findings["chrony"].accuracy.startswith("within 6 ms")
    assert findings["IIO sensors"].found == "mpu6050"
    assert findings["audio"].found == "USB-Audio - USB PnP Sound Device"


def test_a_slow_serial_adapter_is_named_with_the_command_that_mends_it(tmp_path: Path) -> None:
    write(tmp_path, "dev/ttyUSB0")
    write(tmp_path, "sys/bus/usb-serial/devices/ttyUSB0/latency_timer", "16\n")
    finding = by_topic(tmp_path)["serial"]
    assert finding.state == "poor"
    assert finding.advice.endswith(
        "echo 1 | sudo tee /sys/bus/usb-serial/devices/ttyUSB0/latency_timer"
    )


def test_a_chrony_that_follows_nobody_is_poor(tmp_path: Path) -> None:
    lost = Tracking(
        source="",
        stratum=0,
        correction_s=0.0,
        rms_offset_s=0.0,
        root_delay_s=1.0,
        root_dispersion_s=1.0,
        leap="Not synchronised",
    )
    finding = by_topic(tmp_path, lost)["chrony"]
    assert (finding.state, finding.found) == ("poor", "not synchronised")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every device")
def test_a_device_that_this_user_may_not_use_names_the_group(tmp_path: Path) -> None:
    write(tmp_path, "dev/gpiochip0").chmod(0)
    finding = by_topic(tmp_path)["GPIO"]
    assert finding.state == "poor"
    assert "usermod -aG gpio" in finding.advice


@pytest.mark.parametrize("value", ["y", "m", "n"])
def test_the_kernels_configuration_is_read_where_it_is(tmp_path: Path, value: str) -> None:
    line = f"CONFIG_PPS_CLIENT_GPIO={value}\n" if value != "n" else "# is not set\n"
    assert kernel_option(tmp_path, "CONFIG_PPS_CLIENT_GPIO") is None
    write(tmp_path, "proc/sys/kernel/osrelease", "6.12.9\n")
    write(tmp_path, "boot/config-6.12.9", line)
    assert kernel_option(tmp_path, "CONFIG_PPS_CLIENT_GPIO") is (value != "n")
    write(tmp_path, "proc/config.gz", gzip.compress(line.encode()))
    assert kernel_option(tmp_path, "CONFIG_PPS_CLIENT_GPIO") is (value != "n")
    write(tmp_path, "proc/config.gz", b"broken")
    assert kernel_option(tmp_path, "CONFIG_PPS_CLIENT_GPIO") is None


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_the_command_runs_on_any_machine(
    flags: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["coeval", "doctor", *flags])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code or 0) == 0
    if flags:
        findings = json.loads(said.out)["findings"]
        assert {"topic", "state", "found", "accuracy", "advice"} == set(findings[0])
        assert all(f["advice"] for f in findings if f["state"] != "good")
    else:
        assert "clock source" in said.out
