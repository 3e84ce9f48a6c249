"""Products of whole numbers of 8 bits, with zero points and without: in 16 bits, exact."""

from __future__ import annotations

import numpy as np
import pytest

import tenfold
from tenfold import ops
from tenfold.ir import dtype as dt
from tenfold.ir.graph import Graph, Value
from tenfold.ir.tensor import Recipe, Tensor
from tenfold.ir.type import Type
from tenfold.ops.constant import Constant
from tenfold.passes.whole import holds, limits_of, products_of_halves

RNG = np.random.default_rng(2)


def wide(x: Value) -> Value:
    return ops.Cast(dt.i32)(x)


@pytest.mark.parametrize("rows", [1, 5, 70])
@pytest.mark.parametrize("zero", [0, 3, 255])
@pytest.mark.parametrize("fixed", [True, False], ids=["constant", "variable"])
@pytest.mark.parametrize("each", [1, 9], ids=["numbers", "bytes"])
def test_exact(rows: int, zero: int, fixed: bool, each: int) -> None:
    a, b = RNG.integers(0, 256, (rows, 77)).astype(np.uint8), RNG.integers(-128, 128, (77, 45)).astype(np.int8)
    b = (b // 9 * each).astype(np.int8)
    graph = Graph(name="whole")
    x, z = graph.input("a", Type(dt.u8, a.shape)), graph.input("z", Type(dt.u8, ()))
    w: Value = Constant(Tensor(b))() if fixed else graph.input("b", Type(dt.i8, b.shape))
    graph.set_outputs([ops.MatMul()(ops.Sub()(wide(x), wide(z)), wide(w))], ["y"])
    engine = tenfold.build(graph, cache=False, effort=0)
    given = [a, np.array(zero, np.uint8), *([] if fixed else [b])]
    np.testing.assert_array_equal(engine.run(given)["y"], (a.astype(np.int32) - zero) @ b.astype(np.int32))


@pytest.mark.parametrize(
    ("constant", "kind"),
    [(np.array([[127], [-128]]), dt.i8), (np.array([[128], [0]]), dt.u8), (np.array([[128], [-1]]), dt.i16),
     (np.array([[-32768], [32767]]), dt.i16),
     (np.array([[32768], [0]]), None)],
    ids=str,
)  # fmt: skip
def test_what_constants_become(constant: np.ndarray, kind: dt.DType | None) -> None:
    x = Value(Type(dt.u8, (3, 2)))
    found = products_of_halves(ops.MatMul()(wide(x), Constant(Tensor(constant.astype(np.int32)))()))
    assert (found.inputs[1].type.dtype if found is not None else None) is kind


def test_differences_of_wider_numbers_stay() -> None:
    x, y = Value(Type(dt.i16, (3, 2))), Value(Type(dt.i8, (2, 4)))
    assert products_of_halves(ops.MatMul()(ops.Sub()(wide(x), wide(x)), wide(y))) is None
    assert products_of_halves(ops.MatMul()(wide(x), wide(y))) is not None


def test_what_a_refit_may_make_of_weights_counts() -> None:
    """Weights that are small now may become greater; those of 8 bits cannot."""
    few = np.zeros((2, 4), np.int32)
    bytes_ = Tensor(few.astype(np.int8), source="w")
    assert limits_of(Tensor(few, source="w")) is None
    assert limits_of(Tensor(few)) == (0, 0)
    made = Tensor(few, recipe=Recipe(ops.Cast(dt.i32), (bytes_,), 0))
    assert limits_of(made) == (-128, 127)
    zero = Tensor(np.int32(5), recipe=Recipe(ops.Cast(dt.i32), (Tensor(np.uint8(5), source="z"),), 0))
    assert limits_of(Tensor(few, recipe=Recipe(ops.Sub(), (made, zero), 0))) == (-383, 127)


def test_weights_that_wrapped_are_as_great_as_they_became() -> None:
    graph = Graph(name="wrapped")
    x, b = graph.input("a", Type(dt.u8, (3, 2))), Constant(Tensor(np.array([[-1, 2], [3, -4]], np.int32)))()
    graph.set_outputs([ops.MatMul()(wide(x), wide(ops.Cast(dt.u16)(b)))], ["y"])
    a = np.arange(6, dtype=np.uint8).reshape(3, 2)
    found = tenfold.build(graph, cache=False, effort=0).run([a])["y"]
    np.testing.assert_array_equal(found, a.astype(np.int32) @ np.array([[65535, 2], [3, 65532]], np.int32))


def test_weights_are_stored_once_and_can_be_given_anew() -> None:
    b = RNG.integers(-128, 128, (300, 400)).astype(np.int8)
    graph = Graph(name="whole")
    x = graph.input("a", Type(dt.u8, (70, 300)))
    graph.set_outputs([ops.MatMul()(wide(x), wide(Constant(Tensor(b, source="w"))()))], ["y"])
    engine = tenfold.build(graph, cache=False, effort=0)
    assert engine.weights.nbytes < 2 * b.nbytes
    a = RNG.integers(0, 256, (70, 300)).astype(np.uint8)
    other = RNG.integers(-128, 128, b.shape).astype(np.int8)
    renewed = engine.refit({"w": other})
    np.testing.assert_array_equal(renewed.run([a])["y"], a.astype(np.int32) @ other.astype(np.int32))
    np.testing.assert_array_equal(engine.run([a])["y"], a.astype(np.int32) @ b.astype(np.int32))


@pytest.mark.parametrize(
    ("dtype", "limits"), [(dt.i4, (-8, 7)), (dt.u4, (0, 15)), (dt.u8, (0, 255)), (dt.i16, (-32768, 32767))], ids=str
)
def test_what_a_type_holds(dtype: dt.DType, limits: tuple[int, int]) -> None:
    least, most = limits
    assert holds(dtype, limits)
    assert not holds(dtype, (least - 1, most)) and not holds(dtype, (least, most + 1))
