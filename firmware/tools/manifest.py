"""What the shipped image is: `python manifest.py probe.uf2 COMPILER` prints it as JSON."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

from source_id import ROOT, source_id


def version() -> str:
    """The firmware's version, as its source has it."""
    text = (ROOT / "rp2040/main.c").read_text(encoding="utf-8")
    match = re.search(r"version\[3\] = \{(\d+)u, (\d+)u, (\d+)u\}", text)
    if match is None:
        raise ValueError("firmware/rp2040/main.c: no `version[3] = {…}`")
    return ".".join(match.groups())


if __name__ == "__main__":
    command = [sys.argv[2], "-dumpfullversion"]
    compiler = subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()
    manifest = {
        "version": version(),
        "source_id": source_id(),
        "compiler": f"arm-none-eabi-gcc {compiler}",
        "sha256": hashlib.sha256(Path(sys.argv[1]).read_bytes()).hexdigest(),
    }
    print(json.dumps(manifest, indent=1))
