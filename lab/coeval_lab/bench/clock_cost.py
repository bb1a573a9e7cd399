"""What an update of the joint estimate costs as a session grows: time a sample, and pairs compared.

The time is the process's own (CPU), so that a busy machine changes little.
"""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from coeval.evidence import SERVER, UTC, Evidence
from coeval.oscillators import PI
from coeval.pair_choice import PairOffer, choose_pairs
from coeval.session_clocks import SessionClocks
from coeval.time import NS_PER_S

NODES = (5, 10, 20, 50, 100)
SECONDS = 12
"""Simulated, of which the first half fills the filter."""
PAIRS_A_NODE = 2
CONTENT_SIGMA_NS = 1e7


def cost_rows(seed: int) -> list[dict[str, Any]]:
    """A line for every size of a session."""
    return [cost_row(num, seed=seed) for num in NODES]


def cost_row(num_nodes: int, *, seed: int) -> dict[str, Any]:
    """Time of a sample in a session whose nodes all have PPS and exchanges, and of choosing the
    pairs whose content to compare next."""
    clocks = SessionClocks(reference="n0", default=PI)
    rng = np.random.default_rng(seed)
    spent_s, num = 0.0, 0
    for second in range(SECONDS):
        samples = list(second_of(num_nodes, second, rng))
        begun_s = time.process_time()
        for sample in samples:
            clocks.push(sample)
        if second >= SECONDS // 2:
            spent_s += time.process_time() - begun_s
            num += len(samples)
    names = [f"n{k}" for k in range(num_nodes)]
    offers = [
        PairOffer(first=first, second=second, sigma_ns=CONTENT_SIGMA_NS)
        for k, first in enumerate(names)
        for second in names[k + 1 :]
    ]
    begun_s = time.process_time()
    chosen = choose_pairs(offers, list(clocks.groups), num=PAIRS_A_NODE * num_nodes)
    return {
        "scenario": f"cost, {num_nodes} nodes with PPS and exchanges",
        "source": "joint",
        **dict.fromkeys(("rms_s", "median_s", "p95_s", "max_s", "coverage95")),
        "runs": 1,
        "us_per_sample": round(1e6 * spent_s / num, 1),
        "pairs": len(offers),
        "pairs_chosen": len(chosen),
        "choice_ms": round(1e3 * (time.process_time() - begun_s), 1),
    }


def second_of(num_nodes: int, second: int, rng: np.random.Generator) -> Iterator[Evidence]:
    """A PPS edge and an exchange of every node."""
    for k in range(num_nodes):
        offset_ns = k * NS_PER_S
        for kind, source, first, sigma_ns, bias_ns, after_ns in (
            ("hardware", "pps", UTC, 1e3, 1e3, 0),
            ("network", "exchange", SERVER, 1e5, 2e5, (k + 1) * NS_PER_S // (num_nodes + 2)),
        ):
            error = round(rng.normal() * sigma_ns)
            yield Evidence(
                kind=kind,  # type: ignore[arg-type]
                source=f"{source}/n{k}",
                first=first,
                second=f"n{k}",
                t_second_ns=second * NS_PER_S + after_ns + offset_ns + error,
                offset_ns=offset_ns + error,
                sigma_ns=sigma_ns,
                bias_sigma_ns=bias_ns,
            )
