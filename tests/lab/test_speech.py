"""Sound and lines as speech evidence takes them."""

import numpy as np

from coeval.samples import AudioBlock, TextLine
from coeval.speech import STEP_NS
from coeval.time import NodeNs
from coeval_lab.speech import speech_activity, text_spans
from coeval_training.scenes import generate_scene

S = 1_000_000_000


def burst(
    start_ns: int, *, seconds: float = 4.0, loud_s: tuple[float, float] = (1.0, 2.0)
) -> AudioBlock:
    """Faint noise that is loud for a while."""
    rng = np.random.default_rng(1)
    t_s = np.arange(round(16_000 * seconds)) / 16_000
    level = np.where((t_s >= loud_s[0]) & (t_s < loud_s[1]), 0.3, 0.001)
    pcm = (level * rng.standard_normal(len(t_s))).astype(np.float32)
    return AudioBlock(t_node_ns=NodeNs(start_ns), rate_hz=16_000, pcm=pcm)


def test_loud_stretches_lie_where_the_node_clock_says() -> None:
    activity = speech_activity([burst(10 * S)])
    assert activity is not None
    assert activity.first == 10 * S // STEP_NS
    loud = activity.first + np.flatnonzero(activity.values > 0.25)
    assert abs(loud[0] * STEP_NS - 11 * S) <= 2 * STEP_NS
    assert abs(loud[-1] * STEP_NS - 12 * S) <= 2 * STEP_NS


def test_a_gap_between_blocks_is_no_speech() -> None:
    activity = speech_activity([burst(0), burst(20 * S)])
    assert activity is not None
    begin, end = (t_s * S // STEP_NS - activity.first for t_s in (5, 19))
    assert not activity.values[begin:end].any()
    again = activity.first + np.flatnonzero(activity.values > 0.25)[-1]
    assert abs(again * STEP_NS - 22 * S) <= 2 * STEP_NS


def test_a_sound_under_a_second_says_nothing() -> None:
    assert speech_activity([burst(0, seconds=0.5)]) is None
    assert speech_activity([]) is None


def test_speech_is_told_from_pauses() -> None:
    scene = generate_scene(900_003, duration_s=30, kind="people")
    blocks = [block for block in scene.render("audio") if isinstance(block, AudioBlock)]
    activity = speech_activity(blocks)
    assert activity is not None
    t_s = (activity.first + np.arange(len(activity.values)) + 0.5) * STEP_NS / S
    said = np.zeros(len(t_s), bool)
    for sentence in scene.latent.sentences:
        said |= (t_s > sentence.t_s) & (t_s < sentence.t_end_s)
    assert said.any()
    assert activity.values[said].mean() > activity.values[~said].mean() + 0.2


def test_lines_without_an_end_last_as_long_as_they_take_to_say() -> None:
    spans = text_spans(
        [
            TextLine(t_node_ns=NodeNs(S), t_end_node_ns=NodeNs(3 * S), text="known"),
            TextLine(t_node_ns=NodeNs(5 * S), t_end_node_ns=None, text="x" * 30),
            TextLine(t_node_ns=NodeNs(9 * S), t_end_node_ns=NodeNs(8 * S), text=""),
        ]
    )
    assert spans is not None
    assert spans.ends_ns.tolist() == [3 * S, 7 * S, 9 * S + S // 10]
    assert text_spans([]) is None
