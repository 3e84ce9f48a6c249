"""Functions on tiles that Triton's language lacks, each with its error in units of the last place (f32)."""

from __future__ import annotations

import triton
import triton.language as tl
from triton.language.extra import libdevice

__all__ = ["libdevice"]


@triton.jit
def tanh(x):
    """The hyperbolic tangent, within 4 ulp: a series near zero, else by the exponential."""
    t = tl.exp(-2.0 * tl.abs(x))
    far = (1.0 - t) / (1.0 + t)
    s = x * x
    near = ((((s * 0.0218694885 - 0.0539682540) * s + 0.1333333333) * s - 0.3333333333) * s) * x + x
    return tl.where(tl.abs(x) < 0.25, near, tl.where(x < 0, -far, far))


@triton.jit
def coarse_erf(x):
    """The error function within 2e-7 of it (Abramowitz and Stegun 7.1.26): enough for results rounded to 16 bits."""
    size = tl.abs(x)
    u = 1.0 + 0.3275911 * size
    t = tl.rsqrt(u * u)
    p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t
    y = 1.0 - p * tl.exp2(size * size * -1.4426950408889634)
    return tl.where(x < 0, -y, y)


@triton.jit
def quick_tanh(x):
    """The hyperbolic tangent within 2^-11 of its size, by the processor's own instruction."""
    return tl.inline_asm_elementwise("tanh.approx.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)


@triton.jit
def quick_exp2(x):
    """Two to the power of x, by the processor's own instruction; 0 where that is below 2^-126."""
    return tl.inline_asm_elementwise("ex2.approx.ftz.f32 $0, $1;", "=f,f", [x], dtype=tl.float32, is_pure=True, pack=1)


@triton.jit
def nearest_tf32(x):
    """f32 rounded to the 11 significant bits of TF32, halves away from zero."""
    bits = x.to(tl.int32, bitcast=True)
    found = tl.inline_asm_elementwise("cvt.rna.tf32.f32 $0, $1;", "=r,r", [bits], dtype=tl.int32, is_pure=True, pack=1)
    return found.to(tl.float32, bitcast=True)


@triton.jit
def coarse_gelu(x):
    """x Phi(x) within 2^-12 |x|: Phi as a hyperbolic tangent of a polynomial that is fitted to it."""
    s = tl.minimum(x * x, 60.0)
    u = x * (0.7975078836 + s * (0.0370056466 - 0.0003515169 * s))
    half = 0.5 * x
    return half + half * quick_tanh(u)


@triton.jit
def coarse_sigmoid(x):
    """1 / (1 + exp(-x)) within 2^-12."""
    return 0.5 + 0.5 * quick_tanh(0.5 * x)


@triton.jit
def expm1(x):
    """exp(x) - 1, within 4 ulp: a series near zero, else the difference."""
    near = (((((x / 5040 + 1 / 720) * x + 1 / 120) * x + 1 / 24) * x + 1 / 6) * x + 1 / 2) * x * x + x
    return tl.where(tl.abs(x) < 0.4, near, tl.exp(x) - 1.0)


@triton.jit
def log1p(x):
    """log(1 + x), within 4 ulp: the rounding of the sum is divided out (Kahan)."""
    u = 1.0 + x
    d = u - 1.0
    return tl.where(d == 0, x, tl.where(u == float("inf"), x, tl.log(u) * (x / tl.where(d == 0, 1.0, d))))


@triton.jit
def rint(x):
    """The nearest whole number, ties to even; exact."""
    low = tl.floor(x)
    rest = x - low
    odd = low - 2.0 * tl.floor(low * 0.5)
    up = (rest > 0.5) | ((rest == 0.5) & (odd == 1.0))
    return tl.where(up, tl.ceil(x), low)


@triton.jit
def trunc(x):
    """The whole part; exact."""
    return tl.where(x < 0, tl.ceil(x), tl.floor(x))


@triton.jit
def sign(x):
    """-1, 0 or 1; a NaN stays."""
    return tl.where(x != x, x, (x > 0).to(x.dtype) - (x < 0).to(x.dtype))


@triton.jit
def plus(x, y):
    """The sum: what a scan combines by."""
    return x + y


@triton.jit
def multiply(x, y):
    """The product: what a reduction combines by."""
    return x * y


@triton.jit
def greater(x, y):
    """The greater, or a NaN: what a reduction combines by."""
    return tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def lesser(x, y):
    """The lesser, or a NaN: what a reduction combines by."""
    return tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def floor_mod(x, y):
    """The remainder of floats with the sign of y, exactly."""
    rest = libdevice.fmod(x, y)
    return tl.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)


@triton.jit
def whole_mod(x, y):
    """The remainder of integers with the sign of y."""
    rest = x % y
    return tl.where((rest != 0) & ((rest < 0) != (y < 0)), rest + y, rest)


@triton.jit
def place(tile, inside, GREATEST: tl.constexpr, LAST: tl.constexpr):
    """The place in each row of its greatest or least element, the first or the last of equals; NaN is beyond all."""
    column = tl.broadcast_to(tl.arange(0, inside.shape[1])[None, :], inside.shape)
    return chosen(tl.broadcast_to(tile, inside.shape), column, inside, GREATEST, LAST)


@triton.jit
def chosen(tile, column, inside, GREATEST: tl.constexpr, LAST: tl.constexpr):
    """As `place`, of elements that stand at the places `column`."""
    odd = (tile != tile) & inside
    if GREATEST:
        wins = tile == tl.max(
            tl.where(odd, float("-inf"), tile) if tile.dtype.is_floating() else tile, 1, keep_dims=True
        )
    else:
        wins = tile == tl.min(
            tl.where(odd, float("inf"), tile) if tile.dtype.is_floating() else tile, 1, keep_dims=True
        )
    some_odd = tl.max(odd.to(tl.int32), 1, keep_dims=True) != 0
    wins = tl.where(some_odd, odd, wins) & inside
    if LAST:
        found = tl.max(tl.where(wins, column, -1), 1, keep_dims=True)
    else:
        found = tl.min(tl.where(wins, column, 1 << 30), 1, keep_dims=True)
    return found.to(tl.int64)


@triton.jit
def beats(x, best, place, GREATEST: tl.constexpr, LAST: tl.constexpr):
    """Whether an element takes the place of the best one before it, which stands at `place` (-1: there is none)."""
    better = x > best if GREATEST else x < best
    odd = best != best
    if LAST:
        better = better | (x == best)
        return (place < 0) | (x != x) | (better & (odd == 0))
    else:
        return (place < 0) | ((better | (x != x)) & (odd == 0))
