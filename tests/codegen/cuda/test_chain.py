"""What the blocks of a chain may do without waiting for each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tenfold.codegen.region import Anchored, Chain, Operand, Pointwise, Region, identity
from tenfold.codegen.strategy import Workspace
from tenfold.ir import dtype as dt
from tenfold.ir.tensor import Tensor
from tenfold.ops import arithmetic
from tenfold.ops.attention import Attention
from tenfold.ops.constant import Constant
from tenfold.ops.matmul import MatMul
from tests.codegen.cpu.cases import body, pointwise, tensor
from tests.codegen.cuda import interpreting  # noqa: F401  decides that Triton's functions are interpreted

from tenfold.codegen.cuda import chain  # isort: skip
from tenfold.codegen.cuda.launch import Given  # isort: skip
from tenfold.codegen.cuda.links import ARRIVE, ATTENTION, POINTS, PRODUCT, WAIT  # isort: skip
from tenfold.codegen.cuda.order import Link, ordered  # isort: skip

N, K, WARPS, PROCESSORS = 16, 512, 8, 132
SUM = body([dt.f16] * 2, (arithmetic.Add(), (0, 1), dt.f16))


def product(row: Operand, columns: int, *beside: Operand) -> Anchored:
    shape = (row.shape[-1], columns)
    w = replace(tensor(dt.f16, shape), value=Constant(Tensor(np.zeros(shape, np.float16)))())
    out = tensor(dt.f16, (1, columns))
    return Anchored((1, columns), (out,), MatMul(), (row, w), SUM if beside else identity(dt.f16), beside)


def added(row: Operand) -> Pointwise:
    made = pointwise(row.shape, [row, tensor(dt.f16, row.shape)], SUM)
    assert isinstance(made, Pointwise)
    return made


def links(*parts: Region) -> list[Link]:
    made = chain._links(Chain(parts[-1].domain, (), parts), N, K, WARPS, PROCESSORS)
    assert isinstance(made, list), made.reason
    return made


def kinds(made: Sequence[Link]) -> list[int]:
    return [one.kind for one in made]


def begin(link: Link) -> int:
    """Where in the workspace an attention leaves its sums."""
    partial = link.given[-1]
    assert isinstance(partial, Given) and isinstance(partial.argument, Workspace)
    assert isinstance(partial.argument.offset, int)
    return partial.argument.offset


def test_a_row_that_is_added_again_is_waited_for() -> None:
    row = added(tensor(dt.f16, (1, 512)))
    alone = product(row.outputs[0], 512)
    assert kinds(links(row, alone, product(alone.outputs[0], 64))) == [PRODUCT.value, PRODUCT.value]
    again = product(row.outputs[0], 512, row.outputs[0])
    found = ordered(links(row, again, product(again.outputs[0], 64)))
    assert kinds(found)[:4] == [POINTS.value, ARRIVE.value, WAIT.value, PRODUCT.value]


def test_attentions_leave_their_sums_apart() -> None:
    def attention() -> Anchored:
        q, k, v = (tensor(dt.f16, (1, 4, size, 64)) for size in (1, 100, 100))
        out = tensor(dt.f16, (1, 4, 1, 64))
        return Anchored(out.shape, (out,), Attention(0.125), (q, k, v), identity(dt.f16))

    row = tensor(dt.f16, (1, 512))
    first = product(row, 512)
    made = links(first, attention(), attention(), product(first.outputs[0], 64))
    one, other = (link for link in made if link.kind == ATTENTION.value)
    assert 0 == begin(one) < one.room <= begin(other) < other.room


def test_nothing_behind_a_matrix_is_asked_for() -> None:
    def ahead(columns: int) -> int:
        small = product(tensor(dt.f16, (1, 64)), 768)
        made = links(small, product(small.outputs[0], columns))
        return max(one.ahead for one in chain._asking(made, N))

    assert ahead(96) > 0 and ahead(88) == 0
