"""A terminal pair as a serial line: what is written at the device's end has come when this says."""

import array
import fcntl
import os
import termios
import time

PATIENCE_S = 300.0
MOST_WAITING = 4000
"""Of the 4096 bytes that a terminal holds for a reader."""


def num_waiting(port: int) -> int:
    """Bytes that can be read at a port."""
    count = array.array("i", [0])
    fcntl.ioctl(port, termios.FIONREAD, count)
    return count[0]


def arrive(device: int, port: int, data: bytes) -> None:
    """Write, and wait until the kernel has carried all of it over: a thread of its own does that.

    Args:
        device: the end that is written to.
        port: the other end, open though another reads it.
        data: what comes; nobody reads meanwhile.
    """
    expected = min(num_waiting(port) + len(data), MOST_WAITING)
    os.write(device, data)
    until_s = time.monotonic() + PATIENCE_S
    while (num := num_waiting(port)) < expected:
        assert time.monotonic() < until_s, f"{num} of {expected} bytes in {PATIENCE_S} s"
        time.sleep(0.001)
