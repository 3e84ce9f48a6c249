"""Fourier transforms. Complex numbers are pairs along a last axis of 2, real ones stand alone on an axis of 1."""

from __future__ import annotations

import numpy as np

from tenfold.ir.dim import Size
from tenfold.ir.op import Array, Cost, Op
from tenfold.ir.type import Type
from tenfold.ops.precision import require_float
from tenfold.ops.window import known


class DFT(Op):
    """The discrete Fourier transform along one axis, of `length` elements (x is cut or padded with zeros to it).

    `inverse` transforms back and divides by the length. `onesided` keeps the length // 2 + 1 frequencies that
    decide a real signal; the inverse of such a half gives a real signal.
    """

    axis: int
    length: Size
    inverse: bool = False
    onesided: bool = False

    def infer(self, x: Type) -> Type:
        """x's sizes but for the axis and the pair."""
        require_float(self.name, x)
        if x.rank < 2 or not 0 <= self.axis < x.rank - 1 or x.shape[-1] not in (1, 2):
            raise ValueError(f"DFT along axis {self.axis} takes pairs or single numbers on the last axis, not {x}")
        half = self.onesided and not self.inverse
        size = self.length // 2 + 1 if half else self.length
        last = 1 if self.onesided and self.inverse else 2
        return Type(x.dtype, (*x.shape[: self.axis], size, *x.shape[self.axis + 1 : -1], last))

    def evaluate(self, x: Array) -> Array:
        """NumPy's fft, in f64."""
        (length,) = known((self.length,))
        numbers = complex_of(x)
        if self.onesided and self.inverse:
            return np.fft.irfft(numbers, length, axis=self.axis)[..., None].astype(x.dtype)
        transform = np.fft.ifft if self.inverse else np.fft.fft
        found = transform(numbers, length, axis=self.axis)
        if self.onesided:
            found = np.take(found, np.arange(length // 2 + 1), axis=self.axis)
        return pairs_of(found, x)


class STFT(Op):
    """Fourier transforms of the windowed frames that begin every `step` elements of x [B, L, 1 or 2].

    The window [n] is real; y [B, frames, n // 2 + 1 if `onesided` else n, 2].
    """

    step: Size
    onesided: bool = True

    def infer(self, x: Type, window: Type) -> Type:
        """[B, (L - n) // step + 1, frequencies, 2]."""
        require_float(self.name, x, window)
        if x.rank != 3 or window.rank != 1 or x.shape[-1] not in (1, 2):
            raise ValueError(f"STFT takes a signal [B, L, 1 or 2] and a window of rank 1, not {x} and {window}")
        size = window.shape[0]
        frequencies = size // 2 + 1 if self.onesided else size
        return Type(x.dtype, (x.shape[0], (x.shape[1] - size) // self.step + 1, frequencies, 2))

    def evaluate(self, x: Array, window: Array) -> Array:
        """One frame after another, in f64."""
        numbers, size = complex_of(x), len(window)
        starts = range(0, x.shape[1] - size + 1, *known((self.step,)))
        frames = np.stack([numbers[:, start : start + size] for start in starts], axis=1)
        found = np.fft.fft(frames * window.astype(np.float64), axis=2)
        return pairs_of(found[:, :, : size // 2 + 1] if self.onesided else found, x)


class Fourier(Op):
    """scale · Σ x[n] e^(sign 2πi kn/N) along the last axis of N elements, for the first `count` k.

    x is a value of real parts [..., N] and, unless they are all 0, one of imaginary parts; so are the results
    [..., count], always two.
    """

    count: Size
    sign: int = -1
    scale: float = 1.0

    def infer(self, real: Type, *imaginary: Type) -> tuple[Type, Type]:
        """Two values [..., count]."""
        require_float(self.name, real, *imaginary)
        if real.rank == 0 or len(imaginary) > 1 or any(one.rank != real.rank for one in imaginary):
            raise ValueError(f"Fourier takes real and imaginary parts of one shape, not {real}, {imaginary}")
        made = Type(real.dtype, (*real.shape[:-1], self.count))
        return made, made

    def evaluate(self, real: Array, *imaginary: Array) -> tuple[Array, Array]:
        """NumPy's fft, in f64."""
        numbers = real.astype(np.float64) + (1j * imaginary[0].astype(np.float64) if imaginary else 0j)
        (count,) = known((self.count,))
        found = np.fft.fft(numbers) if self.sign < 0 else np.fft.ifft(numbers, norm="forward")
        kept = found[..., :count] * self.scale
        return kept.real.astype(real.dtype), kept.imag.astype(real.dtype)

    def cost(self, inputs: tuple[Type, ...], outputs: tuple[Type, ...]) -> Cost:
        """5 N log2 N operations a transform, half of that for real numbers."""
        length = inputs[0].shape[-1]
        turns = max(1, length - 1).bit_length() if isinstance(length, int) else 10
        each = 5 * len(inputs) * turns
        return Cost(inputs[0].size * each // 2, super().cost(inputs, outputs).bytes)


def complex_of(x: Array) -> Array:
    """Pairs, or single real numbers, along the last axis as complex numbers without that axis."""
    wide = x.astype(np.float64)
    found: Array = wide[..., 0] + 1j * wide[..., 1] if x.shape[-1] == 2 else wide[..., 0] + 0j
    return found


def pairs_of(numbers: Array, like: Array) -> Array:
    """Complex numbers as pairs of the element type of `like`."""
    return np.stack([numbers.real, numbers.imag], axis=-1).astype(like.dtype)
