"""The choice of what runs an encoder, with a made-up list of providers, and the real CPU."""

import itertools
import logging
from collections.abc import Callable

import pytest

from coeval_edge.encoder import Encoder
from coeval_edge.providers import CPU, CannotRun, Chosen, ProviderName, choose_provider

CUDA, XNNPACK, TENSORRT = (f"{name}ExecutionProvider" for name in ("CUDA", "Xnnpack", "Tensorrt"))


def choose(
    asked: ProviderName,
    takes_s: dict[str, float],
    *,
    broken: tuple[str, ...] = (),
) -> Chosen[str]:
    """Choose among fake providers, each of which takes its time by a fake clock."""
    now = [0.0]

    def open_on(name: str) -> str:
        if name in broken:
            raise CannotRun("no such device")
        return name

    def run_once(session: str) -> None:
        now[0] += takes_s[session]

    return choose_provider(
        asked, list(takes_s), open_on=open_on, run_once=run_once, now_s=lambda: now[0]
    )


def test_the_fastest_that_runs_is_chosen_and_the_others_are_told_with_their_times() -> None:
    chosen = choose("auto", {CUDA: 0.002, XNNPACK: 0.0001, CPU: 0.0003})
    assert (chosen.provider, chosen.session) == (XNNPACK, XNNPACK)
    assert chosen.passed_over == (f"{CUDA}: 2000 µs a window", f"{CPU}: 300 µs a window")


def test_a_gpu_that_takes_longer_to_be_asked_than_the_cpu_to_answer_is_passed_over() -> None:
    assert choose("auto", {CUDA: 0.002, CPU: 0.0003}).provider == CPU


def test_one_that_fails_is_passed_over_with_its_reason() -> None:
    chosen = choose("auto", {CUDA: 0.0001, CPU: 0.0003}, broken=(CUDA,))
    assert chosen.provider == CPU
    assert chosen.passed_over == (f"{CUDA}: no such device",)
    assert chosen.why == "nothing else runs here"


def test_what_is_asked_for_is_taken_however_slow_it_is() -> None:
    assert choose("cuda", {CUDA: 9.0, CPU: 0.1}).provider == CUDA
    assert choose("cpu", {CUDA: 0.1, CPU: 9.0}).provider == CPU
    assert choose("tensorrt", {TENSORRT: 9.0, CPU: 0.1}).provider == TENSORRT


@pytest.mark.parametrize("broken", [(CUDA,), ()])
def test_without_what_is_asked_for_the_cpu_is_taken_and_the_reason_told(
    broken: tuple[str, ...],
) -> None:
    there = {CUDA: 0.1, CPU: 0.1} if broken else {CPU: 0.1}
    chosen = choose("cuda", there, broken=broken)
    assert chosen.provider == CPU
    reason = "no such device" if broken else "this onnxruntime has none, it has CPUExecution"
    assert reason in chosen.passed_over[0]


def test_engines_that_take_minutes_to_build_are_only_built_on_request() -> None:
    assert choose("auto", {TENSORRT: 0.00001, CPU: 0.1}).provider == CPU


def test_a_cpu_that_fails_is_the_end_of_it() -> None:
    for asked in ("auto", "cpu", "cuda"):
        with pytest.raises(CannotRun, match="no such device"):
            choose(asked, {CPU: 0.1}, broken=(CPU,))


def test_the_shortest_of_several_runs_counts_not_the_first() -> None:
    slow_at_first = itertools.chain([5.0, 4.0], itertools.repeat(0.0001))
    now = [0.0]

    def run_once(session: str) -> None:
        now[0] += next(slow_at_first) if session == XNNPACK else 0.0003

    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    chosen = choose_provider("auto", [XNNPACK, CPU], open_on=str, run_once=run_once, now_s=clock)
    assert chosen.provider == XNNPACK


def test_the_real_cpu_runs_a_shipped_encoder_and_the_choice_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        encoder = Encoder.load("text", provider="cpu")
    assert encoder.provider == CPU
    assert f"encoder={encoder.sha256[:12]} provider={CPU} why=asked for" in caplog.text


def test_a_gpu_that_is_not_there_is_told_as_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """True of this onnxruntime only where it has no CUDA."""
    encoder = Encoder.load("text", provider="tensorrt")
    if encoder.provider == TENSORRT:
        pytest.skip("this machine has TensorRT")
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert TENSORRT in warned[0].getMessage()
