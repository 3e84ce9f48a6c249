"""What a model returns, as the outputs of a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tenfold.errors import OptionError
from tenfold.ir.graph import Graph, Value


def set_outputs(graph: Graph, found: Mapping[str, Value], wanted: Sequence[str] | None) -> None:
    """Let a graph return these values, or those of them that are wanted; OptionError for a name that is not there."""
    names = list(found) if wanted is None else list(wanted)
    for name in names:
        if name not in found:
            raise OptionError(
                f"the module returns no {name!r}", argument="outputs", remedy=f"it returns {', '.join(found)}"
            )
    if wanted is not None:
        graph.structure = None
    graph.set_outputs([found[name] for name in names], names)
