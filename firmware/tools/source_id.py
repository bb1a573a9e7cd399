"""The id of the firmware's sources: the first 8 bytes of a SHA-256 over their names and contents.

`python source_id.py` prints it as a C header. A build's hello names it, and so does the manifest
beside the image that ships: `git log -S ID` finds the commit. A commit's own hash cannot be in what
it holds, and would change whenever the commit is moved.
"""

import hashlib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATTERNS = ("core/cp_*.[ch]", "rp2040/*.[chS]", "rp2040/link.ld", "rp2040/Makefile")


def source_id(root: Path = ROOT) -> str:
    """The id, 16 hexadecimal digits."""
    sources = sorted(path for pattern in PATTERNS for path in root.glob(pattern))
    digest = hashlib.sha256()
    for path in sources:
        content = path.read_bytes().replace(b"\r\n", b"\n")
        name = path.relative_to(root).as_posix()
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def header(identity: str) -> str:
    """The id as C."""
    values = ", ".join(f"0x{byte:02X}u" for byte in bytes.fromhex(identity))
    return f"#include <stdint.h>\nstatic const uint8_t source_id[8] = {{{values}}};\n"


if __name__ == "__main__":
    print(header(source_id()), end="")
