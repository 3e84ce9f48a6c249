"""Matrices in f32 whose columns lie side by side, turned ahead of a product: tensor cores take TF32 by its terms."""

from __future__ import annotations

import triton
import triton.language as tl

from tenfold.codegen.cuda import grid
from tenfold.codegen.cuda.arch import arch_of
from tenfold.codegen.cuda.conv.plan import Plan
from tenfold.codegen.cuda.emit import pointer
from tenfold.codegen.cuda.launch import Launch, launch, number, place, room, workspace
from tenfold.codegen.strategy import Workspace
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.target import Target

_TILE, _WARPS = (32, 32), 4
"""Columns and terms of a tile, warps."""
_START, _COPIED = 1500.0, 3000.0
"""Nanoseconds of the launch, bytes of memory a nanosecond."""


@triton.jit
def turn(w, step, out, n, k, N: tl.constexpr, K: tl.constexpr, EARLY: tl.constexpr):
    """`out`, columns by terms, of `w`, terms by columns, whose rows lie `step` apart."""
    grid.begin(EARLY)
    across = tl.cdiv(n, N)
    term = tl.program_id(0) // across * K + tl.arange(0, K)
    column = tl.program_id(0) % across * N + tl.arange(0, N)
    inside = (term < k)[:, None] & (column < n)[None, :]
    values = tl.load(w + term.to(tl.int64)[:, None] * step + column[None, :], mask=inside, other=0)
    to = out + column.to(tl.int64)[:, None] * k + term[None, :]
    tl.store(to, tl.trans(values), mask=tl.trans(inside))


def ahead_of(plan: Plan, target: Target) -> tuple[tuple[Launch, ...], Size]:
    """What goes ahead of a plan's product, and the bytes of workspace in which it leaves the matrix."""
    one = plan.aside
    if one is None:
        return (), 0
    fillings = {
        "w": place(one),
        "step": number(one.strides[0]),
        "out": workspace(pointer(one.dtype)),
        **{"n": plan.n, "k": plan.k, "N": _TILE[0], "K": _TILE[1], "EARLY": int(arch_of(target).early)},
    }
    tiles = dim.ceildiv(plan.n, _TILE[0]) * dim.ceildiv(plan.k, _TILE[1])
    return (launch(f"{__name__}:turn", tiles, fillings, _WARPS),), room(plan.n * plan.k * plan.size)


def place_of(plan: Plan) -> Workspace | None:
    """Where the matrix lies that was turned."""
    return None if plan.aside is None else Workspace(0)


def guess(plan: Plan) -> float:
    """Nanoseconds, about."""
    return 0.0 if plan.aside is None else _START + 2 * plan.n * plan.k * plan.size / _COPIED
