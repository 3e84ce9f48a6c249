"""Convolution and pooling: how ONNX states windows, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.importers.convert import Converter, Operator, Results, Table
from tenfold.importers.shorthand import apply, filled, part, per_channel, reshaped
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.graph import Value
from tenfold.ops.activation import Silu
from tenfold.ops.arithmetic import Add
from tenfold.ops.conv import Conv, ConvTranspose
from tenfold.ops.index import ScatterElements
from tenfold.ops.movement import Concat, Pad
from tenfold.ops.pool import MaxPoolIndices, Pool, PoolKind
from tenfold.ops.window import reach, same_padding

SAME = ("SAME_UPPER", "SAME_LOWER")


@dataclass(frozen=True)
class Window:
    """The attributes of a sliding window, one entry a spatial axis, with the padding worked out."""

    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[Size, ...]
    after: tuple[Size, ...]

    @classmethod
    def of(cls, node: Operator, spatial: Sequence[Size], kernel: Sequence[Size]) -> Window:
        """The window of `kernel` over axes of these sizes; SAME padding of a symbolic size is symbolic."""
        strides, dilations = steps(node, len(spatial))
        mode = padding_mode(node)
        if mode in SAME:
            rows = zip(spatial, kernel, strides, dilations, strict=True)
            before, after = shared([same_padding(*row) for row in rows], upper=mode == "SAME_UPPER")
        else:
            before, after = pads(node, len(spatial)) if mode == "NOTSET" else ((0,) * len(spatial),) * 2
        return cls(strides, dilations, before, after)


def padding_mode(node: Operator) -> str:
    """The attribute auto_pad."""
    return node.text("auto_pad", "NOTSET", ("NOTSET", "VALID", *SAME))


def steps(node: Operator, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Strides and dilations; 1 where the model leaves them out."""
    found = tuple(node.integers(name, ()) or (1,) * rank for name in ("strides", "dilations"))
    for name, values in zip(("strides", "dilations"), found, strict=True):
        if len(values) != rank or min(values, default=1) < 1:
            raise node.invalid(f"{name} {list(values)} should be {rank} positive numbers, one a spatial axis")
    return found[0], found[1]


def pads(node: Operator, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The attribute pads, before and after; 0 where the model leaves it out."""
    found = node.integers("pads", ()) or (0,) * (2 * rank)
    if len(found) != 2 * rank:
        raise node.invalid(f"pads {list(found)} should be {2 * rank} numbers, two a spatial axis")
    return found[:rank], found[rank:]


def shared(totals: Sequence[Size], *, upper: bool) -> tuple[tuple[Size, ...], tuple[Size, ...]]:
    """Padding before and after: half each, an odd one after (`upper`) or before."""
    smaller = tuple(one // 2 for one in totals)
    larger = tuple(total - half for total, half in zip(totals, smaller, strict=True))
    return (smaller, larger) if upper else (larger, smaller)


def kernel_of(node: Operator, w: Value) -> tuple[Size, ...]:
    """The spatial sizes of the weights, which must be what the attribute kernel_shape says."""
    sizes = w.type.shape[2:]
    stated = node.integers("kernel_shape", ())
    if stated and any(isinstance(size, int) and size != one for size, one in zip(sizes, stated, strict=False)):
        raise node.invalid(f"kernel_shape {list(stated)} and weights {w.type} differ")
    return sizes


def convolution(node: Operator, x: Value, w: Value) -> Value:
    """The convolution of x and w under the attributes of `node`, without a bias."""
    window = Window.of(node, x.type.shape[2:], kernel_of(node, w))
    groups = node.integer("group", 1)
    result: Value = Conv(window.strides, window.dilations, window.before, window.after, groups)(x, w)
    return result


def conv(node: Operator) -> Results:
    """Conv; the bias is an Add after it."""
    return biased(convolution(node, node.input(0), node.input(1)), node.optional(2))


def biased(y: Value, bias: Value | None) -> Value:
    """y plus a bias [C], if there is one."""
    return y if bias is None else apply(Add(), y, per_channel(bias, y.type.rank))


def conv_transpose(node: Operator) -> Results:
    """ConvTranspose; a stated output_shape or auto_pad decides the padding."""
    x, w = node.input(0), node.input(1)
    rank = x.type.rank - 2
    strides, dilations = steps(node, rank)
    stated = node.integers("output_padding", ()) or (0,) * rank
    if any(not 0 <= more < max(s, d) for more, s, d in zip(stated, strides, dilations, strict=True)):
        raise node.invalid(f"output_padding {list(stated)} must be less than the strides or the dilations")
    extra: tuple[Size, ...] = stated
    rows = zip(x.type.shape[2:], kernel_of(node, w), strides, dilations, extra, strict=True)
    full = tuple((size - 1) * s + reach(k, d) + more for size, k, s, d, more in rows)
    mode = padding_mode(node)
    wanted: tuple[Size, ...] = node.integers("output_shape", ())[-rank:]
    if not wanted and mode in SAME:
        wanted = tuple(size * s for size, s in zip(x.type.shape[2:], strides, strict=True))
    if wanted:
        surplus = [have - want for have, want in zip(full, wanted, strict=True)]
        before, after = shared([dim.maximum(one, 0) for one in surplus], upper=mode == "SAME_UPPER")
        extra = tuple(more + dim.maximum(-one, 0) for more, one in zip(extra, surplus, strict=True))
    else:
        before, after = pads(node, rank) if mode == "NOTSET" else ((0,) * rank,) * 2
    op = ConvTranspose(strides, dilations, before, after, extra, node.integer("group", 1))
    return biased(op(x, w), node.optional(2))


def pool(kind: PoolKind) -> Converter:
    """A pool; where MaxPool's indices are wanted they are an operation of their own."""

    def convert(node: Operator) -> Results:
        x, kernel = node.input(0), node.integers("kernel_shape")
        if len(kernel) != x.type.rank - 2:
            raise node.invalid(f"kernel_shape {list(kernel)} does not have one size for each spatial axis of {x.type}")
        window = Window.of(node, x.type.shape[2:], kernel)
        ceil = node.flag("ceil_mode", False) and padding_mode(node) not in SAME
        sizes = (kernel, window.strides, window.dilations, window.before, window.after, ceil)
        counted, given = node.flag("count_include_pad", False), node.attributes.get("p", 2)
        p = int(given) if isinstance(given, float) else node.integer("p", 2)
        y: Value = Pool(kind, *sizes, counted, p)(x)
        if not node.wants(1):
            return y
        return y, MaxPoolIndices(*sizes, node.flag("storage_order", False))(x)

    return convert


def max_unpool(node: Operator) -> Results:
    """Each element of x at the place in zeros that its index names."""
    x, indices = node.input(0), node.input(1)
    kernel, (strides, _) = node.integers("kernel_shape"), steps(node, x.type.rank - 2)
    before, after = pads(node, len(kernel))
    rows = zip(x.type.shape[2:], kernel, strides, before, after, strict=True)
    shape = (*x.type.shape[:2], *((size - 1) * s - b - a + k for size, k, s, b, a in rows))
    zeros = filled(0, (dim.product(shape),), x.type.dtype)
    flat = (x.type.size,)
    placed = ScatterElements(0)(zeros, reshaped(indices, flat), reshaped(x, flat))
    result = reshaped(placed, shape)
    wanted = node.sizes(2)
    if wanted is None:
        return result
    padding = tuple(want - have for want, have in zip(wanted, shape, strict=True))
    padded: Value = Pad((0,) * len(shape), padding)(result)
    return padded


def causal_conv_with_state(node: Operator) -> Results:
    """A depthwise convolution that sees what came before: the carried state or zeros; the last of it is carried on."""
    x, w, state = node.input(0), node.input(1), node.optional(3)
    channels, kernel = w.type.shape[0], w.type.shape[2]
    if not isinstance(channels, int):
        raise node.unsupported(f"the number of channels, {channels}, must be known when the engine is built")
    if state is None:
        state = filled(0, (*x.type.shape[:2], kernel - 1), x.type.dtype)
    seen = Concat(2)(state, x)
    y = biased(Conv((1,), (1,), (0,), (0,), channels)(seen, w), node.optional(2))
    if node.text("activation", "none", ("none", "silu", "swish")) != "none":
        y = Silu()(y)
    return y, part(seen, 2, x.type.shape[2], kernel - 1)


TABLE: Table = {
    ("", "CausalConvWithState"): ((27, causal_conv_with_state),),
    ("", "Conv"): ((1, conv),),
    ("", "ConvTranspose"): ((1, conv_transpose),),
    ("", "MaxPool"): ((1, pool("max")),),
    ("", "AveragePool"): ((1, pool("average")),),
    ("", "LpPool"): ((1, pool("lp")),),
    ("", "MaxUnpool"): ((9, max_unpool),),
}
