"""`coeval doctor` on invented devices, and on this one: every line says what to do."""

import gzip
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from coeval.errors import EncoderMismatch
from coeval_edge.chrony import Tracking
from coeval_edge.doctor import Finding, examine, examine_audio, examine_cameras, kernel_option
from coeval_edge.doctor_encoders import examine_encoders
from coeval_edge.doctor_streams import (
    examine_gnss,
    examine_iio,
    examine_journal,
    examine_probe,
    examine_ptp,
)
from coeval_edge.encoder import Encoder
from coeval_edge.ptp import PtpState
from coeval_edge.sources.errors import SourceBusy, SourceUnfit
from coeval_edge.sources.v4l2_device import StampKind

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
    assert {"PPS", "GPIO", "chrony", "camera", "microphone", "IIO sensor", "clock source"} <= set(
        findings
    )
    for finding in findings.values():
        assert finding.state != "good"
        assert finding.advice, finding


def test_what_a_well_equipped_device_has_is_named(tmp_path: Path) -> None:
    write(tmp_path, "dev/pps0")
    write(tmp_path, "sys/class/pps/pps0/name", "pps@12.-1\n")
    write(tmp_path, "dev/gpiochip0")
    write(tmp_path, "dev/snd/pcmC0D0c")
    write(tmp_path, "sys/bus/iio/devices/iio:device0/name", "mpu6050\n")
    write(tmp_path, "dev/iio:device0")
    write(tmp_path, "sys/bus/iio/devices/iio:device0/scan_elements/in_timestamp_type")
    write(tmp_path, "sys/bus/iio/devices/iio:device0/buffer/enable")
    write(tmp_path, "dev/serial/by-id/usb-u-blox_AG_GNSS_receiver-if00")
    write(tmp_path, "dev/serial/by-id/usb-Coeval_Coeval_probe_E661-if00")
    write(tmp_path, "run/systemd/journal/socket")
    write(tmp_path, "run/log/journal/0123/system.journal")
    write(tmp_path, "dev/ttyUSB0")
    write(tmp_path, "sys/bus/usb-serial/devices/ttyUSB0/latency_timer", "1\n")
    clock = "sys/devices/system/clocksource/clocksource0/current_clocksource"
    write(tmp_path, clock, "arch_sys_counter\n")
    findings = by_topic(tmp_path, TRACKING)
    assert findings.pop("camera").state == "absent"  # no file can be one
    del findings["microphone"]  # depends on this machine's alsa-lib
    assert findings.pop("PTP").state == "absent"  # below
    assert {finding.state for finding in findings.values()} == {"good"}
    assert findings["PPS"].found == "/dev/pps0 (pps@12.-1)"
    assert findings["chrony"].accuracy.startswith("within 6 ms")
    assert findings["IIO sensor"].found == "mpu6050 (iio:device0)"
    assert findings["GNSS"].accuracy == "some µs of UTC with its pulse"
    assert "u-blox" in findings["GNSS"].advice
    assert findings["journal"].found == "/run/log/journal/0123/system.journal"


def test_a_receiver_without_its_pulse_is_worth_a_wire(tmp_path: Path) -> None:
    write(tmp_path, "dev/serial/by-id/usb-Prolific_GPS-if00-port0")
    assert "wire its pulse" in examine_gnss(tmp_path).accuracy


PTP_STATE = PtpState(
    port_state="SLAVE",
    timestamping="SOFTWARE",
    interface="eth0",
    grandmaster="0a1b2c.fffe.3d4e5f",
    steps=2,
    offset_ns=100,
    measured_ns=1,
    path_delay_ns=30_000.0,
    utc_offset_s=37,
    accuracy_ns=100,
)


def test_what_ptp4l_follows_is_named_with_the_bound_of_its_paths(tmp_path: Path) -> None:
    finding = examine_ptp(tmp_path, ask=lambda: PTP_STATE)
    assert (finding.state, finding.found) == ("good", "ptp4l follows 0a1b2c.fffe.3d4e5f")
    assert finding.accuracy == "30 µs of its master at most"
    master = examine_ptp(tmp_path, ask=lambda: replace(PTP_STATE, port_state="MASTER"))
    assert (master.state, master.found) == ("poor", "follows nobody (port is MASTER)")


def test_a_ptp_clock_without_ptp4l_and_a_ptp4l_that_is_mute_say_what_to_do(tmp_path: Path) -> None:
    write(tmp_path, "dev/ptp0")
    write(tmp_path, "sys/class/ptp/ptp0/clock_name", "bcm_phy_ptp\n")
    finding = examine_ptp(tmp_path)
    assert finding.found == "/dev/ptp0 (bcm_phy_ptp), but no ptp4l"
    assert "apt install linuxptp" in finding.advice
    write(tmp_path, "sys/class/ptp/ptp0/clock_name", "KVM virtual PTP\n")
    assert "refclock PHC /dev/ptp0" in examine_ptp(tmp_path).advice
    write(tmp_path, "var/run/ptp4l")
    mute = examine_ptp(tmp_path, ask=lambda: None)
    assert (mute.state, mute.found) == ("poor", "ptp4l runs, but does not answer")


def test_a_sensor_without_a_stamped_buffer_is_polled(tmp_path: Path) -> None:
    write(tmp_path, "sys/bus/iio/devices/iio:device1/name", "ads1015\n")
    (finding,) = examine_iio(tmp_path)
    assert finding.found == "ads1015 (iio:device1), no stamped buffer: polled"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every journal and set up every sensor")
def test_a_sensor_and_a_journal_that_this_user_may_not_use_name_the_group(tmp_path: Path) -> None:
    write(tmp_path, "sys/bus/iio/devices/iio:device0/scan_elements/in_timestamp_type")
    write(tmp_path, "sys/bus/iio/devices/iio:device0/buffer/enable").chmod(0o444)
    assert "give the group iio" in next(examine_iio(tmp_path)).advice
    write(tmp_path, "run/log/journal/0123/system.journal").chmod(0)
    assert "usermod -aG systemd-journal" in examine_journal(tmp_path).advice


class Camera:
    """A camera as `V4l2Device` opens it, of the name of its file."""

    def __init__(self, path: Path) -> None:
        self.card, self.driver = "Webcam C270", "uvcvideo"
        self.is_open = True
        self._kind = path.read_text()
        if self._kind == "metadata":
            raise SourceUnfit("gives no pictures")

    def formats(self) -> list[str]:
        return ["pBAA"] if self._kind == "raw" else ["YUYV", "MJPG"]

    def stamps(self) -> StampKind:
        if self._kind == "busy":
            raise SourceBusy("cannot use /dev/video0: Device or resource busy; fuser names it")
        return StampKind(is_monotonic=self._kind != "bare", is_start_of_exposure=True)

    def close(self) -> None:
        self.is_open = False


@pytest.mark.parametrize(
    ("kind", "state", "told"),
    [
        ("usual", "good", r"12 ms at 30 Hz by uvcvideo's stamp of a frame's first packet"),
        ("bare", "poor", r"its driver stamps nothing"),
        ("raw", "poor", r"\[node.sources.pi_camera.NAME\]"),
        ("busy", "poor", r"fuser names it"),
    ],
)
def test_a_camera_is_told_what_its_stamps_are_and_what_to_do(
    tmp_path: Path, kind: str, state: str, told: str
) -> None:
    write(tmp_path, "dev/video0", kind)
    write(tmp_path, "dev/video1", "metadata")
    (finding,) = examine_cameras(tmp_path, open_camera=Camera)  # type: ignore[arg-type]
    assert finding.found == "/dev/video0 (Webcam C270, uvcvideo)"
    assert finding.state == state
    assert re.search(told, f"{finding.accuracy}; {finding.advice}")


def test_a_microphone_is_told_as_the_configuration_takes_it(tmp_path: Path) -> None:
    write(tmp_path, "dev/snd/pcmC2D0c")
    write(tmp_path, "dev/snd/pcmC0D0p")  # plays only
    write(tmp_path, "proc/asound/card2/id", "Device\n")
    (finding,) = examine_audio(tmp_path, load=lambda: None)
    assert (finding.state, finding.found) == ("good", "/dev/snd/pcmC2D0c (card Device)")
    assert finding.advice.endswith("device = 'plughw:CARD=Device,DEV=0'")


def test_a_microphone_without_the_library_is_told_the_line_that_installs_it(
    tmp_path: Path,
) -> None:
    def absent() -> None:
        raise SourceUnfit("microphones need alsa-lib: sudo apt install libasound2")

    write(tmp_path, "dev/snd/pcmC1D0c")
    (finding,) = examine_audio(tmp_path, load=absent)
    assert (finding.state, finding.found) == ("poor", "/dev/snd/pcmC1D0c (card 1)")
    assert finding.advice.endswith("sudo apt install libasound2")


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


def test_the_encoders_and_what_runs_them_are_named() -> None:
    finding = examine_encoders()
    assert finding.state == "good"
    assert finding.found.startswith("golden vectors met on ")
    assert "CPUExecutionProvider" in finding.found


def test_encoders_that_fail_their_golden_vectors_are_poor() -> None:
    def load(modality: str) -> Encoder:
        raise EncoderMismatch(f"encoder {modality}.onnx: its answers differ")

    finding = examine_encoders(load=load)
    assert finding.state == "poor"
    assert "text.onnx: its answers differ; install" in finding.advice


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_the_command_runs_on_any_machine(
    flags: tuple[str, ...], coeval: Callable[..., tuple[int, str, str]]
) -> None:
    code, said, _ = coeval("doctor", *flags)
    assert code == 0
    if flags:
        findings = json.loads(said)["findings"]
        assert {"topic", "state", "found", "accuracy", "advice"} == set(findings[0])
        assert all(f["advice"] for f in findings if f["state"] != "good")
    else:
        assert "clock source" in said
        assert "encoders" in said


def test_a_probe_is_known_by_the_name_on_its_plug(tmp_path: Path) -> None:
    write(tmp_path, "dev/serial/by-id/usb-Coeval_Coeval_probe_E661-if00")
    finding = examine_probe(tmp_path)
    assert (finding.state, finding.topic) == ("good", "probe")
    assert "usb-Coeval_Coeval_probe_E661-if00" in finding.advice


def test_a_board_that_waits_to_be_flashed_is_told_how(tmp_path: Path) -> None:
    assert examine_probe(tmp_path).state == "absent"
    write(tmp_path, "dev/disk/by-label/RPI-RP2")
    finding = examine_probe(tmp_path)
    assert (finding.state, finding.advice) == ("poor", "coeval probe flash")
