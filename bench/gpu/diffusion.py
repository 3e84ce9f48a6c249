"""The U-Net of Stable Diffusion 1.5 (Rombach et al., 2022) in plain PyTorch: its shapes, weights drawn."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS = (320, 640, 1280, 1280)
HEADS, CONTEXT, WORDS, GROUPS = 8, 768, 77, 32


class Residual(nn.Module):
    """Two convolutions, with the moment added between them."""

    def __init__(self, before: int, after: int, moment: int) -> None:
        super().__init__()
        self.first, self.second = nn.GroupNorm(GROUPS, before), nn.GroupNorm(GROUPS, after)
        self.into, self.out = nn.Conv2d(before, after, 3, padding=1), nn.Conv2d(after, after, 3, padding=1)
        self.moment = nn.Linear(moment, after)
        self.short = nn.Conv2d(before, after, 1) if before != after else nn.Identity()

    def forward(self, x: Tensor, moment: Tensor) -> Tensor:
        y = self.into(F.silu(self.first(x))) + self.moment(F.silu(moment))[:, :, None, None]
        return self.short(x) + self.out(F.silu(self.second(y)))


class Attention(nn.Module):
    """Of pixels to pixels, or to words."""

    def __init__(self, width: int, seen: int) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(one, width, bias=False) for one in (width, seen, seen))
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        q, k, v = (self._heads(layer(one)) for layer, one in ((self.q, x), (self.k, seen), (self.v, seen)))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(2, (HEADS, -1)).transpose(1, 2)


class Transformer(nn.Module):
    """Pixels attend to each other and to the words, then a gated MLP."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.into, self.out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.itself, self.words = Attention(width, width), Attention(width, CONTEXT)
        self.gated, self.last = nn.Linear(width, 8 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        y = self.into(self.norm(x)).flatten(2).transpose(1, 2)
        z = self.norms[0](y)
        y = y + self.itself(z, z)
        y = y + self.words(self.norms[1](y), words)
        value, gate = self.gated(self.norms[2](y)).chunk(2, dim=2)
        y = y + self.last(value * F.gelu(gate))
        return x + self.out(y.transpose(1, 2).unflatten(2, x.shape[2:]))


class UNet(nn.Module):
    """Levels of two blocks down, three up; attention in all but the lowest."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        first, moment, lowest = widths[0], 4 * widths[0], len(widths) - 1
        self.width = first
        self.moment = nn.Sequential(nn.Linear(first, moment), nn.SiLU(), nn.Linear(moment, moment))
        self.start = nn.Conv2d(4, first, 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        kept, width = [first], first
        for level, after in enumerate(widths):
            for _ in range(2):
                self.down.append(nn.ModuleList(_block(width, after, moment, level < lowest)))
                width = after
                kept.append(width)
            if level < lowest:
                self.down.append(nn.Conv2d(width, width, 3, 2, 1))
                kept.append(width)
        self.middle = nn.ModuleList((*_block(width, width, moment, True), Residual(width, width, moment)))
        for level, after in reversed(list(enumerate(widths))):
            for _ in range(3):
                self.up.append(nn.ModuleList(_block(width + kept.pop(), after, moment, level < lowest)))
                width = after
            if level:
                self.up.append(nn.Conv2d(width, width, 3, padding=1))
        self.norm, self.end = nn.GroupNorm(GROUPS, first), nn.Conv2d(first, 4, 3, padding=1)

    def forward(self, latent: Tensor, time: Tensor, words: Tensor) -> Tensor:
        """The noise in latents [n, 4, h, w] at times [n], given words [n, 77, 768]."""
        half = self.width // 2
        rates = torch.exp(-math.log(10000) / half * torch.arange(half, device=latent.device)).to(latent.dtype)
        angles = time[:, None] * rates[None]
        moment = self.moment(torch.cat([torch.cos(angles), torch.sin(angles)], 1))
        x = self.start(latent)
        kept = [x]
        for layer in self.down:
            x = layer(x) if isinstance(layer, nn.Conv2d) else _run(layer, x, moment, words)
            kept.append(x)
        x = self.middle[2](_run(self.middle[:2], x, moment, words), moment)
        for layer in self.up:
            if isinstance(layer, nn.Conv2d):
                x = layer(F.interpolate(x, scale_factor=2.0))
            else:
                x = _run(layer, torch.cat([x, kept.pop()], 1), moment, words)
        return self.end(F.silu(self.norm(x)))


def _block(before: int, after: int, moment: int, attends: bool) -> list[nn.Module]:
    return [Residual(before, after, moment), *([Transformer(after)] if attends else [])]


def _run(layers: nn.ModuleList, x: Tensor, moment: Tensor, words: Tensor) -> Tensor:
    x = layers[0](x, moment)
    return layers[1](x, words) if len(layers) > 1 else x


def unet(batch: int = 2, size: int = 64, widths: tuple[int, ...] = WIDTHS) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The model with seeded weights, and inputs for it."""
    torch.manual_seed(0)
    model = UNet(widths).eval()
    return model, (torch.randn(batch, 4, size, size), torch.rand(batch) * 1000, torch.randn(batch, WORDS, CONTEXT))
