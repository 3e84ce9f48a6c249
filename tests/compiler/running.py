"""One operation as a graph, run before and after something was done to the graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.op import Array, Op
from tenfold.ir.substitute import evaluate
from tenfold.ir.type import Type

N, H, W, T = (symbol(name, 1, 64) for name in "NHWT")
E, S = symbol("E", 4, 64, 4), symbol("S", 3, 63, 3)
BINDINGS = (
    {"N": 2, "H": 7, "W": 5, "T": 3, "E": 4, "S": 6},
    {"N": 1, "H": 6, "W": 9, "T": 1, "E": 8, "S": 3},
    {"N": 3, "H": 10, "W": 8, "T": 11, "E": 12, "S": 9},
)


def graph_of(op: Op, *inputs: Type) -> Graph:
    """A graph of one operation."""
    graph = Graph(name="one")
    values = [graph.input(f"x{number}", type) for number, type in enumerate(inputs)]
    made = op(*values)
    outputs = made if isinstance(made, tuple) else (made,)
    graph.set_outputs(outputs, [f"y{number}" for number in range(len(outputs))])
    for node in graph.nodes:
        node.source = (op.name.lower(),)
    return graph


def arrays(graph: Graph, bindings: Mapping[str, int], seed: int = 0, most: int = 5) -> dict[str, Array]:
    """Random inputs; whole numbers from -most to below most (from 0 where there is no sign)."""
    random = np.random.default_rng(seed)
    return {value.name: array(value.type, bindings, random, most) for value in graph.inputs}


def array(type: Type, bindings: Mapping[str, int], random: np.random.Generator, most: int = 5) -> Array:
    """A random array of a type."""
    shape = tuple(evaluate(size, bindings) for size in type.shape)
    if type.dtype.is_float:
        return np.asarray(random.standard_normal(shape).astype(type.dtype.numpy))
    if type.dtype is dt.boolean:
        return np.asarray(random.random(shape) < 0.5)
    low = max(-most, int(type.dtype.limits[0]))
    return np.asarray(random.integers(low, most, shape).astype(type.dtype.numpy))


def same_after(
    change: Callable[[Graph], object],
    graph: Graph,
    bindings: Sequence[Mapping[str, int]] = BINDINGS,
    *,
    tolerance: float = 1e-5,
    most: int = 5,
) -> Graph:
    """The changed graph, which gives what the graph gave before."""
    changed = copy(graph)
    change(changed)
    changed.verify()
    for seed, numbers in enumerate(bindings):
        given = arrays(graph, numbers, seed, most)
        with np.errstate(all="ignore"):
            expected, found = Interpreter().run(graph, given), Interpreter().run(changed, given)
        for name, wanted in expected.items():
            close(found[name], wanted, tolerance)
    return changed


def close(found: Array, wanted: Array, tolerance: float) -> None:
    """Same type and shape; floats near in the greatest norm, everything else equal."""
    assert found.dtype == wanted.dtype and found.shape == wanted.shape, (found.dtype, found.shape, wanted.shape)
    if not dt.of(wanted.dtype).is_float:
        np.testing.assert_array_equal(found, wanted)
        return
    wide, exact = found.astype(np.float64), wanted.astype(np.float64)
    np.testing.assert_array_equal(np.isnan(wide), np.isnan(exact))
    finite = np.isfinite(exact)
    np.testing.assert_array_equal(wide[~finite], exact[~finite])
    scale = np.abs(exact[finite]).max(initial=1e-30)
    np.testing.assert_allclose(wide[finite] / scale, exact[finite] / scale, rtol=0, atol=tolerance)
