"""Norms done behind the products that read them: rows are multiplied as they are, and standardised as sums.

norm(x) w = (x - mean) / deviation · (scale w) + bias w, and (x - mean) v = x v where v's columns add up to nothing, as
those of scale w do less their means. So the norm's results are never stored. What makes x tells the moments of its rows
by the way. Where the norm is also a residual, an element of it is standardised, scaled and shifted where it is added.

The variance is E x² - mean² of sums in f32, of g neighbours and then of K / g parts: of rows whose mean is q deviations
off it is (g + K / g) 2^-24 (1 + q²) off at most, relatively; x itself, kept in 16 bits, is q 2^-11 deviations off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.arithmetic import Add, Mul
from tenfold.ops.constant import Constant
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.logic import Cast
from tenfold.ops.matmul import MatMul
from tenfold.ops.moments import Centred, Moments, Standardise
from tenfold.ops.movement import Reshape, Slice
from tenfold.ops.normalize import LayerNorm
from tenfold.passes.merge import adopt, biased
from tenfold.rewrite.pattern import maker
from tenfold.rewrite.pipeline import Pass
from tenfold.rewrite.rule import Steps

FEWEST, FEW, MANY = 65, 512, 8192
"""The rows from which on, up to which, and again from which on a norm goes behind: with few, a launch less counts, with
many, what is not stored; between them products lose more at their ends.
"""
NARROW, USUAL, WIDE = 32, 64, 128
"""Neighbours whose moments are told together, with few rows, with more and with many: no more than the columns of the
tiles that are best there.
"""


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
                x, users = node.inputs[0], list(node.output.uses)
                parts = _parts(x, _together(x, all(isinstance(one.op, MatMul) for one in users)))
                for user in users:
                    put = _multiplied if _multiplies(user, node.output) else _added
                    put(graph, node, user, parts)

    def _fits(self, node: Node, graph: Graph) -> bool:
        if not isinstance(node.op, LayerNorm) or node.output in graph.outputs:
            return False
        x, *numbers = node.inputs
        width, rows = x.type.shape[-1], dim.product(x.type.shape[:-1])
        if x.type.dtype is not self.dtype or node.op.axis % x.type.rank != x.type.rank - 1:
            return False
        if not isinstance(width, int) or width % USUAL or not _pays(rows):
            return False
        constants = all(isinstance(one.op, Constant) and one.type.shape == (width,) for one in numbers)
        users = node.output.uses
        takes = all(_multiplies(user, node.output) or _adds(user, node.output) for user in users)
        return constants and takes and isinstance(x.op, Elementwise) and _is_made(x)


def _pays(rows: Size) -> bool:
    return isinstance(rows, int) and (FEWEST <= rows <= FEW or rows >= MANY)


def _multiplies(user: Node, x: Value) -> bool:
    """Whether a node is a product of x with a constant matrix whose rows are multiples of 16 bytes."""
    if not isinstance(user.op, MatMul) or user.inputs[0] is not x or user.inputs[1] is x:
        return False
    w = user.inputs[1]
    n = w.type.shape[-1]
    return isinstance(w.op, Constant) and w.type.rank == 2 and isinstance(n, int) and n % 8 == 0


def _adds(user: Node, x: Value) -> bool:
    """Whether a node adds x to what a product with a constant makes, of its shape."""
    others = [value for value in user.inputs if value is not x]
    same = len(others) == 1 and others[0].type.shape == x.type.shape
    return isinstance(user.op, Add) and same and _is_made(others[0])


def _is_made(x: Value) -> bool:
    """Whether x is a product with a constant, or made behind one, of its shape."""
    product = maker(x, MatMul)
    return product is not None and isinstance(product.inputs[1].op, Constant) and product.inputs[1].type.rank == 2


def _parts(x: Value, group: int) -> list[Value]:
    """The sums of x's rows by parts, then those of their squares, each [..., 1]."""
    rows = x.type.shape[:-1]
    told = Moments(group)(x)
    count = told.type.shape[1]
    rest = (0,) * len(rows)
    parts = (
        Slice((which, part, *rest), (1, 1, *rows), (1,) * told.type.rank)(told)
        for which in range(2)
        for part in range(count)
    )
    return [Reshape((*rows, 1))(one) for one in parts]


def _together(x: Value, multiplied: bool) -> int:
    """How many neighbours of a row are told together; `multiplied`: its norm is read by products alone."""
    width, rows = x.type.shape[-1], dim.product(x.type.shape[:-1])
    if dim.known_le(rows, FEW):
        return NARROW
    return WIDE if not multiplied and dim.known_le(MANY, rows) and dim.divisible(width, WIDE) else USUAL


def _added(graph: Graph, norm: Node, added: Node, parts: Sequence[Value]) -> None:
    """The sum of the norm and another value: the norm's shift joins the row of constants that this has anyway."""
    x, scale, shift = norm.inputs
    width = x.type.shape[-1]
    assert isinstance(norm.op, LayerNorm) and isinstance(width, int)
    (other,) = (value for value in added.inputs if value is not norm.output)
    product, row = maker(other, MatMul), shift
    assert product is not None and product.producer is not None
    end, bias = biased(product.producer)
    if end is other and bias is not None:
        other, row = product, Cast(x.type.dtype)(Add()(Cast(dt.f32)(shift), Cast(dt.f32)(bias)))
    standard = Standardise(width, norm.op.epsilon)(x, *parts)
    found = Add()(Add()(other, row), Mul()(standard, scale))
    adopt(found, tuple(dict.fromkeys((*norm.source, *added.source))))
    graph.replace_uses(added.output, found)


def _multiplied(graph: Graph, norm: Node, product: Node, parts: Sequence[Value]) -> None:
    """The norm's product, and the row of constants that is added to it, as the product of what the norm reads."""
    x, scale, shift = norm.inputs
    w = Cast(dt.f32)(product.inputs[1])
    width, n = w.type.shape
    assert isinstance(norm.op, LayerNorm) and isinstance(width, int)
    matrix = Centred(x.type.dtype)(Mul()(w, Reshape((width, 1))(Cast(dt.f32)(scale))))
    row = Reshape((n,))(MatMul()(Reshape((1, width))(Cast(dt.f32)(shift)), w))
    end, bias = biased(product)
    if bias is not None:
        row = Add()(row, Reshape((n,))(Cast(dt.f32)(bias)))
    standard = Standardise(width, norm.op.epsilon, centred=True)(MatMul()(x, matrix), *parts)
    found = Add()(standard, Cast(x.type.dtype)(row))
    source = tuple(dict.fromkeys((*norm.source, *product.source, *(end.producer.source if end.producer else ()))))
    adopt(found, source)
    graph.replace_uses(end, found)
