"""Lines from a serial port: arrival, less the time that the bytes took on the wire."""

import math
import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from coeval.errors import BadConfig
from coeval.samples import Sample
from coeval.time import NS_PER_S, NodeNs
from coeval_edge.kernel_clocks import read_node_clock
from coeval_edge.sources.errors import (
    SourceAbsent,
    SourceBusy,
    SourceForbidden,
    SourceLost,
    SourceUnfit,
    SourceUnusable,
    named,
)
from coeval_edge.sources.line_modality import LineModality, check_line_modality
from coeval_edge.sources.lines import LineParser, LineSplitter, ParsedLines
from coeval_edge.sources.timing import Timing

BITS_PER_BYTE = 10
"""Start, eight of data, stop."""
WATCHED_BYTES = 600
"""So many bytes of which half are none of a text's come at another speed, or are no text."""
PRINTED = frozenset((*range(0x20, 0x7F), *b"\t\r\n"))
ADAPTER_NS = 1e6
"""A USB adapter holds bytes for about its latency timer: 1 ms where set so (`coeval doctor`)."""

ADVICE = {
    SourceAbsent: "plug it in; `coeval doctor` lists the ports there are",
    SourceForbidden: "sudo usermod -aG dialout $USER, then log in again",
    SourceBusy: "another program has it open: sudo fuser -v on the port names it",
    SourceUnusable: "is it a serial port?",
}


def open_port(port: str, baud: int) -> Any:
    """Open a port for oneself alone, to be read without waiting: pyserial's `Serial`.

    Raises:
        SourceUnusable: one of its kinds, with what to do.
    """
    try:
        import serial
    except ImportError as exc:
        raise SourceUnfit(
            "serial ports need pyserial; install it with: pip install 'coeval[serial]'"
        ) from exc
    try:
        return serial.Serial(port, baud, timeout=0, exclusive=True)
    except OSError as exc:  # pyserial's own error is one
        raise named(exc, doing=f"open {port}", advice=ADVICE, is_opening=True) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialConfig:
    """A serial port whose device prints lines."""

    port: str
    """The device, as `/dev/ttyUSB0`."""
    baud: int = 115_200
    """Bits a second."""
    modality: LineModality | None = None
    """`metadata`: a line's numbers are channels; `text`: every line is an event; None: the first
    lines tell."""

    def __post_init__(self) -> None:
        if not 50 <= self.baud <= 20_000_000:
            raise BadConfig(f"baud must lie within 50…20000000, got {self.baud}")
        check_line_modality(self.modality)


class SerialLines:
    """Lines of one port, each with the instant at which its last byte had come; needs pyserial."""

    def __init__(
        self, port: str, *, baud: int, clock_ns: Callable[[], NodeNs] = read_node_clock
    ) -> None:
        """Open the port.

        Raises:
            SourceUnusable: one of its kinds, with what to do.
        """
        self.byte_ns = BITS_PER_BYTE * NS_PER_S / baud
        """Time of one byte on the wire."""
        self.num_bytes = 0
        """Bytes read so far."""
        self.is_garbage = False
        """Whether half of the last bytes were none of a text's."""
        self._num_watched = self._num_odd = 0
        self._name, self._clock_ns = port, clock_ns
        self._splitter = LineSplitter()
        self._port = open_port(port, baud)

    def read(self, timeout_s: float) -> list[tuple[str, int]]:
        """The lines that arrive within `timeout_s`, as soon as there is any, without their ends.

        Raises:
            SourceLost: the device was unplugged.
        """
        try:
            if not select.select([self._port.fd], [], [], timeout_s)[0]:
                return []
            data = self._port.read(max(self._port.in_waiting, 1))
            arrived_ns = self._clock_ns()
        except OSError as exc:
            raise SourceLost(
                f"serial port {self._name}: lost ({exc}); is it still plugged in?"
            ) from exc
        self.num_bytes += len(data)
        self._watch(data)
        return [
            (line.rstrip("\r"), arrived_ns - round(num_after * self.byte_ns + ADAPTER_NS / 2))
            for line, num_after in self._splitter.push(data)
        ]

    def close(self) -> None:
        """Give the port back."""
        self._port.close()

    def _watch(self, data: bytes) -> None:
        """Judge every so many bytes whether they are a text's."""
        self._num_watched += len(data)
        self._num_odd += sum(byte not in PRINTED for byte in data)
        if self._num_watched >= WATCHED_BYTES:
            self.is_garbage = 2 * self._num_odd > self._num_watched
            self._num_watched = self._num_odd = 0


class SerialPort(ParsedLines):
    """Reads one port's lines as events or numbers."""

    def __init__(
        self, config: SerialConfig, *, clock_ns: Callable[[], NodeNs] = read_node_clock
    ) -> None:
        """Open the port.

        Raises:
            SourceUnusable: one of its kinds, with what to do.
        """
        self.timing = Timing(
            origin="arrival",
            latency_ns=ADAPTER_NS / 2,
            sigma_ns=ADAPTER_NS / math.sqrt(12.0),
            how=f"when a line's end arrived, less the bytes after it at {config.baud} baud and "
            "half a USB adapter's millisecond",
        )
        self.parser = LineParser(config.modality)
        self._config, self._clock_ns = config, clock_ns
        self._lines = SerialLines(config.port, baud=config.baud, clock_ns=clock_ns)

    def read(self, timeout_s: float) -> list[Sample]:
        """The lines that arrive within `timeout_s`, as soon as there is any.

        Raises:
            SourceLost: the device was unplugged.
            SourceUnfit: what comes is no text at this speed.
        """
        found: list[Sample] = []
        for line, t_ns in self._lines.read(timeout_s):
            found += self.parser.parse(line, t_ns)
        found += self.parser.settle(self._clock_ns())
        if self._lines.is_garbage:
            raise SourceUnfit(
                f"serial port {self._config.port}: what comes is no text at {self._config.baud} "
                "baud: set baud to the device's (9600, 57600, 115200, …)"
            )
        return found

    def close(self) -> None:
        """Give the port back."""
        self._lines.close()
