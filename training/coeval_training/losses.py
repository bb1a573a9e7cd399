"""What training minimises: the correlator's own error, and what the embedding forgets.

The temporal-correspondence loss trains the correlator itself: softmax over the lags of the two
embeddings' cross-correlation, negative log-likelihood of the true fractional lag. Lags of a
*wrong* partner are classes too, so that unrelated streams learn to stay below related ones.
"""

import torch
from torch import Tensor
from torch.nn import functional

from coeval.lag import HIGHPASS_HOPS


def highpass(embeddings_BTE: Tensor) -> Tensor:
    """Subtract the mean of the surrounding HIGHPASS_HOPS hops, as `coeval.lag` does."""
    x = embeddings_BTE.transpose(1, 2)
    mean = functional.avg_pool1d(
        x, HIGHPASS_HOPS, stride=1, padding=HIGHPASS_HOPS // 2, count_include_pad=False
    )
    return (x - mean).transpose(1, 2)


def spectrum(embeddings_BTE: Tensor) -> Tensor:
    """Spectrum of embeddings, padded to twice their length, shape (B, E, T + 1)."""
    size = 2 * embeddings_BTE.shape[1]
    spectrum_BEF: Tensor = torch.fft.rfft(embeddings_BTE.transpose(1, 2).contiguous(), size)
    return spectrum_BEF


def lag_scores(a_BEF: Tensor, b_BEF: Tensor, *, max_lag: int, per_hop: int = 1) -> Tensor:
    """Cross-correlation at lags −max_lag…max_lag, shape (B, 2·per_hop·max_lag + 1).

    A positive lag means that b shows the content later than a.

    Args:
        a_BEF: spectrum of the first embeddings.
        b_BEF: spectrum of the second.
        max_lag: longest lag in hops.
        per_hop: scores a hop, interpolated band-limited.
    """
    size = 2 * (a_BEF.shape[-1] - 1) * per_hop
    correlation = per_hop * torch.fft.irfft((a_BEF.conj() * b_BEF).sum(1), size)
    reach = max_lag * per_hop
    return torch.cat([correlation[:, -reach:], correlation[:, : reach + 1]], dim=1)


def lag_loss(scores_BL: Tensor, wrong_BL: Tensor, true_lag_B: Tensor) -> Tensor:
    """Negative log-likelihood of the true lag, shape (B,).

    Args:
        scores_BL: scores of the true partner at lags −L…L.
        wrong_BL: scores of a wrong partner, further classes.
        true_lag_B: true lag in hops, fractional; its likelihood is shared by its two neighbours.
    """
    max_lag = scores_BL.shape[1] // 2
    log_p = torch.cat([scores_BL, wrong_BL], dim=1).log_softmax(dim=1)
    place = (true_lag_B + max_lag).clamp(0, 2 * max_lag - 1e-3)
    low = place.floor().long()
    share = place - low
    at_low = log_p.gather(1, low[:, None])[:, 0]
    at_high = log_p.gather(1, low[:, None] + 1)[:, 0]
    return -((1 - share) * at_low + share * at_high)


def forgetting(rows_BTF: Tensor, reconstructed_BTF: Tensor) -> Tensor:
    """Autoencoder term: mean squared error of the rows where the stream was there."""
    covered = rows_BTF[..., -1:].clamp(0, 1)
    error = functional.smooth_l1_loss(reconstructed_BTF, rows_BTF, reduction="none") * covered
    return error.sum() / (covered.sum() * rows_BTF.shape[-1] + 1.0)
