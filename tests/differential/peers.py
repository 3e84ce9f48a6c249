"""The reference of our operations against onnx's reference evaluator and ONNX Runtime, on mutated node tests.

A mutant is a node test of onnx with an attribute, a size or the numbers of its inputs changed, so that it stays a valid
model. Where we give an answer and a peer gives another, somebody is wrong: ours if both peers agree with each other,
else the peer that differs, if upstream.txt says what it does wrong there.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from onnx import AttributeProto, ModelProto, shape_inference
from onnx.reference import ReferenceEvaluator

from tenfold.errors import TenfoldError
from tenfold.importers import open_model
from tenfold.ir.interpret import Interpreter
from tests.conformance.compare import difference, is_chance
from tests.conformance.suite import Case, cases

UPSTREAM = Path(__file__).with_name("upstream.txt")
SMALL = 2000
INTEGERS = (-2, -1, 0, 1, 2, 3, 4)
TOLERANCE, HALF_TOLERANCE = (2e-3, 2e-5), (1e-2, 4e-3)
"""Relative to each number, and to the largest one."""
LEAST_AND_MOST = {"qk_matmul_output_mode": (0, 3), "min_gram_length": (1, 3), "max_gram_length": (1, 3)}
LEAST_AND_MOST |= {"sampling_ratio": (0, 3), "left_window_size": (-1, 4), "sorted": (1, 1)}
"""What attributes may be, where not every integer means something."""
PLAIN = {"Attention", "BatchNormalization", "Col2Im", "DeformConv", "DFT", "FlexAttention", "GridSample", "GRU", "LSTM"}
PLAIN |= {"Resize", "RNN", "RoiAlign", "STFT", "TreeEnsemble"}
"""Operators that weigh numbers of which none are infinite: whether 0 times infinity is added is nowhere said."""


@cache
def corpus() -> tuple[Case, ...]:
    """The node tests of one operator whose inputs and outputs are small plain tensors."""
    found = []
    for case in cases():
        if case.kind == "node" and len(case.model().graph.node) == 1 and not is_chance(case.name):
            inputs, outputs = next(case.calls())
            arrays = [*inputs, *outputs]
            if all(isinstance(one, np.ndarray) and one.size < SMALL and one.dtype.kind in "fiub" for one in arrays):
                found.append(case)
    return tuple(found)


def mutant(dice: Random) -> tuple[ModelProto, list[Any]]:
    """A model of one operator, and its inputs."""
    case = dice.choice(corpus())
    model = ModelProto()
    model.CopyFrom(case.model())
    inputs = [np.array(one) for one in next(case.calls())[0]]
    for _ in range(dice.choice((1, 1, 2))):
        change = dice.choice((_another_attribute, _another_size, _other_numbers))
        inputs = change(model, inputs, dice)
    for info, array in zip(model.graph.input, inputs, strict=False):
        shape = info.type.tensor_type.shape
        del shape.dim[:]
        for size in array.shape:
            shape.dim.add(dim_value=size)
    for info in model.graph.output:
        info.type.tensor_type.ClearField("shape")
    return model, inputs


def _another_attribute(model: ModelProto, inputs: list[Any], dice: Random) -> list[Any]:
    (node,) = model.graph.node
    if not node.attribute:
        return inputs
    attribute = dice.choice(node.attribute)
    match attribute.type:
        case AttributeProto.INT if attribute.name not in ("to", "dtype", "output_dtype"):
            is_flag = attribute.i in (0, 1) and "axis" not in attribute.name and attribute.name not in LEAST_AND_MOST
            low, high = LEAST_AND_MOST.get(attribute.name, (INTEGERS[0], INTEGERS[-1]))
            attribute.i = 1 - attribute.i if is_flag else dice.randint(low, high)
        case AttributeProto.FLOAT:
            attribute.f *= dice.choice((0.5, 2.0))
        case AttributeProto.INTS if attribute.ints:
            attribute.ints[dice.randrange(len(attribute.ints))] = dice.choice(INTEGERS)
        case AttributeProto.STRING:
            same = [other for other in _attributes(node.op_type, attribute.name) if other != attribute.s]
            attribute.s = dice.choice(same or [attribute.s])
    return inputs


@cache
def _attributes(kind: str, name: str) -> tuple[bytes, ...]:
    """The texts that the suite gives to an attribute."""
    nodes = [node for case in corpus() for node in case.model().graph.node if node.op_type == kind]
    return tuple(sorted({one.s for node in nodes for one in node.attribute if one.name == name}))


def _another_size(model: ModelProto, inputs: list[Any], dice: Random) -> list[Any]:
    """Every axis of one size gets another, but for lists of integers: axes, sizes, positions."""
    sizes = sorted({size for one in inputs for size in one.shape})
    if not sizes:
        return inputs
    old, new = dice.choice(sizes), dice.choice((1, 2, 3, 4, 5, 7))
    return [one if one.dtype.kind in "iu" and one.ndim < 2 else _resized(one, old, new) for one in inputs]


def _resized(array: Any, old: int, new: int) -> Any:
    for axis, size in enumerate(array.shape):
        if size == old and size:
            array = np.take(array, np.arange(new) % size, axis=axis)
    return array


def _other_numbers(model: ModelProto, inputs: list[Any], dice: Random) -> list[Any]:
    """Floats scaled and moved, here and there a special one; integers left, as they may be positions or sizes."""
    random = np.random.default_rng(dice.randrange(1 << 30))
    found = []
    for one in inputs:
        if one.dtype.kind == "f" and one.size > 1:
            one = (one * random.choice([1, -1, 3]) + random.standard_normal(one.shape)).astype(one.dtype)
            if dice.random() < 0.2 and model.graph.node[0].op_type not in PLAIN:
                one.reshape(-1)[random.integers(one.size)] = dice.choice((np.nan, np.inf, -np.inf, 0.0, -0.0))
        found.append(one)
    return found


def kind_of(seed: int) -> str:
    """The operator of a mutant."""
    return str(mutant(Random(seed))[0].graph.node[0].op_type)


def valid(model: ModelProto) -> bool:
    """Whether onnx's own inference of shapes takes the model."""
    try:
        shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except Exception:
        return False
    return True


def ours(model: ModelProto, inputs: list[Any]) -> list[Any]:
    """What our interpreter gives."""
    graph = open_model(model)
    feeds = {value.name: array for value, array in zip(graph.inputs, inputs, strict=True)}
    with np.errstate(all="ignore"):
        return list(Interpreter().run(graph, feeds).values())


def onnx_reference(model: ModelProto, inputs: list[Any]) -> list[Any]:
    """What onnx's reference evaluator gives."""
    feeds = {info.name: array for info, array in zip(model.graph.input, inputs, strict=True)}
    with np.errstate(all="ignore"):
        return list(ReferenceEvaluator(model).run(None, feeds))


def onnx_runtime(model: ModelProto, inputs: list[Any]) -> list[Any]:
    """What ONNX Runtime gives, with its optimisations off."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level, settings.intra_op_num_threads = 4, 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return list(session.run(None, dict(zip(names, inputs, strict=True))))


PEERS = {"onnx": onnx_reference, "onnxruntime": onnx_runtime}


def verdict(seed: int) -> tuple[str, str]:
    """How a mutant's answers compare, in a word and in words: "agree", "refused", "ours", or the peer that is alone."""
    dice = Random(seed)
    model, inputs = mutant(dice)
    kind = model.graph.node[0].op_type
    if not valid(model):
        return "invalid", kind
    try:
        mine = ours(model, inputs)
    except TenfoldError as error:
        return "refused", f"{kind}: {type(error).__name__}: {error.message.splitlines()[0][:100]}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = {name: answer for name, peer in PEERS.items() if (answer := _attempt(peer, model, inputs)) is not None}
    apart = {name: _apart(mine, answer) for name, answer in theirs.items()}
    return _judged(kind, theirs, apart)


def _judged(kind: str, theirs: Mapping[str, list[Any]], apart: Mapping[str, str | None]) -> tuple[str, str]:
    wrong = {name: reason for name, reason in apart.items() if reason}
    if not wrong:
        return "agree" if theirs else "alone", kind
    if len(wrong) == 1:
        ((name, reason),) = wrong.items()
        return name, f"{kind}: {reason}"
    reasons = "; ".join(f"{name}: {reason}" for name, reason in wrong.items())
    return "unclear" if _apart(*theirs.values()) else "ours", f"{kind}: {reasons}"


def _attempt(peer: Any, model: ModelProto, inputs: list[Any]) -> list[Any] | None:
    try:
        found = peer(model, [one.copy() for one in inputs])
    except Exception:
        return None
    return found if all(isinstance(one, np.ndarray | np.generic) for one in found) else None


def _apart(some: list[Any], others: list[Any]) -> str | None:
    """How answers differ by more than their largest number's rounding explains."""
    for one, other in zip(some, others, strict=False):
        other = np.asarray(other)
        finite = np.abs(other[np.isfinite(other)]) if other.dtype.kind == "f" else np.ones(1)
        own, most = HALF_TOLERANCE if other.dtype.itemsize < 4 else TOLERANCE
        found = difference(one, other, own, most * float(finite.max(initial=1.0)))
        if found:
            return found
    return None


def upstream(path: Path = UPSTREAM) -> Iterator[tuple[str, str, str]]:
    """The known defects of peers: (peer, operator, what it does)."""
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            peer, operator, reason = line.split(maxsplit=2)
            yield peer, operator, reason
