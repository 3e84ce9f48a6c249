"""Random inputs for a graph, and the comparison of what two graphs make of them."""

from __future__ import annotations

import numpy as np

from tenfold.ir import dim
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.op import Array
from tenfold.ir.substitute import evaluate
from tenfold.ir.type import Type

SIZES = {"N": 2, "S": 5, "T": 6, "H": 7, "W": 9}


def sample(graph: Graph, seed: int = 0) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    return {value.name: random_array(value.type, generator) for value in graph.inputs}


SPECIAL = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-40, 1.0, -2.5, 1e20, -1e-30])


def sample_of_special_numbers(graph: Graph, seed: int) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    found = sample(graph, seed)
    for name, array in found.items():
        if array.dtype.kind == "f":
            chosen = generator.random(array.shape) < 0.4
            found[name] = np.where(chosen, generator.choice(SPECIAL, array.shape), array).astype(array.dtype)
    return found


def random_array(type: Type, generator: np.random.Generator) -> Array:
    shape = tuple(evaluate(size, SIZES) for size in type.shape)
    if type.entries is not None:
        named = {name: 3 for entry in type.entries for name in dim.symbols(entry)} | SIZES
        return np.array([evaluate(entry, named) for entry in type.entries]).astype(type.dtype.numpy).reshape(shape)
    if type.dtype.is_float:
        return generator.normal(0, 2, shape).astype(type.dtype.numpy)
    return generator.integers(0, 2 if type.dtype.name == "bool" else 5, shape).astype(type.dtype.numpy)


def assert_same(
    before: dict[str, Array], after: dict[str, Array], *, exact: bool = False, tolerance: float = 2e-5
) -> None:
    assert list(before) == list(after)
    for name, expected in before.items():
        found = after[name]
        assert found.dtype == expected.dtype and found.shape == expected.shape, name
        if exact or expected.dtype.kind not in "fV":
            np.testing.assert_array_equal(found, expected)
            if expected.dtype.kind == "f":
                np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
        else:
            wide, wanted = found.astype(np.float64), expected.astype(np.float64)
            scale = max(1e-30, float(np.max(np.abs(wanted), initial=0)))
            np.testing.assert_allclose(wide / scale, wanted / scale, rtol=0, atol=tolerance)


def run(graph: Graph, inputs: dict[str, Array]) -> dict[str, Array]:
    return Interpreter().run(graph, inputs)
