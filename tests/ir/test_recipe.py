"""Recipes: a folded constant made again of other weights, directly and from its textual form."""

from __future__ import annotations

import numpy as np

from tenfold import ops
from tenfold.ir import text
from tenfold.ir.graph import Graph
from tenfold.ir.interpret import Interpreter
from tenfold.ir.recipe import recipe_graph, replay, sources
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.passes.fold import FOLDING
from tenfold.rewrite.rule import rewrite

W, S = (np.array(values, np.float32) for values in ([[1, 2], [3, 4]], [10, 100]))


def folded() -> Tensor:
    """transpose(w) * s - 1, folded."""
    graph = Graph()
    w, s = (ops.Constant(Tensor(array, source=name))() for array, name in ((W, "w"), (S, "s")))
    turned = ops.Transpose((1, 0))(w)
    graph.set_outputs([ops.Sub()(ops.Mul()(turned, s), ops.scalar(1.0, Type(turned.type.dtype, ()).dtype)())], ["y"])
    rewrite(graph, FOLDING)
    (node,) = graph.nodes
    assert isinstance(node.op, ops.Constant)
    return node.op.tensor


def test_a_folded_constant_knows_its_sources() -> None:
    assert sources(folded()) == ("w", "s")
    np.testing.assert_array_equal(folded().array, W.T * S - 1)


def test_it_is_made_again_of_new_weights() -> None:
    again = replay(folded(), {"s": S * 2})
    np.testing.assert_array_equal(again.array, W.T * S * 2 - 1)
    assert sources(again) == ("w", "s")
    assert replay(again, {"other": S}) is again


def test_its_recipe_is_a_graph_with_a_textual_form() -> None:
    written = text.show(recipe_graph(folded(), ops.Constant))
    graph = text.parse(written, ops.ALL)
    assert {value.name for value in graph.inputs} == {"w", "s"}
    found = Interpreter().run(graph, {"w": W + 1, "s": S})["result"]
    np.testing.assert_array_equal(found, (W + 1).T * S - 1)
