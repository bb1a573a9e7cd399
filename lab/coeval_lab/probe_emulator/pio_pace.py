"""Steps an emulated PIO cycle by cycle where something happens, and jumps where nothing does.

`rp2040py` steps a PIO at most once a CPU instruction and writes off what it falls behind, which is
wrong for a program whose cycles are the clock. Here every cycle counts: around an edge each is
stepped, and a stretch without one is skipped by whole periods of the loops that the machines are
in. The periods are measured, twice, on the machines themselves; so a program that counts wrongly
counts wrongly here too. No counter is skipped across zero.
"""

from typing import Any

WATCHED_CYCLES = 16
"""So many cycles after an edge are stepped before a loop is looked for: it ends in 8."""
LONGEST_PERIOD = 8
LEAST_X = 4
"""A counter is stepped from here on down to zero and beyond."""
FREE = 1 << 62


def _state_of(machine: Any, cycle_fp: int) -> tuple[int, ...]:
    """What a machine's next cycles depend on, but for the counter X."""
    return (
        machine.pc,
        machine.y,
        machine.input_shift_reg,
        machine.output_shift_reg,
        machine.rx_fifo.item_count,
        machine.tx_fifo.item_count,
        machine.waiting,
        machine.next_due_fp - cycle_fp,
    )


class PioPace:
    """One PIO block."""

    def __init__(self, pio: Any) -> None:
        self.free_until = 0
        """Up to this cycle nothing but counting happens, unless a pin changes."""
        self._pio = pio
        self._cycle = 0
        self._num_watched = 0
        self._period = 0
        self._steps: list[tuple[Any, int]] = []
        """The running machines, and by how much X falls in a period."""
        self._seen: list[tuple[list[tuple[int, ...]], list[int]]] = []
        self._is_running = False

    def notice(self, cycle: int) -> None:
        """Say what cycle it is, where the program may have started the block."""
        if self._pio.stopped:
            self._is_running, self.free_until = False, FREE
        elif not self._is_running:
            self._is_running, self._cycle = True, cycle
            self.disturb(cycle)

    def disturb(self, cycle: int) -> None:
        """A pin changes in this cycle: from here on, cycle by cycle."""
        if not self._is_running:
            return
        self.catch_up(cycle)
        self.free_until, self._num_watched = cycle, 0
        self._seen.clear()

    def catch_up(self, cycle: int) -> None:
        """Bring the block to a cycle within its free stretch."""
        behind = cycle - self._cycle
        if not self._is_running or behind <= 0:
            return
        pio = self._pio
        num = behind // self._period if self._period else 0
        if num:
            cycles_fp = (num * self._period) << 8
            for machine, step in self._steps:
                machine.x = (machine.x - num * step) & 0xFFFFFFFF
                machine.next_due_fp += cycles_fp
            pio.cycle_fp += cycles_fp
            pio.recompute_due()
        for _ in range(behind - num * self._period):
            pio.advance(1)
        self._cycle = cycle

    def step(self) -> None:
        """One cycle, where the stretch is not free; looks for the next one that is."""
        if not self._is_running:
            return
        self._period = 0
        self._pio.advance(1)
        self._cycle += 1
        self._num_watched += 1
        self.free_until = self._cycle
        if self._num_watched >= WATCHED_CYCLES:
            self._look()

    def _look(self) -> None:
        """Whether every machine repeats itself, for two periods in a row."""
        cycle_fp = self._pio.cycle_fp
        machines = [machine for machine in self._pio.machines if machine.enabled]
        states = [_state_of(machine, cycle_fp) for machine in machines]
        counters = [machine.x for machine in machines]
        self._seen.append((states, counters))
        del self._seen[: -2 * LONGEST_PERIOD - 1]
        for period in range(1, LONGEST_PERIOD + 1):
            if len(self._seen) <= 2 * period:
                return
            before, earlier = self._seen[-1 - period], self._seen[-1 - 2 * period]
            if before[0] != states or earlier[0] != states:
                continue
            steps = [(was - now) % 2**32 for was, now in zip(before[1], counters, strict=True)]
            steps_before = [
                (was - now) % 2**32 for was, now in zip(earlier[1], before[1], strict=True)
            ]
            if steps != steps_before or max(steps) > LONGEST_PERIOD:
                continue
            self._set_free(machines, steps, period)
            return

    def _set_free(self, machines: list[Any], steps: list[int], period: int) -> None:
        num = FREE
        for machine, step in zip(machines, steps, strict=True):
            if step:
                num = min(num, max(machine.x - LEAST_X, 0) // step)
        if num:
            self._period = period
            self._steps = list(zip(machines, steps, strict=True))
            self.free_until = self._cycle + min(num * period, FREE)
            self._seen.clear()
            self._num_watched = 0
