"""What `coeval doctor` says of GNSS receivers, probes, PTP, IIO sensors and systemd's journal."""

import os
import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from coeval_edge.doctor_finding import Finding, devices, listed, refused
from coeval_edge.ptp import SOCKET, AskPtp, ask_ptp
from coeval_edge.sources.iio_device import device_name

GNSS_NAME = re.compile(r"gnss|gps|u-?blox|septentrio|garmin|sirf", re.IGNORECASE)
PROBE_NAME = "Coeval_probe"
BOOT_LABEL = "RPI-RP2"
"""Of the drive that an RP2040 shows while it waits to be flashed."""
KVM_CLOCK = "KVM virtual PTP"


def examine_gnss(root: Path) -> Finding:
    """GNSS receivers: by what their USB plugs call themselves; one on a UART has no name."""
    found = [port for port in devices(root, "serial/by-id/*") if GNSS_NAME.search(port.name)]
    if not found:
        return Finding(
            topic="GNSS",
            state="absent",
            found="no receiver that a USB port names",
            accuracy="none",
            advice="one on a UART has no name: [node.sources.nmea.gnss] port = '/dev/ttyAMA0' "
            "(Raspberry Pi: enable_uart=1 in config.txt, and no console on it)",
        )
    shown = listed(found[:1], root)
    problem = refused(found[0].resolve(), root) if found[0].exists() else "it is not there any more"
    has_pulse = bool(devices(root, "pps[0-9]*"))
    pulse = " and nmea = 'gnss' in its [node.time.pps] table" if has_pulse else ""
    return Finding(
        topic="GNSS",
        state="poor" if problem else "good",
        found=shown,
        accuracy="some µs of UTC with its pulse"
        if has_pulse
        else "130 ms of UTC: wire its pulse to a GPIO for some µs",
        advice=problem or f"[node.sources.nmea.gnss] port = {shown!r}{pulse}, without gpsd",
    )


def examine_probe(root: Path) -> Finding:
    """Probes: by what their USB plugs call themselves; one on a UART has no name."""
    found = [port for port in devices(root, "serial/by-id/*") if PROBE_NAME in port.name]
    waiting = [disk for disk in devices(root, "disk/by-label/*") if disk.name == BOOT_LABEL]
    if not found:
        return Finding(
            topic="probe",
            state="poor" if waiting else "absent",
            found=f"{listed(waiting, root)}: a board that waits to be flashed"
            if waiting
            else "no probe that a USB port names",
            accuracy="none",
            advice="coeval probe flash"
            if waiting
            else "a Raspberry Pi Pico stamps edges to 16 ns of PPS: coeval probe flash",
        )
    shown = listed(found[:1], root)
    problem = refused(found[0].resolve(), root) if found[0].exists() else "it is not there any more"
    return Finding(
        topic="probe",
        state="poor" if problem else "good",
        found=listed(found, root),
        accuracy="16 ns between its edges and pulses, 0.3 ms of this node's clock",
        advice=problem or f"[node.sources.probe.NAME] port = {shown!r}",
    )


def examine_ptp(root: Path, *, ask: AskPtp | None = None) -> Finding:
    """Clocks of network cards, and whether a ptp4l follows a master."""
    socket = root / SOCKET.relative_to("/")
    state = (ask or partial(ask_ptp, socket=socket))()
    if state is not None:
        return Finding(
            topic="PTP",
            state="poor" if state.unusable else "good",
            found=state.unusable or f"ptp4l follows {state.grandmaster}",
            accuracy="none by it"
            if state.unusable
            else f"{max(state.steps, 1) * state.path_delay_ns / 2e3:.3g} µs of its master at most",
            advice="see `journalctl -u ptp4l`" if state.unusable else "",
        )
    if socket.exists():
        has_pmc = shutil.which("pmc") is not None
        return Finding(
            topic="PTP",
            state="poor",
            found="ptp4l runs, but does not answer",
            accuracy="none by it",
            advice="run the node as root, or as whom its uds_address belongs to"
            if has_pmc
            else "sudo apt install linuxptp, for pmc",
        )
    clocks = {clock: clock_name(clock, root) for clock in devices(root, "ptp[0-9]*")}
    virtual = next((clock for clock, name in clocks.items() if name == KVM_CLOCK), None)
    named = ", ".join(f"{listed([clock], root)} ({name})" for clock, name in clocks.items())
    if virtual is not None:
        advice = f"the host's clock: refclock PHC {listed([virtual], root)} poll 2 in chrony.conf"
    elif clocks:
        advice = "where a switch or another node speaks PTP: sudo apt install linuxptp"
    else:
        advice = "fine with chrony; software stamps need no such clock: sudo apt install linuxptp"
    return Finding(
        topic="PTP",
        state="absent",
        found=f"{named}, but no ptp4l" if clocks else "no /dev/ptp*, no ptp4l",
        accuracy="none by it",
        advice=advice,
    )


def clock_name(clock: Path, root: Path) -> str:
    """What a PTP clock calls itself."""
    file = root / "sys/class/ptp" / clock.name / "clock_name"
    return file.read_text().strip() if file.is_file() else "unnamed"


def examine_iio(root: Path) -> Iterator[Finding]:
    """Sensors of the kernel's industrial I/O, and how each can be read."""
    sensors = sorted((root / "sys/bus/iio/devices").glob("iio:device*"))
    for sensor in sensors:
        name = device_name(sensor)
        is_stamped = (sensor / "scan_elements/in_timestamp_type").is_file()
        node = root / "dev" / sensor.name
        is_free = os.access(sensor / "buffer/enable", os.W_OK) and os.access(node, os.R_OK)
        problem = None
        if is_stamped and not is_free:
            problem = (
                "run as root, or give the group iio the sensor by the rule in docs/guide/sources.md"
            )
        yield Finding(
            topic="IIO sensor",
            state="poor" if problem else "good",
            found=f"{name} ({sensor.name})" + ("" if is_stamped else ", no stamped buffer: polled"),
            accuracy="half a conversion" if is_stamped else "0.1 to 5 ms, as polled",
            advice=problem or f"[node.sources.iio.NAME] device = {name!r}",
        )
    if not sensors:
        yield Finding(
            topic="IIO sensor",
            state="absent",
            found="none",
            accuracy="none",
            advice="fine where there is none; an IMU on I²C needs its overlay or driver",
        )


def examine_journal(root: Path) -> Finding:
    """systemd's journal, and whether this user may read it."""
    stores = [root / "var/log/journal", root / "run/log/journal"]
    files = [file for store in stores for file in sorted(store.glob("*/system.journal"))]
    if not (root / "run/systemd/journal/socket").exists() and not files:
        return Finding(
            topic="journal",
            state="absent",
            found="no journald",
            accuracy="none",
            advice="follow log files instead: [node.sources.file.NAME]",
        )
    is_readable = any(os.access(file, os.R_OK) for file in files)
    return Finding(
        topic="journal",
        state="good" if is_readable else "poor",
        found=("/" + str(files[0].relative_to(root))) if files else "journald, but no journal",
        accuracy="1 ms by the kernel's stamps; 0.1 to 20 ms late for what services print",
        advice="[node.sources.journal.NAME]"
        if is_readable
        else "this user may not read it: sudo usermod -aG systemd-journal $USER, then log in again",
    )
