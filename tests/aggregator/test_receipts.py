"""Acknowledgements go in the order in which messages came, and never to another connection."""

from hypothesis import given
from hypothesis import strategies as st

from coeval_aggregator.receipts import Receipts


@given(order=st.permutations(range(6)))
def test_whatever_is_durable_first_all_is_acknowledged_as_it_came(order: list[int]) -> None:
    receipts = Receipts()
    acks = [receipts.note(mid) for mid in (3, 4, 3, 4, 5, 3)]
    settled = [mid for k in order for mid in receipts.settle([acks[k]])]
    assert settled == [3, 4, 3, 4, 5, 3]


def test_what_comes_after_a_message_that_was_held_back_is_not_acknowledged() -> None:
    receipts = Receipts()
    first, _, third = [receipts.note(mid) for mid in (1, 2, 3)]
    assert receipts.settle([third, first]) == [1]


def test_what_came_on_another_connection_is_not_acknowledged() -> None:
    receipts = Receipts()
    before = receipts.note(1)
    receipts.begin()
    after = receipts.note(1)
    assert receipts.settle([before]) == []
    assert receipts.settle([after, after]) == [1]
    assert receipts.settle([after]) == []
