"""Fourier transforms of a few complex numbers in registers."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.codegen.cpu.vectors import Vector

LARGEST_PRIME = 13
"""The largest prime whose transform is written out."""


@dataclass(frozen=True)
class Complex:
    """Complex numbers, one in each lane."""

    real: Vector
    imaginary: Vector

    def __add__(self, other: Complex) -> Complex:
        return Complex(self.real + other.real, self.imaginary + other.imaginary)

    def __sub__(self, other: Complex) -> Complex:
        return Complex(self.real - other.real, self.imaginary - other.imaginary)

    @property
    def conjugate(self) -> Complex:
        """The same with the other imaginary sign."""
        return Complex(self.real, -self.imaginary)

    def scaled(self, factor: float) -> Complex:
        """Times a real number."""
        return self if factor == 1 else Complex(self.real * factor, self.imaginary * factor)

    def quarter(self, sign: int) -> Complex:
        """Times ±i."""
        return Complex(-self.imaginary, self.real) if sign > 0 else Complex(self.imaginary, -self.real)

    def times(self, cos: Vector, sin: Vector) -> Complex:
        """Times cos + i sin."""
        real = self.real.fma(cos, -(self.imaginary * sin))
        return Complex(real, self.real.fma(sin, self.imaginary * cos))

    def turned(self, part: int, whole: int) -> Complex:
        """Times e^(2πi part / whole), known here."""
        eighths, rest = divmod(part * 8, whole)
        if rest == 0 and eighths % 2 == 0:
            match eighths % 8:
                case 0:
                    return self
                case 2:
                    return self.quarter(1)
                case 4:
                    return Complex(-self.real, -self.imaginary)
            return self.quarter(-1)
        if rest == 0:
            ahead = Complex(self.real - self.imaginary, self.real + self.imaginary).scaled(math.sqrt(0.5))
            return ahead.turned(eighths - 1, 8)
        turn = cmath.exp(2j * math.pi * part / whole)
        return self.times(self.real.like(turn.real), self.real.like(turn.imag))


def transformed(points: Sequence[Complex], sign: int) -> list[Complex]:
    """Σ points[n] e^(sign 2πi kn/N) for each k: even N by halves (Cooley and Tukey 1965), odd N by its definition."""
    count = len(points)
    if count == 1:
        return list(points)
    if count % 2:
        return _by_definition(points, sign)
    even, odd = transformed(points[::2], sign), transformed(points[1::2], sign)
    turned = [one.turned(sign * k % count, count) for k, one in enumerate(odd)]
    return [a + b for a, b in zip(even, turned, strict=True)] + [a - b for a, b in zip(even, turned, strict=True)]


def _by_definition(points: Sequence[Complex], sign: int) -> list[Complex]:
    """Points n and N - n are taken together: their sum meets cosines only, their difference sines."""
    count, first = len(points), points[0]
    pairs = [(points[n] + points[-n], points[n] - points[-n]) for n in range(1, count // 2 + 1)]
    zeroth = first
    for together, _ in pairs:
        zeroth = zeroth + together
    found = [zeroth, *[first] * (count - 1)]
    for k in range(1, count // 2 + 1):
        even, odd = first, Complex(first.real.like(0), first.real.like(0))
        for n, (together, apart) in enumerate(pairs, 1):
            turn = cmath.exp(2j * math.pi * (k * n % count) / count)
            cos, sin = (first.real.like(one) for one in (turn.real, turn.imag))
            even = Complex(together.real.fma(cos, even.real), together.imaginary.fma(cos, even.imaginary))
            odd = Complex(apart.real.fma(sin, odd.real), apart.imaginary.fma(sin, odd.imaginary))
        odd = odd.quarter(sign)
        found[k], found[-k] = even + odd, even - odd
    return found


def radices(length: int, most: int) -> tuple[int, ...] | None:
    """Factors of a length, the largest powers of two up to `most` first, then odd primes; None if one is too large."""
    found = []
    for factor in (*(2**bits for bits in range(most.bit_length() - 1, 0, -1)), *range(3, LARGEST_PRIME + 1, 2)):
        while length % factor == 0:
            found.append(factor)
            length //= factor
    return tuple(found) if length == 1 else None
