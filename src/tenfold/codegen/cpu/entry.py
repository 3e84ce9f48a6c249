"""A stage being written: its named arguments, its part of the work, and moves along lines of memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from llvmlite import ir

from tenfold.codegen.cpu.flow import define, load_pointer, load_size, repeat, step
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.storage import stored_type
from tenfold.codegen.cpu.vectors import I32, I64, POINTER, Vector, Vectors
from tenfold.codegen.region import Operand
from tenfold.codegen.strategy import Address, Argument
from tenfold.ir.dtype import DType


class Entry:
    """The function `i32 @stage(ptr args, i64 part, ptr scratch)` of a module; `names` says what `args` holds."""

    def __init__(self, isa: Isa, title: str, names: Sequence[str]) -> None:
        self.isa = isa
        self.places = {name: place for place, name in enumerate(names)}
        self.module = ir.Module(name=title)
        function = define(self.module, "stage", I32, [POINTER, I64, POINTER], internal=False)
        self.args, part, self.scratch = function.args
        self.builder = ir.IRBuilder(function.entry_basic_block)
        self.scalar = Vectors(self.builder, isa, 1)
        self.part = self.scalar.wrap(part)

    def size(self, name: str) -> Vector:
        """A number among the arguments."""
        return load_size(self.scalar, self.args, 8 * self.places[name])

    def pointer(self, name: str) -> ir.Value:
        """An address among the arguments."""
        return load_pointer(self.scalar, self.args, 8 * self.places[name])

    def number(self, value: int) -> Vector:
        """An i64 literal."""
        return self.scalar.constant(I64, value)

    def vectors(self, dtype: DType) -> Vectors:
        """Where vectors as wide as a register of such elements are computed."""
        return Vectors(self.builder, self.isa, self.isa.lanes(dtype.itemsize))

    def step(self, pointer: ir.Value, offset: Vector | int) -> ir.Value:
        """The address `offset` bytes after `pointer`."""
        return step(self.builder, pointer, offset)

    def load(self, code: Vectors, dtype: DType, address: ir.Value) -> Vector:
        """As many adjacent elements as `code` has lanes, as stored."""
        return code.wrap(self.builder.load(address, typ=code.type(stored_type(dtype)), align=dtype.itemsize))

    def store(self, dtype: DType, value: Vector, address: ir.Value) -> None:
        """Elements in their stored form to adjacent places."""
        self.builder.store(value.value, address, align=dtype.itemsize)

    def least(self, a: Vector, b: Vector | int) -> Vector:
        """The lesser of two numbers."""
        return a.at_most(b)

    def ceiling(self, size: Vector, by: int) -> Vector:
        """How many times `by` it takes to cover a size."""
        return (size + (by - 1)) / by

    def divided(self, value: Vector, size: Vector | int) -> tuple[Vector, Vector]:
        """Quotient and rest of numbers that are not negative."""
        quotient = value / size
        return quotient, value - quotient * size

    def share(self, total: Vector, part: Vector, parts: Vector) -> tuple[Vector, Vector]:
        """First and end of a part's even share."""
        return total * part / parts, total * (part + 1) / parts

    def coordinates(self, number: Vector, sizes: Sequence[str]) -> list[Vector]:
        """The coordinates of a point counted in row-major order through axes of the named sizes."""
        found = []
        for name in reversed(sizes[1:]):
            number, at = self.divided(number, self.size(name))
            found.insert(0, at)
        return [number, *found] if sizes else []

    def at(self, pointer: ir.Value, coordinates: Sequence[Vector], steps: Sequence[str]) -> ir.Value:
        """The address at some coordinates, the bytes from one place of an axis to the next being named arguments."""
        for coordinate, name in zip(coordinates, steps, strict=True):
            pointer = self.step(pointer, coordinate * self.size(name))
        return pointer

    def sweep(self, lanes: int, first: Vector | int, last: Vector, body: Callable[[Vectors, Vector], None]) -> None:
        """body(code, i) for each i from `first` to `last`, so many `lanes` at a time, then one by one."""
        start = self.number(first) if isinstance(first, int) else first
        if lanes > 1:
            whole = start + ((last - start) & -lanes)
            code = Vectors(self.builder, self.isa, lanes)
            repeat(self.scalar, start, whole, lambda i: body(code, i), by=lanes)
            start = whole
        repeat(self.scalar, start, last, lambda i: body(self.scalar, i))

    def text(self) -> str:
        """The module, once the stage is written."""
        self.builder.ret(ir.Constant(I32, 0))
        return str(self.module)


def address(operand: Operand) -> Address:
    """The argument that says where an operand's first element lies."""
    return Address(operand.value, operand.offset * operand.dtype.itemsize)


def steps(operand: Operand, *names: str) -> dict[str, Argument]:
    """The bytes from one place of each of its axes to the next, under these names."""
    size = operand.dtype.itemsize
    return {name: stride * size for name, stride in zip(names, operand.strides, strict=True)}


def arranged(names: Sequence[str], values: Mapping[str, Argument]) -> tuple[Argument, ...]:
    """The arguments of a stage in the order of their names."""
    return tuple(values[name] for name in names)
