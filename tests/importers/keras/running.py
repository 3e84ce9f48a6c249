"""Keras models against Keras itself: imported and run by the interpreter, or built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import torch

from tenfold.importers.keras import import_keras
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter

Arrays = Sequence[np.ndarray[Any, Any]]


def randomised(model: Any, seed: int = 0) -> Any:
    """The model with weights that no initializer gives: none are zero or one."""
    random = np.random.default_rng(seed)
    for variable in model.weights:
        shape = tuple(variable.shape)
        fan = max(1, int(np.prod(shape[:-1])))
        found = random.standard_normal(shape) / np.sqrt(fan) if len(shape) > 1 else 0.5 + random.random(shape)
        if "int" not in str(variable.dtype):
            variable.assign(found.astype("float32"))
    return model


def expected(model: Any, given: Arrays) -> list[np.ndarray[Any, Any]]:
    """What Keras gives, laid flat."""
    argument: Any = list(given) if len(given) > 1 else given[0]
    if isinstance(getattr(model, "input", None), dict):
        argument = {one.name: array for one, array in zip(model.inputs, given, strict=True)}
    with torch.no_grad():
        found = model(argument, training=False)
    return [np.asarray(keras.ops.convert_to_numpy(one)) for one in keras.tree.flatten(found)]


def interpreted(graph: Graph, given: Arrays) -> list[np.ndarray[Any, Any]]:
    """What the graph gives."""
    names = [one.name for one in graph.inputs]
    return list(Interpreter().run(graph, dict(zip(names, given, strict=True))).values())


def assert_close(found: Arrays, wanted: Arrays, tolerance: float = 2e-5) -> None:
    """The same element types, shapes and numbers."""
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == theirs.dtype, (ours.dtype, theirs.dtype)
        np.testing.assert_allclose(ours.astype("f8"), theirs.astype("f8"), rtol=tolerance, atol=tolerance)


def check(model: Any, given: Arrays, tolerance: float = 2e-5, **opening: Any) -> Graph:
    """Import a live model and run it."""
    graph = import_keras(model, **opening)
    assert_close(interpreted(graph, given), expected(model, given), tolerance)
    return graph


def functional(layer: Any, *shapes: tuple[int | None, ...], types: Sequence[str] = (), **call: Any) -> Any:
    """A model of one layer: of one tensor, or of a list of them."""
    kinds = list(types) or ["float32"] * len(shapes)
    pairs = enumerate(zip(shapes, kinds, strict=True))
    inputs = [keras.Input(shape, dtype=kind, name=f"x{at}") for at, (shape, kind) in pairs]
    return keras.Model(inputs, layer(inputs if len(inputs) > 1 else inputs[0], **call))


def samples(model: Any, batch: int = 2, open_size: int = 5, most: int = 5) -> Arrays:
    """Random inputs: whole numbers below `most` where the model takes integers."""
    random, found = np.random.default_rng(1), []
    for one in model.inputs:
        shape = [open_size if size is None else size for size in one.shape]
        shape[0] = batch if one.shape[0] is None else shape[0]
        kind = str(one.dtype)
        wide = random.integers(0, most, shape) if "int" in kind else random.standard_normal(shape)
        found.append(wide.astype(kind) if kind != "bool" else wide > 0)
    return found


def by_name(arrays: Arrays, graph: Graph) -> Mapping[str, Any]:
    """Arrays under the names of the graph's inputs."""
    return dict(zip([one.name for one in graph.inputs], arrays, strict=True))
