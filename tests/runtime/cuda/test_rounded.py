"""TF32: operands are rounded to it, not cut off, in registers or by the copies that bring them; the GPU is emulated."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.codegen.region import Anchored, identity
from tenfold.codegen.strategy import Refusal
from tenfold.compiler.device.functions import functions_of
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.target import Target
from tests.codegen.cpu.cases import tensor
from tests.runtime.cuda.emulated import FakeDriver, compiled

from tenfold.codegen.cuda import gemm  # isort: skip
from tenfold.codegen.cuda.launch import CudaKernel, Descriptor, Packed  # isort: skip
from tenfold.codegen.cuda.program import Program, words  # isort: skip
from tenfold.codegen.region import Operand  # isort: skip

PLAIN = Target("cuda", "sm_90")
ROUNDED = Target("cuda", "sm_90", ("tf32",))


def product(m: int, n: int, k: int, constant: bool = True) -> Anchored:
    """A matrix by a constant, or by another matrix that lies by its rows."""
    weight = np.random.default_rng(0).standard_normal((k, n)).astype(np.float32)
    value: Value = ops.Constant(Tensor(weight))()
    b = Operand(value, dt.f32, (k, n), (n, 1)) if constant else tensor(dt.f32, (k, n))
    inputs = (tensor(dt.f32, (m, k)), b)
    return Anchored((m, n), (tensor(dt.f32, (m, n)),), ops.MatMul(), inputs, identity(dt.f32), ())


def kernels(region: Anchored, target: Target) -> Iterator[CudaKernel]:
    for strategy in gemm.STRATEGIES:
        tactics = strategy.tactics(region, target)
        if not isinstance(tactics, Refusal):
            yield from (strategy.build(region, one, target) for one in tactics)


def test_copies_round_what_tensor_cores_read(driver: FakeDriver) -> None:
    moved = 0
    for kernel in kernels(product(512, 256, 128), ROUNDED):
        (launch,) = kernel.launches
        assert isinstance(launch.program, Program)
        given = dict(launch.program.parameters)
        tiles = [one for name in "ab" for one in words(given[name]) if one.type.startswith("tensordesc")]
        assert all(one.rounded for one in tiles)
        if tiles:
            moved += 1
            b = next(one for one in launch.arguments[1:] if isinstance(one, Descriptor))
            assert isinstance(b.address, Packed) and b.shape == (256, 128)
            (function,) = functions_of([(launch.program, compiled([launch.program])[launch.program])])[1]
            numbers = [one[2] for one in function["words"] if one[0] == "tile"]
            assert numbers[:2] == [11, 11] and 11 not in numbers[2:]
    assert moved > 10


@pytest.mark.parametrize(
    ("region", "target"), [(product(512, 256, 128), PLAIN), (product(512, 256, 128, constant=False), ROUNDED)]
)
def test_nothing_is_rounded_unasked_and_rows_of_a_matrix_do_not_move(region: Anchored, target: Target) -> None:
    for kernel in kernels(region, target):
        assert not any(isinstance(one, Descriptor) for one in kernel.launches[0].arguments)


@pytest.mark.parametrize(
    ("shape", "sizes", "constant"),
    [
        ((50, 50), (50, 50), True),
        ((64, 64), (64, 64), True),
        ((64, 64), (64, 64), False),
        ((2, 16, 7, 7), (16, 16, 3, 3), True),
    ],
    ids=["by address", "by copies", "turned ahead", "windows"],
)
def test_a_chain_does_not_shrink(
    driver: FakeDriver, shape: tuple[int, ...], sizes: tuple[int, ...], constant: bool
) -> None:
    random, count, taps = np.random.default_rng(1), 20, len(sizes) > 2
    graph = Graph(name="chain")
    y = graph.input("x", Type(dt.f32, shape))
    weight = (random.standard_normal(sizes) / (144 if taps else sizes[0]) ** 0.5).astype(np.float32)
    held: Value = ops.Constant(Tensor(weight))() if constant else graph.input("w", Type(dt.f32, sizes))
    for _ in range(count):
        y = ops.Conv((1, 1), (1, 1), (1, 1), (1, 1))(y, held) if taps else ops.MatMul()(y, held)
    graph.set_outputs([y], ["y"])
    x = random.standard_normal(shape).astype(np.float32)
    given = (x,) if constant else (x, weight)
    wanted = tenfold.build(graph, precision="f32", cache=False, effort=0)(*given).astype(np.float64)
    found = tenfold.build(graph, target="cuda:sm_90", precision="tf32", cache=False, effort=0)(*given)
    assert 1e-5 < np.linalg.norm(found - wanted) / np.linalg.norm(wanted) < 3e-3
    assert abs((found * wanted).sum() / (wanted**2).sum() - 1) < 1.5e-3
