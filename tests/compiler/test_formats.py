"""Formats: arrays of the caller's element types and order of axes."""

from __future__ import annotations

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.errors import OptionError
from tenfold.ir import dtype as dt
from tenfold.ir.dim import symbol
from tenfold.ir.graph import Graph
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant


def network() -> Graph:
    graph = Graph(name="halves")
    image = graph.input("image", Type(dt.f32, (symbol("batch", 1), 3, 8, 6)))
    weights = np.random.default_rng(1).standard_normal((4, 3, 3, 3)).astype("f4")
    found = ops.Conv((1, 1), (1, 1), (1, 1), (1, 1))(image, Constant(Tensor(weights))())
    graph.set_outputs([found], ["map"])
    return graph


def test_types_and_channels_last() -> None:
    image = np.random.default_rng(2).standard_normal((2, 3, 8, 6)).astype("f2")
    plain = tenfold.build(network(), effort=0)(image.astype("f4"))
    engine = tenfold.build(network(), effort=0, formats={"image": "f16 channels_last", "map": "channels_last f16"})
    assert [str(one) for one in engine.inputs] == ["image: f16[batch, 8, 6, 3]"]
    found = engine(np.ascontiguousarray(image.transpose(0, 2, 3, 1)))
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, plain.transpose(0, 2, 3, 1).astype("f2"))


def test_whole_numbers_from_images() -> None:
    image = np.random.default_rng(3).integers(0, 256, (1, 8, 6, 3), dtype="u1")
    engine = tenfold.build(network(), effort=0, formats={"image": "u8 channels_last"})
    plain = tenfold.build(network(), effort=0)(image.transpose(0, 3, 1, 2).astype("f4"))
    np.testing.assert_allclose(engine(image), plain, rtol=1e-5, atol=1e-3)


def test_an_output_that_is_an_input() -> None:
    graph = Graph()
    value = graph.input("x", Type(dt.f32, (2, 3)))
    graph.set_outputs([value], ["y"])
    engine = tenfold.build(graph, effort=0, formats={"x": "f16", "y": "f64"})
    np.testing.assert_array_equal(engine(np.ones((2, 3), "f2")), np.ones((2, 3), "f8"))


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        ({"picture": "f16"}, "no input or output 'picture'.*it has image, map"),
        ({"image": "half"}, "'half' of 'image' is no format"),
        ({"image": ""}, "is no format"),
        ({"image": "f16 f32"}, "is no format"),
        ({"image": "string"}, "cannot stand for f32"),
        ({"map": "c64"}, "cannot stand for f32"),
    ],
)
def test_refusals(formats: dict[str, str], message: str) -> None:
    with pytest.raises(OptionError, match=f"(?s){message}"):
        tenfold.build(network(), effort=0, formats=formats)


def test_too_few_axes() -> None:
    graph = Graph()
    value = graph.input("x", Type(dt.f32, (2, 3)))
    graph.set_outputs([value], ["y"])
    with pytest.raises(OptionError, match="needs an axis of channels"):
        tenfold.build(graph, effort=0, formats={"x": "channels_last"})
