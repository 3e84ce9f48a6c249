"""Mutants of ONNX models: of their bytes, and of their structure (operators, attributes, names, shapes, types)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

EXTREMES = (0, 1, -1, 2, 3, 7, 64, 127, 255, 1 << 16, 2**31 - 1, -(2**31), 1 << 40, 2**62, 2**63 - 1, -(2**63))
REALS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-30, 1e30, math.inf, -math.inf, math.nan)
WORDS = (b"", b"linear", b"nearest", b"SAME_UPPER", b"VALID", b"max", b"add", b"\xff\xfe", b"x" * 300, b"reflect")
KINDS = tuple(TensorProto.DataType.values())
OPERATORS = tuple(sorted({schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}))

Mutation = Callable[[ModelProto, Random], None]


def mutant(corpus: Sequence[bytes], dice: Random) -> bytes:
    """One mutant: of structure two times in three, else of bytes."""
    whole = dice.choice(corpus)
    if dice.random() < 1 / 3:
        return mutated_bytes(whole, corpus, dice)
    return mutated_structure(whole, dice)


def mutated_bytes(whole: bytes, corpus: Sequence[bytes], dice: Random) -> bytes:
    """Bits flipped, bytes set, inserted, dropped, repeated, taken from another model; the end cut off."""
    data = bytearray(whole)
    for _ in range(dice.choice((1, 1, 2, 4, 16))):
        at = dice.randrange(len(data) + 1)
        match dice.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << dice.randrange(8)
            case 1 if at < len(data):
                data[at] = dice.choice((0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)))
            case 2:
                data[at:at] = dice.randbytes(dice.randrange(1, 9))
            case 3:
                del data[at : at + dice.randrange(1, 9)]
            case 4:
                data[at:at] = data[at : at + dice.randrange(1, 65)]
            case 5:
                other = dice.choice(corpus)
                start = dice.randrange(len(other))
                data[at : at + 32] = other[start : start + dice.randrange(1, 65)]
            case 6 if len(data) > 8:
                del data[max(at, 8) :]
    return bytes(data)


def mutated_structure(whole: bytes, dice: Random) -> bytes:
    """One to three changes of structure; the model itself where none can be written down."""
    changed = ModelProto.FromString(whole)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        dice.choice(MUTATIONS)(changed, dice)
    try:
        return bytes(changed.SerializeToString(deterministic=True))
    except (EncodeError, DecodeError, ValueError):
        return whole


def graphs(of: GraphProto) -> Iterator[GraphProto]:
    """A graph and all graphs inside of it."""
    yield of
    for node in of.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def _graph(changed: ModelProto, dice: Random) -> GraphProto:
    return dice.choice(list(graphs(changed.graph)))


def _node(changed: ModelProto, dice: Random) -> NodeProto:
    nodes = [node for graph in graphs(changed.graph) for node in graph.node]
    nodes += [node for function in changed.functions for node in function.node]
    return dice.choice(nodes) if nodes else changed.graph.node.add(op_type="Neg", input=["x"], output=["z"])


def _names(changed: ModelProto) -> list[str]:
    found = [name for graph in graphs(changed.graph) for node in graph.node for name in (*node.input, *node.output)]
    return [*found, *(one.name for one in changed.graph.input), "", "nowhere"]


def another_operator(changed: ModelProto, dice: Random) -> None:
    _node(changed, dice).op_type = dice.choice(OPERATORS)


def another_input(changed: ModelProto, dice: Random) -> None:
    node, names = _node(changed, dice), _names(changed)
    if node.input and dice.random() < 0.7:
        node.input[dice.randrange(len(node.input))] = dice.choice(names)
    else:
        node.input.append(dice.choice(names))


def fewer_inputs(changed: ModelProto, dice: Random) -> None:
    node = _node(changed, dice)
    if node.input:
        del node.input[dice.randrange(len(node.input))]


def another_output(changed: ModelProto, dice: Random) -> None:
    node, names = _node(changed, dice), _names(changed)
    if node.output and dice.random() < 0.5:
        node.output[dice.randrange(len(node.output))] = dice.choice(names)
    else:
        node.output.append(f"new{dice.randrange(9)}")


def another_attribute(changed: ModelProto, dice: Random) -> None:
    """A value changed, an attribute dropped, doubled or added."""
    node = _node(changed, dice)
    if not node.attribute or dice.random() < 0.1:
        _invented(node, dice)
        return
    attribute = dice.choice(node.attribute)
    match dice.randrange(8):
        case 0:
            node.attribute.remove(attribute)
        case 1:
            node.attribute.add().CopyFrom(attribute)
        case 2:
            attribute.type = dice.choice(AttributeProto.AttributeType.values())
        case 3:
            attribute.name = dice.choice(("axis", "axes", "to", "mode", "perm", "kernel_shape", "strides", "body"))
        case _:
            _value(attribute, dice)


def _invented(node: NodeProto, dice: Random) -> None:
    schema = onnx.defs.get_schema(node.op_type) if onnx.defs.has(node.op_type) else None
    names = sorted(schema.attributes) if schema and schema.attributes else ["axis"]
    attribute = node.attribute.add(name=dice.choice(names), type=AttributeProto.INT)
    _value(attribute, dice)


def _value(attribute: AttributeProto, dice: Random) -> None:
    match attribute.type:
        case AttributeProto.INT:
            attribute.i = dice.choice((*EXTREMES, attribute.i + 1 if attribute.i < 2**62 else 0))
        case AttributeProto.FLOAT:
            attribute.f = dice.choice(REALS)
        case AttributeProto.STRING:
            attribute.s = dice.choice(WORDS)
        case AttributeProto.INTS:
            _element(attribute.ints, EXTREMES, dice)
        case AttributeProto.FLOATS:
            _element(attribute.floats, REALS, dice)
        case AttributeProto.STRINGS:
            _element(attribute.strings, WORDS, dice)
        case AttributeProto.TENSOR:
            _tensor(attribute.t, dice)


def _element(values: Any, choices: Sequence[Any], dice: Random) -> None:
    match dice.randrange(4):
        case 0:
            values.append(dice.choice(choices))
        case 1 if values:
            del values[dice.randrange(len(values))]
        case _ if values:
            values[dice.randrange(len(values))] = dice.choice(choices)


def another_weight(changed: ModelProto, dice: Random) -> None:
    graph = _graph(changed, dice)
    if graph.initializer:
        _tensor(dice.choice(graph.initializer), dice)


def _tensor(tensor: TensorProto, dice: Random) -> None:
    match dice.randrange(5):
        case 0:
            tensor.data_type = dice.choice(KINDS)
        case 1:
            _element(tensor.dims, EXTREMES, dice)
        case 2 if tensor.raw_data:
            tensor.raw_data = tensor.raw_data[: dice.randrange(len(tensor.raw_data))]
        case 3 if tensor.data_type == TensorProto.INT64 and tensor.raw_data:
            _number(tensor, dice)
        case 4:
            tensor.external_data.add(key="location", value=dice.choice(("../up", "/etc/passwd", "beside", "")))
            tensor.data_location = dice.choice((TensorProto.EXTERNAL, TensorProto.DEFAULT))
        case _:
            tensor.name = dice.choice(("", "x", tensor.name + "'"))


def _number(tensor: TensorProto, dice: Random) -> None:
    """One of the integers, which often are sizes, axes or positions."""
    at = 8 * dice.randrange(len(tensor.raw_data) // 8 or 1)
    number = dice.choice(EXTREMES).to_bytes(8, "little", signed=True)
    tensor.raw_data = tensor.raw_data[:at] + number + tensor.raw_data[at + 8 :]


def another_type(changed: ModelProto, dice: Random) -> None:
    """The element type or a size of an input; a size that was known is left open, or the other way round."""
    graph = _graph(changed, dice)
    if not graph.input:
        return
    kind = dice.choice(graph.input).type
    sizes = kind.tensor_type.shape.dim
    match dice.randrange(6):
        case 0:
            kind.tensor_type.elem_type = dice.choice(KINDS)
        case 1:
            kind.ClearField(dice.choice(("tensor_type", "denotation")))
        case 2 if sizes:
            dice.choice(sizes).dim_param = dice.choice(("n", "m", "", "n+1", "?"))
        case 3 if sizes:
            dice.choice(sizes).dim_value = dice.choice((0, 1, 2, 3, 5, -1, 1 << 40, 2**62))
        case 4 if sizes:
            del sizes[dice.randrange(len(sizes))]
        case _:
            sizes.add(dim_value=dice.choice((0, 1, 2, 3)))


def fewer_nodes(changed: ModelProto, dice: Random) -> None:
    graph = _graph(changed, dice)
    if graph.node:
        del graph.node[dice.randrange(len(graph.node))]


def more_nodes(changed: ModelProto, dice: Random) -> None:
    """A node doubled: its results named anew, or not; or put after the others."""
    graph = _graph(changed, dice)
    if graph.node:
        again = graph.node.add()
        again.CopyFrom(dice.choice(graph.node[:-1] or graph.node[:1]))
        for at, name in enumerate(again.output):
            again.output[at] = dice.choice((name, f"{name}'"))


def chained(changed: ModelProto, dice: Random) -> None:
    """Another operator behind an output."""
    graph = _graph(changed, dice)
    if graph.output:
        output = dice.choice(graph.output)
        graph.node.add(op_type=dice.choice(OPERATORS), input=[output.name], output=["more"])
        output.name = "more"


def other_outputs(changed: ModelProto, dice: Random) -> None:
    graph = _graph(changed, dice)
    if graph.output and dice.random() < 0.5:
        del graph.output[dice.randrange(len(graph.output))]
    else:
        graph.output.add(name=dice.choice(_names(changed)))


def weight_as_input(changed: ModelProto, dice: Random) -> None:
    """What was constant is given at the call."""
    graph = changed.graph
    if graph.initializer:
        tensor = graph.initializer.pop(dice.randrange(len(graph.initializer)))
        graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims)))


def open_sizes(changed: ModelProto, dice: Random) -> None:
    """Every size of the inputs is left to the call."""
    for value in changed.graph.input:
        for axis, size in enumerate(value.type.tensor_type.shape.dim):
            size.dim_param = f"{value.name}_{axis}"


def another_opset(changed: ModelProto, dice: Random) -> None:
    if changed.opset_import:
        dice.choice(changed.opset_import).version = dice.choice((*range(-1, 30), 999, 2**62))
    if dice.random() < 0.2:
        changed.ir_version = dice.choice(EXTREMES)


MUTATIONS: tuple[Mutation, ...] = (
    *(another_operator, another_input, another_input, fewer_inputs, another_output),
    *(another_attribute, another_attribute, another_attribute, another_weight, another_weight, another_type),
    *(another_type, fewer_nodes, more_nodes, chained, other_outputs, weight_as_input, open_sizes, another_opset),
)
