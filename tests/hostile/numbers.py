"""Numbers without an answer in arithmetic, positions out of range, tensors without elements."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from onnx import helper

from tenfold.errors import ExecutionError, InputError, LimitError, ModelError, UnsupportedError
from tests.hostile.case import INT64, Case, Gives, Raises, built, f32, info, model, node, run, weight

OUT_OF_RANGE = (ExecutionError, InputError)
NONE = (ModelError, InputError, ExecutionError, LimitError)
SIZES = ((), (5,), (3, 40))


def _kind(dtype: Any) -> int:
    return int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def _divisions() -> Iterator[Case]:
    """x / 0 and x % 0 give something; least / -1 wraps round to least, least % -1 is 0."""
    for name in ("i1", "i2", "i4", "i8"):
        dtype = np.dtype(name)
        least = np.iinfo(dtype).min
        kind = _kind(dtype)
        for shape in SIZES:
            given = (info("x", shape, kind), info("y", shape, kind))
            for operator, wanted in (("Div", least), ("Mod", 0)):
                made = model(node(operator, "x y"), inputs=given)
                x, y = np.full(shape, least, dtype), np.full(shape, -1, dtype)
                about = f"{operator} of {dtype}{list(shape)}"
                yield Case(f"{about}, least by -1", run(made, x, y), Gives(np.full(shape, wanted, dtype)))
                yield Case(f"{about}, by 0", run(made, x, x * 0), Gives(None, lambda one: True, "any numbers"))
    for name in ("u1", "u2", "u4", "u8"):
        kind, x = _kind(name), np.array([3, 0], name)
        for operator in ("Div", "Mod"):
            made = model(node(operator, "x y"), inputs=(info("x", [2], kind), info("y", [2], kind)))
            case = run(made, x, x * 0)
            yield Case(f"{operator} of {np.dtype(name)}, by 0", case, Gives(None, lambda one: True, "any numbers"))


def _casts() -> Iterator[Case]:
    given = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 1.5], "f4")
    for name in ("i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "?"):
        made = model(node("Cast", "x", to=_kind(name)), inputs=(info("x", [6]),))
        last = np.array(1.5).astype(name)
        right = lambda one, last=last: one.dtype == last.dtype and one[-1] == last  # noqa: E731
        yield Case(
            f"Cast of NaN and infinities to {np.dtype(name)}",
            run(made, given),
            Gives(None, right, "1.5 is 1, the rest any numbers"),
        )


def _at(name: str, message: Any, *arrays: Any, where: str) -> Case:
    return Case(name, run(message, *arrays), Raises(OUT_OF_RANGE, where))


def _i64(*numbers: Any) -> Any:
    return np.array(numbers, np.int64)


_X, _I = info("x", [4]), info("i", [2], INT64)
_TWO = info("x", [2, 4])
_FAR = _i64(0, 7)
_ROW, _ROWS = f32(4), f32(2, 4)
INDICES = (
    _at("Gather past the end", model(node("Gather", "x i"), inputs=(_X, _I)), _ROW, _FAR, where="Gather"),
    _at("Gather before the start", model(node("Gather", "x i"), inputs=(_X, _I)), _ROW, _i64(0, -5), where="Gather"),
    _at("Gather at 2^62", model(node("Gather", "x i"), inputs=(_X, _I)), _ROW, _i64(0, 2**62), where="Gather"),
    _at(
        "Gather at the least integer",
        model(node("Gather", "x i"), inputs=(_X, _I)),
        _ROW,
        _i64(0, -(2**63)),
        where="Gather",
    ),
    _at(
        "Gather along the second axis",
        model(node("Gather", "x i", axis=1), inputs=(_TWO, _I)),
        _ROWS,
        _FAR,
        where="Gather",
    ),
    _at(
        "Gather of an empty axis",
        model(node("Gather", "x i"), inputs=(info("x", [0, 3]), _I)),
        f32(0, 3),
        _i64(0, 0),
        where="Gather",
    ),
    _at(
        "Gather fused with arithmetic",
        model(node("Gather", "x i", "g"), node("Neg", "g", "n"), node("Exp", "n"), inputs=(_X, _I)),
        _ROW,
        _FAR,
        where="Gather",
    ),
    Case(
        "Gather of constants past the end",
        run(model(node("Gather", "w i"), inputs=(), weights=(weight("w", [1, 2], "f4"), weight("i", [7])))),
        Raises((ModelError, ExecutionError), "Gather"),
    ),
    _at("GatherElements", model(node("GatherElements", "x i"), inputs=(_X, _I)), _ROW, _FAR, where="GatherElements"),
    _at(
        "GatherND",
        model(node("GatherND", "x i"), inputs=(_TWO, info("i", [1, 2], INT64))),
        _ROWS,
        _i64([1, 9]),
        where="GatherND",
    ),
    _at(
        "ScatterElements",
        model(node("ScatterElements", "x i u"), inputs=(_X, _I, info("u", [2]))),
        _ROW,
        _FAR,
        f32(2),
        where="ScatterElements",
    ),
    _at(
        "ScatterElements that adds",
        model(node("ScatterElements", "x i u", reduction="add"), inputs=(_X, _I, info("u", [2]))),
        _ROW,
        _FAR,
        f32(2),
        where="ScatterElements",
    ),
    _at(
        "ScatterND",
        model(node("ScatterND", "x i u"), inputs=(_X, info("i", [1, 1], INT64), info("u", [1]))),
        _ROW,
        _i64([9]),
        f32(1),
        where="ScatterND",
    ),
    _at(
        "ScatterND at 2^62",
        model(node("ScatterND", "x i u"), inputs=(_X, info("i", [1, 1], INT64), info("u", [1]))),
        _ROW,
        _i64([2**62]),
        f32(1),
        where="ScatterND",
    ),
    Case(
        "OneHot past the depth",
        run(
            model(
                node("OneHot", "i d v"),
                inputs=(_I,),
                weights=(weight("d", 3), weight("v", [0, 1])),
            ),
            _i64(1, 9),
        ),
        Gives(_i64([0, 1, 0], [0, 0, 0])),
    ),
    Case(
        "MaxUnpool past the end",
        run(
            model(
                node("MaxUnpool", "x i", kernel_shape=[2], strides=[2]),
                inputs=(info("x", [1, 1, 2]), info("i", [1, 1, 2], INT64)),
            ),
            f32(1, 1, 2),
            _i64([[0, 99]]),
        ),
        Raises((*OUT_OF_RANGE, UnsupportedError), "MaxUnpool"),
    ),
    Case(
        "RoiAlign of an image that is not there",
        run(
            model(
                node("RoiAlign", "x r b", output_height=1, output_width=1),
                inputs=(info("x", [1, 1, 4, 4]), info("r", [1, 4]), info("b", [1], INT64)),
            ),
            f32(1, 1, 4, 4),
            f32(1, 4),
            _i64(7),
        ),
        Raises(OUT_OF_RANGE, "RoiAlign"),
    ),
    Case(
        "GridSample at NaN and far away",
        run(
            model(node("GridSample", "x g"), inputs=(info("x", [1, 1, 4, 4]), info("g", [1, 1, 3, 2]))),
            f32(1, 1, 4, 4),
            np.array([[[[np.nan, 0], [1e30, 0], [-np.inf, 0]]]], "f4"),
        ),
        Gives(None, lambda one: one.shape == (1, 1, 1, 3), "any numbers"),
    ),
    Case(
        "ReverseSequence of more than there is",
        run(
            model(node("ReverseSequence", "x n"), inputs=(info("x", [4, 2]), info("n", [2], INT64))),
            f32(4, 2),
            _i64(9, 1),
        ),
        Raises(OUT_OF_RANGE, "ReverseSequence"),
    ),
)
_IMAGE = info("x", [1, 4, 5, 5])


def _conv(
    name: str, *, gets: Any = None, weights: tuple[int, ...] = (4, 4, 3, 3), kind: str = "Conv", **attributes: Any
) -> Case:
    made = model(node(kind, "x w", **attributes), inputs=(_IMAGE,), weights=(weight("w", np.ones(weights), "f4"),))
    return Case(f"{kind} {name}", run(made, f32(1, 4, 5, 5)), gets or Raises(NONE, kind))


def _pool(name: str, gets: Any = None, kind: str = "MaxPool", **attributes: Any) -> Case:
    made = model(node(kind, "x", **{"kernel_shape": [2, 2], **attributes}), inputs=(_IMAGE,))
    return Case(f"{kind} {name}", run(made, f32(1, 4, 5, 5)), gets or Raises(NONE, kind))


WINDOWS = (
    _conv("with stride 0", strides=[0, 1]),
    _conv("with a negative stride", strides=[-1, 1]),
    _conv("with dilation 0", dilations=[0, 1]),
    _conv("with 0 groups", group=0),
    _conv("with groups that do not divide", group=3),
    _conv("with -1 groups", group=-1),
    _conv("with group 2^62", group=2**62),
    _conv("larger than its input", weights=(4, 4, 9, 9)),
    _conv("with pads below 0 that leave nothing", pads=[-3, -3, -3, -3]),
    _conv("with pads of 2^62", pads=[2**62] * 4),
    _conv("with a kernel_shape unlike its weight", kernel_shape=[5, 5]),
    _conv("of other channels", weights=(4, 7, 3, 3)),
    _conv("with strides for three axes", strides=[1, 1, 1]),
    _conv("with an unknown auto_pad", auto_pad="WHATEVER"),
    _conv("with stride 0", kind="ConvTranspose", strides=[0, 1]),
    _conv("with output padding past its stride", kind="ConvTranspose", output_padding=[-9, 0]),
    _pool("with stride 0", strides=[0, 1]),
    _pool("with dilation 0", dilations=[0, 1]),
    _pool("larger than its input", kernel_shape=[9, 9]),
    _pool("with kernel 0", kernel_shape=[0, 2]),
    _pool("with stride 0", kind="AveragePool", strides=[0, 1]),
    _pool("larger than its input", kind="AveragePool", kernel_shape=[9, 9]),
    _pool("with pads of 2^62", pads=[2**62] * 4),
    Case(
        "a Conv larger than its input at a call",
        run(
            model(
                node("Conv", "x w"),
                inputs=(info("x", [1, 4, "h", "w"]),),
                weights=(weight("w", np.ones((4, 4, 3, 3)), "f4"),),
            ),
            f32(1, 4, 2, 2),
        ),
        Raises(InputError, "Conv"),
    ),
    Case(
        "a MaxPool larger than its input at a call",
        run(model(node("MaxPool", "x", kernel_shape=[3, 3]), inputs=(info("x", [1, 4, "h", "w"]),)), f32(1, 4, 2, 2)),
        Raises(InputError, "MaxPool"),
    ),
)


def _empty(name: str, *nodes: Any, wanted: Any, shapes: tuple[Any, ...] = ((0, 3),), **rest: Any) -> Case:
    inputs = [info(letter, shape) for letter, shape in zip("xy", shapes, strict=False)]
    given = [np.ones(shape, "f4") for shape in shapes]
    return Case(f"nothing: {name}", run(model(*nodes, inputs=inputs, **rest), *given), wanted)


def _zeros(*shape: int) -> Gives:
    return Gives(np.zeros(shape, "f4"))


_AXIS = (weight("a", [0]),)
EMPTY = (
    _empty("ReduceSum", node("ReduceSum", "x a"), weights=_AXIS, wanted=_zeros(1, 3)),
    _empty("ReduceProd", node("ReduceProd", "x a"), weights=_AXIS, wanted=Gives(np.ones((1, 3), "f4"))),
    _empty(
        "ReduceMax", node("ReduceMax", "x a"), weights=_AXIS, opset=20, wanted=Gives(np.full((1, 3), -np.inf, "f4"))
    ),
    _empty("ReduceMin", node("ReduceMin", "x a"), weights=_AXIS, opset=20, wanted=Gives(np.full((1, 3), np.inf, "f4"))),
    _empty("ReduceMean", node("ReduceMean", "x a"), weights=_AXIS, wanted=Gives(np.full((1, 3), np.nan, "f4"))),
    _empty("Softmax", node("Softmax", "x"), wanted=_zeros(0, 3)),
    _empty("Softmax of rows of nothing", node("Softmax", "x"), shapes=((3, 0),), wanted=_zeros(3, 0)),
    _empty("MatMul over nothing", node("MatMul", "x y"), shapes=((2, 0), (0, 3)), wanted=_zeros(2, 3)),
    _empty("MatMul of no rows", node("MatMul", "x y"), shapes=((0, 4), (4, 3)), wanted=_zeros(0, 3)),
    _empty("Conv of no images", node("Conv", "x y"), shapes=((0, 4, 5, 5), (2, 4, 3, 3)), wanted=_zeros(0, 2, 3, 3)),
    _empty(
        "Conv of no channels",
        node("Conv", "x y"),
        shapes=((1, 0, 5, 5), (2, 0, 3, 3)),
        wanted=Gives(None, lambda one: not one.any() and one.shape == (1, 2, 3, 3), "zeros"),
    ),
    _empty(
        "MaxPool of no images",
        node("MaxPool", "x", kernel_shape=[2, 2]),
        shapes=((0, 4, 5, 5),),
        wanted=_zeros(0, 4, 4, 4),
    ),
    _empty("Concat", node("Concat", "x y", axis=0), shapes=((0, 3), (0, 3)), wanted=_zeros(0, 3)),
    _empty("Transpose", node("Transpose", "x"), wanted=_zeros(3, 0)),
    _empty("ArgMax of nothing", node("ArgMax", "x", axis=0), wanted=Raises(NONE, "ArgMax")),
    _empty(
        "TopK of nothing",
        node("TopK", "x k", "z i", axis=0),
        weights=(weight("k", [0]),),
        wanted=Gives(None, lambda one: one.shape == (0, 3), "nothing"),
    ),
    _empty("CumSum", node("CumSum", "x a"), weights=(weight("a", 0),), wanted=_zeros(0, 3)),
    _empty("LayerNormalization", node("LayerNormalization", "x y"), shapes=((0, 3), (3,)), wanted=_zeros(0, 3)),
    _empty("NonZero", node("NonZero", "x"), wanted=Gives(np.zeros((2, 0), "i8"))),
    _empty(
        "Resize",
        node("Resize", "x - s"),
        shapes=((0, 1, 2, 2),),
        weights=(weight("s", [1, 1, 2, 2], "f4"),),
        wanted=_zeros(0, 1, 4, 4),
    ),
)
OTHERS = (
    Case(
        "BitShift past the width",
        run(
            model(
                node("BitShift", "x y", direction="LEFT"),
                inputs=(info("x", [2], _kind("u4")), info("y", [2], _kind("u4"))),
            ),
            np.array([1, 1], "u4"),
            np.array([32, 2**31], "u4"),
        ),
        Gives(None, lambda one: one.dtype == np.uint32, "any numbers"),
    ),
    Case(
        "Pow of integers to -1",
        run(
            model(node("Pow", "x y"), inputs=(info("x", [3], INT64), info("y", [3], INT64))),
            _i64(0, 1, 2),
            _i64(-1, -1, -1),
        ),
        Gives(None, lambda one: one.dtype == np.int64 and one[1] == 1, "any numbers, 1 for 1"),
    ),
    Case(
        "Abs and Neg of the least integer",
        run(model(node("Abs", "x", "a"), node("Neg", "a"), inputs=(info("x", [1], INT64),)), _i64(-(2**63))),
        Gives(_i64(-(2**63))),
    ),
    Case(
        "a scale of 0 in QuantizeLinear",
        run(model(node("QuantizeLinear", "x s"), inputs=(info("x", [2]),), weights=(weight("s", 0, "f4"),)), f32(2)),
        Gives(None, lambda one: one.dtype == np.uint8, "any numbers"),
    ),
    Case(
        "sizes that do not broadcast",
        built(model(node("Add", "x y"), inputs=(info("x", [2, 3]), info("y", [4])))),
        Raises(ModelError, "Add"),
    ),
    Case(
        "sizes that do not broadcast at a call",
        run(model(node("Add", "x y"), inputs=(info("x", ["n"]), info("y", ["m"]))), f32(2), f32(3)),
        Raises(InputError, "Add"),
    ),
    Case(
        "a MatMul whose inner sizes differ at a call",
        run(model(node("MatMul", "x y"), inputs=(info("x", [2, "n"]), info("y", ["m", 2]))), f32(2, 3), f32(4, 2)),
        Raises(InputError, "MatMul"),
    ),
    Case(
        "unlike element types",
        built(model(node("Add", "x y"), inputs=(info("x", [2]), info("y", [2], INT64)))),
        Raises(ModelError, "Add"),
    ),
)
CASES = (*_divisions(), *_casts(), *INDICES, *WINDOWS, *EMPTY, *OTHERS)
