"""Whether fine-tuning helped: the first and the last row of a run's log, side by side.

In: `log.jsonl` of a run on own recordings. Out: shares of right lags before and after, and what to
make of them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BOUND = "within_100ms"
CHANCE = 2.0
"""Right lags, in % of trials, that may be won or lost by chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Right lags on one kind of material, in % of trials."""

    by_pair: Mapping[str, tuple[float, float]]
    """Before and after, by pair of streams; empty: there was nothing to measure on."""

    @property
    def before(self) -> float:
        """Mean over the pairs, before."""
        return sum(before for before, _ in self.by_pair.values()) / len(self.by_pair)

    @property
    def after(self) -> float:
        """Mean over the pairs, after."""
        return sum(after for _, after in self.by_pair.values()) / len(self.by_pair)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run came to."""

    own: Shares
    """On the ends of own recordings, which were not trained on."""
    generated: Shares
    """On generated scenes."""

    @property
    def is_better(self) -> bool:
        """Whether own recordings are told apart better, and generated scenes no worse."""
        is_kept = not self.generated.by_pair or (
            self.generated.after >= self.generated.before - CHANCE
        )
        return bool(self.own.by_pair) and self._gain > CHANCE and is_kept

    @property
    def _gain(self) -> float:
        return self.own.after - self.own.before

    @property
    def verdict(self) -> str:
        """The same in words."""
        if not self.own.by_pair:
            return (
                "whether it helps is not known: no recording is so long that its last fifth, kept "
                "apart for that, has 30 s of two streams; longer ones would tell"
            )
        if self.is_better:
            return "better on your recordings' ends, which were not trained on"
        if self._gain <= CHANCE:
            return (
                "not better on your recordings' ends, which were not trained on, than by chance: "
                "do not ship these; more --steps, or recordings of several days, may help"
            )
        return (
            "better on your recordings, but what was learnt before is being forgotten: do not "
            "ship these; fewer --steps, or more recordings, may help"
        )


def read_outcome(folder: Path) -> Outcome:
    """What the run in a folder came to."""
    lines = (folder / "log.jsonl").read_text().splitlines()
    return outcome_of(json.loads(lines[0]), json.loads(lines[-1]))


def outcome_of(first: Mapping[str, Any], last: Mapping[str, Any]) -> Outcome:
    """What lies between two rows of a log."""

    def shares(name: str) -> Shares:
        before, after = first.get(name, {}), last.get(name, {})
        return Shares(
            by_pair={p: (before[p][BOUND], after[p][BOUND]) for p in before if p in after}
        )

    return Outcome(own=shares("own"), generated=shares("pairs"))
