"""Operators of arithmetic, logic, reduction, movement, indexing and order, each on sizes that tend to go wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Case:
    """One operator on arrays; inputs at `constants` are known at build time."""

    kind: str
    arrays: tuple[Array | None, ...]
    constants: tuple[int, ...] = ()
    outputs: int = 1
    opset: int = 21
    attributes: dict[str, Any] = field(default_factory=dict)
    static_only: bool = False
    """True where the sizes must be known for the import (a Squeeze without axes)."""
    by_runtime: bool = False
    """True where ONNX's reference fails on a valid case, and ONNX Runtime is the oracle."""

    def __str__(self) -> str:
        shapes = "-".join("x".join(map(str, a.shape)) or "scalar" if a is not None else "none" for a in self.arrays)
        extra = "-".join(f"{key}={value}" for key, value in self.attributes.items())
        return f"{self.kind}{self.opset}-{shapes}-{extra}"


def _f(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _i(*shape: int, low: int = -5, high: int = 6, seed: int = 1) -> Array:
    return np.random.default_rng(seed).integers(low, high, shape).astype(np.int64)


def _b(*shape: int, seed: int = 2) -> Array:
    return np.random.default_rng(seed).random(shape) < 0.5


def _n(*numbers: int) -> Array:
    return np.array(numbers, np.int64)


def _unary() -> list[Case]:
    kinds = ("Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "Neg", "Round", "Sign", "Sin", "Sinh", "Tan", "Atan")
    shapes = ((), (0,), (3,), (2, 0, 3), (2, 3, 4))
    found = [Case(kind, (_f(*shape),)) for kind in kinds for shape in shapes]
    found += [Case(kind, (np.abs(_f(3, 4)) + 1,)) for kind in ("Sqrt", "Log", "Acosh", "Reciprocal")]
    found += [Case(kind, (np.tanh(_f(3, 4)),)) for kind in ("Acos", "Asin", "Asinh", "Atanh", "Cosh")]
    found += [Case("Neg", (_i(2, 3),)), Case("Abs", (_i(2, 3),)), Case("Not", (_b(2, 3),)), Case("Not", (_b(),))]
    special = np.array([np.nan, np.inf, -np.inf, 0, -0.0], np.float32)
    found += [Case(kind, (special,)) for kind in ("IsNaN", "IsInf", "Abs", "Neg", "Sign", "Floor", "Round")]
    found += [Case("IsInf", (special,), attributes={"detect_negative": 0})]
    return found


def _binary() -> list[Case]:
    pairs = (((), ()), ((3,), ()), ((2, 3), (3,)), ((2, 1, 4), (3, 1)), ((0, 3), (1, 3)), ((2, 3, 4), (2, 3, 4)))
    found = []
    for a, b in pairs:
        for kind in ("Add", "Sub", "Mul", "Div", "Less", "GreaterOrEqual", "Max", "Min"):
            found.append(Case(kind, (_f(*a), _f(*b, seed=3) + 3)))
        for kind in ("Add", "Mul", "Equal", "Greater", "LessOrEqual", "Max"):
            found.append(Case(kind, (_i(*a), _i(*b, seed=3))))
        found.append(Case("Div", (_i(*a), _i(*b, low=1, seed=3))))
        found.append(Case("Mod", (_i(*a), _i(*b, low=1, seed=3))))
        found.append(Case("Mod", (_f(*a), _f(*b, seed=3) + 3), attributes={"fmod": 1}))
        found += [Case(kind, (_b(*a), _b(*b, seed=4))) for kind in ("And", "Or", "Xor")]
        found.append(Case("Where", (_b(*a), _f(*b), _f(*a, seed=5))))
    found += [Case("Pow", (np.abs(_f(2, 3)), y)) for y in (_f(3), np.array(2, np.float32), _i(2, 1))]
    found += [Case("Pow", (_i(2, 3), _i(3, low=0, high=4)))]
    found += [
        Case("Sum", (_f(2, 1), _f(3), _f())),
        Case("Mean", (_f(2, 1), _f(3)), by_runtime=True),
        Case("Max", (_f(4),)),
    ]
    bits = tuple(one.astype(np.uint8) for one in (_i(4, low=0, high=255), _i(4, low=0, high=8)))
    found += [Case("BitShift", bits, attributes={"direction": side}) for side in ("LEFT", "RIGHT")]
    found += [Case(f"Bitwise{kind}", bits) for kind in ("And", "Or", "Xor")] + [Case("BitwiseNot", bits[:1])]
    return found


def _reductions() -> list[Case]:
    kinds = ("Sum", "Mean", "Max", "Min", "Prod", "SumSquare", "L1", "L2", "LogSum", "LogSumExp")
    found = []
    for kind in kinds:
        for axes, keep in (((0,), 1), ((-1,), 0), ((0, 2), 1), ((0, 1, 2), 0)):
            x = np.abs(_f(2, 3, 4))
            found.append(Case(f"Reduce{kind}", (x, _n(*axes)), (1,), attributes={"keepdims": keep}))
        found.append(Case(f"Reduce{kind}", (np.abs(_f(2, 3)),)))
        if kind != "LogSumExp":
            found.append(Case(f"Reduce{kind}", (np.abs(_f()),)))
    found += [Case("ReduceSum", (_f(2, 0, 3), _n(1)), (1,)), Case("ReduceProd", (_f(2, 0), _n(1)), (1,))]
    found += [Case("ReduceSum", (_f(2, 3),), attributes={"noop_with_empty_axes": 1})]
    found += [Case("ReduceMean", (_f(2, 3),), opset=13, attributes={"axes": [1]})]
    found += [Case("ReduceMax", (_i(3, 4), _n(0)), (1,)), Case("ReduceSum", (_i(3, 4), _n(0)), (1,))]
    for axis in (0, 1, -1):
        for keep in (0, 1):
            for last in (0, 1):
                attributes = {"axis": axis, "keepdims": keep, "select_last_index": last}
                found += [
                    Case(kind, (_i(3, 5).astype(np.float32),), attributes=attributes) for kind in ("ArgMax", "ArgMin")
                ]
    for axis in (0, -1):
        for exclusive in (0, 1):
            for reverse in (0, 1):
                attributes = {"exclusive": exclusive, "reverse": reverse}
                found.append(Case("CumSum", (_f(3, 4), np.array(axis)), (1,), attributes=attributes))
    return found


def _movement() -> list[Case]:
    found = [Case("Reshape", (_f(2, 3, 4), _n(*to)), (1,)) for to in ((24,), (4, -1), (0, -1), (2, 0, 2, 2), (-1,))]
    found += [Case("Reshape", (_f(0, 3), _n(3, 0)), (1,), attributes={"allowzero": 1})]
    found += [Case("Reshape", (_f(), _n(1, 1)), (1,)), Case("Reshape", (_f(1), _n()), (1,))]
    found += [Case("Transpose", (_f(2, 3, 4),), attributes={"perm": perm}) for perm in ((1, 0, 2), (2, 1, 0))]
    found += [Case("Transpose", (_f(2, 3),)), Case("Transpose", (_f(),)), Case("Transpose", (_f(0, 2),))]
    found += [Case("Flatten", (_f(2, 3, 4),), attributes={"axis": axis}) for axis in (0, 1, 3, -1)]
    found += [Case("Flatten", (_f(),), attributes={"axis": 0}), Case("Flatten", (_f(0, 2),), by_runtime=True)]
    found += [Case("Squeeze", (_f(1, 3, 1), _n(0, -1)), (1,)), Case("Squeeze", (_f(1, 3, 1),), static_only=True)]
    found += [Case("Unsqueeze", (_f(3), _n(*axes)), (1,)) for axes in ((0,), (-1,), (0, 2), (1, -1))]
    found += [Case("Expand", (_f(3, 1), _n(*to)), (1,)) for to in ((3, 4), (2, 1, 4), (1,), (3, 1))]
    found += [Case("Expand", (_f(), _n(2, 3)), (1,)), Case("Tile", (_f(2, 3), _n(2, 1)), (1,))]
    found += [Case("Tile", (_f(2, 3), _n(0, 2)), (1,)), Case("Identity", (_f(2),)), Case("Size", (_f(2, 3),))]
    found += [Case("Concat", (_f(2, 3), _f(2, 1), _f(2, 0)), attributes={"axis": axis}) for axis in (1, -1)]
    found += [Case("Concat", (_f(2),), attributes={"axis": 0})]
    found += [Case("Split", (_f(6, 2), _n(1, 2, 3)), (1,), outputs=3, attributes={"axis": 0})]
    found += [Case("Split", (_f(2, 6),), outputs=3, attributes={"axis": -1, "num_outputs": 3})]
    found += [Case("Split", (_f(7),), outputs=3, attributes={"num_outputs": 3})]
    found += [Case("Split", (_f(6, 2),), outputs=2, opset=11, attributes={"split": [2, 4]})]
    for mode in ("constant", "reflect", "edge", "wrap"):
        found.append(Case("Pad", (_f(4, 5), _n(1, 0, 2, 3)), (1,), attributes={"mode": mode}))
    found += [Case("Pad", (_f(4, 5), _n(-1, 2, 0, -1), np.array(7, np.float32)), (1, 2), by_runtime=True)]
    found += [Case("Pad", (_f(2, 3), _n(1, 1), None, _n(-1)), (1, 3)), Case("Pad", (_f(0), _n(1, 2)), (1,))]
    found += [Case("DepthToSpace", (_f(1, 8, 2, 3),), attributes={"blocksize": 2, "mode": m}) for m in ("DCR", "CRD")]
    found += [Case("SpaceToDepth", (_f(2, 3, 4, 6),), attributes={"blocksize": 2}, static_only=True)]
    found += [Case("Shape", (_f(2, 3, 4),)), Case("Shape", (_f(2, 3, 4),), attributes={"start": -2, "end": 2})]
    found += [Case("Shape", (_f(),)), Case("EyeLike", (_f(3, 4),), attributes={"k": 1, "dtype": 7})]
    found += [
        Case("Trilu", (_f(2, 3, 4), np.array(k)), (1,), attributes={"upper": up}) for k in (-1, 0, 2) for up in (0, 1)
    ]
    found += [Case("Trilu", (_f(3, 3),)), Case("Trilu", (_f(3, 4), np.array(1)))]
    found += [Case("Range", tuple(np.array(one, kind) for one in row), (0, 1, 2)) for kind, row in _RANGES]
    found += [Case("ConstantOfShape", (_n(*shape),), (0,)) for shape in ((), (2, 3), (0, 2))]
    return found


_RANGES = ((np.int64, (0, 5, 1)), (np.int64, (5, 0, -2)), (np.int64, (3, 3, 1)), (np.float32, (0.5, 3, 0.75)))


def _slices() -> list[Case]:
    rows = (
        ((0,), (2,), (0,), (1,)),
        ((-2,), (2**63 - 1,), (1,), (1,)),
        ((1, 0), (-1, 3), (0, 2), (1, 2)),
        ((-1,), (-(2**63) + 1,), (1,), (-1,)),
        ((3,), (0,), (2,), (-2,)),
        ((100,), (-100,), (0,), (-1,)),
        ((2,), (1,), (1,), (1,)),
        ((-100,), (100,), (1,), (3,)),
    )
    found = [Case("Slice", (_f(4, 5, 6), *(_n(*one) for one in row)), (1, 2, 3, 4)) for row in rows]
    found += [Case("Slice", (_f(4, 5), _n(1, 2), _n(3, 4)), (1, 2)), Case("Slice", (_f(0, 2), _n(0), _n(1)), (1, 2))]
    found += [Case("Slice", (_f(4, 5),), opset=9, attributes={"starts": [1], "ends": [3], "axes": [1]})]
    found += [Case("Slice", (_f(4, 5), _n(1), _n(3), _n(1)), (3,), static_only=True)]
    return found


def _indexing() -> list[Case]:
    found = [Case("Gather", (_f(4, 5), index), attributes={"axis": axis}) for index in _GATHERED for axis in (0, 1)]
    found += [Case("Gather", (_f(3), np.array(-1)), (1,)), Case("Gather", (_f(0, 2), _i(0)), attributes={"axis": 1})]
    found += [Case("GatherElements", (_f(3, 4), _i(2, 4, low=-3, high=3)), attributes={"axis": 0})]
    found += [Case("GatherElements", (_f(3, 4), _i(3, 2, low=0, high=4)), attributes={"axis": -1}, by_runtime=True)]
    found += [Case("GatherND", (_f(3, 4, 5), _i(2, 2, low=0, high=3)), static_only=True)]
    found += [
        Case("GatherND", (_f(2, 3, 4), _i(2, 2, 1, low=0, high=3)), attributes={"batch_dims": 1}, static_only=True)
    ]
    for reduction in ("none", "add", "mul", "max", "min"):
        way = {"reduction": reduction}
        positions = np.array([[0, 1, 2, 3], [2, 3, 0, 1]])
        found.append(Case("ScatterElements", (_f(3, 4), positions, _f(2, 4, seed=6)), attributes={"axis": 1, **way}))
        found.append(
            Case("ScatterND", (_f(4, 3), np.array([[1], [3]]), _f(2, 3, seed=6)), attributes=way, static_only=True)
        )
    found += [Case("NonZero", (_i(3, 4, low=0, high=2),)), Case("NonZero", (_i(0),))]
    found += [Case("Compress", (_f(3, 4), np.array([True, False, True])), attributes={"axis": 0})]
    found += [Case("Compress", (_f(3, 4), _b(5)))]
    hot = (_i(2, 3, low=-4, high=4), np.array(4), np.array([0.5, 2], np.float32))
    found += [Case("OneHot", hot, (1,), attributes={"axis": axis}) for axis in (-1, 0, 1)]
    found += [Case("ReverseSequence", (_f(4, 3, 2), _n(4, 1, 2)), attributes={"batch_axis": 1, "time_axis": 0})]
    return found


_GATHERED = (np.array(1), _i(2, 3, low=-4, high=4), _i(0))


def _order() -> list[Case]:
    rounded = np.round(_f(3, 6), 0) + 0.0
    found = [
        Case("TopK", (_f(3, 6), _n(k)), (1,), outputs=2, attributes={"axis": axis, "largest": largest})
        for k, axis in ((1, -1), (3, -1), (2, 0))
        for largest in (0, 1)
    ]
    found += [Case("TopK", (rounded, _n(4)), (1,), outputs=2), Case("TopK", (_f(3, 6), _n(2)), outputs=2)]
    found += [Case("Unique", (rounded,), outputs=4, attributes={"sorted": order}, by_runtime=True) for order in (0, 1)]
    found += [Case("Unique", (_i(4, 2, low=0, high=2),), outputs=4, attributes={"axis": 0})]
    boxes = np.array([[[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 10, 1, 11], [1, 1.1, 0, 0.1]]], np.float32)
    scores = np.array([[[0.9, 0.75, 0.6, 0.5]]], np.float32)
    limits = (_n(3), np.array([0.5], np.float32), np.array([0.55], np.float32))
    found += [Case("NonMaxSuppression", (boxes, scores, *limits))]
    return found


def _conversions() -> list[Case]:
    numbers = np.array([[-1.7, 0, 0.3], [1, 2.5, 127]], np.float32)
    found = [Case("Cast", (numbers,), attributes={"to": to}) for to in (1, 3, 6, 7, 9, 10, 11, 16)]
    found += [Case("Cast", (_i(2, 2),), attributes={"to": to}) for to in (1, 6, 9, 10)]
    found += [Case("Cast", (np.array(["1", "-2.5"], object),), attributes={"to": 1})]
    found += [Case("CastLike", (numbers, _i(1))), Case("Cast", (_b(3),), attributes={"to": 7})]
    return found


CASES: tuple[Case, ...] = tuple(
    [
        *_unary(),
        *_binary(),
        *_reductions(),
        *_movement(),
        *_slices(),
        *_indexing(),
        *_order(),
        *_conversions(),
    ]
)
