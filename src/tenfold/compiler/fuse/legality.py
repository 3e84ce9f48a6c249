"""When a node may join a row: a group whose kernel walks a domain row by row and keeps scalars of each row."""

from __future__ import annotations

from dataclasses import dataclass

from tenfold.compiler.views import Shape
from tenfold.ir import dim
from tenfold.ir.graph import Node, Value
from tenfold.ops.reduce import ArgReduce, Reduce

MOST_WALKS = 8
"""The most reductions of one row kernel: each walks the row anew, and computes what it needs from the row's inputs."""


@dataclass(frozen=True)
class Site:
    """A node that asks to join a group: the group's domain, its row's axes, how many reductions it has, and the node's
    inputs made inside it.
    """

    node: Node
    domain: Shape
    axes: tuple[int, ...]
    walks: int
    inside: tuple[Value, ...]


def row_axes(node: Node) -> tuple[int, ...]:
    """The axes a reduction runs over, counted from the front."""
    rank = node.inputs[0].type.rank
    if isinstance(node.op, ArgReduce):
        return (node.op.axis % rank,)
    assert isinstance(node.op, Reduce)
    return tuple(sorted(axis % rank for axis in node.op.axes))


def row_shape(domain: Shape, axes: tuple[int, ...]) -> Shape:
    """The domain with the row's axes collapsed to 1: the shape of a scalar of each row."""
    return tuple(1 if axis in axes else size for axis, size in enumerate(domain))


def joins_row(site: Site, *, pointwise: bool) -> str | None:
    """Why the node cannot join; None if it can. `pointwise`: the group has no row yet, and the node, a reduction,
    would give it one.
    """
    node = site.node
    if isinstance(node.op, (Reduce, ArgReduce)):
        given = node.inputs[0].type.shape
        if not same_shape(given, site.domain):
            return "the reduction walks another domain"
        if not pointwise and row_axes(node) != site.axes:
            return "the reduction runs along other axes"
        if site.walks >= MOST_WALKS:
            return f"its rows are walked {MOST_WALKS} times already"
        return None if node.op.keepdims else "the reduction drops its axes"
    if not node.op.elementwise:
        return f"{node.op.name} is an anchor of its own"
    shape = node.outputs[0].type.shape
    if same_shape(shape, site.domain) or same_shape(shape, row_shape(site.domain, site.axes)):
        return None
    return "it walks another domain than the rows"


def same_shape(a: Shape, b: Shape) -> bool:
    """True if two shapes are provably equal."""
    return len(a) == len(b) and all(dim.known_equal(x, y) for x, y in zip(a, b, strict=True))
