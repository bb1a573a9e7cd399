"""A file that something appends lines to, followed as `tail -F` does.

The only time a tailed file has is when it was read: the source looks every few ms, so a line is on
average half that old. Rotation (another file of that name) and truncation begin the file anew.
"""

import io
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from coeval.errors import BadConfig
from coeval.samples import Sample
from coeval.time import NodeNs
from coeval_edge.kernel_clocks import read_node_clock
from coeval_edge.sources.line_modality import LineModality, check_line_modality
from coeval_edge.sources.lines import LineParser, LineSplitter, ParsedLines
from coeval_edge.sources.timing import Timing

READ_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class FileTailConfig:
    """A file to follow."""

    path: Path
    """The file; it need not be there yet."""
    modality: LineModality | None = None
    """`text`: every line is an event; `metadata`: its numbers are channels; None: the first lines
    tell."""
    poll_s: float = 0.02
    """Time between looks."""

    def __post_init__(self) -> None:
        if not 0.001 <= self.poll_s <= 10:
            raise BadConfig(f"poll_s must lie within 0.001…10, got {self.poll_s}")
        check_line_modality(self.modality)


class FileTail(ParsedLines):
    """Follows one file from its end."""

    def __init__(
        self, config: FileTailConfig, *, clock_ns: Callable[[], NodeNs] = read_node_clock
    ) -> None:
        self.timing = Timing(
            origin="arrival",
            latency_ns=config.poll_s * 1e9 / 2,
            sigma_ns=config.poll_s * 1e9 / math.sqrt(12.0),
            how=f"when a line was read: looked for every {config.poll_s:g} s; what wrote it may "
            "have held it back longer",
        )
        self.parser = LineParser(config.modality)
        self._config, self._clock_ns = config, clock_ns
        self._splitter = LineSplitter()
        self._file: io.FileIO | None = None
        self._open(at_end=True)

    def read(self, timeout_s: float) -> list[Sample]:
        """What was appended, waiting up to `timeout_s` for anything."""
        until_s = time.monotonic() + timeout_s
        while True:
            samples = self._look()
            if samples or time.monotonic() >= until_s:
                return samples
            time.sleep(min(self._config.poll_s, max(until_s - time.monotonic(), 0.0)))

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, *, at_end: bool) -> None:
        self.close()
        self._splitter.clear()
        try:
            self._file = io.FileIO(self._config.path, "r")
        except OSError:
            return  # not there yet, or not readable now: looked for again
        if at_end:
            self._file.seek(0, os.SEEK_END)

    def _look(self) -> list[Sample]:
        if self._file is None:
            self._open(at_end=False)
            if self._file is None:
                return []
        data = self._file.read(READ_BYTES)
        t_node_ns = self._clock_ns() - round(self.timing.latency_ns)
        if not data and self._was_replaced():
            self._open(at_end=False)
        lines = [line for line, _ in self._splitter.push(data)]
        # Lines of one look are an instant apart, so that numbers keep an order.
        found: list[Sample] = []
        for k, line in enumerate(lines):
            found += self.parser.parse(line, t_node_ns - (len(lines) - 1 - k))
        return found + self.parser.settle(t_node_ns)

    def _was_replaced(self) -> bool:
        """Whether the name now means another file, or the file was cut short."""
        if self._file is None:
            return False
        try:
            named = os.stat(self._config.path)
        except OSError:
            return False
        own = os.fstat(self._file.fileno())
        is_other = (named.st_dev, named.st_ino) != (own.st_dev, own.st_ino)
        return is_other or named.st_size < self._file.tell()
