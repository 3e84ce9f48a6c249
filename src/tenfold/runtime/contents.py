"""The graphs that an engine file holds, with their constants read back from its weights when they are asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.op import Op
from tenfold.ir.tensor import Tensor
from tenfold.ir.text import parse
from tenfold.runtime.format import Bytes, File

CONSTANTS, GRAPH, WEIGHTS = "constants", "graph", "weights"


def graph_of(file: File, catalogue: Iterable[type[Op]] = ops.ALL) -> Graph:
    """The optimised graph that every target of an engine was made from."""
    return graph_in(file, file.section(GRAPH).tobytes().decode(), catalogue)


def graph_in(file: File, text: str, catalogue: Iterable[type[Op]] = ops.ALL) -> Graph:
    """A graph of these operations in textual form; what it refers to by key is read from the file's weights."""
    table: Mapping[str, list[Any]] = json.loads(file.section(CONSTANTS).tobytes())
    weights = file.section(WEIGHTS)
    return parse(text, catalogue, {key: constant_in(weights, *about) for key, about in table.items()})


def constant_in(weights: Bytes, offset: int, dtype: str, shape: list[int], unpack: Any) -> Tensor:
    """The constant that a row of the section "constants" describes, read when it is asked for."""
    kind = dt.parse(dtype)
    if kind.is_object:
        return Tensor(np.array(unpack, object).reshape(shape))
    if not unpack:
        return Tensor(partial(_packed, weights, offset, kind.numpy, shape), dtype=kind, shape=tuple(shape))
    graph = parse(unpack, ops.ALL)
    (result,) = graph.outputs
    load = partial(_unpacked, graph, partial(_packed, weights, offset, kind.numpy, shape))
    sizes = tuple(size for size in result.type.shape if isinstance(size, int))
    return Tensor(load, dtype=result.type.dtype, shape=sizes)


def _packed(weights: Bytes, offset: int, kind: np.dtype[Any], shape: list[int]) -> NDArray[Any]:
    size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
    return weights[offset : offset + size].view(kind).reshape(shape)


def _unpacked(graph: Graph, packed: partial[NDArray[Any]]) -> NDArray[Any]:
    return Interpreter().call(graph, [packed()])[0]
