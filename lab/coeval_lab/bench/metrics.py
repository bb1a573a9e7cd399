"""From trials to the lines of the table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WRONG_MS = {"stills": 300.0}
"""An accepted offset further off than this is wrong; 100 ms where the pair is not named."""
DEFAULT_WRONG_MS = 100.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One estimate of one method on one piece of material."""

    error_ms: float | None
    """Estimate − truth in ms; None: rejected."""
    ci95_ms: float | None = None
    """Stated half-width."""
    skew_error_ppm: float | None = None
    """Estimated − true skew."""
    cpu_s: float = 0.0
    """CPU time, without decoding."""
    material_s: float = 0.0
    """Length of the material."""
    truth_sigma_ms: float = 0.0
    """How far the truth itself can be trusted."""
    related: bool = True
    """Whether the two streams observe one scene."""


def row_of(
    trials: Sequence[Trial],
    *,
    pair: str,
    method: str,
    source: str,
    held_out: bool | None = None,
    note: str = "",
) -> dict[str, Any]:
    """One line of the table.

    Shares within a tolerance are of the accepted trials; `wrong` and `locked` are of all trials.
    An interval counts as covering when the error lies in it widened by the truth's own spread.
    """
    accepted = [trial for trial in trials if trial.error_ms is not None]
    related = [trial for trial in accepted if trial.related]
    errors = np.array([abs(trial.error_ms) for trial in related if trial.error_ms is not None])
    tolerance = WRONG_MS["stills"] if "image" in pair or "stills" in pair else DEFAULT_WRONG_MS
    wrong = sum(
        not trial.related or abs(trial.error_ms or 0.0) > max(tolerance, 3.0 * trial.truth_sigma_ms)
        for trial in accepted
    )
    covered = [
        abs(trial.error_ms) <= trial.ci95_ms + trial.truth_sigma_ms
        for trial in related
        if trial.error_ms is not None and trial.ci95_ms is not None
    ]
    skews = [abs(t.skew_error_ppm) for t in related if t.skew_error_ppm is not None]
    minutes = sum(trial.material_s for trial in trials) / 60
    row: dict[str, Any] = {
        "pair": pair,
        "method": method,
        "source": source,
        "held_out": held_out,
        "trials": len(trials),
        "locked": percent(len(accepted), len(trials)),
        "median_ms": rounded(float(np.median(errors))) if len(errors) else None,
        "p95_ms": rounded(float(np.percentile(errors, 95))) if len(errors) else None,
    }
    for limit in (20, 40, 100, 300):
        row[f"within_{limit}ms"] = percent(int((errors <= limit).sum()), len(errors))
    row |= {
        "right": percent(int((errors <= 100).sum()), len(trials)),
        "wrong": percent(wrong, len(trials)),
        "coverage95": percent(sum(covered), len(covered)),
        "truth_sigma_ms": max((trial.truth_sigma_ms for trial in trials), default=None),
        "skew_err_ppm": rounded(float(np.median(skews))) if skews else None,
        "cpu_s_per_min": rounded(sum(t.cpu_s for t in trials) / minutes) if minutes else None,
        "note": note,
    }
    return row


def percent(count: int, total: int) -> float | None:
    """Share in %, None of nothing."""
    return round(100.0 * count / total, 1) if total else None


def rounded(value: float) -> float:
    """Three significant digits."""
    return float(f"{value:.3g}")
