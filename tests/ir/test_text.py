"""The textual form: golden texts, everything that it can say read back, mistakes named by line."""

from __future__ import annotations

import pickle

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir import text
from tenfold.ir.graph import Graph
from tenfold.ir.tensor import Tensor

GOLDEN = """\
graph "net" (%x: f32[N, 3, H], %sr: i64[] = ("sr[0]")) where H in 32..640 by 32, N in 1.., "sr[0]" in .., u0 in data assuming equal(N, 2) for "net/squeeze", N for "x" {
  %w = Constant<tensor=f32[3, 2]{1.0, 2.5, -0.0, inf, nan, 1e-05}@"head.weight">() : f32[3, 2]
  %0 = Transpose<permutation=(0, 2, 1)>(%x) : f32[N, H, 3]
  %"a b" = MatMul(%0, %w) : f32[N, H, 2] "head" from "net/head", "net/x"
  %low, %high = Split<axis=1, sizes=(16*(H//32), 16*(H//32))>(%"a b") : f32[N, 16*(H//32), 2], f32[N, 16*(H//32), 2]
  %1 = Constant<tensor=i64[]{16000}>() : i64[]
  %2 = Equal(%sr, %1) : bool[]
  %3 = If<then_branch=graph (%0: f32[N, 16*(H//32), 2]) {
    %1 = Neg(%0) : f32[N, 16*(H//32), 2]
    return %1
  }, else_branch=graph (%0: f32[N, 16*(H//32), 2]) {
    return %0
  }>(%2, %low) : f32[N, 16*(H//32), 2]
  %4 = Pad<before=(0, 1), after=(0, 0), mode='reflect', value=0>(%w) : f32[3, 3]
  %5 = NonZero(%4) : i64[2, u0]
  return %3 as "y", %high as "z", %5
}
"""  # noqa: E501


def parse(source: str) -> Graph:
    return text.parse(source, ops.ALL)


def test_the_golden_text_reads_and_prints_as_itself() -> None:
    graph = parse(GOLDEN)
    graph.verify()
    assert text.show(graph) == GOLDEN


def test_what_is_read() -> None:
    graph = parse(GOLDEN)
    assert [value.name for value in graph.inputs] == ["x", "sr"]
    assert graph.name == "net" and graph.output_names == ("y", "z", "")
    product = next(node for node in graph.nodes if node.op == ops.MatMul())
    assert product.name == "head" and product.source == ("net/head", "net/x")
    assert product.output.name == "a b"


def test_short_forms() -> None:
    graph = parse("graph (%x: f32[2]) { return Neg(Mul(%x, f32{2})) }  # a comment")
    assert [node.op.name for node in graph.nodes] == ["Constant", "Mul", "Neg"]


def test_large_tensors_stand_beside_the_text() -> None:
    graph = Graph()
    x = graph.input("x", ops.Fill((100,), Tensor(np.float32(0))).infer())
    big, same, other = (np.arange(100, dtype=np.float32) + offset for offset in (0, 0, 1))
    values = [ops.Constant(Tensor(array, source="w"))() for array in (big, same, other)]
    nameless = ops.Constant(Tensor(big + 2))()
    graph.set_outputs([ops.Add()(x, value) for value in (*values, nameless)])
    weights: text.Weights = {}
    written = text.show(graph, weights)
    assert len(weights) == 3 and '@"w"' in written and '@"w#' in written
    again = text.parse(written, ops.ALL, weights)
    assert text.show(again) == written
    with pytest.raises(ValueError, match="a tensor called 'w' beside the text"):
        parse(written)


@given(st.data())
@np.errstate(invalid="ignore")
def test_every_element_type_reads_back(data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from([one for one in dt.ALL if one is not dt.string]))
    raw = data.draw(st.binary(min_size=4 * dtype.itemsize, max_size=4 * dtype.itemsize))
    if dtype.bits < 8:
        array = np.frombuffer(raw, np.int8).astype(dtype.numpy)
    elif dtype is dt.boolean:
        array = np.frombuffer(raw, np.uint8) % 2 == 1
    else:
        array = np.frombuffer(raw, dtype.numpy)
    found = _read_back(Tensor(array)).array
    assert found.dtype == array.dtype
    if dtype.is_float or dtype.kind is dt.Kind.COMPLEX:
        wide = np.complex128 if dtype.kind is dt.Kind.COMPLEX else np.float64
        np.testing.assert_array_equal(found.astype(wide), array.astype(wide))
        number = ~np.isnan(array.astype(wide))
        np.testing.assert_array_equal(found[number].tobytes(), array[number].tobytes())
    else:
        np.testing.assert_array_equal(found, array)


@given(st.lists(st.text(), max_size=3))
def test_strings_read_back(items: list[str]) -> None:
    tensor = Tensor(np.array(items, dtype=object))
    assert list(_read_back(tensor).array) == items


@given(st.text(min_size=1), st.text(min_size=1))
def test_names_read_back(name: str, source: str) -> None:
    graph = Graph(name=name)
    x = graph.input("x", ops.Constant(Tensor(np.float32(1))).infer())
    y = ops.Neg()(x)
    y.name = name
    y.producer.name, y.producer.source = source, (source, name)
    graph.set_outputs([y], [name])
    again = parse(text.show(graph))
    node = again.nodes[0]
    assert (node.name, node.source, again.name, again.output_names) == (source, (source, name), name, (name,))
    assert text.show(again) == text.show(graph)


def _read_back(tensor: Tensor) -> Tensor:
    graph = Graph()
    graph.set_outputs([ops.Constant(tensor)()], ["y"])
    op = parse(text.show(graph)).nodes[0].op
    assert isinstance(op, ops.Constant)
    return op.tensor


def test_equal_names_are_told_apart() -> None:
    graph = Graph()
    x = graph.input("x", ops.Constant(Tensor(np.float32(1))).infer())
    y = ops.Neg()(x)
    y.name = "x"
    graph.set_outputs([y], ["x"])
    assert "%x~2 = Neg(%x)" in text.show(graph)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("graph (%x: f32[2]) {\n  return Nag(%x)\n}", "line 2: expected an operation of the catalogue instead of Nag"),
        ("graph (%x: f32[2]) {\n  return %y\n}", "line 2: expected a value defined before %y"),
        ("graph (%x: f33[2]) { return %x }", "line 1: expected an element type, found f33"),
        ("graph (%x: f32[2]) { return Softmax<axes=0>(%x) }", "attributes that Softmax has, not axes"),
        ("graph (%x: f32[2]) { %a, %b = Neg(%x) return %a }", "1 results of Neg, not 2"),
        ("graph (%x: f32[2]) { %a = Neg(%x) : f16[2] return %a }", "which Neg gives"),
        ("graph (%x: f32[2]) { return %x", "found the end of the text"),
        ("graph (%x: f32[2]) { return %x } ?", "begins nothing"),
    ],
)
def test_mistakes_are_named(source: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(source)
    assert said in str(caught.value)


def test_narrow_floats_are_written_exactly() -> None:
    array = np.array([0.1, 3.5, 448], ml_dtypes.float8_e4m3fn)
    assert _read_back(Tensor(array)) == Tensor(array)


def test_object_types_read_back() -> None:
    source = """graph "objects" (%s: seq<f32["?", N]>[], %o: opt<seq<string[2]>[]>[]) where "?" in data, N in 1..8 {
  return %s as "a", %o as "b"
}
"""
    graph = parse(source)
    assert text.show(graph) == source
    sequence = graph.inputs[0].type.dtype
    assert sequence.is_object and sequence.element is not None and sequence.element.shape[0] is dt.ANY
    assert text.element_type(str(sequence)).element.shape[0] is dt.ANY
    assert pickle.loads(pickle.dumps(sequence)) is sequence


def test_a_type_as_an_attribute_reads_back() -> None:
    parser = text.parse("graph (%x: f32[seq]) { return Reshape<shape=(seq, 1)>(%x) }", ops.ALL)
    assert str(parser.outputs[0].type) == "f32[seq, 1]"
