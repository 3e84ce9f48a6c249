"""Diffusion: a conditioned U-Net and a variational autoencoder, made of the blocks that Stable Diffusion's are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.entry import Entry, pixels


class Block(nn.Module):
    """Two convolutions with group norms, moved by the time where there is one, around a shortcut."""

    def __init__(self, a: int, b: int, time: int = 0) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.GroupNorm(8, a), nn.GroupNorm(8, b)])
        self.convs = nn.ModuleList([nn.Conv2d(a, b, 3, 1, 1), nn.Conv2d(b, b, 3, 1, 1)])
        self.time = nn.Linear(time, b) if time else None
        self.short = nn.Identity() if a == b else nn.Conv2d(a, b, 1)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        y = self.convs[0](F.silu(self.norms[0](x)))
        if self.time is not None and time is not None:
            y = y + self.time(F.silu(time))[:, :, None, None]
        return self.short(x) + self.convs[1](F.silu(self.norms[1](y)))


class Attend(nn.Module):
    """Heads of attention of rows to others (or to themselves)."""

    def __init__(self, width: int, other: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.ask = nn.Linear(width, width, bias=False)
        self.keys, self.values = nn.Linear(other, width, bias=False), nn.Linear(other, width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, other: Tensor) -> Tensor:
        parts = (self.ask(x), self.keys(other), self.values(other))
        q, k, v = (one.unflatten(-1, (self.heads, -1)).transpose(1, 2) for one in parts)
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Mixing(nn.Module):
    """Pixels attend to each other and to the words, then a gated network."""

    def __init__(self, width: int, words: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])
        self.own, self.cross = Attend(width, width), Attend(width, words)
        self.up, self.down = nn.Linear(width, 8 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor, words: Tensor) -> Tensor:
        rows = self.norm(x).flatten(2).transpose(1, 2)
        near = self.norms[0](rows)
        rows = rows + self.own(near, near)
        rows = rows + self.cross(self.norms[1](rows), words)
        value, gate = self.up(self.norms[2](rows)).chunk(2, -1)
        rows = rows + self.down(value * F.gelu(gate))
        return x + rows.transpose(1, 2).reshape(x.shape)


class Diffusion(nn.Module):
    """One step: what noise there is in x at time t, given words."""

    def __init__(self, width: int = 32, words: int = 24) -> None:
        super().__init__()
        self.width, time = width, 4 * width
        self.time = nn.Sequential(nn.Linear(width, time), nn.SiLU(), nn.Linear(time, time))
        self.first, self.last = nn.Conv2d(4, width, 3, 1, 1), nn.Conv2d(width, 4, 3, 1, 1)
        self.down = nn.ModuleList([Block(width, width, time), Block(width, 2 * width, time)])
        self.smaller = nn.Conv2d(width, width, 3, 2, 1)
        self.middle = nn.ModuleList([Block(2 * width, 2 * width, time), Block(2 * width, 2 * width, time)])
        self.up = nn.ModuleList([Block(4 * width, 2 * width, time), Block(3 * width, width, time)])
        self.larger = nn.Conv2d(2 * width, 2 * width, 3, 1, 1)
        self.mixing = nn.ModuleList([Mixing(one, words) for one in (width, 2 * width, 2 * width, width)])
        self.norm = nn.GroupNorm(8, width)

    def forward(self, x: Tensor, t: Tensor, words: Tensor) -> Tensor:
        half = self.width // 2
        angles = t[:, None].float() * torch.exp(torch.arange(half) * (-math.log(10000) / half))
        time = self.time(torch.cat([angles.cos(), angles.sin()], -1))
        near = self.mixing[0](self.down[0](self.first(x), time), words)
        far = self.mixing[1](self.down[1](self.smaller(near), time), words)
        y = self.middle[1](self.mixing[2](self.middle[0](far, time), words), time)
        y = self.up[0](torch.cat([y, far], 1), time)
        y = self.larger(F.interpolate(y, scale_factor=2.0, mode="nearest"))
        y = self.mixing[3](self.up[1](torch.cat([y, near], 1), time), words)
        return self.last(F.silu(self.norm(y)))


class Pixels(nn.Module):
    """One head of attention of all pixels to each other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.attend = nn.GroupNorm(8, width), Attend(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.norm(x).flatten(2).transpose(1, 2)
        return x + self.attend(rows, rows).transpose(1, 2).reshape(x.shape)


class Autoencoder(nn.Module):
    """An image to the mean and the deviation of its latents, and the mean back to an image."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 3, 1, 1),
            Block(width, width),
            nn.ZeroPad2d((0, 1, 0, 1)),
            nn.Conv2d(width, width, 3, 2),
            Block(width, 2 * width),
            Pixels(2 * width),
            nn.GroupNorm(8, 2 * width),
            nn.SiLU(),
            nn.Conv2d(2 * width, 8, 3, 1, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(4, 2 * width, 3, 1, 1),
            Pixels(2 * width),
            Block(2 * width, 2 * width),
            nn.Upsample(scale_factor=2.0),
            nn.Conv2d(2 * width, width, 3, 1, 1),
            Block(width, width),
            nn.GroupNorm(8, width),
            nn.SiLU(),
            nn.Conv2d(width, 3, 3, 1, 1),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, spread = self.encoder(x).chunk(2, 1)
        return self.decoder(mean), mean, torch.exp(0.5 * spread.clamp(-30, 20))


ENTRIES = (
    Entry("Diffusion U-Net", lambda: (Diffusion(), (pixels(16, 4), torch.tensor([10]), torch.randn(1, 7, 24)))),
    Entry("VAE", lambda: (Autoencoder(), (pixels(32),))),
)
