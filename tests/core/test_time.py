from coeval.time import ClockLine, NodeNs, RefNs

FAST = ClockLine(t0_ref_ns=RefNs(10**9), offset_ns=2e9, skew_ppb=50_000.0)


def test_a_fast_node_reads_more_than_the_reference() -> None:
    assert FAST.to_node(RefNs(10**9)) == 3 * 10**9
    assert FAST.to_node(RefNs(11 * 10**9)) == 13 * 10**9 + 500_000


def test_to_ref_undoes_to_node() -> None:
    for t in (0, 10**9, 86_400 * 10**9):
        assert abs(FAST.to_ref(FAST.to_node(RefNs(t))) - t) <= 16


def test_offset_grows_with_positive_skew() -> None:
    assert FAST.offset_at(RefNs(2 * 10**9)) - FAST.offset_at(RefNs(10**9)) == 50_000.0


def test_a_node_reading_is_not_taken_for_a_reference_time() -> None:
    assert FAST.to_ref(NodeNs(3 * 10**9)) == 10**9
