"""A heap of entries (key, place) of 16 bytes, two i64 each: the worst stands at its root (Williams and Floyd 1964).

An entry is the worse the smaller its key is, of equal keys the greater its place. Floats become keys, integers that
order as they do.
"""

from __future__ import annotations

from llvmlite import ir

from tenfold.codegen.cpu.flow import define, step
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.cpu.memory import load, store
from tenfold.codegen.cpu.vectors import I64, POINTER, Vector, Vectors, width
from tenfold.ir import dtype as dt

ENTRY = 16
"""Bytes of an entry."""


def float_key(value: Vector) -> Vector:
    """The bits, of negative numbers those below the sign inverted; both zeros alike, NaN the greatest."""
    bits = (value.strict() + 0.0).bits()
    top = width(bits.type) - 1
    key = bits ^ ((bits >> top).unsigned_shift(1))
    return value.is_nan().where((1 << top) - 1, key)


def entry_at(code: Vectors, heap: ir.Value, at: Vector) -> tuple[Vector, Vector]:
    """Key and place of an entry."""
    entry = step(code.builder, heap, at * ENTRY)
    return load(code, dt.i64, entry), load(code, dt.i64, step(code.builder, entry, 8))


def put(code: Vectors, heap: ir.Value, at: Vector, entry: tuple[Vector, Vector]) -> None:
    """Write an entry, wherever it then stands."""
    where = step(code.builder, heap, at * ENTRY)
    store(code, dt.i64, where, entry[0])
    store(code, dt.i64, step(code.builder, where, 8), entry[1])


def _worse(a: tuple[Vector, Vector], b: tuple[Vector, Vector]) -> Vector:
    return (a[0] < b[0]) | (a[0].equals(b[0]) & (a[1] > b[1]))


def define_sift(module: ir.Module, isa: Isa) -> ir.Function:
    """`void sift(ptr heap, i64 at, i64 size, i64 key, i64 place)`: an entry that may be better than those below `at`
    finds its place among them, and worse ones move up.
    """
    function = define(module, "sift", ir.VoidType(), [POINTER, I64, I64, I64, I64], internal=True)
    heap, first, size, key, place = function.args
    builder = ir.IRBuilder(function.entry_basic_block)
    code = Vectors(builder, isa, 1)
    head, inside, below, settled = (
        function.append_basic_block(name) for name in ("head", "inside", "below", "settled")
    )
    builder.branch(head)
    builder.position_at_end(head)
    hole = builder.phi(I64)
    hole.add_incoming(first, function.entry_basic_block)
    at, new = code.wrap(hole), (code.wrap(key), code.wrap(place))
    left = at * 2 + 1
    builder.cbranch((left < code.wrap(size)).value, inside, settled)
    builder.position_at_end(inside)
    right = left + 1
    beside = (right < code.wrap(size)).where(right, left)
    one, other = entry_at(code, heap, left), entry_at(code, heap, beside)
    chosen = _worse(other, one)
    child, key_of, place_of = (chosen.where(b, a) for a, b in zip((left, *one), (beside, *other), strict=True))
    builder.cbranch(_worse((key_of, place_of), new).value, below, settled)
    builder.position_at_end(below)
    put(code, heap, at, (key_of, place_of))
    hole.add_incoming(child.value, below)
    builder.branch(head)
    builder.position_at_end(settled)
    put(code, heap, at, new)
    builder.ret_void()
    return function
