"""Control flow of LLVM IR as functions that take what happens inside; values live in registers, never in allocas."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from tenfold.codegen.cpu.vectors import I8, I64, POINTER, Vector, Vectors

Registers = Sequence[ir.Value]


_ATTRIBUTES = ("nounwind", '"no-builtins"', '"frame-pointer"="all"')


def define(module: ir.Module, name: str, result: ir.Type, arguments: Sequence[ir.Type], internal: bool) -> ir.Function:
    """A function with an entry block, as the code of engines is made of; `internal` ones are not seen outside."""
    function = ir.Function(module, ir.FunctionType(result, arguments), name)
    set.update(function.attributes, _ATTRIBUTES, ("noinline",) if internal else ())
    function.linkage = "internal" if internal else ""
    function.append_basic_block("entry")
    return function


def number(value: int) -> ir.Constant:
    """An i64 literal."""
    return ir.Constant(I64, value)


def step(builder: ir.IRBuilder, pointer: ir.Value, offset: Vector | ir.Value | int) -> ir.Value:
    """The address `offset` bytes after `pointer`."""
    if isinstance(offset, int):
        offset = number(offset)
    return builder.gep(pointer, [offset.value if isinstance(offset, Vector) else offset], source_etype=I8)


def load_size(code: Vectors, pointer: ir.Value, offset: Vector | ir.Value | int = 0) -> Vector:
    """The i64 at `offset` bytes after `pointer`."""
    return code.wrap(code.builder.load(step(code.builder, pointer, offset), typ=I64, align=8))


def load_pointer(code: Vectors, pointer: ir.Value, offset: Vector | ir.Value | int = 0) -> ir.Value:
    """The address stored `offset` bytes after `pointer`."""
    return code.builder.load(step(code.builder, pointer, offset), typ=POINTER, align=8)


def repeat(
    code: Vectors,
    start: Vector | int,
    stop: Vector | int,
    body: Callable[..., Registers | None],
    carried: Registers = (),
    by: Vector | int = 1,
) -> tuple[Vector, list[ir.Value]]:
    """for (i = start; i < stop; i += by) body(i, *carried), which returns the next `carried`.

    Gives the last i and the last `carried`. `code` has one lane; its builder ends up behind the loop.
    """
    builder = code.builder
    before, function = builder.block, builder.function
    head, inside, behind = (function.append_basic_block(name) for name in ("loop", "inside", "behind"))
    builder.branch(head)
    builder.position_at_end(head)
    index = builder.phi(I64)
    index.add_incoming(number(start) if isinstance(start, int) else start.value, before)
    phis = [builder.phi(value.type) for value in carried]
    limit = number(stop) if isinstance(stop, int) else stop.value
    builder.cbranch(builder.icmp_signed("<", index, limit), inside, behind)
    builder.position_at_end(inside)
    after = body(code.wrap(index), *phis) or ()
    index.add_incoming(builder.add(index, number(by) if isinstance(by, int) else by.value), builder.block)
    for phi, first, last in zip(phis, carried, after, strict=True):
        phi.add_incoming(first, before)
        phi.add_incoming(last, builder.block)
    builder.branch(head)
    builder.position_at_end(behind)
    return code.wrap(index), phis


def choose(
    code: Vectors, condition: Vector, then: Callable[[], Registers | None], other: Callable[[], Registers | None]
) -> list[ir.Value]:
    """if (condition) then() else other(): the values that the branch taken returns."""
    builder = code.builder
    function = builder.function
    yes, no, behind = (function.append_basic_block(name) for name in ("yes", "no", "join"))
    builder.cbranch(condition.value, yes, no)
    ends = []
    for block, branch in ((yes, then), (no, other)):
        builder.position_at_end(block)
        found = branch() or ()
        ends.append((builder.block, found))
        builder.branch(behind)
    builder.position_at_end(behind)
    phis = []
    for pair in zip(*(found for _, found in ends), strict=True):
        phi = builder.phi(pair[0].type)
        for (block, _), value in zip(ends, pair, strict=True):
            phi.add_incoming(value, block)
        phis.append(phi)
    return phis
