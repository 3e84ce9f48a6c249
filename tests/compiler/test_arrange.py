"""Where values lie: parts inside wholes, orders in memory, copies only where no strides say it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tenfold import ops
from tenfold.compiler import views
from tenfold.compiler.arrange import arrange
from tenfold.compiler.fuse.decompose import decompose
from tenfold.compiler.layout import Layout
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph, Value, copy
from tenfold.ir.interpret import Interpreter
from tenfold.ir.tensor import Tensor
from tenfold.ir.text import parse
from tenfold.ir.type import Type
from tests.compiler.building import workbench

N = symbol("N", 1)


def arranged(text: str) -> tuple[Graph, Layout]:
    """A graph of which composites are taken apart, with its layout."""
    graph = parse(text, ops.ALL)
    decompose(graph)
    return graph, arrange(graph)


def kinds(graph: Graph) -> Counter[str]:
    return Counter(node.op.name for node in graph.nodes)


def named(graph: Graph, kind: str) -> list[Value]:
    return [node.outputs[0] for node in graph.nodes if node.op.name == kind]


def test_parts_of_a_concatenation_are_written_in_place() -> None:
    graph, layout = arranged("""graph (%x: f32[N, 3], %y: f32[N, 4]) {
      return Concat<axis=1>(Exp(%x), Neg(%y))
    }""")
    (whole,), (first,), (second,) = (named(graph, kind) for kind in ("Concat", "Exp", "Neg"))
    assert "Copy" not in kinds(graph)
    for part, start in ((first, 0), (second, 3)):
        view = layout.view(part)
        assert (view.root, view.strides, view.offset) == (whole, (7, 1), start)
    assert layout.outputs == {whole: 0}


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_stacked_values_are_written_in_place(axis: int) -> None:
    shape = ["N", "3"]
    shape.insert(axis, "1")
    seen = f"Reshape<shape=({', '.join(shape)})>"
    graph, layout = arranged(f"""graph (%x: f32[N, 3]) {{
      return Concat<axis={axis}>({seen}(Exp(%x)), {seen}(Neg(%x)))
    }}""")
    assert "Copy" not in kinds(graph)
    whole = graph.outputs[0]
    inside = layout.view(whole).strides
    view = layout.view(named(graph, "Neg")[0])
    assert (view.root, view.strides, view.offset) == (whole, (*inside[:axis], *inside[axis + 1 :]), inside[axis])


@pytest.mark.parametrize(
    ("text", "copies"),
    [
        ("return Concat<axis=0>(%x, Exp(%x))", 1),
        ("%e = Reshape<shape=(1, N, 4)>(Exp(%x)) return Concat<axis=0>(%e, %e)", 1),
        ("%e = Exp(%x) return Concat<axis=0>(Reshape<shape=(1, N, 4)>(%e), Reshape<shape=(1, N, 4)>(Neg(%x))), %e", 1),
        ("%e = Exp(%x) return Concat<axis=0>(Reshape<shape=(N, 1, 4)>(%e), Reshape<shape=(N, 1, 4)>(Neg(%x)))", 2),
        ("%e = Exp(%x) return Concat<axis=0>(%e, %e)", 1),
        ("%e = Exp(%x) %c = Concat<axis=0>(%e, Neg(%x)) return %e, %c", 1),
        ("%e = Exp(%x) return Concat<axis=0>(%e, Reshape<shape=(N, 4)>(%e))", 2),
        ("%e = Exp(%x) return Reshape<shape=(4*N,)>(%e), Concat<axis=1>(%e, %x)", 2),
        ("return Concat<axis=0>(f32[1, 4]{1, 2, 3, 4}, Neg(%x))", 1),
        ("return Concat<axis=0>(Concat<axis=0>(Exp(%x), Neg(%x)), Abs(%x))", 0),
    ],
)
def test_what_cannot_be_written_in_place_is_copied(text: str, copies: int) -> None:
    text = text.replace(") return", ")\nreturn").replace(") %", ")\n%")
    graph, _ = arranged(f"graph (%x: f32[N, 4]) {{\n{text}\n}}")
    assert kinds(graph)["Copy"] == copies


def test_a_concatenation_inside_another_lies_in_the_outer_one() -> None:
    graph, layout = arranged("""graph (%x: f32[N, 2]) {
      return Concat<axis=1>(Exp(%x), Concat<axis=1>(Neg(%x), Abs(%x)))
    }""")
    outer = graph.outputs[0]
    offsets = [layout.view(named(graph, kind)[0]).offset for kind in ("Exp", "Neg", "Abs")]
    assert offsets == [0, 2, 4]
    assert {layout.view(named(graph, kind)[0]).root for kind in ("Exp", "Neg", "Abs")} == {outer}


def test_a_border_is_written_round_data_in_place() -> None:
    graph, layout = arranged("""graph (%x: f32[N, 2, 5]) {
      return Pad<before=(0, 0, 1), after=(0, 0, 2)>(Exp(%x))
    }""")
    assert kinds(graph) == {"Exp": 1, "Fill": 2, "Concat": 1}
    view = layout.view(named(graph, "Exp")[0])
    assert view.root is graph.outputs[0]
    assert view.strides == (16, 8, 1)
    assert view.offset == 1


def test_pooling_reads_windows_of_what_its_producer_wrote() -> None:
    graph, layout = arranged("""graph (%x: f32[N, 8, 10]) {
      return Pool<kind='max', kernel=(3,), strides=(2,), dilations=(1,), pads_before=(1,), pads_after=(1,)>(Exp(%x))
    }""")
    (seen,) = named(graph, "Windows")
    view = layout.view(seen)
    assert isinstance(view.root.op, ops.Concat)
    row = view.strides[1]
    assert view.strides == (view.strides[0], row, 2, 1)
    assert layout.view(named(graph, "Exp")[0]).root is view.root


def test_transposed_data_that_are_reshaped_are_stored_in_that_order() -> None:
    graph, layout = arranged("""graph (%x: f32[N, 4, 6]) {
      return Neg(Reshape<shape=(N, 24)>(Transpose<permutation=(0, 2, 1)>(Exp(%x))))
    }""")
    assert "Copy" not in kinds(graph)
    assert layout.orders[named(graph, "Exp")[0]] == (0, 2, 1)


def test_transposed_inputs_that_are_reshaped_are_copied() -> None:
    graph, _ = arranged("""graph (%x: f32[N, 4, 6]) {
      return Neg(Reshape<shape=(N, 24)>(Transpose<permutation=(0, 2, 1)>(%x)))
    }""")
    assert kinds(graph)["Copy"] == 1


CONV = "Conv<strides=(1, 1), dilations=(1, 1), pads_before=(0, 0), pads_after=(0, 0), groups=1>"


def convolutions(channels: int) -> tuple[Graph, Layout]:
    graph = Graph(name="net")
    value = graph.input("x", Type(dt.f32, (N, channels, 9, 9)))
    for depth in (channels, 8):
        weight = ops.Constant(Tensor(np.ones((8, depth, 3, 3), np.float32)))()
        value = ops.Relu()(ops.Conv((1, 1), (1, 1), (0, 0), (0, 0))(value, weight))
    graph.set_outputs([value], ["y"])
    return graph, arrange(graph)


def test_images_lie_channels_last_from_the_first_convolution_on() -> None:
    graph, layout = convolutions(3)
    assert kinds(graph)["Copy"] == 1
    for value in named(graph, "Conv"):
        assert layout.view(value).strides[1] == 1
    last = graph.outputs[0]
    assert layout.view(last).strides == views.row_major(last.type.shape)


def test_images_of_many_channels_are_turned_first() -> None:
    graph, layout = convolutions(16)
    turned = [value for value in named(graph, "Copy") if value.inputs[0] is graph.inputs[0]]
    assert [layout.view(value).strides[1] for value in turned] == [1]


def test_shuffled_channels_stay_innermost() -> None:
    graph = Graph()
    x = graph.input("x", Type(dt.f32, (2, 12, 5, 7)))
    w = Tensor(np.ones((12, 12, 1, 1), np.float32))
    parts = ops.Reshape((2, 4, 3, 5, 7))(ops.Conv((1, 1), (1, 1), (0, 0), (0, 0))(x, ops.Constant(w)()))
    mixed = ops.Reshape((2, 12, 5, 7))(ops.Transpose((0, 2, 1, 3, 4))(parts))
    graph.set_outputs([ops.Relu()(mixed)], ["y"])
    layout = arrange(graph)
    first, shuffle = named(graph, "Copy")[:2]
    assert layout.orders[shuffle] == (0, 3, 4, 1, 2)
    assert layout.view(named(graph, "Relu")[0]).strides[1] == 1
    assert len(named(graph, "Copy")) == 3 and first is not shuffle


def test_elementwise_work_follows_its_operands_order() -> None:
    graph, layout = arranged("""graph (%x: f32[N, 3, 4], %s: f32[4, 1]) {
      return Neg(Transpose<permutation=(2, 0, 1)>(Mul(Exp(Transpose<permutation=(1, 2, 0)>(%x)), %s)))
    }""")
    (value,) = named(graph, "Exp")
    assert layout.orders[value] == (2, 0, 1)


def test_every_output_is_a_row_major_buffer_of_its_own() -> None:
    graph, layout = arranged("""graph (%x: f32[N, 4]) {
      %e = Exp(%x)
      %t = Transpose<permutation=(1, 0)>(%e)
      return %e, %e, %x, %t, Slice<starts=(0, 1), sizes=(N, 2), steps=(1, 1)>(%e), f32[2]{1, 2}
    }""")
    assert len(graph.outputs) == 6
    assert sorted(layout.outputs.values()) == list(range(6))
    for value in graph.outputs:
        view = layout.view(value)
        assert view.root in layout.outputs and view.offset == 0
        assert view.strides == views.row_major(value.type.shape)
    assert kinds(graph)["Copy"] == 5


def test_branches_write_where_their_results_are_read() -> None:
    text = """graph (%x: f32[N], %c: bool[]) {
      return Neg(If<then_branch=graph (%a: f32[N]) {
        return Exp(%a)
      }, else_branch=graph (%a: f32[N]) {
        return %a
      }>(%c, %x))
    }"""
    graph, layout = arranged(text)
    (joined,) = named(graph, "If")
    op = joined.op
    assert isinstance(op, ops.If)
    for branch, kind in ((op.then_branch, "Exp"), (op.else_branch, "Copy")):
        (result,) = branch.outputs
        assert result.op is not None and result.op.name == kind
        assert layout.view(result).root is joined
        assert layout.view(branch.inputs[0]).root is graph.inputs[0]


def test_sizes_that_may_not_fit_are_checked_at_the_call() -> None:
    graph = Graph(name="fits")
    x, y = graph.input("x", Type(dt.f32, (N, 6))), graph.input("y", Type(dt.f32, (symbol("M", 1), 4)))
    made = ops.Reshape((symbol("M", 1), 4))(x)
    graph.set_outputs([ops.Add()(made, y)], ["z"])
    graph.outputs[0].producer.inputs[0].producer.source = ("fold",)  # type: ignore[union-attr]
    (check,) = arrange(graph).checks
    assert check.source == ("fold",)
    assert "[N, 6] to [M, 4]" in check.message


@pytest.mark.parametrize("seed", range(3))
def test_an_arranged_graph_means_the_same(seed: int) -> None:
    text = """graph (%x: f32[N, 4, 6]) {
      %t = Transpose<permutation=(0, 2, 1)>(Exp(%x))
      %r = Reshape<shape=(N, 24)>(%t)
      %a, %b = Split<axis=1, sizes=(10, 14)>(%r)
      %c = Concat<axis=1>(%b, %a, %r)
      return Reshape<shape=(2, 24*N)>(%c), %b, %b
    }"""
    before = parse(text, ops.ALL)
    after = copy(before)
    arrange(after)
    after.verify()
    x = np.random.default_rng(seed).standard_normal((seed + 1, 4, 6)).astype(np.float32)
    one, other = (Interpreter().call(graph, [x]) for graph in (before, after))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_value_twice_in_a_concatenation() -> None:
    n = symbol("n")
    graph = Graph(name="twice")
    x = graph.input("x", Type(dt.i64, (n,)))
    once = ops.Reshape((n, 1))(ops.Neg()(x))
    graph.set_outputs([ops.Concat(1)(ops.Reshape((n, 1))(x), once, once)], ["y"])
    given = np.arange(5)
    with workbench() as bench:
        np.testing.assert_array_equal(bench.engine(graph).run([given])["y"], np.stack([given, -given, -given], 1))
