"""Sequences and optional values of ONNX: followed where their elements are known, else kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, TypeProto, ValueInfoProto, helper

from tenfold.errors import ExecutionError, ModelError, UnsupportedError
from tenfold.importers import open_model
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.objects import unpack

Array = NDArray[Any]
FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
FOLLOWED = {"SequenceOf", "Unstack", "SequenceAt", "SequenceInsert", "SequenceErase", "SequenceLength", "MapSequence"}
FOLLOWED |= {"ConcatFromSequence", "SplitToSequence", "OptionalOf", "HasElement", "GetElement"}


def node(kind: str, inputs: str, outputs: str, **attributes: Any) -> NodeProto:
    """An operator; names are separated by spaces, "-" stands for an absent one."""
    split = [[one.replace("-", "") for one in names.split()] for names in (inputs, outputs)]
    return helper.make_node(kind, *split, **attributes)


def number(name: str, *values: int) -> NodeProto:
    """A constant: of rank 0 if there is one number."""
    return helper.make_node(
        "Constant", [], [name], value=helper.make_tensor(name, INT, [len(values)] if len(values) > 1 else [], values)
    )


def x(*shape: Any, name: str = "x", kind: int = FLOAT) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def sequence(name: str, *shape: Any) -> ValueInfoProto:
    return helper.make_tensor_sequence_value_info(name, FLOAT, shape)


def body(nodes: list[NodeProto], inputs: str, outputs: str) -> GraphProto:
    infos = [[ValueInfoProto(name=name) for name in names.split()] for names in (inputs, outputs)]
    return helper.make_graph(nodes, "body", *infos)


def model(nodes: list[NodeProto], inputs: list[ValueInfoProto], outputs: str = "y") -> ModelProto:
    graph = helper.make_graph(nodes, "g", inputs, [ValueInfoProto(name=name) for name in outputs.split()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(graph: Graph, **feeds: Any) -> list[Any]:
    graph.verify()
    found = Interpreter().run(graph, feeds)
    return [unpack(value.type.dtype, array) for value, array in zip(graph.outputs, found.values(), strict=True)]


def operations(graph: Graph) -> set[str]:
    return {one.op.name for one in graph.nodes}


A = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_known_elements_leave_no_trace() -> None:
    nodes = [
        number("zero", 0),
        number("minus", -1),
        node("SplitToSequence", "x", "pieces", axis=0),
        node("SequenceErase", "pieces zero", "fewer"),
        node("SequenceInsert", "fewer x", "more"),
        node("SequenceInsert", "more x minus", "most"),
        node("SequenceLength", "most", "n"),
        node("SequenceAt", "most zero", "first"),
        node("ConcatFromSequence", "most", "y", axis=0),
    ]
    graph = open_model(model(nodes, [x(4, 3)], "n first y"))
    assert not operations(graph) & FOLLOWED
    n, first, y = run(graph, x=A)
    assert n == 5 and first.tolist() == A[1:2].tolist() and y.tolist() == [*A[1:].tolist(), *A.tolist() * 2]


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize(("axis", "new"), [(0, 0), (1, 0), (1, 1)])
def test_slices_of_an_open_axis(keep: int, axis: int, new: int) -> None:
    nodes = [
        number("one", 1),
        node("SplitToSequence", "x", "pieces", axis=0, keepdims=keep),
        node("SequenceAt", "pieces one", "second"),
        node("SequenceLength", "pieces", "n"),
        node("ConcatFromSequence", "pieces", "y", axis=axis if keep or new else 0, new_axis=new),
    ]
    graph = open_model(model(nodes, [x("N", 3)], "second n y"))
    assert not operations(graph) & FOLLOWED
    pieces = [row[None] if keep else row for row in A]
    expected = np.stack(pieces, axis) if new else np.concatenate(pieces, axis if keep else 0)
    second, n, y = run(graph, x=A)
    assert n == 4 and second.tolist() == pieces[1].tolist() and y.tolist() == expected.tolist()


def test_a_place_among_alike_elements() -> None:
    nodes = [node("SequenceConstruct", "x z", "both"), node("SequenceAt", "both at", "y")]
    graph = open_model(model(nodes, [x(2), x(2, name="z"), x(name="at", kind=INT)]))
    assert not operations(graph) & FOLLOWED
    ones = np.ones(2, np.float32)
    assert run(graph, x=ones, z=ones * 2, at=np.array(-1))[0].tolist() == [2, 2]


def test_sequences_in_and_out() -> None:
    nodes = [node("SequenceInsert", "s x", "y"), node("SequenceLength", "y", "n")]
    graph = open_model(model(nodes, [sequence("s", "N", 3), x(4, 3)], "y n"))
    y, n = run(graph, s=[A[:1]], x=A)
    assert [one.shape for one in y] == [(1, 3), (4, 3)] and n == 2
    with pytest.raises(ExecutionError, match="there is no element"):
        run(open_model(model([number("seven", 7), node("SequenceAt", "s seven", "y")], [sequence("s", 3)])), s=[])


def test_elements_of_unknown_rank() -> None:
    info = helper.make_tensor_sequence_value_info("s", FLOAT, None)
    nodes = [number("zero", 0), node("SequenceAt", "s zero", "y")]
    with pytest.raises(UnsupportedError, match="shapes="):
        open_model(model(nodes, [info]))
    graph = open_model(model(nodes, [info]), shapes={"s": ("N", 3)})
    assert run(graph, s=[A])[0].tolist() == A.tolist()


def counting(*nodes: NodeProto) -> GraphProto:
    return body([*nodes, node("Identity", "c", "c1")], "i c s", "c1 s1")


def test_a_loop_of_few_turns_is_written_out() -> None:
    inner = counting(node("Cast", "i", "f", to=FLOAT), node("Add", "f x", "t"), node("SequenceInsert", "s t", "s1"))
    nodes = [
        number("three", 3),
        node("SequenceEmpty", "", "s"),
        node("Loop", "three - s", "all", body=inner),
        node("ConcatFromSequence", "all", "y", axis=0, new_axis=1),
    ]
    graph = open_model(model(nodes, [x(2)]))
    assert not operations(graph) & (FOLLOWED | {"Loop"})
    assert run(graph, x=np.zeros(2, np.float32))[0].tolist() == [[0, 0], [1, 1], [2, 2]]


def test_a_loop_that_collects_stacks() -> None:
    inner = counting(node("Cast", "i", "f", to=FLOAT), node("Add", "f x", "t"), node("SequenceInsert", "s t", "s1"))
    nodes = [
        node("SequenceEmpty", "", "s"),
        node("Loop", "n - s", "all", body=inner),
        node("ConcatFromSequence", "all", "y", axis=1, new_axis=1),
        node("SequenceLength", "all", "count"),
    ]
    graph = open_model(model(nodes, [x(2), x(name="n", kind=INT)], "y count"))
    assert "Loop" in operations(graph) and not operations(graph) & FOLLOWED
    y, count = run(graph, x=np.zeros(2, np.float32), n=np.array(3))
    assert y.tolist() == [[0, 1, 2]] * 2 and count == 3


def test_a_loop_whose_elements_grow_runs_on_the_host() -> None:
    empty = node("SequenceEmpty", "", "s", dtype=INT)
    inner = counting(
        number("zero", 0), number("one", 1), node("Range", "zero i one", "t"), node("SequenceInsert", "s t", "s1")
    )
    graph = open_model(model([empty, node("Loop", "n - s", "y", body=inner)], [x(name="n", kind=INT)]))
    assert [one.tolist() for one in run(graph, n=np.array(3))[0]] == [[], [0], [0, 1]]


def test_branches_that_return_sequences() -> None:
    yes = body([node("SequenceConstruct", "x x", "s1")], "", "s1")
    no = body([node("Neg", "x", "m"), node("SequenceConstruct", "x m", "s2")], "", "s2")
    nodes = [node("If", "c", "s", then_branch=yes, else_branch=no), number("one", 1), node("SequenceAt", "s one", "y")]
    graph = open_model(model(nodes, [x(2), x(name="c", kind=BOOL)]))
    assert not operations(graph) & FOLLOWED
    assert run(graph, x=np.ones(2, np.float32), c=np.array(False))[0].tolist() == [-1, -1]
    longer = body([node("SequenceConstruct", "x", "s2")], "", "s2")
    nodes = [node("If", "c", "y", then_branch=yes, else_branch=longer)]
    graph = open_model(model(nodes, [x(2), x(name="c", kind=BOOL)]))
    assert [len(run(graph, x=np.ones(2, np.float32), c=np.array(c))[0]) for c in (True, False)] == [2, 1]


def test_captured_sequences_are_followed_inside() -> None:
    inner = body(
        [number("one", 1), node("SequenceAt", "s one", "t"), node("Add", "a t", "a1"), node("Identity", "c", "c1")],
        "i c a",
        "c1 a1",
    )
    nodes = [node("SplitToSequence", "x", "s", axis=0, keepdims=0), node("Loop", "n - z", "y", body=inner)]
    graph = open_model(model(nodes, [x(4, 3), x(3, name="z"), x(name="n", kind=INT)]))
    assert not operations(graph) & FOLLOWED
    assert run(graph, x=A, z=np.zeros(3, np.float32), n=np.array(2))[0].tolist() == (A[1] * 2).tolist()


def test_a_map_over_a_sequence() -> None:
    twice = body([node("Mul", "one z", "t"), node("Shape", "one", "h")], "one", "t h")
    nodes = [node("SequenceMap", "s", "y shapes", body=twice)]
    graph = open_model(model(nodes, [sequence("s", "N"), x(1, name="z")], "y shapes"))
    y, shapes = run(graph, s=[A[0], A[0, :2]], z=np.full(1, 2, np.float32))
    assert [one.tolist() for one in y] == [[0, 2, 4], [0, 2]] and [one.tolist() for one in shapes] == [[3], [2]]
    known = [node("SplitToSequence", "x", "s", axis=0), *nodes, node("ConcatFromSequence", "y", "all", axis=0)]
    graph = open_model(model(known, [x(4, 3), x(1, name="z")], "all"))
    assert not operations(graph) & FOLLOWED
    assert run(graph, x=A, z=np.full(1, 2, np.float32))[0].tolist() == (A * 2).tolist()


def optional_of(info: ValueInfoProto) -> ValueInfoProto:
    return helper.make_value_info(info.name, helper.make_optional_type_proto(info.type))


def test_optional_values() -> None:
    nodes = [node("OptionalHasElement", "o", "there"), node("OptionalGetElement", "o", "y")]
    graph = open_model(model(nodes, [optional_of(x(3, name="o"))], "there y"))
    there, y = run(graph, o=A[0])
    assert there and y.tolist() == A[0].tolist()
    graph = open_model(model(nodes[:1], [optional_of(x(3, name="o"))], "there"))
    assert not run(graph, o=None)[0]
    nodes = [node("Optional", "x", "o"), *nodes]
    graph = open_model(model(nodes, [x(3)], "there y"))
    assert not operations(graph) & FOLLOWED and run(graph, x=A[0])[1].tolist() == A[0].tolist()


def test_optional_values_of_branches() -> None:
    stated: TypeProto = x(3).type
    yes, no = body([node("Optional", "x", "o1")], "", "o1"), body([node("Optional", "", "o2", type=stated)], "", "o2")
    nodes = [node("If", "c", "y", then_branch=yes, else_branch=no), node("OptionalHasElement", "y", "there")]
    graph = open_model(model(nodes, [x(3), x(name="c", kind=BOOL)], "y there"))
    y, there = run(graph, x=A[0], c=np.array(True))
    assert there and y.tolist() == A[0].tolist()
    assert run(graph, x=A[0], c=np.array(False)) == [None, np.array(False)]


DAMAGED = {
    "no place 4": [number("four", 4), node("SplitToSequence", "x", "s"), node("SequenceAt", "s four", "y")],
    "no place 5": [number("five", 5), node("SplitToSequence", "x", "s"), node("SequenceInsert", "s x five", "y")],
    "no elements": [node("SequenceEmpty", "", "s"), node("ConcatFromSequence", "s", "y", axis=0)],
    "takes a sequence": [node("SequenceLength", "x", "y")],
    "is missing": [node("Optional", "", "o", type=x(3).type), node("OptionalGetElement", "o", "y")],
    "pieces of 0": [number("zero", 0), node("SplitToSequence", "x zero", "y")],
    "whose size is 4": [number("much", 4, 4), node("SplitToSequence", "x much", "y")],
    "different kinds": [number("zero", 0), node("SequenceConstruct", "x zero", "y")],
}


@pytest.mark.parametrize("reason", DAMAGED)
def test_damaged(reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        open_model(model(DAMAGED[reason], [x(4, 3)]))
