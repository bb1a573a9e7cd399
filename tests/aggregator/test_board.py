"""What a subscriber makes of a session's messages, and how a terminal shows it."""

import json
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from coeval.hops import EMBEDDING_DIM, HOP_NS
from coeval.samples import FloatArray
from coeval.time import NodeNs
from coeval.topics import Topics
from coeval.wire import Block, encode_block
from coeval_aggregator.board import KEPT_EVENTS, MOST_ROWS, Board
from coeval_aggregator.board_screen import bars, screen, within

TOPICS = Topics(session="s")
CLOCK = {
    "node": "cam",
    "status": "locked",
    "offset_s": 3.217,
    "ci95_s": 0.0004,
    "skew_ppm": 40.0,
    "skew_ci95_ppm": 0.5,
    "evidence": ["content", "hardware"],
    "holdover_s": 2.0,
}


def shown(board: Board) -> str:
    console = Console(width=140, file=StringIO(), force_terminal=False)
    console.print(screen(board, title="s"))
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def block(rows: FloatArray) -> bytes:
    return encode_block(
        Block(
            boot_id=1,
            seq=0,
            t0_node_ns=NodeNs(0),
            hop_ns=HOP_NS,
            clock_node_ns=None,
            embeddings=rows.astype(np.float32),
        )
    )


def test_a_node_is_shown_with_offset_interval_skew_and_evidence() -> None:
    board = Board(TOPICS)
    board.take(TOPICS.clock("cam"), json.dumps(CLOCK).encode())
    text = shown(board)
    for part in ("locked", "+3.217000 ± 0.000400 s", "+40.00 ± 0.50 ppm", "content hardware"):
        assert part in text


def test_an_unknown_offset_is_a_dash_and_a_warning_and_never_zero() -> None:
    board = Board(TOPICS)
    board.take(TOPICS.clock("cam"), json.dumps(CLOCK | {"offset_s": None}).encode())
    board.take(TOPICS.descriptor("cam", "mic"), b'{"modality": "audio"}')
    assert "not known to be synchronised: cam" in shown(board)
    assert within(None, None, "s", 6) == "–"
    assert within(0.0, None, "s", 1) == "+0.0 ± ? s"


def test_activity_is_measured_from_blocks() -> None:
    board = Board(TOPICS)
    still, moving = np.zeros((10, EMBEDDING_DIM)), np.eye(10, EMBEDDING_DIM)
    for rows in (still, moving):
        assert board.take(TOPICS.block("cam", "mic"), block(rows)) is None
    assert bars(board.streams["cam", "mic"].moves) == "▁█"
    assert bars([0.0, 0.0]) == "▁▁"


def test_a_stream_that_carries_nothing_is_shown_with_the_reason() -> None:
    board = Board(TOPICS)
    told = {"modality": "audio", "relevance": {"state": "irrelevant", "reason": "silent"}}
    board.take(TOPICS.descriptor("cam", "mic"), json.dumps(told).encode())
    assert "carries nothing: silent" in shown(board)


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"\xff" * 60, b"[" * 5000, b"null"])
def test_what_is_no_message_of_ours_changes_nothing(payload: bytes) -> None:
    board = Board(TOPICS)
    for topic in (TOPICS.clock("cam"), TOPICS.block("cam", "mic"), "coeval/other/clock/cam"):
        assert board.take(topic, payload) is None
    assert board.nodes == {}
    shown(board)


def test_events_and_names_stay_bounded_and_cannot_move_the_cursor() -> None:
    board = Board(TOPICS)
    for k in range(MOST_ROWS + 50):
        board.take(TOPICS.clock(f"n{k}"), b'{"status": "\\u001b[2J", "offset_s": true}')
        board.take(TOPICS.event("gap", f"n{k}", "mic"), b'{"event": "gap"}')
    assert (len(board.nodes), len(board.events)) == (MOST_ROWS, KEPT_EVENTS)
    assert "\x1b" not in shown(board)
