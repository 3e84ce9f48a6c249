"""Functions of PyTorch by family: each is called on the family's inputs, and its result is held against PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Family:
    inputs: tuple[torch.Tensor, ...]
    functions: dict[str, Callable[..., Any]]


class Together(nn.Module):
    """All functions of a family as one module, which returns their results by name."""

    def __init__(self, functions: dict[str, Callable[..., Any]]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, *inputs: torch.Tensor) -> dict[str, Any]:
        return {name: function(*inputs) for name, function in self.functions.items()}


def _some(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape) + len(shape)))


def _whole(low: int, high: int, *shape: int) -> torch.Tensor:
    return torch.randint(low, high, shape, generator=torch.Generator().manual_seed(sum(shape)))


def _in_place(x: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    z = x.clone()
    z[:, 1] += 2
    z[0, ::2] = x[1, ::2]
    view = z.view(-1)
    view[3:5].mul_(3)
    z[z > 1] = 0.5
    return z


def _switch(x: torch.Tensor, i: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
    return torch.cond(i.sum() > 3, lambda a: a.sin(), lambda a: a.cos() + 1, (x,))


NAMES_OF_ONE = (
    *("abs", "acos", "asin", "atan", "ceil", "cos", "erf", "exp", "expm1", "floor", "log1p", "neg", "reciprocal"),
    *("relu", "round", "rsqrt", "sigmoid", "sign", "sin", "sqrt", "tan", "tanh", "trunc", "exp2", "log2", "log10"),
    *("isfinite", "isnan", "isinf", "logical_not", "frac", "square", "erfc", "sinc", "logit", "positive", "deg2rad"),
    "nan_to_num",
)
INSIDE = {"acos", "asin", "rsqrt", "sqrt", "log2", "log10", "logit"}
ACTIVATIONS = (
    *("relu", "relu6", "silu", "hardswish", "hardsigmoid", "mish", "selu", "leaky_relu", "celu", "gelu", "elu"),
    *("hardtanh", "softplus", "softsign", "tanhshrink", "logsigmoid", "hardshrink", "softshrink"),
)


def _of_one(name: str) -> Callable[..., Any]:
    function = getattr(torch, name)
    return lambda x, *_: function(x.abs() * 0.3 + 0.05) if name in INSIDE else function(x)


FAMILIES: dict[str, Family] = {
    "elementwise": Family(
        (_some(3, 4), _some(3, 4), _whole(-5, 6, 3, 4), _some(4)),
        {
            **{name: _of_one(name) for name in NAMES_OF_ONE},
            "acosh": lambda x, *_: torch.acosh(x.abs() + 1.5),
            "atanh": lambda x, *_: torch.atanh(x.tanh() * 0.9),
            "add": lambda x, y, i, v: torch.add(x, v, alpha=2) + i,
            "sub": lambda x, y, i, v: 1 - torch.sub(x, y, alpha=3),
            "mul of kinds": lambda x, y, i, v: i * 2.5,
            "div of integers": lambda x, y, i, v: i / 2,
            "floor div": lambda x, y, i, v: torch.div(x, y, rounding_mode="floor"),
            "trunc div": lambda x, y, i, v: torch.div(i, 3, rounding_mode="trunc"),
            "whole floor div": lambda x, y, i, v: i // 3,
            "remainder": lambda x, y, i, v: (x % 0.7, i % -3),
            "fmod": lambda x, y, i, v: (torch.fmod(x, 0.7), torch.fmod(i, 3)),
            "pow": lambda x, y, i, v: (x**2, x**3, x.abs() ** 0.5, 2.0**x, x.abs() ** y, i**2),
            "compare": lambda x, y, i, v: (x > y, x <= 0.5, i == 2, i != x.round(), i >= 0, i < v),
            "logic": lambda x, y, i, v: ((x > 0) & (y > 0), (x > 0) | (y > 0), (x > 0) ^ (y > 0), ~(x > 0)),
            "bits": lambda x, y, i, v: (i & 6, i | 1, i ^ 3, ~i, i << 2, i >> 1),
            "where": lambda x, y, i, v: (
                torch.where(x > 0, x, y),
                torch.where(i > 0, 1.5, y),
                torch.where(i > 0, i, 0),
            ),
            "clamp": lambda x, y, i, v: (x.clamp(-0.5, 0.5), x.clamp(min=0), x.clamp(max=v), i.clamp(-1, 2)),
            "masked_fill": lambda x, y, i, v: x.masked_fill(y > 0, float("-inf")),
            "max min": lambda x, y, i, v: (torch.maximum(x, y), torch.minimum(x, v), torch.max(x, y), torch.fmax(x, y)),
            "atan2": lambda x, y, i, v: (torch.atan2(x, y), torch.atan2(x * torch.inf, y * torch.inf)),
            "lerp": lambda x, y, i, v: (torch.lerp(x, y, 0.3), torch.addcmul(x, y, v, value=0.5)),
            "addcdiv": lambda x, y, i, v: torch.addcdiv(x, y, v.abs() + 1, value=0.5),
            "to": lambda x, y, i, v: (x.to(torch.float64), i.to(torch.float32), x.to(torch.int32), i.bool(), x.half()),
            "full": lambda x, y, i, v: (torch.zeros(2, 3), torch.ones_like(i), torch.full((2,), 1.5), x.new_zeros(2)),
            "arange": lambda x, y, i, v: (torch.arange(5), torch.arange(1, 9, 2), torch.arange(0, 1, 0.25)),
            "linspace": lambda x, y, i, v: (torch.linspace(0, 1, 5), torch.eye(3), torch.tril(x), torch.triu(x, 1)),
            "hypot": lambda x, y, i, v: (torch.hypot(x, y), torch.xlogy(x.abs(), y.abs()), torch.heaviside(x, v)),
            "copysign": lambda x, y, i, v: (torch.copysign(x, y), torch.logaddexp(x, y), torch.ldexp(x, i)),
        },
    ),
    "activations": Family(
        (_some(2, 6, 5), _some(6)),
        {
            **{name: (lambda f: lambda x, w: f(x))(getattr(F, name)) for name in ACTIVATIONS},
            "gelu tanh": lambda x, w: F.gelu(x, approximate="tanh"),
            "elu alpha": lambda x, w: F.elu(x, 0.5),
            "softplus": lambda x, w: F.softplus(x, 2.0, 10.0),
            "glu": lambda x, w: F.glu(x, 1),
            "prelu": lambda x, w: F.prelu(x, w.abs()),
            "threshold": lambda x, w: F.threshold(x, 0.1, -1.0),
            "softmax": lambda x, w: (F.softmax(x, -1), F.log_softmax(x, 1), x.softmax(0)),
            "dropout": lambda x, w: F.dropout(x, 0.5, training=False),
            "normalize": lambda x, w: F.normalize(x, dim=1),
            "cosine": lambda x, w: (
                F.cosine_similarity(x, x.flip(1), dim=2),
                *(F.cosine_similarity(x, x[0], -1), F.cosine_similarity(x[:1], x, 0)),
            ),
            "one hot": lambda x, w: F.one_hot(torch.arange(4) % 3, 5),
        },
    ),
    "views": Family(
        (_some(2, 3, 4), _some(4, 6)),
        {
            "view": lambda x, y: (x.view(6, -1), x.reshape(-1), x.flatten(1), x.unflatten(2, (2, 2))),
            "permute": lambda x, y: (x.permute(2, 0, 1), x.transpose(0, 2), y.t(), y.T, x.movedim(0, 2), x.mT),
            "expand": lambda x, y: (x[:, :1].expand(2, 5, 4), y.expand(3, -1, -1), x.repeat(2, 1, 3), y.tile(2)),
            "squeeze": lambda x, y: (x[:1].squeeze(), x[:1].squeeze(0), x.unsqueeze(-1), x[None]),
            "slice": lambda x, y: (x[:, 1:], x[..., ::2], x[-1], x[:, -2:, 1:3], y[1:100]),
            "narrow": lambda x, y: (x.narrow(2, 1, 2), x.select(1, -1), y.diagonal(), y.diagonal(1, 1, 0)),
            "flip": lambda x, y: (x.flip(0, 2), x.roll(1, 2), x.roll((1, 2), (0, 1)), y.rot90(), x.roll(2)),
            "cat": lambda x, y: (torch.cat([x, x[:, :1]], 1), torch.stack([y, y], 1), torch.hstack([y, y])),
            "split": lambda x, y: (x.split(2, 2), y.split([1, 2, 3], 1), y.chunk(4, 1), x.unbind(1), y.tensor_split(3)),
            "pad": lambda x, y: (F.pad(x, (1, 2)), F.pad(x, (1, 1, 2, 0), value=3.0), F.pad(y, (-1, -2))),
            "reflect": lambda x, y: (F.pad(x, (1, 2), mode="reflect"), F.pad(x, (2, 1), mode="replicate")),
            "circular": lambda x, y: F.pad(x, (1, 2), mode="circular"),
            "unfold": lambda x, y: (y.unfold(1, 3, 2), y.as_strided((2, 3), (1, 2), 1)),
            "meshgrid": lambda x, y: torch.meshgrid(x[0, 0], y[0], indexing="xy"),
            "interleave": lambda x, y: (x.repeat_interleave(2, 1), torch.broadcast_tensors(x[:, :1], y[:, :1].t())),
            "pixels": lambda x, y: (
                F.pixel_shuffle(y.view(1, 4, 2, 3), 2),
                F.pixel_unshuffle(y.view(1, 1, 4, 6), 2),
                F.channel_shuffle(y.view(1, 4, 2, 3), 2),
            ),
            "triangles": lambda x, y: (torch.tril_indices(3, 4), torch.triu(y, -1), torch.block_diag(y, y)),
            "einsum": lambda x, y: (torch.einsum("bij,jk->bik", x, y), torch.einsum("bij,bij->bi", x, x)),
            "cartesian": lambda x, y: torch.cartesian_prod(y[0], x[0, 0]),
        },
    ),
    "reductions": Family(
        (_some(3, 4, 5), _whole(-4, 5, 3, 4)),
        {
            "sum": lambda x, i: (x.sum(), x.sum(1), x.sum((0, 2), keepdim=True), i.sum(1), (i > 0).sum()),
            "mean": lambda x, i: (
                x.mean(),
                x.mean(-1, keepdim=True),
                i.float().mean((0, 1)),
                x.mean(1, dtype=torch.double),
            ),
            "extremes": lambda x, i: (x.max(), x.amax(1), x.amin((0, 1)), i.min(), x.max(1), x.min(2, keepdim=True)),
            "places": lambda x, i: (x.argmax(), x.argmax(1), x.argmin(2, keepdim=True)),
            "any": lambda x, i: ((x > 1).any(), (x > 0).any(1), (x > -9).all(), (i > 0).all(1, keepdim=True)),
            "var": lambda x, i: (x.var(), x.var(1), x.std((0, 2)), x.var(1, unbiased=False), torch.var_mean(x, 2)),
            "var of parts": lambda x, i: (x.var(1, correction=1.3), torch.std_mean(x, (0, 2), correction=0.5)),
            "numbers along an axis": lambda x, i: (
                *((x[0, 0, 0] + 2).softmax(0), x[0, 0, 0].log_softmax(-1), x[0, 0, 0].cummax(0), x[0, 0, 0].cummin(-1)),
                *(x[0, 0, 0].kthvalue(1), x[0, 0, 0].median(0), x[0, 0, 0].topk(1), x[0, 0, 0].sort(0)),
                *(x[0, 0, 0].cumsum(0), i[0, 0].cumprod(0), x[0, 0, 0].logcumsumexp(0)),
            ),
            "prod": lambda x, i: (x.prod(1), i.prod(1), x.prod()),
            "norm": lambda x, i: (
                x.norm(),
                x.norm(dim=1),
                x.norm(p=1, dim=2),
                x.norm(p=3, dim=2),
                x.norm(float("inf")),
            ),
            "logsumexp": lambda x, i: x.logsumexp((1, 2)),
            "cumulative": lambda x, i: (x.cumsum(1), i.cumsum(0), x.cumprod(2), x.logcumsumexp(1)),
            "cummax": lambda x, i: (x.cummax(1), x.cummin(2)),
            "order": lambda x, i: (x.topk(2), x.sort(1), x.sort(descending=True), x.argsort(0), x.kthvalue(2)),
            "median": lambda x, i: (x.median(1)[0], x.median()),
            "aminmax": lambda x, i: torch.aminmax(x, dim=1),
            "count": lambda x, i: (i.count_nonzero(), x.nanmean(1), x.nansum(1)),
            "diff": lambda x, i: (x.diff(dim=1), torch.trapezoid(x, dim=1)),
            "bucketize": lambda x, i: (
                torch.bucketize(x, torch.linspace(-1, 1, 4)),
                torch.bucketize(torch.where(x > 0.5, x, torch.nan), torch.linspace(-1, 1, 4), right=True),
                torch.isin(i, torch.tensor([1, 2])),
            ),
        },
    ),
    "indexing": Family(
        (_some(4, 5, 6), torch.tensor([0, 2, -1]), torch.tensor([1, 3, 4]), _whole(0, 4, 4, 5, 6)),
        {
            "one": lambda x, i, j, k: (x[i], x[:, i], x[..., j], x.index_select(1, j)),
            "two": lambda x, i, j, k: (x[i, j], x[:, i, j], x[i, :, j], x[i[:, None], j[None]], x[:, i, 1]),
            "mask": lambda x, i, j, k: (x[x > 0], x[x[:, 0, 0] > 0], x.masked_select(x > 1)),
            "nonzero": lambda x, i, j, k: ((x > 1).nonzero(), torch.where(x > 1)),
            "gather": lambda x, i, j, k: (x.gather(0, k), torch.take_along_dim(x, k[:1], 0), x.take(j)),
            "embedding": lambda x, i, j, k: F.embedding(j, x[0]),
            "bag": lambda x, i, j, k: (
                F.embedding_bag(j, x[0], torch.tensor([0, 2]), mode="mean"),
                F.embedding_bag(k[0, :2, :2], x[0], mode="sum"),
                F.embedding_bag(k[0, :2, :2], x[0], mode="max"),
            ),
            "put": lambda x, i, j, k: (
                x.index_put((i, j), torch.ones(3, 6)),
                x.index_put((i,), x[0] + 1, accumulate=True),
                x.index_put((x > 0,), torch.tensor(2.0)),
            ),
            "put inside": lambda x, i, j, k: _put(x, i, j),
            "places of a number": lambda x, i, j, k: (
                *(x[0, 0, 0].index_select(0, i[:1] * 0), x[0, 0, 0].index_fill(0, i[:1] * 0, 4.0)),
                *(x[0, 0, 0].index_add(0, i[:1] * 0, x[0, 0, 1]), x[0, 0, 0].index_copy(0, i[:1] * 0, x[0, 0, 1])),
            ),
            "masked scatter": lambda x, i, j, k: (
                x.masked_scatter(x > 0, torch.arange(120.0)),
                x[0, 0].masked_scatter(x > 0, torch.arange(120.0)),
            ),
            "scatter": lambda x, i, j, k: (
                x.scatter(0, k, 1.5),
                x.scatter(0, k[:2, :2], x * 2),
                x.scatter_add(0, k, x),
                x.scatter_reduce(0, k, x, "amax"),
                x.scatter_reduce(0, k, x, "mean", include_self=False),
                x.scatter_reduce(0, k, x, "prod", include_self=False),
                x.scatter_reduce(0, k, x, "sum"),
            ),
            "index_add": lambda x, i, j, k: (
                x.index_add(1, j, x[:, :3], alpha=2),
                x.index_copy(1, j, x[:, :3] + 1),
                x.index_fill(1, j, 0.5),
            ),
            "in place": _in_place,
            "scatter views": lambda x, i, j, k: (
                x.select_scatter(x[:, 0] * 2, 1, 3),
                x.slice_scatter(x[:, :2] * 2, 1, 1, 3),
                x.slice_scatter(x[:, :2] * 2, 1, 0, 4, 2),
                x.diagonal_scatter(torch.zeros(6, 4), 0, 0, 1),
            ),
            "cond": _switch,
        },
    ),
    "products": Family(
        (_some(3, 4, 5), _some(5, 6), _some(3, 5, 4), _some(6)),
        {
            "matmul": lambda a, b, c, v: (a @ b, a @ c, a[0] @ b, b @ v, v @ b.t(), v @ v),
            "linear": lambda a, b, c, v: F.linear(a, b.t(), v),
            "addmm": lambda a, b, c, v: torch.addmm(v, a[0], b, beta=0.5, alpha=2),
            "baddbmm": lambda a, b, c, v: (torch.baddbmm(a @ c, a, c), torch.addbmm(a[0] @ c[0], a, c)),
            "outer": lambda a, b, c, v: (torch.outer(v, v), torch.kron(b, b), torch.tensordot(a, b, 1)),
            "bilinear": lambda a, b, c, v: F.bilinear(a[0], a[1], c[:, :, :1] * a[:, :1]),
            "distances": lambda a, b, c, v: (
                torch.cdist(a, a),
                torch.cdist(a, a, p=1.0),
                F.pairwise_distance(b, b + 1),
                F.pdist(b),
            ),
            "attention": lambda a, b, c, v: (
                F.scaled_dot_product_attention(a, a, a),
                F.scaled_dot_product_attention(a[None], a[None], a[None], is_causal=True),
                F.scaled_dot_product_attention(a[None], a[None], a[None], a[None, :, :, :4], scale=0.3),
                F.scaled_dot_product_attention(a[None], a[None], a[None], a[0, :, :4] > -1),
                F.scaled_dot_product_attention(a[None].repeat(1, 2, 1, 1), a[None], a[None], enable_gqa=True),
                *(
                    F.scaled_dot_product_attention(a[None], a[None], a[None], mask)
                    for one in (a[:, :, :4] * 3, a[:, :, :4] > -1.2)
                    for mask in (one[0], one[0, :1], one[None], one[None, :1], one[:1, :, :1])
                ),
                F.scaled_dot_product_attention(a[None], a[None], a[None], (a[0, :, :4] < 9).tril(-1)),
            ),
            "vectors": lambda a, b, c, v: (
                torch.linalg.cross(b[:3], b[:3] + 1, dim=0),
                torch.trace(b),
                torch.dot(v, v),
            ),
            "loss": lambda a, b, c, v: (F.mse_loss(a, a + 1), F.cross_entropy(b, torch.tensor([1, 0, 2, 3, 1]))),
        },
    ),
    "norms": Family(
        (_some(2, 6, 4, 4), _some(6), _some(4)),
        {
            "layer": lambda x, w, v: (F.layer_norm(x, (4,), v, v), F.layer_norm(x, (4, 4))),
            "rms": lambda x, w, v: (F.rms_norm(x, (4,), v), F.rms_norm(x, (4,), v, 1e-6)),
            "group": lambda x, w, v: (F.group_norm(x, 3, w, w), F.group_norm(x, 2)),
            "instance": lambda x, w, v: F.instance_norm(x, weight=w, bias=w),
            "batch": lambda x, w, v: F.batch_norm(x, w, w.abs() + 0.1, w, w),
            "batch own": lambda x, w, v: F.batch_norm(x, None, None, w, w, training=True),
            "response": lambda x, w, v: F.local_response_norm(x, 3),
            "weight": lambda x, w, v: torch._weight_norm(x, x[:, :1, :1, :1], 0),
        },
    ),
    "windows": Family(
        (_some(2, 4, 9, 8), _some(6, 2, 3, 3), _some(4, 3, 3, 3), _some(2, 4, 9)),
        {
            "conv": lambda x, w, t, s: (
                F.conv2d(x[:, :2], w, stride=2, padding=1),
                F.conv2d(x, w, padding="same", groups=2),
                F.conv2d(x, w[:4, :1], groups=4, dilation=2),
                F.conv1d(s, w[:, :, 0].repeat(1, 2, 1), padding=1),
                F.conv3d(x[:, None], w[:, :1, None]),
                F.conv2d(x[0], w[:4, :1], groups=4),
            ),
            "transposed": lambda x, w, t, s: (
                F.conv_transpose2d(x, t, stride=2, padding=1, output_padding=1),
                F.conv_transpose1d(s, t[:, :, 0], dilation=2),
            ),
            "max": lambda x, w, t, s: (
                F.max_pool2d(x, 2),
                F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
                F.max_pool2d(x, 2, return_indices=True),
                F.max_pool1d(s, 3, 1),
                F.adaptive_max_pool2d(x, (4, 1)),
                F.adaptive_max_pool2d(x.relu(), (4, 3), return_indices=True),
                F.adaptive_max_pool1d(x[0], 1, return_indices=True),
            ),
            "average": lambda x, w, t, s: (
                F.avg_pool2d(x, 2),
                F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
                F.avg_pool2d(x, 3, 2, 1, divisor_override=5),
                F.avg_pool2d(x, 3, 2, 1, ceil_mode=True),
                F.avg_pool1d(s, 3),
                F.adaptive_avg_pool2d(x, 1),
                F.adaptive_avg_pool2d(x, (3, 4)),
                F.adaptive_avg_pool2d(x, (4, 5)),
                F.lp_pool2d(x, 2, 2),
            ),
            "unpool": lambda x, w, t, s: F.max_unpool2d(
                *F.max_pool2d(x, 2, return_indices=True), 2, output_size=(9, 8)
            ),
            "columns": lambda x, w, t, s: (
                F.unfold(x, 3, padding=1),
                F.fold(F.unfold(x, 3, stride=2), (9, 8), 3, stride=2),
            ),
        },
    ),
    "images": Family(
        (_some(1, 2, 5, 6), _some(1, 4, 4, 2) * 0.6, _some(1, 2, 7), _some(1, 2, 3)),
        {
            "nearest": lambda x, g, s, t: (
                F.interpolate(x, scale_factor=2),
                F.interpolate(x, (7, 3)),
                F.interpolate(s, 11),
            ),
            "exact": lambda x, g, s, t: F.interpolate(x, (7, 9), mode="nearest-exact"),
            "bilinear": lambda x, g, s, t: (
                F.interpolate(x, scale_factor=1.5, mode="bilinear"),
                F.interpolate(x, (9, 4), mode="bilinear", align_corners=True),
                F.interpolate(x, (3, 3), mode="bilinear", antialias=True),
                F.interpolate(s, 13, mode="linear"),
            ),
            "bicubic": lambda x, g, s, t: (
                F.interpolate(x, (9, 4), mode="bicubic"),
                F.interpolate(x, (3, 3), mode="bicubic", antialias=True),
            ),
            "area": lambda x, g, s, t: F.interpolate(x, (2, 3), mode="area"),
            "grid": lambda x, g, s, t: (
                F.grid_sample(x, g, align_corners=False),
                F.grid_sample(x, g, mode="nearest", padding_mode="border", align_corners=True),
                F.grid_sample(x, g, mode="bicubic", padding_mode="reflection", align_corners=False),
            ),
            "every grid": lambda x, g, s, t: [
                F.grid_sample(x, 1.5 * g, mode=mode, padding_mode=padding, align_corners=corners)
                for mode in ("bilinear", "nearest", "bicubic")
                for padding in ("zeros", "border", "reflection")
                for corners in (False, True)
            ],
            "grids of volumes": lambda x, g, s, t: [
                F.grid_sample(
                    x.view(1, 1, 3, 4, 5), 0.5 * t.view(1, 1, 1, 2, 3), padding_mode=padding, align_corners=corners
                )
                for padding in ("zeros", "border", "reflection")
                for corners in (False, True)
            ],
            "volumes": lambda x, g, s, t: (
                F.interpolate(x.view(1, 1, 3, 4, 5), (4, 4, 7), mode="trilinear"),
                F.interpolate(x.view(1, 1, 3, 4, 5), (4, 4, 7), mode="trilinear", align_corners=True),
                F.interpolate(x.view(1, 1, 3, 4, 5), scale_factor=(1.5, 2, 1)),
                F.interpolate(x.view(1, 1, 3, 4, 5), (4, 3, 7), mode="nearest-exact"),
                F.interpolate(s, 5, mode="nearest-exact"),
                F.interpolate(s, 5, mode="area"),
                F.interpolate(x, scale_factor=(0.5, 1.7), mode="bicubic", recompute_scale_factor=True),
                F.interpolate(x, scale_factor=(0.6, 1.7), mode="bilinear", align_corners=True),
            ),
            "affine": lambda x, g, s, t: F.affine_grid(t, (1, 2, 4, 3), align_corners=False),
        },
    ),
    "signals": Family(
        (_some(2, 3, 8), _some(2, 64)),
        {
            "rfft": lambda x, s: torch.view_as_real(torch.fft.rfft(x)),
            "fft": lambda x, s: (torch.fft.fft(x).real, torch.fft.fft(x, dim=1, norm="ortho").imag),
            "back": lambda x, s: (torch.fft.irfft(torch.fft.rfft(x)), torch.fft.ifft(torch.fft.fft(x)).abs()),
            "two": lambda x, s: (torch.fft.fft2(x).real, torch.fft.irfft2(torch.fft.rfft2(x))),
            "complex": lambda x, s: _rotated(x),
            "stft": lambda x, s: torch.stft(s, 16, 4, window=torch.hann_window(16), return_complex=True).abs(),
            "fftshift": lambda x, s: torch.fft.fftshift(x),
        },
    ),
}


def _put(x: torch.Tensor, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
    y = x.clone()
    y[:, j] = x[:, :3] * 2
    y[:, i, j] = 7.0
    return y


def _rotated(x: torch.Tensor) -> torch.Tensor:
    pairs = torch.view_as_complex(x.reshape(2, 3, 4, 2))
    turn = torch.polar(torch.ones(4), torch.arange(4.0))
    return torch.view_as_real(pairs * turn).flatten(2)
