"""What runs an encoder: one of onnxruntime's execution providers, chosen by trying.

An encoder is small: one window takes a third of a millisecond on one core, and a GPU may take
longer to be asked than to answer. So `auto` tries what is there and takes the fastest that answers
its golden vectors. What is passed over is told with the reason.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

ProviderName = Literal["auto", "cpu", "xnnpack", "acl", "cuda", "tensorrt"]

CPU = "CPUExecutionProvider"
PROVIDERS: dict[ProviderName, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "acl": "ACLExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "cpu": CPU,
}
"""onnxruntime's names of those that may be asked for."""
TRIED = ("CUDAExecutionProvider", "ACLExecutionProvider", "XnnpackExecutionProvider", CPU)
"""What `auto` tries where it is there. TensorRT is left to who asks for it: it builds an engine an
encoder at every start, for a minute or so."""
OPTIONS: dict[str, dict[str, str]] = {
    "CUDAExecutionProvider": {"use_tf32": "0"},
    "TensorrtExecutionProvider": {"trt_fp16_enable": "0"},
}
NUM_TIMED = 5
"""Runs of which the shortest counts."""

Session = TypeVar("Session")


class CannotRun(Exception):
    """Why a provider does not run an encoder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen(Generic[Session]):
    """A provider and the session that runs on it."""

    provider: str
    """onnxruntime's name."""
    session: Session
    """The open session."""
    why: str
    """Why it was chosen."""
    passed_over: tuple[str, ...]
    """`NAME: reason` of those that were not."""


def choose_provider(
    asked: ProviderName,
    available: Sequence[str],
    *,
    open_on: Callable[[str], Session],
    run_once: Callable[[Session], object],
    now_s: Callable[[], float] = time.perf_counter,
) -> Chosen[Session]:
    """Open an encoder on the provider that is asked for, or on the fastest that is there.

    Args:
        asked: `auto`, or a name; where that one fails the CPU is taken, with the reason.
        available: what onnxruntime offers here.
        open_on: opens a session on a provider and checks its answers; raises CannotRun.
        run_once: runs one window, to be timed.
        now_s: a clock.

    Raises:
        CannotRun: not even the CPU runs it.
    """
    passed_over: list[str] = []
    if asked == "auto":
        wanted = [name for name in TRIED if name in available]
    else:
        wanted = [PROVIDERS[asked]]
        if wanted[0] not in available:
            passed_over.append(
                f"{wanted[0]}: this onnxruntime has none, it has {', '.join(available)}"
            )
            wanted = []
    opened: list[tuple[str, Session]] = []
    for name in wanted:
        if name == CPU:
            continue  # last, so that its own failure is the one that is told
        try:
            opened.append((name, open_on(name)))
        except CannotRun as exc:
            passed_over.append(f"{name}: {exc}")
    if asked != "auto" and opened:
        name, session = opened[0]
        return Chosen(provider=name, session=session, why="asked for", passed_over=())
    opened.append((CPU, open_on(CPU)))
    if len(opened) == 1:
        why = "asked for" if asked == "cpu" else "nothing else runs here"
        session = opened[0][1]
        return Chosen(provider=CPU, session=session, why=why, passed_over=tuple(passed_over))
    taken_s = {name: _shortest_s(session, run_once, now_s) for name, session in opened}
    best, session = min(opened, key=lambda pair: taken_s[pair[0]])
    passed_over += [
        f"{name}: {taken_s[name] * 1e6:.0f} µs a window" for name, _ in opened if name != best
    ]
    return Chosen(
        provider=best,
        session=session,
        why=f"the fastest, {taken_s[best] * 1e6:.0f} µs a window",
        passed_over=tuple(passed_over),
    )


def _shortest_s(
    session: Session, run_once: Callable[[Session], object], now_s: Callable[[], float]
) -> float:
    run_once(session)
    shortest_s = float("inf")
    for _ in range(NUM_TIMED):
        began_s = now_s()
        run_once(session)
        shortest_s = min(shortest_s, now_s() - began_s)
    return shortest_s
