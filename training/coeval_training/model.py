"""The encoder of one modality: rows of features in, one embedding a hop out.

Shape letters: B batch, T hops, F feature columns, C channels, D hidden, E embedding.

Causal and dense in time: dilated causal convolutions (1.5 s) and then attention over the last
1.6 s. The reach is bounded by CONTEXT_HOPS, so that a node which keeps that many rows computes
exactly what training computed on the whole clip.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from coeval.features import DIMS
from coeval.features.metadata import CHANNEL_DIM, POOLED_DIM
from coeval.hops import EMBEDDING_DIM
from coeval.samples import Modality
from coeval_edge.encoder import CONTEXT_HOPS

HIDDEN = 48
DILATIONS = (1, 2, 4, 8)
ATTENTION_HOPS = 32
HEADS = 2
CHANNEL_HIDDEN = 24
DROPOUT = 0.1


class CausalBlock(nn.Module):
    """Residual dilated convolution over three hops that sees only the past.

    Written as one matrix product, which a CPU computes faster than a narrow convolution.
    """

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.dilation = dilation
        self.norm = nn.LayerNorm(HIDDEN)
        self.mix = nn.Linear(3 * HIDDEN, HIDDEN)
        self.dropout = nn.Dropout(DROPOUT)
        self.out = nn.Linear(HIDDEN, HIDDEN)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Shape kept."""
        d = self.dilation
        h = functional.pad(self.norm(x_BTD), (0, 0, 2 * d, 0))
        h = torch.cat([h[:, : -2 * d], h[:, d:-d], h[:, 2 * d :]], dim=-1)
        mixed: Tensor = x_BTD + self.out(self.dropout(functional.gelu(self.mix(h))))
        return mixed


class LocalAttention(nn.Module):
    """Attention of every hop over itself and the 31 hops before it, computed chunk by chunk."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(HIDDEN)
        self.qkv = nn.Linear(HIDDEN, 3 * HIDDEN)
        self.out = nn.Linear(HIDDEN, HIDDEN)
        age = ATTENTION_HOPS + torch.arange(ATTENTION_HOPS)[:, None]
        age = age - torch.arange(2 * ATTENTION_HOPS)[None, :]
        hidden = torch.where((age >= 0) & (age < ATTENTION_HOPS), 0.0, -1e4)
        self.mask: Tensor
        self.register_buffer("mask", hidden, persistent=False)
        self.age_bias = nn.Parameter(torch.zeros(HEADS, ATTENTION_HOPS))
        self.age: Tensor
        self.register_buffer("age", age.clamp(0, ATTENTION_HOPS - 1), persistent=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Shape kept; T must be a multiple of ATTENTION_HOPS."""
        B, T, _ = x_BTD.shape
        chunks, width = T // ATTENTION_HOPS, HIDDEN // HEADS
        qkv = self.qkv(self.norm(x_BTD)).reshape(B, chunks, ATTENTION_HOPS, 3, HEADS, width)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)  # each B, chunks, HEADS, hops, width
        before = torch.zeros_like(k[:, :1])
        k = torch.cat([torch.cat([before, k[:, :-1]], 1), k], dim=3)
        v = torch.cat([torch.cat([before, v[:, :-1]], 1), v], dim=3)
        bias = self.age_bias.index_select(1, self.age.flatten()).reshape(HEADS, *self.age.shape)
        scores = (q * width**-0.5) @ k.transpose(-1, -2) + (self.mask + bias)
        seen = (scores.softmax(-1) @ v).permute(0, 1, 3, 2, 4).reshape(B, T, HIDDEN)
        attended: Tensor = x_BTD + self.out(seen)
        return attended


class ChannelStem(nn.Module):
    """What single channels of metadata show, by one small network for all of them.

    Each channel's last two hops, then the largest and the mean over the channels that are there:
    their order and number mean nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2 * CHANNEL_DIM, CHANNEL_HIDDEN)
        self.outer = nn.Linear(CHANNEL_HIDDEN, CHANNEL_HIDDEN)
        self.pooled = nn.Linear(2 * CHANNEL_HIDDEN, HIDDEN)

    def forward(self, rows_BTF: Tensor) -> Tensor:
        """Shape (B, T, D)."""
        B, T, _ = rows_BTF.shape
        x_BTCF = rows_BTF[..., POOLED_DIM:-1].reshape(B, T, -1, CHANNEL_DIM)
        is_there = x_BTCF.abs().sum(-1, keepdim=True).sign()
        before = functional.pad(x_BTCF, (0, 0, 0, 0, 1, 0))[:, :-1]
        h = functional.gelu(self.inner(torch.cat([before, x_BTCF], dim=-1)))
        h = functional.gelu(self.outer(h)) * is_there
        mean = h.sum(2) / (is_there.sum(2) + 1e-3)
        pooled: Tensor = self.pooled(torch.cat([h.amax(2), mean], dim=-1))
        return pooled


class Encoder(nn.Module):
    """Rows → embeddings; the decoder turns an embedding back into its row (training only)."""

    def __init__(self, modality: Modality) -> None:
        super().__init__()
        self.channels = ChannelStem() if modality == "metadata" else None
        whole_dim = DIMS[modality] if self.channels is None else POOLED_DIM + 1
        self.stem = nn.Linear(whole_dim, HIDDEN)
        self.blocks = nn.ModuleList([CausalBlock(dilation) for dilation in DILATIONS])
        self.attention = LocalAttention()
        self.norm = nn.LayerNorm(HIDDEN)
        self.head = nn.Linear(HIDDEN, EMBEDDING_DIM)
        nn.init.normal_(self.head.weight, std=0.2 * HIDDEN**-0.5)  # first scores near 0 nats
        self.decoder = nn.Sequential(
            nn.Linear(EMBEDDING_DIM, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, whole_dim)
        )

    def forward(self, rows_BTF: Tensor) -> Tensor:
        """Embeddings, shape (B, T, E)."""
        x = self.stem(self.whole(rows_BTF))
        if self.channels is not None:
            x = x + self.channels(rows_BTF)
        x = functional.gelu(x)
        for block in self.blocks:
            x = block(x)
        embeddings: Tensor = self.head(self.norm(self.attention(x)))
        return embeddings

    def whole(self, rows_BTF: Tensor) -> Tensor:
        """What rows tell of the stream as a whole: all but single channels, coverage last."""
        if self.channels is None:
            return rows_BTF
        return torch.cat([rows_BTF[..., :POOLED_DIM], rows_BTF[..., -1:]], dim=-1)

    def reconstruct(self, embeddings_BTE: Tensor) -> Tensor:
        """The whole of the rows as far as the embeddings keep it, shape as `whole` gives."""
        rows: Tensor = self.decoder(embeddings_BTE)
        return rows


REACH_HOPS = 1 + 2 * sum(DILATIONS) + ATTENTION_HOPS - 1
assert REACH_HOPS <= CONTEXT_HOPS, "the node keeps too few rows for this encoder"
