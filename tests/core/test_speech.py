"""Speech against lines of text: the right lag, its sign, and no answer where lines do not tell."""

import math
from dataclasses import replace

import numpy as np

from coeval.align import align_tracks
from coeval.compare import speech_surfaces
from coeval.hops import EMBEDDING_DIM, HOP_NS, Hops
from coeval.line import LagGrid, fit_peak, search_lines
from coeval.segments import cut_spans, cut_speech
from coeval.speech import STEP_NS, SpeechActivity, TextSpans, covered, is_ceaseless, speech_surface
from coeval.time import NodeNs
from coeval.tracks import StreamTrack

S = 1_000_000_000
GRID = LagGrid(lowest_ns=-20 * S, step_ns=STEP_NS, num_lags=1601)


def dialogue(seed: int, *, seconds: float = 60.0) -> TextSpans:
    """Lines of 0.5 to 3 s with pauses of 0.2 to 3 s between them."""
    rng = np.random.default_rng(seed)
    edges = np.cumsum(np.ravel(rng.uniform((0.2, 0.5), (3.0, 3.0), (100, 2))))
    begins, ends = edges[::2], edges[1::2]
    kept = ends < seconds
    return TextSpans(
        begins_ns=np.round(begins[kept] * S).astype(np.int64),
        ends_ns=np.round(ends[kept] * S).astype(np.int64),
    )


def spoken(spans: TextSpans, seed: int, *, stray_s: float = 0.1) -> SpeechActivity:
    """The sound of a dialogue, each line's edges off by some 0.1 s, in noise."""
    rng = np.random.default_rng(seed)
    strays = np.round(rng.normal(0, stray_s * S, (2, len(spans.begins_ns)))).astype(np.int64)
    begins = np.maximum(spans.begins_ns + strays[0], 0)
    said = TextSpans(
        begins_ns=begins, ends_ns=np.maximum(spans.ends_ns + strays[1], begins + S // 5)
    )
    first, values = covered(said)
    noisy = values + 0.3 * rng.standard_normal(len(values))
    return SpeechActivity(first=first, values=noisy.astype(np.float32))


def moved(spans: TextSpans, offset_ns: int) -> TextSpans:
    """The lines as a clock that is fast by `offset_ns` stamps them."""
    return TextSpans(begins_ns=spans.begins_ns + offset_ns, ends_ns=spans.ends_ns + offset_ns)


def telling_nothing(seed: int) -> list[Hops]:
    """Embeddings of a minute that no other stream shares."""
    rows = np.random.default_rng(seed).standard_normal((60 * S // HOP_NS, EMBEDDING_DIM))
    return [Hops(t0_node_ns=NodeNs(0), rows=rows.astype(np.float32))]


def test_lines_of_a_fast_clock_lag_behind_the_sound() -> None:
    spans = dialogue(1)
    surface = speech_surface(spoken(spans, 2), moved(spans, 7 * S), grid=GRID, is_text_first=False)
    assert surface is not None
    best_ns = GRID.at(int(surface.scores.sum(axis=0).argmax()))
    assert abs(best_ns - 7 * S) < 0.15 * S


def test_text_as_the_first_stream_turns_the_sign() -> None:
    spans = dialogue(1)
    surface = speech_surface(spoken(spans, 2), moved(spans, 7 * S), grid=GRID, is_text_first=True)
    assert surface is not None
    best_ns = GRID.at(int(surface.scores.sum(axis=0).argmax()))
    assert abs(best_ns + 7 * S) < 0.15 * S


def test_long_recordings_are_scored_in_blocks_that_show_a_skew() -> None:
    spans = dialogue(3, seconds=290.0)
    skewed = TextSpans(
        begins_ns=(spans.begins_ns * (1 + 400e-6)).astype(np.int64),
        ends_ns=(spans.ends_ns * (1 + 400e-6)).astype(np.int64),
    )
    sound = spoken(spans, 4, stray_s=0.02)
    surface = speech_surface(sound, skewed, grid=GRID, is_text_first=False)
    assert surface is not None
    assert len(surface.mids_ns) > 2
    fit = fit_peak(search_lines([surface], GRID, t_mid_ns=145.0 * S, span_s=290.0), GRID)
    assert fit is not None
    assert abs(fit.skew_ppm - 400) < 200


def test_other_lines_score_far_less_than_the_right_ones() -> None:
    spans = dialogue(1)
    right, wrong = (
        speech_surface(spoken(spans, 2), text, grid=GRID, is_text_first=False)
        for text in (spans, dialogue(9))
    )
    assert right is not None
    assert wrong is not None
    assert wrong.scores.sum(axis=0).max() < 0.5 * right.scores.sum(axis=0).max()


def test_one_long_pause_in_each_is_no_evidence() -> None:
    words = np.arange(0, 60 * S, S // 2)
    words = words[(words < 21 * S) | (words > 26 * S)]
    spans = TextSpans(begins_ns=words, ends_ns=words + S // 2)
    first, values = covered(moved(spans, -5 * S))
    noisy = values + 0.3 * np.random.default_rng(1).standard_normal(len(values))
    sound = SpeechActivity(first=first, values=noisy.astype(np.float32))
    surface = speech_surface(sound, spans, grid=GRID, is_text_first=False)
    assert surface is None or surface.scores.sum(axis=0).max() < 8


def test_sound_without_change_and_too_few_lines_say_nothing() -> None:
    spans = dialogue(1)
    flat = SpeechActivity(first=0, values=np.ones(2400, np.float32))
    few = TextSpans(begins_ns=spans.begins_ns[:2], ends_ns=spans.ends_ns[:2])
    assert speech_surface(flat, spans, grid=GRID, is_text_first=False) is None
    assert speech_surface(spoken(spans, 2), few, grid=GRID, is_text_first=False) is None


def test_lines_that_overlap_count_once() -> None:
    text = TextSpans(begins_ns=np.array([0, S // 2]), ends_ns=np.array([S, 2 * S]))
    first, share = covered(text)
    assert first == 0
    np.testing.assert_array_equal(share, np.ones(2 * S // STEP_NS))


def test_nodes_whose_embeddings_do_not_tell_are_placed_by_speech() -> None:
    spans = dialogue(1)
    mic = StreamTrack(
        node="mic",
        stream="a",
        modality="audio",
        embeddings=telling_nothing(1),
        speech=spoken(spans, 2),
    )
    subtitles = StreamTrack(
        node="pc",
        stream="t",
        modality="text",
        embeddings=telling_nothing(2),
        spans=moved(spans, 5 * S),
    )
    found = align_tracks([mic, subtitles], reference="mic").nodes["pc"]
    assert found.status == "locked"
    assert found.line is not None
    assert abs(found.line.offset_ns - 5 * S) < 0.2 * S
    assert found.ci95_ns is not None
    assert found.ci95_ns > 0.08 * S, "lines made by hand are no better than that"


def test_verses_that_repeat_tell_no_more_than_chance_of_which_is_sung() -> None:
    verse = dialogue(1, seconds=15.0)
    starts_ns = 15 * S * np.arange(8)[:, None]
    song = TextSpans(
        begins_ns=np.ravel(verse.begins_ns + starts_ns), ends_ns=np.ravel(verse.ends_ns + starts_ns)
    )
    sung = spoken(song, 2)
    raw = speech_surface(sung, song, grid=GRID, is_text_first=False)
    assert raw is not None
    another_verse = slice((20 + 14) * S // STEP_NS, None)
    assert raw.scores.sum(axis=0)[another_verse].max() > 20.0
    mic = StreamTrack(node="mic", stream="a", modality="audio", embeddings=(), speech=sung)
    lyrics = StreamTrack(node="pc", stream="t", modality="text", embeddings=(), spans=song)
    (told,) = speech_surfaces([mic], [lyrics], GRID, np.ones(GRID.num_lags, np.float32))
    assert told.scores.sum(axis=0)[another_verse].max() < math.log(GRID.num_lags) + 1e-3


def test_speech_and_lines_are_cut_where_a_clock_steps() -> None:
    before, after = cut_speech(
        SpeechActivity(first=40, values=np.arange(80.0, dtype=np.float32)), 2 * S
    )
    assert before is not None
    assert after is not None
    assert (len(before.values), after.first, after.values[0]) == (40, 80, 40.0)
    spans = TextSpans(begins_ns=np.array([S, 3 * S]), ends_ns=np.array([2 * S, 4 * S]))
    early, late = cut_spans(spans, 2 * S)
    assert early is not None
    assert late is not None
    assert (early.begins_ns.tolist(), late.begins_ns.tolist()) == ([S], [3 * S])


def test_lines_without_a_pause_say_that_somebody_speaks_all_the_time() -> None:
    turns = TextSpans(
        begins_ns=np.array([0, 2 * S, 5 * S]), ends_ns=np.array([2 * S, 5 * S, 9 * S])
    )
    pause = TextSpans(
        begins_ns=np.array([0, 2 * S, 5 * S]), ends_ns=np.array([2 * S, 4 * S, 9 * S])
    )
    assert is_ceaseless(turns)
    assert not is_ceaseless(pause)
    assert not is_ceaseless(replace(turns, are_guessed=True))
    beats_ns = np.arange(0, 9 * S, S // 4)
    assert not is_ceaseless(TextSpans(begins_ns=beats_ns, ends_ns=beats_ns + S // 4))


def test_lines_without_a_pause_give_a_best_guess_that_claims_nothing() -> None:
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((1200, EMBEDDING_DIM)).astype(np.float32)
    edges_ns = np.arange(0, 61 * S, 4 * S)
    turns = TextSpans(begins_ns=edges_ns[:-1], ends_ns=edges_ns[1:])
    mic = StreamTrack(
        node="mic",
        stream="a",
        modality="audio",
        embeddings=[Hops(t0_node_ns=NodeNs(0), rows=rows)],
    )
    log = StreamTrack(
        node="pc",
        stream="t",
        modality="text",
        embeddings=[Hops(t0_node_ns=NodeNs(60 * HOP_NS), rows=rows)],
        spans=turns,
    )
    found = align_tracks([mic, log], reference="mic")
    (pair,) = found.pairs
    assert pair.fit is not None
    assert abs(pair.fit.lag_ns - 3 * S) < 0.01 * S
    assert not pair.accepted
    assert found.nodes["pc"].status == "unsure"
    paused = replace(log, spans=replace(turns, ends_ns=turns.ends_ns - S))
    assert align_tracks([mic, paused], reference="mic").nodes["pc"].status == "locked"
