"""From answers about pairs of streams to the lines of the table.

Nothing is rejected here: shares are of all trials, and an answer that is not given is a miss.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from coeval_lab.bench.encoders_learned import Lag
from coeval_lab.bench.encoders_plan import Row
from coeval_lab.bench.material import Clock
from coeval_lab.bench.metrics import percent, rounded
from coeval_lab.bench.scene_cells import between

LIMITS_MS = (20, 40, 100, 300)
TOLERANCE_MS, STILLS_TOLERANCE_MS = 100.0, 300.0
"""A locked answer further off is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one method said of one pair of streams."""

    pair: str
    """The two streams, as the table names them."""
    method: str
    """One of `encoders_plan`'s."""
    source: str
    """The material."""
    error_ms: float
    """Best lag − truth; infinite where there is none."""
    locked_error_ms: float | None = None
    """Error of what the product stated; None where it did not lock, or was not asked."""
    was_asked: bool = False
    """Whether the product was asked for a statement."""
    related: bool = True
    """Whether the two streams observe one scene."""
    truth_sigma_ms: float = 0.0
    """How far the truth itself may be off."""
    held_out: bool = True
    """Whether the encoders never saw the material."""


def error_of(lag: Lag | None, first: Clock, second: Clock) -> float:
    """Error of an answer in ms against the clocks injected; infinite where there is none."""
    if lag is None:
        return math.inf
    true_ns, _ = between(first, second, round(lag.t_first_ns))
    return (lag.lag_ns - true_ns) * 1e-6


def has_stills(pair: str) -> bool:
    """Whether one of a pair's streams is of stills."""
    return "stills" in pair or "image" in pair


def rows_of_answers(answers: Sequence[Answer]) -> list[Row]:
    """A line for each pair, method and material, in the order in which they first came."""
    groups: dict[tuple[str, str, str], list[Answer]] = {}
    for answer in answers:
        groups.setdefault((answer.pair, answer.method, answer.source), []).append(answer)
    return [row_of_answers(group) for group in groups.values()]


def row_of_answers(answers: Sequence[Answer]) -> Row:
    """One line of the table; shares are of all trials, `wrong` of the locked ones."""
    one = answers[0]
    related = [answer for answer in answers if answer.related]
    errors = np.array([abs(answer.error_ms) for answer in related])
    asked = [answer for answer in answers if answer.was_asked]
    locked = [answer for answer in asked if answer.locked_error_ms is not None]
    wrong = [answer for answer in locked if is_wrong(answer)]
    median = float(np.median(errors)) if len(errors) else math.inf
    row: Row = {
        "pair": one.pair,
        "method": one.method,
        "source": one.source,
        "held_out": all(answer.held_out for answer in answers),
        "trials": len(answers),
        "median_ms": rounded(median) if math.isfinite(median) else None,
    }
    for limit in LIMITS_MS:
        row[f"within_{limit}ms"] = percent(int((errors <= limit).sum()), len(errors))
    return row | {
        "locked": percent(len(locked), len(asked)),
        "num_locked": len(locked) if asked else None,
        "wrong_of_locked": percent(len(wrong), len(locked)),
        "num_wrong": len(wrong) if asked else None,
        "truth_sigma_ms": max(answer.truth_sigma_ms for answer in answers),
        "note": "",
    }


def is_wrong(answer: Answer) -> bool:
    """Whether a locked answer is further off than its pair, and the truth itself, allow."""
    assert answer.locked_error_ms is not None
    tolerance = STILLS_TOLERANCE_MS if has_stills(answer.pair) else TOLERANCE_MS
    limit_ms = max(tolerance, 3.0 * answer.truth_sigma_ms)
    return not answer.related or abs(answer.locked_error_ms) > limit_ms
