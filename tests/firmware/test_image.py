"""The firmware's image: what ships is what its sources say, and is built the same everywhere."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from coeval_edge.probe_image import manifest, probe_image

from .probe_core import firmware_tool

FIRMWARE = Path(__file__).parents[2] / "firmware"
COMPILER = "arm-none-eabi-gcc"
source_id = firmware_tool("source_id")
uf2 = firmware_tool("uf2")


def test_the_image_that_ships_is_built_from_these_sources() -> None:
    stale = "firmware/ was changed and not built: run `make firmware` and commit the image"
    assert manifest()["source_id"] == source_id.source_id(), stale
    assert manifest()["sha256"] == hashlib.sha256(probe_image()).hexdigest()
    assert bytes.fromhex(manifest()["source_id"]) in uf2.payload(probe_image())


def build(folder: Path) -> bytes:
    """The firmware, built anew from a copy of its sources; skips without its compiler."""
    if shutil.which(COMPILER) is None or shutil.which("make") is None:
        pytest.skip(f"{COMPILER} or make is not installed: the firmware is not built anew")
    found = subprocess.run([COMPILER, "-dumpfullversion"], capture_output=True, text=True)
    if f"{COMPILER} {found.stdout.strip()}" != manifest()["compiler"]:
        pytest.skip(f"{COMPILER} {found.stdout.strip()} is not {manifest()['compiler']}")
    shutil.copytree(FIRMWARE, folder, ignore=shutil.ignore_patterns("build"))
    command = ["make", "-s", "-C", str(folder / "rp2040"), f"PYTHON={sys.executable}", "OUT=out"]
    subprocess.run(command, check=True, capture_output=True)
    return (folder / "rp2040/out/probe.uf2").read_bytes()


def test_a_build_anywhere_gives_the_bytes_that_ship(tmp_path: Path) -> None:
    assert build(tmp_path / "here") == probe_image()
    map_ = (tmp_path / "here/rp2040/out/probe.map").read_text()
    size = (tmp_path / "here/rp2040/out/probe.size").read_text()
    assert "pio_interrupt" in map_
    assert ".image" in size


def test_everything_but_the_start_runs_from_ram() -> None:
    flash = uf2.payload(probe_image())
    vectors = [int.from_bytes(flash[0x200 + k : 0x204 + k], "little") for k in range(4, 168, 4)]
    assert all(0x20000000 <= address < 0x20040000 for address in vectors)


def test_boot2_carries_the_checksum_that_the_boot_rom_wants() -> None:
    assert uf2.crc32_mpeg2(b"123456789") == 0x0376E6E7  # the published check value
    flash = uf2.payload(probe_image())
    assert int.from_bytes(flash[252:256], "little") == uf2.crc32_mpeg2(flash[:252])


def test_an_image_comes_back_from_its_blocks() -> None:
    image = bytes(252) + bytes(4) + bytes(range(256)) + b"tail"
    flash = uf2.payload(uf2.uf2(image))
    assert flash[256 : len(image)] == image[256:]
    assert len(flash) % 256 == 0


def test_a_boot2_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="boot2 must leave bytes 252 to 255"):
        uf2.uf2(bytes(252) + b"\1" + bytes(300))


@pytest.mark.parametrize("damaged", [0, 28, 508, 512 + 12])
def test_a_damaged_uf2_is_refused(damaged: int) -> None:
    data = bytearray(probe_image())
    data[damaged] ^= 0xFF
    with pytest.raises(ValueError, match="block"):
        uf2.payload(bytes(data))


def test_the_versions_agree() -> None:
    head = (FIRMWARE / "core/cp_types.h").read_text()
    assert "#define CP_PROTOCOL_VERSION 1u" in head
    assert re.fullmatch(r"\d+\.\d+\.\d+", manifest()["version"])
    assert json.loads(json.dumps(manifest())) == manifest()
