"""A stage being written: its module, its arguments by name, where code goes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence

from llvmlite import ir

from tenfold.codegen.cpu.flow import define, load_pointer, load_size, step
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.vectors import I32, I64, POINTER, Vector, Vectors
from tenfold.codegen.region import Operand
from tenfold.codegen.strategy import Address, Argument
from tenfold.ir.dim import Size
from tenfold.runtime.cpu.block import KERNEL_ERROR


class StageWriter:
    """`i32 @stage(ptr args, i64 part, ptr scratch)` in a module of its own; `names` says what `args` holds.

    A name that starts with "@" is an address, another one a size. All are loaded at the entry.
    """

    def __init__(self, isa: Isa, name: str, names: Sequence[str]) -> None:
        self.isa = isa
        self.module = ir.Module(name=name)
        function = define(self.module, "stage", I32, [POINTER, I64, POINTER], internal=False)
        self.args, part, self.scratch = function.args
        self.builder = ir.IRBuilder(function.entry_basic_block)
        self.scalar = Vectors(self.builder, isa, 1)
        self.part = self.scalar.wrap(part)
        self._sizes: dict[str, Vector] = {}
        self._pointers: dict[str, ir.Value] = {}
        for place, each in enumerate(names):
            if each.startswith("@"):
                self._pointers[each] = load_pointer(self.scalar, self.args, 8 * place)
            else:
                self._sizes[each] = load_size(self.scalar, self.args, 8 * place)

    def arg(self, name: str) -> Vector:
        """A size among the arguments."""
        return self._sizes[name]

    def pointer(self, name: str) -> ir.Value:
        """An address among the arguments, by its name with the "@"."""
        return self._pointers[name]

    def vectors(self, lanes: int) -> Vectors:
        """Vectors of that many lanes."""
        return Vectors(self.builder, self.isa, lanes)

    def number(self, value: int) -> Vector:
        """A scalar i64."""
        return self.scalar.constant(I64, value)

    def step(self, pointer: ir.Value, offset: Vector | int) -> ir.Value:
        """The address `offset` bytes after `pointer`."""
        return step(self.builder, pointer, offset)

    def fail(self, where: Vector, mask: Vector | None = None) -> None:
        """End this part of the stage with an error if the condition holds in a lane, of the mask's if there is one."""
        held = where if mask is None else where & mask
        broken, behind = (self.builder.function.append_basic_block(name) for name in ("broken", "sound"))
        self.builder.cbranch(held.any(), broken, behind)
        self.builder.position_at_end(broken)
        self.builder.ret(ir.Constant(I32, KERNEL_ERROR))
        self.builder.position_at_end(behind)

    def within(self, builder: ir.IRBuilder) -> StageWriter:
        """The same, writing into another function of the module, which knows no arguments."""
        other = copy.copy(self)
        other.builder, other.scalar = builder, Vectors(builder, self.isa, 1)
        other._sizes, other._pointers = {}, {}
        return other

    def finish(self) -> str:
        """Return 0; the module in textual form."""
        self.builder.ret(ir.Constant(I32, 0))
        return str(self.module)


def least(a: Vector, b: Vector) -> Vector:
    """The lesser of two scalars."""
    return (a < b).where(a, b)


def most(a: Vector, b: Vector) -> Vector:
    """The greater of two scalars."""
    return (a > b).where(a, b)


def divided(value: Vector, by: Vector) -> tuple[Vector, Vector]:
    """Quotient and rest of scalars that are not negative."""
    builder = value.code.builder
    quotient = value.code.wrap(builder.udiv(value.value, by.value))
    return quotient, value - quotient * by


def ceildiv(size: Vector, of: Vector | int) -> Vector:
    """How many blocks `of` that size hold `size`."""
    whole = size.like(of) if isinstance(of, int) else of
    return divided(size + (whole - 1), whole)[0]


def share_of(total: Vector, part: Vector, parts: Vector) -> tuple[Vector, Vector]:
    """First and end of a part's even share."""
    return divided(total * part, parts)[0], divided(total * (part + 1), parts)[0]


def operand_names(name: str, steps: Iterable[object]) -> tuple[str, ...]:
    """The arguments of an operand: its address, and its steps under these words."""
    return (f"@{name}", *(f"{name}.{step}" for step in steps))


def operand_values(name: str, operand: Operand, steps: Mapping[str, Size]) -> dict[str, Argument]:
    """What they hold: its address, and its steps in bytes."""
    size = operand.dtype.itemsize
    return {f"@{name}": address(operand), **{f"{name}.{word}": step * size for word, step in steps.items()}}


def numbered(strides: Iterable[Size]) -> dict[str, Size]:
    """Steps whose words are the numbers of their axes."""
    return {str(axis): stride for axis, stride in enumerate(strides)}


def ordered(names: Sequence[str], arguments: Mapping[str, Argument]) -> tuple[Argument, ...]:
    """The arguments in the order of their names."""
    return tuple(arguments[name] for name in names)


def address(operand: Operand) -> Address:
    """Where an operand's first element lies."""
    return Address(operand.value, operand.offset * operand.dtype.itemsize)
