"""Every operator of core ATen, called by its own name on small inputs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

aten = torch.ops.aten
Call = Callable[..., Any]


def inputs() -> tuple[torch.Tensor, ...]:
    """x and y f32[3, 4], i and j i64[3, 4], an image f32[1, 4, 6, 6], a volume f32[1, 2, 4, 4, 4]."""
    made = torch.Generator().manual_seed(3)
    x, y = (torch.randn(3, 4, generator=made) for _ in range(2))
    i, j = (torch.randint(0, 3, (3, 4), generator=made) for _ in range(2))
    return x, y, i, j, torch.randn(1, 4, 6, 6, generator=made), torch.randn(1, 2, 4, 4, 4, generator=made)


def _small(name: str) -> Call:
    return lambda x, *_: getattr(aten, name).default(x.abs() * 0.3 + 0.1)


_ANYWHERE = (
    *("abs", "asinh", "atan", "ceil", "cos", "cosh", "erf", "exp", "expm1", "floor", "isinf", "isnan", "neg", "relu"),
    *("reciprocal", "round", "sigmoid", "sign", "sin", "sinh", "tan", "tanh", "trunc", "alias", "clone", "gelu"),
    *("leaky_relu", "hardtanh", "elu", "logical_not", "_to_copy", "nonzero", "any", "mean", "prod", "argmax", "argmin"),
    *("amax", "amin", "sort"),
)
_INSIDE = ("acos", "asin", "atanh", "log", "log10", "log1p", "log2", "rsqrt", "sqrt")
_OF_TWO = ("add", "sub", "mul", "div", "eq", "ne", "ge", "gt", "le", "lt", "fmod", "remainder")
_OF_BITS = ("bitwise_and", "bitwise_or", "bitwise_xor")


def _overload(name: str, overload: str) -> Any:
    return getattr(getattr(aten, name), overload)


POINTWISE: dict[str, Call] = {
    **{f"{name}.default": (lambda f: lambda x, *_: f(x))(getattr(aten, name).default) for name in _ANYWHERE},
    **{f"{name}.default": _small(name) for name in _INSIDE},
    "acosh.default": lambda x, *_: aten.acosh.default(x.abs() + 1.5),
    **{f"{n}.Tensor": (lambda f: lambda x, y, *_: f(x, y))(_overload(n, "Tensor")) for n in _OF_TWO},
    **{f"{n}.Scalar": (lambda f: lambda x, *_: f(x, 0.7))(_overload(n, "Scalar")) for n in _OF_TWO},
    **{f"{n}.Tensor": (lambda f: lambda x, y, i, j, *_: f(i, j))(_overload(n, "Tensor")) for n in _OF_BITS},
    **{f"{n}.Scalar": (lambda f: lambda x, y, i, j, *_: f(i, 6))(_overload(n, "Scalar")) for n in _OF_BITS},
    **{
        f"{n}.default": (lambda f: lambda x, y, i, j, *_: f(i, j > 0))(getattr(aten, n).default)
        for n in ("logical_and", "logical_or", "logical_xor")
    },
    "bitwise_not.default": lambda x, y, i, *_: aten.bitwise_not.default(i),
    "atan2.default": lambda x, y, *_: aten.atan2.default(x, y),
    "maximum.default": lambda x, y, *_: aten.maximum.default(x, y),
    "minimum.default": lambda x, y, *_: aten.minimum.default(x, y),
    "div.Tensor_mode": lambda x, y, *_: aten.div.Tensor_mode(x, y, rounding_mode="floor"),
    "div.Scalar_mode": lambda x, *_: aten.div.Scalar_mode(x, 0.3, rounding_mode="trunc"),
    "clamp.default": lambda x, *_: aten.clamp.default(x, -0.5, 0.5),
    "clamp.Tensor": lambda x, y, *_: aten.clamp.Tensor(x, y - 1, y),
    "pow.Tensor_Tensor": lambda x, y, *_: aten.pow.Tensor_Tensor(x.abs(), y),
    "pow.Tensor_Scalar": lambda x, *_: aten.pow.Tensor_Scalar(x, 3),
    "pow.Scalar": lambda x, *_: aten.pow.Scalar(2.0, x),
    "where.self": lambda x, y, i, *_: aten.where.self(i > 1, x, y),
    "copy.default": lambda x, y, *_: aten.copy.default(x, y),
    "fill.Scalar": lambda x, *_: aten.fill.Scalar(x, 2.5),
    "native_dropout.default": lambda x, *_: aten.native_dropout.default(x, 0.5, False),
    "cumsum.default": lambda x, *_: aten.cumsum.default(x, 1),
    "_softmax.default": lambda x, *_: aten._softmax.default(x, 1, False),
    "_log_softmax.default": lambda x, *_: aten._log_softmax.default(x, 0, False),
}

MADE: dict[str, Call] = {
    "arange.start_step": lambda *_: aten.arange.start_step(1, 9, 3),
    "full.default": lambda *_: aten.full.default([2, 3], 1.5),
    "full_like.default": lambda x, *_: aten.full_like.default(x, 4.0),
    "scalar_tensor.default": lambda *_: aten.scalar_tensor.default(3.5),
    "empty.memory_format": lambda *_: aten.empty.memory_format([2, 3]).shape[1],
    "empty_strided.default": lambda *_: aten.empty_strided.default([2, 3], [3, 1]).shape[0],
}

MOVED: dict[str, Call] = {
    "as_strided.default": lambda x, *_: aten.as_strided.default(x, [2, 2], [4, 1], 1),
    "cat.default": lambda x, y, *_: aten.cat.default([x, y], 1),
    "constant_pad_nd.default": lambda x, *_: aten.constant_pad_nd.default(x, [1, 2, 0, 1], 3.0),
    "diagonal.default": lambda x, *_: aten.diagonal.default(x, 1),
    "expand.default": lambda x, *_: aten.expand.default(x, [2, 3, 4]),
    "flip.default": lambda x, *_: aten.flip.default(x, [0, 1]),
    "permute.default": lambda x, *_: aten.permute.default(x, [1, 0]),
    "repeat.default": lambda x, *_: aten.repeat.default(x, [2, 1, 2]),
    "select.int": lambda x, *_: aten.select.int(x, 1, -1),
    "slice.Tensor": lambda x, *_: aten.slice.Tensor(x, 1, 0, 4, 2),
    "split_with_sizes.default": lambda x, *_: aten.split_with_sizes.default(x, [1, 3], 1),
    "squeeze.dim": lambda x, *_: aten.squeeze.dim(x[:1], 0),
    "squeeze.dims": lambda x, *_: aten.squeeze.dims(x[:1, :1], [0, 1]),
    "unsqueeze.default": lambda x, *_: aten.unsqueeze.default(x, 1),
    "view.default": lambda x, *_: aten.view.default(x, [2, -1]),
    "select_scatter.default": lambda x, y, *_: aten.select_scatter.default(x, y[:, 0], 1, 2),
    "slice_scatter.default": lambda x, y, *_: aten.slice_scatter.default(x, y[:, :2], 1, 0, 4, 2),
    **{
        f"{kind}_pad{rank}d.default": (
            lambda f, r: lambda x, y, i, j, image, volume: f({1: x, 2: image, 3: volume}[r], [1, 2] * r)
        )(getattr(aten, f"{kind}_pad{rank}d").default, rank)
        for kind, rank in (
            ("reflection", 1),
            ("reflection", 2),
            ("reflection", 3),
            ("replication", 2),
            ("replication", 3),
        )
    },
    "col2im.default": lambda x, y, i, j, image, _: aten.col2im.default(
        image.reshape(1, 16, 9), [4, 4], [2, 2], [1, 1], [0, 0], [1, 1]
    ),
    "sym_size.int": lambda x, *_: x * aten.sym_size.int(x, 1),
    "sym_numel.default": lambda x, *_: x + aten.sym_numel.default(x),
    "sym_stride.int": lambda x, *_: x + aten.sym_stride.int(x, 0),
    "sym_storage_offset.default": lambda x, *_: x + aten.sym_storage_offset.default(x),
    "sym_is_contiguous.default": lambda x, *_: x if aten.sym_is_contiguous.default(x) else -x,
    "_local_scalar_dense.default": lambda x, y, i, *_: x * aten._local_scalar_dense.default(i.sum()),
}

INDEXED: dict[str, Call] = {
    "embedding.default": lambda x, y, i, *_: aten.embedding.default(x, i),
    "_embedding_bag.default": lambda x, y, i, *_: aten._embedding_bag.default(x, i[0], i.new_tensor([0, 2]))[0],
    "gather.default": lambda x, y, i, *_: aten.gather.default(x, 1, i),
    "index.Tensor": lambda x, y, i, j, *_: aten.index.Tensor(x, [i[0], j[0]]),
    "index_put.default": lambda x, y, i, *_: aten.index_put.default(x, [i[:, 0]], y, True),
    "index_select.default": lambda x, y, i, *_: aten.index_select.default(x, 1, i[0]),
    "masked_scatter.default": lambda x, y, *_: aten.masked_scatter.default(x, x > 0, y),
    "scatter.value": lambda x, y, i, *_: aten.scatter.value(x, 0, i, 1.5),
    "scatter.src": lambda x, y, i, *_: aten.scatter.src(x, 1, i.argsort(1), y),
    "scatter_add.default": lambda x, y, i, *_: aten.scatter_add.default(x, 0, i, y),
    "scatter_reduce.two": lambda x, y, i, *_: aten.scatter_reduce.two(x, 0, i, y, "amax", include_self=False),
    "topk.default": lambda x, *_: aten.topk.default(x, 2),
    "max.dim": lambda x, *_: aten.max.dim(x, 1),
    "min.dim": lambda x, *_: aten.min.dim(x, 0, True),
}

SUMMED: dict[str, Call] = {
    "any.dim": lambda x, *_: aten.any.dim(x > 1, 1),
    "any.dims": lambda x, *_: aten.any.dims(x > 1, [0, 1], True),
    "mean.dim": lambda x, *_: aten.mean.dim(x, [0], True),
    "prod.dim_int": lambda x, *_: aten.prod.dim_int(x, 1),
    "sum.dim_IntList": lambda x, *_: aten.sum.dim_IntList(x, [1]),
    "var.dim": lambda x, *_: aten.var.dim(x, [1]),
    "var.correction": lambda x, *_: aten.var.correction(x, [0], correction=0),
    "_cdist_forward.default": lambda x, y, *_: aten._cdist_forward.default(x, y, 2.0, None),
    "_pdist_forward.default": lambda x, *_: aten._pdist_forward.default(x, 2.0),
    "addmm.default": lambda x, y, *_: aten.addmm.default(x[:, :3], x, y.t(), beta=0.5, alpha=2),
    "mm.default": lambda x, y, *_: aten.mm.default(x, y.t()),
    "bmm.default": lambda x, y, i, j, image, _: aten.bmm.default(image[0], image[0]),
    "_fft_r2c.default": lambda x, *_: aten.abs.default(aten._fft_r2c.default(x, [1], 0, True)),
    "_fft_c2r.default": lambda x, *_: aten._fft_c2r.default(aten._fft_r2c.default(x, [1], 0, True), [1], 2, 4),
}

_WINDOW = ([2, 2], [2, 2])

IMAGES: dict[str, Call] = {
    "adaptive_avg_pool1d.default": lambda x, *_: aten.adaptive_avg_pool1d.default(x, [3]),
    "avg_pool1d.default": lambda x, *_: aten.avg_pool1d.default(x, [2], [1]),
    "_adaptive_avg_pool2d.default": lambda x, y, i, j, image, _: aten._adaptive_avg_pool2d.default(image, [4, 3]),
    "_adaptive_avg_pool3d.default": lambda x, y, i, j, k, volume: aten._adaptive_avg_pool3d.default(volume, [3, 2, 1]),
    "avg_pool2d.default": lambda x, y, i, j, image, _: aten.avg_pool2d.default(image, *_WINDOW),
    "avg_pool3d.default": lambda x, y, i, j, k, volume: aten.avg_pool3d.default(volume, [2, 2, 2]),
    "max_pool2d_with_indices.default": lambda x, y, i, j, image, _: aten.max_pool2d_with_indices.default(image, [3, 3]),
    "max_pool3d_with_indices.default": lambda x, y, i, j, k, volume: aten.max_pool3d_with_indices.default(
        volume, [2, 2, 2]
    ),
    "convolution.default": lambda x, y, i, j, image, _: (
        aten.convolution.default(image, image[:, :, :3, :3], None, [1, 2], [1, 0], [1, 1], False, [0, 0], 1),
        aten.convolution.default(image, image[0, :, None, :2, :2], None, [2, 2], [0, 0], [1, 1], True, [1, 1], 4),
    ),
    "grid_sampler_2d.default": lambda x, y, i, j, image, _: aten.grid_sampler_2d.default(
        image, image[0, :2, :, :].permute(1, 2, 0)[None], 0, 1, False
    ),
    "upsample_bilinear2d.vec": lambda x, y, i, j, image, _: aten.upsample_bilinear2d.vec(image, [9, 8], False, None),
    "upsample_nearest2d.vec": lambda x, y, i, j, image, _: aten.upsample_nearest2d.vec(image, None, [2.0, 1.5]),
    "native_group_norm.default": lambda x, y, i, j, image, _: aten.native_group_norm.default(
        image, x[0], y[0], 1, 4, 36, 2, 1e-5
    ),
    "native_layer_norm.default": lambda x, y, *_: aten.native_layer_norm.default(x, [4], y[0], y[1], 1e-5),
    "_native_batch_norm_legit.no_stats": lambda x, y, i, j, image, _: aten._native_batch_norm_legit.no_stats(
        image, x[0], y[0], True, 0.1, 1e-5
    ),
    "_native_batch_norm_legit_no_training.default": lambda x, y, i, j, image, _: (
        aten._native_batch_norm_legit_no_training.default(image, x[0], y[0], x[1], y[1].abs(), 0.1, 1e-5)[0]
    ),
}

CALLS: dict[str, dict[str, Call]] = {
    "pointwise": POINTWISE,
    "made": MADE,
    "moved": MOVED,
    "indexed": INDEXED,
    "summed": SUMMED,
    "images": IMAGES,
}

CHANCE = ("rand.default", "randn.default", "randperm.default")
"""Held by their distributions in test_random."""

NOT_CONVERTED = {
    **{f"{name}.default": "a gradient" for name in ("_adaptive_avg_pool2d_backward", "avg_pool2d_backward")},
    **{f"{name}.default": "a gradient" for name in ("convolution_backward", "embedding_dense_backward")},
    **{f"{name}.default": "a gradient" for name in ("native_group_norm_backward", "native_layer_norm_backward")},
    "max_pool2d_with_indices_backward.default": "a gradient",
    "_native_batch_norm_legit.default": "changes its arguments: exported as _native_batch_norm_legit_functional",
    "atan2.out": "writes into its argument: torch.export never leaves one",
    "resize_.default": "changes its argument: torch.export never leaves one",
}
"""Operators of core ATen without a converter, each with the reason."""
