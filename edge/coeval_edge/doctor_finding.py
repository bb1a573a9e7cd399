"""One thing that `coeval doctor` found about a device, and what all its questions share."""

import grp
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["good", "poor", "absent"]

GROUPS = {
    "/dev/gpiochip": "gpio",
    "/dev/video": "video",
    "/dev/tty": "dialout",
    "/dev/snd": "audio",
}
"""The group that Debian and Raspberry Pi OS give a kind of device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing about a device."""

    topic: str
    """What it is about."""
    state: State
    """good: use it; poor: it is there and something is missing; absent: it is not there."""
    found: str
    """What was found."""
    accuracy: str
    """How well it tells the time of things."""
    advice: str
    """What to do next; empty where nothing is to be done."""


def devices(root: Path, pattern: str) -> list[Path]:
    """Device files by pattern below /dev, in order."""
    return sorted((root / "dev").glob(pattern))


def refused(device: Path, root: Path) -> str | None:
    """What to do where this user may not use a device; None where he may."""
    if os.access(device, os.R_OK | os.W_OK):
        return None
    shown = "/" + str(device.relative_to(root))
    group = next((g for start, g in GROUPS.items() if shown.startswith(start)), None)
    try:
        group = group or grp.getgrgid(device.stat().st_gid).gr_name
    except (KeyError, OSError):
        group = group or "its"
    return f"this user may not use it: sudo usermod -aG {group} $USER, then log in again"


def listed(found: list[Path], root: Path) -> str:
    """Devices for people."""
    return ", ".join("/" + str(path.relative_to(root)) for path in found)
