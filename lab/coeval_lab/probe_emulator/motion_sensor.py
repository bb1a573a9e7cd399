"""An emulated MPU-6050 on the board's I2C, as far as the firmware asks it; it takes no time."""

from collections.abc import Callable, Sequence
from typing import Any

WHO_AM_I, FIRST_READING, READINGS = 0x75, 0x3B, 14


class MotionSensor:
    """A sensor at address 0x68 whose readings can be set."""

    def __init__(
        self,
        i2c: Any,
        *,
        address: int = 0x68,
        readings: Callable[[], Sequence[int]] | None = None,
    ) -> None:
        """Solder it to a bus.

        Args:
            i2c: the chip's block.
            address: of 7 bits.
            readings: what it feels at the moment, as `set_readings` takes it; None: what was set.
        """
        self._readings = readings
        self.registers = bytearray(256)
        """Its registers."""
        self.registers[WHO_AM_I] = 0x68
        self.is_plugged = True
        """Whether it answers."""
        self._i2c, self._address = i2c, address
        self._pointer: int | None = None
        i2c.on_start = lambda _repeated: i2c.complete_start()
        i2c.on_connect = self._connect
        i2c.on_write_byte = self._write
        i2c.on_read_byte = self._read
        i2c.on_stop = i2c.complete_stop

    def set_readings(self, *words: int) -> None:
        """Accelerometer, temperature, gyroscope: seven words, as its registers have them."""
        data = b"".join(word.to_bytes(2, "big", signed=True) for word in words)
        self.registers[FIRST_READING : FIRST_READING + READINGS] = data

    def _connect(self, address: int, mode: int) -> None:
        if mode == 0:
            self._pointer = None
        self._i2c.complete_connect(self.is_plugged and address == self._address)

    def _write(self, value: int) -> None:
        if self._pointer is None:
            self._pointer = value
            if value == FIRST_READING and self._readings is not None:
                self.set_readings(*self._readings())
        else:
            self.registers[self._pointer] = value
            self._pointer = (self._pointer + 1) % 256
        self._i2c.complete_write(True)

    def _read(self, _acknowledged: bool) -> None:
        at = self._pointer or 0
        self._pointer = (at + 1) % 256
        self._i2c.complete_read(self.registers[at])
