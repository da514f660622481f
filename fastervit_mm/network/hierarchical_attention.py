"""Hierarchical attention (HAT): attention inside windows, and between windows by carrier tokens.

Each window has a few carrier tokens. All carrier tokens of an image attend to each other; then
every window's tokens and its own carriers attend to each other. Carrier tokens are stored window
by window throughout, so handing them to their windows and back is a reshape: attention does not
care about the order, only the position tables do (see `positions.token_grid`).
Source: FasterViT paper, section 3.3. Attribute names are those of the published checkpoints.
"""

from __future__ import annotations

from collections import Counter

import torch
from timm.layers import DropPath
from timm.layers import Mlp as TimmMlp
from torch import Tensor, nn
from torch.nn import functional as F

from .convolution import add_branch
from .positions import ConstantTable, PositionEmbedding, RelativePositionBias, TokenGrid
from .reparameterization import LAYER_SCALES, LINEAR_LAYERS
from .token_linear import TokenLinear
from .windows import pool_carriers


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(head_dim) + bias) v, each (B, heads, N, head_dim); ``bias``:
    (1, heads, N, N).

    By PyTorch's fused kernel, but for bf16 on a CPU, where it takes 1.5 times as long as its parts.
    """
    parts = query.device.type == 'cpu' and query.dtype == torch.bfloat16
    if not parts or torch.compiler.is_compiling():
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))
    scores = (query @ key.transpose(-2, -1)).float() * query.shape[-1] ** -0.5 + bias
    return scores.softmax(-1).to(query.dtype) @ value


@torch.no_grad()
def _scale_output(layer: nn.Linear, gamma: Tensor) -> None:
    """Make ``layer`` give ``gamma`` times what it gave.

    By new parameters: a ``state_dict()`` taken before holds the memory of the old ones.
    """
    layer.weight = nn.Parameter(gamma[:, None] * layer.weight)
    layer.bias = nn.Parameter(gamma * layer.bias)


class Mlp(TimmMlp):
    """timm's MLP, Linear -> GELU -> Linear, (..., dim) -> (..., dim), which can be rewritten.

    Args:
        dim: channels.
        hidden: channels between the two layers.
    """

    fc1: nn.Linear
    fc2: nn.Linear

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__(dim, hidden)

    def scale_output(self, gamma: Tensor) -> None:
        """Give ``gamma``, (dim,), times what it gave."""
        _scale_output(self.fc2, gamma)

    def reparameterize(self) -> Counter[str]:
        """Its linear layers to oneDNN, the first with its GELU."""
        self.fc1, self.act = TokenLinear(self.fc1, 'gelu'), nn.Identity()
        self.fc2 = TokenLinear(self.fc2)
        return Counter({LINEAR_LAYERS: 2})


class Attention(nn.Module):
    """Multi-head self-attention with a relative position bias, (B, N, dim) -> (B, N, dim).

    Args:
        dim: channels.
        num_heads: heads; it divides ``dim``.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.pos_emb_funct: RelativePositionBias | ConstantTable = RelativePositionBias(num_heads)

    def forward(self, x: Tensor, grid: TokenGrid) -> Tensor:
        """``x``'s last tokens are those of ``grid``; carrier tokens before them get no bias."""
        batch, count, dim = x.shape
        num_carriers = count - grid.coordinates.shape[0]
        bias = self.pos_emb_funct(grid, num_carriers)
        qkv = self.qkv(x).reshape(batch, count, 3, self.num_heads, dim // self.num_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, N, head_dim)
        x = attention(query, key, value, bias[None])
        return self.proj(x.transpose(1, 2).reshape(batch, count, dim))

    def scale_output(self, gamma: Tensor) -> None:
        """Give ``gamma``, (dim,), times what it gave."""
        _scale_output(self.proj, gamma)

    @torch.no_grad()
    def use_constant_bias(self, grid: TokenGrid, num_carriers: int) -> int:
        """Compute the bias of ``grid`` once and for all; returns how many tables that are."""
        bias = self.pos_emb_funct(grid, num_carriers)
        self.pos_emb_funct = ConstantTable(bias.to(self.qkv.weight.dtype))
        return 1

    def reparameterize(self) -> Counter[str]:
        """Its linear layers to oneDNN."""
        self.qkv, self.proj = TokenLinear(self.qkv), TokenLinear(self.proj)
        return Counter({LINEAR_LAYERS: 2})


class CarrierTokens(nn.Module):
    """First carrier tokens of a stage: a depthwise 3×3 convolution, then average pooling.

    Args:
        dim: channels.
        window: side of a window, px.
        ct_size: carrier tokens along a window.
        pooling: 'aligned' or 'stretched', see `windows.carrier_positions`.
    """

    def __init__(self, dim: int, window: int, ct_size: int, pooling: str) -> None:
        super().__init__()
        self.window, self.ct_size, self.pooling = window, ct_size, pooling
        self.pos_embed = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)

    def forward(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """(B, C, at least rows*w, at least columns*w) -> (B, C, rows*c, columns*c)."""
        return pool_carriers(
            self.pos_embed(x), self.window, self.ct_size, rows, columns, self.pooling
        )


def upsample_carriers(carriers: Tensor, ct_size: int, window: int) -> Tensor:
    """Nearest neighbours, (B*nW, c*c, C) -> (B*nW, w*w, C)."""
    square = carriers.transpose(1, 2).unflatten(-1, (ct_size, ct_size))
    return F.interpolate(square, size=(window, window), mode='nearest').flatten(2).transpose(1, 2)


def layer_scale_parameter(dim: int, value: float | None) -> nn.Parameter | None:
    """(dim,) parameter filled with ``value``, or None, which stands for 1."""
    return None if value is None else nn.Parameter(torch.full((dim,), float(value)))


def scaled(x: Tensor, gamma: Tensor | None) -> Tensor:
    """``gamma * x``, where None stands for 1."""
    return x if gamma is None else gamma * x


class WindowBlock(nn.Module):
    """Attention and MLP of a window's tokens: (B*nW, w*w, dim) -> the same shape.

    Args:
        dim: channels.
        num_heads: heads.
        mlp_ratio: hidden width of the MLP over ``dim``.
        drop_path: probability of leaving a branch out, per window.
        layer_scale: initial value of the per-channel scales gamma3 and gamma4; None: no scales.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.pos_embed: PositionEmbedding | ConstantTable = PositionEmbedding(dim)
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.gamma3 = layer_scale_parameter(dim, layer_scale)
        self.gamma4 = layer_scale_parameter(dim, layer_scale)

    def attend(self, x: Tensor, grid: TokenGrid) -> Tensor:
        """Steps of the window itself; carrier tokens, if any, stand before its tokens."""
        attended = scaled(self.attn(self.norm1(x), grid), self.gamma3)
        x = add_branch(x, self.drop_path(attended), self)
        changed = scaled(self.mlp(self.norm2(x)), self.gamma4)
        return add_branch(x, self.drop_path(changed), self)

    def forward(self, x: Tensor, grid: TokenGrid) -> Tensor:
        return self.attend(x + self.pos_embed(grid).to(x.dtype), grid)

    @torch.no_grad()
    def use_constant_tables(self, grid: TokenGrid, num_carriers: int) -> int:
        """Compute the tables of a window, ``grid``, once and for all; returns how many.

        Args:
            grid: of a window's tokens.
            num_carriers: carrier tokens of a window.
        """
        embedding = self.pos_embed(grid)
        self.pos_embed = ConstantTable(embedding.to(self.norm1.weight.dtype))
        return 1 + self.attn.use_constant_bias(grid, num_carriers)

    def reparameterize(self) -> Counter[str]:
        """Each layer scale into the linear layer whose output it multiplies."""
        count = self._fold_scale('gamma3', self.attn) + self._fold_scale('gamma4', self.mlp)
        return Counter({LAYER_SCALES: count})

    def _fold_scale(self, name: str, branch: Attention | Mlp) -> int:
        """The layer scale ``name``, where there is one, into ``branch``; returns how many."""
        gamma = getattr(self, name)
        if gamma is None:
            return 0
        branch.scale_output(gamma)
        setattr(self, name, None)
        return 1


class HATBlock(WindowBlock):
    """A window block whose windows exchange carrier tokens.

    Args:
        dim: channels.
        num_heads: heads.
        mlp_ratio: hidden width of both MLPs over ``dim``.
        drop_path: probability of leaving a branch out, per window, or per image for carriers.
        layer_scale: initial value of gamma1 and gamma2 too, the carriers' scales; None: no scales.
        propagates: a stage's last block, whose carrier tokens `propagate` adds to the map.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        *,
        mlp_ratio: float = 4,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
        propagates: bool = False,
    ) -> None:
        super().__init__(
            dim, num_heads, mlp_ratio=mlp_ratio, drop_path=drop_path, layer_scale=layer_scale
        )
        self.propagates = propagates
        self.hat_pos_embed = PositionEmbedding(dim)
        self.hat_norm1 = nn.LayerNorm(dim)
        self.hat_attn = Attention(dim, num_heads)
        self.hat_norm2 = nn.LayerNorm(dim)
        self.hat_mlp = Mlp(dim, int(dim * mlp_ratio))
        self.gamma1 = layer_scale_parameter(dim, layer_scale)
        self.gamma2 = layer_scale_parameter(dim, layer_scale)

    def exchange(self, carriers: Tensor, grid: TokenGrid) -> Tensor:
        """All carrier tokens of an image attend to each other: (B, nW*c*c, C) -> the same."""
        carriers = carriers + self.hat_pos_embed(grid).to(carriers.dtype)
        attended = scaled(self.hat_attn(self.hat_norm1(carriers), grid), self.gamma1)
        carriers = add_branch(carriers, self.drop_path(attended), self)
        changed = scaled(self.hat_mlp(self.hat_norm2(carriers)), self.gamma2)
        return add_branch(carriers, self.drop_path(changed), self)

    def forward(  # type: ignore[override]  # its stage gives it carriers too
        self, x: Tensor, carriers: Tensor, grid: TokenGrid, carrier_grid: TokenGrid
    ) -> tuple[Tensor, Tensor]:
        """(B*nW, w*w, C) and (B, nW*c*c, C), window by window -> the same shapes."""
        x = x + self.pos_embed(grid).to(x.dtype)
        carriers = self.exchange(carriers, carrier_grid)
        own = carriers.reshape(x.shape[0], -1, x.shape[-1])  # (B*nW, c*c, C)
        both = self.attend(torch.cat((own.to(x.dtype), x), dim=1), grid)
        own, x = both.split((own.shape[1], x.shape[1]), dim=1)
        return x, own.reshape(carriers.shape)

    def propagate(self, x: Tensor, carriers: Tensor, ct_size: int, window: int) -> Tensor:
        """Add the carrier tokens to their windows: (B*nW, w*w, C), (B, nW*c*c, C) -> as the first.

        Args:
            x: windows.
            carriers: window by window.
            ct_size: carrier tokens along a window.
            window: side of a window, px.
        """
        own = carriers.reshape(x.shape[0], -1, x.shape[-1])  # (B*nW, c*c, C)
        return x + scaled(upsample_carriers(own, ct_size, window), self.gamma1)

    def reparameterize(self) -> Counter[str]:
        """As `WindowBlock`'s; the carriers' scales stay where gamma1 serves `propagate` too."""
        done = super().reparameterize()
        if not self.propagates:
            done[LAYER_SCALES] += self._fold_scale('gamma1', self.hat_attn)
            done[LAYER_SCALES] += self._fold_scale('gamma2', self.hat_mlp)
        return done
