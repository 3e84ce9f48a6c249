"""Values that formulas can be written with: `a * (b + 1)` makes the nodes that compute it."""

from __future__ import annotations

from dataclasses import dataclass

from tenfold.ir import dtype as dt
from tenfold.ir.dim import Dim, Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.op import Op
from tenfold.ops.arithmetic import Abs, Add, Cos, Div, Floor, Maximum, Minimum, Mul, Neg, Round, Sin, Sub
from tenfold.ops.constant import Iota, Sizes, scalar
from tenfold.ops.logic import And, Cast, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Not, ShiftRight, Where
from tenfold.ops.movement import Reshape, Slice


@dataclass(frozen=True, eq=False)
class Term:
    """A value with arithmetic. The other operand may be a number, which takes its element type."""

    value: Value

    def _by(self, op: Op, other: Term | float, *, turned: bool = False) -> Term:
        mine, theirs = self.value, self.of(other).value
        return Term(op(theirs, mine) if turned else op(mine, theirs))

    def of(self, other: Term | float) -> Term:
        """A term, or a number in this term's element type."""
        return other if isinstance(other, Term) else Term(scalar(other, self.dtype)())

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.value.type.dtype

    @property
    def shape(self) -> tuple[Size, ...]:
        """The sizes."""
        return self.value.type.shape

    def __add__(self, other: Term | float) -> Term:
        return self._by(Add(), other)

    def __radd__(self, other: float) -> Term:
        return self._by(Add(), other, turned=True)

    def __sub__(self, other: Term | float) -> Term:
        return self._by(Sub(), other)

    def __rsub__(self, other: float) -> Term:
        return self._by(Sub(), other, turned=True)

    def __mul__(self, other: Term | float) -> Term:
        return self._by(Mul(), other)

    def __rmul__(self, other: float) -> Term:
        return self._by(Mul(), other, turned=True)

    def __truediv__(self, other: Term | float) -> Term:
        return self._by(Div(), other)

    def __rtruediv__(self, other: float) -> Term:
        return self._by(Div(), other, turned=True)

    def __rshift__(self, bits: int) -> Term:
        return self._by(ShiftRight(), bits)

    def __neg__(self) -> Term:
        return Term(Neg()(self.value))

    def __lt__(self, other: Term | float) -> Term:
        return self._by(Less(), other)

    def __le__(self, other: Term | float) -> Term:
        return self._by(LessOrEqual(), other)

    def __gt__(self, other: Term | float) -> Term:
        return self._by(Greater(), other)

    def __ge__(self, other: Term | float) -> Term:
        return self._by(GreaterOrEqual(), other)

    def __and__(self, other: Term) -> Term:
        return self._by(And(), other)

    def __invert__(self) -> Term:
        return Term(Not()(self.value))

    def equals(self, other: Term | float) -> Term:
        """Where both are the same."""
        return self._by(Equal(), other)

    def cast(self, dtype: DType) -> Term:
        """The elements as another type; floats lose their fractions where that is an integer."""
        return self if self.dtype == dtype else Term(Cast(dtype)(self.value))

    def floor(self) -> Term:
        """Rounded down."""
        return Term(Floor()(self.value))

    def rint(self) -> Term:
        """The nearest whole number, halves to the even one."""
        return Term(Round()(self.value))

    def sin(self) -> Term:
        """The sine."""
        return Term(Sin()(self.value))

    def cos(self) -> Term:
        """The cosine."""
        return Term(Cos()(self.value))

    def abs(self) -> Term:
        """Without the sign."""
        return Term(Abs()(self.value))

    def clip(self, low: Term | float, high: Term | float) -> Term:
        """Moved between two bounds."""
        return self._by(Maximum(), low)._by(Minimum(), high)

    def where(self, condition: Term, other: Term | float) -> Term:
        """This where the condition holds, else the other."""
        return Term(Where()(condition.value, self.value, self.of(other).value))

    def reshape(self, *shape: Size) -> Term:
        """The same elements under another shape."""
        return self if self.shape == shape else Term(Reshape(shape)(self.value))

    def part(self, axis: int, start: Size, size: Size, step: int = 1) -> Term:
        """`size` places along one axis from `start` on."""
        axis %= len(self.shape)
        starts = tuple(start if at == axis else 0 for at in range(len(self.shape)))
        sizes = tuple(size if at == axis else whole for at, whole in enumerate(self.shape))
        steps = tuple(step if at == axis else 1 for at in range(len(self.shape)))
        return Term(Slice(starts, sizes, steps)(self.value))


def measure(size: Size, dtype: DType = dt.f64) -> Term:
    """A size as a number."""
    whole: Value = Sizes((size,), ())() if isinstance(size, Dim) else scalar(size, dt.i64)()
    return Term(whole).cast(dtype)


def counted(count: Size, dtype: DType = dt.f64) -> Term:
    """0, 1, 2, … (`count` of them)."""
    value: Value = Iota(0, 1, count)()
    return Term(value).cast(dtype)


def ratio(a: Size, b: Size, dtype: DType = dt.f64) -> Term:
    """a / b, rounded: what is computed from it sees that number, and no constant is merged across the rounding."""
    numerator = measure(a, dtype)
    return (numerator / measure(b, dtype)).clip(0.0, numerator)
