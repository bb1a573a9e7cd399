"""The peers of the benchmark: installed from PyPI into a Python of their own, asked one by one.

A separate environment because they want other versions of numpy than we do; a long-lived worker
so that their start-up is not counted as their cost.
"""

import fcntl
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from coeval.errors import CoevalError

FOLDER = Path(".venv-peers")
STAMP = "installed.txt"
REQUIREMENTS = (
    "ffsubsync==0.5.1",
    "audio-offset-finder==0.5.5",
    "syncstart==1.1.1",
    "audalign==1.3.1",
    "nearest-advocate==0.2.0.5",
)
WORKER = Path(__file__).with_name("peer_worker.py")


class PeerFailed(CoevalError):
    """The peers' worker ended or could not be installed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerAnswer:
    """What a peer said of one job."""

    offset_s: float | None
    """Second − first; positive: the second is later. None: it gave no answer."""
    cpu_s: float
    """CPU time of the call, its child processes included."""
    error: str | None
    """Why it gave none."""


def install_peers(folder: Path = FOLDER) -> None:
    """Make the peers' environment, unless these very versions are there.

    Raises:
        PeerFailed: pip failed; its last line is in the message.
    """
    if is_installed(folder):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # cells that need the peers run side by side
            if not is_installed(folder):
                make_environment(folder)
                (folder / STAMP).write_text("\n".join(REQUIREMENTS))
    except OSError as exc:
        raise PeerFailed(f"peers: making {folder} failed: {exc.strerror}") from exc


def is_installed(folder: Path) -> bool:
    """Whether these very versions are there."""
    stamp = folder / STAMP
    return stamp.exists() and stamp.read_text() == "\n".join(REQUIREMENTS)


def make_environment(folder: Path) -> None:
    """A virtual environment with the peers in it.

    Raises:
        PeerFailed: pip failed; its last line is in the message.
    """
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin/pip"), "install", "--quiet", *REQUIREMENTS],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise PeerFailed(f"peers: `{' '.join(command[:4])} …` failed: {last}")


class PeerWorker:
    """The worker process; use as a context manager."""

    def __init__(self, python: Path | None = None) -> None:
        self._python = python or FOLDER / "bin/python"
        self._child: subprocess.Popen[str] | None = None
        self.errors: dict[str, list[str]] = {}
        """Why there was no answer, by peer, one a job."""

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            [str(self._python), str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child is not None
        self._child.terminate()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                pipe.close()

    def call(self, peer: str, job: Mapping[str, object]) -> dict[str, Any]:
        """One job's raw answer.

        Raises:
            PeerFailed: the worker ended.
        """
        assert self._child is not None
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(json.dumps({"peer": peer, **job}) + "\n")
        self._child.stdin.flush()
        line = self._child.stdout.readline()
        if not line:
            raise PeerFailed(f"peers: the worker ended while {peer} worked on {dict(job)}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def ask(self, peer: str, job: Mapping[str, object]) -> PeerAnswer:
        """One peer's answer to one job; an error of the peer's is an answer too."""
        answer = self.call(peer, job)
        if answer["error"] is not None:
            self.errors.setdefault(peer, []).append(answer["error"])
        return PeerAnswer(offset_s=answer["offset_s"], cpu_s=answer["cpu_s"], error=answer["error"])

    def versions(self) -> dict[str, str]:
        """Version of each peer, or `missing: …`."""
        found: dict[str, str] = self.call("versions", {})["offset_s"]
        return found
