"""Modules against PyTorch: imported and run by the interpreter, or built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils import _pytree as pytree

from tenfold.importers.torch import import_module
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.runtime.structure import Structure

Given = Sequence[Any] | Mapping[str, Any]


def expected(module: nn.Module, given: Given) -> Any:
    """What PyTorch returns."""
    with torch.no_grad():
        return module(**given) if isinstance(given, Mapping) else module(*given)


def interpreted(graph: Graph, given: Given) -> Any:
    """What the graph returns, by the interpreter, nested as the module's own result."""
    structure = Structure.read(graph.structure, -1)
    assert structure is not None
    place, named = ((), given) if isinstance(given, Mapping) else (tuple(given), {})
    arrays = [
        np.asarray(one.detach() if isinstance(one, torch.Tensor) else one) for one in structure.arrays(place, named)
    ]
    found = Interpreter().run(graph, {value.name: array for value, array in zip(graph.inputs, arrays, strict=True)})
    return structure.restored([torch.from_numpy(np.array(one)) for one in found.values()])


def assert_same(found: Any, wanted: Any, tolerance: float = 1e-5) -> None:
    """The same structure, element types, shapes and numbers."""
    ours, theirs = pytree.tree_leaves(found), pytree.tree_leaves(wanted)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        if isinstance(b, torch.Tensor):
            torch.testing.assert_close(torch.as_tensor(a), b, rtol=tolerance, atol=tolerance, equal_nan=True)
        else:
            assert a == b


def check(module: nn.Module, given: Given, *others: Given, tolerance: float = 1e-5, **opening: Any) -> Graph:
    """Import the module on `given`, and run it there and on the others."""
    graph = import_module(module, given, **opening)
    for one in (given, *others):
        assert_same(interpreted(graph, one), expected(module, one), tolerance)
    return graph
