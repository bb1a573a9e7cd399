"""Trials of our method: draw a false clock and a piece of material, estimate, compare."""

import time
from dataclasses import dataclass

import numpy as np

from coeval.align import SessionEstimate, StreamTrack, align_tracks
from coeval.time import NS_PER_S
from coeval_lab.bench.material import Clock, Stream, track_of
from coeval_lab.bench.metrics import Trial

OFFSETS_S = (2.0, -2.0, 5.0, -5.0, 30.0, -30.0)
SKEWS_PPM = (0.0, 20.0, -20.0, 150.0, -150.0, 500.0, -500.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """The random choices of one trial."""

    clock: Clock
    """Clock of the second stream; the first one's is true."""
    start_ns: int
    """Begin of the first stream's piece, true time."""
    stop_ns: int
    """Its end."""


def draw_trial(
    a: Stream,
    b: Stream,
    rng: np.random.Generator,
    *,
    window_s: float | None,
    skews_ppm: tuple[float, ...] = SKEWS_PPM,
) -> Draw:
    """A random piece, a listed offset made fractional, a listed skew."""
    start, stop = max(a.start_ns, b.start_ns), min(a.stop_ns, b.stop_ns)
    if window_s is not None and (stop - start) > window_s * NS_PER_S:
        start += int(rng.integers(0, stop - start - int(window_s * NS_PER_S) + 1))
        stop = start + int(window_s * NS_PER_S)
    offset_s = float(rng.choice(OFFSETS_S)) + float(rng.uniform(-0.5, 0.5))
    clock = Clock(offset_ns=offset_s * NS_PER_S, skew_ppm=float(rng.choice(skews_ppm)), t0_ns=start)
    return Draw(clock=clock, start_ns=start, stop_ns=stop)


def tracks_of_trial(a: Stream, b: Stream, draw: Draw) -> tuple[StreamTrack, StreamTrack]:
    """Both streams as their nodes see them; the second recorder starts and ends elsewhere."""
    late = int(0.05 * (draw.stop_ns - draw.start_ns))
    first = track_of(a, Clock(), node="a", start_ns=draw.start_ns, stop_ns=draw.stop_ns)
    second = track_of(
        b, draw.clock, node="b", start_ns=draw.start_ns + late, stop_ns=draw.stop_ns + late
    )
    return first, second


def judge(
    estimate: SessionEstimate,
    node: str,
    clock: Clock,
    *,
    cpu_s: float,
    material_s: float,
    truth_sigma_s: float,
    related: bool = True,
) -> Trial:
    """Compare an estimate with the clock that was injected."""
    found = estimate.nodes[node]
    if found.line is None or found.ci95_ns is None:
        return Trial(
            error_ms=None,
            cpu_s=cpu_s,
            material_s=material_s,
            related=related,
            truth_sigma_ms=truth_sigma_s * 1e3,
        )
    t_ns = int(found.line.t0_ref_ns)
    return Trial(
        error_ms=(found.line.offset_ns - (clock.reads(t_ns) - t_ns)) * 1e-6,
        ci95_ms=found.ci95_ns * 1e-6,
        skew_error_ppm=found.line.skew_ppb * 1e-3 - clock.skew_ppm,
        cpu_s=cpu_s,
        material_s=material_s,
        truth_sigma_ms=truth_sigma_s * 1e3,
        related=related,
    )


def our_trial(a: Stream, b: Stream, draw: Draw, *, related: bool = True) -> Trial:
    """One estimate by the product's own path, from samples to offset."""
    began = time.process_time()
    first, second = tracks_of_trial(a, b, draw)
    material_s = (draw.stop_ns - draw.start_ns) / NS_PER_S
    sigma_s = max(a.sigma_s, b.sigma_s)
    if not first.embeddings or not second.embeddings:
        return Trial(error_ms=None, material_s=material_s, related=related)
    estimate = align_tracks([first, second], reference="a")
    return judge(
        estimate,
        "b",
        draw.clock,
        cpu_s=time.process_time() - began,
        material_s=material_s,
        truth_sigma_s=sigma_s,
        related=related,
    )
