"""Makes a UF2 image of a program for the RP2040: `python uf2.py probe.bin probe.uf2`.

In: the bytes of the flash from its beginning on, the first 252 of them boot2. Out: blocks of 512
bytes, 256 of payload each, that the boot ROM's drive takes (https://github.com/microsoft/uf2), with
boot2's CRC filled in (RP2040 datasheet 2.8.1.3.1: CRC-32/MPEG-2 over 252 bytes, little-endian).
"""

import struct
import sys
from pathlib import Path

BLOCK = struct.Struct("<8I476sI")
MAGIC = 0x0A324655, 0x9E5D5157, 0x0AB16F30
FAMILY_PRESENT = 0x2000
RP2040 = 0xE48BFF56
FLASH = 0x10000000
PAYLOAD = 256
BOOT2 = 252


def crc32_mpeg2(data: bytes) -> int:
    """Polynomial 0x04C11DB7, start all ones, nothing reflected or inverted."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return crc


def with_boot2_crc(image: bytes) -> bytes:
    """The image with boot2's CRC.

    Raises:
        ValueError: there is something where the CRC belongs: boot2 is too long.
    """
    if len(image) < PAYLOAD or any(image[BOOT2:PAYLOAD]):
        raise ValueError(f"boot2 must leave bytes {BOOT2} to {PAYLOAD - 1} of the image zero")
    return image[:BOOT2] + struct.pack("<I", crc32_mpeg2(image[:BOOT2])) + image[PAYLOAD:]


def uf2(image: bytes) -> bytes:
    """The image as UF2."""
    image = with_boot2_crc(image)
    parts = [image[k : k + PAYLOAD] for k in range(0, len(image), PAYLOAD)]
    blocks = []
    for k, part in enumerate(parts):
        head = (*MAGIC[:2], FAMILY_PRESENT, FLASH + k * PAYLOAD, PAYLOAD, k, len(parts), RP2040)
        blocks.append(BLOCK.pack(*head, part.ljust(PAYLOAD, b"\0"), MAGIC[2]))
    return b"".join(blocks)


def payload(data: bytes) -> bytes:
    """The flash's bytes in a UF2 file, for readers of it.

    Raises:
        ValueError: it is none, or is for another chip.
    """
    parts = []
    for k in range(0, len(data), BLOCK.size):
        block = BLOCK.unpack(data[k : k + BLOCK.size])
        if (*block[:2], block[9]) != MAGIC or block[7] != RP2040:
            raise ValueError(f"block {k // BLOCK.size} is no UF2 for the RP2040")
        if block[3] != FLASH + len(parts) * PAYLOAD:
            raise ValueError(f"block {k // BLOCK.size} does not follow the one before")
        parts.append(block[8][:PAYLOAD])
    return b"".join(parts)


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(uf2(Path(sys.argv[1]).read_bytes()))
