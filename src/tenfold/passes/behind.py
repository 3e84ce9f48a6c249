"""Norms done behind the products that read them: rows are multiplied as they are, and standardised as sums.

norm(x) w = (x - mean) / deviation · (scale w) + bias w, and (x - mean) v = x v - mean · (sums of v's columns). So the
norm's results are never stored. What makes x tells the moments of its rows by the way. A matrix whose columns are
centred has sums that are nothing but its rounding, so that nothing cancels where the mean is large.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.arithmetic import Add, Mul, Sub
from tenfold.ops.constant import Constant
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.logic import Cast
from tenfold.ops.matmul import MatMul
from tenfold.ops.moments import Moments, Standardise
from tenfold.ops.movement import Reshape, Slice
from tenfold.ops.normalize import LayerNorm
from tenfold.ops.reduce import Reduce
from tenfold.passes.merge import adopt, biased
from tenfold.rewrite.pattern import maker
from tenfold.rewrite.pipeline import Pass
from tenfold.rewrite.rule import Steps

FEWEST, FEW, MANY = 65, 512, 8192
"""The rows from which on, up to which, and again from which on a norm goes behind: with few, a launch less counts, with
many, what is not stored; between them products lose more at their ends.
"""
NARROW, WIDE = 32, 64
"""Neighbours whose moments are told together, with few rows and with many: no more than the columns of a tile."""


@dataclass(frozen=True)
class NormsBehind(Pass):
    """Layer norms between a product in `dtype` and products with constants."""

    name: str = "norms behind products"
    dtype: DType = dt.f16

    def run(self, graph: Graph, steps: Steps) -> None:
        """Rewrite every such norm."""
        if steps.exhausted:
            return
        for node in graph.nodes:
            if self._fits(node, graph):
                parts = _parts(node.inputs[0])
                for user in list(node.output.uses):
                    _replace(graph, node, user, parts)

    def _fits(self, node: Node, graph: Graph) -> bool:
        if not isinstance(node.op, LayerNorm) or node.output in graph.outputs:
            return False
        x, *numbers = node.inputs
        width, rows = x.type.shape[-1], dim.product(x.type.shape[:-1])
        if x.type.dtype is not self.dtype or node.op.axis % x.type.rank != x.type.rank - 1:
            return False
        if not isinstance(width, int) or width % WIDE or not _pays(rows):
            return False
        constants = all(isinstance(one.op, Constant) and one.type.shape == (width,) for one in numbers)
        return constants and _is_sum(x) and all(_multiplies(user, node.output) for user in node.output.uses)


def _pays(rows: Size) -> bool:
    return isinstance(rows, int) and (FEWEST <= rows <= FEW or rows >= MANY)


def _multiplies(user: Node, x: Value) -> bool:
    """Whether a node is a product of x with a constant matrix whose rows are multiples of 16 bytes."""
    if not isinstance(user.op, MatMul) or user.inputs[0] is not x or user.inputs[1] is x:
        return False
    w = user.inputs[1]
    n = w.type.shape[-1]
    return isinstance(w.op, Constant) and w.type.rank == 2 and isinstance(n, int) and n % 8 == 0


def _is_sum(x: Value) -> bool:
    """Whether x is made behind a product with a constant, of its shape."""
    product = maker(x, MatMul) if isinstance(x.op, Elementwise) else None
    return product is not None and isinstance(product.inputs[1].op, Constant) and product.inputs[1].type.rank == 2


def _parts(x: Value) -> list[Value]:
    """The sums of x's rows by parts, then those of their squares, each [..., 1]."""
    rows = x.type.shape[:-1]
    told = Moments(WIDE if dim.known_le(MANY, dim.product(rows)) else NARROW)(x)
    count = told.type.shape[1]
    rest = (0,) * len(rows)
    parts = (
        Slice((which, part, *rest), (1, 1, *rows), (1,) * told.type.rank)(told)
        for which in range(2)
        for part in range(count)
    )
    return [Reshape((*rows, 1))(one) for one in parts]


def _replace(graph: Graph, norm: Node, product: Node, parts: Sequence[Value]) -> None:
    """The norm's product, and the row of constants that is added to it, as the product of what the norm reads."""
    x, scale, shift = norm.inputs
    w = Cast(dt.f32)(product.inputs[1])
    width, n = w.type.shape
    assert isinstance(norm.op, LayerNorm) and isinstance(width, int)
    scaled = Mul()(w, Reshape((width, 1))(Cast(dt.f32)(scale)))
    matrix = Cast(x.type.dtype)(Sub()(scaled, Reduce("mean", (0,))(scaled)))
    sums = Reshape((n,))(Reduce("sum", (0,))(Cast(dt.f32)(matrix)))
    row = Reshape((n,))(MatMul()(Reshape((1, width))(Cast(dt.f32)(shift)), w))
    end, bias = biased(product)
    if bias is not None:
        row = Add()(row, Reshape((n,))(Cast(dt.f32)(bias)))
    standard = Standardise(width, norm.op.epsilon)(MatMul()(x, matrix), sums, *parts)
    found = Add()(standard, Cast(x.type.dtype)(row))
    source = tuple(dict.fromkeys((*norm.source, *product.source, *(end.producer.source if end.producer else ()))))
    adopt(found, source)
    graph.replace_uses(end, found)
