"""How the elements of a row become one: accumulators of vectors, their start, their step, their merging."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from llvmlite import ir

from tenfold.codegen.cpu.emit import maximum, minimum
from tenfold.codegen.cpu.storage import register_type
from tenfold.codegen.cpu.vectors import I64, Vector, Vectors, is_float
from tenfold.codegen.region import Combine
from tenfold.ir.dtype import DType

Accumulator = tuple[Vector, ...]
"""One vector; for the arg forms a second one, the positions as i64."""


@dataclass(frozen=True)
class Combiner:
    """One way of combining elements of type `dtype`. The arg forms find NaN first, as NumPy does."""

    combine: Combine
    dtype: DType

    @property
    def positional(self) -> bool:
        """Whether the result is a position."""
        return self.combine.startswith("arg")

    def start(self, code: Vectors) -> Accumulator:
        """What combining starts from: with no element, that is the result."""
        element = register_type(self.dtype)
        value = code.constant(element, self._identity())
        return (value, code.constant(I64, -1)) if self.positional else (value,)

    def _identity(self) -> float | int:
        low, high = (float("-inf"), float("inf")) if self.dtype.is_float else self.dtype.limits
        kind = self.combine.removeprefix("arg").removesuffix("_last")
        return {"sum": 0, "any": 0, "prod": 1, "all": 1, "max": low, "min": high}[kind]

    def add(self, total: Accumulator, value: Vector, position: Vector | None, mask: Vector | None) -> Accumulator:
        """`total` with an element more; where the mask does not hold, as it is."""
        fused = replace(total[0].code, contract=True)
        more = (Vector(fused, value.value), position) if position is not None else (Vector(fused, value.value),)
        combined = self.merge(total, more)
        kept = combined if mask is None else tuple(mask.where(a, b) for a, b in zip(combined, total, strict=True))
        return tuple(Vector(old.code, new.value) for old, new in zip(total, kept, strict=True))

    def merge(self, a: Accumulator, b: Accumulator) -> Accumulator:
        """Both together."""
        if self.positional:
            return self._better(a, b)
        x, y = a[0], b[0]
        match self.combine:
            case "sum":
                return (y + x,)
            case "prod":
                return (y * x,)
            case "any":
                return (x | y,)
            case "all":
                return (x & y,)
            case "max":
                return (maximum(self.dtype, y, x),)
            case _:
                return (minimum(self.dtype, y, x),)

    def _better(self, a: Accumulator, b: Accumulator) -> Accumulator:
        """Whichever is nearer to the extreme; of equals the one with the lower (last: the higher) position.

        A position below zero is that of no element.
        """
        (x, at), (y, place) = a, b
        relation = ">" if "max" in self.combine else "<"
        unsigned = self.dtype.kind.value in ("uint", "bool")
        wins, ties = y.compare(relation, x, unsigned), y.equals(x)
        if is_float(x.type):
            wins = wins | (y.is_nan() & ~x.is_nan())
            ties = ties | (y.is_nan() & x.is_nan())
        better = place > at if self.combine.endswith("_last") else place < at
        found = (place >= 0) & (wins | (ties & better) | (at < 0))
        return found.where(y, x), found.where(place, at)

    def fold(self, total: Accumulator) -> list[ir.Value]:
        """The lanes of an accumulator combined by halves: scalars."""
        while total[0].code.lanes > 1:
            half = total[0].code.lanes // 2
            code = replace(total[0].code, lanes=half)
            parts = [(_part(code, one, 0), _part(code, one, half)) for one in total]
            total = self.merge(tuple(low for low, _ in parts), tuple(high for _, high in parts))
        return [one.value for one in total]

    def result(self, total: Sequence[ir.Value]) -> ir.Value:
        """What the phases after this one see."""
        return total[-1]


def _part(code: Vectors, whole: Vector, start: int) -> Vector:
    if code.lanes == 1:
        return Vector(code, whole.lane(start))
    return Vector(code, whole.shuffle(range(start, start + code.lanes)))
