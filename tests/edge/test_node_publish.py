"""The publisher without a network: backoff, and what it makes of messages it did not expect."""

import pytest

from coeval_edge.publish import LONGEST_DELAY_S, SHORTEST_DELAY_S, backoff_s, parse_object


def test_the_wait_doubles_up_to_a_limit() -> None:
    waits = [backoff_s(k, uniform=0.5) for k in range(1, 12)]
    assert waits[0] == SHORTEST_DELAY_S
    assert waits[1] == 2 * waits[0]
    assert waits == sorted(waits)
    assert waits[-1] == LONGEST_DELAY_S
    assert backoff_s(10**6, uniform=0.5) == LONGEST_DELAY_S


def test_nodes_do_not_come_back_all_at_once() -> None:
    waits = {backoff_s(3, uniform=u / 10) for u in range(11)}
    assert min(waits) == 0.5 * backoff_s(3, uniform=0.5)
    assert max(waits) == 1.5 * backoff_s(3, uniform=0.5)


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[1]", b"3", b"{", b"[" * 10_000])
def test_what_is_no_object_says_nothing(payload: bytes) -> None:
    assert parse_object(payload) == {}
