"""The part of the guest that does not change: Debian's stock arm64 kernel, Python, libraries.

Downloaded once, from Debian and PyPI by their ordinary clients, into a cache folder of the user's,
which all checkouts share. Needs no root, and nothing of the guest is executed on this machine.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .archive import Archive

CACHE = Path(os.environ.get("COEVAL_KERNEL_CACHE", "~/.cache/coeval/kernel")).expanduser()
MIRROR = os.environ.get("COEVAL_DEBIAN_MIRROR", "http://deb.debian.org/debian")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

KERNEL_SUITE = "bookworm-backports"
"""Linux 6.12, the first of Debian's with PPS_CLIENT_GPIO."""
PACKAGES = ("busybox-static", "python3-minimal", "libpython3-stdlib", "libstdc++6", "libasound2")
WHEELS = ("gpiod>=2.1", "numpy>=1.26", "pyserial>=3.5", "pynmea2>=1.19")
MODULES = (
    "pps-gpio",
    "pps-ldisc",
    # a camera: the kernel's own virtual one, as a capture device only
    *("mc", "videobuf2-common", "videodev", "videobuf2-v4l2", "rc-core", "cec"),
    *("v4l2-dv-timings", "v4l2-tpg", "videobuf2-memops", "videobuf2-dma-contig"),
    *("videobuf2-vmalloc", "vivid node_types=0x1"),
    # a sound card: what is played on it is what it hears
    *("soundcore", "snd", "snd-timer", "snd-pcm", "snd-aloop pcm_substreams=1"),
    # sensors: industrial I/O, and a hub whose other end is a program (uhid)
    *("configfs", "industrialio", "kfifo_buf", "industrialio-triggered-buffer"),
    *("industrialio-configfs", "industrialio-sw-trigger", "iio-trig-hrtimer", "hid", "uhid"),
    *("hid-sensor-hub", "hid-sensor-iio-common", "hid-sensor-trigger", "hid-sensor-accel-3d"),
)
"""Loaded in this order, each after what it depends on, with its parameters."""
UNUSED = re.compile(
    r"^(usr/share/(?!alsa/)|var/|etc/(?!ld)|usr/lib/aarch64-linux-gnu/(gconv|perl)|usr/sbin/)"
    r"|/(ensurepip|idlelib|lib2to3|pydoc_data|tkinter|turtledemo|unittest|distutils)/"
)
DOWNLOAD_S = 240.0
"""A download that has not ended by then is given up; all 60 MB take 30 s from a near mirror."""
ANSWER_S = 10
"""A server that does not answer within this is not there."""
KEPT_BASES = 3
"""Those used last stay in the cache: 140 MB each, one for every recipe that was in use."""


class CannotBuild(Exception):
    """Something that the image is made with is missing here; the text says what."""


def cached_base() -> Path:
    """The folder with the kernel and the guest's system, downloaded if it is not there."""
    recipe = repr((MIRROR, KERNEL_SUITE, PACKAGES, WHEELS, MODULES, UNUSED.pattern))
    sources = recipe.encode() + b"".join(
        Path(__file__).with_name(name).read_bytes() for name in ("archive.py", "guest_base.py")
    )
    base = CACHE / hashlib.sha256(sources).hexdigest()[:16]
    try:
        if not (base / "base.cpio").exists():
            fill(base)
        base.touch()
        prune()
    except OSError as exc:
        raise CannotBuild(f"the cache {CACHE} cannot be used: {exc}") from exc
    return base


def prune() -> None:
    """Remove the bases used longest ago; another process may be about to do the same."""
    used: dict[Path, float] = {}
    for each in CACHE.iterdir():
        with contextlib.suppress(FileNotFoundError):
            used[each] = each.stat().st_mtime
    for old in sorted(used, key=used.__getitem__)[:-KEPT_BASES]:
        shutil.rmtree(old, ignore_errors=True)


def fill(base: Path) -> None:
    """Download into a folder of this process's own, which then gets the name `base`."""
    CACHE.mkdir(parents=True, exist_ok=True)
    work = CACHE / f"{base.name}.{os.getpid()}"
    try:
        work.mkdir()
        download_base(work)
        try:
            work.rename(base)
        except OSError:
            if not (base / "base.cpio").exists():
                raise  # else another process had it first
    except subprocess.TimeoutExpired as exc:
        raise CannotBuild(f"{exc.cmd[0]}: {MIRROR} or PyPI took over {exc.timeout:.0f} s") from exc
    except subprocess.CalledProcessError as exc:
        told = (exc.stderr or b"").decode(errors="replace").strip().splitlines()
        raise CannotBuild(
            f"{exc.cmd[0]} with {MIRROR} failed: {told[-1] if told else exc}"
        ) from exc
    finally:
        shutil.rmtree(work, ignore_errors=True)


def download_base(work: Path) -> None:
    """Fill `work` with `vmlinuz` and `base.cpio`."""
    apt = apt_for_arm64(work / "apt")
    run([*apt, "update"])
    depends = run(
        ["apt-cache", *apt[1:], "depends", f"linux-image-arm64/{KERNEL_SUITE}"],
    )
    found = re.search(r"Depends: (linux-image-\S+)", depends)
    if found is None:
        raise CannotBuild(f"no kernel in {KERNEL_SUITE} at {MIRROR}")
    (debs := work / "debs").mkdir()
    run([*apt, "download", f"{found[1]}/{KERNEL_SUITE}"], folder=debs)
    (kernel,) = debs.glob("linux-image-*.deb")
    run([*apt, "install", "--download-only", "--yes", *PACKAGES])
    (wheels := work / "wheels").mkdir()
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in (17, 27, 28)]
    run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *(f"--timeout={ANSWER_S}", "--retries=1"),
            *("--only-binary=:all:", "--python-version=3.11", *platforms),
            *(f"--dest={wheels}", *WHEELS),
        ]
    )

    kept = Archive()  # reading the package through takes 7 s of CPU, so once for all
    wanted = {f"{module.split()[0]}.ko.xz" for module in MODULES}
    kept.package(
        kernel,
        keep=lambda path: path.startswith("boot/vmlinuz") or path.rpartition("/")[2] in wanted,
    )
    (work / "vmlinuz").write_bytes(kept.only("vmlinuz"))
    base = Archive()
    for old, new in (("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib")):
        base.link(old, new)
    for folder in ("proc", "sys", "dev", "tmp", "run", "usr/sbin"):
        base.folder(folder)
    for deb in sorted((work / "apt" / "archives").glob("*.deb")):
        base.package(deb, keep=lambda path: not UNUSED.search(path))
    for module in MODULES:
        name = module.split()[0]
        base.module(kept, name, f"modules/{name}.ko")
    base.file("modules/order", "".join(f"{module}\n" for module in MODULES).encode())
    for wheel in sorted(wheels.glob("*.whl")):
        base.wheel(wheel, "site")
    (work / "base.cpio").write_bytes(base.to_bytes())
    for folder in ("apt", "debs", "wheels"):
        shutil.rmtree(work / folder)


def apt_for_arm64(folder: Path) -> list[str]:
    """apt-get for another architecture, with all its state in a folder; needs no root."""
    for each in ("lists/partial", "archives/partial", "empty"):
        (folder / each).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources.list").write_text(
        "".join(
            f"deb [signed-by={KEYRING}] {MIRROR} {suite} main\n"
            for suite in ("bookworm", KERNEL_SUITE)
        )
    )
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": ANSWER_S,
        "Acquire::https::Timeout": ANSWER_S,
        "Dir::Etc::SourceList": folder / "sources.list",
        "Dir::Etc::SourceParts": folder / "empty",
        "Dir::State::Lists": folder / "lists",
        "Dir::State::Status": folder / "status",
        "Dir::Cache": folder,
        "Dir::Cache::Archives": folder / "archives",
    }
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    return ["apt-get", "-qq", "-o", "APT::Update::Error-Mode=any", *options]


def run(command: list[str], *, folder: Path | None = None) -> str:
    """What a command prints; its failure is an exception with what it said."""
    done = subprocess.run(command, check=True, capture_output=True, cwd=folder, timeout=DOWNLOAD_S)
    return done.stdout.decode()
