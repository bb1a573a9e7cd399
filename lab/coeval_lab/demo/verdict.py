"""The demo's verdict: what the aggregator last said of every clock, against the truth."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from coeval.interval import NORMAL_95
from coeval_lab.demo.clocks import TrueClocks
from coeval_lab.demo.watch import Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeVerdict:
    """One node's estimate and truth. Offsets are node − reference; positive: the node is fast."""

    node: str
    """The node."""
    status: str
    """What the aggregator last said: `locked`, `unsure`, `unrelated`, or `silent`: nothing."""
    offset_s: float | None
    """Estimated offset at the last instant of the timeline; None: not stated."""
    ci95_s: float | None
    """Half-width of its 95% interval."""
    true_offset_s: float | None
    """The true one at that instant; None: the recording does not know."""
    error_s: float | None
    """Estimated − true."""
    allowed_s: float | None
    """Half-width of the interval of the error: the estimate's and the truth's own, combined."""
    skew_ppm: float | None
    """Estimated skew."""
    skew_ci95_ppm: float | None
    """Half-width of its 95% interval."""
    true_skew_ppm: float | None
    """The true one."""
    evidence: tuple[str, ...]
    """Kinds of evidence used."""
    locked_after_s: float | None
    """Seconds of the recording until it first locked; None: never."""

    @property
    def has_passed(self) -> bool:
        """Locked, and the truth, where it is known, lies within the interval."""
        if self.status != "locked" or self.offset_s is None:
            return False
        if self.error_s is None or self.allowed_s is None:
            return True
        return abs(self.error_s) <= self.allowed_s


def judge(
    node: str, statements: Sequence[Statement], clocks: TrueClocks, *, first_t_ref_ns: int
) -> NodeVerdict:
    """Judge what was last said of a node.

    Args:
        node: a node other than the reference.
        statements: all that was said of it, in order.
        clocks: the true clocks.
        first_t_ref_ns: where the timeline begins.
    """
    last = statements[-1] if statements else None
    true = clocks.at(node, last.t_ref_ns) if last else None
    offset_s = last.offset_s if last else None
    error_s = None if true is None or offset_s is None else offset_s - true.offset_s
    allowed_s = None
    if last is not None and last.ci95_s is not None:
        allowed_s = math.hypot(last.ci95_s, NORMAL_95 * clocks.sigma_s)
    locks = [said.t_ref_ns for said in statements if said.status == "locked"]
    return NodeVerdict(
        node=node,
        status=last.status if last else "silent",
        offset_s=offset_s,
        ci95_s=last.ci95_s if last else None,
        true_offset_s=true.offset_s if true else None,
        error_s=error_s,
        allowed_s=allowed_s,
        skew_ppm=last.skew_ppm if last else None,
        skew_ci95_ppm=last.skew_ci95_ppm if last else None,
        true_skew_ppm=true.skew_ppm if true else None,
        evidence=last.evidence if last else (),
        locked_after_s=(locks[0] - first_t_ref_ns) * 1e-9 if locks else None,
    )


def verdict_to_json(verdict: NodeVerdict) -> dict[str, object]:
    """A verdict as JSON; what is unknown is null."""
    rounded: Mapping[str, object] = {
        key: round(value, 7) if isinstance(value, float) else value
        for key, value in asdict(verdict).items()
        if key != "node"
    }
    return dict(rounded) | {"passed": verdict.has_passed}


def say(verdict: NodeVerdict) -> str:
    """A verdict as a line for people."""
    mark = "PASS" if verdict.has_passed else "FAIL"
    if verdict.status != "locked" or verdict.offset_s is None:
        return f"{mark}  {verdict.node}: {verdict.status}, no offset stated"
    line = f"{mark}  {verdict.node}: offset {verdict.offset_s:+.4f} s"
    if verdict.true_offset_s is not None and verdict.error_s is not None:
        line += f", truth {verdict.true_offset_s:+.4f} s, error {verdict.error_s * 1e3:+.1f} ms"
        if verdict.allowed_s is not None:
            line += f" of ±{verdict.allowed_s * 1e3:.1f} ms allowed"
    else:
        line += ", truth unknown"
    if verdict.skew_ppm is not None and verdict.skew_ci95_ppm is not None:
        line += f"; skew {verdict.skew_ppm:+.0f} ± {verdict.skew_ci95_ppm:.0f} ppm"
        if verdict.true_skew_ppm is not None:
            line += f", truth {verdict.true_skew_ppm:+.0f}"
    return line
