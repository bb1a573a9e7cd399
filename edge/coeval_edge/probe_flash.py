"""Puts the firmware on a board: finds the drive of its boot ROM, and copies the image there.

An RP2040 whose BOOTSEL button is held at power-on, or that is told to over USB, shows a drive with
a file INFO_UF2.TXT; a UF2 image copied there is flashed, and the board restarts.
"""

import getpass
import os
import struct
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from coeval.errors import BadConfig, CoevalError
from coeval_edge.sources.errors import SourceUnusable, named
from coeval_edge.sources.serial_port import ADVICE

LABEL, INFO_FILE, BOARD_LINE = "RPI-RP2", "INFO_UF2.TXT", "Board-ID: RPI-RP2"
UF2_BLOCK = struct.Struct("<8I476sI")
UF2_MAGIC = 0x0A324655, 0x9E5D5157, 0x0AB16F30
RP2040 = 0xE48BFF56
TOUCH_BAUD = 1200
"""A port opened and closed at this speed restarts a probe into its boot ROM, as with Arduinos."""
POLL_S = 0.2


def mount_points() -> list[Path]:
    """Where desktops mount a drive of that label."""
    user = getpass.getuser()
    parents = ("/media", f"/media/{user}", f"/run/media/{user}", "/mnt", "/Volumes")
    return [Path(parent) / LABEL for parent in parents]


def check_image(image: bytes, *, where: str) -> None:
    """Refuse what is no UF2 image for an RP2040.

    Raises:
        BadConfig: it is none.
    """
    if not image or len(image) % UF2_BLOCK.size:
        raise BadConfig(f"{where}: no UF2 image: {len(image)} bytes are no blocks of 512")
    for k in range(0, len(image), UF2_BLOCK.size):
        block = UF2_BLOCK.unpack_from(image, k)
        if (block[0], block[1], block[9]) != UF2_MAGIC:
            raise BadConfig(f"{where}: no UF2 image: block {k // UF2_BLOCK.size} is none")
        if block[7] != RP2040:
            raise BadConfig(f"{where}: a UF2 image for another chip than the RP2040")


def is_drive(folder: Path) -> bool:
    """Whether a folder is a waiting board's drive.

    Raises:
        CoevalError: it is that of another board.
    """
    try:
        info = (folder / INFO_FILE).read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    if BOARD_LINE not in info:
        lines = [line for line in info.splitlines() if line.startswith("Board-ID")]
        raise CoevalError(
            f"{folder}: expected {BOARD_LINE!r}, got {lines[0] if lines else 'no Board-ID'!r}: "
            "another board; the firmware is for the RP2040 (Raspberry Pi Pico)"
        )
    return True


def find_drive(
    folders: Iterable[Path],
    *,
    timeout_s: float,
    by_label: Path = Path("/dev/disk/by-label"),
    now_s: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Path:
    """Wait for the drive to appear.

    Args:
        folders: where it may be mounted.
        timeout_s: how long to wait.
        by_label: where the kernel lists block devices by label.
        now_s: a clock.
        sleep: waits.

    Raises:
        CoevalError: it does not appear, is not mounted, or is another board's.
    """
    looked = list(folders)
    until_s = now_s() + timeout_s
    while True:
        for folder in looked:
            if is_drive(folder):
                return folder
        if now_s() >= until_s:
            break
        sleep(POLL_S)
    device = by_label / LABEL
    if device.exists():
        raise CoevalError(
            f"{device} is there, but not mounted: udisksctl mount -b {device}, or sudo mount "
            f"{device} /mnt and --drive /mnt"
        )
    raise CoevalError(
        f"no drive {LABEL} within {timeout_s:g} s: hold the board's BOOTSEL button while you plug "
        "it in, or name a running probe with --port"
    )


def copy_image(image: bytes, drive: Path) -> None:
    """Write the image to the drive. The board restarts with the last block, so an error of the
    very end is none.

    Raises:
        CoevalError: the drive refuses it.
    """
    target = drive / "probe.uf2"
    try:
        with open(target, "wb", buffering=0) as file:
            written = 0
            while written < len(image):
                written += file.write(image[written:])
            try:
                os.fsync(file.fileno())
            except OSError:
                return  # all blocks were taken, and the drive is gone
    except OSError as exc:
        if not drive.exists():
            return
        raise CoevalError(f"{target}: cannot be written: {exc.strerror}") from exc


def restart_into_drive(port: str) -> None:
    """Tell a running probe to restart into its boot ROM.

    Raises:
        SourceUnusable: the port cannot be opened.
    """
    try:
        import serial
    except ImportError as exc:
        raise SourceUnusable(
            "serial ports need pyserial; install it with: pip install 'coeval[probe]'"
        ) from exc
    try:
        handle: Any = serial.Serial(port, TOUCH_BAUD, timeout=0)
        handle.dtr = False
        handle.close()
    except OSError as exc:
        raise named(exc, doing=f"open {port}", advice=ADVICE, is_opening=True) from exc
