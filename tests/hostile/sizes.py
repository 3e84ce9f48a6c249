"""Sizes that no machine holds, that overflow, or that are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tenfold.errors import (
    ExecutionError,
    InputError,
    LimitError,
    ModelError,
    OutOfMemory,
    TenfoldError,
    UnsupportedError,
)
from tests.hostile.case import FLOAT, INT64, Case, Gives, Raises, built, f32, info, model, node, run, weight

BIG = 2**40
LIMITS = (LimitError, OutOfMemory)
REFUSED = (ModelError, LimitError, UnsupportedError)
CALLED = (InputError, LimitError, OutOfMemory, ExecutionError)


def _i64(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def _both(
    name: str, *nodes: onnx.NodeProto, at: str, values: Any, others: Any = (), call: Any = (), kind: Any = np.int64
) -> tuple[Case, Case]:
    """One operator whose size is a constant, and the same with the size as an input of the call."""
    array = np.array(values, kind)
    size = info("n", array.shape, helper.np_dtype_to_tensor_dtype(array.dtype))
    fixed = model(*nodes, inputs=others, weights=(weight("n", values, kind),))
    open_ = model(*nodes, inputs=(*others, size))
    return (
        Case(f"{name}, known when built", run(fixed, *call), Raises(LIMITS, at)),
        Case(f"{name}, known when called", run(open_, *call, array), Raises(LIMITS, at)),
    )


_IMAGE, _ROW = (info("x", [1, 1, 2, 2]),), (info("x", [4]),)
_X, _R = (f32(1, 1, 2, 2),), (f32(4),)
HUGE = (
    *_both("ConstantOfShape of 2^40", node("ConstantOfShape", "n"), at="ConstantOfShape", values=[BIG]),
    *_both("Expand to 2^40", node("Expand", "x n"), at="Expand", values=[BIG // 4, 4], others=_ROW, call=_R),
    *_both("Tile 2^40 times", node("Tile", "x n"), at="Tile", values=[BIG], others=_ROW, call=_R),
    *_both("Resize to 2^40", node("Resize", "x - - n"), at="Resize", values=[1, 1, BIG, 1], others=_IMAGE, call=_X),
    *_both(
        "Resize by 2^38",
        node("Resize", "x - n"),
        at="Resize",
        values=[1, 1, 2.0**38, 1],
        others=_IMAGE,
        call=_X,
        kind=np.float32,
    ),
    *_both("Pad by 2^40", node("Pad", "x n"), at="Pad", values=[0, BIG], others=_ROW, call=_R),
    *_both(
        "OneHot of depth 2^40",
        node("Cast", "x", "i", to=INT64),
        node("Constant", "", "v", value=weight("v", [0, 1])),
        node("OneHot", "i n v"),
        at="OneHot",
        values=BIG,
        others=_ROW,
        call=_R,
    ),
    *_both("a window of 2^40", node("HannWindow", "n"), at="HannWindow", values=BIG),
    *_both(
        "DFT of length 2^40",
        node("DFT", "x n", axis=1),
        at="DFT",
        values=BIG,
        others=(info("x", [1, 4, 1]),),
        call=(f32(1, 4, 1),),
    ),
)


def _range(fixed: bool) -> Case:
    zero, one = weight("zero", 0), weight("one", 1)
    if fixed:
        made = model(node("Range", "zero n one"), inputs=(), weights=(zero, one, weight("n", BIG)))
        return Case("Range of 2^40, known when built", run(made), Raises(LIMITS, "Range"))
    made = model(node("Range", "zero n one"), inputs=(info("n", [], INT64),), weights=(zero, one))
    return Case("Range of 2^40, known when called", run(made, np.array(BIG)), Raises(LIMITS, "Range"))


def _weight_of(*dims: int, **fields: Any) -> Any:
    return built(model(node("Add", "x w"), weights=(TensorProto(name="w", data_type=FLOAT, dims=dims, **fields),)))


def _rank(count: int) -> Any:
    return [1] * count


_OUTER = model(node("MatMul", "x y"), inputs=(info("x", ["n", 1]), info("y", [1, "m"])))
_MANY = model(node("Unsqueeze", "x a"), weights=(weight("a", list(range(10_000))),))
OVERFLOWS = (
    Case(
        "a product of 2^20 by 2^20",
        run(_OUTER, np.ones((1 << 20, 1), "f4"), np.ones((1, 1 << 20), "f4")),
        Raises(LIMITS, "MatMul"),
    ),
    Case("a weight of 2^80 elements and no data", _weight_of(BIG, BIG), Raises(ModelError)),
    Case("a weight of 2^62 by 4 and no data", _weight_of(2**62, 4), Raises(ModelError)),
    Case("a weight of a negative size", _weight_of(-1, float_data=[]), Raises(ModelError)),
    Case("a weight of 2^62 by 0 elements", _weight_of(2**62, 0), Raises(REFUSED)),
    Case(
        "an input of 2^62 by 2^62",
        run(model(node("Neg", "x"), inputs=(info("x", [2**62, 2**62]),)), f32(2, 3)),
        Raises(CALLED),
    ),
    Case(
        "sizes whose product overflows",
        run(model(node("Expand", "x n"), inputs=(info("x", [1]), info("n", [2], INT64))), f32(1), _i64(2**62, 2**62)),
        Raises(CALLED, "Expand"),
    ),
    Case(
        "sizes whose bytes overflow",
        run(model(node("Expand", "x n"), inputs=(info("x", [1]), info("n", [1], INT64))), f32(1), _i64(2**63 - 1)),
        Raises(CALLED, "Expand"),
    ),
    Case(
        "a negative size at a call",
        run(model(node("ConstantOfShape", "n"), inputs=(info("n", [2], INT64),)), _i64(2, -3)),
        Raises(CALLED, "ConstantOfShape"),
    ),
    Case(
        "a negative size",
        built(model(node("ConstantOfShape", "n"), inputs=(), weights=(weight("n", [-3]),))),
        Raises(ModelError, "ConstantOfShape"),
    ),
    Case(
        "a reshape to other counts",
        built(model(node("Reshape", "x n"), weights=(weight("n", [5, 5]),))),
        Raises(ModelError, "Reshape"),
    ),
    Case(
        "a reshape to other counts at a call",
        run(model(node("Reshape", "x n"), inputs=(info("x", [2, 3]), info("n", [2], INT64))), f32(2, 3), _i64(5, 5)),
        Raises(CALLED, "Reshape"),
    ),
    Case(
        "a reshape to -1 twice at a call",
        run(model(node("Reshape", "x n"), inputs=(info("x", [2, 3]), info("n", [2], INT64))), f32(2, 3), _i64(-1, -1)),
        Raises(CALLED, "Reshape"),
    ),
    Case(
        "a reshape to 2^62 by 4 at a call",
        run(
            model(node("Reshape", "x n"), inputs=(info("x", [2, 3]), info("n", [2], INT64))), f32(2, 3), _i64(2**62, 4)
        ),
        Raises(CALLED, "Reshape"),
    ),
    Case(
        "repeats that are negative",
        run(model(node("Tile", "x n"), inputs=(info("x", [4]), info("n", [1], INT64))), f32(4), _i64(-2)),
        Raises((*CALLED, ModelError), "Tile"),
    ),
    Case(
        "pads that take away more than there is",
        run(model(node("Pad", "x n"), inputs=(info("x", [4]), info("n", [2], INT64))), f32(4), _i64(-3, -3)),
        Raises((*CALLED, ModelError), "Pad"),
    ),
    Case(
        "an end repeated of nothing",
        run(
            model(node("Pad", "x n", mode="edge"), inputs=(info("x", [4]), info("n", [2], INT64))), f32(4), _i64(-4, 5)
        ),
        Raises((*CALLED, ModelError), "Pad"),
    ),
    Case(
        "an end repeated of less than nothing, known when built",
        run(
            model(node("Pad", "x n", mode="reflect"), inputs=(info("x", [4]),), weights=(weight("n", [-5, 9]),)), f32(4)
        ),
        Raises((ModelError,), "Pad"),
    ),
    Case(
        "a mirror of an empty axis",
        run(model(node("Pad", "x n", mode="wrap"), inputs=(info("x", ["N"]),), weights=(weight("n", [1, 1]),)), f32(0)),
        Raises(CALLED, "Pad"),
    ),
    Case(
        "equal pieces that do not divide",
        run(model(node("Split", "x", "y z"), inputs=(info("x", ["N"]),), opset=13), f32(3)),
        Raises(CALLED, "Split"),
    ),
    Case(
        "scales of 0",
        run(model(node("Resize", "x - n"), inputs=_IMAGE, weights=(weight("n", [1, 1, 0, 1], "f4"),)), f32(1, 1, 2, 2)),
        Raises((ModelError, *CALLED), "Resize"),
    ),
    Case(
        "scales that are negative",
        run(
            model(node("Resize", "x - n"), inputs=_IMAGE, weights=(weight("n", [1, 1, -2, 1], "f4"),)), f32(1, 1, 2, 2)
        ),
        Raises((ModelError, *CALLED), "Resize"),
    ),
    Case(
        "scales that are NaN",
        run(
            model(node("Resize", "x - n"), inputs=_IMAGE, weights=(weight("n", [1, 1, np.nan, 1], "f4"),)),
            f32(1, 1, 2, 2),
        ),
        Raises((ModelError, *CALLED), "Resize"),
    ),
    Case(
        "scales that are infinite",
        run(
            model(node("Resize", "x - n"), inputs=_IMAGE, weights=(weight("n", [1, 1, np.inf, 1], "f4"),)),
            f32(1, 1, 2, 2),
        ),
        Raises((ModelError, *CALLED), "Resize"),
    ),
    Case(
        "scales at a call that are NaN",
        run(
            model(node("Resize", "x - n"), inputs=(*_IMAGE, info("n", [4]))),
            f32(1, 1, 2, 2),
            np.array([1, 1, np.nan, 1], "f4"),
        ),
        Raises(CALLED, "Resize"),
    ),
    Case(
        "k more than there are",
        run(model(node("TopK", "x k", "z i"), inputs=(info("x", [4]), info("k", [1], INT64))), f32(4), _i64(9)),
        Raises(CALLED, "TopK"),
    ),
    Case(
        "k of 2^62",
        run(model(node("TopK", "x k", "z i"), inputs=(info("x", [4]), info("k", [1], INT64))), f32(4), _i64(2**62)),
        Raises(CALLED, "TopK"),
    ),
    Case(
        "k below 0", built(model(node("TopK", "x k", "z i"), weights=(weight("k", [-1]),))), Raises(ModelError, "TopK")
    ),
)
RANKS = (
    Case(
        "an input of rank 10,000", built(model(node("Neg", "x"), inputs=(info("x", _rank(10_000)),))), Raises(REFUSED)
    ),
    Case(
        "a weight of rank 10,000",
        built(
            model(node("Add", "x w"), weights=(TensorProto(name="w", data_type=1, dims=_rank(10_000), float_data=[1]),))
        ),
        Raises(REFUSED),
    ),
    Case("Unsqueeze to rank 10,002", built(_MANY), Raises(REFUSED, "Unsqueeze")),
    Case(
        "Reshape to rank 10,000",
        built(model(node("Reshape", "x s"), inputs=(info("x", [1]),), weights=(weight("s", _rank(10_000)),))),
        Raises(REFUSED, "Reshape"),
    ),
    Case(
        "Expand to rank 10,000",
        built(model(node("Expand", "x s"), weights=(weight("s", [*_rank(9_998), 2, 3]),))),
        Raises(REFUSED, "Expand"),
    ),
    Case(
        "Split into 2^20 parts",
        built(
            model(helper.make_node("Split", ["x"], [f"z{i}" for i in range(1 << 12)], name="the Split"), outputs="z0")
        ),
        Raises(REFUSED, "Split"),
    ),
)
POSITIONS = (
    Case(
        "a step of 0 in Slice",
        built(
            model(
                node("Slice", "x s e a t"),
                weights=(weight("s", [0]), weight("e", [2]), weight("a", [0]), weight("t", [0])),
            )
        ),
        Raises(ModelError, "Slice"),
    ),
    Case(
        "a step of 0 in Slice at a call",
        run(
            model(
                node("Slice", "x s e a t"),
                inputs=(info("x", [2, 3]), info("t", [1], INT64)),
                weights=(weight("s", [0]), weight("e", [2]), weight("a", [0])),
            ),
            f32(2, 3),
            _i64(0),
        ),
        Raises(CALLED, "Slice"),
    ),
    Case(
        "Range of step 0",
        built(model(node("Range", "a b c"), inputs=(), weights=(weight("a", 0), weight("b", 5), weight("c", 0)))),
        Raises(ModelError, "Range"),
    ),
    Case(
        "Range of step 0 at a call",
        run(
            model(node("Range", "a b c"), inputs=(info("c", [], INT64),), weights=(weight("a", 0), weight("b", 5))),
            np.array(0),
        ),
        Raises(CALLED, "Range"),
    ),
    Case(
        "Range of step 0.0 at a call",
        run(
            model(
                node("Range", "a b c"), inputs=(info("c", []),), weights=(weight("a", 0, "f4"), weight("b", 5, "f4"))
            ),
            np.float32(0),
        ),
        Raises(CALLED, "Range"),
    ),
    Case(
        "Range to NaN at a call",
        run(
            model(
                node("Range", "a b c"), inputs=(info("b", []),), weights=(weight("a", 0, "f4"), weight("c", 1, "f4"))
            ),
            np.float32(np.nan),
        ),
        Raises(CALLED, "Range"),
    ),
    Case(
        "Range from the least integer",
        run(
            model(
                node("Range", "a b c"), inputs=(info("a", [], INT64),), weights=(weight("b", 2**63 - 1), weight("c", 1))
            ),
            np.array(-(2**63)),
        ),
        Raises(CALLED, says="Range|64 bits"),
    ),
    Case("an axis out of range", built(model(node("Softmax", "x", axis=7))), Raises(ModelError, "Softmax")),
    Case(
        "an axis out of range at a call",
        run(
            model(node("ReduceSum", "x a", keepdims=0), inputs=(info("x", [2, 3]), info("a", [1], INT64))),
            f32(2, 3),
            _i64(7),
        ),
        Raises((TenfoldError,), "ReduceSum"),
    ),
    Case(
        "axes named twice",
        built(model(node("Unsqueeze", "x a"), weights=(weight("a", [0, 0]),))),
        Raises(ModelError, "Unsqueeze"),
    ),
    Case(
        "Slice far past both ends",
        run(
            model(
                node("Slice", "x s e"),
                inputs=(info("x", [4]),),
                weights=(weight("s", [-(2**63)]), weight("e", [2**63 - 1])),
            ),
            f32(4),
        ),
        Gives(f32(4)),
    ),
    Case(
        "Slice by the largest step",
        run(
            model(
                node("Slice", "x s e a t"),
                inputs=(info("x", [4]),),
                weights=(weight("s", [0]), weight("e", [2**63 - 1]), weight("a", [0]), weight("t", [2**63 - 1])),
            ),
            f32(4),
        ),
        Gives(f32(1)),
    ),
    Case(
        "Slice by the least step",
        run(
            model(
                node("Slice", "x s e a t"),
                inputs=(info("x", [4]),),
                weights=(weight("s", [3]), weight("e", [-(2**63)]), weight("a", [0]), weight("t", [-(2**63)])),
            ),
            f32(4),
        ),
        Gives(f32(4)[3:]),
    ),
)
CASES = (*HUGE, _range(True), _range(False), *OVERFLOWS, *RANKS, *POSITIONS)
