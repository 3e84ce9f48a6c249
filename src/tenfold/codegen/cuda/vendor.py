"""Products by cuBLASLt: tactics beside ours, taken only where the clock says so; no engine needs them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tenfold.codegen.cuda import gemm
from tenfold.codegen.cuda.ending import Ending, ending_of
from tenfold.codegen.cuda.launch import CudaKernel, asked
from tenfold.codegen.cuda.site import Site
from tenfold.codegen.region import Body, Operand, Region
from tenfold.codegen.strategy import Refusal, Tactic
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ops.activation import Gelu, Relu
from tenfold.ops.arithmetic import Add
from tenfold.ops.logic import Cast
from tenfold.runtime.cuda.product import VENDOR, Product
from tenfold.target import Target

_ROOM = 16 << 20
_CHOICES = 3
_LAST = 1e15


class Vendor:
    """Whole products of fixed sizes in 16 bits, with a bias, an activation or a residual."""

    name = VENDOR

    def tactics(self, region: Region, target: Target) -> Sequence[Tactic] | Refusal:
        """The first algorithms that the library proposes."""
        found = _product(region)
        if isinstance(found, Refusal):
            return found
        return [Tactic(self.name, (("choice", choice),)) for choice in range(_CHOICES)]

    def guess(self, region: Region, tactic: Tactic, target: Target) -> float:
        """Last of all: what is not measured is not taken."""
        return _LAST

    def build(self, region: Region, tactic: Tactic, target: Target) -> CudaKernel:
        """A call of the library, then the launches of our best guess in its place where it is not installed."""
        found = _product(region)
        assert not isinstance(found, Refusal)
        product, (a, b, bias, residual, to) = found
        wanted, ours = replace(product, choice=int(tactic["choice"])), _fallback(region, target)
        return asked(wanted, (a, b, bias or to, residual or to, to), ours, _ROOM)


def _fallback(region: Region, target: Target) -> CudaKernel:
    found: list[tuple[float, CudaKernel]] = []
    for one in (gemm.Persistent(), gemm.Sliced()):
        tactics = one.tactics(region, target)
        if not isinstance(tactics, Refusal):
            first = min(tactics, key=lambda tactic: one.guess(region, tactic, target))
            found.append((one.guess(region, first, target), one.build(region, first, target)))
    return min(found, key=lambda pair: pair[0])[1]


Parts = tuple[Operand, Operand, Operand | None, Operand | None, Operand]
"""a, b, bias, residual and result of a product, the last as rows and columns."""


def _product(region: Region) -> tuple[Product, Parts] | Refusal:
    problem = gemm.problem_of(region)
    if isinstance(problem, Refusal):
        return problem
    a, b, site = problem.a, problem.b, problem.site
    sizes = problem.m, problem.n, problem.k
    numbers = [size for size in sizes if isinstance(size, int)]
    if len(numbers) != 3 or problem.batch or a.dtype is dt.f32 or problem.m == 1:
        return Refusal("no product of fixed sizes in 16 bits")
    turned = b.strides[1] != 1
    steps = [_step(a.strides), _step(b.strides[::-1] if turned else b.strides)]
    rows = [_row_step(site, number) for number in range(len(site.operands))]
    body, count = site.region.body, len(site.region.extra)
    kinds = [_kind(body, number, row) for number, row in enumerate(rows[:count])]
    ending = ending_of(body, kinds, (Add, Gelu, Relu, Cast))
    both = ending is not None and ending.activation is not None and ending.residual is not None
    if ending is None or both or None in steps or len(site.region.outputs) != 1:
        return Refusal("more follows than a bias, an activation or a residual")
    residual = ending.residual
    d, c = rows[count], rows[residual] if residual is not None else rows[count]
    if not isinstance(d, int) or not isinstance(c, int) or d == 0 or c == 0:
        return Refusal("its rows do not lie apart by a fixed number of elements")
    m, n, k = numbers
    assert isinstance(steps[0], int) and isinstance(steps[1], int)
    made = Product(
        a.dtype.name, m, n, k, steps[0], steps[1], c, d, turned, _epilogue(ending), residual is not None, 0, _ROOM
    )
    beside = [None if one is None else site.operands[one] for one in (ending.bias, residual)]
    return made, (a, b, beside[0], beside[1], site.operands[count])


def _step(strides: Sequence[Size]) -> int | None:
    outer, inner = strides
    return outer if inner == 1 and isinstance(outer, int) and outer > 0 and outer % 8 == 0 else None


def _row_step(site: Site, number: int) -> Size | None:
    """The step from row to row of an operand beside the sums, whose rows are one axis and whose columns lie side by
    side.
    """
    if site.columns.strides[number][0] != 1 or len(site.rows.sizes) != 1:
        return None
    return site.rows.strides[number][0]


def _kind(body: Body, number: int, row: Size | None) -> str:
    """What adding an operand with this step from row to row is."""
    if row is None or body.inputs[number + 1] is not body.inputs[0]:
        return ""
    return "bias" if row == 0 else "residual"


def _epilogue(ending: Ending) -> str:
    """In the library's words."""
    activation = {Gelu: "gelu", Relu: "relu"}[type(ending.activation)] if ending.activation else ""
    return " ".join(word for word in ("bias" if ending.bias is not None else "", activation) if word)


STRATEGY = Vendor()
