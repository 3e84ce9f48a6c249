"""ONNX's operators that reshape, cut, join and repeat tensors, or make them of sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from tenfold.importers.convert import (
    Operator,
    Results,
    Table,
    after,
    constant,
    depends_on_contents,
    input_from_attribute,
)
from tenfold.importers.deferred import once_known
from tenfold.importers.follow import followed, ratios
from tenfold.importers.onnx.axes import chosen, different, placed, with_ones, without
from tenfold.importers.onnx.proto import DTYPES
from tenfold.importers.shorthand import apply, cast, filled, number, reshaped, transposed
from tenfold.ir import dim
from tenfold.ir import dtype as dt
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType, Kind
from tenfold.ir.graph import Value
from tenfold.ir.tensor import Tensor
from tenfold.ir.type import Type
from tenfold.ops import movement
from tenfold.ops.activation import Clip
from tenfold.ops.arithmetic import Add, Ceil, Div, Mul, Sub
from tenfold.ops.constant import Constant, Fill, Iota, Sizes
from tenfold.ops.elementwise import broadcast_shapes
from tenfold.ops.logic import Cast, IsNan, Where


def identity(node: Operator) -> Results:
    """The input itself."""
    return node.input(0)


def constant_value(node: Operator) -> Results:
    """The one attribute that is given; the weight is called after the output."""
    if len(node.attributes) != 1:
        raise node.invalid(f"it has {len(node.attributes)} attributes, and needs one of value, value_int, …")
    (name,) = node.attributes
    match name:
        case "value" | "sparse_value":
            tensor = node.tensor(name)
        case "value_float" | "value_floats":
            tensor = Tensor(np.array(node.attributes[name], np.float32))
        case "value_int" | "value_ints":
            tensor = Tensor(np.array(node.attributes[name], np.int64))
        case "value_string" | "value_strings":
            tensor = Tensor(np.array(node.attributes[name], np.object_))
        case _:
            raise node.invalid(f"its attribute is {name!r}, not value, value_int, …")
    source = node.outputs[0]
    result: Value = Constant(Tensor(lambda: tensor.array, dtype=tensor.dtype, shape=tensor.shape, source=source))()
    return result


def element_type(node: Operator, name: str) -> DType:
    """The element type that an attribute names: a number, or before version 6 a word."""
    to = node.attributes.get(name)
    found = DTYPES.get(to) if isinstance(to, int) else _WORDS.get(to) if isinstance(to, str) else None
    if found is None:
        raise node.invalid(f"its attribute {name} is {to!r}, which is no element type")
    return found


_WORDS = {"FLOAT": dt.f32, "FLOAT16": dt.f16, "DOUBLE": dt.f64, "BOOL": dt.boolean, "STRING": dt.string} | {
    f"{kind}{bits}": dt.parse(f"{kind[0].lower()}{bits}") for kind in ("INT", "UINT") for bits in (8, 16, 32, 64)
}


def conversion(node: Operator) -> Results:
    """Cast; numbers that follow from sizes through floating point are followed."""
    return _converted(node, element_type(node, "to"))


def conversion_like(node: Operator) -> Results:
    """Cast to the element type of the second input."""
    return _converted(node, node.input(1).type.dtype)


def _converted(node: Operator, to: DType) -> Value:
    x = node.input(0)
    if x.type.dtype == to:
        return x
    if x.type.dtype.is_float and to.is_integer:
        entries = followed(x)
        if entries is not None:
            return _sizes(entries, x.type, to)
    if to is dt.f8e8m0 and node.text("round_mode", "up") != "up":
        raise node.unsupported("only round_mode up is supported")
    result: Value = Cast(to, node.flag("saturate", True))(x)
    return result


def _sizes(entries: Sequence[Size], type: Type, to: DType) -> Value:
    result: Value = Sizes(tuple(entries), tuple(size for size in type.shape if isinstance(size, int)), to)()
    return result


def shape(node: Operator) -> Results:
    """The sizes from axis `start` to before `end`."""
    x = node.input(0)
    end = node.integer("end", x.type.rank)
    chosen = x.type.shape[slice(node.integer("start", 0), end)]
    result: Value = Sizes(chosen, (len(chosen),))()
    return result


def size(node: Operator) -> Results:
    """The number of elements."""
    result: Value = Sizes((node.input(0).type.size,), ())()
    return result


def reshape(node: Operator) -> Results:
    """0 keeps a size (unless `allowzero`), one -1 stands for what is left."""
    x, asked = node.input(0), node.contents(1)
    keep = not node.flag("allowzero", False)
    if asked is None:
        raise node.invalid("it needs a shape")
    if any(depends_on_contents(one) for one in asked):
        return reshaped(x, _by_contents(node, x, asked, keep=keep))
    if len([one for one in asked if one == -1]) > 1:
        raise node.invalid(f"the shape {list(asked)} holds -1 twice")
    found = [_kept(node, x, axis) if keep and one == 0 else one for axis, one in enumerate(asked)]
    if -1 in found:
        at = found.index(-1)
        found[at] = _rest(node, x, [*found[:at], *found[at + 1 :]])
    return reshaped(x, found)


def _by_contents(node: Operator, x: Value, asked: Sequence[Size], *, keep: bool) -> list[Size]:
    """The shape where only the call tells which sizes are 0 or -1."""
    own = (*x.type.shape, *(0,) * (len(asked) - x.type.rank))
    found = [dim.select(dim.equal(one, 0), had, one) if keep else one for one, had in zip(asked, own, strict=False)]
    left = [dim.equal(one, -1) for one in asked]
    known = dim.product(dim.select(free, 1, one) for free, one in zip(left, found, strict=True))
    rest = x.type.size // dim.maximum(known, 1)
    shape = [dim.select(free, rest, one) for free, one in zip(left, found, strict=True)]
    node.require(dim.less(dim.total(left), 2), "the shape holds -1 twice")
    node.require(dim.equal(dim.product(shape), x.type.size), f"{x.type} does not fit the shape")
    for one in shape:
        node.require(dim.less(-1, one), "the shape holds a negative size")
    return shape


def _kept(node: Operator, x: Value, axis: int) -> Size:
    if axis >= x.type.rank:
        raise node.invalid(f"axis {axis} of the shape keeps a size, and the input has rank {x.type.rank}")
    return x.type.shape[axis]


def _rest(node: Operator, x: Value, others: list[Size]) -> Size:
    known = dim.product(others)
    if known == 0:
        raise node.invalid("-1 stands for any size where another one is 0")
    exact = dim.divide_exact(x.type.size, known)
    if exact is None and isinstance(known, int) and isinstance(x.type.size, int):
        raise node.invalid(f"{x.type.size} elements are no multiple of {known}")
    return x.type.size // known if exact is None else exact


def flatten(node: Operator) -> Results:
    """A matrix: the axes before `axis`, and those from it on."""
    x = node.input(0)
    axis = node.integer("axis", 1)
    if not -x.type.rank <= axis <= x.type.rank:
        raise node.invalid(f"there is no axis {axis} in a tensor of rank {x.type.rank}")
    axis = axis + x.type.rank if axis < 0 else axis
    return reshaped(x, (dim.product(x.type.shape[:axis]), dim.product(x.type.shape[axis:])))


def squeeze(node: Operator) -> Results:
    """Drop the named axes, which have size 1; without names all that are known to have it, and no others may."""
    x = node.input(0)
    sizes, axes = x.type.shape, node.axes(1, x.type.rank)
    if axes is None:
        for one in sizes:
            node.require(1 if isinstance(one, int) else dim.logical_not(dim.equal(one, 1)), "no size may be 1")
        axes = tuple(axis for axis, one in enumerate(sizes) if one == 1)
    for axis in axes:
        node.require(dim.equal(chosen(axis, sizes), 1), f"axes {list(axes)} of {x.type} do not all have size 1")
    node.require(different(axes), "the axes name one twice")
    return reshaped(x, without(sizes, axes))


def unsqueeze(node: Operator) -> Results:
    """New axes of size 1 at the named places of the result."""
    x, named = node.input(0), node.named_axes(1)
    if named is None:
        raise node.invalid("it needs axes")
    axes = tuple(node.place(axis, x.type.rank + len(named)) for axis in named)
    node.require(different(axes), f"axes {list(named)} name one twice")
    return reshaped(x, with_ones(x.type.shape, axes))


def transpose(node: Operator) -> Results:
    """The axes reversed, unless `perm` orders them."""
    x = node.input(0)
    order = node.integers("perm", tuple(reversed(range(x.type.rank))))
    if sorted(order) != list(range(x.type.rank)):
        raise node.invalid(f"perm {list(order)} is no order of the axes of {x.type}")
    return transposed(x, order)


def concat(node: Operator) -> Results:
    """The inputs one after another."""
    values = [node.input(index) for index in range(max(1, len(node.inputs)))]
    axis = node.axis(node.integer("axis", 1 if node.version < 4 else None), values[0].type.rank)
    result: Value = values[0] if len(values) == 1 else movement.Concat(axis)(*values)
    return result


MOST_PIECES = 1 << 16


def split(node: Operator) -> Results:
    """Pieces of the sizes of input 1, or equal ones (the last may be smaller from version 18 on)."""
    x = node.input(0)
    axis = node.axis(node.integer("axis", 0), x.type.rank)
    sizes = node.contents(1)
    whole, count = x.type.shape[axis], len(node.outputs)
    if sizes is None:
        count = node.integer("num_outputs", count)
        if not 0 < count <= MOST_PIECES:
            raise node.invalid(f"{count} pieces, and {MOST_PIECES} are the most")
        if node.version < 18:
            node.require(dim.equal(dim.modulo(whole, count), 0), f"{whole} do not split into {count} equal pieces")
        each = dim.divide_exact(whole, count)
        each = dim.ceildiv(whole, count) if each is None else each
        sizes = (*(each,) * (count - 1), whole - each * (count - 1))
    result: Value | tuple[Value, ...] = movement.Split(axis, tuple(sizes))(x)
    return result


def tile(node: Operator) -> Results:
    """As often along each axis as input 1 says."""
    x, repeats = node.input(0), node.contents(1) or ()
    return x if all(one == 1 for one in repeats) else apply(movement.Tile(tuple(repeats)), x)


def tile_one_axis(node: Operator) -> Results:
    """Before version 6: `tiles` copies along one axis, both rank-0 inputs."""
    x = node.input(0)
    tiles, axes = node.contents(1), node.axes(2, x.type.rank)
    if not tiles or not axes:
        raise node.invalid("it needs tiles and an axis")
    return apply(movement.Tile(placed(axes, tiles, (1,) * x.type.rank)), x)


def expand(node: Operator) -> Results:
    """Broadcast together with the shape in input 1."""
    x, asked = node.input(0), node.contents(1) or ()
    result = broadcast_shapes(x.type.shape, asked)
    return x if result == x.type.shape else apply(movement.Expand(result), x)


def constant_of_shape(node: Operator) -> Results:
    """One value (by default 0, f32) everywhere."""
    value, asked = node.tensor("value", Tensor(np.zeros(1, np.float32))), node.contents(0) or ()
    if value.size != 1:
        raise node.invalid(f"its value has {value.size} elements, not one")
    content = Tensor(value.array.reshape(()))
    if any(isinstance(one, int) and one < 0 for one in asked):
        raise node.invalid(f"the shape {list(asked)} holds a negative size")
    result: Value = Fill(tuple(asked), content)()
    return result


def arange(node: Operator) -> Results:
    """From start by delta to before limit."""
    start, limit, step = (node.input(index) for index in range(3))
    first, last, by = (_whole(one) for one in (start, limit, step))
    if by is not None:
        node.require(dim.logical_not(dim.equal(by, 0)), "its step is 0")
    if first is not None and last is not None and isinstance(by, int):
        count = dim.maximum(dim.ceildiv(last - first, by) if by > 0 else dim.ceildiv(first - last, -by), 0)
        result: Value = Iota(first, by, count, start.type.dtype)()
        return result
    real = [cast(one, dt.f64) for one in (start, limit, step)]
    turns = apply(Ceil(), apply(Div(), apply(Sub(), real[1], real[0]), real[2]))
    turns = Where()(IsNan()(turns), number(-1.0, turns), apply(Clip(), turns, 0, 2.0**62))
    found = constant(turns)
    if found is not None:
        return _counted_on(start, step, int(found.item()))
    return once_known(
        cast(turns, dt.i64), lambda sizes, first, by: _counted_on(first, by, sizes[0]), *map(_scalar, (start, step))
    )


def _whole(x: Value) -> Size | None:
    """The one element of a tensor as a size; None if it is unknown, has a fraction, or is not alone."""
    found = ratios(x)
    return found[0].top if found and len(found) == 1 and found[0].bottom == 1 else None


def _scalar(x: Value) -> Value:
    return reshaped(x, ())


def _counted_on(start: Value, step: Value, count: Size) -> Value:
    """start, start + step, … each rounded once."""
    wide = dt.f64 if start.type.dtype.is_float else dt.i64
    places = cast(Iota(0, 1, count)(), wide)
    return cast(apply(Add(), apply(Mul(), places, cast(step, wide)), cast(start, wide)), start.type.dtype)


def _padded_with(node: Operator, value: Value) -> Value:
    """The value where padding a tensor of ones with zeros gives zeros, else the padded input."""
    x = node.input(0)
    ones = filled(1, x.type.shape, dt.u8)
    zero = number(0, ones)
    inside = pad(replace(node, inputs=(ones, node.input(1), zero, *node.inputs[3:])))
    zeros = pad(replace(node, inputs=(x, node.input(1), None, *node.inputs[3:])))
    assert isinstance(inside, Value) and isinstance(zeros, Value)
    result: Value = Where()(cast(inside, dt.boolean), zeros, reshaped(value, ()))
    return result


_REAL = (Kind.FLOAT, Kind.COMPLEX)


def pad(node: Operator) -> Results:
    """Counts before all axes, then after all axes; a value that is not constant fills what the counts add."""
    x, counts = node.input(0), node.contents(1) or ()
    axes: Sequence[Size] = node.axes(3, x.type.rank) or tuple(range(x.type.rank))
    mode = node.text("mode", "constant", ("constant", "reflect", "edge", "wrap"))
    given = node.optional(2)
    text = x.type.dtype is dt.string
    value = constant(given) if given is not None else np.array([""] if text else [0], x.type.dtype.numpy)
    if given is not None and (value is None or (value.dtype.kind == "c" and np.iscomplex(value).any())):
        return _padded_with(node, given)
    if value is None or value.size != 1:
        raise node.invalid("its value must be a single number")
    plain = value.item() if text else value.item().real if x.type.dtype.kind in _REAL else int(value.item())
    if len(counts) != 2 * len(axes):
        raise node.invalid(f"{len(counts)} counts for {len(axes)} axes")
    if all(one == 0 for one in counts):
        return x
    starts, ends = (placed(axes, half, (0,) * x.type.rank) for half in (counts[: len(axes)], counts[len(axes) :]))
    return apply(movement.Pad(starts, ends, mode, plain), x)  # type: ignore[arg-type]


def space_to_depth(node: Operator) -> Results:
    """Blocks of pixels to channels."""
    return apply(movement.SpaceToDepth(node.integer("blocksize"), _order_of_block(node)), node.input(0))


def depth_to_space(node: Operator) -> Results:
    """Channels to blocks of pixels."""
    return apply(movement.DepthToSpace(node.integer("blocksize"), _order_of_block(node)), node.input(0))


def _order_of_block(node: Operator) -> Literal["DCR", "CRD"]:
    return "DCR" if node.text("mode", "DCR", ("DCR", "CRD")) == "DCR" else "CRD"


TABLE: Table = {
    ("", "Cast"): ((1, conversion),),
    ("", "CastLike"): ((15, conversion_like),),
    ("", "Concat"): ((1, concat),),
    ("", "Constant"): ((1, constant_value),),
    ("", "ConstantOfShape"): ((9, constant_of_shape),),
    ("", "DepthToSpace"): ((1, depth_to_space),),
    ("", "Expand"): ((8, expand),),
    ("", "Flatten"): ((1, flatten),),
    ("", "Identity"): ((1, identity),),
    ("", "Pad"): (
        (1, after(input_from_attribute("paddings", 1), input_from_attribute("value", 2, like=0), pad)),
        (2, after(input_from_attribute("pads", 1), input_from_attribute("value", 2, like=0), pad)),
        (11, pad),
    ),
    ("", "Range"): ((11, arange),),
    ("", "Reshape"): ((1, after(input_from_attribute("shape", 1), reshape)), (5, reshape)),
    ("", "Shape"): ((1, shape),),
    ("", "Size"): ((1, size),),
    ("", "SpaceToDepth"): ((1, space_to_depth),),
    ("", "Split"): ((1, after(input_from_attribute("split", 1), split)), (13, split)),
    ("", "Squeeze"): ((1, after(input_from_attribute("axes", 1), squeeze)), (13, squeeze)),
    ("", "Tile"): ((1, tile_one_axis), (6, tile)),
    ("", "Transpose"): ((1, transpose),),
    ("", "Unsqueeze"): ((1, after(input_from_attribute("axes", 1), unsqueeze)), (13, unsqueeze)),
}
