"""The emulated machine: QEMU's `virt` board, whose GPIO pins and console the tests hold.

The board's PL061 is a real GPIO chip to the guest's kernel; QEMU's test socket (qtest) sets the
level of its input pins. The guest's clock runs on this machine's, and an edge arrives when the
emulator gets to it: semantics can be tested so, accuracy cannot.
"""

import json
import queue
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from .guest_image import GuestImage

BOARD = [
    *("-M", "virt,gic-version=3", "-cpu", "cortex-a53"),
    *("-accel", "tcg", "-smp", "1", "-m", "768"),
]
MARK = "COEVAL "
BOOT_S = 1800.0
"""Some 15 s on a quiet machine; 400 s were seen where twelve programs shared two cores."""
REPLY_S = 300.0


class GuestError(Exception):
    """An error that the node's code raised in the guest: its class's name, and its message."""

    def __init__(self, name: str, says: str) -> None:
        super().__init__(f"{name}: {says}")
        self.name = name
        self.says = says


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

    def pulse(self, line: int, *, width_s: float = 0.02) -> float:
        """Raise and lower a pin; returns when it rose, by this machine's monotonic clock."""
        self.pin(line, 1)
        rose_s = time.monotonic()
        time.sleep(width_s)
        self.pin(line, 0)
        return rose_s

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
        assert told is not None, f"the guest is mute; its console:\n{self.console}"
        if "error" in told:
            raise GuestError(told["error"], told["says"])
        return told["ok"]


def connect(path: Path) -> IO[bytes]:
    """One of QEMU's sockets, once it is there."""
    end_s = time.monotonic() + 20
    while True:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            assert time.monotonic() < end_s, f"QEMU did not open {path.name}"
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
