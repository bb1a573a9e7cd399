"""Hardware and network evidence, and the solution of all lines together."""

import numpy as np
import pytest

from coeval.errors import NotEnoughEvidence
from coeval.evidence import SERVER, UTC
from coeval.hardware import find_steps, fit_edges, match_edges
from coeval.network import fit_exchanges
from coeval.placing import PairLine, solve_lines

S = 1_000_000_000


def edges(
    num: int, offset_s: float, skew_ppm: float, sigma_ns: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    t_ref = np.arange(num, dtype=np.int64) * S
    error = offset_s * S + skew_ppm * 1e-6 * t_ref + sigma_ns * rng.standard_normal(num)
    return t_ref + np.round(error).astype(np.int64), t_ref, np.full(num, sigma_ns)


def test_pps_edges_give_offset_and_skew_with_the_right_sign() -> None:
    line = fit_edges(*edges(120, 3.2, 41.0, 1000.0, 1))
    at_start = line.offset_ns - line.skew_ppm * 1e-6 * line.t_ns
    assert at_start == pytest.approx(3.2 * S, abs=2000)
    assert line.skew_ppm == pytest.approx(41.0, abs=0.02)


def test_an_offset_of_years_is_good_to_the_nanosecond() -> None:
    t_ref = 1_700_000_000 * S + np.arange(40, dtype=np.int64) * S
    line = fit_edges(t_ref - t_ref[0] + 17, t_ref, np.full(40, 16.0))
    assert line.offset_ns == 17 - 1_700_000_000 * S


def test_glitches_are_left_out_and_counted() -> None:
    t_node, t_ref, sigma = edges(60, -1.0, 10.0, 1000.0, 2)
    t_node[[7, 31]] += 5_000_000
    line = fit_edges(t_node, t_ref, sigma)
    assert line.num_rejected == 2
    assert line.offset_ns == pytest.approx(-S + 10e-6 * line.t_ns, abs=2000)


def test_a_step_between_two_pulses_is_found_where_it_is() -> None:
    t_node, t_ref, sigma = edges(60, -1.0, 150.0, 1000.0, 2)
    t_node[25:] += 200_000
    t_node[44:] -= 3 * S
    assert find_steps(t_node, t_ref, sigma) == [25, 44]


def test_neither_glitches_nor_skew_nor_gaps_are_steps() -> None:
    for seed in range(50):
        t_node, t_ref, sigma = edges(120, -1.0, 500.0, 1000.0, seed)
        t_node[[7, 31, 32]] += 5_000_000
        kept = np.r_[0:50, 80:120]
        assert find_steps(t_node[kept], t_ref[kept], sigma[kept]) == []


def test_the_interval_of_edges_covers_the_truth() -> None:
    inside = 0
    for seed in range(200):
        line = fit_edges(*edges(30, 0.5, 20.0, 1000.0, seed))
        error = line.offset_ns - (0.5 * S + 20e-6 * line.t_ns)
        inside += abs(error) <= 1.96 * line.covariance[0, 0] ** 0.5
    assert inside >= 180


@pytest.mark.parametrize("num", [0, 1, 2])
def test_too_few_edges_give_no_line(num: int) -> None:
    with pytest.raises(NotEnoughEvidence):
        fit_edges(*edges(num, 0.0, 0.0, 1000.0, 0))


def test_irregular_shared_edges_are_matched_though_some_are_missing() -> None:
    t = np.cumsum(np.random.default_rng(3).integers(S // 5, S, 30)).astype(np.int64)
    first, second = match_edges(np.delete(t, [3, 4]), np.delete(t + 7 * S, [10]))
    assert len(first) == 27
    assert ((second - first) == 7 * S).all()


def test_a_regular_pulse_alone_is_refused() -> None:
    t = np.arange(20, dtype=np.int64) * S
    with pytest.raises(NotEnoughEvidence, match="equally well"):
        match_edges(t[:15], t[:15] + S // 2)


def exchanges(
    num: int, offset_s: float, skew_ppm: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Exchanges with 1 ms each way at least and long-tailed queueing."""
    rng = np.random.default_rng(seed)
    sent = np.arange(num) * 0.5
    out, back = 0.001 + rng.exponential(0.004, num), 0.001 + rng.exponential(0.004, num)
    t2, t3 = sent + out, sent + out + 0.0001

    def node(t: np.ndarray) -> np.ndarray:
        return np.round((t + offset_s + skew_ppm * 1e-6 * t) * S).astype(np.int64)

    return (
        node(sent),
        np.round(t2 * S).astype(np.int64),
        np.round(t3 * S).astype(np.int64),
        node(t3 + back),
    )


def test_the_fastest_exchanges_decide_and_the_interval_covers() -> None:
    inside = 0
    for seed in range(50):
        line = fit_exchanges(*exchanges(200, -2.5, 30.0, seed))
        error = line.offset_ns - (-2.5 * S + 30e-6 * line.t_ns)
        assert abs(error) < 1.5e6
        inside += abs(error) <= 1.96 * line.covariance[0, 0] ** 0.5
    assert inside >= 45


def test_no_number_of_exchanges_claims_less_than_a_quarter_of_the_delay() -> None:
    line = fit_exchanges(*exchanges(5000, 0.0, 0.0, 1))
    assert line.covariance[0, 0] ** 0.5 >= 0.0019 * S / 4


def test_exchanges_that_arrive_before_they_were_sent_are_ignored() -> None:
    t1, t2, t3, t4 = exchanges(100, 1.0, 0.0, 2)
    t4[5] = t1[5] - S
    line = fit_exchanges(t1, t2, t3, t4)
    assert line.offset_ns == pytest.approx(S, abs=1.5e6)
    with pytest.raises(NotEnoughEvidence):
        fit_exchanges(t4, t2, t3, t1)


def pair(
    first: str,
    second: str,
    lag_ns: float,
    *,
    t_s: float = 60.0,
    skew_ppm: float = 0.0,
    sigma_ns: float = 1e6,
) -> PairLine:
    return PairLine(
        first=first,
        second=second,
        kind="content",
        t_second_ns=t_s * S + lag_ns,
        lag_ns=lag_ns,
        skew_ppm=skew_ppm,
        covariance=np.diag([sigma_ns**2, 1.0]),
    )


def test_a_chain_of_pairs_ties_the_last_node_to_the_reference() -> None:
    lines = [pair("a", "b", 2e9), pair("b", "c", -0.5e9)]
    solved = solve_lines(lines, reference="a", t0_ns=60e9).states
    assert solved["c"][0] == pytest.approx(1.5e9, abs=1e3)
    assert solved["c"][2][0, 0] > solved["b"][2][0, 0]


def test_a_node_that_nothing_ties_has_no_solution() -> None:
    solved = solve_lines(
        [pair("a", "b", 1e9), pair("c", "d", 1e9)], reference="a", t0_ns=0.0
    ).states
    assert set(solved) == {"b"}


def test_a_lying_pair_bends_the_others_little() -> None:
    lines = [pair("a", "b", 1e9), pair("b", "c", 1e9), pair("a", "d", 1e9), pair("d", "c", 1e9)]
    lines.append(pair("a", "c", 2.5e9))
    solved = solve_lines(lines, reference="a", t0_ns=60e9).states
    assert solved["c"][0] == pytest.approx(2e9, abs=60e6)


def test_epochs_of_years_keep_their_microseconds() -> None:
    epoch = 1.7e18
    lines = [
        pair(UTC, "a", -epoch, t_s=epoch / S, sigma_ns=1e3),
        pair(UTC, "b", 0.25e9 - epoch, t_s=epoch / S, sigma_ns=1e3),
    ]
    solved = solve_lines(lines, reference="a", t0_ns=0.0).states
    assert solved["b"][0] == pytest.approx(0.25e9, abs=1e3)


def test_skew_carries_the_offset_to_the_start_exactly() -> None:
    lines = [pair(SERVER, "a", 0.0), pair(SERVER, "b", 5e9 + 500e-6 * 60e9, skew_ppm=500.0)]
    solved = solve_lines(lines, reference="a", t0_ns=0.0).states
    assert solved["b"][0] == pytest.approx(5e9, abs=5e3)


def test_a_loop_that_does_not_close_is_named() -> None:
    lines = [pair("a", "b", 1e9), pair("b", "c", 1e9), pair("a", "c", 2e9), pair("a", "d", 5e9)]
    assert solve_lines(lines, reference="a", t0_ns=0.0).contradictions == ()
    broken = [*lines, pair("c", "d", 3.5e9)]
    found = solve_lines(broken, reference="a", t0_ns=0.0).contradictions
    assert found
    assert {"c", "d"} & {found[0].first, found[0].second}
    assert found[0].sigmas > 4.0
    assert abs(found[0].miss_ns) > 1e8
