"""Regions drawn at random: any mixture of layouts, broadcasts, slices, element types, symbolic and plain sizes."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.codegen.cpu import pointwise, reduce
from tenfold.codegen.region import Body, Instruction, Operand, Phase, Pointwise, Row
from tenfold.codegen.strategy import Refusal
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size, symbol
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Value
from tenfold.ir.type import Type
from tenfold.ops import arithmetic, logic
from tests.codegen.cpu import jit
from tests.codegen.cpu.cases import Case
from tests.codegen.cpu.checking import TARGETS, compare

TYPES = (dt.f32, dt.f32, dt.f32, dt.f16, dt.bf16, dt.f64, dt.i32, dt.u8, dt.i64, dt.boolean)


class Draw:
    """Random choices."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        rank = int(self.rng.integers(1, 6))
        self.sizes = [int(self.rng.choice([1, 1, 2, 3, 5, 8, 16, 17, 40])) for _ in range(rank)]
        while np.prod(self.sizes) > 60000:
            self.sizes[int(np.argmax(self.sizes))] = 3
        self.bindings: dict[str, int] = {}
        self.shape: list[Size] = []
        for axis, size in enumerate(self.sizes):
            symbolic = self.rng.random() < 0.5
            if symbolic:
                self.bindings[f"s{axis}"] = size
            self.shape.append(symbol(f"s{axis}", 0) if symbolic else size)

    def operand(self, dtype: DType, *, broadcast: bool, order: list[int] | None = None, flat: int = 0) -> Operand:
        """A tensor in a random order, padded, sliced, repeated along random axes; all along the last `flat` ones."""
        rank = len(self.shape)
        order = [int(axis) for axis in self.rng.permutation(rank)] if order is None else order
        strides: list[Size] = [0] * rank
        step: Size = int(self.rng.choice([1, 1, 1, 2])) if broadcast else 1
        for axis in reversed(order):
            if (broadcast and self.rng.random() < 0.25) or axis >= rank - flat:
                continue
            strides[axis] = step
            step = step * self.shape[axis] + (int(self.rng.integers(1, 4)) if self.rng.random() < 0.2 else 0)
        offset = int(self.rng.integers(0, 3))
        return Operand(Value(Type(dtype, tuple(self.shape))), dtype, tuple(self.shape), tuple(strides), offset)

    def body(self, inputs: list[DType]) -> Body:
        """Every input cast to f32 and combined by random operations."""
        code: list[Instruction] = []
        last = 0
        for number, dtype in enumerate(inputs):
            register = number
            if dtype is not dt.f32:
                code.append(Instruction(logic.Cast(dt.f32), (number,), dt.f32))
                register = len(inputs) + len(code) - 1
            if number == 0:
                last = register
                continue
            op = (arithmetic.Add(), arithmetic.Mul(), arithmetic.Maximum(), arithmetic.Sub())[self.rng.integers(0, 4)]
            code.append(Instruction(op, (last, register), dt.f32))
            last = len(inputs) + len(code) - 1
        return Body(tuple(inputs), tuple(code), (last,))

    def types(self) -> list[DType]:
        """One to three element types."""
        return [TYPES[k] for k in self.rng.integers(0, len(TYPES), self.rng.integers(1, 4))]


@pytest.mark.parametrize("seed", range(40))
def test_pointwise(seed: int) -> None:
    draw = Draw(seed)
    types = draw.types()
    inputs = [draw.operand(dtype, broadcast=True) for dtype in types]
    plain = seed % 4 == 0
    body = Body((types[0],), (), (0,)) if plain else draw.body(types)
    result = types[0] if plain else dt.f32
    order = list(range(len(draw.shape)))
    output = draw.operand(result, broadcast=False, order=order)
    region = Pointwise(tuple(draw.shape), (output,), tuple(inputs[:1] if plain else inputs), body)
    run(pointwise.STRATEGY, region, draw, Case(str(seed), lambda: region, tolerance=1e-4))


@pytest.mark.parametrize("seed", range(40))
def test_row(seed: int) -> None:
    draw = Draw(1000 + seed)
    rank = len(draw.shape)
    reduced = int(draw.rng.integers(1, rank + 1))
    types = draw.types()
    inputs = [draw.operand(dtype, broadcast=True) for dtype in types]
    inputs[0] = draw.operand(types[0], broadcast=False)
    combine = ("sum", "max", "min", "argmax", "argmin_last")[draw.rng.integers(0, 5)]
    scalar = dt.i64 if combine.startswith("arg") else dt.f32
    finish = Body((scalar,), (), (0,))
    flat = draw.operand(scalar, broadcast=False, flat=reduced)
    what = draw.body(types)
    with_body = seed % 2 == 0
    whole = Body((*types, scalar), (Instruction(logic.Cast(dt.f32), (len(types),), dt.f32),), (len(types) + 1, 0))
    outputs = (draw.operand(dt.f32, broadcast=False), draw.operand(types[0], broadcast=False)) if with_body else ()
    region = Row(
        tuple(draw.shape), outputs, reduced, tuple(inputs), (Phase(what, combine),),
        whole if with_body else None, finish, (), (flat,),
    )  # fmt: skip
    run(reduce.STRATEGY, region, draw, Case(str(seed), lambda: region, tolerance=2e-3))


def run(strategy: object, region: object, draw: Draw, case: Case) -> None:
    """All tactics of a region on all machines that run here."""
    for isa in jit.runnable():
        tactics = strategy.tactics(region, TARGETS[isa.level])  # type: ignore[attr-defined]
        assert not isinstance(tactics, Refusal)
        for number, tactic in enumerate(tactics):
            kernel = strategy.build(region, tactic, TARGETS[isa.level])  # type: ignore[attr-defined]
            compare(region, kernel, case, isa, draw.bindings, low=bool(number), skew=0, backwards=True)  # type: ignore[arg-type]
