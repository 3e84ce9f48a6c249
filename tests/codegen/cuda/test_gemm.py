from __future__ import annotations

from collections.abc import Sequence

import pytest

from tenfold.codegen.region import Anchored, Body, Operand, identity
from tenfold.codegen.strategy import Refusal
from tenfold.ir import dtype as dt
from tenfold.ops import activation, arithmetic
from tenfold.ops.matmul import MatMul
from tests.codegen.cpu.cases import Case, body, spread, tensor
from tests.codegen.cuda.interpreting import TARGET, compare, tactics

from tenfold.codegen.cuda import gemm, vector  # isort: skip

_PERSISTENT, _SLICED = gemm.STRATEGIES


def product(
    shape: Sequence[int], n: int, what: Body | None = None, turned: bool = False, dtype: dt.DType = dt.f16
) -> Anchored:
    """A product of [*shape] and [shape[-1], n]; with a body, a row and a residual beside it."""
    domain = (*shape[:-1], n)
    b = tensor(dtype, (shape[-1], n), (1, 0) if turned else None)
    extra: tuple[Operand, ...] = (spread(tensor(dtype, (n,)), domain), tensor(dtype, domain)) if what else ()
    return Anchored(
        domain, (tensor(dtype, domain),), MatMul(), (tensor(dtype, shape), b), what or identity(dtype), extra
    )


def fused() -> Body:
    """gelu(x + row) + residual."""
    f16 = dt.f16
    add = arithmetic.Add()
    return body([f16] * 3, (add, (0, 1), f16), (activation.Gelu(), (3,), f16), (add, (4, 2), f16))


def held(strategy: object, region: Anchored, which: int) -> None:
    case = Case("product", lambda: region, low=-0.9, high=0.9)
    compare(region, strategy.build(region, tactics(strategy, region)[which], TARGET), case)  # type: ignore[attr-defined]


@pytest.mark.parametrize("which", [0, 3, 9])
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_persistent(which: int, turned: bool) -> None:
    held(_PERSISTENT, product((200, 72), 264, turned=turned), which)


def test_persistent_with_an_out_site() -> None:
    held(_PERSISTENT, product((2, 50, 40), 136, fused()), 0)


@pytest.mark.parametrize("rows", [1, 5, 30])
@pytest.mark.parametrize("which", [0, 3, -1])
def test_sliced(rows: int, which: int) -> None:
    held(_SLICED, product((rows, 520), 72, fused()), which)


def test_sliced_where_rows_do_not_move_by_descriptor() -> None:
    held(_SLICED, product((3, 5, 77), 33), 0)


def test_whole_f32() -> None:
    region = product((70, 33), 45, dtype=dt.f32)
    assert isinstance(_PERSISTENT.tactics(region, TARGET), Refusal)
    held(_SLICED, region, 0)


@pytest.mark.parametrize("which", [0, 1, 4])
@pytest.mark.parametrize("turned", [False, True], ids=["", "turned"])
def test_one_row(which: int, turned: bool) -> None:
    held(vector.STRATEGY, product((1, 520), 200, fused(), turned=turned), which)
