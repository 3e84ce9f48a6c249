"""Contractions built by hand and compared with what their operation says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.region import Anchored, Operand
from tenfold.codegen.strategy import Kernel, Refusal, Strategy, Tactic
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ir.op import Array
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant
from tenfold.target import Target
from tests.codegen.cpu.memory import Guarded
from tests.codegen.cpu.running import number, run

RNG = np.random.default_rng(7)


def random(dtype: dt.DType, *shape: int) -> Array:
    """Plausible numbers of a type."""
    if dtype.is_float:
        return RNG.standard_normal(shape).astype(dtype.numpy)
    low, high = (0, 100) if dtype.kind is dt.Kind.UINT else (-100, 100)
    return RNG.integers(low, high, shape).astype(dtype.numpy)


def row_major(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of a dense array."""
    return tuple(int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape)))


def operand(value: Value, shape: Sequence[int], strides: Sequence[int], offset: int = 0) -> Operand:
    """An operand of a value's own type."""
    return Operand(value, value.type.dtype, tuple(shape), tuple(strides), offset)


def dense(value: Value) -> Operand:
    """A value as it is stored."""
    shape = tuple(map(int, value.type.shape))  # type: ignore[arg-type]
    return operand(value, shape, row_major(shape))


def variable(dtype: dt.DType, shape: Sequence[int]) -> Value:
    """A value that a buffer holds."""
    return Value(Type(dtype, tuple(shape)))


def constant(array: Array) -> Value:
    """A value known at build time."""
    value: Value = Constant(Tensor(array))()
    return value


def tactics(strategy: Strategy, region: Anchored, isa: Isa) -> Sequence[Tactic]:
    """The strategy's tactics, which it must have."""
    found = strategy.tactics(region, Target("cpu", isa.level))
    assert not isinstance(found, Refusal), found
    return found


def build(strategy: Strategy, region: Anchored, isa: Isa, tactic: Tactic | None = None) -> Kernel:
    """The kernel of a tactic, by default the first."""
    return strategy.build(region, tactic or tactics(strategy, region, isa)[0], Target("cpu", isa.level))


def compare(
    region: Anchored,
    kernel: Kernel,
    isa: Isa,
    arrays: Mapping[Value, Array],
    expected: Sequence[Array],
    tolerance: float = 1e-5,
    threads: int = 2,
    low: bool = False,
    bindings: Mapping[str, int] | None = None,
) -> list[bytes]:
    """Run in guarded buffers with poisoned outputs and compare norm-wise; the outputs' bytes."""
    buffers: dict[Value, Guarded] = {}
    for value, array in arrays.items():
        buffers[value] = Guarded(array.nbytes, low)
        buffers[value].bytes()[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    sizes = {"threads": threads, **(bindings or {})}
    for one in region.outputs:
        if one.value not in buffers:
            buffers[one.value] = Guarded(number(one.value.type.size, sizes) * one.dtype.itemsize, low)
    run(kernel, isa, buffers, sizes, backwards=threads > 2)
    for one, wanted in zip(region.outputs, expected, strict=True):
        flat = buffers[one.value].bytes().view(one.dtype.numpy)[number(one.offset, sizes) :]
        strides = tuple(number(step, sizes) * one.dtype.itemsize for step in one.strides)
        got = np.lib.stride_tricks.as_strided(flat, wanted.shape, strides)
        if one.dtype.is_float:
            scale = np.abs(wanted.astype(np.float64)).max(initial=1e-30)
            wide = got.astype(np.float64), wanted.astype(np.float64)
            np.testing.assert_allclose(*wide, rtol=0, atol=tolerance * scale)
        else:
            np.testing.assert_array_equal(got, wanted)
    raw = [buffers[one.value].bytes().tobytes() for one in region.outputs]
    for buffer in buffers.values():
        buffer.close()
    return raw
