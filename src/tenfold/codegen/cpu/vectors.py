"""Vectors of LLVM IR with the arithmetic of Python: what emitted programs are written in.

A `Vectors` says where code goes and how wide it is; a `Vector` is a value with operators. Numbers on the other side of
an operator are splat. With one lane, vectors are plain scalars. Integers are signed where it matters; `unsigned`
methods say otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llvmlite import ir

from tenfold.codegen.cpu.isa import Isa

I1, I8, I16, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 16, 32, 64))
HALF, F32, F64 = ir.HalfType(), ir.FloatType(), ir.DoubleType()
POINTER = ir.PointerType()

_FLOAT_BITS = {"half": 16, "float": 32, "double": 64}


def element_of(kind: ir.Type) -> ir.Type:
    """The element type of a vector type, or a scalar type itself."""
    return kind.element if isinstance(kind, ir.VectorType) else kind


def width(kind: ir.Type) -> int:
    """Bits of one element."""
    element = element_of(kind)
    return int(element.width) if isinstance(element, ir.IntType) else _FLOAT_BITS[str(element)]


def is_float(kind: ir.Type) -> bool:
    """Whether the elements are floating-point numbers."""
    return not isinstance(element_of(kind), ir.IntType)


def integer(bits: int) -> ir.IntType:
    """The integer type of that many bits."""
    return ir.IntType(bits)


def literal(kind: ir.Type, text: str) -> ir.Constant:
    """A constant written out, of any type."""
    found = ir.FormattedConstant(I1, text)
    found.type = kind
    return found


def _digits(element: ir.Type, number: float | int | bool) -> str:
    if isinstance(element, ir.IntType):
        return str(int(number)) if element.width > 1 else str(bool(number)).lower()
    if str(element) == "half":
        return "0xH" + struct.pack(">e", number).hex().upper()
    if str(element) == "float":
        number = struct.unpack("<f", struct.pack("<f", number))[0]
    return "0x" + struct.pack(">d", number).hex()


def intrinsic(builder: ir.IRBuilder, name: str, result: ir.Type, arguments: Sequence[ir.Value]) -> ir.Value:
    """A call of `@llvm.<name>`, spelled in full (`fma.v16f32`), declared on first use."""
    module, full = builder.module, f"llvm.{name}"
    function = module.globals.get(full)
    if function is None:
        function = ir.Function(module, ir.FunctionType(result, [one.type for one in arguments]), full)
    return builder.call(function, arguments)


def suffix(kind: ir.Type) -> str:
    """How overloaded intrinsics spell a type: f32, v16f32, v8i64."""
    element = element_of(kind)
    name = f"i{element.width}" if isinstance(element, ir.IntType) else f"f{width(element)}"
    return f"v{kind.count}{name}" if isinstance(kind, ir.VectorType) else name


@dataclass(frozen=True, eq=False)
class Vectors:
    """Where vectors of `lanes` elements are computed. `contract` lets products be fused with sums, never with
    differences: x² - y² of equals stays 0.
    """

    builder: ir.IRBuilder
    isa: Isa
    lanes: int
    contract: bool = False

    def type(self, element: ir.Type) -> ir.Type:
        """The type of a vector of these elements."""
        return element if self.lanes == 1 else ir.VectorType(element, self.lanes)

    def constant(self, element: ir.Type, number: float | int | bool) -> Vector:
        """A number in every lane."""
        digits = _digits(element, number)
        text = digits if self.lanes == 1 else f"splat ({element} {digits})"
        return Vector(self, literal(self.type(element), text))

    def zero(self, element: ir.Type) -> Vector:
        """Zero in every lane."""
        return self.constant(element, 0)

    def undefined(self, element: ir.Type) -> ir.Value:
        """A vector whose every lane is still to be inserted."""
        return literal(self.type(element), "poison")

    def iota(self, element: ir.IntType, step: int = 1) -> Vector:
        """0, step, 2 step, …"""
        if self.lanes == 1:
            return self.zero(element)
        return Vector(self, ir.Constant(self.type(element), [step * lane for lane in range(self.lanes)]))

    def splat(self, scalar: ir.Value) -> Vector:
        """A scalar in every lane."""
        if self.lanes == 1:
            return Vector(self, scalar)
        start = self.undefined(scalar.type)
        first = self.builder.insert_element(start, scalar, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, self.lanes), [0] * self.lanes)
        return Vector(self, self.builder.shuffle_vector(first, start, zeros))

    def wrap(self, value: ir.Value) -> Vector:
        """A value that is a vector of this width already."""
        return Vector(self, value)

    def strict(self) -> Vectors:
        """The same, with every operation rounded as it is written."""
        return replace(self, contract=False)

    def gather(self, scalar: Callable[[int], ir.Value]) -> Vector:
        """The vector of scalars that `scalar` makes for each lane."""
        if self.lanes == 1:
            return Vector(self, scalar(0))
        found = [scalar(lane) for lane in range(self.lanes)]
        result = self.undefined(found[0].type)
        for lane, one in enumerate(found):
            result = self.builder.insert_element(result, one, ir.Constant(I32, lane))
        return Vector(self, result)


@dataclass(frozen=True, eq=False)
class Vector:
    """A value of `code.lanes` elements. Comparisons give vectors of i1, which `&`, `|`, `~` and `where` take."""

    code: Vectors
    value: ir.Value

    @property
    def type(self) -> ir.Type:
        """The LLVM type of the whole."""
        return self.value.type

    @property
    def element(self) -> ir.Type:
        """The LLVM type of an element."""
        return element_of(self.value.type)

    def like(self, number: float | int | bool) -> Vector:
        """A number as a vector of this type."""
        return self.code.constant(self.element, number)

    def strict(self) -> Vector:
        """The same value; what is computed from it is rounded as written."""
        return Vector(self.code.strict(), self.value)

    def _with(self, value: ir.Value) -> Vector:
        return Vector(self.code, value)

    def _of(self, other: Vector | float | int) -> ir.Value:
        return other.value if isinstance(other, Vector) else self.like(other).value

    def _binary(self, names: tuple[str, str], other: Vector | float | int, swapped: bool = False) -> Vector:
        pair = (self.value, self._of(other))
        left, right = pair[::-1] if swapped else pair
        builder = self.code.builder
        if not is_float(self.type):
            return self._with(getattr(builder, names[1])(left, right))
        flags = ("contract",) if self.code.contract and names[0] in ("fadd", "fmul") else ()
        return self._with(getattr(builder, names[0])(left, right, flags=flags))

    def __add__(self, other: Vector | float | int) -> Vector:
        return self._binary(("fadd", "add"), other)

    __radd__ = __add__

    def __sub__(self, other: Vector | float | int) -> Vector:
        return self._binary(("fsub", "sub"), other)

    def __rsub__(self, other: float | int) -> Vector:
        return self._binary(("fsub", "sub"), other, swapped=True)

    def __mul__(self, other: Vector | float | int) -> Vector:
        return self._binary(("fmul", "mul"), other)

    __rmul__ = __mul__

    def __truediv__(self, other: Vector | float | int) -> Vector:
        return self._binary(("fdiv", "sdiv"), other)

    def __rtruediv__(self, other: float | int) -> Vector:
        return self._binary(("fdiv", "sdiv"), other, swapped=True)

    def __neg__(self) -> Vector:
        builder = self.code.builder
        return self._with(builder.fneg(self.value)) if is_float(self.type) else 0 - self

    def __and__(self, other: Vector | int) -> Vector:
        return self._with(self.code.builder.and_(self.value, self._of(other)))

    def __or__(self, other: Vector | int) -> Vector:
        return self._with(self.code.builder.or_(self.value, self._of(other)))

    def __xor__(self, other: Vector | int) -> Vector:
        return self._with(self.code.builder.xor(self.value, self._of(other)))

    def __invert__(self) -> Vector:
        return self ^ -1

    def __lshift__(self, other: Vector | int) -> Vector:
        return self._with(self.code.builder.shl(self.value, self._of(other)))

    def __rshift__(self, other: Vector | int) -> Vector:
        return self._with(self.code.builder.ashr(self.value, self._of(other)))

    def unsigned_shift(self, other: Vector | int) -> Vector:
        """Bits moved down, zeros from above."""
        return self._with(self.code.builder.lshr(self.value, self._of(other)))

    def compare(self, relation: str, other: Vector | float | int, unsigned: bool = False) -> Vector:
        """x <relation> y, of "==" "!=" "<" "<=" ">" ">="; with NaN only "!=" holds."""
        builder, right = self.code.builder, self._of(other)
        if not is_float(self.type):
            compare = builder.icmp_unsigned if unsigned else builder.icmp_signed
        else:
            compare = builder.fcmp_unordered if relation == "!=" else builder.fcmp_ordered
        return self._with(compare(relation, self.value, right))

    def __lt__(self, other: Vector | float | int) -> Vector:
        return self.compare("<", other)

    def __le__(self, other: Vector | float | int) -> Vector:
        return self.compare("<=", other)

    def __gt__(self, other: Vector | float | int) -> Vector:
        return self.compare(">", other)

    def __ge__(self, other: Vector | float | int) -> Vector:
        return self.compare(">=", other)

    def equals(self, other: Vector | float | int) -> Vector:
        """x == y, in each lane."""
        return self.compare("==", other)

    def is_nan(self) -> Vector:
        """Whether it is no number."""
        return self._with(self.code.builder.fcmp_unordered("uno", self.value, self.value))

    def where(self, yes: Vector | float | int, no: Vector | float | int) -> Vector:
        """`yes` in the lanes where this condition holds, else `no`; one of them is a vector."""
        known = yes if isinstance(yes, Vector) else no
        assert isinstance(known, Vector)
        return known._with(self.code.builder.select(self.value, known._of(yes), known._of(no)))

    def any(self) -> ir.Value:
        """Whether this condition holds in some lane, as a scalar i1."""
        if self.code.lanes == 1:
            return self.value
        whole = self.code.builder.bitcast(self.value, integer(self.code.lanes))
        return self.code.builder.icmp_unsigned("!=", whole, ir.Constant(whole.type, 0))

    def bits(self) -> Vector:
        """A float's representation, as integers."""
        return self._with(self.code.builder.bitcast(self.value, self.code.type(integer(width(self.type)))))

    def floats(self) -> Vector:
        """Integers taken as the representation of floats."""
        element = {16: HALF, 32: F32, 64: F64}[width(self.type)]
        return self._with(self.code.builder.bitcast(self.value, self.code.type(element)))

    def to_integer(self, element: ir.IntType) -> Vector:
        """Toward zero, of floats known to be in range; or bits dropped, or the sign extended."""
        target = self.code.type(element)
        if is_float(self.type):
            return self._with(self.code.builder.fptosi(self.value, target))
        if self.element.width == element.width:
            return self
        resize = self.code.builder.trunc if element.width < self.element.width else self.code.builder.sext
        return self._with(resize(self.value, target))

    def zero_extend(self, element: ir.IntType) -> Vector:
        """A wider integer, zeros above."""
        if self.element.width == element.width:
            return self
        return self._with(self.code.builder.zext(self.value, self.code.type(element)))

    def to_float(self, element: ir.Type, unsigned: bool = False) -> Vector:
        """The nearest float of that type, of integers or of floats."""
        builder, target = self.code.builder, self.code.type(element)
        if not is_float(self.type):
            return self._with((builder.uitofp if unsigned else builder.sitofp)(self.value, target))
        if width(self.type) == width(element):
            return self
        return self._with((builder.fptrunc if width(element) < width(self.type) else builder.fpext)(self.value, target))

    def intrinsic(self, name: str, *others: Vector | float | int) -> Vector:
        """`llvm.<name>` of this type on this and others."""
        arguments = [self.value, *(self._of(other) for other in others)]
        return self._with(intrinsic(self.code.builder, f"{name}.{suffix(self.type)}", self.type, arguments))

    def fma(self, factor: Vector | float, addend: Vector | float) -> Vector:
        """self * factor + addend, rounded once."""
        return self.intrinsic("fma", factor, addend)

    def abs(self) -> Vector:
        """The magnitude; the lowest integer stays."""
        if is_float(self.type):
            return self.intrinsic("fabs")
        return (self < 0).where(-self, self)

    def sqrt(self) -> Vector:
        """The square root, correctly rounded."""
        return self.intrinsic("sqrt")

    def round(self) -> Vector:
        """The nearest integer, halves to even."""
        return self.intrinsic("rint")

    def copysign(self, sign: Vector | float) -> Vector:
        """This magnitude with another's sign."""
        return self.intrinsic("copysign", sign)

    def at_least(self, low: Vector | float | int) -> Vector:
        """max(self, low); a NaN here stays, one in `low` is not looked at."""
        return (self < low).where(low, self)

    def at_most(self, high: Vector | float | int) -> Vector:
        """min(self, high); a NaN here stays, one in `high` is not looked at."""
        return (self > high).where(high, self)

    def lane(self, number: int) -> ir.Value:
        """One element."""
        if self.code.lanes == 1:
            return self.value
        return self.code.builder.extract_element(self.value, ir.Constant(I32, number))

    def shuffle(self, order: Sequence[int], other: Vector | None = None) -> ir.Value:
        """Elements of this and `other` (numbered on from this one's) in the stated order."""
        second = other.value if other else literal(self.type, "poison")
        mask = ir.Constant(ir.VectorType(I32, len(order)), list(order))
        return self.code.builder.shuffle_vector(self.value, second, mask)

    def fold(self, combine: Callable[[Vector, Vector], Any]) -> ir.Value:
        """All elements combined by halves, as a scalar; `combine` works on vectors of any width."""
        current = self
        while current.code.lanes > 1:
            half = current.code.lanes // 2
            code = replace(current.code, lanes=half)
            if half == 1:
                low, high = current.lane(0), current.lane(1)
            else:
                low, high = current.shuffle(range(half)), current.shuffle(range(half, 2 * half))
            current = combine(Vector(code, low), Vector(code, high))
        return current.value
