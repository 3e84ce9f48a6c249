"""The graph: four edits, an order that always holds, copies that stand alone."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.text import show
from tenfold.ir.type import Type
from tenfold.ops import Add, If, Mul, Neg, Relu, Split


def chain() -> tuple[Graph, Value, Value]:
    """y = relu(-x)"""
    graph = Graph(name="chain")
    x = graph.input("x", Type(dt.f32, (4,)))
    middle = Neg()(x)
    graph.set_outputs([Relu()(middle)], ["y"])
    return graph, x, middle


def names(graph: Graph) -> list[str]:
    """The operations in order."""
    return [node.op.name for node in graph.nodes]


def test_insert_places_all_that_floats() -> None:
    graph, _, _ = chain()
    assert names(graph) == ["Neg", "Relu"]
    graph.verify()


def test_replace_uses_keeps_what_the_new_value_needs() -> None:
    graph, _, middle = chain()
    graph.replace_uses(middle, Add()(middle, middle))
    graph.verify()
    assert names(graph) == ["Neg", "Add", "Relu"]


def test_replace_uses_of_chosen_users_leaves_outputs() -> None:
    graph, x, middle = chain()
    product = graph.insert(Mul()(middle, x))
    graph.set_outputs([*graph.outputs, product], ["y", "z"])
    relu = graph.outputs[0].producer
    assert relu is not None
    graph.replace_uses(middle, x, users=[relu])
    graph.verify()
    assert relu.inputs == (x,)
    assert product.inputs == (middle, x)


def test_remove_refuses_what_is_used() -> None:
    graph, _, middle = chain()
    assert middle.producer is not None
    with pytest.raises(ValueError, match="still used"):
        graph.remove(middle.producer)


def test_order_holds_when_a_late_node_feeds_an_early_one() -> None:
    graph, x, middle = chain()
    late = graph.insert(Mul()(x, x))
    assert middle.producer is not None
    graph.replace_uses(x, late, users=[middle.producer])
    assert names(graph) == ["Mul", "Neg", "Relu"]
    graph.verify()


def test_a_graph_that_needs_itself_is_named() -> None:
    graph, _, middle = chain()
    relu = graph.outputs[0]
    assert middle.producer is not None
    graph.replace_uses(middle.producer.inputs[0], relu, users=[middle.producer])
    with pytest.raises(AssertionError, match="needs itself"):
        names(graph)


def test_verify_names_a_use_that_nobody_knows() -> None:
    graph, _, middle = chain()
    middle.uses.clear()
    with pytest.raises(AssertionError, match="does not know its use"):
        graph.verify()


def test_several_results() -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (4,)))
    low, high = Split(0, (1, 3))(x)
    graph.set_outputs([high, low], ["high", "low"])
    found = Interpreter().run(graph, {"x": np.arange(4, dtype=np.float32)})
    assert [array.tolist() for array in found.values()] == [[1, 2, 3], [0]]


def test_a_copy_stands_alone_subgraphs_too() -> None:
    branches = []
    for op in (Neg(), Relu()):
        branch = Graph()
        value = branch.input("v", Type(dt.f32, (4,)))
        branch.set_outputs([op(value)], ["r"])
        branches.append(branch)
    graph = Graph()
    x, flag = graph.input("x", Type(dt.f32, (4,))), graph.input("flag", Type(dt.boolean, ()))
    graph.set_outputs([If(*branches)(flag, x)], ["y"])
    twin = copy(graph)
    assert show(twin) == show(graph)
    branches[0].set_outputs([branches[0].inputs[0]], ["r"])
    assert show(twin) != show(graph)
    twin.verify()
