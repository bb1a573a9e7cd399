"""Runs in the guest: does what the tests ask over the console, with the node's own code.

One JSON object a line each way: `{"do": name, ...}` in, `{"ok": value}` or `{"error": class,
"says": message}` out. A reply begins with a mark, since the kernel may write to the console too.
"""

import base64
import ctypes
import fcntl
import functools
import json
import operator
import os
import struct
import sys
import termios
import time
import traceback
import tty
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from hid_sensor import HidSensor
from numpy.typing import NDArray

from coeval.errors import CoevalError
from coeval.pulse_names import PulseNames
from coeval.samples import AudioBlock, FloatArray, Frame
from coeval_edge.doctor import examine
from coeval_edge.kernel_clocks import KernelClock, measure_difference, read_node_clock
from coeval_edge.kernel_utc import Timex, read_utc_error_ns
from coeval_edge.sources.alsa_pcm import AlsaPcm, load_alsa
from coeval_edge.sources.camera import CameraSource
from coeval_edge.sources.errors import SourceSilent
from coeval_edge.sources.gpio import GpioConfig, GpioSource, open_gpio
from coeval_edge.sources.iio import IioSource, open_iio
from coeval_edge.sources.iio_device import IioConfig, find_device
from coeval_edge.sources.iio_polled import PolledIio
from coeval_edge.sources.microphone import Microphone, MicrophoneConfig
from coeval_edge.sources.nmea import NmeaConfig, NmeaReceiver
from coeval_edge.sources.pps import PpsConfig, PpsSource, open_pps
from coeval_edge.sources.pps_device import PARAMS, SET_PARAMS, KernelPulse
from coeval_edge.sources.raw_picture import brightness
from coeval_edge.sources.v4l2_camera import CameraConfig, timing_of
from coeval_edge.sources.v4l2_device import PictureFormat, V4l2Device

MARK = "COEVAL "
NOBODY = 65534
LONG_S = 200.0
"""For what comes, on a machine however loaded."""
NAP_S = 0.005
LONGEST_HELD_S = 100.0
LINE_DISCIPLINE_PPS = 18
ADJ_MAXERROR, ADJ_STATUS, ADJ_TICK = 0x0004, 0x0010, 0x4000
TICK_AT = 88
"""Where `tick` lies in `struct timex`, of 64 bits."""

pps: dict[str, PpsSource] = {}
gpio: dict[str, GpioSource] = {}
hids: dict[str, HidSensor] = {}
iios: dict[str, IioSource] = {}
cameras: dict[str, tuple[CameraSource, V4l2Device]] = {}
microphones: dict[str, tuple[Microphone, AlsaPcm]] = {}
receivers: dict[str, tuple[int, NmeaReceiver]] = {}
first_ns: dict[str, int] = {}
"""The node's clock at a receiver's first pulse."""
ttys: dict[str, tuple[int, int]] = {}
watches: list[tuple[int, int, int]] = []
"""Programs that measure how late they wake: their number, the pipes from them and to them."""

QUERY_CONTROL, SET_CONTROL = 0xC0445624, 0xC008561C
NEXT_CONTROL = 0x80000000
CONTROL_DESCRIPTION = struct.Struct("@II32s4iI8x")


def pps_open(name: str, path: str, edge: str = "assert") -> dict[str, Any]:
    pps[name] = open_pps(PpsConfig(device=Path(path), edge=edge))
    return {"capabilities": pps[name].device.capabilities}


def pps_wait(name: str, count: int = 1, timeout_s: float = LONG_S) -> list[dict[str, int]]:
    """Raw pulses, each with the node's clock when the program had it."""

    def one(pulse: KernelPulse) -> dict[str, int]:
        return {
            "sequence": pulse.sequence,
            "t_realtime_ns": pulse.t_realtime_ns,
            "num_overwritten": pulse.num_overwritten,
            "woke_realtime_ns": time.time_ns(),
        }

    return [one(pps[name].device.wait(timeout_s)) for _ in range(count)]


def pps_read(name: str, count: int = 1, timeout_s: float = LONG_S) -> list[dict[str, Any] | None]:
    """Readings as the node takes them; None for a pulse that could not be placed."""
    found: list[dict[str, Any] | None] = []
    for _ in range(count):
        reading = pps[name].read(timeout_s)
        found.append(
            None
            if reading is None
            else {
                "t_node_ns": reading.judged.t_node_ns,
                "verdict": reading.judged.verdict,
                "t_utc_ns": reading.t_utc_ns,
                "woke_node_ns": read_node_clock(),
            }
        )
    return found


def gnss_open(name: str, path: str) -> None:
    """A receiver: its pulse's line, and a terminal pair of which it has the other end."""
    device, port = os.openpty()
    tty.setraw(port)
    names = PulseNames()
    pps[name] = open_pps(PpsConfig(device=Path(path), nmea=name), names=names)
    receivers[name] = device, NmeaReceiver(NmeaConfig(port=os.ttyname(port)), names=names)


def gnss_read(name: str, first_utc_s: int) -> list[dict[str, Any]]:
    """A pulse, then the receiver's sentence about it, and where that places the fix."""
    reading = pps[name].read(LONG_S)
    if reading is None:
        return [{"t_node_ns": None, "t_utc_ns": None, "fixes_ns": []}]
    t_node_ns = reading.judged.t_node_ns
    since_s = round((t_node_ns - first_ns.setdefault(name, t_node_ns)) / 1e9)
    at = time.strftime("%H%M%S,%d%m%y", time.gmtime(first_utc_s + since_s)).split(",")
    body = f"GPRMC,{at[0]}.00,A,4807.038,N,01131.000,E,022.4,084.4,{at[1]},,,A"
    check = functools.reduce(operator.xor, body.encode())
    time.sleep(0.2)
    device, receiver = receivers[name]
    os.write(device, f"${body}*{check:02X}\r\n".encode())
    fixes_ns = [int(block.t_node_ns[0]) for block in receiver.read(5.0)]
    return [
        {
            "t_node_ns": t_node_ns,
            "verdict": reading.judged.verdict,
            "t_utc_ns": reading.t_utc_ns,
            "fixes_ns": fixes_ns,
        }
    ]


def gnss_close(name: str) -> None:
    device, receiver = receivers.pop(name)
    first_ns.pop(name, None)
    receiver.close()
    os.close(device)
    pps_close(name)


def pps_listen(name: str, for_s: float) -> dict[str, Any]:
    """Read whatever comes for a while, and say what the line is."""
    end_s = time.monotonic() + for_s
    while time.monotonic() < end_s:
        try:
            pps[name].read(1.0)
        except SourceSilent:
            continue
    health = pps[name].health
    return {"state": health.state, "rate_hz": health.rate_hz, "counts": health.counts}


def pps_state(name: str) -> dict[str, Any]:
    return {"num_unplaced": pps[name].num_unplaced, "text": str(pps[name])}


def pps_close(name: str) -> None:
    pps.pop(name).device.close()


def pps_set_mode(path: str, mode: int) -> None:
    """Set a device's capture mode, as another program of the machine may have."""
    fd = os.open(path, os.O_RDONLY)
    fcntl.ioctl(fd, SET_PARAMS, bytearray(PARAMS.pack(1, mode, 0, 0, 0, 0, 0, 0)))
    os.close(fd)


def gpio_open(name: str, buffer_events: int = 256, **keys: Any) -> None:
    config = GpioConfig(name=name, **keys)
    gpio[name] = open_gpio(config, buffer_events=buffer_events)


def gpio_read(name: str, count: int, timeout_s: float = LONG_S) -> dict[str, Any]:
    """So many edges, or what came until the time is over, and what was counted."""
    source, edges = gpio[name], []
    end_s = time.monotonic() + timeout_s
    while len(edges) < count and (left_s := end_s - time.monotonic()) > 0:
        edges += source.read(left_s)
    return {
        "edges": [
            {"t_node_ns": edge.t_node_ns, "rising": edge.is_rising, "sigma_ns": edge.sigma_ns}
            for edge in edges
        ],
        "read_node_ns": read_node_clock(),
        "num_overrun": source.num_overrun,
        "num_bounces": source.num_bounces,
        "num_unplaced": source.num_unplaced,
    }


def gpio_close(name: str) -> None:
    gpio.pop(name).close()


class Brightness:
    """Stands in for the scaling, whose library is not in the guest: the brightness as it is."""

    def __init__(self, picture: PictureFormat) -> None:
        self._picture = picture

    def grey(self, data: bytes) -> NDArray[np.uint8]:
        return brightness(data, self._picture)


def camera_open(name: str, path: str = "/dev/video0", **keys: Any) -> dict[str, Any]:
    """The node's camera source but for the scaling; what it came to."""
    config = CameraConfig(device=Path(path), **keys)
    device = V4l2Device(config.device)
    try:
        picture, period_ns = device.start(
            width=config.width,
            height=config.height,
            rate_hz=config.rate_hz,
            pixel_format=config.pixel_format,
        )
        rule, late = timing_of(device, config, period_ns=period_ns)
    except BaseException:
        device.close()
        raise
    camera = CameraSource(
        str(config.device),
        device,
        every_s=config.every_s if config.modality == "image" else None,
        rule=rule,
        late=late,
        reader=Brightness(picture),
    )
    cameras[name] = camera, device
    return {
        "driver": device.driver,
        "formats": device.formats(),
        "fourcc": picture.fourcc,
        "size": [picture.width, picture.height, picture.line_bytes],
        "is_full_range": picture.is_full_range,
        "period_ns": period_ns,
        "point": rule.point,
        "timing": camera.timing.describe(),
    }


def camera_read(name: str, count: int, timeout_s: float = LONG_S) -> dict[str, Any]:
    """So many pictures, or what came until the time is over, and what was counted."""
    camera, found = cameras[name][0], []
    end_s = time.monotonic() + timeout_s
    while len(found) < count and (left_s := end_s - time.monotonic()) > 0:
        for frame in camera.read(min(left_s, 1.0)):
            assert isinstance(frame, Frame)
            found.append({"t_node_ns": frame.t_node_ns, "read_node_ns": read_node_clock()})
    return {"frames": found, "counts": camera.counts}


def camera_frame(name: str) -> dict[str, Any]:
    """One frame's bytes, and its brightness as the node's code finds it there."""
    camera, device = cameras[name]
    frame = device.read(LONG_S)
    assert frame is not None
    plane = camera._reader.grey(frame.data)
    return {
        "data": base64.b64encode(frame.data).decode(),
        "rows": plane.mean(axis=1).tolist(),
        "columns": plane.mean(axis=0).tolist(),
    }


def camera_close(name: str) -> None:
    cameras.pop(name)[0].close()


class EveryThird:
    """Stands in for the resampler, whose library is not in the guest: one sample of three."""

    def __init__(self, rate_hz: int) -> None:
        assert rate_hz == 48_000
        self._skip = 0

    def push(self, pcm: FloatArray) -> FloatArray:
        kept = pcm[self._skip :: 3]
        self._skip = (self._skip - len(pcm)) % 3
        return kept


def microphone_open(name: str, device: str) -> dict[str, Any]:
    config = MicrophoneConfig(device=device, latency_s=0.0)
    pcm = AlsaPcm(config.device, rate_hz=config.rate_hz)
    microphones[name] = Microphone(config, pcm, make_resampler=EveryThird), pcm
    return {"clock": pcm.clock.name, "rate_hz": pcm.rate_hz}


def microphone_read(name: str, for_s: float) -> dict[str, Any]:
    """The blocks of a while from the first one on, which a loaded machine's wild stamps hold back
    for seconds; the line that they lie on, and what was counted."""
    microphone, found = microphones[name][0], []
    end_s = time.monotonic() + LONGEST_HELD_S
    while (left_s := end_s - time.monotonic()) > 0:
        for block in microphone.read(min(left_s, 0.5)):
            assert isinstance(block, AudioBlock)
            ends_ns = block.t_node_ns + round(len(block.pcm) / block.rate_hz * 1e9)
            if not found:
                end_s = time.monotonic() + for_s
            loudest = int(np.abs(block.pcm).argmax())
            found.append(
                {
                    "t_node_ns": block.t_node_ns,
                    "ends_ns": ends_ns,
                    "num": len(block.pcm),
                    "read_node_ns": read_node_clock(),
                    "peak": float(np.abs(block.pcm).max()),
                    "peak_ns": block.t_node_ns + round(loudest / block.rate_hz * 1e9),
                }
            )
    line = microphone.clock
    return {
        "blocks": found,
        "counts": microphone.counts,
        "jitter_ns": line.jitter_ns,
        "sigma_ns": line.sigma_ns,
        "skew_ppm": line.skew_ppm,
        "num_pieces": line.num_pieces,
    }


def microphone_sleep(seconds: float) -> None:
    """Read nothing for a while."""
    time.sleep(seconds)


def microphone_close(name: str) -> None:
    microphones.pop(name)[0].close()


def unbind_in_use(path: str, name: str) -> None:
    """Unbind a driver that waits until nobody has its card open: in a process of its own."""
    if os.fork() == 0:
        os.closerange(3, 1024)
        Path(path).write_text(name)
        os._exit(0)
    time.sleep(0.5)


def play(device: str, clicks_s: list[float], for_s: float) -> int:
    """Play clicks on a card, in a process of its own; its number."""
    child = os.fork()
    if child:
        return child
    lib, pcm = load_alsa(), ctypes.c_void_p()
    lib.snd_pcm_set_params.argtypes = (ctypes.c_void_p, *(ctypes.c_uint,) * 6)
    lib.snd_pcm_writei.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_ulong)
    sound = np.zeros(round(for_s * 48_000), np.int16)
    for click_s in clicks_s:
        sound[round(click_s * 48_000) :][:48] = 20_000
    lib.snd_pcm_open(ctypes.byref(pcm), device.encode(), 0, 0)
    lib.snd_pcm_set_params(pcm, 2, 3, 1, 48_000, 0, 500_000)
    lib.snd_pcm_writei(pcm, sound.tobytes(), len(sound))
    os._exit(0)


def doctor() -> list[dict[str, str]]:
    """What `coeval doctor` finds."""
    return [asdict(finding) for finding in examine(ask=lambda: None)]


def set_control(path: str, control: str, value: int) -> None:
    """Set a control of a video device by its name, as `v4l2-ctl` does."""
    fd = os.open(path, os.O_RDWR)
    try:
        number = 0
        while True:
            data = bytearray(CONTROL_DESCRIPTION.size)
            struct.pack_into("@I", data, 0, number | NEXT_CONTROL)
            fcntl.ioctl(fd, QUERY_CONTROL, data)
            number, _, name, *_ = CONTROL_DESCRIPTION.unpack(data)
            if name.split(b"\0")[0].decode() == control:
                break
        fcntl.ioctl(fd, SET_CONTROL, struct.pack("@Ii", number, value))
    finally:
        os.close(fd)


def hid_create(name: str) -> None:
    """Plug a sensor hub in; its accelerometer becomes an IIO device soon."""
    hids[name] = HidSensor()


def await_path(path: str, timeout_s: float = LONG_S) -> None:
    """Until drivers have made a file."""
    end_s = time.monotonic() + timeout_s
    while not Path(path).exists():
        if time.monotonic() > end_s:
            raise TimeoutError(f"no {path}")
        time.sleep(0.05)


def hid_report(name: str, rows: list[list[int]], gap_s: float = 0.0) -> list[int]:
    """Readings of the accelerometer; the node's clock before each."""
    sent_ns = []
    for row in rows:
        time.sleep(gap_s)
        sent_ns.append(read_node_clock())
        hids[name].report(row)
    return sent_ns


def hid_unplug(name: str) -> None:
    hids.pop(name).close()


def iio_open(name: str, is_polled: bool = False, **keys: Any) -> dict[str, Any]:
    config = IioConfig(**keys)
    if is_polled:
        iios[name] = PolledIio(config, find_device(config.device, Path("/")))
    else:
        iios[name] = open_iio(config)
    return {"timing": iios[name].timing.describe(), "units": dict(iios[name].units)}


def iio_read(name: str, count: int, timeout_s: float = LONG_S) -> dict[str, Any]:
    """So many rows, or what came until the time is over."""
    times: list[int] = []
    rows: list[list[float]] = []
    end_s = time.monotonic() + timeout_s
    while len(rows) < count and (left_s := end_s - time.monotonic()) > 0:
        for block in iios[name].read(min(left_s, 1.0)):
            times += block.t_node_ns.tolist()
            rows += block.values.tolist()
    return {"t_node_ns": times, "rows": rows, "counts": iios[name].counts}


def iio_close(name: str) -> None:
    iios.pop(name).close()


def watch_lateness() -> None:
    """Begin to measure how late a program wakes: a loaded host lets the whole machine stand."""
    reading, writing = os.pipe()
    ending, asking = os.pipe()
    child = os.fork()
    if child == 0:
        os.set_blocking(ending, False)
        os.close(asking)
        longest_ns = 0
        while True:
            due_ns = time.monotonic_ns() + round(NAP_S * 1e9)
            time.sleep(NAP_S)
            longest_ns = max(longest_ns, time.monotonic_ns() - due_ns)
            try:
                os.read(ending, 1)
            except BlockingIOError:
                continue
            os.write(writing, longest_ns.to_bytes(8, "little"))
            os._exit(0)
    os.close(ending)
    os.close(writing)
    watches.append((child, reading, asking))


def longest_lateness() -> int:
    """The latest that a program woke since the measuring began, which this ends, ns."""
    child, reading, asking = watches.pop()
    os.write(asking, b".")
    longest_ns = int.from_bytes(os.read(reading, 8), "little")
    os.waitpid(child, 0)
    for end in (reading, asking):
        os.close(end)
    return longest_ns


def close_all() -> None:
    """Give back what a test that failed has left open."""
    for kind, close in (
        *((receivers, gnss_close), (pps, pps_close), (gpio, gpio_close)),
        *((cameras, camera_close), (microphones, microphone_close), (iios, iio_close)),
    ):
        for name in list(kind):
            close(name)


def clocks() -> dict[str, int]:
    """The node's clock now, and how far the others are from it."""
    return {
        "node_ns": read_node_clock(),
        "realtime_ahead_ns": measure_difference(KernelClock.REALTIME).difference_ns,
        "monotonic_ahead_ns": measure_difference(KernelClock.MONOTONIC).difference_ns,
    }


def step_realtime(seconds: float) -> None:
    now_ns = time.clock_gettime_ns(time.CLOCK_REALTIME)
    time.clock_settime_ns(time.CLOCK_REALTIME, now_ns + round(seconds * 1e9))


def say_synchronised(max_error_us: int | None) -> int | None:
    """Tell the kernel what a time service would; returns what the node reads of it."""
    state = Timex()
    state.modes = ADJ_STATUS | ADJ_MAXERROR
    state.maxerror = max_error_us or 0
    state.status = 0x0001 if max_error_us is not None else 0x0040
    ctypes.CDLL(None).adjtimex(ctypes.byref(state))
    return read_utc_error_ns()


def run_monotonic_away(milliseconds: float) -> int:
    """Steer the kernel's clocks 10 % fast until they are so far ahead of the node's; how far."""
    before_ns = measure_difference(KernelClock.MONOTONIC).difference_ns
    state = Timex()
    state.modes = ADJ_TICK
    for tick_us in (11_000, 10_000):
        ctypes.c_long.from_buffer(state, TICK_AT).value = tick_us
        ctypes.CDLL(None).adjtimex(ctypes.byref(state))
        time.sleep(milliseconds / 100 if tick_us > 10_000 else 0)
    return measure_difference(KernelClock.MONOTONIC).difference_ns - before_ns


def write(path: str, *, text: str) -> None:
    """Write to a file of sysfs, as an administrator would."""
    Path(path).write_text(text)


def read(path: str) -> str:
    return Path(path).read_text()


def chmod(path: str, mode: int) -> None:
    os.chmod(path, mode)


def listing(pattern: str) -> list[str]:
    return sorted(str(path) for path in Path("/").glob(pattern.lstrip("/")))


def tty_attach(name: str) -> None:
    """Make a terminal a PPS source, as `ldattach pps` does with a serial port."""
    ttys[name] = os.openpty()
    fcntl.ioctl(ttys[name][1], termios.TIOCSETD, struct.pack("i", LINE_DISCIPLINE_PPS))


def tty_unplug(name: str) -> None:
    for fd in ttys.pop(name):
        os.close(fd)


def as_nobody(what: str, **keys: Any) -> Any:
    """Do something as a user without any privilege; what happened comes back through a pipe."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.write(writing, json.dumps(answer({"do": what} | keys)).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        told = json.load(pipe)
    os.waitpid(child, 0)
    return told


DO: dict[str, Callable[..., Any]] = {
    each.__name__: each
    for each in (
        *(gnss_open, gnss_read, gnss_close),
        *(pps_open, pps_wait, pps_read, pps_listen, pps_state, pps_close, pps_set_mode),
        *(gpio_open, gpio_read, gpio_close, clocks, step_realtime, say_synchronised),
        *(run_monotonic_away, watch_lateness, longest_lateness, close_all),
        *(camera_open, camera_read, camera_frame, camera_close, doctor, set_control),
        *(
            microphone_open,
            microphone_read,
            microphone_close,
            microphone_sleep,
            play,
            unbind_in_use,
        ),
        *(hid_create, await_path, hid_report, hid_unplug, iio_open, iio_read, iio_close),
        *(read, write, chmod, listing, tty_attach, tty_unplug, as_nobody),
    )
}


def answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"ok": DO[request.pop("do")](**request)}
    except CoevalError as exc:
        return {"error": type(exc).__name__, "says": str(exc)}
    except Exception:
        return {"error": "bug", "says": traceback.format_exc()}


def main() -> None:
    tty.setraw(sys.stdin.fileno())
    print(f"\r\n{MARK}" + json.dumps({"ok": [sys.version, os.uname().release]}), flush=True)
    for line in sys.stdin:
        print(f"\r\n{MARK}" + json.dumps(answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
