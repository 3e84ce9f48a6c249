"""Which operator of the user's model a node comes from."""

from __future__ import annotations

from tenfold.ir.graph import Node, Value


def label(value: Value, source: str, labelled: set[Node]) -> list[Node]:
    """Name the source of what computes `value`, as far back as to the nodes that `labelled` holds.

    Returns the nodes that are new, and adds them to `labelled`; a node that already names its source keeps it.
    """
    new, stack = [], [value.producer]
    while stack:
        node = stack.pop()
        if node is not None and node not in labelled:
            labelled.add(node)
            node.source = node.source or (source,)
            new.append(node)
            stack.extend(one.producer for one in node.inputs)
    return new
