"""The fusion network: streams at a tick in, one vector and a judgement of every stream out.

Early fusion looks at the tokens of all streams together; late fusion looks at each stream alone
and then pools what it made of them. Hybrid is both, so that each of the two is hybrid with a share
of nothing for the other: its vector holds both vectors side by side, its scores weigh both. The
shares are chosen on sessions that neither has seen. Its scores weigh a third thing, the sequential
test of `coeval.shifted`: what adds up over a minute is in no window that the other two see.

Shape letters: B ticks, S streams, C tokens of a stream, D hidden, E embedding, V vector of one.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from coeval.fusion_input import HISTORY_DIM, JOINT_DIM, RECENT_HOPS
from coeval.hops import EMBEDDING_DIM
from coeval.samples import MODALITIES

HIDDEN = 48
HEADS = 4
DROPOUT = 0.1
VECTOR_DIM = 32
"""Of early and of late fusion."""
FUSED_DIM = 2 * VECTOR_DIM
"""Early, then late; of one mode alone the other half is zero."""
TOKEN_HOPS = 8
TOKENS = RECENT_HOPS // TOKEN_HOPS
TOKEN_DIM = TOKEN_HOPS * (2 * EMBEDDING_DIM + 2)
GIST_HOPS = 20
"""The last moments (1 s) of a stream whose mean a fused vector should know."""
OWN_HOPS = 16
"""Hops that a stream's own bottleneck gives back."""
OWN_DIM = 12
"""Width of that bottleneck: of 16 hops × 16 numbers."""
MODES = ("early", "late", "hybrid")


class Streams(NamedTuple):
    """B ticks of S streams, as in `coeval.fusion_input.TickInputs`."""

    recent: Tensor
    covered: Tensor
    stir: Tensor
    history: Tensor
    joint: Tensor
    shifted: Tensor
    modality: Tensor
    """Index into MODALITIES, shape (B, S)."""
    present: Tensor
    """1 where there is a stream, else 0, shape (B, S)."""


class Looks(NamedTuple):
    """What is made of streams before they meet."""

    x: Tensor
    """Embeddings in the spreads of their modality, shape (B, S, RECENT_HOPS, E)."""
    kind: Tensor
    """Embedded modality, shape (B, S, D)."""
    there: Tensor
    """1 where there is a token, shape (B, S, C)."""
    late: Tensor
    """Each stream alone, shape (B, S, D)."""
    tokens: Tensor
    """Tokens for early fusion, shape (B, S, C, D)."""


class Fused(NamedTuple):
    """Vectors of B ticks."""

    vectors: Tensor
    """Of each mode, shape (B, 3, FUSED_DIM)."""
    parts: Tensor
    """What each stream gives to the late vector, shape (B, S, V)."""
    weights: Tensor
    """How much it counts there, shape (B, S, 1)."""


class FusionOut(NamedTuple):
    """What the network says of B ticks."""

    vectors: Tensor
    """Fused vector of each mode, shape (B, 3, FUSED_DIM)."""
    scores: Tensor
    """Log-odds that each stream is faulty, of each mode, shape (B, 3, S)."""
    errors: Tensor
    """How badly a stream is given back by itself, and told by the others, shape (B, S, 2)."""
    looks: Looks
    """What each stream is alone."""
    own: Tensor
    """Log-odds that a stream is faulty by itself, whatever the others show, shape (B, S)."""


class Attention(nn.Module):
    """One block of attention over tokens, those that are not there masked."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.norm_out = nn.LayerNorm(HIDDEN), nn.LayerNorm(HIDDEN)
        self.qkv = nn.Linear(HIDDEN, 3 * HIDDEN)
        self.out = nn.Linear(HIDDEN, HIDDEN)
        self.drop = nn.Dropout(DROPOUT)
        self.inner, self.outer = nn.Linear(HIDDEN, 2 * HIDDEN), nn.Linear(2 * HIDDEN, HIDDEN)

    def forward(self, x_BCD: Tensor, mask_BC: Tensor) -> Tensor:
        """Shape kept."""
        B, C, _ = x_BCD.shape
        qkv = self.qkv(self.norm(x_BCD)).reshape(B, C, 3, HEADS, HIDDEN // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(-1, -2) * (HIDDEN // HEADS) ** -0.5
        scores = scores + (mask_BC - 1.0)[:, None, None, :] * 1e4
        seen = (scores.softmax(-1) @ v).permute(0, 2, 1, 3).reshape(B, C, HIDDEN)
        x = x_BCD + self.out(seen)
        mixed: Tensor = x + self.outer(self.drop(functional.gelu(self.inner(self.norm_out(x)))))
        return mixed


def mlp(dim_in: int, dim_out: int, hidden: int = HIDDEN) -> nn.Sequential:
    """Two layers."""
    return nn.Sequential(
        nn.Linear(dim_in, hidden), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(hidden, dim_out)
    )


class Fusion(nn.Module):
    """Early, late and hybrid fusion of the same streams."""

    def __init__(self) -> None:
        super().__init__()
        kinds = len(MODALITIES)
        self.usual: Tensor
        self.spread: Tensor
        self.register_buffer("usual", torch.zeros(kinds, EMBEDDING_DIM))
        self.register_buffer("spread", torch.ones(kinds, EMBEDDING_DIM))
        self.kind = nn.Embedding(kinds, HIDDEN)
        self.place = nn.Parameter(0.02 * torch.randn(TOKENS, HIDDEN))
        self.history = mlp(HISTORY_DIM, HIDDEN)
        self.tokens_late, self.tokens_early = (nn.Linear(TOKEN_DIM, HIDDEN) for _ in range(2))
        self.late = nn.ModuleList([Attention()])
        self.early = nn.ModuleList([Attention(), Attention()])
        self.late_norm, self.early_norm = nn.LayerNorm(2 * HIDDEN), nn.LayerNorm(2 * HIDDEN)
        self.late_own, self.early_own = mlp(2 * HIDDEN, HIDDEN), mlp(2 * HIDDEN, HIDDEN)
        self.late_vector, self.early_vector = (nn.Linear(HIDDEN, VECTOR_DIM + 1) for _ in range(2))
        self.share: Tensor
        self.register_buffer("share", torch.tensor([1.0, 1.0]))
        self.squeeze = nn.Linear(HIDDEN, OWN_DIM)
        self.give_back = mlp(OWN_DIM + HIDDEN, OWN_HOPS * EMBEDDING_DIM)
        self.tell = nn.ModuleList([mlp(FUSED_DIM + HIDDEN, EMBEDDING_DIM) for _ in MODES])
        self.judge_early = mlp(HIDDEN, 1)
        self.judge_own = mlp(HIDDEN + 1, 1)
        self.joint_usual: Tensor
        self.joint_spread: Tensor
        self.register_buffer("joint_usual", torch.zeros(JOINT_DIM))
        self.register_buffer("joint_spread", torch.ones(JOINT_DIM))
        self.kind_agreeing = nn.Embedding(kinds, 8)
        self.judge_joint = mlp(JOINT_DIM + 8 + 1, 1)
        self.stack: Tensor
        self.register_buffer("stack", torch.tensor([[0.3, 0.7, 0.0]]).repeat(kinds, 1))

    def standardised(self, rows: Tensor, modality: Tensor) -> Tensor:
        """Embeddings less what is usual for the modality, in its spreads; (B, S, …, E)."""
        usual, spread = self.usual[modality], self.spread[modality]
        for _ in range(rows.dim() - 3):
            usual, spread = usual[:, :, None], spread[:, :, None]
        return (rows - usual) / spread

    def look(self, about: Streams) -> Looks:
        """Each stream alone, and its tokens as early fusion takes them."""
        B, S = about.modality.shape
        kind = self.kind(about.modality)
        covered = about.covered[..., None]
        spread = self.spread[about.modality]
        x = self.standardised(about.recent, about.modality) * covered
        mean = about.history[..., :EMBEDDING_DIM]
        scatter = about.history[..., EMBEDDING_DIM : 2 * EMBEDDING_DIM]
        off = (about.recent - mean[:, :, None]) / (scatter + 0.1 * spread)[:, :, None]
        columns = torch.cat([x, off.clamp(-8, 8) * covered, about.stir[..., None], covered], dim=-1)
        tokens = columns.reshape(B, S, TOKENS, TOKEN_DIM)
        usual = torch.cat(
            [
                self.standardised(mean, about.modality),
                torch.log(scatter / spread + 0.01),
                about.history[..., 2 * EMBEDDING_DIM :],
            ],
            dim=-1,
        )
        named = (kind + self.history(usual))[:, :, None] + self.place
        there = about.covered.reshape(B, S, TOKENS, TOKEN_HOPS).amax(-1) * about.present[..., None]
        alone = (self.tokens_late(tokens) + named).reshape(B * S, TOKENS, HIDDEN)
        for block in self.late:
            alone = block(alone, there.reshape(B * S, TOKENS))
        late = self.late_own(self.late_norm(pooled(alone.reshape(B, S, TOKENS, HIDDEN), there)))
        return Looks(
            x=x, kind=kind, there=there, late=late, tokens=self.tokens_early(tokens) + named
        )

    def together(self, looks: Looks, present: Tensor) -> Tensor:
        """What early fusion makes of each stream among those present, shape (B, S, D)."""
        B, S = present.shape
        there = looks.there * present[..., None]
        tokens = looks.tokens.reshape(B, S * TOKENS, HIDDEN)
        for block in self.early:
            tokens = block(tokens, there.reshape(B, S * TOKENS))
        early: Tensor = self.early_own(
            self.early_norm(pooled(tokens.reshape(B, S, TOKENS, HIDDEN), there))
        )
        return early

    def fuse(self, early: Tensor, late: Tensor, present: Tensor) -> Fused:
        """The vectors of all modes."""
        v_early, _, _ = self.weighed(self.early_vector(early), present)
        v_late, parts, weights = self.weighed(self.late_vector(late), present)
        none = torch.zeros_like(v_early)
        hybrid = torch.cat([self.share[0] * v_early, self.share[1] * v_late], dim=-1)
        alone = [torch.cat([v_early, none], dim=-1), torch.cat([none, v_late], dim=-1)]
        return Fused(vectors=torch.stack([*alone, hybrid], dim=1), parts=parts, weights=weights)

    def forward(self, about: Streams) -> FusionOut:
        """Everything said of B ticks."""
        present = about.present
        looks = self.look(about)
        late, kind = looks.late, looks.kind
        early = self.together(looks, present)
        fused = self.fuse(early, late, present)

        own = self.give_back(torch.cat([self.squeeze(late), kind], dim=-1))
        own = own.reshape(*present.shape, OWN_HOPS, EMBEDDING_DIM)
        own = own * about.covered[:, :, -OWN_HOPS:, None]
        off = huber(own - looks.x[:, :, -OWN_HOPS:])
        # What the others say of a stream: their pooled vector without the stream's own part.
        parts, weights = fused.parts, fused.weights
        others = (weights * parts).sum(1, keepdim=True) - weights * parts
        others = others / (weights.sum(1, keepdim=True) - weights + 1e-3)
        told = self.tell[1](torch.cat([torch.zeros_like(others), others, kind], dim=-1))
        gist = looks.x[:, :, -GIST_HOPS:].mean(2)
        missed = huber(told - gist)
        errors = torch.stack([off.mean((-1, -2)), missed.mean(-1)], dim=-1)

        s_early = self.judge_early(early)[..., 0]
        # A stream is faulty by itself or by what it shows when: neither part sees the other's
        # input, so that neither can learn scenes by heart.
        s_own = self.judge_own(torch.cat([late, errors[..., :1]], dim=-1))[..., 0]
        s_agreement = self.judge_agreement(
            about.joint, about.modality, present.sum(1, keepdim=True)
        )
        top = torch.maximum(s_own, s_agreement)
        s_late = top + torch.log1p(torch.exp(torch.minimum(s_own, s_agreement) - top))
        weights = self.stack[about.modality]
        s_hybrid = weights[..., 0] * s_early + weights[..., 1] * s_late
        s_hybrid = s_hybrid + weights[..., 2] * about.shifted[..., 0]
        scores = torch.stack([s_early, s_late, s_hybrid], dim=1)
        return FusionOut(
            vectors=fused.vectors,
            scores=scores,
            errors=errors,
            looks=looks,
            own=s_own,
        )

    def judge_agreement(self, joint: Tensor, modality: Tensor, num_streams: Tensor) -> Tensor:
        """Log-odds that a stream is not of the others' moment.

        Args:
            joint: as in `TickInputs`, shape (…, JOINT_DIM).
            modality: index into MODALITIES, shape (…).
            num_streams: how many there are, a shape that goes with it.
        """
        x = (joint - self.joint_usual) / self.joint_spread
        count = torch.log2(num_streams + 1.0).expand_as(modality)[..., None]
        judged: Tensor = self.judge_joint(
            torch.cat([x, self.kind_agreeing(modality), count], dim=-1)
        )
        return judged[..., 0]

    def weighed(self, said: Tensor, present: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean of the streams' vectors by weights of their own; the vectors; the weights."""
        weights = (functional.softplus(said[..., VECTOR_DIM:]) + 1e-3) * present[..., None]
        parts = said[..., :VECTOR_DIM]
        return (weights * parts).sum(1) / (weights.sum(1) + 1e-6), parts, weights


def huber(off: Tensor) -> Tensor:
    """Half the square near zero, linear beyond 1; PyTorch's own has no ONNX form."""
    size = off.abs()
    near = size.clamp(max=1.0)
    return near * (size - 0.5 * near)


def pooled(tokens_BSCD: Tensor, there_BSC: Tensor) -> Tensor:
    """The last token and the mean of those that are there, shape (B, S, 2·D)."""
    weights = there_BSC[..., None]
    mean = (tokens_BSCD * weights).sum(2) / (weights.sum(2) + 1e-3)
    return torch.cat([tokens_BSCD[:, :, -1], mean], dim=-1)
