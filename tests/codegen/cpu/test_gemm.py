from __future__ import annotations

import numpy as np
import pytest

from tenfold.codegen.cpu import gemm
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.region import Anchored, identity
from tenfold.codegen.strategy import Refusal
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Value
from tenfold.ir.op import Array
from tenfold.ops.matmul import MatMul
from tenfold.target import Target
from tests.codegen.cpu import jit
from tests.codegen.cpu.running import Guarded, constant, dense, run, variable

ISAS = jit.runnable()
RNG = np.random.default_rng(7)


def target_of(isa: Isa) -> Target:
    return Target("cpu", isa.level)


def random(dtype: dt.DType, *shape: int) -> Array:
    if dtype.is_float:
        return RNG.standard_normal(shape).astype(dtype.numpy)
    low, high = (0, 100) if dtype.kind is dt.Kind.UINT else (-100, 100)
    return RNG.integers(low, high, shape).astype(dtype.numpy)


def check(region: Anchored, isa: Isa, arrays: dict[Value, Array], expected: list[Array], tolerance: float = 1e-5,
          threads: int = 2, at_end: bool = True) -> None:  # fmt: skip
    """Build, run with guarded buffers and poisoned outputs, compare."""
    found = gemm.STRATEGY.tactics(region, target_of(isa))
    assert not isinstance(found, Refusal), found
    kernel = gemm.STRATEGY.build(region, found[0], target_of(isa))
    compare(region, kernel, isa, arrays, expected, tolerance, threads, at_end)


def compare(region, kernel, isa, arrays, expected, tolerance=1e-5, threads=2, at_end=True) -> None:
    memory = {}
    for value, array in arrays.items():
        memory[value] = Guarded(array.nbytes, at_end)
        memory[value].array(array.dtype, array.shape)[...] = array
    for one in region.outputs:
        if one.value not in memory:
            size = int(np.prod(one.value.type.shape)) * one.dtype.itemsize
            memory[one.value] = Guarded(size, at_end)
            memory[one.value].array(np.dtype(np.uint8), (size,))[:] = 0xFF
    run(
        kernel,
        isa,
        {value: buffer.address for value, buffer in memory.items()},
        threads,
        order=-1 if threads > 2 else 1,
    )
    for one, wanted in zip(region.outputs, expected, strict=True):
        whole = memory[one.value].array(one.dtype.numpy, one.value.type.shape)
        strides = tuple(int(s) * one.dtype.itemsize for s in one.strides)
        got = np.lib.stride_tricks.as_strided(whole.ravel()[int(one.offset) :], one.shape, strides)
        if one.dtype.is_float:
            scale = np.abs(wanted.astype(np.float64)).max(initial=1e-30)
            np.testing.assert_allclose(
                got.astype(np.float64), wanted.astype(np.float64), rtol=0, atol=tolerance * scale
            )
        else:
            np.testing.assert_array_equal(got, wanted)
    for buffer in memory.values():
        buffer.close()


@pytest.mark.parametrize("isa", ISAS, ids=lambda isa: isa.level)
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (1, 70, 33), (3, 31, 5), (13, 32, 64), (14, 33, 1), (15, 100, 17), (29, 64, 0), (61, 40, 40)],
    ids=str,
)
def test_tails(isa: Isa, fixed: bool, shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    x, w = random(dt.f32, m, k), random(dt.f32, k, n)
    a, c = variable(dt.f32, (m, k)), variable(dt.f32, (m, n))
    b = constant(w) if fixed else variable(dt.f32, (k, n))
    region = Anchored((m, n), (dense(c),), MatMul(), (dense(a), dense(b)), identity(dt.f32))
    check(region, isa, {a: x} | ({} if fixed else {b: w}), [x @ w])
