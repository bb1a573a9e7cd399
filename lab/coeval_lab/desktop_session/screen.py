"""The screen as video: ffmpeg's x11grab, every frame with the time at which it was grabbed.

x11grab stamps a frame with CLOCK_REALTIME just before it asks the server for the picture
(libavdevice/xcbgrab.c, `wait_frame`); the filter `showinfo` prints that stamp for every frame.
"""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from coeval.errors import CoevalError
from coeval_lab.desktop_session.display import Display

WIDTH, HEIGHT = 640, 480
FRAME_RATE_HZ = 25
PTS = re.compile(r"\bn:\s*\d+ pts:\s*(\d+)")
NUM_FLASHES = 24


def real_minus_monotonic_ns() -> int:
    """CLOCK_REALTIME − CLOCK_MONOTONIC, the tightest of a few readings."""
    best_ns, offset_ns = 1 << 62, 0
    for _ in range(50):
        before = time.monotonic_ns()
        real = time.time_ns()
        after = time.monotonic_ns()
        if after - before < best_ns:
            best_ns, offset_ns = after - before, real - (before + after) // 2
    return offset_ns


@dataclass(slots=True)
class Capture:
    """A video of the screen, filled in when it has ended."""

    path: Path
    """The video, every frame as it was."""
    t_ns: list[int] = field(default_factory=list)
    """Time of each frame, CLOCK_MONOTONIC."""
    clock_moved_ns: int = 0
    """How much CLOCK_REALTIME moved against CLOCK_MONOTONIC meanwhile."""


@contextmanager
def capture(display: str, path: Path) -> Iterator[Capture]:
    """Record the screen while the `with` block runs, without loss of quality.

    Args:
        display: name of the display.
        path: video to write; Matroska.

    Raises:
        CoevalError: ffmpeg failed.
    """
    taken = Capture(path)
    before_ns = real_minus_monotonic_ns()
    log = path.with_suffix(".log")
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-y", "-f", "x11grab", "-draw_mouse", "1"]
    command += ["-framerate", str(FRAME_RATE_HZ), "-video_size", f"{WIDTH}x{HEIGHT}", "-i", display]
    command += ["-copyts", "-fps_mode", "passthrough", "-vf", "showinfo=checksum=0"]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-pix_fmt", "yuv444p"]
    with log.open("wb") as stderr:
        process = subprocess.Popen([*command, str(path)], stdout=subprocess.DEVNULL, stderr=stderr)
        try:
            _wait_for_frames(process, log)
            yield taken
        finally:
            process.terminate()
            process.wait(timeout=30)
    after_ns = real_minus_monotonic_ns()
    middle_ns = (before_ns + after_ns) // 2
    stamps_us = [int(found) for found in PTS.findall(log.read_text(errors="replace"))]
    taken.t_ns = [stamp_us * 1000 - middle_ns for stamp_us in stamps_us]
    taken.clock_moved_ns = after_ns - before_ns


def _wait_for_frames(process: "subprocess.Popen[bytes]", log: Path) -> None:
    until_s = time.monotonic() + 20
    while time.monotonic() < until_s and process.poll() is None:
        if len(PTS.findall(log.read_text(errors="replace"))) >= 3:
            return
        time.sleep(0.05)
    raise CoevalError(
        f"ffmpeg does not record the screen: {log.read_text(errors='replace')[-300:]}"
    )


def measure_latency(display: str, folder: Path) -> tuple[float, float]:
    """How late frames show what has happened, beyond half the frame interval that is certain.

    A white window is shown over everything at random moments. The first frame that shows it
    was grabbed between no and one frame interval later, so half an interval later on average.

    Args:
        display: name of the display.
        folder: where to put the video.

    Returns:
        Mean and standard deviation of (stamp of the first white frame − moment of showing),
        less half a frame interval, in s.
    """
    rng = np.random.default_rng(7)
    shown_ns = []
    with capture(display, folder / "flashes.mkv") as taken, Display(display) as screen:
        window = screen.make_white_window(WIDTH, HEIGHT)
        for _ in range(NUM_FLASHES):
            time.sleep(rng.uniform(0.1, 0.2))
            shown_ns.append(screen.show(window, True))
            time.sleep(rng.uniform(0.1, 0.2))
            screen.show(window, False)
        time.sleep(0.2)
    with av.open(str(taken.path)) as container:
        frames = container.decode(video=0)
        is_white = [frame.to_ndarray(format="gray").mean() > 250 for frame in frames]
    late_s = []
    for t_ns in shown_ns:
        white = (t for t, w in zip(taken.t_ns, is_white, strict=False) if w and t >= t_ns - 1e7)
        late_s.append((next(white) - t_ns) * 1e-9 - 0.5 / FRAME_RATE_HZ)
    return float(np.mean(late_s)), float(np.std(late_s))


def shrink_video(source: Path, target: Path, *, first: int, last: int) -> None:
    """Encode frames `first` … `last` − 1 for shipping: small, H.264, as many frames as asked for.

    Raises:
        CoevalError: ffmpeg failed.
    """
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-i", str(source)]
    command += ["-vf", f"trim=start_frame={first}:end_frame={last},setpts=PTS-STARTPTS"]
    command += ["-fps_mode", "passthrough", "-c:v", "libx264", "-preset", "veryslow", "-crf", "30"]
    command += ["-g", "250", "-pix_fmt", "yuv420p", "-map_metadata", "-1", "-bitexact"]
    done = subprocess.run([*command, str(target)], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise CoevalError(f"ffmpeg does not encode {source}: {done.stderr.strip()[-300:]}")
