"""Models whose structure is damaged, endless or deep."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

import tenfold
from tenfold.errors import LimitError, ModelError, OptionError, UnsupportedError
from tests.hostile.case import BOOL, FLOAT, INT64, Case, Gives, Raises, X, built, f32, info, model, node, run, weight

DAMAGED = (ModelError, UnsupportedError, OptionError, LimitError)


def _whole() -> bytes:
    nodes = (node("Add", "x w", "a"), node("Reshape", "a s", "b"), node("Softmax", "b", axis=1))
    return bytes(model(*nodes, weights=(weight("w", [1, 2, 3], "f4"), weight("s", [3, 2]))).SerializeToString())


def _every_truncation(folder: Path) -> str:
    data = _whole()
    for length in range(0, len(data), 3):
        try:
            tenfold.build(data[:length], cache=False)
        except DAMAGED:
            continue
    return "no other exception"


def _flipped_bits(folder: Path) -> str:
    whole, dice = _whole(), random.Random(11)
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(dice.randint(1, 3)):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        try:
            tenfold.build(bytes(data), cache=folder / "flipped")
        except DAMAGED:
            continue
    return "no other exception"


def _no_file(folder: Path) -> None:
    tenfold.build(folder / "nowhere.onnx")


def _a_folder(folder: Path) -> None:
    tenfold.build(folder)


def _nested(depth: int) -> ModelProto:
    """Ifs in Ifs, each in the first branch of the one before; made in place, as messages so deep cannot be copied."""
    made = model(inputs=(*X, info("c", [], BOOL)), outputs="y0")
    graph = made.graph
    for level in range(depth):
        outer = graph.node.add(op_type="If", name=f"the If {level}", input=["c"], output=[f"y{level}"])
        other = outer.attribute.add(name="else_branch", type=onnx.AttributeProto.GRAPH).g
        other.CopyFrom(_branch(f"e{level}", node("Neg", "x", f"e{level}")))
        graph = outer.attribute.add(name="then_branch", type=onnx.AttributeProto.GRAPH).g
        graph.output.add(name=f"y{level + 1}")
    graph.node.add(op_type="Identity", input=["x"], output=[f"y{depth}"])
    return made


def _deep(folder: Path) -> None:
    tenfold.build(_nested(2000), cache=False)


def _deep_types(folder: Path) -> None:
    made = model(node("Identity", "s"))
    made.graph.input[0].name = "s"
    made.graph.input[0].ClearField("type")
    kind = made.graph.input[0].type
    for _ in range(2000):
        kind = kind.sequence_type.elem_type
    kind.tensor_type.elem_type = FLOAT
    tenfold.build(made, cache=False)


def _deep_bytes(folder: Path) -> None:
    """A message whose graphs nest 2,000 deep, written by hand: the parser stops before we see it."""
    data = b""
    for _ in range(2000):
        for tag in (0x32, 0x2A, 0x0A):
            data = bytes([tag]) + _varint(len(data)) + data
    tenfold.build(b"\x08\x08\x3a" + _varint(len(data)) + data, cache=False)


def _varint(number: int) -> bytes:
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


def _function(name: str, calls: list[NodeProto], last: str) -> Any:
    imports = [helper.make_opsetid("local", 1), helper.make_opsetid("", 18)]
    return helper.make_function("local", name, ["a0"], [last], calls, imports)


def _calling(*functions: Any) -> ModelProto:
    made = model(helper.make_node("f0", ["x"], ["z"], name="the call", domain="local"))
    made.functions.extend(functions)
    return made


def _call(name: str, source: str, to: str) -> NodeProto:
    return helper.make_node(name, [source], [to], name=f"call of {name}", domain="local")


_DOUBLING = _calling(
    *(_function(f"f{i}", [_call(f"f{i + 1}", "a0", "a1"), _call(f"f{i + 1}", "a1", "a2")], "a2") for i in range(40)),
    _function("f40", [node("Neg", "a0", "a1")], "a1"),
)
_SELF = _calling(_function("f0", [_call("f0", "a0", "a1")], "a1"))
_EACH_OTHER = _calling(*(_function(f"f{i}", [_call(f"f{1 - i}", "a0", "a1")], "a1") for i in (0, 1)))


def _halved(steps: int) -> tuple[ModelProto, Any]:
    """y = y % k + y // 2 again and again, and as many ones as y says in the end."""
    nodes, size = [node("Shape", "x", "y0")], 7
    for step in range(steps):
        nodes += [node("Mod", f"y{step} k{step}", f"a{step}"), node("Div", f"y{step} two", f"b{step}")]
        nodes += [node("Add", f"a{step} b{step}", f"y{step + 1}")]
        size = size % (3 + step) + size // 2
    weights = [weight(f"k{step}", [3 + step]) for step in range(steps)]
    weights += [weight("two", [2]), weight("one", [1], "f4")]
    whole = model(*nodes, node("Expand", f"one y{steps}"), inputs=(info("x", ["n"]),), weights=weights)
    return whole, np.ones(size, np.float32)


_NEW_AXES = model(node("Unsqueeze", "x axes"), inputs=(*X, info("axes", [60], INT64)))


def _branch(name: str, *nodes: NodeProto) -> GraphProto:
    return helper.make_graph(list(nodes), name, [], [onnx.ValueInfoProto(name=name)])


def _body(*nodes: NodeProto, inputs: str = "i c", outputs: str = "c") -> GraphProto:
    kinds = {"i": INT64, "c": BOOL}
    formal = [info(one, [] if one in kinds else [2, 3], kinds.get(one, FLOAT)) for one in inputs.split()]
    return helper.make_graph(list(nodes), "body", formal, [onnx.ValueInfoProto(name=one) for one in outputs.split()])


_SIX = weight("trips", 6)
CASES = (
    Case("truncated at every third byte", _every_truncation, Gives("no other exception"), 60),
    Case("bits flipped, 200 times", _flipped_bits, Gives("no other exception"), 120, 512),
    Case("an empty file", built(b""), Raises(ModelError)),
    Case("a Git LFS pointer", built(b"version https://git-lfs.github.com/spec/v1\n"), Raises(ModelError, says="LFS")),
    Case("a pickle", built(b"\x80\x04\x95\x0b\x00\x00\x00"), Raises(ModelError)),
    Case("a zip", built(b"PK\x03\x04" + bytes(100)), Raises(ModelError)),
    Case("zeros", built(bytes(4096)), Raises(ModelError)),
    Case("no such file", _no_file, Raises(ModelError, says="nowhere")),
    Case("a folder as a model", _a_folder, Raises(ModelError)),
    Case(
        "a cycle",
        built(model(node("Add", "x b", "a"), node("Relu", "a", "b"), node("Neg", "b"))),
        Raises(ModelError, "Add|Relu"),
    ),
    Case("an operator on itself", built(model(node("Add", "x z"))), Raises(ModelError, "Add")),
    Case(
        "a cycle through a branch",
        built(
            model(
                node(
                    "If",
                    "c",
                    "a",
                    then_branch=_branch("t", node("Neg", "b", "t")),
                    else_branch=_branch("e", node("Neg", "x", "e")),
                ),
                node("Relu", "a", "b"),
                inputs=(*X, info("c", [], BOOL)),
                outputs="b",
            )
        ),
        Raises(ModelError, "If|Relu"),
    ),
    Case("Ifs 30 deep", run(_nested(30), f32(2, 3), True), Gives(f32(2, 3)), 60, 512),
    Case("Ifs 45 deep", run(_nested(45), f32(2, 3), True), Gives(f32(2, 3)), 60, 512),
    Case("Ifs 2,000 deep", _deep, Raises((LimitError, ModelError), says="deep|nest"), 30, 1024),
    Case("graphs 2,000 deep in bytes", _deep_bytes, Raises((LimitError, ModelError))),
    Case("sequences of sequences, 2,000 deep", _deep_types, Raises((LimitError, ModelError, UnsupportedError))),
    Case("a function that calls itself", built(_SELF), Raises(LimitError, says="deep")),
    Case("functions that call each other", built(_EACH_OTHER), Raises(LimitError, says="deep")),
    Case("functions that double 40 times", built(_DOUBLING), Raises(LimitError, says="operators"), 60, 1024),
    Case(
        "a chain of 20,000 operators",
        built(
            model(
                *(node("Neg", f"v{i}", f"v{i + 1}") for i in range(20_000)), inputs=(info("v0", [2]),), outputs="v20000"
            )
        ),
        Gives(None, lambda one: one is None, "it builds"),
        120,
        1024,
    ),
    *(
        Case(f"a size whose formula doubles {steps} times", run(made, f32(7)), Gives(expected), 20)
        for steps, (made, expected) in ((steps, _halved(steps)) for steps in (5, 40, 100))
    ),
    Case("60 new axes that the call names", built(_NEW_AXES), Raises(LimitError, "Unsqueeze", "axes")),
    Case("nothing defines an input", built(model(node("Relu", "y"))), Raises(ModelError, "Relu")),
    Case("a name twice", built(model(node("Relu", "x"), node("Neg", "x"))), Raises(ModelError, "Relu|Neg")),
    Case("an unknown operator", built(model(node("Frobnicate", "x"))), Raises(UnsupportedError, says="Frobnicate")),
    Case(
        "an unknown domain",
        built(model(node("Frobnicate", "x", domain="org.nowhere"))),
        Raises(UnsupportedError, says="Frobnicate"),
    ),
    Case(
        "a changed operator of an opset of the future",
        built(model(node("Frobnicate", "x"), opset=999)),
        Raises(UnsupportedError, says="Frobnicate"),
    ),
    Case(
        "a body of other inputs",
        built(model(node("Loop", "trips - x", body=_body(inputs="i c", outputs="c")), weights=(_SIX,))),
        Raises(ModelError, "Loop"),
    ),
    Case(
        "a body of other outputs",
        built(model(node("Loop", "trips - x", body=_body(inputs="i c s", outputs="c")), weights=(_SIX,))),
        Raises(ModelError, "Loop"),
    ),
    Case(
        "a body that returns no condition",
        built(model(node("Loop", "trips - x", body=_body(inputs="i c s", outputs="s s")), weights=(_SIX,))),
        Raises(ModelError, "Loop"),
    ),
    Case(
        "an If on three conditions",
        built(
            model(
                node(
                    "If",
                    "x",
                    then_branch=_branch("t", node("Neg", "x", "t")),
                    else_branch=_branch("e", node("Neg", "x", "e")),
                )
            )
        ),
        Raises(ModelError, "If"),
    ),
    Case(
        "a branch that is no graph",
        built(model(node("If", "x", then_branch=1, else_branch=2))),
        Raises(ModelError, "If"),
    ),
    Case("an attribute of another kind", built(model(node("Softmax", "x", axis="one"))), Raises(ModelError, "Softmax")),
    Case(
        "too few bytes in a weight",
        built(model(node("Add", "x w"), weights=(TensorProto(name="w", data_type=1, dims=[2, 3], raw_data=b"12"),))),
        Raises(ModelError),
    ),
    Case(
        "a weight of an unknown type",
        built(model(node("Add", "x w"), weights=(TensorProto(name="w", data_type=77, dims=[1]),))),
        Raises(ModelError),
    ),
)
