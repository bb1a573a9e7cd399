"""What the emulated machine boots: the cached system, and over it the node's code as it is now."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .archive import Archive
from .guest_base import CannotBuild, cached_base, run

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

TOOLS = {
    "qemu-system-aarch64": "qemu-system-arm",
    "dtc": "device-tree-compiler",
    "dpkg-deb": "dpkg",
    "apt-get": "apt",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestImage:
    """Files that QEMU boots."""

    kernel: Path
    initrd: Path
    device_tree: Path


def build_image(folder: Path, *, machine: list[str]) -> GuestImage:
    """The image, in `folder`, with the code as it is now.

    Args:
        folder: where the files of this run go.
        machine: QEMU's arguments that make the machine, for its device tree.

    Raises:
        CannotBuild: a tool or the network is missing.
    """
    missing = [package for tool, package in TOOLS.items() if shutil.which(tool) is None]
    if missing:
        raise CannotBuild(f"needs {', '.join(missing)} (apt-get install)")
    base = cached_base()
    code = Archive()
    code.tree(ROOT / "core" / "coeval", "node/coeval")
    code.tree(ROOT / "edge" / "coeval_edge", "node/coeval_edge")
    for name in ("agent.py", "hid_sensor.py"):
        code.file(f"node/{name}", (HERE / "guest" / name).read_bytes())
    code.file("etc/group", b"root:x:0:\naudio:x:29:\n")  # alsa-lib shares cards within a group
    code.file("init", (HERE / "guest" / "init").read_bytes(), mode=0o755)
    initrd = folder / "initrd"
    # The kernel unpacks archives one after the other, the later ones over the earlier.
    initrd.write_bytes((base / "base.cpio").read_bytes() + code.to_bytes())
    device_tree = folder / "machine.dtb"
    device_tree.write_bytes(with_pps(machine, folder))
    return GuestImage(kernel=base / "vmlinuz", initrd=initrd, device_tree=device_tree)


def with_pps(machine: list[str], folder: Path) -> bytes:
    """The machine's device tree, its power button replaced by two PPS lines (0 and 4)."""
    dumped = folder / "dumped.dtb"
    dump = [part.replace("virt,", f"virt,dumpdtb={dumped},") for part in machine]
    run(["qemu-system-aarch64", *dump, "-nodefaults", "-nographic"])
    source = run(["dtc", "-q", "-I", "dtb", "-O", "dts", str(dumped)])
    chip = re.search(r"pl061@[^{]*\{[^}]*?phandle = <(0x[0-9a-f]+)>", source)
    assert chip is not None, "the machine has no PL061"
    lines = "".join(
        f'\tpps-{line} {{ compatible = "pps-gpio"; gpios = <{chip[1]} {line} 0>; }};\n'
        for line in (0, 4)
    )
    changed, num = re.subn(r"\tgpio-keys \{.*?\n\t\};\n", lines, source, count=1, flags=re.DOTALL)
    assert num == 1, "the machine has no gpio-keys"
    return subprocess.run(
        ["dtc", "-q", "-I", "dts", "-O", "dtb"],
        input=changed.encode(),
        check=True,
        capture_output=True,
    ).stdout
