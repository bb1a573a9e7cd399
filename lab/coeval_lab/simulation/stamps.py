"""Simulated measurements: PPS edges, two-way exchanges, content lags, each with what goes wrong.

Everything is drawn at once for a whole session; times are true seconds, errors ns.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from coeval_lab.simulation.crystal import FloatArray

BOUNCE_S = 2e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class PulseErrors:
    """How a node's kernel stamps PPS edges.

    Published: the interrupt of pps-gpio comes 6.92 µs after the edge on average, standard
    deviation 1.72 µs, 98% between 6.04 and 8.62 µs (BeagleBone, measured against a hardware
    capture: D. Drown, blog.dan.drown.org/beaglebone-black-timer-capture-driver); a second's
    stamps on Raspberry Pis scatter by 0.6 to 0.9 µs (github.com/rascol/PPS-Client). So: a core of
    1 µs with a late tail; the constant part is taken for known but for the bias.
    """

    jitter_ns: float = 1_000.0
    """Standard deviation."""
    outliers: float = 0.005
    """Share of edges that the kernel was late for …"""
    outlier_ns: float = 30_000.0
    """… by this much on average, always late."""
    missing: float = 0.002
    """Share of edges never seen."""
    bias_sigma_ns: float = 1_000.0
    """Spread of the constant latency from node to node."""
    spurious: float = 0.0
    """Pulses a second that nobody sent, at any time."""
    doubled: float = 0.0
    """Share of edges that bounce: a second pulse up to BOUNCE_S later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """A network path through a broker, with its queues.

    Measured: a Raspberry Pi on a wired network answers pings after 0.43 ms at least, 0.51, 0.54 and
    0.56 ms at the quartiles, 1.15 ms at most (SLAC's PingER, confluence.slac.stanford.edu/pages/
    diffpagesbyversion.action?pageId=192206124). Two such trips and a broker make an exchange:
    Coeval's own takes 0.66 ms on loopback (`coeval.prompt_socket`). On the Wi-Fi of a campus one
    trip takes 3 ms in the median, 20 ms at the 90th and 250 ms at the 99th percentile (K. Sui et
    al., Characterizing and improving WiFi latency in large-scale operational networks, MobiSys
    2016).
    """

    name: str
    """What it is called."""
    delay_ns: float
    """Least delay, both ways together."""
    lean: float
    """How unevenly the least delay may lie on the two ways, 0…1: at 1 any split is as likely."""
    queue_ns: float
    """Mean of the queueing in calm times, exponential, each way."""
    burst_share: float
    """Share of the time that is busy."""
    burst_ns: float
    """Mean of the queueing in busy times."""
    loss: float
    """Share of exchanges that fail."""
    queue_shape: float = 1.0
    """Of the gamma distribution of the queueing: 1 is exponential, more is a heap of short waits
    with a lighter tail; the mean stays."""
    hiccups_per_hour: float = 0.0
    """How often the broker stands still …"""
    hiccup_s: float = 0.5
    """… for so long: what reaches it then leaves when it goes on."""


QUIET_LAN = Path(
    name="quiet-lan",
    delay_ns=700_000.0,
    lean=0.3,
    queue_ns=60_000.0,
    burst_share=0.01,
    burst_ns=5e6,
    loss=0.001,
)
"""Wired, through a broker on the same switch: 0.7 ms there and back."""
UNEVEN_LAN = replace(QUIET_LAN, name="uneven-lan", lean=1.0)
"""The same, but the delay may lie wholly on one way: what cannot be seen from inside."""
BUSY_WIFI = Path(
    name="busy-wifi",
    delay_ns=4e6,
    lean=1.0,
    queue_ns=2e6,
    burst_share=0.15,
    burst_ns=30e6,
    loss=0.03,
)
"""Shared 2.4 GHz: milliseconds when calm, tens of them in bursts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContentErrors:
    """How well content tells the offset of one window."""

    best_ns: float = 6e6
    """Standard deviation of the best windows …"""
    worst_ns: float = 20e6
    """… and of the worst; each window knows its own."""
    outliers: float = 0.03
    """Share of windows that match something else …"""
    outlier_s: float = 20.0
    """… anywhere within this."""
    latency_sigma_ns: float = 5e6
    """Spread of the streams' constant latency."""


def pulse_errors(
    errors: PulseErrors, rng: np.random.Generator, num: int
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Error of each edge's stamp (ns), and which edges are seen, both shape (num,)."""
    late = rng.random(num) < errors.outliers
    stamps = rng.normal(size=num) * errors.jitter_ns + rng.normal() * errors.bias_sigma_ns
    stamps += late * rng.exponential(errors.outlier_ns, num)
    return stamps, rng.random(num) >= errors.missing


def extra_pulses(errors: PulseErrors, rng: np.random.Generator, num: int) -> FloatArray:
    """True instants (s) of the pulses that are none in `num` seconds, in order, shape (n,)."""
    spurious = rng.uniform(0.0, num, rng.poisson(errors.spurious * num))
    doubled = 1.0 + np.flatnonzero(rng.random(num) < errors.doubled)
    return np.sort(np.concatenate([spurious, doubled + rng.uniform(1e-5, BOUNCE_S, len(doubled))]))


def path_delays(
    path: Path, rng: np.random.Generator, t_s: FloatArray
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Delay there and back (ns) of an exchange at each instant, and whether it came through.

    The broker is where the way there ends; a hiccup holds what arrives there.
    """
    num = len(t_s)
    # Busy and calm stretches of some ten seconds each.
    stretch = (t_s // 10.0).astype(np.int64)
    is_busy = rng.random(int(stretch.max(initial=0)) + 1) < path.burst_share
    mean = np.where(is_busy[stretch], path.burst_ns, path.queue_ns) / path.queue_shape
    share = 0.5 * (1.0 + path.lean * rng.uniform(-1.0, 1.0))
    there = share * path.delay_ns + rng.gamma(path.queue_shape, 1.0, num) * mean
    back = (1.0 - share) * path.delay_ns + rng.gamma(path.queue_shape, 1.0, num) * mean
    is_through = rng.random(num) >= path.loss
    if path.hiccups_per_hour:
        end_s = float(t_s.max(initial=0.0))
        starts_s = np.sort(
            rng.uniform(0.0, end_s, rng.poisson(path.hiccups_per_hour * end_s / 3600))
        )
        there += held_ns(t_s + there * 1e-9, starts_s, path.hiccup_s)
    return there, back, is_through


def held_ns(at_s: FloatArray, starts_s: FloatArray, lasts_s: float) -> FloatArray:
    """How long (ns) what arrives at each instant waits for the end of a hiccup, shape as `at_s`."""
    if not len(starts_s):
        return np.zeros(len(at_s))
    latest = np.searchsorted(starts_s, at_s, side="right") - 1
    since_s = np.where(latest >= 0, at_s - starts_s[np.maximum(latest, 0)], np.inf)
    left: FloatArray = np.maximum(lasts_s - since_s, 0.0) * 1e9
    return left


def content_errors(
    errors: ContentErrors, rng: np.random.Generator, num: int
) -> tuple[FloatArray, FloatArray]:
    """Error of each window's lag (ns), and the standard deviation it states, shape (num,)."""
    sigma = rng.uniform(errors.best_ns, errors.worst_ns, num)
    lag = rng.normal(size=num) * sigma + rng.normal() * errors.latency_sigma_ns
    is_outlier = rng.random(num) < errors.outliers
    lag[is_outlier] += rng.uniform(-errors.outlier_s, errors.outlier_s, int(is_outlier.sum())) * 1e9
    return lag, sigma
