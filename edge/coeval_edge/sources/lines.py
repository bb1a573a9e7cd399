"""Lines of text from anything that prints them, as events or as numbers.

A text source gives its lines as they are. A numeric one reads every number of a line as a channel;
lines that hold no or another count of numbers are left out and counted. Which of the two an
unlabelled source is, its first lines tell.
"""

import re
from collections import Counter

import numpy as np

from coeval.recognition import Recognition
from coeval.samples import MetadataBlock, Sample, TextLine
from coeval.time import NodeNs
from coeval_edge.sources.first_lines import FirstLines, taken_as
from coeval_edge.sources.line_modality import LineModality

NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.])")
LONGEST_LINE = 64 * 1024
"""Bytes; what is longer without a line's end is cut there."""


class LineParser:
    """Turns the lines of one source into samples."""

    def __init__(self, modality: LineModality | None) -> None:
        """Begin.

        Args:
            modality: what the lines are; None: the first ones tell.
        """
        self.counts: Counter[str] = Counter()
        """Lines by what became of them: used, empty, no_numbers, other_count, backwards."""
        self.modality = modality
        """What the lines are read as; None: not known yet."""
        self.recognition: Recognition | None = None
        """What the first lines were found to be, where nobody said."""
        self._first = FirstLines() if modality is None else None
        self._num_channels: int | None = None
        self._last_ns: int | None = None

    def parse(self, line: str, t_node_ns: int) -> list[Sample]:
        """The samples that a line, stamped with the node's clock, makes known: mostly one."""
        if self._first is not None:
            self._first.add(line, t_node_ns)
            return self.settle(t_node_ns)
        sample = self._sample(line, t_node_ns)
        return [] if sample is None else [sample]

    def settle(self, t_node_ns: int) -> list[Sample]:
        """What was kept back, once enough of it came or enough time passed to know what it is."""
        if self._first is None or not self._first.is_enough(t_node_ns):
            return []
        self.recognition = self._first.recognise()
        self.modality = taken_as(self.recognition)
        kept, self._first = self._first.lines, None
        found = [self._sample(line, t_ns) for line, t_ns in kept]
        return [sample for sample in found if sample is not None]

    def _sample(self, line: str, t_node_ns: int) -> Sample | None:
        text = line.strip()
        if not text:
            self.counts["empty"] += 1
            return None
        if self.modality == "text":
            self.counts["used"] += 1
            return TextLine(t_node_ns=NodeNs(t_node_ns), t_end_node_ns=None, text=text)
        numbers = [float(found) for found in NUMBER.findall(text)]
        if not numbers:
            self.counts["no_numbers"] += 1
            return None
        if self._num_channels is None:
            self._num_channels = len(numbers)
        if len(numbers) != self._num_channels:
            self.counts["other_count"] += 1
            return None
        if self._last_ns is not None and t_node_ns <= self._last_ns:
            self.counts["backwards"] += 1
            return None
        self._last_ns = t_node_ns
        self.counts["used"] += 1
        return MetadataBlock(
            t_node_ns=np.array([t_node_ns], np.int64), values=np.array([numbers], np.float64)
        )


class ParsedLines:
    """A source whose lines a parser turns into samples: it says what they were taken for."""

    parser: LineParser
    """Counts what became of the lines."""

    @property
    def modality(self) -> LineModality | None:
        """What the lines are read as; None: not known yet."""
        return self.parser.modality

    @property
    def recognition(self) -> Recognition | None:
        """What the first lines were found to be, where nobody said."""
        return self.parser.recognition


class LineSplitter:
    """Cuts bytes into lines, however they come in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def push(self, data: bytes) -> list[tuple[str, int]]:
        """The lines that these bytes complete, each with how many bytes came after its end."""
        lines: list[tuple[str, int]] = []
        buffer = self._rest + data
        while (end := buffer.find(b"\n")) >= 0 or len(buffer) > LONGEST_LINE:
            cut = end if end >= 0 else LONGEST_LINE
            lines.append((buffer[:cut].decode("utf-8", "replace"), len(buffer) - cut - 1))
            buffer = buffer[cut + 1 :] if end >= 0 else buffer[cut:]
        self._rest = buffer
        return lines

    def clear(self) -> None:
        """Forget the line that was not complete: what follows is not its rest."""
        self._rest = b""
