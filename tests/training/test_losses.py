"""The losses: least where the lag is right, and the same filter and sign as the correlator."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from coeval import lag
from coeval_training.losses import forgetting, highpass, lag_loss, lag_scores, spectrum

torch.set_num_threads(1)

MAX_LAG = 24


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def smooth_pair(true_lag: float, *, seed: int = 0, hops: int = 256) -> tuple[Tensor, Tensor]:
    """Two embeddings of one smooth process, the second showing it `true_lag` hops later."""
    rng = np.random.default_rng(seed)
    index = np.arange(hops)[:, None]
    cycles = rng.uniform(0.02, 0.2, (1, 16, 30))
    phase = rng.uniform(0, 2 * np.pi, (1, 16, 30))

    def at(t: np.ndarray) -> Tensor:
        wave = np.sin(2 * np.pi * cycles * t[..., None] + phase).mean(-1)
        return torch.from_numpy(wave.astype(np.float32))[None]

    return at(index + np.zeros((1, 16))), at(index - true_lag + np.zeros((1, 16)))


def scores_of(a: Tensor, b: Tensor) -> Tensor:
    return lag_scores(spectrum(highpass(a)), spectrum(highpass(b)), max_lag=MAX_LAG)


def one(value: float) -> Tensor:
    return torch.tensor([value])


@pytest.mark.parametrize("hops", [1, 50, 121, 122, 400])
def test_the_highpass_is_the_one_of_the_correlator(hops: int) -> None:
    rows = random(3, hops, 16) + 5.0
    expected = np.stack([lag.highpass(stream.numpy()) for stream in rows])
    np.testing.assert_allclose(highpass(rows).numpy(), expected, rtol=0, atol=1e-5)


def test_scores_are_the_products_of_the_rows_a_lag_apart() -> None:
    a, b = random(2, 60, 16), random(2, 60, 16, seed=1)
    scores = lag_scores(spectrum(a), spectrum(b), max_lag=MAX_LAG)
    assert scores.shape == (2, 2 * MAX_LAG + 1)
    for k in (-MAX_LAG, -7, 0, 1, MAX_LAG):
        early, late = max(0, -k), max(0, k)
        product = a[:, early : 60 - late] * b[:, late : 60 - early]
        torch.testing.assert_close(
            scores[:, k + MAX_LAG], product.sum((1, 2)), rtol=1e-4, atol=1e-3
        )


@pytest.mark.parametrize("true_lag", [-9, 0, 13])
def test_scores_peak_where_the_correlator_peaks(true_lag: int) -> None:
    a, b = smooth_pair(true_lag)
    mine = int(lag_scores(spectrum(a), spectrum(b), max_lag=MAX_LAG).argmax()) - MAX_LAG
    (scores,) = lag.window_scores(
        lag.DenseStream(first_hop=0, rows=a[0].numpy()),
        lag.DenseStream(first_hop=0, rows=b[0].numpy()),
        window_hops=256,
        lowest_lag=-MAX_LAG,
        highest_lag=MAX_LAG,
    )
    assert mine == true_lag
    assert int(scores.argmax()) / lag.STEPS_PER_HOP - MAX_LAG == true_lag


@pytest.mark.parametrize("true_lag", [-9.25, 0.5, 13.75])
def test_scores_between_hops_peak_at_the_fractional_lag(true_lag: float) -> None:
    spectra = [spectrum(highpass(rows)) for rows in smooth_pair(true_lag)]
    fine = lag_scores(*spectra, max_lag=MAX_LAG, per_hop=4)
    torch.testing.assert_close(
        fine[:, ::4], lag_scores(*spectra, max_lag=MAX_LAG), rtol=1e-3, atol=1e-3
    )
    assert int(fine.argmax()) / 4 - MAX_LAG == pytest.approx(true_lag, abs=0.25)


@pytest.mark.parametrize("true_lag", [-17.25, -0.5, 0.0, 6.8, 23.9])
def test_the_scores_of_least_loss_have_the_true_fractional_lag_as_their_mean(
    true_lag: float,
) -> None:
    scores = torch.zeros((1, 2 * MAX_LAG + 1), requires_grad=True)
    wrong = torch.zeros((1, 2 * MAX_LAG + 1))
    optimiser = torch.optim.Adam([scores], lr=0.3)
    for _ in range(300):
        optimiser.zero_grad()
        lag_loss(scores, wrong, one(true_lag)).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    posterior = scores.detach().softmax(1)[0]
    lags = torch.arange(-MAX_LAG, MAX_LAG + 1)
    assert float(posterior @ lags.float()) == pytest.approx(true_lag, abs=0.02)
    assert float(posterior[(lags - true_lag).abs() < 1].sum()) > 0.99


@pytest.mark.parametrize("true_lag", [-11.6, -0.3, 4.5])
def test_the_loss_of_a_pair_is_least_at_the_hop_nearest_its_true_lag(true_lag: float) -> None:
    a, b = smooth_pair(true_lag)
    scores = scores_of(a, b)
    claimed = torch.arange(-20.0, 20.0, 0.1)  # between hops the loss is a straight line
    losses = lag_loss(
        scores.expand(len(claimed), -1), torch.zeros(len(claimed), 2 * MAX_LAG + 1), claimed
    )
    assert float(claimed[losses.argmin()]) == pytest.approx(true_lag, abs=0.51)


def test_a_fractional_lag_shares_its_likelihood_between_its_neighbours() -> None:
    scores, wrong = random(1, 2 * MAX_LAG + 1), random(1, 2 * MAX_LAG + 1, seed=1)
    at = [float(lag_loss(scores, wrong, one(value))) for value in (3.0, 3.25, 4.0)]
    assert at[1] == pytest.approx(0.75 * at[0] + 0.25 * at[2], abs=1e-4)


def test_scores_that_say_nothing_cost_the_logarithm_of_all_classes() -> None:
    nothing = torch.zeros((2, 2 * MAX_LAG + 1))
    losses = lag_loss(nothing, nothing, torch.tensor([0.4, -8.0]))
    torch.testing.assert_close(losses, torch.full((2,), np.log(4 * MAX_LAG + 2)).float())


@pytest.mark.parametrize("true_lag", [-MAX_LAG - 50.0, -float(MAX_LAG), float(MAX_LAG), 1e6])
def test_lags_at_and_beyond_the_ends_stay_finite(true_lag: float) -> None:
    scores = random(1, 2 * MAX_LAG + 1)
    end = -1 if true_lag > 0 else 0
    expected = -torch.cat([scores, scores], dim=1).log_softmax(1)[0, : 2 * MAX_LAG + 1][end]
    assert float(lag_loss(scores, scores, one(true_lag))[0]) == pytest.approx(
        float(expected), abs=0.01
    )


def test_a_wrong_partner_that_scores_high_costs_and_is_pushed_down() -> None:
    scores = torch.zeros((1, 2 * MAX_LAG + 1))
    wrong = torch.zeros((1, 2 * MAX_LAG + 1), requires_grad=True)
    quiet, loud = (lag_loss(scores, wrong + more, one(2.5)).sum() for more in (0.0, 3.0))
    assert loud.item() > quiet.item() + 2
    quiet.backward()  # type: ignore[no-untyped-call]
    assert wrong.grad is not None
    assert (wrong.grad > 0).all()


def test_an_absent_stream_neither_costs_more_than_chance_nor_breaks_the_gradient() -> None:
    a = random(1, 128, 16).requires_grad_()
    absent = torch.zeros(1, 128, 16)
    scores = scores_of(a, absent)
    loss = lag_loss(scores, scores, one(1.5))
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(np.log(4 * MAX_LAG + 2), rel=1e-5)
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()


def test_the_gradient_reaches_both_streams_and_descending_it_finds_the_lag() -> None:
    _, b = smooth_pair(5.0)
    a = (0.01 * random(1, 256, 16)).requires_grad_()
    b = b.clone().requires_grad_()
    wrong = torch.zeros((1, 2 * MAX_LAG + 1))
    optimiser = torch.optim.Adam([a, b], lr=0.02)
    for _ in range(20):
        optimiser.zero_grad()
        scores = scores_of(a, b)
        lag_loss(scores, wrong, one(5.0)).sum().backward()  # type: ignore[no-untyped-call]
        assert all(x.grad is not None and float(x.grad.abs().sum()) > 0 for x in (a, b))
        optimiser.step()
    assert int(scores.argmax()) - MAX_LAG == 5


def test_what_is_reconstructed_costs_nothing_and_what_is_lost_costs() -> None:
    rows = random(2, 40, 9)
    rows[..., -1] = 1.0
    assert float(forgetting(rows, rows)) == 0.0
    assert float(forgetting(rows, rows + 0.5)) == pytest.approx(0.125, rel=0.01)
    assert float(forgetting(rows, rows + 0.5)) < float(forgetting(rows, rows + 1.0))


def test_rows_where_nothing_was_recorded_need_not_be_reconstructed() -> None:
    rows, claimed = random(2, 40, 9), random(2, 40, 9, seed=1)
    rows[..., -1] = 0.0
    assert float(forgetting(rows, claimed)) == 0.0
    rows[0, :20, -1] = 1.0
    error = functional.smooth_l1_loss(claimed[0, :20], rows[0, :20], reduction="sum")
    assert float(forgetting(rows, claimed)) == pytest.approx(float(error) / (20 * 9 + 1), rel=1e-5)
