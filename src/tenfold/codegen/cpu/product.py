"""A contraction as the strategies state it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tenfold.codegen.cpu.body import expand_body, indices
from tenfold.codegen.cpu.emit import refusal
from tenfold.codegen.cpu.microkernel import Block
from tenfold.codegen.cpu.outsite import Stream
from tenfold.codegen.cpu.storage import SUPPORTED
from tenfold.codegen.region import Anchored, Operand
from tenfold.codegen.strategy import Argument, Refusal, Stage
from tenfold.ir import dim
from tenfold.ir.dim import Size
from tenfold.ir.dtype import DType, boolean, u8


@dataclass(frozen=True)
class Window:
    """How taps move along a row axis: output place o and tap t read place o * stride + t * dilation - padding of
    `extent`, `step` elements of A apart; elsewhere zero.
    """

    taps: int
    stride: int
    dilation: int
    padding: Size
    extent: Size
    step: Size


@dataclass(frozen=True)
class Axis:
    """An axis of the result: how many elements of A, of packed B, and of each operand of the body lie from one place
    on it to the next. A windowed axis moves through A by its window alone.
    """

    size: Size
    a: Size
    b: Size
    streams: tuple[Size, ...]
    window: Window | None = None

    @property
    def steps(self) -> tuple[Size, ...]:
        """All of them."""
        return (self.a, self.b, *self.streams)


@dataclass(frozen=True, eq=False)
class Product:
    """Sums over taps and `terms` of A times B, for the points of `batches`, `rows` and `columns`, and a body on them.

    `a` is read `term` elements apart; B is packed in panels, or lies in place in a `layout` of `inplace`, its rows or
    columns `pitch` elements apart, for at most so many `lines` of A, and comes from memory if it is `far`. `separate`:
    depthwise, with a column's sum made of the same column of A. `padded`: some tap may fall outside. `origin` is the
    domain's place of the first result (None: zeros). `before` are stages that prepare operands. `block` is the micro-
    kernel's, for which B is packed (None: the one that suits the columns best). `cut` names what parts divide first,
    "rows", together with batches that A does not have, or "columns" ("": what seems best).
    """

    region: Anchored
    a: Argument
    a_dtype: DType
    b: Argument
    b_dtype: DType
    batches: tuple[Axis, ...]
    rows: tuple[Axis, ...]
    columns: Axis
    terms: Size
    term: Size = 1
    separate: bool = False
    padded: bool = False
    origin: tuple[Size, ...] | None = None
    before: tuple[Stage, ...] = ()
    workspace: Size = 0
    block: Block | None = None
    cut: str = ""
    layout: str = ""
    lines: int = 0
    pitch: Size = 0
    far: bool = False

    @property
    def taps(self) -> int:
        """The number of taps of a window."""
        found = 1
        for axis in self.rows:
            found *= axis.window.taps if axis.window else 1
        return found

    @property
    def streams(self) -> dict[str, Operand]:
        """The operands of the body by name."""
        return dict(zip(_stream_names(self.region), moving(self.region, self.origin), strict=True))


def moving(region: Anchored, origin: Sequence[Size] | None = None) -> tuple[Operand, ...]:
    """What moves with the points of the domain: the body's operands, the outputs, then the positions that the body
    asks for, as if they were addresses of bytes.
    """
    origin = origin or (0,) * len(region.domain)
    positions = [
        replace(
            region.outputs[0],
            dtype=u8,
            strides=tuple(int(one == axis) for one in range(len(origin))),
            offset=origin[axis],
        )
        for axis in asked(region)
    ]
    return (*region.extra, *region.outputs, *positions)


def asked(region: Anchored) -> list[int]:
    """The axes of the domain whose positions the body reads."""
    return sorted(indices(expand_body(region.body)))


def _stream_names(region: Anchored) -> list[str]:
    extra, outputs = len(region.extra), len(region.outputs)
    names = [*(f"@extra{i}" for i in range(extra)), *(f"@out{i}" for i in range(outputs))]
    return [*names, *(f"@index{axis}" for axis in asked(region))]


def refuse(region: Anchored) -> Refusal | None:
    """Why sums of these element types, or such a body, are not for the micro-kernel; None if they are."""
    operands = (*region.inputs, *region.extra, *region.outputs)
    foreign = sorted({str(one.dtype) for one in operands if one.dtype not in SUPPORTED})
    reason = f"no kernel reads or writes {', '.join(foreign)}" if foreign else refusal(region.body)
    if reason:
        return Refusal(reason)
    if any(one.dtype is boolean for one in region.inputs):
        return Refusal("booleans are not summed")
    return None


def merged(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """The axes without those of size 1, neighbours made one where every operand moves through both alike."""
    found: list[Axis] = []
    for axis in axes:
        if axis.size == 1 and not axis.window:
            continue
        outer = found[-1] if found else None
        if outer and not outer.window and not axis.window and _aligned(outer, axis):
            found[-1] = replace(axis, size=outer.size * axis.size)
        else:
            found.append(axis)
    return tuple(found)


def _aligned(outer: Axis, inner: Axis) -> bool:
    pairs = zip(outer.steps, inner.steps, strict=True)
    return all(dim.known_equal(far, near * inner.size) for far, near in pairs)


def ways(product: Product) -> list[tuple[Size, ...]]:
    """The different ways, in bytes, in which operands of the body move along the rows."""
    ways = [way_of(product, place) for place in range(len(product.streams))]
    return list(dict.fromkeys(way for way in ways if any(step != 0 for step in way)))


def way_of(product: Product, place: int) -> tuple[Size, ...]:
    """How the operand of that number moves along the rows, in bytes."""
    size = list(product.streams.values())[place].dtype.itemsize
    return tuple(axis.streams[place] * size for axis in product.rows)


def streams_of(product: Product, groups: Sequence[tuple[Size, ...]]) -> list[Stream]:
    """The operands of the body as code takes them; `groups` are the product's `ways`."""
    found = []
    for place, operand in enumerate(product.streams.values()):
        way, column = way_of(product, place), product.columns.streams[place]
        group = groups.index(way) if any(step != 0 for step in way) else None
        found.append(Stream(operand.dtype, group, column if isinstance(column, int) and column in (0, 1) else None))
    return found
