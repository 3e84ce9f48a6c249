"""Operations of keras.ops, as functional graphs record them: functions of floating tensors x and y [2, 4, 6]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from keras import ops

Function = Callable[[Any, Any], Any]

ELEMENTWISE: Mapping[str, Function] = {
    **{
        name: lambda x, y, name=name: getattr(ops, name)(x, y)
        for name in (
            *("add", "subtract", "multiply", "divide", "true_divide", "maximum", "minimum", "equal", "not_equal"),
            *("greater", "greater_equal", "less", "less_equal", "logaddexp", "hypot", "floor_divide", "mod"),
            *("divide_no_nan", "isclose", "logical_and", "logical_or", "logical_xor"),
        )
    },
    **{
        name: lambda x, y, name=name: getattr(ops, name)(x)
        for name in (
            *("absolute", "negative", "sign", "floor", "ceil", "round", "square", "exp", "expm1", "exp2", "sin", "cos"),
            *("tan", "sinh", "cosh", "tanh", "arctan", "arcsinh", "erf", "isnan", "isinf", "isfinite", "logical_not"),
            *("trunc", "zeros_like", "ones_like", "relu", "relu6", "sigmoid", "silu", "softplus", "softsign", "elu"),
            *("selu", "celu", "gelu", "leaky_relu", "hard_sigmoid", "hard_silu", "log_sigmoid", "softmax"),
            *("log_softmax", "glu", "hard_tanh", "hard_shrink", "soft_shrink", "tanh_shrink", "squareplus"),
            *("copy", "stop_gradient", "deg2rad", "rad2deg", "sparse_plus"),
        )
    },
    **{
        name: lambda x, y, name=name: getattr(ops, name)(ops.abs(x) + 0.5)
        for name in ("sqrt", "rsqrt", "log", "log1p", "log2", "log10", "reciprocal")
    },
    **{name: lambda x, y, name=name: getattr(ops, name)(ops.tanh(x) * 0.9) for name in ("arcsin", "arccos", "arctanh")},
    "power": lambda x, y: ops.power(ops.abs(x), 2.5) + x**2,
    "plain numbers": lambda x, y: 2 - x * 3 + (x > 0),
    "numbers and integers": lambda x, y: ops.cast(x * 4, "int32") * 2 + 1,
    "integer division": lambda x, y: ops.cast(x * 9, "int32") // 4 + ops.cast(y * 9, "int32") % 3,
    "true division of integers": lambda x, y: ops.cast(x * 9, "int32") / 4,
    "types in common": lambda x, y: ops.cast(x * 4, "int32") + ops.cast(y, "float16"),
    "arrays of the graph": lambda x, y: x * np.arange(6, dtype="float32"),
    "clip": lambda x, y: ops.clip(x, -0.5, 0.5),
    "where": lambda x, y: ops.where(x > y, x, 0.0),
    "cast": lambda x, y: ops.cast(x > 0, "float32"),
    "threshold": lambda x, y: ops.threshold(x, 0.1, 0.5),
    "rounded to decimals": lambda x, y: ops.round(x, 1),
    "full_like": lambda x, y: ops.full_like(x, 3),
}

REDUCTIONS: Mapping[str, Function] = {
    **{
        f"{name} {given}": lambda x, y, name=name, given=given: getattr(ops, name)(x, **given)
        for name in ("sum", "mean", "max", "min", "prod", "std", "var", "logsumexp")
        for given in ({}, {"axis": -1}, {"axis": (1, 2), "keepdims": True})
    },
    "any": lambda x, y: ops.any(x > 1, axis=1),
    "all": lambda x, y: ops.all(x > -1, axis=1),
    "argmax": lambda x, y: ops.argmax(x, axis=1),
    "argmin of all": lambda x, y: ops.argmin(x),
    "count_nonzero": lambda x, y: ops.count_nonzero(x > 0),
    "cumsum": lambda x, y: ops.cumsum(x, axis=1),
    "cumprod": lambda x, y: ops.cumprod(x, axis=-1),
    "average": lambda x, y: ops.average(x, axis=1),
    "norm": lambda x, y: ops.norm(x, axis=-1),
    "norm of order 1": lambda x, y: ops.norm(x, ord=1, axis=1, keepdims=True),
    "normalize": lambda x, y: ops.normalize(x, axis=1),
    "moments": lambda x, y: ops.moments(x, axes=[1]),
    "matmul": lambda x, y: ops.matmul(x, ops.transpose(y, (0, 2, 1))),
    "dot": lambda x, y: ops.dot(x, np.ones((6, 2), "float32")),
    "einsum": lambda x, y: ops.einsum("bij,bkj->bik", x, y),
    "tensordot": lambda x, y: ops.tensordot(x, np.ones((6, 2), "float32"), axes=1),
    "outer": lambda x, y: ops.outer(x, y),
}

MOVEMENTS: Mapping[str, Function] = {
    "reshape": lambda x, y: ops.reshape(x, (-1, 3, 8)),
    "transpose": lambda x, y: ops.transpose(x),
    "transpose to": lambda x, y: ops.transpose(x, (0, 2, 1)),
    "expand_dims": lambda x, y: ops.expand_dims(x, 1),
    "squeeze": lambda x, y: ops.squeeze(ops.expand_dims(x, -1), -1),
    "swapaxes": lambda x, y: ops.swapaxes(x, 1, 2),
    "moveaxis": lambda x, y: ops.moveaxis(x, 2, 1),
    "concatenate": lambda x, y: ops.concatenate([x, y], axis=-1),
    "stack": lambda x, y: ops.stack([x, y], axis=1),
    "hstack": lambda x, y: ops.hstack([x, y]),
    "vstack": lambda x, y: ops.vstack([x, y]),
    "split": lambda x, y: ops.split(x, 3, axis=-1),
    "split at places": lambda x, y: ops.split(x, [1, 4], axis=2),
    "unstack": lambda x, y: ops.unstack(x, axis=1),
    "tile": lambda x, y: ops.tile(x, (1, 2, 1)),
    "repeat": lambda x, y: ops.repeat(x, 2, axis=1),
    "flip": lambda x, y: ops.flip(x, axis=1),
    "roll": lambda x, y: ops.roll(x, 2, axis=1),
    "pad": lambda x, y: ops.pad(x, ((0, 0), (1, 2), (0, 1)), constant_values=1.5),
    "pad by reflection": lambda x, y: ops.pad(x, ((0, 0), (1, 2), (0, 1)), mode="reflect"),
    "slices": lambda x, y: x[:, 1:-1, ::2],
    "places": lambda x, y: x[:, 0, -1],
    "ellipsis and new axes": lambda x, y: x[..., None, 1:3],
    "take": lambda x, y: ops.take(x, [2, 0], axis=1),
    "take_along_axis": lambda x, y: ops.take_along_axis(x, ops.argsort(x, axis=1), axis=1),
    "broadcast_to": lambda x, y: ops.broadcast_to(x[:1, :1], (2, 4, 6)),
    "tril": lambda x, y: ops.tril(x, 1),
    "triu": lambda x, y: ops.triu(x, -1),
    "one_hot": lambda x, y: ops.one_hot(ops.argmax(x, axis=-1), 6),
    "sort": lambda x, y: ops.sort(x, axis=1),
    "top_k": lambda x, y: ops.top_k(x, 2)[0],
    "diagonal": lambda x, y: ops.diagonal(x, axis1=1, axis2=2),
    "ravel": lambda x, y: ops.ravel(x),
}

IMAGES: Mapping[str, Function] = {
    "max_pool": lambda x, y: ops.max_pool(x, 2, padding="same"),
    "average_pool": lambda x, y: ops.average_pool(x, 2, strides=1),
    "conv": lambda x, y: ops.conv(x, np.ones((3, 6, 2), "float32") * 0.1, padding="same"),
    "depthwise_conv": lambda x, y: ops.depthwise_conv(x, np.ones((3, 6, 2), "float32") * 0.1),
    "separable_conv": lambda x, y: ops.separable_conv(
        x, np.ones((3, 6, 1), "float32") * 0.1, np.ones((1, 6, 3), "float32")
    ),
    "layer_normalization": lambda x, y: ops.layer_normalization(x, np.full(6, 2.0, "float32"), axis=-1),
    "rms_normalization": lambda x, y: ops.rms_normalization(x, axis=-1),
    "batch_normalization": lambda x, y: ops.batch_normalization(
        x, np.full(6, 0.5, "float32"), np.full(6, 2.0, "float32"), axis=-1
    ),
    "dot_product_attention": lambda x, y: ops.dot_product_attention(
        *(ops.reshape(one, (-1, 4, 2, 3)) for one in (x, y, y)), is_causal=True
    ),
    "resize": lambda x, y: ops.image.resize(ops.expand_dims(x, -1), (8, 3)),
    "pad_images": lambda x, y: ops.image.pad_images(ops.expand_dims(x, -1), 1, 2, target_height=8, target_width=9),
    "crop_images": lambda x, y: ops.image.crop_images(ops.expand_dims(x, -1), 1, 2, target_height=2, target_width=3),
    "rgb_to_grayscale": lambda x, y: ops.image.rgb_to_grayscale(ops.reshape(x, (-1, 2, 4, 3))),
    "depth_to_space": lambda x, y: ops.depth_to_space(ops.reshape(x, (-1, 2, 3, 4)), 2),
    "space_to_depth": lambda x, y: ops.space_to_depth(ops.reshape(x, (-1, 4, 2, 3)), 2),
}


def _square(x: Any) -> Any:
    return ops.matmul(x, ops.transpose(x, (0, 2, 1))) + np.eye(4, dtype="float32")


DERIVED: Mapping[str, Function] = {
    **{
        name: lambda x, y, name=name: getattr(ops, name)(x)
        for name in ("cbrt", "erfc", "sinc", "diff", "median", "ptp")
    },
    **{name: lambda x, y, name=name: getattr(ops, name)(x, y) for name in ("arctan2", "logaddexp2", "fmax", "kron")},
    "heaviside": lambda x, y: ops.heaviside(ops.relu(x), y),
    "cross": lambda x, y: ops.cross(x[..., :3], y[..., 3:]),
    "nan_to_num": lambda x, y: ops.nan_to_num(ops.log(x)),
    "quantile": lambda x, y: ops.quantile(x, 0.3, axis=1),
    "digitize": lambda x, y: ops.digitize(x, np.array([-1.0, 0.0, 1.0], "float32")),
    "rot90": lambda x, y: ops.rot90(x, 3, axes=(1, 2)),
    "trace": lambda x, y: ops.trace(x, 1, 1, 2),
    "isin": lambda x, y: ops.isin(ops.floor(x), np.array([0.0, 1.0], "float32")),
    "slice_update": lambda x, y: ops.slice_update(x, [0, 1, 2], y[:, :2, :3]),
    "vdot": lambda x, y: ops.vdot(ops.ravel(x), ops.ravel(y)),
    "inv": lambda x, y: ops.linalg.inv(_square(x)),
    "solve": lambda x, y: ops.linalg.solve(_square(x), y),
    "cholesky": lambda x, y: ops.linalg.cholesky(_square(x)),
    "eigenvalues": lambda x, y: ops.linalg.eigh(_square(x))[0],
    "singular values": lambda x, y: ops.linalg.svd(x, compute_uv=False),
    "qr": lambda x, y: ops.abs(ops.linalg.qr(x)[1]),
    "det": lambda x, y: ops.linalg.det(_square(x)),
}

SIGNALS: Mapping[str, Function] = {
    "fft": lambda x, y: ops.fft((x, y)),
    "fft2": lambda x, y: ops.fft2((x, y)),
    "ifft2": lambda x, y: ops.ifft2((x, y)),
    "rfft": lambda x, y: ops.rfft(x),
    "rfft of a length": lambda x, y: ops.rfft(x, fft_length=8),
    "irfft": lambda x, y: ops.irfft((x, y), fft_length=10),
    "stft": lambda x, y: ops.stft(ops.reshape(x, (2, 24)), 6, 3, 8),
}

OPERATIONS: Mapping[str, Mapping[str, Function]] = {
    "elementwise": ELEMENTWISE,
    "reductions": REDUCTIONS,
    "movements": MOVEMENTS,
    "images": IMAGES,
    "derived": DERIVED,
    "signals": SIGNALS,
}
