"""An emulated board's serial port on a terminal pair, read by the real driver in the board's time.

Bytes are handed over as they would arrive: half a millisecond after their last bit, which is what
the driver takes an adapter's delay to be. The node's clock is invented, so that nothing depends on
how fast this machine is.
"""

import os
import tty
from collections.abc import Callable, Iterator

from coeval.time import NodeNs
from coeval_lab.probe_emulator.board import CPU_HZ
from coeval_lab.probe_emulator.cases import CaseRun

ADAPTER_CYCLES = CPU_HZ // 2000
PAUSE_CYCLES = 3000
"""Bytes further apart than this arrive one after another: a byte takes 1356."""
MOST_BYTES = 1024
"""In one piece: a terminal holds 4096, and nobody reads while more is written."""
STEP_S = 0.25


class Cable:
    """One board, one terminal, one node."""

    def __init__(self, run: CaseRun, *, node_ns: Callable[[float], float]) -> None:
        """Plug it in.

        Args:
            run: a board that was booted.
            node_ns: the node's clock at a true time of the run, in seconds.
        """
        self.run = run
        """The board."""
        self._node_ns = node_ns
        self._now_cycle = run.board.cycle
        self._device, port = os.openpty()
        tty.setraw(port)
        self._port = port
        self.name = os.ttyname(port)
        """The terminal's device."""

    def clock(self) -> NodeNs:
        """The node's clock now."""
        return NodeNs(round(self._node_ns(self.run.time_of(self._now_cycle))))

    def deliver(self, until_s: float) -> Iterator[float]:
        """Run to a true time; gives that of each piece that was just handed over to be read."""
        board, t_s = self.run.board, self.run.time_of(self.run.board.cycle)
        while t_s < until_s:
            t_s = min(t_s + STEP_S, until_s)
            board.run_until(self.run.cycle_of(t_s))
            sent, board.sent = board.sent, []
            at = 0
            while at < len(sent):
                end = at + 1
                while (
                    end < min(len(sent), at + MOST_BYTES)
                    and sent[end][0] - sent[end - 1][0] < PAUSE_CYCLES
                ):
                    end += 1
                self._now_cycle = sent[end - 1][0] + ADAPTER_CYCLES
                os.write(self._device, bytes(byte for _, byte in sent[at:end]))
                yield self.run.time_of(self._now_cycle)
                at = end

    def close(self) -> None:
        """Unplug it."""
        for end in (self._device, self._port):
            os.close(end)
