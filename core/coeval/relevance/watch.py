"""A stream's relevance as it goes on: findings of its judge in, changes of state out."""

from dataclasses import dataclass
from typing import Literal

from coeval.relevance.judgement import Finding, Judge, Reason
from coeval.relevance.lines import LinesJudge
from coeval.relevance.picture import STILLS, VIDEO, PictureJudge
from coeval.relevance.readings import ReadingsJudge
from coeval.relevance.sound import SoundJudge
from coeval.samples import Modality, Sample

State = Literal["relevant", "irrelevant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relevance:
    """What a stream is at a moment."""

    state: State
    """Whether it carries anything."""
    reason: Reason | None
    """Why it does not; None where it does."""
    since_node_ns: int
    """Since when this is so: nothing new came after that."""
    t_node_ns: int
    """The moment at which it is known."""
    score: float
    """1: just now something came; 0: for so long nothing came that it carries nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A span of a stream in which it carried nothing."""

    start_node_ns: int
    """The last moment that said something."""
    end_node_ns: int
    """The moment that said something again, or the last one known."""
    reason: Reason
    """Why it carried nothing."""


def make_judge(modality: Modality) -> Judge:
    """A fresh judge of the modality."""
    match modality:
        case "video":
            return PictureJudge(VIDEO)
        case "image":
            return PictureJudge(STILLS)
        case "audio":
            return SoundJudge()
        case "metadata":
            return ReadingsJudge()
        case "text":
            return LinesJudge()


class RelevanceWatch:
    """Follows one stream; a plain object without I/O."""

    def __init__(self, modality: Modality) -> None:
        self.stretches: list[Stretch] = []
        """Spans that are over, in time order; `finish` adds one that is not."""
        self._judge = make_judge(modality)
        self._marked: tuple[int, Reason] | None = None
        """Begin and reason of the span that is going on; None: the stream is relevant."""
        self._quiet_since_ns: int | None = None
        self._since_ns = 0
        """Since when the state is what it is."""
        self._now: Relevance | None = None

    @property
    def now(self) -> Relevance | None:
        """What the stream is; None: no sample yet."""
        return self._now

    @property
    def is_relevant(self) -> bool:
        """Whether it carries anything, as far as is known."""
        return self._marked is None

    def push(self, sample: Sample) -> list[Relevance]:
        """Add a sample; the changes of state that it makes known, in time order."""
        return self._take(self._judge.push(sample))

    def advance(self, t_node_ns: int) -> list[Relevance]:
        """The changes that the mere passing of time makes known."""
        return self._take(self._judge.advance(t_node_ns))

    def finish(self) -> list[Stretch]:
        """All spans, with the one that was going on at the end."""
        if self._marked is not None and self._now is not None:
            self._close(self._now.t_node_ns)
        return self.stretches

    def _take(self, findings: list[Finding]) -> list[Relevance]:
        changes: list[Relevance] = []
        for finding in findings:
            if self._now is None:
                self._since_ns = finding.t_node_ns
            before = self._marked
            if finding.reason is None:
                self._quiet_since_ns = None
                if before is not None:
                    self._close(finding.t_node_ns)
                    self._since_ns = finding.t_node_ns
            else:
                if self._quiet_since_ns is None:
                    self._quiet_since_ns = finding.since_node_ns
                quiet_ns = finding.t_node_ns - self._quiet_since_ns
                if before is None and quiet_ns >= finding.limit_ns:
                    self._marked = (self._quiet_since_ns, finding.reason)
                    self._since_ns = self._quiet_since_ns
            self._now = self._state(finding)
            if (before is None) != (self._marked is None):
                changes.append(self._now)
        return changes

    def _state(self, finding: Finding) -> Relevance:
        score = 0.0
        if self._marked is None:
            quiet_since = self._quiet_since_ns
            quiet_ns = 0 if quiet_since is None else finding.t_node_ns - quiet_since
            score = 1.0 - min(quiet_ns / max(finding.limit_ns, 1), 1.0)
        return Relevance(
            state="relevant" if self._marked is None else "irrelevant",
            reason=None if self._marked is None else self._marked[1],
            since_node_ns=self._since_ns,
            t_node_ns=finding.t_node_ns,
            score=score,
        )

    def _close(self, end_ns: int) -> None:
        assert self._marked is not None
        start_ns, reason = self._marked
        self.stretches.append(Stretch(start_node_ns=start_ns, end_node_ns=end_ns, reason=reason))
        self._marked = None
