"""The demo's processes: the real commands, each with a log of its own, ended by their handles."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from coeval.errors import CoevalError

RUN_CLI = "from coeval.cli import main; main()"
"""Starts the `coeval` of this very interpreter, whatever PATH says."""
ENDS_WITHIN_S = 8.0


class Children:
    """Processes that end with the `with` block, whatever ends it."""

    def __init__(self, logs: Path) -> None:
        """Prepare.

        Args:
            logs: existing folder for one log file a process.
        """
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running.values():
            if process.poll() is None:
                process.terminate()
        for process in self._running.values():
            try:
                process.wait(timeout=ENDS_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def start(self, name: str, arguments: Sequence[str]) -> None:
        """Start `coeval` with arguments; what it says goes to `name.log`."""
        with (self._logs / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-c", RUN_CLI, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches the demo, and the demo ends them
            )

    def is_running(self, name: str) -> bool:
        """Whether a process still runs.

        Raises:
            CoevalError: it failed; its last line says why.
        """
        code = self._running[name].poll()
        if code:
            path = self._logs / f"{name}.log"
            said = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            last = said[-1].removeprefix("coeval: ") if said else "it said nothing"
            raise CoevalError(f"{name} ended with code {code}: {last} (all of it: {path})")
        return code is None
