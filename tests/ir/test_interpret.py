"""The interpreter: sizes bound from inputs and results, failures that name their place, subgraphs, subclasses."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold import ops
from tenfold.errors import ExecutionError, InputError
from tenfold.ir import dtype as dt
from tenfold.ir import text
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph, Node
from tenfold.ir.interpret import Interpreter, bind
from tenfold.ir.op import Array
from tenfold.ir.type import Type


def graph(source: str) -> Graph:
    return text.parse(source, ops.ALL)


def floats(*shape: int) -> Array:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_sizes_come_from_the_inputs() -> None:
    double = graph('graph (%x: f32[N, 3]) { return Reshape<shape=(3*N,)>(Add(%x, %x)) as "y" }')
    assert list(Interpreter().run(double, {"x": floats(2, 3)})["y"]) == [0, 2, 4, 6, 8, 10]
    assert Interpreter().run(double, {"x": floats(5, 3)})["y"].shape == (15,)


def test_sizes_come_from_elements_of_inputs() -> None:
    grown = graph("""graph (%x: f32[1], %n: i64[2] = ("n[0]", "n[1]")) {
      return Expand<shape=("n[0]", "n[1]" + 1)>(%x)
    }""")
    (found,) = Interpreter().run(grown, {"x": floats(1), "n": np.array([2, 3])}).values()
    assert found.shape == (2, 4)


def test_sizes_come_from_results() -> None:
    source = """graph (%x: f32[N]) where N in 1.., u0 in data {
      %at = NonZero(%x) : i64[1, u0]
      %flat = Reshape<shape=(u0,)>(%at) : i64[u0]
      return Gather<axis=0>(%x, %flat) as "chosen", Sizes<elements=(u0,), shape=(1,)>() as "count"
    }"""
    chosen, count = Interpreter().run(graph(source), {"x": np.array([0, 2, 0, 3], np.float32)}).values()
    assert list(chosen) == [2, 3] and list(count) == [2]


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({}, "input 'x' is missing"),
        ({"x": floats(2, 3), "z": floats(2)}, "no input 'z'"),
        ({"x": floats(2, 4), "y": floats(2)}, "axis 1 of size 4"),
        ({"x": floats(2, 3), "y": floats(3)}, "input 'y' has axis 0 of size 3, and takes N = 2"),
        ({"x": floats(2, 3), "y": floats(2, 2)}, "not an array of shape"),
        ({"x": floats(2, 3).astype(np.float64), "y": floats(2)}, "takes f32, not float64"),
    ],
)
def test_inputs_that_do_not_fit_are_named(inputs: dict[str, Array], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Interpreter().run(graph("graph (%x: f32[N, 3], %y: f32[N]) { return Neg(%x) }"), inputs)


def test_a_failure_says_where_it_came_from() -> None:
    source = 'graph (%x: f32[N], %i: i64[2]) { %y = Gather<axis=0>(%x, %i) "lookup" from "net/embedding" return %y }'
    with pytest.raises(ExecutionError, match="Gather failed") as caught:
        Interpreter().run(graph(source), {"x": floats(2), "i": np.array([0, 7])})
    assert caught.value.__notes__ == ["while running lookup, which came from net/embedding"]
    assert caught.value.operator == "net/embedding"


class Wrong(ops.Neg):
    """Says one shape and gives another."""

    def evaluate(self, x: Array) -> Array:
        return x[:1]


def test_a_result_that_is_not_what_was_inferred_is_a_failure() -> None:
    wrong = Graph()
    wrong.set_outputs([Wrong()(wrong.input("x", Type(dt.f32, (symbol("N"),))))], ["y"])
    with pytest.raises(ExecutionError, match=r"gave the shape \[1\]"):
        Interpreter().run(wrong, {"x": floats(3)})


BRANCHES = """graph (%c: bool[], %x: f32[N]) {
  %y = If<
    then_branch=graph (%x: f32[N]) { return Slice<starts=(1,), sizes=(N - 1,), steps=(1,)>(%x) },
    else_branch=graph (%x: f32[N]) { return Neg(%x) }>(%c, %x)
  return %y
}"""


@pytest.mark.parametrize(("condition", "expected"), [(True, [1, 2]), (False, [0, -1, -2])])
def test_a_branch_runs_with_the_sizes_outside(condition: bool, expected: list[float]) -> None:
    (found,) = Interpreter().run(graph(BRANCHES), {"c": np.array(condition), "x": floats(3)}).values()
    assert list(found) == expected


def test_a_subclass_sees_every_node_inside_too() -> None:
    class Seen(Interpreter):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def node(self, node: Node, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
            self.names.append(node.op.name)
            return super().node(node, inputs)

    seen = Seen()
    seen.run(graph(BRANCHES), {"c": np.array(False), "x": floats(3)})
    assert seen.names == ["If", "Neg"]


def test_bind_replaces_sizes_in_nested_attributes() -> None:
    n = symbol("N")
    bound = bind(ops.Sizes((n, n * 2, 3), (3,)), {"N": 4})
    assert bound == ops.Sizes((4, 8, 3), (3,))
    assert bind(ops.Neg(), {"N": 4}) == ops.Neg()
