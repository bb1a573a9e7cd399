"""The probe's core, compiled for this machine: its headers are what Python calls it by."""

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

CORE = Path(__file__).parents[2] / "firmware" / "core"
SOURCES = sorted(path for path in CORE.glob("cp_*.c"))
FLAGS = [
    "-std=c99",
    "-pedantic",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wsign-conversion",
    "-Werror",
    "-g",
    "-O1",
]
EMPTY_HEADERS = ("stdint.h", "stdbool.h", "stddef.h")


def compiler() -> str:
    """The C compiler; skips the test where there is none."""
    path = shutil.which("cc") or shutil.which("gcc")
    if path is None:
        pytest.skip("no C compiler: install gcc to test the probe's core on the host")
    return path


def sanitizes(flags: str, folder: Path) -> bool:
    """Whether the compiler can link with a sanitizer here."""
    source = folder / "empty.c"
    source.write_text("int main(void) { return 0; }\n")
    command = [compiler(), flags, str(source), "-o", str(folder / "empty")]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def declarations(folder: Path) -> str:
    """What the headers declare, as cffi reads it: no system headers, no static assertions."""
    stand_ins = folder / "stand-ins"
    stand_ins.mkdir()
    for name in EMPTY_HEADERS:
        (stand_ins / name).write_text("")
    source = folder / "all.c"
    source.write_text("".join(f'#include "{p.name}"\n' for p in sorted(CORE.glob("cp_*.h"))))
    command = [compiler(), "-E", "-P", "-nostdinc", f"-I{stand_ins}", f"-I{CORE}", str(source)]
    text = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return re.sub(r"typedef char cp_assert_at_line_\d+[^;]*;", "", text)


def load(folder: Path, *, change: tuple[str, str, str] | None = None) -> Any:
    """Compile the core, unless it is changed with the undefined-behaviour sanitizer, and load it.

    Args:
        folder: an empty one, for what is made.
        change: file, a piece of it that is there once, and what to put in its place, to see what
            comes of it.

    Returns:
        The ffi, and the library.
    """
    cffi = pytest.importorskip("cffi", reason="cffi is absent: pip install 'coeval[dev]'")
    flag = "-fsanitize=undefined"
    is_checked = change is None and sanitizes(flag, folder)
    extra = [flag, "-fno-sanitize-recover=all"] if is_checked else []
    library = folder / "core.so"
    sources = list(SOURCES)
    if change is not None:
        name, old, new = change
        text = (CORE / name).read_text()
        assert text.count(old) == 1, f"{name}: {old!r} is there {text.count(old)} times"
        (folder / name).write_text(text.replace(old, new))
        sources = [folder / name if path.name == name else path for path in SOURCES]
    command = [compiler(), *FLAGS, *extra, f"-I{CORE}", "-shared", "-fPIC", *map(str, sources)]
    subprocess.run([*command, "-o", str(library)], check=True)
    ffi = cffi.FFI()
    ffi.cdef(declarations(folder))
    return ffi, ffi.dlopen(str(library))


def firmware_tool(name: str) -> ModuleType:
    """A module of firmware/tools, which is no package."""
    spec = importlib.util.spec_from_file_location(name, CORE.parent / f"tools/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
