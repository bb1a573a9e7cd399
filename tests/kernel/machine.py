"""The emulated machine: QEMU's `virt` board, whose GPIO pins and console the tests hold.

The board's PL061 is a real GPIO chip to the guest's kernel; QEMU's test socket (qtest) sets the
level of its input pins. The guest's clock runs on this machine's, and an edge arrives when the
emulator gets to it: semantics can be tested so, accuracy cannot.
"""

import functools
import json
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytest

from .guest_image import GuestImage

BOARD = [
    *("-M", "virt,gic-version=3", "-cpu", "cortex-a53"),
    *("-accel", "tcg", "-smp", "1", "-m", "768"),
]
MARK = "COEVAL "
BOOT_S = 1800.0
"""Some 15 s on a quiet machine; 400 s were seen where twelve programs shared two cores."""
REPLY_S = 300.0
CALM_NS = 5_000_000
"""A machine is calm where no program wakes later than this."""
TRIES = 5


class GuestError(Exception):
    """An error that the node's code raised in the guest: its class's name, and its message."""

    def __init__(self, name: str, says: str) -> None:
        super().__init__(f"{name}: {says}")
        self.name = name
        self.says = says


class GuestMute(Exception):
    """The guest does not answer; its console."""


class Machine:
    """A booted machine; a context that ends it."""

    def __init__(self, image: GuestImage, folder: Path) -> None:
        self._log: list[str] = []
        self._replies: queue.Queue[dict[str, Any] | None] = queue.Queue()
        sockets = {name: folder / name for name in ("qtest", "qmp")}
        options = "server=on,wait=off"
        self._process = subprocess.Popen(
            [
                *("qemu-system-aarch64", *BOARD, "-nodefaults", "-nographic", "-no-reboot"),
                *("-serial", "stdio"),
                *("-qtest", f"unix:{sockets['qtest']},{options}", "-qtest-log", "none"),
                *("-qmp", f"unix:{sockets['qmp']},{options}"),
                *("-kernel", str(image.kernel), "-initrd", str(image.initrd)),
                *("-dtb", str(image.device_tree)),
                *("-append", "console=ttyAMA0 loglevel=1 panic=-1 rdinit=/init"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read_console, name="console")
        self._reader.start()
        try:
            self._qtest = connect(sockets["qtest"])
            self._chip = find_gpio_chip(connect(sockets["qmp"]))
            self.guest: list[str] = self._reply(BOOT_S)
            """Its Python and its kernel."""
        except BaseException:
            self.close()
            raise

    def start(self, do: str, **keys: Any) -> Callable[[], Any]:
        """Ask the guest for something; the answer is had by calling what is returned."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do} | keys).encode() + b"\n")
        self._process.stdin.flush()
        return lambda: self._reply(REPLY_S)

    def call(self, do: str, **keys: Any) -> Any:
        """Ask the guest and wait for the answer.

        Raises:
            GuestError: the node's code raised.
        """
        return self.start(do, **keys)()

    def pin(self, line: int, level: int) -> None:
        """Set the level of an input pin of the GPIO chip."""
        self._qtest.write(f"set_irq_in {self._chip} unnamed-gpio-in {line} {level}\n".encode())
        self._qtest.flush()
        answer = self._qtest.readline()
        assert answer.startswith(b"OK"), answer

    def settle(self) -> int:
        """Wait until the guest has run, and so handled every change of a pin before; the node's
        clock then. A change that comes before the guest ran would be one with the last."""
        now_ns: int = self.call("clocks")["node_ns"]
        return now_ns

    def pulse(self, line: int) -> tuple[int, int]:
        """Raise and lower a pin, each for as long as the guest needs to see it.

        Returns:
            The node's clock before it rose and after: an edge's stamp lies between the two however
            late the guest runs, for a cause comes before what it brings about.
        """
        before_ns = self.settle()
        self.pin(line, 1)
        after_ns = self.settle()
        self.pin(line, 0)
        self.settle()
        return before_ns, after_ns

    def close(self) -> None:
        """End the machine."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    @property
    def console(self) -> str:
        """The last lines of the console."""
        return "".join(self._log[-30:])

    def _read_console(self) -> None:
        assert self._process.stdout is not None
        for raw in self._process.stdout:
            line = raw.decode(errors="replace")
            self._log.append(line)
            if MARK in line:
                self._replies.put(json.loads(line[line.index(MARK) + len(MARK) :]))
        self._replies.put(None)

    def _reply(self, timeout_s: float) -> Any:
        try:
            told = self._replies.get(timeout=timeout_s)
        except queue.Empty:
            told = None
        if told is None:
            raise GuestMute(f"nothing within {timeout_s:g} s; its console:\n{self.console}")
        if "error" in told:
            raise GuestError(told["error"], told["says"])
        return told["ok"]


def on_a_calm_machine(test: Callable[..., None]) -> Callable[..., None]:
    """A test of what depends on the machine's running evenly; where a loaded host let it stand, a
    failure says nothing, and the test is done again, and skipped if that does not help."""

    @functools.wraps(test)
    def calmly(machine: Machine, **keys: Any) -> None:
        for _ in range(TRIES):
            machine.call("watch_lateness")
            try:
                test(machine, **keys)
            except (AssertionError, GuestError):
                late_ns = machine.call("longest_lateness")
                machine.call("close_all")
                if late_ns < CALM_NS:
                    raise
            else:
                machine.call("longest_lateness")
                return
        pytest.skip(f"the host lets the emulated machine stand for {late_ns / 1e6:.0f} ms")

    return calmly


def connect(path: Path) -> IO[bytes]:
    """One of QEMU's sockets, once it is there."""
    end_s = time.monotonic() + BOOT_S
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            assert time.monotonic() < end_s, f"QEMU did not open {path.name} within {BOOT_S:g} s"
            time.sleep(0.05)
            continue
        with connection:
            return connection.makefile("rwb")


def find_gpio_chip(qmp: IO[bytes]) -> str:
    """QEMU's own path of the PL061, for qtest."""
    with qmp:
        qmp.readline()
        for command in (
            {"execute": "qmp_capabilities"},
            {"execute": "qom-list", "arguments": {"path": "/machine/unattached"}},
        ):
            qmp.write(json.dumps(command).encode() + b"\n")
            qmp.flush()
            answer = json.loads(qmp.readline())
    (name,) = [each["name"] for each in answer["return"] if each["type"] == "child<pl061>"]
    return f"/machine/unattached/{name}"
