"""Which pairs to compare."""

from coeval.clock_filter import ClockFilter
from coeval.oscillators import TCXO
from coeval.pair_choice import PairOffer, choose_pairs


def test_the_pairs_that_tie_new_clocks_come_first_and_then_the_vaguest() -> None:
    filter_ = ClockFilter("a", TCXO, t_root_ns=0)
    filter_.add_clock("b", TCXO, base_ns=0, sigma_ns=1e3)
    filter_.add_clock("c", TCXO, base_ns=0, sigma_ns=1e8)
    offers = [
        PairOffer(first=first, second=second, sigma_ns=1e6)
        for first, second in (("a", "b"), ("a", "c"), ("b", "c"), ("a", "d"))
    ]
    chosen = choose_pairs(offers, [filter_], num=2)
    assert (chosen[0].first, chosen[0].second) == ("a", "d")
    assert "c" in (chosen[1].first, chosen[1].second)


def test_choosing_among_thousands_of_pairs_looks_at_few_of_them_twice() -> None:
    names = [f"n{k}" for k in range(60)]
    offers = [
        PairOffer(first=a, second=b, sigma_ns=1e6)
        for k, a in enumerate(names)
        for b in names[k + 1 :]
    ]
    chosen = choose_pairs(offers, [], num=59)
    tied = {names[0]}
    for _ in names:
        tied |= {c for o in chosen if {o.first, o.second} & tied for c in (o.first, o.second)}
    assert tied == set(names)
