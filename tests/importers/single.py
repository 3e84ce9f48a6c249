"""One operator as a model: imported and interpreted by us, evaluated by ONNX's own reference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tenfold.importers.onnx import import_onnx
from tenfold.ir import dim
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.substitute import evaluate

Array = NDArray[Any]


def model(
    kind: str,
    arrays: Sequence[Array | None],
    constants: Sequence[int] = (),
    outputs: int = 1,
    opset: int = 21,
    **attributes: Any,
) -> ModelProto:
    """A model of one operator; inputs whose places are in `constants` become initialisers."""
    names = [f"x{at}" if array is not None else "" for at, array in enumerate(arrays)]
    given = [(at, names[at], array) for at, array in enumerate(arrays) if array is not None]
    inputs = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for at, name, array in given
        if at not in constants
    ]
    weights = [numpy_helper.from_array(array, name) for at, name, array in given if at in constants]
    results = [f"y{at}" for at in range(outputs)]
    node = helper.make_node(kind, names, results, name="the_node", **attributes)
    graph = helper.make_graph([node], "one", inputs, [onnx.ValueInfoProto(name=name) for name in results], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def feeds(message: ModelProto, arrays: Sequence[Array | None]) -> dict[str, Array]:
    """The arrays of a model made by `model`, by the names of its inputs."""
    named = {f"x{at}": array for at, array in enumerate(arrays) if array is not None}
    return {info.name: named[info.name] for info in message.graph.input}


def reference(message: ModelProto, inputs: Mapping[str, Array]) -> list[Array]:
    """What ONNX's reference gives."""
    found = ReferenceEvaluator(message).run(None, dict(inputs))
    return [np.asarray(one) for one in found]


def runtime(message: ModelProto, inputs: Mapping[str, Array]) -> list[Array]:
    """What ONNX Runtime gives: the oracle where the reference breaks the specification."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    session = onnxruntime.InferenceSession(message.SerializeToString(), options, ["CPUExecutionProvider"])
    found: list[Array] = session.run(None, dict(inputs))
    return found


def interpreted(graph: Graph, inputs: Mapping[str, Array]) -> list[Array]:
    """What our interpreter gives; each result must have the shape that its type states."""
    graph.verify()
    found = Interpreter().run(graph, inputs)
    symbols: dict[str, int] = {}
    for value in graph.inputs:
        for size, actual in zip(value.type.shape, inputs[value.name].shape, strict=True):
            if not isinstance(size, int) and size.symbol is not None:
                symbols[size.symbol.name] = actual
        for entry, content in zip(value.type.entries or (), inputs[value.name].ravel(), strict=False):
            if not isinstance(entry, int) and entry.symbol is not None:
                symbols[entry.symbol.name] = int(content)
    for value, array in zip(graph.outputs, found.values(), strict=True):
        assert value.type.rank == array.ndim, (value.type, array.shape)
        for size, actual in zip(value.type.shape, array.shape, strict=True):
            if isinstance(size, int) or not size.data_dependent:
                assert evaluate(size, symbols) == actual, (value.type, array.shape)
        entries = value.type.entries
        if entries is not None and all(isinstance(one, int) or not one.data_dependent for one in entries):
            assert [evaluate(one, symbols) for one in entries] == [int(one) for one in array.ravel()]
    return list(found.values())


def symbolic(message: ModelProto) -> Graph:
    """The graph with every size of every input left open."""
    shapes = {
        info.name: [dim.symbol(f"{info.name}_{axis}", low=0) for axis in range(len(info.type.tensor_type.shape.dim))]
        for info in message.graph.input
    }
    return import_onnx(message, shapes=shapes)


def same(ours: Array, theirs: Array, tolerance: float = 1e-5) -> None:
    """Same type and shape, NaN in the same places, elementwise near."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    if theirs.dtype.kind in "OUST":
        assert ours.tolist() == theirs.astype(str).astype(object).tolist()
        return
    assert ours.dtype == theirs.dtype, (ours.dtype, theirs.dtype)
    exact = theirs.dtype.kind in "iub"
    wide = (one.astype(np.complex128 if theirs.dtype.kind == "c" else np.float64) for one in (ours, theirs))
    np.testing.assert_allclose(*wide, rtol=0 if exact else tolerance, atol=0 if exact else tolerance)
