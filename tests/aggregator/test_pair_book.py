"""Two pairs a node are compared: those that tell most, and in turn all others."""

import itertools

import numpy as np

from coeval.clock_filter import ClockFilter
from coeval.estimates import PairEstimate
from coeval.line import LineFit
from coeval.oscillators import TCXO
from coeval_aggregator.pair_book import PAIRS_A_NODE, PairBook

NODES = [f"n{k:02d}" for k in range(12)]


def told(first: str, second: str, *, sigma_ns: float | None) -> PairEstimate:
    """A compared pair; without a sigma it was compared in vain."""
    fit = LineFit(
        t_mid_ns=0.0,
        lag_ns=0.0,
        skew_ppm=0.0,
        covariance=np.diag([(sigma_ns or 1.0) ** 2, 1.0]),
        peak=50.0,
        z=20.0,
        margin=9.0,
        lags_tried=100,
    )
    return PairEstimate(
        first=first, second=second, fit=fit, streams=(), accepted=sigma_ns is not None
    )


def test_few_nodes_are_all_compared() -> None:
    assert PairBook().choose(NODES[:5], []) is None


def test_many_nodes_cost_two_pairs_each_and_all_are_tied() -> None:
    chosen = PairBook().choose(NODES, [])
    assert chosen is not None
    assert len(chosen) == PAIRS_A_NODE * len(NODES)
    tied = {NODES[0]}
    for _ in NODES:
        tied |= {name for pair in chosen if set(pair) & tied for name in pair}
    assert tied == set(NODES)


def test_every_pair_has_its_turn_within_a_few_estimates() -> None:
    book, seen = PairBook(), set()
    for _ in range(12):
        chosen = book.choose(NODES, []) or set()
        book.note([told(*pair, sigma_ns=None) for pair in chosen])
        seen |= chosen
    assert seen == set(itertools.combinations(NODES, 2))


def test_what_locked_is_compared_again_and_what_was_in_vain_waits() -> None:
    book = PairBook()
    every = list(itertools.combinations(NODES, 2))
    good = {(NODES[k], NODES[k + 1]) for k in range(11)}
    book.note([told(*pair, sigma_ns=5e6 if pair in good else None) for pair in every])
    chosen = book.choose(NODES, [])
    assert chosen is not None
    assert good <= chosen


def test_nodes_that_hardware_ties_are_compared_less_than_one_that_nothing_ties() -> None:
    filter_ = ClockFilter("n00", TCXO, t_root_ns=0)
    for name in NODES[1:11]:
        filter_.add_clock(name, TCXO, base_ns=0, sigma_ns=1e3)
    filter_.add_clock("n11", TCXO, base_ns=0, sigma_ns=1e9)
    book = PairBook()
    book.note([told(*pair, sigma_ns=1e7) for pair in itertools.combinations(NODES, 2)])
    offers = book.choose(NODES, [filter_])
    assert offers is not None
    assert any("n11" in pair for pair in offers)


def test_pairs_that_hardware_knows_only_have_their_turn() -> None:
    filter_ = ClockFilter("n00", TCXO, t_root_ns=0)
    for name in NODES[1:]:
        filter_.add_clock(name, TCXO, base_ns=0, sigma_ns=1e3)
    book, seen = PairBook(), set()
    for _ in range(11):
        chosen = book.choose(NODES, [filter_])
        assert chosen is not None
        assert len(chosen) == PAIRS_A_NODE * len(NODES) // 4
        book.note([told(*pair, sigma_ns=5e6) for pair in chosen])
        seen |= chosen
    assert seen == set(itertools.combinations(NODES, 2))


def test_a_restarted_node_is_compared_as_if_for_the_first_time() -> None:
    book = PairBook()
    every = list(itertools.combinations(NODES, 2))
    book.note([told(*pair, sigma_ns=None) for pair in every])
    book.forget("n03")
    chosen = book.choose(NODES, [])
    assert chosen is not None
    assert sum("n03" in pair for pair in chosen) == 11
