"""What the kernel says of its own UTC: whether something steers CLOCK_REALTIME, and how well.

adjtimex(2), read only: `maxerror` is the bound that chronyd, ntpd or systemd-timesyncd last stated,
grown by the kernel since. It is enough to name the second that a PPS pulse marks.
"""

import ctypes
import os

STA_UNSYNC = 0x0040
TIME_ERROR = 5
NS_PER_US = 1000


class Timex(ctypes.Structure):
    """`struct timex` of <sys/timex.h>, as far as it is read here, and room for the rest."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    )


def read_utc_error_ns() -> int | None:
    """Bound of the error of CLOCK_REALTIME against UTC; None where nothing steers it.

    Raises:
        OSError: the kernel refuses the question (a container's seccomp filter).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    state = Timex()
    answer = libc.adjtimex(ctypes.byref(state))
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"adjtimex: {os.strerror(code)}")
    if answer == TIME_ERROR or state.status & STA_UNSYNC:
        return None
    return int(state.maxerror) * NS_PER_US
