"""A sound card read through alsa-lib, with the kernel's own stamp of every block.

In: a PCM by its name. Out: mono samples, and with them a pair that the kernel keeps together: how
many samples the card had taken, and when, on a clock that it names (snd_pcm_htimestamp). PortAudio
says neither which clock its times are of nor how much an overrun lost, and is a library more;
alsa-lib is on every Linux that has sound.
"""

import ctypes
import errno
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from coeval.samples import FloatArray
from coeval.time import NS_PER_S
from coeval_edge.kernel_clocks import KernelClock
from coeval_edge.sources.errors import (
    SourceAbsent,
    SourceBusy,
    SourceForbidden,
    SourceUnfit,
    SourceUnusable,
    named,
)

logger = logging.getLogger(__name__)

CAPTURE, NONBLOCK = 1, 1
INTERLEAVED = 3
STAMP_ENABLED = 1
STAMP_CLOCKS = {
    0: KernelClock.REALTIME,
    1: KernelClock.MONOTONIC,
    2: KernelClock.RAW,
}
"""SND_PCM_TSTAMP_TYPE_*."""
FORMATS = {"S16_LE": 2, "S32_LE": 10, "S24_3LE": 32, "FLOAT_LE": 14}
"""Formats that can be read, in the order they are asked for: SND_PCM_FORMAT_*."""
SAMPLE_BYTES = {"S16_LE": 2, "S32_LE": 4, "S24_3LE": 3, "FLOAT_LE": 4}
PERIOD_US, BUFFER_US = 10_000, 500_000
"""Time between the card's interrupts, and what the kernel keeps while nobody reads."""

OPEN_ADVICE: dict[type[SourceUnusable], str] = {
    SourceAbsent: "`coeval doctor` and `arecord -L` list the microphones there are",
    SourceForbidden: "sudo usermod -aG audio $USER, then log in again",
    SourceBusy: "another program has it open (sudo fuser -v /dev/snd/* names it); device = "
    "'default' may share it",
    SourceUnfit: "name it plughw:… instead of hw:…, which converts what the card cannot do",
    SourceUnusable: "`coeval doctor` and `arecord -L` list the microphones there are",
}
LOST_ADVICE: dict[type[SourceUnusable], str] = {
    SourceUnusable: "it was unplugged, or its driver unbound; open it anew"
}
INSTALL = "microphones need alsa-lib: sudo apt install libasound2"


class TimeSpec(ctypes.Structure):
    """`struct timespec`."""

    _fields_ = (("seconds", ctypes.c_long), ("nanos", ctypes.c_long))


@dataclass(frozen=True, slots=True, kw_only=True)
class PcmBlock:
    """Consecutive samples."""

    first_sample: int
    """Number of the first one since the opening; lost ones are not counted."""
    pcm: FloatArray
    """Mono, −1…1, shape (n,)."""
    stamp_sample: int
    """Number of the sample that the card was about to take …"""
    stamp_ns: int
    """… when the PCM's clock said this."""
    follows_loss: bool
    """Whether samples were lost before this block."""


class AlsaPcm:
    """One open PCM, capturing."""

    def __init__(self, name: str, *, rate_hz: int) -> None:
        """Open the PCM and let it run.

        Args:
            name: as alsa-lib knows it, as `default` or `plughw:CARD=Device`.
            rate_hz: wanted; the card takes the nearest it has.

        Raises:
            SourceUnusable: one of its kinds, with what to do.
        """
        self.name = name
        """As alsa-lib knows it."""
        self._lib = load_alsa()
        self._pcm = ctypes.c_void_p()
        self._num_read = 0
        self._follows_loss = False
        self._check(
            self._lib.snd_pcm_open(ctypes.byref(self._pcm), name.encode(), CAPTURE, NONBLOCK),
            "open",
            is_opening=True,
        )
        try:
            self.rate_hz, self._channels, self._format = self._set_hardware(rate_hz)
            """Nominal sample rate."""
            self.clock = self._set_stamps()
            """The clock of its stamps."""
            self._buffer = ctypes.create_string_buffer(
                self.rate_hz * self._channels * SAMPLE_BYTES[self._format]
            )
            self._check(self._lib.snd_pcm_start(self._pcm), "start", is_opening=True)
        except BaseException:
            self.close()
            raise

    def read(self, timeout_s: float) -> PcmBlock | None:
        """What was taken since the last call, waiting for a period; None where none came.

        Raises:
            SourceLost: the card is gone.
        """
        waited = self._lib.snd_pcm_wait(self._pcm, round(timeout_s * 1000))
        if waited == 0:
            return None
        available, stamp = ctypes.c_ulong(), TimeSpec()
        if waited > 0:
            waited = self._lib.snd_pcm_htimestamp(
                self._pcm, ctypes.byref(available), ctypes.byref(stamp)
            )
        num = 0
        if waited >= 0:
            num = self._lib.snd_pcm_readi(
                self._pcm, self._buffer, min(available.value, self.rate_hz)
            )
        if waited == -errno.EPIPE or num == -errno.EPIPE:
            self._resume()
            return None
        self._check(min(waited, num), "read")
        if not num:
            return None
        block = PcmBlock(
            first_sample=self._num_read,
            pcm=to_mono(
                self._buffer.raw[: num * self._channels * SAMPLE_BYTES[self._format]],
                self._format,
                self._channels,
            ),
            stamp_sample=self._num_read + available.value,
            stamp_ns=stamp.seconds * NS_PER_S + stamp.nanos,
            follows_loss=self._follows_loss,
        )
        self._num_read += num
        self._follows_loss = False
        return block

    def close(self) -> None:
        """Give the PCM back; a second time does nothing."""
        if self._pcm:
            self._lib.snd_pcm_close(self._pcm)
            self._pcm = ctypes.c_void_p()

    def _resume(self) -> None:
        """Run on after the kernel's buffer overflowed; what it held is lost with the rest."""
        self._check(self._lib.snd_pcm_prepare(self._pcm), "resume")
        self._check(self._lib.snd_pcm_start(self._pcm), "resume")
        self._follows_loss = True

    def _set_hardware(self, rate_hz: int) -> tuple[int, int, str]:
        """Agree on rate, channels and format with the card."""
        params = ctypes.create_string_buffer(self._lib.snd_pcm_hw_params_sizeof())
        self._set_up("hw_params_any", params)
        # The card's own rates only: resampling, if any, is ours to do and to know.
        self._set_up("hw_params_set_rate_resample", params, 0)
        self._set_up("hw_params_set_access", params, INTERLEAVED)
        can = [
            name
            for name, number in FORMATS.items()
            if self._lib.snd_pcm_hw_params_test_format(self._pcm, params, number) == 0
        ]
        if not can:
            raise SourceUnfit(
                f"microphone {self.name} has none of the formats {', '.join(FORMATS)}; "
                f"{OPEN_ADVICE[SourceUnfit]}"
            )
        self._set_up("hw_params_set_format", params, FORMATS[can[0]])
        channels, rate = ctypes.c_uint(1), ctypes.c_uint(rate_hz)
        period_us, buffer_us = ctypes.c_uint(PERIOD_US), ctypes.c_uint(BUFFER_US)
        self._set_up("hw_params_set_channels_near", params, ctypes.byref(channels))
        self._set_up("hw_params_set_rate_near", params, ctypes.byref(rate), None)
        self._set_up("hw_params_set_period_time_near", params, ctypes.byref(period_us), None)
        self._set_up("hw_params_set_buffer_time_near", params, ctypes.byref(buffer_us), None)
        self._set_up("hw_params", params)
        return rate.value, channels.value, can[0]

    def _set_stamps(self) -> KernelClock:
        """Have every block stamped; by which clock.

        It is the one that the PCM has: asked for CLOCK_MONOTONIC_RAW, a shared card (`dsnoop`,
        which `default` mostly is) takes no settings at all.
        """
        params = ctypes.create_string_buffer(self._lib.snd_pcm_sw_params_sizeof())
        self._set_up("sw_params_current", params)
        self._set_up("sw_params_set_tstamp_mode", params, STAMP_ENABLED)
        self._set_up("sw_params", params)
        kind = ctypes.c_int()
        self._lib.snd_pcm_sw_params_get_tstamp_type(params, ctypes.byref(kind))
        return STAMP_CLOCKS[kind.value]

    def _set_up(self, function: str, *arguments: object) -> None:
        """Call a function of alsa-lib that sets something of the PCM."""
        code = getattr(self._lib, f"snd_pcm_{function}")(self._pcm, *arguments)
        self._check(code, f"set up ({function})", is_opening=True)

    def _check(self, code: int, doing: str, *, is_opening: bool = False) -> None:
        if code >= 0:
            return
        number = -code
        if is_opening and number in (errno.ENODEV, errno.ENOENT):
            # alsa-lib says either of a card that is not there, and of one that it may not use.
            number = errno.EACCES if is_refused() else errno.ENOENT
        advice: Mapping[type[SourceUnusable], str] = (
            LOST_ADVICE if doing in ("read", "resume") else OPEN_ADVICE
        )
        raise named(
            OSError(number, os.strerror(number)),
            doing=f"{doing} microphone {self.name}",
            advice=advice,
            is_opening=is_opening,
        )


def is_refused(root: Path = Path("/")) -> bool:
    """Whether there are microphones that this user may not use."""
    return any(not os.access(each, os.R_OK | os.W_OK) for each in root.glob("dev/snd/pcm*c"))


def to_mono(raw: bytes, form: str, channels: int) -> FloatArray:
    """Interleaved samples as mono floats, the channels averaged, −1…1, shape (n,)."""
    if form == "S24_3LE":
        parts = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        wide = np.zeros((len(parts), 4), np.uint8)
        wide[:, 1:] = parts
        values, scale = wide.reshape(-1).view("<i4").astype(np.float32), 2.0**31
    else:
        kind, scale = {
            "S16_LE": ("<i2", 2.0**15),
            "S32_LE": ("<i4", 2.0**31),
            "FLOAT_LE": ("<f4", 1.0),
        }[form]
        values = np.frombuffer(raw, kind).astype(np.float32)
    mono: FloatArray = values.reshape(-1, channels).mean(axis=1, dtype=np.float32)
    mono /= np.float32(scale)
    return mono


ERROR_HANDLER = ctypes.CFUNCTYPE(
    None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p
)


def _log(_file: bytes, _line: int, function: bytes, _code: int, text: bytes) -> None:
    """For debugging: alsa-lib would print to the terminal what its codes say, too."""
    logger.debug("alsa function=%s text=%s", function, text)


TO_LOG = ERROR_HANDLER(_log)
"""Kept for as long as alsa-lib may call it."""


@cache
def load_alsa() -> ctypes.CDLL:
    """alsa-lib, its functions declared.

    Raises:
        SourceUnfit: it is not installed, with the line that installs it.
    """
    try:
        lib = ctypes.CDLL("libasound.so.2")
    except OSError as exc:
        raise SourceUnfit(INSTALL) from exc
    pointer, number, unsigned = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint
    declared: dict[str, tuple[type, ...]] = {
        "snd_pcm_open": (pointer, ctypes.c_char_p, number, number),
        "snd_pcm_close": (pointer,),
        "snd_pcm_start": (pointer,),
        "snd_pcm_prepare": (pointer,),
        "snd_pcm_wait": (pointer, number),
        "snd_pcm_htimestamp": (pointer, pointer, pointer),
        "snd_pcm_hw_params_any": (pointer, pointer),
        "snd_pcm_hw_params_set_rate_resample": (pointer, pointer, unsigned),
        "snd_pcm_hw_params_set_access": (pointer, pointer, number),
        "snd_pcm_hw_params_test_format": (pointer, pointer, number),
        "snd_pcm_hw_params_set_format": (pointer, pointer, number),
        "snd_pcm_hw_params_set_channels_near": (pointer, pointer, pointer),
        "snd_pcm_hw_params_set_rate_near": (pointer, pointer, pointer, pointer),
        "snd_pcm_hw_params_set_period_time_near": (pointer, pointer, pointer, pointer),
        "snd_pcm_hw_params_set_buffer_time_near": (pointer, pointer, pointer, pointer),
        "snd_pcm_hw_params": (pointer, pointer),
        "snd_pcm_sw_params_current": (pointer, pointer),
        "snd_pcm_sw_params_set_tstamp_mode": (pointer, pointer, number),
        "snd_pcm_sw_params_get_tstamp_type": (pointer, pointer),
        "snd_pcm_sw_params": (pointer, pointer),
    }
    for name, arguments in declared.items():
        getattr(lib, name).argtypes = arguments
    lib.snd_pcm_readi.argtypes = (pointer, pointer, ctypes.c_ulong)
    lib.snd_pcm_readi.restype = ctypes.c_long
    for name in ("snd_pcm_hw_params_sizeof", "snd_pcm_sw_params_sizeof"):
        getattr(lib, name).restype = ctypes.c_size_t
    lib.snd_lib_error_set_handler.argtypes = (ERROR_HANDLER,)
    lib.snd_lib_error_set_handler(TO_LOG)
    return lib
