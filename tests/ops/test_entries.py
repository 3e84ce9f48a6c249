"""Contents that are followed symbolically, and inputs that do not fit."""

from __future__ import annotations

import numpy as np
import pytest

from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.op import Op
from tenfold.ir.substitute import evaluate
from tenfold.ir.type import Type
from tenfold.ops import (
    And,
    ArgReduce,
    BitAnd,
    Cast,
    Compress,
    Concat,
    Cumulative,
    DepthToSpace,
    Equal,
    Expand,
    Gather,
    GatherND,
    IsNan,
    Less,
    Not,
    NotEqual,
    Or,
    Pad,
    Reduce,
    Reshape,
    ScatterElements,
    Slice,
    SpaceToDepth,
    Split,
    Tile,
    TopK,
    Transpose,
    Where,
    Xor,
)

N, M = dim.symbol("N", low=1), dim.symbol("M", low=1)


def integers(*entries: Size) -> Type:
    return Type(dt.i64, (len(entries),)).with_entries(entries)


def truths(*entries: Size) -> Type:
    return Type(dt.boolean, (len(entries),)).with_entries(entries)


def one_position(at: int) -> Type:
    return Type(dt.i64, ()).with_entries((at,))


FOLLOWED: list[tuple[Op, tuple[Type, ...], tuple[Size, ...]]] = [
    (Reshape((1, 2)), (integers(N, M),), (N, M)),
    (Transpose((1, 0)), (Type(dt.i64, (2, 2)).with_entries((1, N, M, 4)),), (1, M, N, 4)),
    (Expand((2, 2)), (integers(N, M),), (N, M, N, M)),
    (Slice((2,), (2,), (-2,)), (integers(N, M, 3),), (3, N)),
    (Concat(0), (integers(N), integers(M, 3)), (N, M, 3)),
    (Pad((1,), (0,), value=7), (integers(N),), (7, N)),
    (Tile((2,)), (integers(N, 1),), (N, 1, N, 1)),
    (Gather(0), (integers(N, M), one_position(-1)), (M,)),
    (Reduce("prod", (0,)), (integers(N, M, 2),), (2 * N * M,)),
    (Reduce("max", (0,), keepdims=False), (integers(N, 0),), (N,)),
    (Cumulative("sum", 0), (integers(N, M, 1),), (N, N + M, N + M + 1)),
    (Cumulative("sum", 0, exclusive=True, reverse=True), (integers(N, M, 1),), (M + 1, 1, 0)),
    (Equal(), (integers(N, 0), integers(N, M)), (1, 0)),
    (NotEqual(), (integers(N), integers(0)), (1,)),
    (Less(), (integers(0), integers(N)), (1,)),
    (Where(), (truths(1, 0), integers(N, N), integers(M, M)), (N, M)),
    (Cast(dt.i32), (integers(N),), (N,)),
    (Cast(dt.boolean), (integers(0, N),), (0, 1)),
    (And(), (truths(1, 1), truths(0, 1)), (0, 1)),
    (Or(), (truths(0, 1), truths(0, 0)), (0, 1)),
    (Xor(), (truths(1, 1), truths(0, 1)), (1, 0)),
    (Not(), (truths(1, 0),), (0, 1)),
]


@pytest.mark.parametrize(("op", "inputs", "expected"), FOLLOWED, ids=lambda x: str(x) if isinstance(x, Op) else "")
def test_followed(op: Op, inputs: tuple[Type, ...], expected: tuple[Size, ...]) -> None:
    (result,) = op.types(inputs)
    assert result.entries == expected
    sizes = {"N": 5, "M": 3}
    numbers = [evaluate(one, sizes) for one in expected]
    arrays = tuple(
        np.array([evaluate(one, sizes) for one in t.entries or ()]).astype(t.dtype.numpy).reshape(t.shape)
        for t in inputs
    )
    assert [int(one) for one in op.results(arrays)[0].ravel()] == numbers


X = Type(dt.f32, (2, 3))
MISFITS: list[tuple[Op, tuple[Type, ...], str]] = [
    (Reshape((7,)), (X,), "6 elements of shape"),
    (Transpose((0, 0)), (X,), "no permutation"),
    (Expand((2, 4)), (X,), "do not broadcast"),
    (Slice((0, 0), (2, 4), (1, 1)), (X,), "axis 1, whose size is 3"),
    (Slice((0,), (2,), (1,)), (X,), "rank 2"),
    (Concat(0), (X, Type(dt.f32, (2, 4))), "must agree"),
    (Concat(0), (X, Type(dt.i64, (2, 3))), "Concat along axis 0"),
    (Split(1, (1, 1)), (X,), "whose size is 3"),
    (Pad((0, -2), (0, -2)), (X,), "Pad makes the shape"),
    (Tile((2,)), (X,), "rank 2"),
    (SpaceToDepth(2), (Type(dt.f32, (1, 1, 3, 4)),), "blocks of 2"),
    (DepthToSpace(2), (Type(dt.f32, (1, 3, 1, 1)),), "no multiple"),
    (DepthToSpace(2), (X,), "rank 4"),
    (Reduce("sum", (2,)), (X,), "over axes"),
    (Reduce("log_sum", (0,)), (Type(dt.i64, (2,)),), "floating-point"),
    (Reduce("any", (0,)), (X,), "bool"),
    (ArgReduce("max", 0), (Type(dt.f32, (0, 2)),), "size 0"),
    (Gather(2), (X, integers(0)), "Gather over axes"),
    (Gather(0), (X, X), "integer positions"),
    (Gather(0), (integers(N), one_position(3)), "position"),
    (GatherND(), (X, Type(dt.i64, (2, 3))), "GatherND at positions"),
    (ScatterElements(), (X, Type(dt.i64, (2, 3)), Type(dt.i64, (2, 3))), "takes updates"),
    (Compress(0), (X, X), "bool of one axis"),
    (TopK(4, 1), (X,), "4 first of 3"),
    (And(), (X, X), "bool inputs"),
    (BitAnd(), (X, X), "integers"),
    (IsNan(), (integers(1),), "floating-point"),
    (Equal(), (X, integers(1)), "one element type"),
    (Where(), (X, X, X), "must be bool"),
]


@pytest.mark.parametrize(("op", "inputs", "message"), MISFITS, ids=lambda x: str(x) if isinstance(x, Op | str) else "")
def test_misfits(op: Op, inputs: tuple[Type, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        op.types(inputs)


def test_narrow_floats_are_combined_wide() -> None:
    x = np.ones(5000, np.float16)
    assert Reduce("sum", (0,)).evaluate(x)[0] == 5000
    assert Cumulative("sum", 0).evaluate(x)[-1] == 5000


def test_of_no_elements() -> None:
    x = np.zeros((2, 0), np.float32)
    found = {kind: Reduce(kind, (1,)).evaluate(x)[0, 0] for kind in ("sum", "prod", "max", "min")}  # type: ignore[arg-type]
    assert found == {"sum": 0, "prod": 1, "max": -np.inf, "min": np.inf}


def test_nan_is_kept() -> None:
    x = np.array([1, np.nan, 3], np.float32)
    assert np.isnan(Reduce("max", (0,)).evaluate(x)) and ArgReduce("max", 0).evaluate(x)[0] == 1
    assert TopK(1, 0).evaluate(x)[1].tolist() == [1]


def test_casts() -> None:
    big = np.array([1e9, -1e9, np.nan], np.float32)
    assert Cast(dt.f8e4m3fn).evaluate(big)[:2].astype(float).tolist() == [448, -448]
    assert np.isnan(Cast(dt.f8e4m3fn, saturate=False).evaluate(big)[:2].astype(float)).all()
    assert Cast(dt.string).evaluate(np.array([1.5, np.inf], np.float32)).tolist() == ["1.5", "INF"]
    assert Cast(dt.i64).evaluate(np.array(["12", "-3"], object)).tolist() == [12, -3]
