"""The network: causal, of bounded reach, and the same on a crop as on the whole."""

import itertools

import pytest
import torch
from torch import Tensor

from coeval.features import DIMS
from coeval.features.metadata import CHANNEL_DIM, POOLED_DIM
from coeval.hops import EMBEDDING_DIM
from coeval.samples import MODALITIES, Modality
from coeval_edge.encoder import CONTEXT_HOPS
from coeval_training.model import ATTENTION_HOPS, REACH_HOPS, ChannelStem, Encoder

torch.set_num_threads(1)

HOPS = 6 * ATTENTION_HOPS


def make_encoder(modality: Modality = "metadata", *, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    encoder = Encoder(modality).eval()
    torch.nn.init.normal_(encoder.attention.age_bias)  # as trained: not all ages alike
    return encoder


def rows(
    batch: int = 1, feature_dim: int = DIMS["metadata"], *, hops: int = HOPS, seed: int = 1
) -> Tensor:
    return torch.randn((batch, hops, feature_dim), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def embed(encoder: Encoder, x: Tensor) -> Tensor:
    embeddings: Tensor = encoder(x)
    return embeddings


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_modality_gets_one_embedding_a_hop_and_its_row_back(modality: Modality) -> None:
    encoder = make_encoder(modality)
    x = rows(2, DIMS[modality])
    embeddings = embed(encoder, x)
    assert embeddings.shape == (2, HOPS, EMBEDDING_DIM)
    assert encoder.reconstruct(embeddings).shape == encoder.whole(x).shape


def test_only_single_channels_are_not_reconstructed() -> None:
    x = rows(2)
    whole = make_encoder("metadata").whole(x)
    assert torch.equal(whole[..., :-1], x[..., :POOLED_DIM])
    assert torch.equal(whole[..., -1], x[..., -1])
    video = rows(2, DIMS["video"])
    assert torch.equal(make_encoder("video").whole(video), video)


def test_the_order_of_channels_means_nothing_and_absent_ones_add_nothing() -> None:
    stem, encoder = ChannelStem(), make_encoder()
    x = rows()
    channels = x[..., POOLED_DIM:-1].reshape(1, HOPS, -1, CHANNEL_DIM)
    channels[:, :, 3:] = 0.0
    moved = x.clone()
    moved[..., POOLED_DIM:-1] = channels.roll(5, dims=2).flatten(2)
    with torch.no_grad():
        torch.testing.assert_close(stem(x), stem(moved), rtol=0, atol=1e-5)
        torch.testing.assert_close(encoder(x), encoder(moved), rtol=0, atol=1e-5)
        channels[:, :, 2] += 1.0
        assert (stem(x) - stem(moved)).abs().max() > 1e-2


@pytest.mark.parametrize("changed", [0, 31, 32, 33, 100, HOPS - 1])
def test_future_rows_never_change_earlier_embeddings(changed: int) -> None:
    encoder, x = make_encoder(), rows()
    other = x.clone()
    other[:, changed:] = 10.0 * rows(seed=2)[:, changed:]
    before, after = embed(encoder, x), embed(encoder, other)
    torch.testing.assert_close(before[:, :changed], after[:, :changed], rtol=0, atol=1e-6)
    assert (before[:, changed] - after[:, changed]).abs().max() > 1e-4


@pytest.mark.parametrize("at", [CONTEXT_HOPS, 100, 127, 128, HOPS - 1])
def test_an_embedding_sees_exactly_the_stated_reach(at: int) -> None:
    encoder = make_encoder().double()
    x = rows().double().requires_grad_()
    encoder(x)[0, at].sum().backward()
    assert x.grad is not None
    felt = x.grad[0].abs().sum(1) > 0
    seen = torch.zeros(HOPS, dtype=torch.bool)
    seen[at - REACH_HOPS : at + 1] = True
    assert torch.equal(felt & ~seen, torch.zeros_like(felt))
    assert felt[at - REACH_HOPS]
    assert felt[at]


def test_the_reach_fits_into_what_a_node_keeps() -> None:
    assert REACH_HOPS == 62
    assert REACH_HOPS <= CONTEXT_HOPS


@pytest.mark.parametrize("start", [CONTEXT_HOPS, 77, 96, 111])
def test_a_crop_with_its_context_gives_what_the_whole_stream_gives(start: int) -> None:
    encoder, x = make_encoder(), rows(2)
    crop = x[:, start - CONTEXT_HOPS : start + ATTENTION_HOPS]
    torch.testing.assert_close(
        embed(encoder, crop)[:, CONTEXT_HOPS:],
        embed(encoder, x)[:, start : start + ATTENTION_HOPS],
        rtol=0,
        atol=1e-5,
    )


def test_a_shorter_context_than_the_reach_would_not_do() -> None:
    encoder, x = make_encoder(), rows()
    short, start = ATTENTION_HOPS, 2 * ATTENTION_HOPS
    crop = embed(encoder, x[:, start - short : start + 32])[:, short]
    assert (crop - embed(encoder, x)[:, start]).abs().max() > 1e-4


def test_the_streams_of_a_batch_do_not_mix() -> None:
    encoder, x = make_encoder(), rows(3)
    for b in range(3):
        torch.testing.assert_close(
            embed(encoder, x)[b], embed(encoder, x[b : b + 1])[0], rtol=0, atol=1e-5
        )


def test_attention_is_given_to_the_last_hops_by_their_age() -> None:
    encoder, x = make_encoder(), rows()
    uniform = embed(encoder, x)
    with torch.no_grad():
        encoder.attention.age_bias[:, 1:] = -1e4
    only_now = embed(encoder, x)
    assert (uniform - only_now).abs().max() > 1e-4
    other = x.clone()
    convolved = REACH_HOPS - (ATTENTION_HOPS - 1)
    other[:, : HOPS - 1 - convolved] = 0.0
    torch.testing.assert_close(embed(encoder, other)[:, -1], only_now[:, -1], rtol=0, atol=1e-5)


def test_a_length_that_is_no_multiple_of_the_chunk_fails_at_once() -> None:
    with pytest.raises(RuntimeError):
        embed(make_encoder(), rows(hops=HOPS + 1))


def test_before_training_no_lag_is_preferred_by_much() -> None:
    encoder = make_encoder()
    embeddings = embed(encoder, rows(8))
    embeddings = embeddings - embeddings.mean(1, keepdim=True)
    scores = [float((a * b).sum()) for a, b in itertools.combinations(embeddings, 2)]
    assert max(abs(score) for score in scores) < 30.0
