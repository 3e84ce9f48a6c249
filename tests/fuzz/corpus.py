"""What mutants are made of: small models from onnx's backend tests, and some with functions, branches and loops."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import onnx
from onnx import ModelProto, helper

from tests.conformance.suite import cases
from tests.hostile.case import BOOL, FLOAT, INT64, X, info, model, node, weight

MOST_BYTES = 3000
MOST_ELEMENTS = 4096
EVERY = 5


@cache
def models() -> tuple[bytes, ...]:
    """The corpus: every fifth small model of the suite, then our own."""
    small = [case.model() for case in cases() if case.kind in ("node", "pytorch-operator")]
    found = [one for one in small if one.ByteSize() <= MOST_BYTES and _is_light(one)]
    return tuple(one.SerializeToString(deterministic=True) for one in (*found[::EVERY], *_own()))


def _is_light(one: ModelProto) -> bool:
    sizes = []
    for value in one.graph.input:
        size = 1
        for dim in value.type.tensor_type.shape.dim:
            size *= max(dim.dim_value, 1)
        sizes.append(size)
    return sum(sizes) <= MOST_ELEMENTS


def _graph(name: str, nodes: list[onnx.NodeProto], inputs: str = "", outputs: str = "") -> onnx.GraphProto:
    kinds = {"i": ([], INT64), "c": ([], BOOL)}
    formal = [info(one, *kinds.get(one, ([2, 3], FLOAT))) for one in inputs.split()]
    return helper.make_graph(nodes, name, formal, [onnx.ValueInfoProto(name=one) for one in outputs.split()])


def _own() -> tuple[ModelProto, ...]:
    mlp = model(
        node("MatMul", "x w", "a"),
        node("Add", "a b", "h"),
        node("Relu", "h", "r"),
        node("Softmax", "r", axis=1),
        weights=(weight("w", [[1.5] * 4] * 3, "f4"), weight("b", [0.5] * 4, "f4")),
    )
    shapes = model(
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n axes", "m"),
        node("Concat", "m minus", "t", axis=0),
        node("Reshape", "x t"),
        inputs=(info("x", ["n", 3, 2]),),
        weights=(weight("zero", 0), weight("axes", [0]), weight("minus", [-1])),
    )
    branch = model(
        node(
            "If",
            "c",
            then_branch=_graph("then", [node("Neg", "x", "t")], outputs="t"),
            else_branch=_graph("else", [node("Exp", "x", "e")], outputs="e"),
        ),
        inputs=(*X, info("c", [], BOOL)),
    )
    body = _graph("body", [node("Mul", "s s", "t"), node("Identity", "c", "d")], "i c s", "d t t")
    loop = model(node("Loop", "trips - x", "z all", body=body), weights=(weight("trips", 3),), outputs="z all")
    conv = model(
        node("Conv", "x w b", "a", pads=[1, 1, 1, 1], strides=[2, 2]),
        node("BatchNormalization", "a g g g v", "n"),
        node("MaxPool", "n", "p", kernel_shape=[2, 2]),
        node("Flatten", "p", "f"),
        node("Gemm", "f u", transB=1),
        inputs=(info("x", ["n", 2, 9, 9]),),
        weights=(
            weight("w", [[[[0.5] * 3] * 3] * 2] * 4, "f4"),
            weight("b", [0.1] * 4, "f4"),
            weight("g", [0.3] * 4, "f4"),
            weight("v", [1.0] * 4, "f4"),
            weight("u", [[0.25] * 64] * 2, "f4"),
        ),
    )
    called = model(helper.make_node("twice", ["x"], ["z"], domain="local"))
    imports = [helper.make_opsetid("", 18)]
    twice = [node("Neg", "a", "b"), node("Exp", "b", "d")]
    called.functions.append(helper.make_function("local", "twice", ["a"], ["d"], twice, imports))
    return mlp, shapes, branch, loop, conv, called


FAILED = Path(__file__).with_name("failed.txt")
"""Every mutant that ever failed: its target and its bytes, compressed, as base 64."""
