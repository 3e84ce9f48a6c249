"""Activations: elementwise functions that networks name. Each is stated twice, on arrays and in primitives."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.op import Array
from tenfold.ops.arithmetic import (
    Abs,
    Add,
    Div,
    Erf,
    Exp,
    Expm1,
    Log1p,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Reciprocal,
    Sub,
    Tanh,
)
from tenfold.ops.constant import scalar
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.logic import Cast, Greater, Less, Where


class Activation(Elementwise):
    """A function of one value (and its parameters) that emitters know through `expand` only.

    A subclass defines `primitives`: the same as `compute`, for values of one element type of at least 32 bits.
    """

    primitives: ClassVar[Callable[..., Value]]

    def dtype(self, *dtypes: DType) -> DType:
        """Inputs of one floating-point type."""
        result = super().dtype(*dtypes)
        if not result.is_float:
            raise ValueError(f"{self.name} takes floating-point inputs, not {result}")
        return result

    def expand(self, *values: Value) -> Value:
        """The same function as floating nodes of primitives; types narrower than f32 are widened and rounded once."""
        result = self.dtype(*(value.type.dtype for value in values))
        if not result.is_float or result.bits >= 32:
            return self.primitives(*values)
        wide = (Cast(dt.f32)(value) for value in values)
        narrowed: Value = Cast(result)(self.primitives(*wide))
        return narrowed


class Relu(Activation):
    """max(x, 0); integers too."""

    def dtype(self, *dtypes: DType) -> DType:
        return Elementwise.dtype(self, *dtypes)

    def compute(self, x: Array) -> Array:
        return np.asarray(np.maximum(x, 0))

    def primitives(self, x: Value) -> Value:
        return _of(Maximum(), x, 0)


class LeakyRelu(Activation):
    """x where x >= 0, else alpha x."""

    alpha: float = 0.01

    def compute(self, x: Array) -> Array:
        return np.where(x < 0, x * self.alpha, x)

    def primitives(self, x: Value) -> Value:
        return _of(Where(), _of(Less(), x, 0), _of(Mul(), x, self.alpha), x)


class PRelu(Activation):
    """x where x >= 0, else slope x; integers too."""

    def dtype(self, *dtypes: DType) -> DType:
        return Elementwise.dtype(self, *dtypes)

    def compute(self, x: Array, slope: Array) -> Array:
        return np.where(x < 0, x * slope, x)

    def primitives(self, x: Value, slope: Value) -> Value:
        return _of(Where(), _of(Less(), x, 0), _of(Mul(), x, slope), x)


class ThresholdedRelu(Activation):
    """x where x > alpha, else 0."""

    alpha: float = 1.0

    def compute(self, x: Array) -> Array:
        return np.where(x > self.alpha, x, 0)

    def primitives(self, x: Value) -> Value:
        return _of(Where(), _of(Greater(), x, self.alpha), x, _like(0, x))


class Clip(Activation):
    """min(max(x, low), high); high where low > high; integers too."""

    def dtype(self, *dtypes: DType) -> DType:
        return Elementwise.dtype(self, *dtypes)

    def compute(self, x: Array, low: Array, high: Array) -> Array:
        return np.minimum(np.maximum(x, low), high)

    def entry(self, x: Size, low: Size, high: Size) -> Size:
        return dim.minimum(dim.maximum(x, low), high)

    def primitives(self, x: Value, low: Value, high: Value) -> Value:
        return _of(Minimum(), _of(Maximum(), x, low), high)


class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    def compute(self, x: Array) -> Array:
        return 1 / (1 + np.exp(-x))

    def primitives(self, x: Value) -> Value:
        return _of(Reciprocal(), _of(Add(), _of(Exp(), _of(Neg(), x)), 1))


class LogSigmoid(Activation):
    """log(sigmoid(x)) = -softplus(-x)."""

    def compute(self, x: Array) -> Array:
        return np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))

    def primitives(self, x: Value) -> Value:
        return _of(Neg(), Softplus().primitives(_of(Neg(), x)))


class HardSigmoid(Activation):
    """max(0, min(1, alpha x + beta))."""

    alpha: float = 0.2
    beta: float = 0.5

    def compute(self, x: Array) -> Array:
        return np.maximum(0, np.minimum(1, self.alpha * x + self.beta))

    def primitives(self, x: Value) -> Value:
        line = _of(Add(), _of(Mul(), x, self.alpha), self.beta)
        return _of(Maximum(), _of(Minimum(), line, 1), 0)


class HardSwish(Activation):
    """x max(0, min(1, x / 6 + 1 / 2))."""

    def compute(self, x: Array) -> Array:
        return x * np.maximum(0, np.minimum(1, x / 6 + 0.5))

    def primitives(self, x: Value) -> Value:
        return _of(Mul(), x, HardSigmoid(1 / 6, 0.5).primitives(x))


class Swish(Activation):
    """x sigmoid(alpha x); with alpha 1.702 known as QuickGelu."""

    alpha: float = 1.0

    def compute(self, x: Array) -> Array:
        return np.asarray(x / (1 + np.exp(-self.alpha * x)))

    def primitives(self, x: Value) -> Value:
        return _of(Div(), x, _of(Add(), _of(Exp(), _of(Mul(), x, -self.alpha)), 1))


class Silu(Activation):
    """x sigmoid(x)."""

    def compute(self, x: Array) -> Array:
        return np.asarray(x / (1 + np.exp(-x)))

    def primitives(self, x: Value) -> Value:
        return _of(Div(), x, _of(Add(), _of(Exp(), _of(Neg(), x)), 1))


class Gelu(Activation):
    """x Phi(x), Phi the normal distribution; `tanh`: by its approximation with a hyperbolic tangent
    (Hendrycks and Gimpel 2016).
    """

    tanh: bool = False

    def compute(self, x: Array) -> Array:
        if self.tanh:
            return np.asarray(0.5 * x * (1 + np.tanh(_GELU_SCALE * (x + _GELU_CUBIC * x * x * x))))
        return np.asarray(0.5 * x * (1 + Erf().compute(x * math.sqrt(0.5))))

    def primitives(self, x: Value) -> Value:
        half = _of(Mul(), x, 0.5)
        if not self.tanh:
            return _of(Mul(), half, _of(Add(), _of(Erf(), _of(Mul(), x, math.sqrt(0.5))), 1))
        square = _of(Mul(), x, x)
        factor = _of(Add(), _of(Mul(), square, _GELU_SCALE * _GELU_CUBIC), _GELU_SCALE)
        return _of(Mul(), half, _of(Add(), _of(Tanh(), _of(Mul(), x, factor)), 1))


class Elu(Activation):
    """x where x >= 0, else alpha (exp(x) - 1)."""

    alpha: float = 1.0

    def compute(self, x: Array) -> Array:
        return np.where(x < 0, self.alpha * np.expm1(x), x)

    def primitives(self, x: Value) -> Value:
        return _of(Where(), _of(Less(), x, 0), _of(Mul(), _of(Expm1(), x), self.alpha), x)


class Selu(Activation):
    """gamma x where x >= 0, else gamma alpha (exp(x) - 1) (Klambauer et al. 2017)."""

    alpha: float = 1.67326319217681884765625
    gamma: float = 1.05070102214813232421875

    def compute(self, x: Array) -> Array:
        return self.gamma * np.where(x < 0, self.alpha * np.expm1(x), x)

    def primitives(self, x: Value) -> Value:
        return _of(Mul(), Elu(self.alpha).primitives(x), self.gamma)


class Celu(Activation):
    """max(0, x) + min(0, alpha (exp(x / alpha) - 1)) (Barron 2017)."""

    alpha: float = 1.0

    def compute(self, x: Array) -> Array:
        return np.maximum(0, x) + np.minimum(0, self.alpha * np.expm1(x / self.alpha))

    def primitives(self, x: Value) -> Value:
        low = _of(Mul(), _of(Expm1(), _of(Div(), x, self.alpha)), self.alpha)
        return _of(Add(), _of(Maximum(), x, 0), _of(Minimum(), low, 0))


class Softplus(Activation):
    """log(1 + exp(x)), without overflow."""

    def compute(self, x: Array) -> Array:
        return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))

    def primitives(self, x: Value) -> Value:
        tail = _of(Log1p(), _of(Exp(), _of(Neg(), _of(Abs(), x))))
        return _of(Add(), _of(Maximum(), x, 0), tail)


class Softsign(Activation):
    """x / (1 + |x|)."""

    def compute(self, x: Array) -> Array:
        return np.asarray(x / (1 + np.abs(x)))

    def primitives(self, x: Value) -> Value:
        return _of(Div(), x, _of(Add(), _of(Abs(), x), 1))


class Mish(Activation):
    """x tanh(softplus(x)) (Misra 2019)."""

    def compute(self, x: Array) -> Array:
        return x * np.tanh(Softplus().compute(x))

    def primitives(self, x: Value) -> Value:
        return _of(Mul(), x, _of(Tanh(), Softplus().primitives(x)))


class Shrink(Activation):
    """x - bias where x > threshold, x + bias where x < -threshold, else 0."""

    threshold: float = 0.5
    bias: float = 0.0

    def compute(self, x: Array) -> Array:
        return np.where(x < -self.threshold, x + self.bias, np.where(x > self.threshold, x - self.bias, 0))

    def primitives(self, x: Value) -> Value:
        high = _of(Where(), _of(Greater(), x, self.threshold), _of(Sub(), x, self.bias), _like(0, x))
        return _of(Where(), _of(Less(), x, -self.threshold), _of(Add(), x, self.bias), high)


class Affine(Activation):
    """alpha x + beta."""

    alpha: float = 1.0
    beta: float = 0.0

    def compute(self, x: Array) -> Array:
        return self.alpha * x + self.beta

    def primitives(self, x: Value) -> Value:
        return _of(Add(), _of(Mul(), x, self.alpha), self.beta)


class ScaledTanh(Activation):
    """alpha tanh(beta x)."""

    alpha: float = 1.0
    beta: float = 1.0

    def compute(self, x: Array) -> Array:
        return self.alpha * np.tanh(self.beta * x)

    def primitives(self, x: Value) -> Value:
        return _of(Mul(), _of(Tanh(), _of(Mul(), x, self.beta)), self.alpha)


_GELU_SCALE = math.sqrt(2 / math.pi)
_GELU_CUBIC = 0.044715


def _like(value: float, x: Value) -> Value:
    constant: Value = scalar(value, x.type.dtype)()
    return constant


def _of(op: Elementwise, x: Value, *others: Value | float) -> Value:
    result: Value = op(x, *(other if isinstance(other, Value) else _like(other, x) for other in others))
    return result
