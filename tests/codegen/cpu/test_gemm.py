from __future__ import annotations

import pytest

from tenfold.codegen.cpu import gemm
from tenfold.codegen.cpu.isa import Isa
from tenfold.codegen.region import Anchored, identity
from tenfold.ir import dtype as dt
from tenfold.ops.matmul import MatMul
from tests.codegen.cpu import jit
from tests.codegen.cpu.contractions import build, compare, constant, dense, random, variable

ISAS = jit.runnable()


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
    compare(region, build(gemm.STRATEGY, region, isa), isa, {a: x} | ({} if fixed else {b: w}), [x @ w])
