"""Products in one launch, beside the same products in launches of their own: the same bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tenfold.codegen.region import Anchored, Chain, identity
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.compiler.items import operands
from tenfold.ir import dtype as dt
from tenfold.ops.matmul import MatMul
from tests.codegen.cpu.cases import tensor
from tests.codegen.cpu.memory import Guarded
from tests.codegen.cpu.reference import extent
from tests.codegen.cuda.interpreting import TARGET, run, tactics
from tests.codegen.cuda.test_gemm import fused, product

from tenfold.codegen.cuda import gemm, grouped  # isort: skip
from tests.codegen.cuda.table import group  # isort: skip


def results(region: Chain, kernels: Sequence[object]) -> list[np.ndarray]:
    """What some kernels leave in a region's outputs, which begin as poison."""
    reads, writes = operands(region)
    kinds = {one.value: one.dtype for one in (*reads, *writes)}
    memory = {one.value: Guarded((extent(one, {}) + 15 & -16) * one.dtype.itemsize) for one in (*reads, *writes)}
    random = np.random.default_rng(3)
    for one in reads:
        flat = memory[one.value].bytes().view(one.dtype.numpy)
        flat[...] = random.standard_normal(flat.size).astype(flat.dtype)
    for one in writes:
        memory[one.value].bytes()[:] = 0x7F
    for kernel in kernels:
        run(kernel, memory, kinds)  # type: ignore[arg-type]
    found = [memory[one.value].bytes().copy() for one in writes]
    for buffer in memory.values():
        buffer.close()
    return found


def held(which: int, *parts: Anchored) -> None:
    """One launch writes what launches of each product write, bit by bit."""
    region = group(*parts)
    tactic = tactics(grouped.STRATEGY, region)[which]
    alone = Tactic(gemm.SLICED.name, tactic.parameters)
    together = grouped.STRATEGY.build(region, tactic, TARGET)
    assert len(together.launches) == 1
    apart = [gemm.SLICED.build(part, alone, TARGET) for part in parts]
    for one, other in zip(results(region, [together]), results(region, apart), strict=True):
        assert (one == other).all() and not (one == 0x7F).all()


@pytest.mark.parametrize("which", [0, 3])
def test_of_one_shape(which: int) -> None:
    held(which, *(product((24, 136), 72, fused()) for _ in range(3)))


def test_of_unlike_sizes() -> None:
    held(0, product((70, 72), 40), product((7, 136), 40), product((20, 8), 136, turned=True))


def test_in_slices() -> None:
    parts = [product((20, 264), 40), product((9, 520), 136)]
    found = [one["slices"] for one in tactics(grouped.STRATEGY, group(*parts))]
    held(found.index(2), *parts)


def stack(count: int, m: int, k: int, n: int) -> Anchored:
    """Several matrices by as many."""
    a, b, c = (tensor(dt.f32, (count, *shape)) for shape in ((m, k), (k, n), (m, n)))
    return Anchored(c.shape, (c,), MatMul(), (a, b), identity(dt.f32))


def test_stacks() -> None:
    held(0, stack(2, 20, 24, 40), stack(3, 5, 33, 45))


def test_unlike_products_stay_apart() -> None:
    plain = product((24, 136), 72)
    others = (product((24, 136), 72, fused()), product((24, 136), 72, dtype=dt.bf16), stack(2, 20, 24, 40))
    for other in (*others, product((1, 136), 72)):
        assert isinstance(grouped.STRATEGY.tactics(group(plain, other), TARGET), Refusal)
