"""A PostgreSQL server for the tests and the bench: its own cluster, on loopback, gone afterwards.

`initdb` and `postgres` refuse to run as root: then they run as `nobody`.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from coeval.errors import CoevalError
from coeval_lab.broker import HOST, free_port
from coeval_lab.process_tree import children_of, send

START_S = 300.0
USER = "coeval"


def find_postgres() -> Path | None:
    """Folder of PostgreSQL's programs; Debian puts them where no PATH looks."""
    on_path = shutil.which("initdb")
    if on_path is not None and shutil.which("pg_ctl") is not None:
        return Path(on_path).resolve().parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if on_path is not None:
        found.append(Path(on_path).resolve())
    return found[-1].parent if found else None


@dataclass(slots=True)
class RunningPostgres:
    """A server that can be stopped and started again."""

    programs: Path
    """Where its programs are."""
    folder: Path
    """Its cluster."""
    port: int
    """Where it listens."""
    options: tuple[str, ...] = ()
    """Settings, as `name=value`."""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Its address as a store takes it."""
        return f"postgresql://{USER}@{HOST}:{self.port}/postgres"

    def start(self) -> None:
        """Start it and wait until it takes connections.

        Raises:
            CoevalError: it does not.
        """
        settings = [
            f"listen_addresses={HOST}",
            f"unix_socket_directories={self.folder}",
            *self.options,
        ]
        command = [f"{self.programs}/postgres", "-D", str(self.folder), "-p", str(self.port)]
        log = open(self.folder / "log.txt", "ab")  # noqa: SIM115  the child keeps it
        with log:
            self._process = subprocess.Popen(
                [*command, *(part for setting in settings for part in ("-c", setting))],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                user=ordinary_user(),
            )
        until_s = time.monotonic() + START_S
        ready = [f"{self.programs}/pg_isready", "-q", "-h", HOST, "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode != 0:
            if self._process.poll() is not None or time.monotonic() > until_s:
                said = (self.folder / "log.txt").read_text(encoding="utf-8", errors="replace")
                raise CoevalError(f"PostgreSQL does not start: {said[-500:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it at once, as a crash would: it recovers from its log when it starts again."""
        if self._process is not None:
            self._process.send_signal(3)  # SIGQUIT: immediate shutdown
            self._process.wait(START_S)
            self._process = None

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """Let all its processes stand still: it neither answers nor breaks off."""
        if self._process is None:
            raise CoevalError("PostgreSQL stands still only while it runs; start it first")
        self._process.send_signal(signal.SIGSTOP)  # first: from now on it starts no other
        children = children_of(self._process.pid)
        send(signal.SIGSTOP, children)
        try:
            yield
        finally:
            send(signal.SIGCONT, [*children, self._process.pid])


def ordinary_user() -> int | None:
    """Who PostgreSQL runs as where we are root; None: we are not, it runs as we do."""
    return None if os.geteuid() != 0 else pwd.getpwnam("nobody").pw_uid


@contextmanager
def start_postgres(*options: str) -> Iterator[RunningPostgres]:
    """Run a server with an empty cluster until the `with` block ends.

    Args:
        options: settings, as `name=value`.

    Raises:
        CoevalError: PostgreSQL is not here, or does not start.
    """
    programs = find_postgres()
    if programs is None:
        raise CoevalError("PostgreSQL is not here; install it with: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="coeval-postgres-") as temporary:
        folder = Path(temporary) / "cluster"
        folder.mkdir()
        user = ordinary_user()
        if user is not None:
            os.chmod(temporary, 0o755)
            os.chown(folder, user, -1)
        made = subprocess.run(
            [programs / "initdb", "-D", folder, "-U", USER, "--auth=trust", "-N", "-E", "UTF8"],
            capture_output=True,
            check=False,
            cwd=folder,
            user=user,
        )
        if made.returncode != 0:
            raise CoevalError(f"initdb failed: {made.stderr.decode(errors='replace')[-500:]}")
        server = RunningPostgres(
            programs=programs, folder=folder, port=free_port(), options=options
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()
