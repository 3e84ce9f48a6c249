"""Products whose rows are standardised: mean and deviation of a tile's rows, made once, stand for all their parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.codegen.cuda.launch import Filling, place
from tenfold.codegen.region import Anchored, Body, Instruction, Operand
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ops.arithmetic import Mul, Sub
from tenfold.ops.moments import Standardise

_LEAST = 1e-12
FACTOR, MEAN = 5, 6
"""The kinds of what the kernel makes of moments: 1 / deviation and mean / deviation of a row."""


@dataclass(frozen=True)
class Settled:
    """A body, the numbers of the operands beside it that it still reads, the kinds of what the kernel makes for it,
    where moments lie, and (parts, elements of a row, 10^12 of what is added to the variance); the last three are empty
    where it asks for none of what the kernel makes.
    """

    body: Body
    kept: tuple[int, ...]
    made: tuple[int, ...] = ()
    moments: Filling = 0
    standing: tuple[int, ...] = ()


def settled(region: Anchored, kinds: Sequence[int], extra: Sequence[Operand], rows: Size) -> Settled:
    """The body with two numbers a row behind the operands that are kept, in place of moments that lie part by part; as
    it was where there are none.
    """
    body, first = region.body, region.results
    same = Settled(body, tuple(range(len(extra))))
    places = [number for number, one in enumerate(body.code) if isinstance(one.op, Standardise)]
    if len({(body.code[at].op, body.code[at].args[1:]) for at in places}) != 1:
        return same
    op, parts = body.code[places[0]].op, body.code[places[0]].args[1:]
    assert isinstance(op, Standardise)
    others = {arg for number, other in enumerate(body.code) if number not in places for arg in other.args}
    inside = all(first <= part < len(body.inputs) and kinds[part - first] == 1 for part in parts)
    if not inside or others & set(parts) or op.epsilon < _LEAST:
        return same
    operands = [extra[part - first] for part in parts]
    if not _side_by_side(operands, rows):
        return same
    kept = tuple(number for number in range(len(extra)) if number + first not in parts)
    numbers = (len(parts) // 2, op.count, round(op.epsilon / _LEAST))
    made = (FACTOR,) if op.centred else (FACTOR, MEAN)
    return Settled(_rewritten(body, first, kept, made), kept, made, place(operands[0]), numbers)


def _side_by_side(parts: Sequence[Operand], rows: Size) -> bool:
    first = parts[0]
    return all(
        one.value is first.value and dim.known_equal(one.offset, first.offset + number * rows)
        for number, one in enumerate(parts)
    )


def _rewritten(body: Body, first: int, kept: Sequence[int], made: Sequence[int]) -> Body:
    """The body on the `first` inputs, the operands that are kept, and what is made: rows are standardised as
    x / deviation, less mean / deviation if that is made.
    """
    inputs = (*body.inputs[:first], *(body.inputs[number + first] for number in kept), *(dt.f32 for _ in made))
    names = {number: number for number in range(first)}
    names |= {number + first: place + first for place, number in enumerate(kept)}
    factor = len(kept) + first
    code: list[Instruction] = []

    def write(one: Instruction) -> int:
        code.append(one)
        return len(inputs) + len(code) - 1

    for number, one in enumerate(body.code):
        if isinstance(one.op, Standardise):
            found = write(Instruction(Mul(), (names[one.args[0]], factor), dt.f32))
            if MEAN in made:
                found = write(Instruction(Sub(), (found, factor + 1), dt.f32))
        else:
            found = write(Instruction(one.op, tuple(names[arg] for arg in one.args), one.dtype))
        names[len(body.inputs) + number] = found
    return Body(inputs, tuple(code), tuple(names[output] for output in body.outputs))
