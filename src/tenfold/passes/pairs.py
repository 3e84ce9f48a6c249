"""Gated products: halves of a product's columns that meet, as two products that one kernel makes side by side.

SwiGLU, GEGLU and the like (Shazeer 2020) split x w + b in two and multiply one half by a function of the other. A
kernel that has both sums of a place at hand stores what is made of them, and neither half.
"""

from __future__ import annotations

from dataclasses import dataclass

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dtype import DType
from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.constant import Constant
from tenfold.ops.elementwise import Elementwise
from tenfold.ops.matmul import MatMul, PairedMatMul
from tenfold.ops.movement import Slice, Split
from tenfold.passes.merge import adopt
from tenfold.rewrite.pattern import used_once
from tenfold.rewrite.pipeline import Pass
from tenfold.rewrite.rule import Steps

FEWEST = 65
"""The rows from which on products go tile by tile: with fewer, reading the matrix is what takes the time."""
MOST = 1536
"""The terms up to which the halves that are not stored outweigh what larger tiles of one half multiply faster."""


@dataclass(frozen=True)
class PairProducts(Pass):
    """Halves in `dtype` of products with constants that meet element by element."""

    name: str = "paired products"
    dtype: DType = dt.f16

    def run(self, graph: Graph, steps: Steps) -> None:
        """Rewrite every such pair."""
        if steps.exhausted:
            return
        for node in graph.nodes:
            product = self._product(node)
            if product is not None:
                pair = PairedMatMul()(*product.inputs)
                for which, (half, one) in enumerate(zip(node.outputs, pair, strict=True)):
                    found = _half(node.inputs[0], which, one)
                    adopt(found, _sources(node.inputs[0]))
                    graph.replace_uses(half, found)

    def _product(self, node: Node) -> Value | None:
        """The product whose halves a node parts, where they meet."""
        if not isinstance(node.op, Split) or node.inputs[0].type.dtype is not self.dtype:
            return None
        whole, sizes = node.inputs[0], node.op.sizes
        halves = len(sizes) == 2 and sizes[0] == sizes[1] and node.op.axis == whole.type.rank - 1
        if not halves or not dim.divisible(sizes[0], 8) or not _meet(*node.outputs):
            return None
        if not dim.known_le(FEWEST, dim.product(whole.type.shape[:-1])):
            return None
        product = _made(whole)
        return product if product is not None and dim.known_le(product.inputs[1].type.shape[0], MOST) else None


def _meet(left: Value, right: Value) -> bool:
    """Whether one elementwise operation is all that reads both, each by way of operations on itself alone."""
    return _end(left) is not None and _end(left) is _end(right)


def _end(value: Value) -> Node | None:
    """The first node that a value goes into together with another; None if something else reads it."""
    while used_once(value):
        (user,) = value.uses
        if not isinstance(user.op, Elementwise):
            return None
        if any(one is not value and one.type.size != 1 for one in user.inputs):
            return user
        value = user.output
    return None


def _made(value: Value) -> Value | None:
    """The product with a constant that a value is made of, element by element, beside numbers a row or a column."""
    while used_once(value) and value.producer is not None:
        node = value.producer
        if isinstance(node.op, MatMul):
            x, matrix = node.inputs
            return value if x.type.rank > 1 and isinstance(matrix.op, Constant) and matrix.type.rank == 2 else None
        if not isinstance(node.op, Elementwise) or _main(node) is None:
            return None
        value = _main(node) or value
    return None


def _main(node: Node) -> Value | None:
    """What a node takes whole, if all else is numbers a row, or constants, numbers a column among them."""
    whole = [one for one in node.inputs if one.type.shape == node.output.type.shape]
    beside = [one for one in node.inputs if one not in whole]
    numbers = all(isinstance(one.op, Constant) or one.type.shape[-1:] in ((), (1,)) for one in beside)
    return whole[0] if len(whole) == 1 and numbers else None


def _half(value: Value, which: int, product: Value) -> Value:
    """What a value is in one half of its columns, of whose product that half is `product`."""
    if isinstance(value.op, MatMul):
        return product
    assert value.producer is not None
    n, whole = product.type.shape[-1], value.type.shape
    parts = []
    for one in value.producer.inputs:
        if one.type.shape == whole:
            one = _half(one, which, product)
        elif one.type.shape[-1:] == whole[-1:]:
            rest = one.type.shape[:-1]
            one = Slice((*(0 for _ in rest), which * n), (*rest, n), (1,) * one.type.rank)(one)
        parts.append(one)
    result: Value = value.producer.op(*parts)
    return result


def _sources(value: Value) -> tuple[str, ...]:
    """The operators that a value stands for, down to its product."""
    found: dict[str, None] = {}
    node = value.producer
    while node is not None:
        found |= dict.fromkeys(node.source)
        node = None if isinstance(node.op, MatMul) else (_main(node) or value).producer
    return tuple(found)
