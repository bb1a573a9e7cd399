"""Messages of systemd's journal as a stream, by the kernel's stamp of their sending.

journald keeps more than one time of a message. The kernel stamps the datagram that carries it
(`_SOURCE_REALTIME_TIMESTAMP`) or, for its own messages, the printing, by a clock of printk's own
that nobody steers (`_SOURCE_MONOTONIC_TIMESTAMP`); what a service prints has only journald's
receipt (`__MONOTONIC_TIMESTAMP`), as all have. The first that is there, and can be placed, counts.
"""

import json
import logging
import os
import select
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coeval.errors import BadConfig
from coeval.samples import Sample
from coeval.time import NodeNs
from coeval_edge.kernel_clocks import KernelClock, ReadClock, StampConverter
from coeval_edge.sources.errors import (
    SourceAbsent,
    SourceForbidden,
    SourceLost,
    SourceUnfit,
    SourceUnusable,
)
from coeval_edge.sources.line_modality import LineModality
from coeval_edge.sources.lines import LineParser, LineSplitter
from coeval_edge.sources.promptest import Promptest
from coeval_edge.sources.timing import Timing

logger = logging.getLogger(__name__)

NS_PER_US = 1000
READ_BYTES = 1 << 16
ANSWER_S = 20.0
"""journalctl opens a journal of gigabytes within this."""
SIGMA_NS = 3e6
"""A receipt is 0.1 to 20 ms after the sending; a stamp of the kernel's is better than that."""
PRIORITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
FIELDS = (
    *("MESSAGE", "SYSLOG_IDENTIFIER", "_SOURCE_REALTIME_TIMESTAMP"),
    *("_SOURCE_MONOTONIC_TIMESTAMP", "_TRANSPORT"),
)
"""What journalctl is to print besides the times and the boot, which it always does."""

JOIN_GROUP = "sudo usermod -aG systemd-journal $USER, then log in again"
TOLD: Mapping[str, tuple[type[SourceUnusable], str]] = {
    "insufficient permissions": (SourceForbidden, JOIN_GROUP),
    "Permission denied": (SourceForbidden, JOIN_GROUP),
    "No such file": (SourceAbsent, "is the directory right?"),
    "No journal files": (SourceAbsent, "is systemd-journald running, and does it store anything?"),
    "No such boot ID": (SourceAbsent, "journald has stored nothing since the start"),
    "Unknown log level": (SourceUnfit, "see priority"),
    "Invalid unit name": (SourceUnfit, "see units"),
}
"""What journalctl says of failures, what that is, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalConfig:
    """Which messages of the journal."""

    units: tuple[str, ...] = ()
    """Those of these systemd units …"""
    identifiers: tuple[str, ...] = ()
    """… and of these identifiers (`logger -t NAME`); none: of all."""
    priority: str = "debug"
    """This important or more: emerg, alert, crit, err, warning, notice, info, debug."""
    kernel: bool = False
    """Only the kernel's own messages."""
    modality: LineModality = "text"
    """`text`: every message is an event; `metadata`: its numbers are channels."""
    directory: Path | None = None
    """The journal's folder, where it is not this system's own."""

    def __post_init__(self) -> None:
        if self.priority not in PRIORITIES:
            raise BadConfig(
                f"priority must be one of {', '.join(PRIORITIES)}, got {self.priority!r}"
            )
        if self.modality not in ("text", "metadata"):
            raise BadConfig(f"modality must be text or metadata, got {self.modality!r}")
        for key, names in (("units", self.units), ("identifiers", self.identifiers)):
            if not all(names):
                raise BadConfig(f"{key} must not hold an empty name")

    @property
    def arguments(self) -> list[str]:
        """What to ask journalctl for."""
        return [
            *("--output=json", f"--output-fields={','.join(FIELDS)}", "--lines=0"),
            *(f"--unit={unit}" for unit in self.units),
            *(f"--identifier={name}" for name in self.identifiers),
            f"--priority={self.priority}",
            *(["--dmesg"] if self.kernel else []),
            *([f"--directory={self.directory}"] if self.directory else []),
        ]


class JournalSource:
    """Follows the journal from its end, through a `journalctl` of its own."""

    def __init__(
        self,
        config: JournalConfig,
        *,
        read_clock: ReadClock = time.clock_gettime_ns,
        boot_id_file: Path = Path("/proc/sys/kernel/random/boot_id"),
    ) -> None:
        """Begin to follow.

        Raises:
            SourceUnusable: one of its kinds, with what to do.
        """
        self.counts: Counter[str] = Counter()
        """Messages by whose stamp they have (sent, printed, received), and those left out: garbage,
        other_boot, unplaced (the system's clock was stepped around them), no_text."""
        self.timing = Timing(
            origin="kernel",
            latency_ns=0.0,
            sigma_ns=SIGMA_NS,
            how="the kernel's stamp of a message's sending where it has one (syslog, the journal's "
            "API, the kernel's own); of what a service prints, journald's receipt",
        )
        self.parser = LineParser(config.modality)
        """Counts what became of the texts."""
        self._config = config
        self._splitter = LineSplitter()
        self._realtime = StampConverter(KernelClock.REALTIME, read=read_clock)
        self._monotonic = StampConverter(KernelClock.MONOTONIC, read=read_clock)
        self._printk = Promptest()
        try:
            self._boot = boot_id_file.read_text().strip().replace("-", "")
        except OSError as exc:
            raise SourceUnfit(f"{boot_id_file}: {exc}; which boot this is cannot be told") from exc
        program = shutil.which("journalctl")
        if program is None:
            raise SourceAbsent(
                "no journalctl here: this system has no systemd; follow its log files instead, "
                "[node.sources.file.NAME]"
            )
        check(program, config)
        self._process = subprocess.Popen(
            [program, *config.arguments, "--follow"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | {"LC_ALL": "C"},
        )

    def read(self, timeout_s: float) -> list[Sample]:
        """The messages that come within `timeout_s`, as soon as there is any.

        Raises:
            SourceLost: journalctl ended.
        """
        out = self._process.stdout
        assert out is not None
        if not select.select([out], [], [], timeout_s)[0]:
            self._realtime.watch()
            self._monotonic.watch()
            return []
        data = os.read(out.fileno(), READ_BYTES)
        if not data:
            raise self._ended()
        found = [self._take(line) for line, _ in self._splitter.push(data)]
        return [sample for sample in found if sample is not None]

    def close(self) -> None:
        """End journalctl."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _ended(self) -> SourceUnusable:
        self._process.wait()
        assert self._process.stderr is not None
        told = self._process.stderr.read().decode(errors="replace")
        return failure(told, default=SourceLost) or SourceLost(
            f"journalctl ended with {self._process.returncode}; it is started again"
        )

    def _take(self, line: str) -> Sample | None:
        """One message as journalctl prints it."""
        try:
            entry = json.loads(line)
            t_node_ns = self._place(entry)
        except (ValueError, TypeError, KeyError, RecursionError):
            self.counts["garbage"] += 1
            return None
        if t_node_ns is None:
            return None
        text = text_of(entry.get("MESSAGE"))
        if not text:
            self.counts["no_text"] += 1
            return None
        name = text_of(entry.get("SYSLOG_IDENTIFIER"))
        if name and self._config.modality == "text":
            text = f"{name}: {text}"
        return next(iter(self.parser.parse(text, t_node_ns)), None)

    def _place(self, entry: Mapping[str, Any]) -> NodeNs | None:
        """When it was sent, on the node's clock; None, and counted, where that cannot be told.

        Raises:
            ValueError, TypeError, KeyError: it is no entry of a journal.
        """
        received_ns = int(entry["__MONOTONIC_TIMESTAMP"]) * NS_PER_US
        if entry["_BOOT_ID"] != self._boot:
            self.counts["other_boot"] += 1
            return None
        received = self._monotonic.to_node(received_ns)
        if received is None:
            self.counts["unplaced"] += 1
            return None
        printed = entry.get("_SOURCE_MONOTONIC_TIMESTAMP")
        if printed is not None and entry.get("_TRANSPORT") == "kernel":
            printed_ns = int(printed) * NS_PER_US
            self.counts["printed"] += 1
            return NodeNs(printed_ns + self._printk.push(received.t_node_ns, printed_ns))
        sent = entry.get("_SOURCE_REALTIME_TIMESTAMP")
        if sent is not None:
            stamp = self._realtime.to_node(int(sent) * NS_PER_US)
            if stamp is not None and stamp.t_node_ns <= received.t_node_ns + NS_PER_US:
                self.counts["sent"] += 1
                return stamp.t_node_ns
        self.counts["received"] += 1
        return received.t_node_ns


def check(program: str, config: JournalConfig) -> None:
    """Ask for nothing, which says at once what would be wrong.

    Raises:
        SourceUnusable: one of its kinds, with what to do.
    """
    try:
        asked = subprocess.run(
            [program, *config.arguments, "--boot"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=os.environ | {"LC_ALL": "C"},
            timeout=ANSWER_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise SourceUnfit(f"journalctl does not answer: {exc}") from exc
    told = asked.stderr.decode(errors="replace")
    if asked.returncode:
        raise failure(told, default=SourceUnfit) or SourceUnfit(
            f"journalctl failed with {asked.returncode}; try it by hand"
        )
    if "not seeing messages from other users" in told:
        logger.warning("journal: only this user's own messages are seen; %s", JOIN_GROUP)


def failure(told: str, *, default: type[SourceUnusable]) -> SourceUnusable | None:
    """The error of what journalctl said; None where it said nothing."""
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    if not lines:
        return None
    for sign, (kind, todo) in TOLD.items():
        if sign in told:
            return kind(f"journalctl: {lines[-1]}; {todo}")
    return default(f"journalctl: {lines[-1]}")


def text_of(value: object) -> str:
    """A field's text: journalctl prints bytes that are no UTF-8 as numbers, fields that occur more
    than once as lists, and leaves out (null) what is very long."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        if all(isinstance(each, int) and 0 <= each < 256 for each in value):
            return bytes(value).decode("utf-8", "replace")
        return text_of(value[0])
    return ""
