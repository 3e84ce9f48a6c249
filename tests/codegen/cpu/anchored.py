"""Kernels of single operations against the operation's own definition: any view, guarded buffers, poisoned outputs."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tenfold.codegen.cpu.isa import ROWS, Isa
from tenfold.codegen.region import Anchored, Body, Instruction, Operand, identity
from tenfold.codegen.strategy import Address, Argument, Kernel, Packed, Refusal, Strategy, Tactic, Workspace
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ir.op import Array, Op
from tenfold.ir.substitute import evaluate
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops.activation import Sigmoid
from tenfold.ops.arithmetic import Add, Neg
from tenfold.ops.constant import Constant
from tenfold.target import Target
from tests.codegen.cpu import jit
from tests.codegen.cpu.memory import Guarded

LAYOUTS = ("dense", "reversed", "spaced")

TWO_RESULTS = Body(
    (dt.f32,) * 3,
    (
        Instruction(Add(), (0, 1), dt.f32),
        Instruction(Sigmoid(), (3,), dt.f32),
        Instruction(Add(), (4, 2), dt.f32),
        Instruction(Neg(), (3,), dt.f32),
    ),
    (5, 6),
)
"""Of sums, a bias and a residual: sigmoid(sums + bias) + residual, and -(sums + bias)."""


@dataclass(frozen=True, eq=False)
class Given:
    """An input: its contents, how it lies in memory, whether it is a constant, and its sizes if they are symbols."""

    array: Array
    layout: str = "dense"
    constant: bool = False
    shape: tuple[Size, ...] | None = None


@dataclass(eq=False)
class Case:
    """An operation on inputs; outputs lie as `layouts` say, and get `body` applied, which may read `extra`."""

    op: Op
    inputs: Sequence[Given]
    layouts: Sequence[str] = ()
    bindings: Mapping[str, int] = field(default_factory=dict)
    body: Body | None = None
    extra: Sequence[Given] = ()

    def __post_init__(self) -> None:
        self.arrays: dict[Value, Array] = {}
        ins = [self._input(one) for one in self.inputs]
        types = self.op.types(tuple(Type(one.dtype, one.shape) for one in ins))
        layouts = [*self.layouts, *["dense"] * len(types)]
        body = self.body or identity(*(t.dtype for t in types))
        extra = tuple(self._input(one) for one in self.extra)
        outs = [
            operand(body.dtype(register), types[min(k, len(types) - 1)].shape, layouts[k])
            for k, register in enumerate(body.outputs)
        ]
        self.region = Anchored(types[0].shape, tuple(outs), self.op, tuple(ins), body, extra, results=len(types))

    def _input(self, given: Given) -> Operand:
        shape = given.shape or given.array.shape
        one = operand(dt.of(given.array.dtype), shape, given.layout, given.array if given.constant else None)
        if not given.constant:
            self.arrays[one.value] = given.array
        return one

    def run(
        self, kernel: Kernel, isa: Isa, threads: int = 2, backwards: bool = False, low: bool = False
    ) -> list[Array]:
        """The outputs of a kernel of this case, then what it tells besides."""
        bindings = {"threads": threads, **self.bindings}
        memory: dict[Value, Guarded] = {}
        results = [*self.region.outputs, *self.region.told]
        sides = [*self.region.inputs, *self.region.extra, *results]
        views = {}
        for one in sides:
            if not isinstance(one.value.op, Constant):
                memory[one.value] = Guarded(extent(one, bindings), low)
                views[one.value] = strided(one, memory[one.value].bytes(), bindings)
        for value, array in self.arrays.items():
            views[value][...] = array
        execute(kernel, isa, {value: buffer.address for value, buffer in memory.items()}, bindings, backwards)
        found = [views[one.value].copy() for one in results]
        del views
        for buffer in memory.values():
            buffer.close()
        return found


def operand(dtype: dt.DType, shape: Sequence[Size], layout: str, constant: Array | None = None) -> Operand:
    """A tensor in memory: "dense" row-major, its axes "reversed", every second element of a row ("spaced"), or
    channels "last".
    """
    axes = list(range(len(shape)))
    order = {"reversed": axes[::-1], "last": [*axes[:1], *axes[2:], *axes[1:2]]}.get(layout, axes)
    strides: list[Size] = [0] * len(shape)
    step: Size = 2 if layout == "spaced" else 1
    for axis in reversed(order):
        strides[axis] = step
        step = step * shape[axis]
    if constant is not None and layout == "dense":
        value = Constant(Tensor(constant))()
    elif constant is not None:
        raise ValueError("constants are dense here")
    else:
        value = Value(Type(dtype, tuple(shape)))
    return Operand(value, dtype, tuple(shape), tuple(strides), 3 if layout == "spaced" else 0)


def number(size: Size, bindings: Mapping[str, int]) -> int:
    """A size when the symbols have these values."""
    return size if isinstance(size, int) else evaluate(size, bindings)


def extent(one: Operand, bindings: Mapping[str, int]) -> int:
    """The bytes up to the last element."""
    shape = [number(size, bindings) for size in one.shape]
    if 0 in shape:
        return 0
    last = sum((size - 1) * number(stride, bindings) for size, stride in zip(shape, one.strides, strict=True))
    return (number(one.offset, bindings) + last + 1) * one.dtype.itemsize


def strided(one: Operand, content: Array, bindings: Mapping[str, int]) -> Array:
    """An operand as an array on the bytes of its buffer."""
    shape = tuple(number(size, bindings) for size in one.shape)
    if 0 in shape:
        return np.empty(shape, one.dtype.numpy)
    flat = content[number(one.offset, bindings) * one.dtype.itemsize :].view(one.dtype.numpy)
    strides = tuple(number(stride, bindings) * one.dtype.itemsize for stride in one.strides)
    return np.lib.stride_tricks.as_strided(flat, shape, strides)


def execute(kernel: Kernel, isa: Isa, addresses: Mapping[Value, int], bindings: Mapping[str, int],
            backwards: bool = False) -> None:  # fmt: skip
    """All stages, each part after the other, the last part first if `backwards`."""
    workspace = Guarded(number(kernel.workspace, bindings) + 63 & -64, low=True)
    scratch = Guarded(kernel.scratch + 63 & -64, low=True)
    calls, keep = prepare(kernel, isa, addresses, bindings, workspace.address)
    for function, args, parts in calls:
        for part in reversed(range(parts)) if backwards else range(parts):
            assert function(ctypes.addressof(args), part, scratch.address) == 0
    del keep
    workspace.close()
    scratch.close()


def prepare(kernel: Kernel, isa: Isa, addresses: Mapping[Value, int], bindings: Mapping[str, int],
            workspace: int) -> tuple[list[tuple[Any, ...]], list[Array]]:  # fmt: skip
    """(function, arguments, parts) of each stage, and what must stay alive meanwhile."""
    keep: list[Array] = []

    def constant(value: Value, recipe: tuple[Op, ...] = ()) -> int:
        array = value.op.tensor.array  # type: ignore[union-attr]
        for op in recipe:
            (array,) = op.results((array,))
        aligned = np.empty(array.nbytes + 64, np.uint8)
        start = -aligned.ctypes.data % 64
        aligned[start : start + array.nbytes] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        keep.append(aligned)
        return int(aligned.ctypes.data) + start

    def word(argument: Argument) -> int:
        match argument:
            case Address(value, offset) if isinstance(value.op, Constant):
                return constant(value) + number(offset, bindings)
            case Address(value, offset):
                return addresses[value] + number(offset, bindings)
            case Workspace(offset):
                return workspace + number(offset, bindings)
            case Packed(value, recipe):
                return constant(value, recipe)
        return number(argument, bindings)

    calls = []
    for stage in kernel.stages:
        args = (ctypes.c_int64 * max(len(stage.arguments), 1))(*map(word, stage.arguments))
        calls.append((compiled(stage.source, isa, "stage", stage.optimise), args, number(stage.parts, bindings)))
    return calls, keep


compiled = functools.cache(jit.load)


def tactics(strategy: Strategy, case: Case, isa: Isa) -> Sequence[Tactic]:
    """The ways a strategy has for a case."""
    found = strategy.tactics(case.region, Target("cpu", isa.level))
    assert not isinstance(found, Refusal), found
    return found


def check(strategy: Strategy, case: Case, expected: Sequence[Array] | None = None, tolerance: float = 2e-6) -> None:
    """Every tactic on every ISA here: near the definition, the same bits for any number of threads and any order."""
    if expected is None:
        expected = case.op.results(tuple(one.array for one in case.inputs))
    for isa in jit.runnable():
        for tactic in tactics(strategy, case, isa):
            kernel = strategy.build(case.region, tactic, Target("cpu", isa.level))
            found = case.run(kernel, isa)
            for got, wanted in zip(found, expected, strict=True):
                near(got, wanted, tolerance)
            for threads, low in ((1, True), (5, False)):
                again = case.run(kernel, isa, threads, backwards=True, low=low)
                for got, same in zip(again, found, strict=True):
                    assert np.array_equal(got.view(np.uint8), same.view(np.uint8)), "parts change bits"


def near(got: Array, wanted: Array, tolerance: float) -> None:
    """Equal, or for floats within `tolerance` of the greatest, NaN and infinities at the same places."""
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    if not dt.of(got.dtype).is_float:
        assert np.array_equal(got, wanted)
        return
    a, b = got.astype(np.float64), wanted.astype(np.float64)
    assert np.array_equal(np.isnan(a), np.isnan(b))
    finite = np.isfinite(b)
    assert np.array_equal(a[~finite & ~np.isnan(b)], b[~finite & ~np.isnan(b)])
    scale = np.abs(b[finite]).max(initial=1e-30)
    assert np.abs(a[finite] - b[finite]).max(initial=0) <= tolerance * max(scale, 1e-30)


def undefined_symbols(strategy: Strategy, case: Case) -> dict[str, list[str]]:
    """Per ISA what the code of all tactics would need from elsewhere."""
    found = {}
    for isa in ROWS:
        names: list[str] = []
        for tactic in tactics(strategy, case, isa):
            for stage in strategy.build(case.region, tactic, Target("cpu", isa.level)).stages:
                names += jit.undefined(jit.object_of(stage.source, isa, stage.optimise))
        found[isa.level] = names
    return {level: names for level, names in found.items() if names}


def random(dtype: dt.DType, *shape: int, seed: int = 0) -> Array:
    """Numbers of a type: normal floats, small integers."""
    rng = np.random.default_rng([seed, *shape, math.prod(shape)])
    if dtype.is_float:
        return rng.standard_normal(shape).astype(np.float32).astype(dtype.numpy)
    if dtype is dt.boolean:
        return rng.integers(0, 2, shape).astype(np.bool_)
    return rng.integers(0 if dtype.kind is dt.Kind.UINT else -9, 10, shape).astype(dtype.numpy)
