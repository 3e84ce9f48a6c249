"""Products of one tensor with several constants as one product: queries, keys and values, gates and what they gate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tenfold.ir.graph import Graph, Node, Value
from tenfold.ops.arithmetic import Add
from tenfold.ops.constant import Constant
from tenfold.ops.matmul import MatMul
from tenfold.ops.movement import Concat, Reshape, Split
from tenfold.rewrite.pipeline import Pass
from tenfold.rewrite.rule import Steps


@dataclass(frozen=True)
class MergeProducts(Pass):
    """x a + b, x c + d -> the parts of x [a c] + [b d]; each sum keeps its terms and their order."""

    name: str = "merge products"

    def run(self, graph: Graph, steps: Steps) -> None:
        """Merge every group of such products in the graph."""
        if steps.exhausted:
            return
        for group in list(_groups(graph)):
            ends = [biased(node) for node in group]
            added = all(bias is not None for _, bias in ends)
            values = [end if added else node.output for node, (end, _) in zip(group, ends, strict=True)]
            sizes = [_columns(node) for node in group]
            whole: Value = MatMul()(group[0].inputs[0], Concat(1)(*(node.inputs[1] for node in group)))
            if added:
                biases = [Reshape((n,))(bias) for n, (_, bias) in zip(sizes, ends, strict=True) if bias is not None]
                whole = Add()(whole, Concat(0)(*biases))
            parts = Split(whole.type.rank - 1, tuple(sizes))(whole)
            source = tuple(dict.fromkeys(name for node in group for name in node.source))
            for part in parts:
                adopt(part, source)
            for value, part in zip(values, parts, strict=True):
                graph.replace_uses(value, part)


def _groups(graph: Graph) -> Iterator[list[Node]]:
    """Products of one value with constants, two or more, that all have a bias or all have none."""
    found: dict[tuple[Value, bool], list[Node]] = {}
    for node in graph.nodes:
        if isinstance(node.op, MatMul) and isinstance(node.inputs[1].op, Constant) and _columns(node):
            found.setdefault((node.inputs[0], biased(node)[1] is not None), []).append(node)
    yield from (group for group in found.values() if len(group) > 1)


def _columns(node: Node) -> int:
    """The columns of a product with a matrix of known size; 0 for any other."""
    a, b = (value.type for value in node.inputs)
    n = b.shape[-1]
    return n if a.rank > 1 and b.rank == 2 and isinstance(n, int) else 0


def biased(node: Node) -> tuple[Value, Value | None]:
    """(x w + b, b) where a row of constants is all that follows a product; else (x w, None)."""
    product = node.output
    if len(product.uses) != 1 or product in (node.graph.outputs if node.graph else ()):
        return product, None
    (user,) = product.uses
    others = [value for value in user.inputs if value is not product]
    if not isinstance(user.op, Add) or len(others) != 1 or not isinstance(others[0].op, Constant):
        return product, None
    row = others[0].type.shape
    if row[-1:] != (_columns(node),) or any(size != 1 for size in row[:-1]) or len(row) > product.type.rank:
        return product, None
    return user.output, others[0]


def adopt(value: Value, source: tuple[str, ...]) -> None:
    """Say of the floating nodes behind a value what they stand for."""
    stack = [value]
    while stack:
        producer = stack.pop().producer
        if producer is not None and producer.graph is None and not producer.source:
            producer.source = source
            stack.extend(producer.inputs)
