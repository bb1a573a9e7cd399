"""What a device has for telling the time of things, and what to do about what it lacks.

In: the device's own /dev, /sys, /proc and /boot (or a copy of them). Out: findings, one a line,
each with the accuracy to expect and the next step. Nothing is done that could disturb a sensor.
"""

import gzip
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from coeval.time import NS_PER_S
from coeval_edge.chrony import Tracking, ask_chrony
from coeval_edge.doctor_finding import Finding, devices, listed, refused
from coeval_edge.doctor_streams import (
    examine_gnss,
    examine_iio,
    examine_journal,
    examine_probe,
    examine_ptp,
)
from coeval_edge.sources.alsa_pcm import load_alsa
from coeval_edge.sources.errors import SourceUnfit, SourceUnusable
from coeval_edge.sources.exposure import lateness
from coeval_edge.sources.v4l2_camera import stamp_rule
from coeval_edge.sources.v4l2_device import FORMATS, V4l2Device

STABLE_CLOCK_SOURCES = ("tsc", "arch_sys_counter")
"""Counters in the processor; others cost a bus access a reading, or stop."""


def examine(
    root: Path = Path("/"), *, ask: Callable[[], Tracking | None] = ask_chrony
) -> list[Finding]:
    """Look at a device.

    Args:
        root: where its /dev, /sys, /proc and /boot are.
        ask: asks chrony what it tracks.
    """
    return [
        *examine_pps(root),
        *examine_gpio(root),
        examine_gnss(root),
        examine_probe(root),
        examine_chrony(ask),
        examine_ptp(root),
        *examine_cameras(root),
        *examine_audio(root),
        *examine_iio(root),
        *examine_serial(root),
        examine_journal(root),
        examine_clock_source(root),
    ]


def examine_pps(root: Path) -> Iterator[Finding]:
    """Pulse-per-second lines of the kernel."""
    found = devices(root, "pps[0-9]*")
    for device in found:
        name_file = root / "sys/class/pps" / device.name / "name"
        name = name_file.read_text().strip() if name_file.is_file() else "unnamed"
        problem = None if os.access(device, os.R_OK) else "only root may read it: add a udev rule"
        yield Finding(
            topic="PPS",
            state="poor" if problem else "good",
            found=f"{listed([device], root)} ({name})",
            accuracy="some µs",
            advice=problem or f"[node.time.pps.gnss] device = {listed([device], root)!r}",
        )
    if not found:
        has = kernel_option(root, "CONFIG_PPS_CLIENT_GPIO")
        advice = {
            True: "wire a GNSS receiver's PPS to a GPIO and load pps-gpio "
            "(Raspberry Pi: dtoverlay=pps-gpio,gpiopin=18 in config.txt)",
            False: "this kernel has no pps-gpio: use Raspberry Pi's or Debian's from 6.12 on",
            None: "wire a GNSS receiver's PPS to a GPIO and load pps-gpio",
        }[has]
        yield Finding(
            topic="PPS",
            state="absent",
            found="no /dev/pps*",
            accuracy="none: without it the network or content must tell",
            advice=advice,
        )


def kernel_option(root: Path, option: str) -> bool | None:
    """Whether the running kernel was built with an option; None: its configuration is not there."""
    texts = []
    proc = root / "proc/config.gz"
    try:
        if proc.is_file():
            texts.append(gzip.decompress(proc.read_bytes()).decode("utf-8", "replace"))
        else:
            release = (root / "proc/sys/kernel/osrelease").read_text().strip()
            texts.append((root / f"boot/config-{release}").read_text(errors="replace"))
    except (OSError, gzip.BadGzipFile, EOFError):
        return None
    return any(f"{option}={value}" in text.splitlines() for text in texts for value in "ym")


def examine_gpio(root: Path) -> Iterator[Finding]:
    """GPIO chips."""
    found = devices(root, "gpiochip[0-9]*")
    if not found:
        yield Finding(
            topic="GPIO",
            state="absent",
            found="no /dev/gpiochip*",
            accuracy="none",
            advice="fine where nothing is wired; a probe on USB stamps edges, too",
        )
        return
    problems = [problem for chip in found if (problem := refused(chip, root))]
    yield Finding(
        topic="GPIO",
        state="poor" if problems else "good",
        found=listed(found, root),
        accuracy="some 10 µs, more under load",
        advice=problems[0] if problems else "[node.time.gpio.NAME] for a wire that nodes share",
    )


def examine_chrony(ask: Callable[[], Tracking | None]) -> Finding:
    """chrony, and what it follows."""
    tracking = ask()
    if tracking is None:
        is_there = shutil.which("chronyd") is not None
        return Finding(
            topic="chrony",
            state="absent",
            found="installed, but does not answer" if is_there else "not installed",
            accuracy="none: UTC is not known",
            advice="sudo systemctl enable --now chrony" if is_there else "sudo apt install chrony",
        )
    if tracking.unusable is not None:
        return Finding(
            topic="chrony",
            state="poor",
            found=tracking.unusable,
            accuracy="none: UTC is not known",
            advice="see `chronyc sources`: is any server reachable?",
        )
    return Finding(
        topic="chrony",
        state="good",
        found=f"follows {tracking.source or 'a reference clock'}, stratum {tracking.stratum}",
        accuracy=f"within {tracking.bound_s * 1e3:.3g} ms of UTC, by its own bound",
        advice="",
    )


def examine_cameras(
    root: Path, *, open_camera: Callable[[Path], V4l2Device] = V4l2Device
) -> Iterator[Finding]:
    """Cameras, and what their stamps are; a camera is asked, and never started."""
    found = devices(root, "video[0-9]*")
    num_cameras = 0
    for device in found:
        problem = refused(device, root)
        if problem is None:
            try:
                camera = open_camera(device)
            except SourceUnfit:  # a codec, a scaler, a stream of metadata
                continue
            except SourceUnusable as exc:
                problem = str(exc)
        num_cameras += 1
        if problem is not None:
            yield Finding(
                topic="camera",
                state="poor",
                found=listed([device], root),
                accuracy="unknown",
                advice=problem,
            )
            continue
        try:
            yield examine_camera(camera, device, root)
        finally:
            camera.close()
    if not num_cameras:
        others = f"none of {len(found)} video devices" if found else "no /dev/video*"
        yield Finding(
            topic="camera",
            state="absent",
            found=others,
            accuracy="none",
            advice="fine where there is none; Raspberry Pi: see `rpicam-hello --list-cameras`",
        )


def examine_camera(camera: V4l2Device, device: Path, root: Path) -> Finding:
    """One open camera."""
    shown = listed([device], root)
    told = {"topic": "camera", "found": f"{shown} ({camera.card}, {camera.driver})"}
    try:
        if not set(camera.formats()) & set(FORMATS):
            return Finding(
                **told,
                state="poor",
                accuracy="unknown",
                advice="it gives raw data of its sensor only; on a Raspberry Pi: "
                "[node.sources.pi_camera.NAME]",
            )
        rule = stamp_rule(camera.driver, camera.stamps(), root=root)
    except SourceUnusable as exc:
        return Finding(**told, state="poor", accuracy="unknown", advice=str(exc))
    late = lateness(
        rule.point,
        period_ns=NS_PER_S / 30,
        exposure_ns=None,
        readout_ns=None,
        is_buffered=rule.is_buffered,
    )
    is_arrival = rule.origin == "arrival"
    return Finding(
        **told,
        state="poor" if is_arrival else "good",
        accuracy=f"{late.sigma_ns / 1e6:.0f} ms at 30 Hz by {rule.how}; less where exposure_s and "
        "readout_s are stated",
        advice="its driver stamps nothing: another camera is better"
        if is_arrival
        else f"[node.sources.camera.NAME] device = {shown!r}",
    )


def examine_audio(root: Path, *, load: Callable[[], object] = load_alsa) -> Iterator[Finding]:
    """Microphones."""
    found = devices(root, "snd/pcmC[0-9]*D[0-9]*c")
    for device in found:
        card, number = device.name[len("pcmC") : -1].split("D")
        id_file = root / f"proc/asound/card{card}/id"
        name = id_file.read_text().strip() if id_file.is_file() else card
        problem = refused(device, root)
        if problem is None:
            try:
                load()
            except SourceUnusable as exc:
                problem = str(exc)
        yield Finding(
            topic="microphone",
            state="poor" if problem else "good",
            found=f"{listed([device], root)} (card {name})",
            accuracy="about 1 ms, the card's latency: its sample counter is fitted to the clock",
            advice=problem
            or f"[node.sources.microphone.NAME] device = 'plughw:CARD={name},DEV={number}'",
        )
    if not found:
        yield Finding(
            topic="microphone",
            state="absent",
            found="no sound card that records",
            accuracy="none",
            advice="fine where there is none; else plug in a USB microphone",
        )


def examine_serial(root: Path) -> Iterator[Finding]:
    """Serial ports, and the latency timers of their adapters."""
    found = [*devices(root, "ttyUSB[0-9]*"), *devices(root, "ttyACM[0-9]*")]
    for port in found:
        problem = refused(port, root)
        timer = root / "sys/bus/usb-serial/devices" / port.name / "latency_timer"
        waits_ms = timer.read_text().strip() if timer.is_file() else None
        if problem is None and waits_ms is not None and waits_ms != "1":
            shown = "/" + str(timer.relative_to(root))
            problem = f"its adapter holds bytes for {waits_ms} ms: echo 1 | sudo tee {shown}"
        yield Finding(
            topic="serial",
            state="poor" if problem else "good",
            found=listed([port], root),
            accuracy="1 to 16 ms by arrival, less with the sensor's own counter",
            advice=problem or "",
        )


def examine_clock_source(root: Path) -> Finding:
    """The counter behind the node's clock."""
    path = root / "sys/devices/system/clocksource/clocksource0/current_clocksource"
    try:
        name = path.read_text().strip()
    except OSError:
        name = ""
    is_stable = name in STABLE_CLOCK_SOURCES
    return Finding(
        topic="clock source",
        state="good" if is_stable else "poor",
        found=name or "unknown",
        accuracy="tens of ns a reading" if is_stable else "about 1 µs a reading",
        advice=""
        if is_stable
        else "expected on a virtual machine; on hardware see dmesg | grep tsc",
    )
