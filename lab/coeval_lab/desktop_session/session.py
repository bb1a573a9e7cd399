"""One session from start to files: the screen, the worker, the probes, then `recording.json`."""

import csv
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import av
import numpy as np

from coeval.errors import CoevalError
from coeval.manifest import Manifest, NodeSpec, NodeTruth, StreamSpec, Truth
from coeval_edge.recording import open_recording
from coeval_edge.rewrite import write_manifest
from coeval_lab.desktop_session import screen, sound
from coeval_lab.desktop_session.display import Display
from coeval_lab.desktop_session.hands import Hands, InputEvent
from coeval_lab.desktop_session.probe import (
    METRICS_HZ,
    METRICS_UNITS,
    POINTER_HZ,
    POINTER_UNITS,
    MetricsProbe,
    PointerProbe,
    Series,
    StillsProbe,
    poll,
)
from coeval_lab.desktop_session.work import Worker, start_window_manager

NEEDED = ("Xvfb", "ffmpeg", "espeak-ng", "xdotool", "openbox", "xterm", "mousepad", "xcalc")
STILL_WIDTH, STILL_HEIGHT = 256, 192
STILLS_S = (0.7, 1.5)
"""Shortest and longest time between stills."""
SIGMA_S = 0.01
"""What the stamps are good for: a change shows in a frame up to 40 ms later, a rate is that of the
last 20 ms, and the rest is scheduling."""


@contextmanager
def virtual_screen() -> Iterator[tuple[str, int]]:
    """A display that nobody sees; its name, and the server's process id."""
    read_end, write_end = os.pipe()
    size = f"{screen.WIDTH}x{screen.HEIGHT}x24"
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", size, "-noreset"]
    command += ["-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write_end], stderr=subprocess.DEVNULL)
    os.close(write_end)
    try:
        with os.fdopen(read_end) as pipe:
            number = pipe.readline().strip()
        if not number:
            raise CoevalError(f"Xvfb ended with code {server.wait()} while starting")
        yield f":{number}", server.pid
    finally:
        server.terminate()
        server.wait(timeout=10)


def record(out: Path, *, length_s: float, seed: int) -> str:
    """Record a session.

    Args:
        out: folder to write; must not exist, or be empty.
        length_s: how long to work.
        seed: chooses what is done, and its rhythm.

    Returns:
        What was recorded, in a line.

    Raises:
        CoevalError: a program is missing, or `out` is not empty.
    """
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        raise CoevalError(
            f"not installed: {', '.join(missing)}; apt-get install xvfb ffmpeg espeak-ng xdotool "
            "openbox xterm x11-apps mousepad fonts-dejavu-core"
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CoevalError(f"{out}: exists and is not an empty folder; name a new one")
    out.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coeval-desk-")))
        home = folder / "home"
        home.mkdir()
        home.chmod(0o777)  # the programs run as nobody where root records
        folder.chmod(0o755)
        display, server = stack.enter_context(virtual_screen())
        stack.enter_context(_running(start_window_manager({"DISPLAY": display, "HOME": str(home)})))
        time.sleep(1.0)
        late_s, late_sigma_s = screen.measure_latency(display, folder)
        hands = Hands(stack.enter_context(Display(display)), seed=seed, voice_folder=folder)
        worker = Worker(hands, display=display, home=home)
        stack.callback(worker.close)
        metrics = MetricsProbe(server, lambda: worker.processes)
        pointer = PointerProbe(stack.enter_context(Display(display)))
        stills = StillsProbe(stack.enter_context(Display(display)))
        rng = np.random.default_rng(seed)
        with screen.capture(display, folder / "screen.mkv") as video:
            stop = threading.Event()
            t0_ns = time.monotonic_ns()
            threads = [
                poll(metrics.read, lambda: 1 / METRICS_HZ, stop, name="metrics"),
                poll(pointer.read, lambda: 1 / POINTER_HZ, stop, name="pointer"),
                poll(stills.read, lambda: float(rng.uniform(*STILLS_S)), stop, name="stills"),
            ]
            try:
                worker.work(time.monotonic() + length_s)
                time.sleep(1.0)
            finally:
                t_end_ns = time.monotonic_ns()
                stop.set()
                for thread in threads:
                    thread.join()
        streams = [
            _write_video(out, video, t0_ns=t0_ns, t_end_ns=t_end_ns),
            _write_audio(out, hands, t0_ns=t0_ns, t_end_ns=t_end_ns, seed=seed),
            _write_series(
                out, "pointer", pointer.series, POINTER_UNITS, node="screen", t0_ns=t0_ns
            ),
            _write_events(out, hands.events, t0_ns=t0_ns),
            _write_stills(out, stills, t0_ns=t0_ns),
            _write_series(out, "metrics", metrics.series, METRICS_UNITS, node="probe", t0_ns=t0_ns),
        ]
        how = (
            "one machine, one clock (CLOCK_MONOTONIC) stamped everything; flashes before the "
            f"session were seen {late_s * 1e3:+.1f} ms (standard deviation "
            f"{late_sigma_s * 1e3:.1f} ms) from the middle of the frame interval"
        )
        manifest = _manifest(streams, seed=seed, how=how)
        write_manifest(manifest, out)
    open_recording(out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return (
        f"{out}: {(t_end_ns - t0_ns) * 1e-9:.1f} s, {size / 1e6:.2f} MB, {len(hands.events)} "
        f"events, {len(video.t_ns)} frames; {how}; CLOCK_REALTIME moved {video.clock_moved_ns} ns"
    )


def _manifest(streams: Sequence[StreamSpec], *, seed: int, how: str) -> Manifest:
    nodes = list(dict.fromkeys(stream.node for stream in streams))
    return Manifest(
        name="desktop-session",
        licence="CC-BY-4.0",
        source={
            "by": "recorded by the Coeval project with `python -m coeval_lab.desktop_session`",
            "seed": seed,
            "video": "Xvfb grabbed by ffmpeg x11grab; times are x11grab's own stamps, one a frame",
            "stills": "XGetImage at uneven times, shrunk",
            "sound": "no microphone: espeak-ng prompts and synthetic key and mouse clicks, mixed "
            "at the sample of the event's stamp over faint noise",
            "events": "the input, stamped when the X server had it",
            "metrics": "/proc of the X server and the programs, stamped when read; rates are those "
            "since the last reading",
            "pointer": "XQueryPointer",
        },
        nodes={node: NodeSpec(id=node) for node in nodes},
        streams=tuple(streams),
        truth=Truth(
            nodes={node: NodeTruth(offset_s=0.0, skew_ppm=0.0) for node in nodes},
            sigma_s=SIGMA_S,
            how=how,
        ),
    )


@contextmanager
def _running(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=10)


def _seconds(t_ns: int, t0_ns: int) -> str:
    return f"{(t_ns - t0_ns) * 1e-9:.6f}"


def _write_csv(path: Path, header: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_video(out: Path, video: screen.Capture, *, t0_ns: int, t_end_ns: int) -> StreamSpec:
    inside = [k for k, t_ns in enumerate(video.t_ns) if t0_ns <= t_ns < t_end_ns]
    first, last = inside[0], inside[-1] + 1
    screen.shrink_video(video.path, out / "screen.mp4", first=first, last=last)
    with av.open(str(out / "screen.mp4")) as container:
        num = sum(1 for _ in container.decode(video=0))
    if num != last - first:
        raise CoevalError(f"screen.mp4 has {num} frames for {last - first} stamps")
    times = ([_seconds(t_ns, t0_ns)] for t_ns in video.t_ns[first:last])
    _write_csv(out / "screen_times.csv", ["t"], times)
    return StreamSpec(
        id="video",
        node="screen",
        modality="video",
        file="screen.mp4",
        timestamps="screen_times.csv",
    )


def _write_stills(out: Path, stills: StillsProbe, *, t0_ns: int) -> StreamSpec:
    (out / "stills").mkdir()
    rows = []
    for k, (t_ns, picture) in enumerate(zip(stills.t_ns, stills.pictures, strict=True)):
        file = f"stills/{k:03d}.jpg"
        with av.open(str(out / file), "w", format="image2", options={"update": "1"}) as container:
            stream = container.add_stream("mjpeg", rate=1)
            stream.width, stream.height, stream.pix_fmt = STILL_WIDTH, STILL_HEIGHT, "yuvj420p"
            stream.options = {"qmin": "6", "qmax": "6"}
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(
                STILL_WIDTH, STILL_HEIGHT, "yuvj420p", interpolation="AREA"
            )
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        rows.append((_seconds(t_ns, t0_ns), file))
    _write_csv(out / "stills.csv", ["t", "file"], iter(rows))
    return StreamSpec(id="stills", node="desk", modality="image", file="stills.csv")


def _write_audio(out: Path, hands: Hands, *, t0_ns: int, t_end_ns: int, seed: int) -> StreamSpec:
    length_s = (t_end_ns - t0_ns) * 1e-9
    pcm = sound.mix(hands.events, hands.prompts, t0_ns=t0_ns, length_s=length_s, seed=seed)
    sound.write_flac(out / "screen.flac", pcm)
    return StreamSpec(id="sound", node="screen", modality="audio", file="screen.flac", t0_s=0.0)


def _write_events(out: Path, events: Sequence[InputEvent], *, t0_ns: int) -> StreamSpec:
    ordered = sorted(events, key=lambda event: event.t_ns)
    # Like any input log, it says when a key went down; only speech has an end.
    rows = (
        (
            _seconds(event.t_ns, t0_ns),
            _seconds(event.t_end_ns, t0_ns) if event.kind == "say" else "",
            event.text,
        )
        for event in ordered
    )
    _write_csv(out / "events.csv", ["t", "t_end", "text"], rows)
    return StreamSpec(id="events", node="desk", modality="text", file="events.csv")


def _write_series(
    out: Path, name: str, series: Series, units: dict[str, str], *, node: str, t0_ns: int
) -> StreamSpec:
    rows = (
        [_seconds(t_ns, t0_ns), *(f"{value:g}" for value in row)]
        for t_ns, row in zip(series.t_ns, series.rows, strict=True)
    )
    _write_csv(out / f"{name}.csv", ["t", *units], rows)
    return StreamSpec(id=name, node=node, modality="metadata", file=f"{name}.csv", units=units)
