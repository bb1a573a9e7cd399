"""Trials of our method: draw a false clock and a piece of material, estimate, compare."""

import time
from dataclasses import dataclass

import numpy as np

from coeval.align import align_tracks
from coeval.estimates import SessionEstimate
from coeval.time import NS_PER_S
from coeval.tracks import StreamTrack
from coeval_lab.bench.material import Clock, Stream, track_of
from coeval_lab.bench.metrics import Trial

OFFSETS_S = (2.0, -2.0, 5.0, -5.0, 30.0, -30.0)
SKEWS_PPM = (0.0, 20.0, -20.0, 150.0, -150.0, 500.0, -500.0)
NUM_KINDS = len(OFFSETS_S) * len(SKEWS_PPM)
"""Pairs of an offset and a skew; the two lengths have no common factor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """The random choices of one trial."""

    clock: Clock
    """Clock of the second stream; the first one's is true."""
    start_ns: int
    """Begin of the first stream's piece, true time."""
    stop_ns: int
    """Its end."""


def draw_trials(
    a: Stream, b: Stream, rng: np.random.Generator, *, window_s: float | None, count: int
) -> list[Draw]:
    """Random pieces; listed offsets made fractional; listed skews.

    Offsets and skews take turns: every NUM_KINDS trials hold each offset with each skew once.
    """
    start, stop = max(a.start_ns, b.start_ns), min(a.stop_ns, b.stop_ns)
    length = stop - start if window_s is None else min(int(window_s * NS_PER_S), stop - start)
    draws: list[Draw] = []
    for k in range(count):
        begin = start + int(rng.integers(0, stop - start - length + 1))
        offset_s = OFFSETS_S[k % len(OFFSETS_S)] + float(rng.uniform(-0.5, 0.5))
        skew_ppm = SKEWS_PPM[k % len(SKEWS_PPM)]
        clock = Clock(offset_ns=offset_s * NS_PER_S, skew_ppm=skew_ppm, t0_ns=begin)
        draws.append(Draw(clock=clock, start_ns=begin, stop_ns=begin + length))
    return draws


def tracks_of_trial(a: Stream, b: Stream, draw: Draw) -> tuple[StreamTrack, StreamTrack]:
    """Both streams as their nodes see them; the second recorder starts and ends elsewhere."""
    late = int(0.05 * (draw.stop_ns - draw.start_ns))
    start, stop = draw.start_ns, draw.stop_ns
    first, second = (
        track_of(
            stream,
            clock,
            node=node,
            start_ns=start + delay,
            stop_ns=stop + delay,
            with_speech=other.modality == "text",
        )
        for stream, other, clock, node, delay in (
            (a, b, Clock(), "a", 0),
            (b, a, draw.clock, "b", late),
        )
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
    tracks = tracks_of_trial(a, b, draw)
    return estimated(tracks, a, b, draw, began_s=began, related=related)


def estimated(
    tracks: tuple[StreamTrack, StreamTrack],
    a: Stream,
    b: Stream,
    draw: Draw,
    *,
    began_s: float,
    related: bool = True,
) -> Trial:
    """Our estimate from a trial's tracks, whose making began at `began_s` of the CPU's time."""
    material_s = (draw.stop_ns - draw.start_ns) / NS_PER_S
    if not tracks[0].embeddings or not tracks[1].embeddings:
        return Trial(error_ms=None, material_s=material_s, related=related)
    estimate = align_tracks(tracks, reference="a")
    return judge(
        estimate,
        "b",
        draw.clock,
        cpu_s=time.process_time() - began_s,
        material_s=material_s,
        truth_sigma_s=max(a.sigma_s, b.sigma_s),
        related=related,
    )


def constant_trial(
    offset_s: float | None, cpu_s: float, draw: Draw, *, truth_sigma_s: float = 0.0
) -> Trial:
    """A method's one number as a trial.

    Args:
        offset_s: constant offset of the second clock against the first, or None for no answer.
        cpu_s: what it cost.
        draw: the trial.
        truth_sigma_s: how far the truth can be trusted.

    Returns:
        The error against the truth at the middle of the piece: the best case of a method that
        knows no skew.
    """
    middle_ns = 0.5 * (draw.start_ns + draw.stop_ns)
    truth_ns = draw.clock.reads(middle_ns) - middle_ns
    return Trial(
        error_ms=None if offset_s is None else (offset_s * NS_PER_S - truth_ns) * 1e-6,
        cpu_s=cpu_s,
        material_s=(draw.stop_ns - draw.start_ns) / NS_PER_S,
        truth_sigma_ms=truth_sigma_s * 1e3,
    )
