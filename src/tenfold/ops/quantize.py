"""Between real numbers and the few levels of a narrow type: q = round(x / scale) + zero."""

from __future__ import annotations

import numpy as np

from tenfold.ir import dim
from tenfold.ir.dtype import DType, Kind
from tenfold.ir.op import Array, Op
from tenfold.ir.type import Type
from tenfold.ops.logic import Cast
from tenfold.ops.window import differ

LEVELS = (Kind.INT, Kind.UINT, Kind.FLOAT)


class Quantize(Op):
    """round(x / scale) + zero, saturated to `dtype`; halves round to even. To a float type: x / scale, cast.

    Scale and zero have rank 0 (one for all), rank 1 (one for each place of `axis`), or x's rank with one for each
    `block` places of it. The quotient is computed in the scale's type, f32 at least.
    """

    axis: int
    dtype: DType
    block: int = 0
    saturate: bool = True

    def infer(self, x: Type, scale: Type, zero: Type) -> Type:
        """x's sizes in `dtype`, which must be the zero point's type."""
        if zero.dtype != self.dtype:
            raise ValueError(f"Quantize to {self.dtype} takes a zero point of that type, not {zero.dtype}")
        _check(self, x, scale, zero)
        return Type(self.dtype, x.shape)

    def evaluate(self, x: Array, scale: Array, zero: Array) -> Array:
        """The definition."""
        wide = np.result_type(np.float32, scale.dtype if scale.dtype.kind == "f" else np.float32)
        spread = (_spread(one, x.shape, self.axis, self.block) for one in (scale, zero))
        factor, offset = (one.astype(wide) for one in spread)
        with np.errstate(all="ignore"):
            quotient = x.astype(wide) / factor
        if self.dtype.is_float:
            return Cast(self.dtype, self.saturate).evaluate(np.asarray(quotient + offset))
        low, high = self.dtype.limits
        return np.asarray(np.clip(np.rint(quotient) + offset, low, high).astype(self.dtype.numpy))


class Dequantize(Op):
    """(x - zero) * scale as `dtype`. Scale, zero, `axis` and `block` as in Quantize; computed in f32 at least."""

    axis: int
    dtype: DType
    block: int = 0

    def infer(self, x: Type, scale: Type, zero: Type) -> Type:
        """x's sizes in `dtype`; the zero point has x's type."""
        if zero.dtype != x.dtype:
            raise ValueError(f"Dequantize of {x} takes a zero point of its type, not {zero.dtype}")
        _check(self, x, scale, zero)
        return Type(self.dtype, x.shape)

    def evaluate(self, x: Array, scale: Array, zero: Array) -> Array:
        """The definition."""
        factor = _spread(scale, x.shape, self.axis, self.block)
        offset = _spread(zero, x.shape, self.axis, self.block)
        wide = np.result_type(np.float32, factor.dtype if factor.dtype.kind == "f" else np.float32)
        exact = np.float64 if x.dtype.kind in "iu" and x.dtype.itemsize >= 4 else wide
        difference = (x.astype(exact) - offset.astype(exact)).astype(wide)
        return np.asarray(difference * factor.astype(wide)).astype(self.dtype.numpy)


def _check(op: Quantize | Dequantize, x: Type, scale: Type, zero: Type) -> None:
    if not scale.dtype.is_float or x.dtype.kind not in LEVELS:
        raise ValueError(f"{op.name} takes numbers and a floating-point scale, not {x} and {scale}")
    if scale.rank != zero.rank or scale.rank not in (0, 1, x.rank):
        raise ValueError(f"{op.name} of {x}: scale {scale} and zero point {zero} do not fit")
    if scale.size != 1 and not (0 <= op.axis < x.rank and op.block >= 0):
        raise ValueError(f"{op.name} of {x} has no axis {op.axis} in blocks of {op.block}")
    if any(differ(a, b) for a, b in zip(scale.shape, zero.shape, strict=True)):
        raise ValueError(f"{op.name} of {x}: scale {scale} and zero point {zero} do not fit")
    if scale.size != 1 and (scale.rank == x.rank > 1) != (op.block > 0):
        raise ValueError(f"{op.name} of {x} in blocks of {op.block} takes scales of rank {x.rank}, not {scale}")
    if op.block and scale.rank == x.rank:
        wanted = (*x.shape[: op.axis], dim.ceildiv(x.shape[op.axis], op.block), *x.shape[op.axis + 1 :])
        if any(differ(a, b) for a, b in zip(scale.shape, wanted, strict=True)):
            raise ValueError(f"{op.name} of {x} in blocks of {op.block} along axis {op.axis} does not take {scale}")
    if scale.rank != 1 or op.block or scale.size == 1:
        return
    sizes = (scale.shape[0], x.shape[op.axis])
    if all(isinstance(size, int) for size in sizes) and sizes[0] != sizes[1]:
        raise ValueError(f"{op.name} of {x} along axis {op.axis} takes {sizes[1]} scales, not {sizes[0]}")


def _spread(parameter: Array, shape: tuple[int, ...], axis: int, block: int) -> Array:
    if parameter.size == 1:
        return parameter.reshape((1,) * len(shape))
    if parameter.ndim == 1 and not block:
        return parameter.reshape(tuple(-1 if at == axis else 1 for at in range(len(shape))))
    repeated = np.repeat(parameter, block, axis=axis)
    return repeated[tuple(slice(0, size) for size in shape)]
