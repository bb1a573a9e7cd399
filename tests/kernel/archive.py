"""Files of a guest as one `newc` cpio archive, the format that the kernel unpacks at boot.

Purely in memory: no root, no device nodes, no tree on disk (kernel: driver-api/early-userspace).
"""

import io
import lzma
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

MERGED = {"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib"}
"""Debian's merged /usr: packages still name the old places."""


class Archive:
    """Files by their path in the guest."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[int, bytes]] = {}

    def file(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        self._put(path, stat.S_IFREG | mode, data)

    def link(self, path: str, target: str) -> None:
        self._put(path, stat.S_IFLNK | 0o777, target.encode())

    def folder(self, path: str) -> None:
        self._put(path, stat.S_IFDIR | 0o755, b"")

    def package(self, deb: Path, *, keep: Callable[[str], bool]) -> None:
        """The files of a Debian package whose path `keep` wants; no scripts are run."""
        tar = subprocess.run(
            ["dpkg-deb", "--fsys-tarfile", str(deb)], check=True, capture_output=True
        ).stdout
        with tarfile.open(fileobj=io.BytesIO(tar)) as files:
            for member in files:
                path = merged(member.name)
                if not keep(path):
                    continue
                if member.issym():
                    self.link(path, member.linkname)
                elif member.islnk():
                    self._put(path, *self._entries[merged(member.linkname)])
                elif member.isfile():
                    data = files.extractfile(member)
                    assert data is not None
                    self.file(path, data.read(), mode=member.mode)

    def module(self, package: "Archive", name: str, path: str) -> None:
        """One kernel module of an unpacked package."""
        self.file(path, lzma.decompress(package.only(f"{name}.ko.xz")))

    def wheel(self, wheel: Path, under: str) -> None:
        """A wheel's files, without its tests."""
        with zipfile.ZipFile(wheel) as files:
            for name in files.namelist():
                if not name.endswith("/") and "/tests/" not in name:
                    self.file(f"{under}/{name}", files.read(name))

    def tree(self, folder: Path, under: str) -> None:
        """The Python files below a folder."""
        for file in sorted(folder.rglob("*.py")):
            self.file(f"{under}/{file.relative_to(folder)}", file.read_bytes())

    def to_bytes(self) -> bytes:
        """The archive; folders that files lie in come before them."""
        out = io.BytesIO()
        folders = {
            str(parent): (stat.S_IFDIR | 0o755, b"")
            for path in self._entries
            for parent in PurePosixPath(path).parents
            if str(parent) != "."
        }
        entries = sorted((folders | self._entries).items())
        for number, (path, (mode, data)) in enumerate(entries, start=1):
            write_entry(out, path, mode, data, number)
        write_entry(out, "TRAILER!!!", 0, b"", 0)
        return out.getvalue()

    def only(self, name: str) -> bytes:
        """The one file whose name begins so."""
        (data,) = [
            data
            for path, (_, data) in self._entries.items()
            if PurePosixPath(path).name.startswith(name)
        ]
        return data

    def _put(self, path: str, mode: int, data: bytes) -> None:
        self._entries[path] = (mode, data)


def merged(path: str) -> str:
    """A package's path in the merged tree, without what it begins with."""
    path = path.removeprefix("./").strip("/")
    first, _, rest = path.partition("/")
    return f"{MERGED[first]}/{rest}" if first in MERGED and rest else path


def write_entry(out: io.BytesIO, path: str, mode: int, data: bytes, number: int) -> None:
    """One entry: header of 13 hexadecimal fields, name, data, each padded to 4 bytes."""
    name = path.encode() + b"\0"
    links, owner, time, device = 1, 0, 0, 0
    fields = (
        *(number, mode, owner, owner, links, time, len(data)),
        *(device, device, device, device, len(name), 0),
    )
    header = b"070701" + b"".join(f"{field:08x}".encode() for field in fields)
    for part in (header + name, data):
        out.write(part)
        out.write(b"\0" * (-out.tell() % 4))
