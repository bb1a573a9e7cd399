"""Every clock of a session from all evidence: hardware, network and content in one estimate.

Each sample is a measurement of a difference of two states (`clock_filter`). Samples that disagree
are held back. Two in a row that agree with one another are a jump of the clock, unless another
source of the same clock says otherwise: then their own source has changed its mind, and its bias
is elsewhere. Sources that scatter more than they claim are believed less (`source_trust`). Sign:
offset = clock − reference; positive: the clock is fast.
"""

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from coeval.clock_filter import ClockFilter
from coeval.clock_findings import Finding, FindingKind, finding, is_leap_second
from coeval.clock_groups import LOOSE, ClockGroups
from coeval.clock_state import LARGEST_CI95_NS, ClockState
from coeval.evidence import UTC, Evidence, EvidenceKind
from coeval.innovation import innovation, is_usable, root_time
from coeval.interval import NORMAL_95, half_width_95
from coeval.jump_doubts import DOUBT_S, Doubt, JumpDoubts
from coeval.oscillators import UNKNOWN, OscillatorClass
from coeval.source_trust import STEP_NATS, SeenStep, SourceTrust
from coeval.time import NS_PER_S
from coeval.witnesses import (
    AGREE_SIGMAS,
    GATE_SIGMAS,
    JUMP_NS,
    WAIT_S,
    is_due,
    other_sources,
    stepping_clock,
    witness_of,
)

SAMPLES_OF_LINE = 4
"""So many samples held back that lie on a line mean that the clock's rate changed."""
HEAVY_SIGMAS = 2.5
"""One farther than this counts less (Huber)."""
SAMPLES_OF_SMALL_JUMP = 6
"""Samples that agree on a step of more than JUMP_NS are believed at the second, those that agree
on a smaller one only at the sixth: load moves stamps by microseconds."""
SAMPLES_OF_TIE = 4
"""Until so many samples about a clock were taken in, a step is a correction, not a jump."""
LATEST_S = 600.0
"""Samples that come later than this after their time are dropped, and those so far ahead."""
TELL_SCALE = 2.0
"""A source that scatters this much more than it claims is named."""
RECENT_S = 60.0
"""A kind of evidence is named while its last sample is no older."""


class SessionClocks:
    """All clocks of a session, tied to one another as evidence comes."""

    def __init__(
        self,
        *,
        reference: str,
        oscillators: Mapping[str, OscillatorClass] | None = None,
        default: OscillatorClass = UNKNOWN,
    ) -> None:
        """Begin without evidence.

        Args:
            reference: the clock that offsets are stated against.
            oscillators: class of each clock, where known.
            default: class of the others.
        """
        self.reference = reference
        self.counts: Counter[str] = Counter()
        """Samples by what became of them: used, held, late, ahead, distrusted, unusable."""
        self.sources: dict[str, SourceTrust] = {}
        """What was learnt of each source."""
        self.groups = ClockGroups(oscillators=oscillators, default=default)
        """The clocks that evidence ties together, with their states."""
        self._heard: dict[str, dict[EvidenceKind, float]] = {}
        self._num_used: Counter[str] = Counter()
        self._doubts = JumpDoubts()
        self._ahead_ns = -math.inf
        self._stepped_ns: dict[str, int] = {}

    def push(self, evidence: Evidence) -> list[Finding]:
        """Take in one sample; what it showed apart from the estimate.

        Samples of different sources may come in any order, up to LATEST_S after their time.
        """
        if not is_usable(evidence):
            self.counts["unusable"] += 1
            return []
        filter_ = self.groups.tie(evidence, reference=self.reference)
        clocks = frozenset((evidence.first, evidence.second))
        trust = self.sources.setdefault(evidence.source, SourceTrust(clocks=clocks))
        t_root_ns = root_time(filter_, evidence)
        ahead_s = (t_root_ns - filter_.t_root_ns) / NS_PER_S
        if abs(ahead_s) > LATEST_S and self._num_used[evidence.second] >= SAMPLES_OF_TIE:
            # One sample from far ahead is an error; two of the same time follow a long silence.
            is_again = abs(t_root_ns - self._ahead_ns) <= LATEST_S * NS_PER_S
            self._ahead_ns = t_root_ns
            if ahead_s < 0 or not is_again:
                self.counts["late" if ahead_s < 0 else "ahead"] += 1
                return []
        filter_.predict(t_root_ns)
        if trust.is_distrusted(t_root_ns):
            self.counts["distrusted"] += 1
            return []
        self._doubts.note(evidence)
        stepped_ns = [self._stepped_ns.get(c, t_root_ns) for c in (evidence.first, evidence.second)]
        if t_root_ns < max(stepped_ns):
            self.counts["before_step"] += 1
            return []
        refuted = self._doubts.refuted_by(evidence, filter_, sources=self.sources)
        if refuted is not None:
            return self._undo(filter_, refuted)
        return self._weigh(filter_, evidence, trust)

    def at(self, clock: str, t_ref_ns: int) -> ClockState | None:
        """State of a clock at an instant of the reference; None: nothing ties the two."""
        filter_ = self.groups.of(clock)
        if filter_ is None or self.reference not in filter_ or clock == self.reference:
            return None
        reference_ns = filter_.whole_offset(self.reference)
        since_ns = t_ref_ns - reference_ns - filter_.t_root_ns
        since_s = since_ns / NS_PER_S
        own_ns, own_ppb = filter_.offset(clock, since_s=since_s)
        ref_ns, ref_ppb = filter_.offset(self.reference, since_s=since_s)
        spread = filter_.spread(clock, against=self.reference, since_s=since_s)
        half_width = half_width_95(filter_.bounded_shares(clock, against=self.reference))
        doubt_ns = self._doubt_ns(clock)
        heard = self._heard.get(clock, {})
        now_ns = filter_.t_root_ns + since_ns
        last_ns = max(heard.values(), default=float(filter_.t_root_ns))
        return ClockState(
            offset_ns=filter_.bases[clock] - filter_.bases[self.reference] + round(own_ns - ref_ns),
            skew_ppb=own_ppb - ref_ppb,
            ci95_ns=half_width * math.sqrt(spread[0, 0]) + doubt_ns,
            skew_ci95_ppb=NORMAL_95 * math.sqrt(spread[1, 1]),
            covariance=spread + np.diag([(doubt_ns / NORMAL_95) ** 2, 0.0]),
            kinds=tuple(k for k, t in sorted(heard.items()) if now_ns - t < RECENT_S * NS_PER_S),
            holdover_s=max(0.0, (now_ns - last_ns) / NS_PER_S),
        )

    def difference(self, first: str, second: str) -> tuple[int, float] | None:
        """Offset of one clock against another at the latest instant (ns), and its 95% half-width.

        Returns:
            Second − first, positive: the second is fast; None: nothing ties the two.
        """
        filter_ = self.groups.of(first)
        if filter_ is None or second not in filter_:
            return None
        half_width = half_width_95(filter_.bounded_shares(second, against=first))
        sigma_ns = math.sqrt(filter_.spread(second, against=first)[0, 0])
        ci95_ns = half_width * sigma_ns
        return filter_.whole_offset(second) - filter_.whole_offset(first), ci95_ns

    def forget(self, clock: str) -> None:
        """A clock started anew: nothing that was known of it holds."""
        self._doubts.forget(clock)
        self._heard.pop(clock, None)
        self._num_used.pop(clock, None)
        self._stepped_ns.pop(clock, None)
        filter_ = self.groups.of(clock)
        if filter_ is None:
            return
        for name in [n for n, trust in self.sources.items() if clock in trust.clocks]:
            del self.sources[name]
            if name in filter_.bias_index:
                filter_.remove_bias(name)
        if filter_.index:
            filter_.remove_clock(clock)
        self.groups.remove_if_empty(filter_)

    def _doubt_ns(self, clock: str) -> float:
        """How far a clock may be off because it is not decided yet whether it stepped.

        While a jump may still turn out to be one, or to be none, both answers are stated.
        """
        told = self._doubts.sizes_ns(clock)
        waiting = [
            abs(trust.held[-1][1]) + NORMAL_95 * trust.scale * trust.held[-1][0].sigma_ns
            for trust in self.sources.values()
            if clock in trust.clocks and len(trust.held) >= 2
        ]
        hinted = [
            abs(seen.size_ns) + NORMAL_95 * seen.sigma_ns
            for trust in self.sources.values()
            if clock in trust.clocks and (seen := self._hint(trust)) is not None
        ]
        return max((*told, *waiting, *hinted), default=0.0)

    def _hint(self, trust: SourceTrust) -> SeenStep | None:
        """A step that the last samples of a source, be it one, may have seen, and no other denies.

        One sample that is off by more than a clock may be to be used is more likely a wrong match.
        """
        seen = trust.seen_step(least_ns=JUMP_NS, least_num=1)
        if seen is None or seen.sigmas < GATE_SIGMAS:
            return None
        last_ns = trust.recent[-1][1]
        is_denied = abs(last_ns - seen.size_ns) > abs(last_ns)
        if is_denied or abs(seen.size_ns) > LARGEST_CI95_NS:
            return None
        since_ns = trust.recent[-seen.num][0].t_second_ns
        filter_ = self.groups.of(trust.recent[-1][0].second)
        if filter_ is None:
            return None
        since_ns -= filter_.whole_offset(trust.recent[-1][0].second)
        others = other_sources(
            self.sources, trust.recent[-1][0], size_ns=seen.size_ns, t_root_ns=filter_.t_root_ns
        )
        return None if any(other.accepted_ns > since_ns for other in others) else seen

    def _weigh(self, filter_: ClockFilter, evidence: Evidence, trust: SourceTrust) -> list[Finding]:
        """Take a sample in, or hold it back."""
        if evidence.bias_sigma_ns > 0:
            filter_.add_bias(
                evidence.source, evidence.bias_sigma_ns, is_bounded=evidence.is_bias_bounded
            )
        seen = innovation(filter_, evidence, scale=trust.scale)
        before = trust.scale
        trust.note(seen.sigmas)
        findings = []
        if trust.scale >= TELL_SCALE > before:
            findings.append(finding("source_wide", evidence, scale=trust.scale))
        trust.recent.append((evidence, seen.miss_ns, seen.variance_ns2))
        if seen.sigmas > GATE_SIGMAS:
            self.counts["held"] += 1
            held = self._hold(filter_, evidence, trust, seen.miss_ns)
            return findings + (held or self._look_for_step(filter_, trust))
        self.counts["used"] += 1
        heaviness = max(1.0, seen.sigmas / HEAVY_SIGMAS)
        filter_.update(seen.row, seen.miss_ns, variance=seen.noise_ns2 * heaviness)
        trust.held.clear()
        trust.accepted_ns = max(trust.accepted_ns, root_time(filter_, evidence))
        trust.sigma_ns = math.hypot(trust.scale * evidence.sigma_ns, evidence.bias_sigma_ns)
        for clock in (evidence.first, evidence.second):
            self._heard.setdefault(clock, {})[evidence.kind] = filter_.t_root_ns
            self._num_used[clock] += 1
        return findings + self._look_for_step(filter_, trust)

    def _look_for_step(self, filter_: ClockFilter, trust: SourceTrust) -> list[Finding]:
        """See whether the latest samples of a source, each hardly odd, together show a step."""
        seen = trust.seen_step(least_ns=JUMP_NS)
        if seen is None or seen.nats < STEP_NATS:
            return []
        samples = [sample for sample, _, _ in list(trust.recent)[-seen.num :]]
        if any(self._num_used[clock] < SAMPLES_OF_TIE for clock in trust.clocks):
            return []
        return self._decide_step(filter_, samples, trust, seen.size_ns)

    def _hold(
        self, filter_: ClockFilter, evidence: Evidence, trust: SourceTrust, miss_ns: float
    ) -> list[Finding]:
        """Hold a sample back, and see whether those held back mean a step."""
        trust.held.append((evidence, miss_ns))
        tolerance_ns = AGREE_SIGMAS * trust.scale * evidence.sigma_ns
        witness = witness_of(self.sources, evidence, miss_ns, tolerance_ns=tolerance_ns)
        if witness is not None:
            # The sharper of the two says by how much.
            (sharp, size_ns), (other, _) = sorted(
                (witness.held[-1], (evidence, miss_ns)), key=lambda held: held[0].sigma_ns
            )
            witness.held.clear()
            trust.held.clear()
            return self._clock_stepped(filter_, [sharp, other], size_ns, is_shared=False)
        num = num_agreeing([miss for _, miss in trust.held], tolerance_ns)
        size_ns = sum(miss for _, miss in trust.held[-num:]) / num
        if num < (2 if abs(size_ns) > JUMP_NS else SAMPLES_OF_SMALL_JUMP):
            return self._change_rate(filter_, trust, tolerance_ns)
        held = [sample for sample, _ in trust.held[-num:]]
        return self._decide_step(filter_, held, trust, size_ns)

    def _decide_step(
        self, filter_: ClockFilter, held: Sequence[Evidence], trust: SourceTrust, size_ns: float
    ) -> list[Finding]:
        """A source shows a step: of the clock, or its own, or that is not known yet."""
        if is_leap_second(held[-1], size_ns):
            # Counted as POSIX does, UTC shows a second twice; no node's clock has moved.
            filter_.step(UTC, -size_ns, sigma_ns=LOOSE * held[-1].sigma_ns)
            trust.held.clear()
            return [finding("leap_second", held[-1], clock=UTC, size_ns=-size_ns)]
        onset_ns = root_time(filter_, held[0])
        others = other_sources(self.sources, held[-1], size_ns=size_ns, t_root_ns=filter_.t_root_ns)
        if any(other.accepted_ns > onset_ns for other in others):
            trust.held.clear()
            return self._source_stepped(filter_, held, trust, size_ns)
        waited_s = (filter_.t_root_ns - onset_ns) / NS_PER_S
        if waited_s < WAIT_S and any(is_due(other, onset_ns) for other in others):
            return []
        trust.held.clear()
        is_shared = any(onset_ns - o.accepted_ns < DOUBT_S * NS_PER_S for o in others)
        return self._clock_stepped(filter_, held, size_ns, is_shared=is_shared)

    def _change_rate(
        self, filter_: ClockFilter, trust: SourceTrust, tolerance_ns: float
    ) -> list[Finding]:
        """Where the samples held back lie on a line, the clock's rate is another than thought."""
        del trust.held[:-SAMPLES_OF_SMALL_JUMP]
        last = trust.held[-SAMPLES_OF_LINE:]
        if len(last) < SAMPLES_OF_LINE:
            return []
        since_s = [(s.t_second_ns - last[0][0].t_second_ns) / NS_PER_S for s, _ in last]
        if min(b - a for a, b in itertools.pairwise(since_s)) <= 0:
            return []
        rate_ppb = (last[-1][1] - last[0][1]) / since_s[-1]
        off_ns = [
            miss - last[0][1] - rate_ppb * t for (_, miss), t in zip(last, since_s, strict=True)
        ]
        if max(map(abs, off_ns)) > tolerance_ns:
            return []
        held = [sample for sample, _ in last]
        onset_ns = root_time(filter_, held[0])
        others = other_sources(
            self.sources, held[0], size_ns=last[-1][1], t_root_ns=filter_.t_root_ns
        )
        if any(other.accepted_ns > onset_ns for other in others):
            trust.held.clear()
            return self._source_stepped(filter_, held, trust, last[-1][1])
        clock = stepping_clock(self.sources, held[0])
        sign = 1.0 if clock == held[0].second else -1.0
        sigma_ns = LOOSE * trust.scale * last[-1][0].sigma_ns
        filter_.step(clock, sign * last[-1][1], sigma_ns=sigma_ns, rate_ppb=3.0 * abs(rate_ppb))
        self.counts["rate_steps"] += 1
        trust.held.clear()
        findings = []
        for sample in held:
            findings += self._weigh(filter_, sample, trust)
        return findings

    def _source_stepped(
        self, filter_: ClockFilter, held: Sequence[Evidence], trust: SourceTrust, size_ns: float
    ) -> list[Finding]:
        """The source changed its mind: its bias is elsewhere, the clock is not."""
        last = held[-1]
        trust.step(filter_.t_root_ns)
        kind: FindingKind = "source_stepped"
        if trust.is_distrusted(filter_.t_root_ns):
            kind = "source_distrusted"
        else:
            filter_.add_bias(last.source, max(last.bias_sigma_ns, last.sigma_ns))
            sigma_ns = LOOSE * trust.scale * last.sigma_ns
            filter_.step_bias(last.source, size_ns, sigma_ns=sigma_ns)
            for sample in held:
                self._weigh(filter_, sample, trust)
        return [finding(kind, last, size_ns=size_ns)]

    def _clock_stepped(
        self,
        filter_: ClockFilter,
        held: Sequence[Evidence],
        size_ns: float,
        *,
        is_shared: bool,
    ) -> list[Finding]:
        """The clock stepped: a new segment begins, unless another source says otherwise soon."""
        onset = held[0]
        clock = stepping_clock(self.sources, onset)
        size_ns = size_ns if clock == onset.second else -size_ns
        is_told = self._num_used[clock] >= SAMPLES_OF_TIE
        doubt = Doubt(
            clock=clock,
            source=onset.source,
            size_ns=size_ns,
            t_root_ns=filter_.t_root_ns,
            without=filter_.copy(),
            since=list(held),
            is_shared=is_shared,
        )
        scale = self.sources[onset.source].scale
        self._stepped_ns[clock] = min(root_time(filter_, sample) for sample in held)
        filter_.step(clock, size_ns, sigma_ns=LOOSE * scale * onset.sigma_ns)
        for trust in self.sources.values():
            if clock in trust.clocks:
                trust.recent.clear()
        for sample in held:
            self._weigh(filter_, sample, self.sources[sample.source])
        if not is_told:
            return []
        self._doubts.add(doubt)
        return [finding("jump", onset, clock=clock, size_ns=size_ns)]

    def _undo(self, filter_: ClockFilter, doubt: Doubt) -> list[Finding]:
        """A jump was none: go on from the states without it, and believe its source less."""
        self.groups.replace(filter_, doubt.without)
        self._stepped_ns.pop(doubt.clock, None)
        for other in self.sources.values():
            other.recent.clear()
        trust = self.sources[doubt.source]
        shown = [sample for sample in doubt.since if sample.source == doubt.source]
        size_ns = doubt.size_ns if doubt.clock == shown[0].second else -doubt.size_ns
        findings = [
            finding("no_jump", shown[0], clock=doubt.clock, size_ns=doubt.size_ns),
            *self._source_stepped(doubt.without, shown[:2], trust, size_ns),
        ]
        for sample in doubt.since:
            other = self.sources[sample.source]
            if not any(sample is s for s in shown[:2]) and not other.is_distrusted(
                doubt.without.t_root_ns
            ):
                self._weigh(doubt.without, sample, other)
        return findings


def num_agreeing(misses: Sequence[float], tolerance_ns: float) -> int:
    """How many of the latest samples differ from the last one by no more than the tolerance."""
    num = 0
    for miss in reversed(misses):
        if abs(miss - misses[-1]) > tolerance_ns:
            break
        num += 1
    return num
