"""Sizes that only the data decide: which node decides one, and which nodes need it without reading what it decides.

A size is decided by the node whose results have it while nothing that the node takes does. Every other node that
mentions it comes later, also where no value leads from one to the other: graphs keep to that order too.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from tenfold.ir import dim
from tenfold.ir.dim import Dim, Size
from tenfold.ir.dtype import ANY
from tenfold.ir.type import Type

if TYPE_CHECKING:
    from tenfold.ir.graph import Graph, Node
    from tenfold.ir.op import Op

Names = frozenset[str]
NONE: Names = frozenset()


@functools.lru_cache(maxsize=65536)
def _names(size: Dim) -> Names:
    found = (one.symbol for one in dim.declared(size) if one is not ANY)
    return frozenset(symbol.name for symbol in found if symbol and symbol.data_dependent)


def of_sizes(sizes: Iterable[Size]) -> Names:
    """The names of the unknown sizes in some formulas."""
    found = [names for size in sizes if isinstance(size, Dim) and (names := _names(size))]
    return NONE.union(*found) if found else NONE


def of_types(types: Iterable[Type]) -> Names:
    """The unknown sizes that tensors of these types have or, where their elements are known, hold."""
    return of_sizes(size for type in types for size in (*type.shape, *(type.entries or ())))


def of_op(op: Op) -> Names:
    """The unknown sizes that an operation's attributes mention, but for those that its subgraphs decide themselves."""
    found = NONE
    for value in op.attributes.values():
        found |= _of_attribute(value)
    return found


def _of_attribute(value: Any) -> Names:
    if isinstance(value, Dim):
        return _names(value)
    if isinstance(value, tuple):
        return NONE.union(*map(_of_attribute, value))
    return free(value) if hasattr(value, "nodes") else NONE


def of_graph(graph: Graph) -> Names:
    """The unknown sizes that a subgraph sees in its inputs, or decides."""
    own = of_types(value.type for value in graph.inputs)
    return own.union(*(decided_by(node) for node in graph.nodes))


def free(graph: Graph) -> Names:
    """The unknown sizes that a subgraph uses, and neither decides nor sees in its inputs."""
    return NONE.union(*(needed_by(node) for node in graph.nodes)) - of_graph(graph)


def decided_by(node: Node) -> Names:
    """The unknown sizes that a node decides."""
    types = [value.type for value in node.outputs]
    made = [size for type in types for size in (*type.shape, *(type.entries or ())) if isinstance(size, Dim)]
    bare = frozenset(one.symbol.name for one in made if one.symbol and one.symbol.data_dependent and one is not ANY)
    return bare - of_types(value.type for value in node.inputs) - of_op(node.op) if bare else NONE


def needed_by(node: Node) -> Names:
    """The unknown sizes that a node neither decides nor sees in what it takes: somebody else decides them before."""
    mentioned = of_op(node.op) | of_sizes(size for value in node.outputs for size in value.type.shape)
    if not mentioned:
        return NONE
    return mentioned - of_types(value.type for value in node.inputs) - decided_by(node)


def deciders(nodes: Iterable[Node]) -> dict[str, Node]:
    """The node that decides each unknown size."""
    return {name: node for node in nodes for name in decided_by(node)}
