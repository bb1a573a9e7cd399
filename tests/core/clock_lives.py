"""What tests of clocks share: a clock that lives, what is measured of it, and how it is told."""

from collections.abc import Iterator

import numpy as np

from coeval.clock_findings import Finding
from coeval.evidence import Evidence, EvidenceKind
from coeval.oscillators import PERFECT, PI
from coeval.session_clocks import SessionClocks

S = 1_000_000_000
EPOCH = 1_700_000_000 * S


def sample(
    t_s: float,
    offset_ns: float,
    *,
    kind: EvidenceKind = "hardware",
    source: str = "pps/n",
    first: str = "ref",
    second: str = "n",
    sigma_ns: float = 1e3,
    bias_sigma_ns: float = 0.0,
) -> Evidence:
    """A measurement of `second`'s clock, `t_s` after the epoch on the reference."""
    return Evidence(
        kind=kind,
        source=source,
        first=first,
        second=second,
        t_second_ns=EPOCH + round(t_s * S) + round(offset_ns),
        offset_ns=round(offset_ns),
        sigma_ns=sigma_ns,
        bias_sigma_ns=bias_sigma_ns,
    )


def session() -> SessionClocks:
    return SessionClocks(reference="ref", oscillators={"ref": PERFECT, "n": PI})


def simulate(
    seed: int,
    *,
    seconds: int = 120,
    kinds: tuple[str, ...] = ("hardware", "network", "content"),
    jump_at: int | None = None,
    lie_from: int | None = None,
) -> Iterator[tuple[float, float, list[Evidence]]]:
    """Each second of a clock's life: time, true offset (ns), and what was measured."""
    rng = np.random.default_rng(seed)
    offset, skew = rng.normal() * 3e9, rng.normal() * PI.skew_sigma_ppb
    asymmetry, latency = rng.normal() * 3e5, rng.normal() * 4e6
    for t in range(seconds):
        offset += skew + rng.normal() * PI.white_fm_ns
        skew += rng.normal() * PI.walk_fm_ppb
        if t == jump_at:
            offset += 50e6
        measured = []
        if "hardware" in kinds:
            lie = 50e6 if lie_from is not None and t >= lie_from else 0.0
            measured.append(sample(t, offset + lie + rng.normal() * 1e3))
        if "network" in kinds and t % 4 == 1:
            seen = offset + asymmetry + rng.normal() * 1e5
            measured.append(
                sample(t, seen, kind="network", source="net/n", sigma_ns=1e5, bias_sigma_ns=3e5)
            )
        if "content" in kinds and t % 10 == 5:
            seen = offset + latency + rng.normal() * 1e7
            measured.append(
                sample(t, seen, kind="content", source="film/n", sigma_ns=1e7, bias_sigma_ns=4e6)
            )
        yield t, offset, measured


def run(
    clocks: SessionClocks, life: Iterator[tuple[float, float, list[Evidence]]]
) -> tuple[list[tuple[float, float, float]], list[tuple[float, Finding]]]:
    """Errors (time, error ns, half-width ns) and findings."""
    errors, findings = [], []
    for t, offset, measured in life:
        for evidence in measured:
            findings += [(t, found) for found in clocks.push(evidence)]
        state = clocks.at("n", EPOCH + round(t * S))
        if state is not None:
            errors.append((t, state.offset_ns - offset, state.ci95_ns))
    return errors, findings
