"""A better correlation head for one session, learnt from its own history without labels.

What is known of a session's clocks labels it: streams whose clocks are known show the same
instants. A 16×16 matrix a modality is learnt on its embeddings by the loss that trained the
encoders. It is kept only if stretches of time that it did not see are told apart better with it,
and stretches that do not belong together score no higher. The matrix then disappears in the
network's last layer (`adapted_set`): nodes compute as much as before.

Shape letters: N windows, T hops, E embedding, F frequencies.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from coeval.errors import NotEnoughEvidence
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.lag import between, densify
from coeval.samples import Modality
from coeval.time import NS_PER_S, NodeNs, RefNs
from coeval_training.losses import lag_loss, lag_scores, spectrum

WINDOW_HOPS = 400
"""Hops that are correlated at once (20 s)."""
LONGEST_LAG_HOPS = 200
"""Lags that the right one is told from (10 s to either side)."""
LARGEST_SHIFT_HOPS = 90
"""Streams of one window are cut up to twice this far apart (9 s)."""
LEAST_COVERED = 0.8
"""A stream takes part in a window of which it covers this share."""
NUM_FOLDS = 3
"""Stretches of the session, each judged by what is learnt on the others."""
LEAST_WINDOWS = 12
"""Four minutes: less cannot tell better from luck."""
NUM_STEPS, RATE, WINDOWS_A_STEP = 100, 0.01, 10
PULL = 0.1
"""Weight of the squared distance from doing nothing."""
LEAST_SIGMAS = 2.0
"""An improvement must stand out from chance by as many standard errors."""
NULL_QUANTILE = 0.95
MOST_NULL = 1.03
"""Growth of that quantile of unrelated windows' best scores that is chance."""
MOST_LOST = 1.0
"""Right lags, in % of windows, that may be lost by chance."""
SHARPNESSES = tuple(float(x) for x in np.geomspace(0.05, 4.0, 14))
STEPS_PER_HOP = 4
"""Errors are measured to this part of a hop."""

Matrices = dict[Modality, Tensor]
"""By modality: what its embeddings are multiplied with, shape (E, E)."""
FloatArray64 = NDArray[np.float64]


class SessionClock(Protocol):
    """A node's clock while it was known."""

    def to_ref(self, t_node_ns: NodeNs, /) -> RefNs:
        """The instant of the timeline at which the clock read that."""

    def to_node(self, t_ref_ns: RefNs, /) -> NodeNs:
        """What the clock read at an instant of the timeline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryStream:
    """What a session remembers of one stream."""

    modality: Modality
    """What it senses."""
    runs: Sequence[Hops]
    """Embeddings on its node's clock, one element between gaps."""
    clock: SessionClock
    """Its node's clock, known all along the runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PairGain:
    """How well two streams are told apart, before and after, on time that was not learnt from."""

    pair: str
    """The streams."""
    num_windows: int
    """Windows in which both are."""
    nats_before: float
    """Mean negative log-likelihood of the true lag, at the best sharpness for all pairs."""
    nats_after: float
    """The same with the matrices."""
    within_100ms_before: float
    """Share of windows, %, whose best lag is right to 100 ms."""
    within_100ms_after: float
    """The same with the matrices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """What was learnt, and whether it is worth shipping."""

    matrices: Matrices
    """By modality; modalities that the session lacks are not in it."""
    pairs: tuple[PairGain, ...]
    """On held-out time."""
    gain_nats: float
    """Mean improvement of a window, over its pairs."""
    gain_sigmas: float
    """The same in standard errors."""
    within_100ms: tuple[float, float]
    """Share of right lags over all pairs, %, before and after."""
    null_growth: float
    """Best scores of unrelated windows, their 95 % quantile, after over before."""
    num_windows: int
    """Windows of the session."""
    verdict: str
    """Empty where it is worth shipping, else why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """A session cut into windows of the timeline."""

    names: tuple[str, ...]
    """The streams."""
    modalities: tuple[Modality, ...]
    """What each senses."""
    spectra: tuple[Tensor, ...]
    """By stream: spectra of its windows, shape (N, E, F)."""
    starts: tuple[Tensor, ...]
    """By stream: true time of its windows' first hop, in hops, shape (N,)."""
    present: tuple[Tensor, ...]
    """By stream: whether it covers the window, shape (N,)."""

    def __len__(self) -> int:
        return len(self.starts[0])

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Every two streams."""
        return list(itertools.combinations(range(len(self.names)), 2))


def cut_windows(streams: Mapping[str, HistoryStream], rng: np.random.Generator) -> Windows:
    """Cut a session into consecutive windows; each stream's begins at a random time near it.

    Raises:
        NotEnoughEvidence: fewer than two streams, or too short.
    """
    if len(streams) < 2:
        raise NotEnoughEvidence(
            f"expected at least two streams whose clocks are known, got {len(streams)}"
        )
    spans = [
        (int(s.clock.to_ref(s.runs[0].t0_node_ns)), int(s.clock.to_ref(s.runs[-1].end_node_ns)))
        for s in streams.values()
    ]
    # Where at least two streams are: from the second that begins to the second-last that ends.
    begin_ns, end_ns = sorted(s[0] for s in spans)[1], sorted(s[1] for s in spans)[-2]
    margin_ns = LARGEST_SHIFT_HOPS * HOP_NS
    window_ns = WINDOW_HOPS * HOP_NS
    num = (end_ns - begin_ns - 2 * margin_ns) // window_ns
    if num < LEAST_WINDOWS:
        needed_s = (LEAST_WINDOWS * window_ns + 2 * margin_ns) / NS_PER_S
        raise NotEnoughEvidence(
            f"expected {needed_s:.0f} s of at least two streams together, got "
            f"{max(end_ns - begin_ns, 0) / NS_PER_S:.0f} s; adapt on a longer history"
        )
    at_ns = [RefNs(begin_ns + margin_ns + k * window_ns) for k in range(num)]
    spectra, starts, present = [], [], []
    for stream in streams.values():
        dense = densify(list(stream.runs))
        rows = np.empty((num, WINDOW_HOPS, EMBEDDING_DIM), np.float32)
        start_hops = np.empty(num)
        for k, t_ref_ns in enumerate(at_ns):
            first = stream.clock.to_node(t_ref_ns) // HOP_NS + int(
                rng.integers(-LARGEST_SHIFT_HOPS, LARGEST_SHIFT_HOPS + 1)
            )
            begin = first - dense.first_hop
            rows[k] = between(dense.rows, begin, begin + WINDOW_HOPS)
            start_hops[k] = (stream.clock.to_ref(NodeNs(first * HOP_NS)) - begin_ns) / HOP_NS
        spectra.append(spectrum(torch.from_numpy(rows)))
        starts.append(torch.from_numpy(start_hops.astype(np.float32)))
        present.append(torch.from_numpy(rows.any(axis=2).mean(axis=1) >= LEAST_COVERED))
    return Windows(
        names=tuple(streams),
        modalities=tuple(stream.modality for stream in streams.values()),
        spectra=tuple(spectra),
        starts=tuple(starts),
        present=tuple(present),
    )


def adapt(streams: Mapping[str, HistoryStream], *, seed: int = 1) -> Adaptation:
    """Learn a matrix a modality on a session's history, and judge it on time it did not see.

    Args:
        streams: by name; all of one session, each with a clock that is known.
        seed: cuts the windows and orders the steps.

    Raises:
        NotEnoughEvidence: there is too little to learn from.
    """
    rng = np.random.default_rng(seed)
    windows = cut_windows(streams, rng)
    folds = np.array_split(np.arange(len(windows)), NUM_FOLDS)
    found = [judged(windows, fold, rng) for fold in folds]
    gains = np.concatenate([each.gains for each in found])
    nulls_before = np.concatenate([each.nulls_before for each in found])
    nulls_after = np.concatenate([each.nulls_after for each in found])
    pairs = tuple(
        pair_gain(f"{windows.names[a]}–{windows.names[b]}", [each.of_pair[a, b] for each in found])
        for a, b in windows.pairs
        if sum(len(each.of_pair[a, b]) for each in found)
    )
    if len(gains) < LEAST_WINDOWS:
        raise NotEnoughEvidence(
            f"expected {LEAST_WINDOWS} windows with two streams or more, got {len(gains)}"
        )
    weights = [pair.num_windows for pair in pairs]
    gain = float(gains.mean())
    sigmas = float(gain / (gains.std(ddof=1) / np.sqrt(len(gains)) + 1e-12))
    growth = float(
        np.quantile(nulls_after, NULL_QUANTILE) / np.quantile(nulls_before, NULL_QUANTILE)
    )
    shares = tuple(
        float(np.average([getattr(pair, name) for pair in pairs], weights=weights))
        for name in ("within_100ms_before", "within_100ms_after")
    )
    verdict = ""
    if not sigmas >= LEAST_SIGMAS:
        verdict = (
            f"held-out time is not told apart better for sure: {gain:+.3f} nats a window, "
            f"{sigmas:+.1f} standard errors, needed {LEAST_SIGMAS:g}"
        )
    elif not shares[1] >= shares[0] - MOST_LOST:
        verdict = (
            f"fewer lags would be right: {shares[1]:.1f} % within 100 ms in place of "
            f"{shares[0]:.1f} %"
        )
    elif not growth <= MOST_NULL:
        verdict = (
            f"windows that do not belong together would score {growth:.2f} times as high, "
            f"allowed {MOST_NULL:g}"
        )
    everything = np.arange(len(windows))
    matrices = learn(windows, everything, rng)
    return Adaptation(
        matrices=matrices,
        pairs=pairs,
        gain_nats=gain,
        gain_sigmas=sigmas,
        within_100ms=(shares[0], shares[1]),
        null_growth=growth,
        num_windows=len(windows),
        verdict=verdict,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One held-out stretch, before and after."""

    gains: FloatArray64
    """Mean improvement of each window over its pairs, nats."""
    nulls_before: FloatArray64
    """Best scores of unrelated windows."""
    nulls_after: FloatArray64
    """The same with the matrices."""
    of_pair: dict[tuple[int, int], FloatArray64]
    """By pair: rows of nats before and after, error before and after in hops."""


def judged(windows: Windows, held_out: NDArray[np.intp], rng: np.random.Generator) -> Judged:
    """Learn on all but one stretch, and judge on that; its neighbours are left out of both."""
    near = np.arange(held_out[0] - 1, held_out[-1] + 2)
    learnt = np.setdiff1d(np.arange(len(windows)), near)
    at = torch.from_numpy(held_out)
    nulls: tuple[list[FloatArray64], list[FloatArray64]] = ([], [])
    compared = [
        (seen_through(windows, at, matrices), best_sharpness(windows, held_out, matrices), kept)
        for matrices, kept in (
            (identity(windows), nulls[0]),
            (learn(windows, learnt, rng), nulls[1]),
        )
    ]
    gains = np.zeros(len(held_out))
    counted = np.zeros(len(held_out))
    of_pair: dict[tuple[int, int], FloatArray64] = {}
    for a, b in windows.pairs:
        usable = both_present(windows, a, b, held_out)
        nats, errors = [], []
        for seen, sharpness, kept in compared:
            loss, error, null = told_apart(windows, a, b, at, seen, sharpness=sharpness)
            nats.append(loss[usable])
            errors.append(error[usable])
            kept.append(null[usable])
        gains[usable] += nats[0] - nats[1]
        counted[usable] += 1
        of_pair[a, b] = np.stack([*nats, *errors], axis=1)
    return Judged(
        gains=gains[counted > 0] / counted[counted > 0],
        nulls_before=np.concatenate(nulls[0]),
        nulls_after=np.concatenate(nulls[1]),
        of_pair=of_pair,
    )


def pair_gain(pair: str, stretches: Sequence[FloatArray64]) -> PairGain:
    """One pair over all held-out stretches."""
    rows = np.concatenate(stretches)
    bound_hops = 0.1 * NS_PER_S / HOP_NS
    within = 100.0 * (rows[:, 2:] <= bound_hops).mean(axis=0)
    return PairGain(
        pair=pair,
        num_windows=len(rows),
        nats_before=float(rows[:, 0].mean()),
        nats_after=float(rows[:, 1].mean()),
        within_100ms_before=float(within[0]),
        within_100ms_after=float(within[1]),
    )


def identity(windows: Windows) -> Matrices:
    """Matrices that change nothing."""
    return {modality: torch.eye(EMBEDDING_DIM) for modality in windows.modalities}


def both_present(windows: Windows, a: int, b: int, chosen: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Whether both streams cover each of the windows, and their lag is among those searched."""
    at = torch.from_numpy(chosen)
    lag = windows.starts[a][at] - windows.starts[b][at]
    both = windows.present[a][at] & windows.present[b][at] & (lag.abs() < LONGEST_LAG_HOPS - 1)
    usable: NDArray[np.bool_] = both.numpy()
    return usable


def seen_through(windows: Windows, at: Tensor, matrices: Matrices) -> list[Tensor]:
    """By stream: spectra of some windows, seen through its modality's matrix."""
    seen = []
    for modality, spectra in zip(windows.modalities, windows.spectra, strict=True):
        parts = torch.view_as_real(spectra[at])  # a real matrix on real numbers: half the work
        mixed = matrices[modality] @ parts.flatten(2)
        seen.append(torch.view_as_complex(mixed.reshape(parts.shape)))
    return seen


def pair_loss(
    windows: Windows, a: int, b: int, at: Tensor, seen: list[Tensor], *, sharpness: float = 1.0
) -> Tensor:
    """Negative log-likelihood of each window's true lag, told from those of another window.

    `sharpness` multiplies the scores: how sure they are, whatever their shape.
    """
    scores = lag_scores(seen[a], seen[b], max_lag=LONGEST_LAG_HOPS)
    wrong = lag_scores(seen[a], seen[b].roll(1, 0), max_lag=LONGEST_LAG_HOPS)
    lag = windows.starts[a][at] - windows.starts[b][at]
    return lag_loss(sharpness * scores, sharpness * wrong, lag)


@torch.no_grad()
def best_sharpness(windows: Windows, chosen: NDArray[np.intp], matrices: Matrices) -> float:
    """How sharp scores must be taken to be most likely: shapes are compared at their best.

    One number, found on the windows that are judged: on those that were learnt from, everything
    looks surer than it is.
    """
    at = torch.from_numpy(chosen)
    seen = seen_through(windows, at, matrices)
    usable = {(a, b): both_present(windows, a, b, chosen) for a, b in windows.pairs}
    means = [
        np.mean(
            [
                float(
                    pair_loss(windows, a, b, at, seen, sharpness=each)[torch.from_numpy(u)].mean()
                )
                for (a, b), u in usable.items()
                if u.any()
            ]
        )
        for each in SHARPNESSES
    ]
    return SHARPNESSES[int(np.argmin(means))]


@torch.no_grad()
def told_apart(
    windows: Windows, a: int, b: int, at: Tensor, seen: list[Tensor], *, sharpness: float = 1.0
) -> tuple[FloatArray64, FloatArray64, FloatArray64]:
    """Of every window: nats, error of the best lag in hops, best score of a wrong partner."""
    loss = pair_loss(windows, a, b, at, seen, sharpness=sharpness)
    fine = lag_scores(seen[a], seen[b], max_lag=LONGEST_LAG_HOPS, per_hop=STEPS_PER_HOP)
    best = fine.argmax(dim=1) / STEPS_PER_HOP - LONGEST_LAG_HOPS
    error = (best - (windows.starts[a][at] - windows.starts[b][at])).abs()
    # Another window than the one that the loss tells apart.
    null = lag_scores(seen[a], seen[b].roll(2, 0), max_lag=LONGEST_LAG_HOPS).amax(dim=1)
    return loss.double().numpy(), error.double().numpy(), null.double().numpy()


def learn(windows: Windows, chosen: NDArray[np.intp], rng: np.random.Generator) -> Matrices:
    """Learn the matrices on some windows, then shrink them until nothing unrelated scores higher.

    A larger embedding scores higher against anything; only the shape is to be learnt.
    """
    changes = {
        m: torch.zeros((EMBEDDING_DIM, EMBEDDING_DIM), requires_grad=True)
        for m in sorted(set(windows.modalities))
    }
    optimiser = torch.optim.Adam(list(changes.values()), lr=RATE)
    for step in range(NUM_STEPS):
        for group in optimiser.param_groups:
            group["lr"] = RATE * (0.5 + 0.5 * float(np.cos(np.pi * step / NUM_STEPS)))
        num = min(WINDOWS_A_STEP, len(chosen))
        picked = rng.choice(chosen, num, replace=False)
        at = torch.from_numpy(picked)
        matrices = {m: torch.eye(EMBEDDING_DIM) + change for m, change in changes.items()}
        seen = seen_through(windows, at, matrices)
        losses = [
            pair_loss(windows, a, b, at, seen)[torch.from_numpy(usable)].mean()
            for a, b in windows.pairs
            if (usable := both_present(windows, a, b, picked)).any()
        ]
        if not losses:
            continue
        pull = torch.stack([(change**2).sum() for change in changes.values()]).sum()
        loss = torch.stack(losses).mean() + PULL * pull
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        optimiser.step()
    learnt = {m: torch.eye(EMBEDDING_DIM) + c.detach() for m, c in changes.items()}
    shrink = shrinking(windows, chosen, learnt)
    return {m: shrink * matrix for m, matrix in learnt.items()}


def shrinking(windows: Windows, chosen: NDArray[np.intp], matrices: Matrices) -> float:
    """Factor by which the matrices must shrink for unrelated windows to score as before; ≤ 1."""
    quantiles = []
    at = torch.from_numpy(chosen)
    for each in (identity(windows), matrices):
        seen = seen_through(windows, at, each)
        nulls = [
            told_apart(windows, a, b, at, seen)[2][both_present(windows, a, b, chosen)]
            for a, b in windows.pairs
        ]
        together = np.concatenate(nulls)
        quantiles.append(float(np.quantile(together, NULL_QUANTILE)) if len(together) else 0.0)
    before, after = quantiles
    # A score is a product of two embeddings.
    return float(np.sqrt(before / after)) if 0 < before < after else 1.0
